//! Requests to the Server itself, and the rights that change by them.

use std::sync::Arc;

use mqtt_auth::{AclTable, DynamicSecurity};
use mqtt_proto::ReasonCode;
use mqttd_core::settings::Settings;

use crate::world::*;

const TOPIC: &str = "$CONTROL/dynamic-security/v1";

#[test]
fn a_request_reaches_no_subscriber_and_is_answered_when_it_is_done() {
    for persistence in [false, true] {
        let world = World::with(1, Settings { persistence, ..Settings::default() });
        let bob = world.connects(v5("bob"));
        bob.subscribes("$CONTROL/#", 1);
        for (name, hello) in [("old", v311("old").user("u")), ("new", v5("new").user("u"))] {
            let ann = world.connects(hello.resuming());
            for (packet, answer) in [
                (publish(TOPIC, "0"), None),
                (publish(TOPIC, "1").qos1(7), Some(puback(7))),
                (publish(TOPIC, "2").qos2(8).retained(), Some(pubrec(8))),
            ] {
                let payload = packet.payload.clone();
                ann.sends(packet).expects_nothing();
                assert!(ann.is_paused());
                let text = format!("{name}/u {TOPIC} {}", String::from_utf8_lossy(&payload));
                assert_eq!(world.carries_out(), Some(text));
                assert!(!ann.is_paused());
                if let Some(answer) = answer {
                    ann.expects(answer);
                }
            }
            ann.sends(pubrel(8)).expects(pubcomp(8)).expects_nothing();
        }
        bob.expects_nothing();
        let cat = world.connects(v5("cat"));
        cat.subscribes("$CONTROL/#", 0);
        cat.expects_nothing();
    }
}

#[test]
fn a_request_is_carried_out_once() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    ann.sends(publish(TOPIC, "x").qos2(8)).expects_nothing();
    ann.vanishes();
    let ann = world.connects(v5("ann").resuming());
    ann.sends(publish(TOPIC, "x").qos2(8).dup()).expects(pubrec(8));
    assert!(world.carries_out().is_some());
    assert_eq!(world.carries_out(), None);
    assert!(ann.is_open() && !ann.is_paused());
    ann.expects_nothing().sends(pubrel(8)).expects(pubcomp(8));
}

/// A PUBREL was lost with the end of the broker: what comes under its identifier without DUP is
/// another message, and here a request.
#[test]
fn an_identifier_that_a_start_has_found_is_free_for_a_request() {
    let world = World::durable();
    let ann = world.connects(v311("ann").resuming());
    ann.sends(publish("t", "old").qos2(8)).expects(pubrec(8));
    world.restarts();
    let bob = world.connects(v5("bob"));
    bob.subscribes("$CONTROL/#", 0);
    let ann = world.connects(v311("ann").resuming());
    ann.sends(publish(TOPIC, "new").qos2(8)).expects_nothing();
    assert!(world.carries_out().is_some());
    ann.expects(pubrec(8)).sends(pubrel(8)).expects(pubcomp(8)).expects_nothing();
    bob.expects_nothing();
}

#[test]
fn whoever_may_not_publish_makes_no_request() {
    let mut settings = Settings::default();
    settings.listeners[0].acl = Some(Arc::new(AclTable::parse("topic readwrite #\n").unwrap()));
    let world = World::with(1, settings);
    let ann = world.connects(v5("ann"));
    let denied = |said: Option<Said>| match said {
        Some(Said::Puback(_, reason) | Said::Pubrec(_, reason)) => reason,
        other => panic!("{other:?}"),
    };
    ann.sends(publish(TOPIC, "x")).expects_nothing();
    ann.sends(publish(TOPIC, "x").qos1(1));
    assert_eq!(denied(ann.hears()), ReasonCode::NotAuthorized);
    for _ in 0..2 {
        ann.sends(publish(TOPIC, "x").qos2(2));
        assert_eq!(denied(ann.hears()), ReasonCode::NotAuthorized);
    }
    let old = world.connects(v311("old"));
    old.sends(publish(TOPIC, "x").qos1(1)).expects(puback(1));
    assert_eq!(world.carries_out(), None);
    assert!(!ann.is_paused() && !old.is_paused());
}

/// Nothing is heard of a Client whose packets nobody reads.
#[test]
fn a_request_may_take_longer_than_the_keep_alive() {
    let world = World::new();
    let ann = world.connects(v5("ann").keep_alive(10));
    ann.sends(publish(TOPIC, "x").qos1(1));
    world.passes(60);
    assert!(ann.is_open());
    assert!(world.carries_out().is_some());
    ann.expects(puback(1));
    world.passes(60);
    ann.is_told(ReasonCode::KeepAliveTimeout);
}

fn run(security: &mut DynamicSecurity, commands: &str) {
    let payload = format!("{{\"commands\":[{commands}]}}");
    let answer = security.execute(payload.as_bytes(), &mut || [1; 12]).answer;
    assert!(!answer.contains("error"), "{answer}");
}

/// A role that may everything but give up `keep`, for the users ann and bob.
fn security() -> DynamicSecurity {
    let mut security = DynamicSecurity::default();
    let acl = |kind: &str, topic: &str, allow| {
        format!(r#"{{"acltype":"{kind}","topic":"{topic}","allow":{allow}}}"#)
    };
    let acls = [
        acl("publishClientSend", "#", true),
        acl("publishClientReceive", "#", true),
        acl("subscribePattern", "#", true),
        acl("unsubscribeLiteral", "keep", false),
        acl("unsubscribePattern", "#", true),
    ];
    let acls = acls.join(",");
    let role = r#""roles":[{"rolename":"all"}]"#;
    run(
        &mut security,
        &format!(
            r#"{{"command":"createRole","rolename":"all","acls":[{acls}]}},
            {{"command":"createRole","rolename":"other"}},
            {{"command":"createClient","username":"ann","password":"a",{role}}},
            {{"command":"createClient","username":"bob","password":"b",{role}}}"#
        ),
    );
    security
}

fn dynamic(security: &DynamicSecurity) -> World {
    let mut settings = Settings::default();
    settings.listeners[0].dynamic = Some(Arc::new(security.rights()));
    settings.listeners[0].allow_anonymous = false;
    World::with(1, settings)
}

fn apply(world: &World, security: &DynamicSecurity) {
    let rights = Arc::new(security.rights());
    world.settings(|settings| settings.listeners[0].dynamic = Some(rights));
}

#[test]
fn a_change_disconnects_whom_it_concerns() {
    let mut security = security();
    let world = dynamic(&security);
    let user = |name: &str| world.connects(v5(name).user(name).in_dynamic_security());
    let (ann, bob) = (user("ann"), user("bob"));
    apply(&world, &security);
    assert!(ann.is_open() && bob.is_open(), "nothing has changed");
    run(&mut security, r#"{"command":"addClientRole","username":"ann","rolename":"other"}"#);
    apply(&world, &security);
    ann.is_told(ReasonCode::AdministrativeAction);
    assert!(bob.is_open());
    run(&mut security, r#"{"command":"deleteClient","username":"bob"}"#);
    apply(&world, &security);
    bob.is_told(ReasonCode::AdministrativeAction);
}

#[test]
fn rights_are_asked_for_each_of_the_four_actions() {
    let mut security = security();
    let world = dynamic(&security);
    let ann = world.connects(v5("ann").user("ann").in_dynamic_security());
    ann.subscribes("keep", 0);
    ann.subscribes("t", 0);
    ann.sends(unsubscribe(5, &["keep", "t", "absent"])).expects(unsuback(5, &[0x87, 0, 0x11]));
    world.says("keep", "1", false);
    world.says("t", "2", false);
    ann.expects(publish("keep", "1")).expects_nothing();
    ann.sends(publish("x", "3").qos1(1)).expects_nothing_but_puback(1);
    run(&mut security, r#"{"command":"removeClientRole","username":"ann","rolename":"all"}"#);
    apply(&world, &security);
    let ann = world.connects(v5("ann").user("ann").in_dynamic_security());
    ann.sends(subscribe("t", 0).id(1)).expects(suback(1, &[0x87]));
    ann.sends(publish("x", "3").qos1(1));
    let heard = ann.hears();
    assert!(matches!(heard, Some(Said::Puback(1, ReasonCode::NotAuthorized))), "{heard:?}");
    ann.sends(unsubscribe(5, &["t"])).expects(unsuback(5, &[0x87]));
}

/// What dynamic security does not decide, an ACL file does.
#[test]
fn an_acl_file_is_asked_second() {
    let security = security();
    let world = dynamic(&security);
    let acl = Arc::new(AclTable::parse("topic read open\nuser ann\ntopic deny x\n").unwrap());
    world.settings(|settings| {
        settings.listeners[0].acl = Some(acl);
        settings.listeners[0].allow_anonymous = true;
    });
    let ann = world.connects(v5("ann").user("ann").in_dynamic_security());
    ann.sends(publish("x", "1").qos1(1)).expects_nothing_but_puback(1);
    let nobody = world.connects(v5("nobody"));
    nobody.subscribes("#", 0);
    ann.sends(publish("open", "1")).sends(publish("closed", "2"));
    nobody.expects(publish("open", "1")).expects_nothing();
}
