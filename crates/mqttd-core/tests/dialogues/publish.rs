//! QoS 1 and 2 in both directions, repetition, resumption, unknown identifiers, Receive Maximum.

use mqtt_proto::ReasonCode;
use mqtt_proto::property::PropertyId::PayloadFormatIndicator;
use mqttd_core::drops::DropReason;
use mqttd_core::settings::Settings;

use crate::world::*;

#[test]
fn each_qos_goes_its_whole_way() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    let bob = world.connects(v311("bob"));
    bob.subscribes("t", 2);
    ann.sends(publish("t", "0")).expects_nothing();
    bob.expects(publish("t", "0"));
    ann.sends(publish("t", "1").qos1(9)).expects(puback(9));
    bob.expects(publish("t", "1").qos1(1)).sends(puback(1));
    ann.sends(publish("t", "2").qos2(9)).expects(pubrec(9));
    bob.expects(publish("t", "2").qos2(2)).sends(pubrec(2)).expects(pubrel(2));
    bob.sends(pubcomp(2)).expects_nothing();
    ann.sends(pubrel(9)).expects(pubcomp(9));
    ann.sends(publish("x", "").qos1(1));
    ann.expects(Said::Puback(1, ReasonCode::NoMatchingSubscribers));
    bob.sends(publish("x", "").qos1(1)).expects(puback(1));
}

#[test]
fn a_repeated_qos2_publish_is_delivered_once_also_across_connections() {
    for world in [World::new(), World::durable()] {
        let bob = world.connects(v5("bob"));
        bob.subscribes("t", 0);
        let ann = world.connects(v311("ann").resuming());
        ann.sends(publish("t", "x").qos2(5)).expects(pubrec(5));
        ann.sends(publish("t", "x").qos2(5).dup()).expects(pubrec(5));
        let ann = world.connects(v311("ann").resuming());
        ann.sends(publish("t", "x").qos2(5).dup()).expects(pubrec(5));
        ann.vanishes();
        let ann = world.connects(v311("ann").resuming());
        ann.sends(publish("t", "x").qos2(5).dup()).expects(pubrec(5));
        bob.expects(publish("t", "x")).expects_nothing();
        ann.sends(pubrel(5)).expects(pubcomp(5));
        ann.sends(publish("t", "y").qos2(5)).expects(pubrec(5));
        bob.expects(publish("t", "y")).expects_nothing();
    }
}

#[test]
fn what_is_unacknowledged_comes_again_in_order_with_dup() {
    let world = World::new();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 2);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "a").qos1(1)).sends(publish("t", "b").qos2(2));
    ann.sends(publish("t", "c").qos2(3)).sends(publish("t", "d").qos1(4));
    assert_eq!(bob.hears_all().len(), 4);
    bob.sends(pubrec(2)).expects(pubrel(2));
    bob.vanishes();
    ann.sends(publish("t", "e").qos1(5));
    let bob = world.connects(v5("bob").resuming());
    bob.expects(publish("t", "a").qos1(1).dup());
    bob.expects(pubrel(2));
    bob.expects(publish("t", "c").qos2(3).dup());
    bob.expects(publish("t", "d").qos1(4).dup());
    bob.expects(publish("t", "e").qos1(5)).expects_nothing();
    bob.sends(puback(1)).sends(pubcomp(2)).sends(puback(4)).sends(puback(5));
    bob.sends(pubrec(3)).expects(pubrel(3)).sends(pubcomp(3));
    bob.vanishes();
    world.connects(v5("bob").resuming()).expects_nothing();
}

#[test]
fn unknown_identifiers_are_answered_by_version() {
    let world = World::new();
    let not_found = ReasonCode::PacketIdentifierNotFound;
    let ann = world.connects(v5("ann"));
    ann.sends(pubrel(7)).expects(Said::Pubcomp(7, not_found));
    ann.sends(pubrec(7)).expects(Said::Pubrel(7, not_found));
    ann.sends(puback(7)).sends(pubcomp(7)).expects_nothing();
    let bob = world.connects(v311("bob"));
    bob.sends(pubrel(7)).expects(pubcomp(7));
    bob.sends(pubrec(7)).expects(pubrel(7));
    bob.sends(puback(7)).sends(pubcomp(7)).expects_nothing();
    assert!(ann.is_open() && bob.is_open());
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    let world = World::new();
    let bob = world.connects(v5("bob"));
    bob.subscribes("t", 1);
    world.connects(v5("ann")).sends(publish("t", "x").qos1(1));
    bob.expects(publish("t", "x").qos1(1));
    bob.sends(pubrec(1)).is_told(ReasonCode::ProtocolError);
}

#[test]
fn the_clients_receive_maximum_holds_messages_back() {
    let world = World::new();
    let bob = world.connects(v5("bob").receive_maximum(2));
    bob.subscribes("t", 2);
    let ann = world.connects(v5("ann"));
    for (id, text) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        ann.sends(publish("t", text).qos2(id))
            .expects(pubrec(id))
            .sends(pubrel(id))
            .expects(pubcomp(id));
    }
    bob.expects(publish("t", "a").qos2(1)).expects(publish("t", "b").qos2(2)).expects_nothing();
    ann.sends(publish("t", "zero"));
    bob.expects(publish("t", "zero"));
    bob.sends(pubrec(1)).expects(pubrel(1)).expects_nothing();
    bob.sends(pubcomp(1)).expects(publish("t", "c").qos2(3)).expects_nothing();
    bob.sends(Said::Pubrec(2, ReasonCode::UnspecifiedError));
    bob.expects(publish("t", "d").qos2(4)).expects_nothing();
}

#[test]
fn a_smaller_receive_maximum_holds_after_a_resume() {
    let world = World::new();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 1);
    let ann = world.connects(v5("ann"));
    (1..=3).for_each(|id| {
        ann.sends(publish("t", [b'0' + id as u8]).qos1(id));
    });
    bob.vanishes();
    let bob = world.connects(v5("bob").resuming().receive_maximum(1));
    bob.expects(publish("t", "1").qos1(1).dup()).expects_nothing();
    ann.sends(publish("t", "4").qos1(4));
    bob.sends(puback(1)).expects(publish("t", "2").qos1(2).dup()).expects_nothing();
    bob.sends(puback(2)).expects(publish("t", "3").qos1(3).dup()).expects_nothing();
    bob.sends(puback(3)).expects(publish("t", "4").qos1(4)).expects_nothing();
}

#[test]
fn the_servers_receive_maximum_is_enforced_on_5_0() {
    let world = World::with(1, Settings { inflight_messages_max: 2, ..Settings::default() });
    let ann = world.connects(v5("ann"));
    (1..=9).for_each(|id| {
        ann.sends(publish("t", "").qos1(id));
    });
    ann.sends(publish("t", "").qos2(1)).sends(publish("t", "").qos2(2));
    ann.sends(publish("t", "").qos2(2).dup());
    assert!(ann.is_open(), "answered ones and repetitions do not count");
    ann.hears_all();
    ann.sends(publish("t", "").qos2(3)).is_told(ReasonCode::ReceiveMaximumExceeded);
    let bob = world.connects(v311("bob"));
    (1..=100).for_each(|id| {
        bob.sends(publish("t", "").qos2(id));
    });
    assert!(bob.is_open(), "3.1.1 knows no such limit");

    // QoS 1 counts for as long as its answer waits, here for the log.
    let settings = Settings { inflight_messages_max: 2, persistence: true, ..Settings::default() };
    let world = World::with(1, settings);
    world.connects(v5("eve").resuming()).subscribes("t", 1).vanishes();
    let ann = world.connects(v5("ann"));
    world.log_is_late();
    ann.sends(publish("t", "").qos1(1)).sends(publish("t", "").qos1(2));
    assert!(ann.is_open());
    world.commits();
    ann.expects(puback(1)).expects(puback(2));
    ann.sends(publish("t", "").qos1(3)).sends(publish("t", "").qos2(4));
    assert!(ann.is_open());
    ann.sends(publish("t", "").qos1(5)).is_told(ReasonCode::ReceiveMaximumExceeded);
}

#[test]
fn exchanges_of_an_old_connection_do_not_use_up_the_receive_maximum() {
    let settings = Settings { inflight_messages_max: 2, persistence: true, ..Settings::default() };
    let world = World::with(1, settings);
    let ann = world.connects(v5("ann").resuming());
    ann.sends(publish("t", "").qos2(1)).sends(publish("t", "").qos2(2));
    ann.vanishes();
    let ann = world.connects(v5("ann").resuming());
    world.log_is_late();
    ann.sends(publish("t", "").qos1(3)).sends(publish("t", "").qos1(4));
    assert!(ann.is_open());
    world.commits();
    assert_eq!(ann.hears_all().len(), 2);
}

#[test]
fn payloads_above_the_limit_are_answered_by_version_and_dropped() {
    let world = World::with(1, Settings { payload_bytes_max: Some(3), ..Settings::default() });
    let ann = world.connects(v5("ann"));
    ann.subscribes("t", 0);
    ann.sends(publish("t", "abcd").qos1(1));
    ann.expects(Said::Puback(1, ReasonCode::QuotaExceeded)).expects_nothing();
    let bob = world.connects(v311("bob"));
    bob.sends(publish("t", "abcd").qos1(1)).expects(puback(1));
    ann.expects_nothing();
    assert_eq!(world.dropped(DropReason::PayloadTooLarge), 2);
    ann.sends(publish("t", "abc").qos1(1)).expects(publish("t", "abc")).expects(puback(1));
}

#[test]
fn text_that_is_none_is_refused_where_that_is_asked_for() {
    let world = World::new();
    let text = |payload: &[u8]| publish("t", payload).with(Prop::Byte(PayloadFormatIndicator, 1));
    let bob = world.connects(v5("bob"));
    bob.subscribes("t", 1);
    let ann = world.connects(v5("ann"));
    // The standard lets a Server pass it on.
    ann.sends(text(b"\xff").qos1(1)).expects(puback(1));
    assert!(matches!(bob.hears(), Some(Said::Publish(_))));

    world.settings(|settings| settings.check_payload_format = true);
    ann.sends(text(b"\xff").qos1(2)).expects(Said::Puback(2, ReasonCode::PayloadFormatInvalid));
    ann.sends(text(b"\xff").qos2(3)).expects(Said::Pubrec(3, ReasonCode::PayloadFormatInvalid));
    bob.expects_nothing();
    // The exchange has ended: the identifier is free.
    ann.sends(text("grün".as_bytes()).qos2(3)).expects(pubrec(3));
    assert!(matches!(bob.hears(), Some(Said::Publish(_))));
    // Without the indicator, or with 0, anything goes.
    ann.sends(publish("t", b"\xff").qos1(4)).expects(puback(4));
    let bytes = publish("t", b"\xff").with(Prop::Byte(PayloadFormatIndicator, 0));
    ann.sends(bytes.qos1(5)).expects(puback(5));
    assert_eq!(bob.hears_all().len(), 2);
    ann.sends(text(b"\xff")).is_told(ReasonCode::PayloadFormatInvalid);
    bob.expects_nothing();
    assert_eq!(world.dropped(DropReason::PayloadFormatInvalid), 3);
}
