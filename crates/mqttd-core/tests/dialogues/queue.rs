//! Queues: limits, drops with their reasons, slow readers, message expiry.

use mqttd_core::drops::DropReason;
use mqttd_core::settings::Settings;

use crate::world::*;

#[test]
fn the_queue_is_bounded_in_messages_and_bytes() {
    for (messages, bytes) in [(Some(2), None), (None, Some(8))] {
        let world = World::with(
            1,
            Settings {
                queued_messages_max: messages,
                queued_bytes_max: bytes,
                ..Settings::default()
            },
        );
        let bob = world.connects(v5("bob").resuming());
        bob.subscribes("t", 1);
        bob.vanishes();
        let ann = world.connects(v5("ann"));
        for (id, text) in [(1, "one"), (2, "two"), (3, "six")] {
            ann.sends(publish("t", text).qos1(id)).expects(puback(id));
        }
        assert_eq!((world.stats().queued, world.stats().queued_bytes), (2, 8));
        assert_eq!(world.dropped(DropReason::QueueFull), 1);
        let bob = world.connects(v5("bob").resuming());
        bob.expects(publish("t", "one").qos1(1)).expects(publish("t", "two").qos1(2));
        bob.expects_nothing();
        assert_eq!((world.stats().queued, world.stats().queued_bytes), (0, 0));
    }
}

#[test]
fn qos0_for_the_absent_is_dropped_or_queued_as_configured() {
    let world = World::new();
    let hello = || v5("bob").resuming();
    let bob = world.connects(hello());
    bob.subscribes("t", 0);
    bob.vanishes();
    world.says("t", "a", false);
    assert_eq!(world.dropped(DropReason::Offline), 1);
    world.settings(|settings| settings.queue_qos0 = true);
    world.says("t", "b", false);
    let bob = world.connects(hello());
    bob.expects(publish("t", "b")).expects_nothing();
}

#[test]
fn a_queued_qos0_message_is_not_overtaken() {
    let world = World::with(1, Settings { queue_qos0: true, ..Settings::default() });
    let hello = || v5("bob").resuming().receive_maximum(1);
    let bob = world.connects(hello());
    bob.subscribes("t", 1);
    bob.vanishes();
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos1(2));
    ann.sends(publish("t", "a"));
    let bob = world.connects(hello());
    bob.expects(publish("t", "1").qos1(1)).expects_nothing();
    ann.sends(publish("t", "b"));
    bob.expects_nothing();
    bob.sends(puback(1)).expects(publish("t", "2").qos1(2));
    bob.expects(publish("t", "a")).expects(publish("t", "b"));
}

#[test]
fn a_slow_reader_loses_qos0_and_keeps_the_rest_in_its_queue() {
    let world = World::new();
    let bob = world.connects(v5("bob"));
    bob.subscribes("t", 1);
    let eve = world.connects(v5("eve"));
    eve.subscribes("t", 0);
    bob.stops_reading();
    let ann = world.connects(v5("ann"));
    let big = vec![b'x'; 700_000];
    for _ in 0..40 {
        ann.sends(publish("t", &big));
    }
    let dropped = world.dropped(DropReason::SlowReader);
    assert!(dropped > 10, "{dropped} dropped");
    ann.sends(publish("t", "kept").qos1(1)).expects(puback(1));
    assert_eq!(world.stats().queued, 1);
    let said = world.notices().iter().filter(|line| line.contains("SlowReader")).count();
    assert_eq!(said, 1, "said once");
    assert_eq!(eve.hears_all().len(), 41, "others get everything");
    bob.reads_again();
    let heard = bob.hears_all();
    assert_eq!(heard.len() as u64, 40 - dropped + 1);
    assert_eq!(heard.last(), Some(&publish("t", "kept").qos1(1).into()));
}

#[test]
fn bytes_in_flight_are_bounded() {
    let world = World::with(1, Settings { inflight_bytes_max: Some(5), ..Settings::default() });
    let bob = world.connects(v5("bob"));
    bob.subscribes("t", 1);
    let ann = world.connects(v5("ann"));
    for (id, text) in [(1, "abc"), (2, "def"), (3, "much more than fits")] {
        ann.sends(publish("t", text).qos1(id)).expects(puback(id));
    }
    bob.expects(publish("t", "abc").qos1(1)).expects_nothing();
    bob.sends(puback(1)).expects(publish("t", "def").qos1(2)).expects_nothing();
    bob.sends(puback(2)).expects(publish("t", "much more than fits").qos1(3));
}

#[test]
fn messages_expire_in_queues_and_are_counted_down() {
    let world = World::durable();
    let hello = || v5("bob").resuming();
    let bob = world.connects(hello());
    bob.subscribes("t", 2);
    bob.vanishes();
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "short").qos1(1).with(expires(5))).expects(puback(1));
    ann.sends(publish("t", "long").qos2(2).with(expires(500))).expects(pubrec(2));
    world.passes(100);
    assert_eq!(world.stats().queued, 1, "swept without anybody asking");
    assert_eq!(world.dropped(DropReason::Expired), 1);
    assert_eq!(world.live_records().len(), 3, "session, subscription, message");
    let bob = world.connects(hello());
    bob.expects(publish("t", "long").qos2(1).with(expires(400))).expects_nothing();
    bob.vanishes();
    world.passes(1000);
    let bob = world.connects(hello());
    // Once sent, QoS 2 is not subject to expiry.
    bob.expects(publish("t", "long").qos2(1).with(expires(0)).dup());
    bob.sends(pubrec(1)).expects(pubrel(1)).sends(pubcomp(1));

    ann.sends(publish("t", "gone").qos1(3).with(expires(5)));
    bob.expects(publish("t", "gone").qos1(2).with(expires(5)));
    bob.vanishes();
    world.passes(6);
    world.connects(hello()).expects_nothing();
    assert_eq!(world.live_records().len(), 2);
    let eve = world.connects(v311("eve"));
    eve.subscribes("t", 0);
    ann.sends(publish("t", "x").with(expires(5)));
    eve.expects(publish("t", "x"));
}

#[test]
fn a_refusal_by_the_receiver_is_counted() {
    let world = World::durable();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 2);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "x").qos1(1)).sends(publish("t", "x").qos2(2));
    bob.hears_all();
    bob.sends(Said::Puback(1, mqtt_proto::ReasonCode::QuotaExceeded));
    bob.sends(Said::Pubrec(2, mqtt_proto::ReasonCode::QuotaExceeded)).expects_nothing();
    assert_eq!(world.dropped(DropReason::RefusedByReceiver), 2);
    assert_eq!(world.live_records().len(), 2);
    bob.sends(disconnect(mqtt_proto::ReasonCode::Success));
    ann.sends(publish("t", "x").qos1(1));
    world.connects(v5("bob"));
    assert_eq!(world.dropped(DropReason::SessionEnded), 1);
}
