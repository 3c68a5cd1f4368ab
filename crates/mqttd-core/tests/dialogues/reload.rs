//! What a reload changes for those who are there: rights, users, retained values of others.

use std::sync::Arc;

use mqtt_auth::{AclTable, PasswordFile};
use mqtt_proto::ReasonCode;
use mqttd_core::drops::DropReason;
use mqttd_core::settings::Settings;

use crate::world::*;

fn acl(text: &str) -> Option<Arc<AclTable>> {
    Some(Arc::new(AclTable::parse(text).unwrap()))
}

fn guarded(shards: u8, text: &str) -> World {
    let mut settings = Settings { persistence: true, ..Settings::default() };
    settings.listeners[0].acl = acl(text);
    World::with(shards, settings)
}

fn passwords(lines: &str) -> Option<Arc<PasswordFile>> {
    Some(Arc::new(PasswordFile::parse(lines).unwrap().0))
}

const OPEN: &str = "topic #\npattern readwrite #\n";
const BOB_READS_NO_T: &str = "user bob\ntopic deny t\npattern readwrite #\n";

#[test]
fn live_subscriptions_follow_the_rights() {
    let world = guarded(1, OPEN);
    let bob = world.connects(v5("bob").user("bob"));
    bob.subscribes("#", 1);
    world.says("t", "1", false);
    bob.expects(publish("t", "1"));
    world.settings(|settings| settings.listeners[0].acl = acl(BOB_READS_NO_T));
    world.says("t", "2", false);
    world.says("u", "3", false);
    bob.expects(publish("u", "3")).expects_nothing();
    assert_eq!(world.dropped(DropReason::NotAuthorized), 1);
}

#[test]
fn queued_messages_are_asked_about_again_when_they_are_sent() {
    for restarts in [false, true] {
        let world = guarded(1, OPEN);
        let bob = world.connects(v5("bob").user("bob").resuming());
        bob.subscribes("#", 2);
        bob.vanishes();
        let ann = world.connects(v5("ann"));
        ann.sends(publish("t", "1").qos1(1)).expects(puback(1));
        ann.sends(publish("u", "2").qos1(2)).expects(puback(2));
        world.settings(|settings| settings.listeners[0].acl = acl(BOB_READS_NO_T));
        if restarts {
            world.restarts();
        }
        let bob = world.connects(v5("bob").user("bob").resuming());
        let id = bob.expects_under_any_id(publish("u", "2").qos1(1));
        bob.sends(puback(id)).expects_nothing();
        assert_eq!(world.dropped(DropReason::NotAuthorized), 1);
        assert_eq!(world.live_records().len(), 2, "a session and its subscription");
    }
}

/// QoS 1 is forgotten; of QoS 2 the identifier is given back by PUBREL, because the Client may know
/// it already.
#[test]
fn what_is_in_flight_is_not_sent_again_without_the_right() {
    for restarts in [false, true] {
        let world = guarded(1, OPEN);
        let bob = world.connects(v5("bob").user("bob").resuming());
        bob.subscribes("#", 2);
        let ann = world.connects(v5("ann"));
        ann.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos2(2));
        ann.sends(publish("u", "3").qos2(3));
        assert_eq!(bob.hears_all().len(), 3);
        bob.vanishes();
        if restarts {
            world.shuts_down();
            world.restarts();
        }
        world.settings(|settings| settings.listeners[0].acl = acl(BOB_READS_NO_T));
        let bob = world.connects(v5("bob").user("bob").resuming());
        bob.expects(pubrel(2)).expects(publish("u", "3").qos2(3).dup()).expects_nothing();
        bob.sends(pubcomp(2)).sends(pubrec(3)).expects(pubrel(3)).sends(pubcomp(3));
        assert_eq!(world.dropped(DropReason::NotAuthorized), 2);
        // A PUBREL that was under way at a crash comes again, not the message.
        world.restarts();
        world.connects(v5("bob").user("bob").resuming()).expects_nothing();
    }
}

/// The window of the new connection is smaller than what is owed: the rest follows while rights
/// change.
#[test]
fn what_is_still_owed_is_asked_about_at_the_reload() {
    let world = guarded(1, OPEN);
    let bob = world.connects(v5("bob").user("bob").resuming());
    bob.subscribes("#", 2);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("u", "1").qos1(1)).sends(publish("t", "2").qos2(2));
    ann.sends(publish("t", "3").qos1(3)).sends(publish("u", "4").qos1(4));
    assert_eq!(bob.hears_all().len(), 4);
    bob.vanishes();
    let bob = world.connects(v5("bob").user("bob").resuming().receive_maximum(1));
    bob.expects(publish("u", "1").qos1(1).dup()).expects_nothing();
    world.settings(|settings| settings.listeners[0].acl = acl(BOB_READS_NO_T));
    bob.expects(pubrel(2)).expects_nothing();
    bob.sends(puback(1)).sends(pubcomp(2)).expects(publish("u", "4").qos1(4).dup());
    bob.sends(puback(4)).expects_nothing();
}

#[test]
fn a_will_needs_the_right_when_it_is_published() {
    let world = guarded(1, OPEN);
    let bob = world.connects(v5("bob"));
    bob.subscribes("#", 0);
    let ann = world.connects(v5("ann").user("ann").will(publish("will", "x")));
    world.settings(|settings| {
        settings.listeners[0].acl = acl("user ann\ntopic deny will\npattern readwrite #\n");
    });
    ann.vanishes();
    bob.expects_nothing();
}

const ANN_WRITES_NOTHING: &str = "user ann\ntopic deny #\npattern readwrite #\n";

#[test]
fn retained_messages_of_those_who_may_no_longer_publish_are_not_sent() {
    for (shards, restarts) in [(1, false), (1, true), (3, false), (3, true)] {
        let world = guarded(shards, OPEN);
        let ann = world.connects(v5("ann").user("ann"));
        let eve = world.connects(v5("eve").user("eve"));
        for number in 0..8 {
            ann.sends(publish(&format!("a/{number}"), "ann").qos1(1).retained()).hears();
            eve.sends(publish(&format!("e/{number}"), "eve").qos1(1).retained()).hears();
        }
        world.says("s", "server", true);
        ann.leaves();
        let count = |name: &str| {
            let client = world.connects(v5(name).user("reader"));
            client.sends(subscribe("#", 1)).expects(suback(1, &[1]));
            client.hears_all().len()
        };
        assert_eq!(count("before"), 17);
        world.settings(|settings| settings.listeners[0].acl = acl(ANN_WRITES_NOTHING));
        if restarts {
            world.restarts();
        }
        assert_eq!(count("after"), 9, "{shards} shards");
        assert_eq!(world.dropped(DropReason::SourceNotAuthorized), 8);
        world.settings(|settings| settings.check_retain_source = false);
        assert_eq!(count("unchecked"), 17);
        world.settings(|settings| {
            settings.check_retain_source = true;
            settings.listeners[0].acl = acl(OPEN);
        });
        assert_eq!(count("again"), 17, "they were not deleted");
    }
}

/// A pattern with %c asks for the publisher's identifier, not the reader's.
#[test]
fn the_source_is_known_by_client_identifier_too() {
    let world = guarded(1, "pattern write dev/%c\npattern read #\n");
    world.connects(v5("one")).sends(publish("dev/one", "x").qos1(1).retained());
    let bob = world.connects(v5("bob"));
    bob.subscribes("dev/+", 0).expects(publish("dev/one", "x").retained());
    world.settings(|settings| {
        settings.listeners[0].acl = acl("pattern write other/%c\npattern read #\n");
    });
    bob.sends(subscribe("dev/+", 0)).expects(suback(1, &[0])).expects_nothing();
}

/// A will that is retained names its publisher too, even when that one is gone.
#[test]
fn retained_wills_have_a_source() {
    let world = guarded(1, OPEN);
    let will = publish("w", "x").qos1(0).retained();
    world.connects(v5("ann").user("ann").will(will)).vanishes();
    world.settings(|settings| settings.listeners[0].acl = acl(ANN_WRITES_NOTHING));
    world.connects(v5("bob")).subscribes("w", 1).expects_nothing();
}

const ANN: &str = "ann:$6$1234$rpYOHMEOYQLDx3Gqcm1DGnTHZY3w7rPgvTStyvrHSXwBzZjW\
    mgBlqOnbHnMeRAvYnmcMjRbqHwkYTZQNxqpvaQ==\n";

#[test]
fn who_was_taken_out_of_the_password_file_is_sent_away() {
    let mut settings = Settings::default();
    settings.listeners[0].allow_anonymous = false;
    let bob = ANN.replace("ann:", "bob:");
    settings.listeners[0].passwords = passwords(&format!("{ANN}{bob}"));
    let world = World::with(2, settings);
    let ann = world.connects(v5("ann").with_password("ann"));
    let old = world.connects(v311("old").with_password("ann"));
    let bob_stays = world.connects(v5("bob").with_password("bob"));
    world.settings(|settings| settings.listeners[0].passwords = passwords(&bob));
    ann.is_told(ReasonCode::NotAuthorized);
    old.is_closed();
    assert!(bob_stays.is_open());
    // Another salt is another password as far as anyone can tell: show it again.
    let changed = bob.replace("$1234$", "$4321$");
    world.settings(|settings| settings.listeners[0].passwords = passwords(&changed));
    bob_stays.is_told(ReasonCode::NotAuthorized);
}

#[test]
fn anonymous_clients_go_when_a_user_is_asked_for() {
    let world = World::new();
    let nobody = world.connects(v5("nobody"));
    let claims = world.connects(v5("claims").user("ann"));
    world.settings(|settings| settings.listeners[0].passwords = passwords(ANN));
    assert!(nobody.is_open(), "allow_anonymous is still true");
    claims.is_told(ReasonCode::NotAuthorized);
    world.settings(|settings| settings.listeners[0].allow_anonymous = false);
    nobody.is_told(ReasonCode::NotAuthorized);
}
