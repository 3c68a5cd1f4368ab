//! The log: what a restart brings back, what an answer waits for, what a refusal means.

use mqtt_proto::ReasonCode;
use mqttd_core::limits::HELD_ANSWERS_MAX;
use mqttd_core::settings::Settings;

use crate::world::*;

#[test]
fn an_answer_leaves_only_after_the_log_has_what_it_promises() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    let bob = world.connects(v5("bob").resuming());
    world.log_is_late();
    bob.sends(subscribe("t", 2)).expects_nothing();
    world.commits();
    bob.expects(suback(1, &[2]));
    ann.sends(publish("t", "x").qos1(7)).expects_nothing();
    ann.sends(publish("none", "x").qos1(8)).expects_nothing();
    ann.sends(Said::Pingreq).expects(Said::Pingresp);
    world.commits();
    ann.expects(puback(7)).expects(Said::Puback(8, ReasonCode::NoMatchingSubscribers));
    ann.sends(publish("t", "y").qos2(9)).expects_nothing();
    world.commits();
    ann.expects(pubrec(9)).sends(pubrel(9)).expects_nothing();
    world.commits();
    ann.expects(pubcomp(9));
    ann.sends(publish("t", "y").retained()).sends(publish("r", "y").qos1(10).retained());
    ann.expects_nothing();
    world.commits();
    ann.expects(Said::Puback(10, ReasonCode::NoMatchingSubscribers));
    bob.sends(unsubscribe(3, &["t"]));
    assert!(!bob.hears_all().contains(&unsuback(3, &[0])));
    world.commits();
    bob.expects(unsuback(3, &[0]));
}

#[test]
fn a_restart_brings_back_sessions_subscriptions_and_messages() {
    for shuffle in [0, 0x5555_5555, 0xFFFF_FFFF_FFFF] {
        let world = World::durable();
        let bob = world.connects(v5("bob").resuming());
        bob.sends(subscribe("t", 2).identifier(9)).expects(suback(1, &[2]));
        let eve = world.connects(v311("eve").resuming());
        eve.subscribes("t", 1);
        eve.vanishes();
        let ann = world.connects(v5("ann").resuming());
        ann.sends(publish("t", "1").qos2(1)).expects(pubrec(1));
        ann.sends(publish("t", "2").qos2(2)).expects(pubrec(2));
        ann.sends(publish("t", "3").qos1(3)).expects(puback(3));
        ann.sends(publish("kept", "r").qos1(4).retained());
        let with_identifier = |publish: Publish| publish.with(identified(9));
        bob.expects(with_identifier(publish("t", "1").qos2(1)));
        bob.expects(with_identifier(publish("t", "2").qos2(2)));
        bob.expects(with_identifier(publish("t", "3").qos1(3)));
        bob.sends(pubrec(1)).expects(pubrel(1));
        let before = world.live_records();
        let found = world.restarts_with(shuffle);
        assert_eq!((found.sessions, found.subscriptions, found.retained), (3, 2, 1));
        assert_eq!((found.messages, found.queued), (3, 5));
        assert_eq!(world.live_records(), before, "nothing is rewritten");

        let bob = world.connects(v5("bob").resuming());
        assert!(bob.is_resumed());
        bob.expects(pubrel(1)).expects(with_identifier(publish("t", "2").qos2(2).dup()));
        let third = bob.expects_under_any_id(with_identifier(publish("t", "3").qos1(3)));
        assert!(third > 3, "a Client may hold the identifiers of what a power cut took");
        bob.expects_nothing();
        bob.sends(pubcomp(1))
            .sends(pubrec(2))
            .expects(pubrel(2))
            .sends(pubcomp(2))
            .sends(puback(third));
        let eve = world.connects(v311("eve").resuming());
        for text in ["1", "2", "3"] {
            let id = eve.expects_under_any_id(publish("t", text).qos1(1));
            eve.sends(puback(id));
        }
        let ann = world.connects(v5("ann").resuming());
        ann.sends(publish("t", "1").qos2(1).dup()).expects(pubrec(1));
        ann.sends(pubrel(1)).expects(pubcomp(1)).sends(pubrel(2)).expects(pubcomp(2));
        bob.expects_nothing();
        world.says("t", "live", false);
        bob.expects(with_identifier(publish("t", "live")));
        eve.expects(publish("t", "live")).subscribes("kept", 0);
        eve.expects(publish("kept", "r").retained());
        for name in ["ann", "bob", "eve"] {
            world.connects(v5(name)).sends(publish("kept", "").retained()).leaves();
        }
        assert_eq!(world.live_records(), []);
    }
}

#[test]
fn two_copies_for_one_session_are_two_entries_of_one_record() {
    let world = World::durable();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 1).subscribes("$share/g/t", 2);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "x").qos2(1)).expects(pubrec(1));
    bob.expects(publish("t", "x").qos1(1)).expects(publish("t", "x").qos2(2));
    bob.sends(puback(1));
    let found = world.restarts();
    assert_eq!(found.queued, 1);
    let bob = world.connects(v5("bob").resuming());
    bob.expects(publish("t", "x").qos2(2).dup()).sends(pubrec(2)).expects(pubrel(2));
    bob.sends(pubcomp(2)).expects_nothing();
    assert_eq!(world.live_records().len(), 3);
}

#[test]
fn sessions_expire_while_the_broker_is_down_and_new_numbers_are_fresh() {
    let world = World::durable();
    let ann = world.connects(v5("ann").with(session_expiry(10)));
    ann.subscribes("t", 1);
    ann.vanishes();
    world.passes(5);
    world.restarts();
    world.passes(4);
    assert_eq!(world.stats().sessions, 1);
    world.passes(1);
    assert_eq!((world.stats().sessions, world.live_records()), (0, vec![]));

    // A retained record older than its last publisher must not lend that one's number to others.
    world.says("r", "old", true);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("r", "new").qos1(1).retained());
    world.restarts();
    for name in ["a", "b", "c"] {
        let client = world.connects(v5(name));
        client.sends(subscribe("r", 0).no_local()).expects(suback(1, &[0]));
        client.expects(publish("r", "new").retained());
    }
}

#[test]
fn what_was_not_kept_is_lost_and_was_never_acknowledged() {
    let world = World::durable();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 1);
    bob.vanishes();
    let ann = world.connects(v5("ann").resuming());
    world.log_is_late();
    world.log_gates_the_wire();
    ann.sends(publish("t", "lost").qos1(1)).expects_nothing();
    world.restarts();
    let bob = world.client(world.opens(&v5("bob").resuming()));
    world.commits();
    assert!(matches!(bob.hears(), Some(Said::Connack { present: true, .. })));
    bob.expects_nothing();
}

/// Damage has taken the death of a session that a clean start had ended: the Client has two.
#[test]
fn a_session_that_damage_brings_back_is_no_twin_of_the_younger_one() {
    for shuffle in [0, 0x5555_5555, 0xFFFF_FFFF_FFFF] {
        let world = World::durable();
        let old = world.connects(v5("ann").resuming());
        old.subscribes("old", 1);
        old.vanishes();
        world.says("old", "x", false);
        let before = world.live_records();
        let new = world.connects(v5("ann").resuming().clean(true));
        new.subscribes("new", 1);
        new.vanishes();
        world.revives(&before);
        let found = world.restarts_with(shuffle);
        assert_eq!((found.sessions, found.subscriptions), (1, 1), "the younger one");
        let ann = world.connects(v5("ann").resuming());
        assert!(ann.is_resumed());
        ann.expects_nothing();
        let bob = world.connects(v5("bob"));
        bob.sends(publish("old", "y")).sends(publish("new", "y").qos1(1)).hears();
        ann.expects_under_any_id(publish("new", "y").qos1(1));
        let ann = world.connects(v5("ann").resuming().clean(true));
        assert!(!ann.is_resumed(), "a clean start finds nothing");
        ann.leaves();
        world.restarts();
        assert_eq!(world.stats().sessions, 1, "nothing of the old ones is left");
    }
}

#[test]
fn a_refusal_is_told_to_5_0_and_3_1_1_waits_for_better_times() {
    let world = World::durable();
    let new = world.connects(v5("new").resuming());
    let old = world.connects(v311("old").resuming());
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 0);
    let watcher = world.connects(v5("watcher").resuming());
    watcher.subscribes("t", 2);
    watcher.vanishes();
    world.log_is_late();
    for client in [&new, &old] {
        client.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos2(2));
        client.sends(subscribe("u", 1).id(3)).sends(unsubscribe(4, &["u"]));
        client.expects_nothing();
    }
    world.refuses();
    let full = ReasonCode::QuotaExceeded;
    new.expects(Said::Puback(1, full)).expects(Said::Pubrec(2, full));
    new.expects(suback(3, &[0x97])).expects(unsuback(4, &[0x80])).expects_nothing();
    // 3.1.1 has words for a SUBSCRIBE only.
    old.expects(suback(3, &[0x80])).expects_nothing();
    // The identifier is free again: the next attempt is a new message.
    new.sends(publish("t", "again").qos2(2)).expects_nothing();
    world.commits();
    new.expects(pubrec(2)).sends(pubrel(2));
    world.commits();
    new.expects(pubcomp(2));
    old.expects_nothing();
    world.logs_recover(true);
    old.expects(puback(1)).expects(pubrec(2)).expects(unsuback(4, &[])).expects_nothing();
    world.logs_recover(true);
    old.expects_nothing();
}

#[test]
fn what_was_given_up_is_not_acknowledged_when_the_log_recovers() {
    let world = World::durable();
    let old = world.connects(v311("old").resuming());
    let watcher = world.connects(v5("watcher").resuming());
    watcher.subscribes("t", 2);
    watcher.vanishes();
    world.log_is_late();
    old.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos2(2));
    world.refuses();
    world.logs_recover(false);
    old.expects_nothing();
}

/// Neither side of a QoS 2 exchange can be told of a refusal past PUBREC.
#[test]
fn pubrel_and_pubcomp_wait_for_a_log_that_refuses() {
    for version in [v311 as fn(&str) -> Hello, v5] {
        let world = World::durable();
        let ann = world.connects(version("ann").resuming());
        let bob = world.connects(version("bob").resuming());
        bob.subscribes("t", 2);
        ann.sends(publish("t", "x").qos2(1)).expects(pubrec(1));
        bob.expects(publish("t", "x").qos2(1));
        let id = 1;
        world.log_is_late();
        bob.sends(pubrec(id)).expects_nothing();
        ann.sends(pubrel(1)).expects_nothing();
        world.refuses();
        bob.expects_nothing();
        ann.expects_nothing();
        world.logs_recover(false);
        bob.expects(pubrel(id)).sends(pubcomp(id));
        ann.expects(pubcomp(1));
        world.commits();
        bob.expects_nothing();
        ann.expects_nothing();
    }
}

#[test]
fn a_repeated_publish_waits_like_the_first_for_a_log_that_refuses() {
    let world = World::durable();
    let bob = world.connects(v5("bob"));
    bob.subscribes("t", 0);
    let ann = world.connects(v311("ann").resuming());
    world.log_is_late();
    ann.sends(publish("t", "x").qos2(1));
    world.refuses();
    ann.expects_nothing().vanishes();
    let ann = world.client(world.opens(&v311("ann").resuming()));
    world.commits();
    ann.hears();
    ann.sends(publish("t", "x").qos2(1).dup()).expects_nothing();
    assert_eq!(bob.hears_all().len(), 1, "it is the same message");
    world.logs_recover(true);
    ann.expects(pubrec(1)).expects_nothing();
}

/// Nothing is left to do the second time, but the log has not taken the first.
#[test]
fn a_topic_cleared_again_waits_like_the_first_for_a_log_that_refuses() {
    // With two shards some of the topics belong to the other one.
    for (shards, topic) in [(1, "t"), (2, "t0"), (2, "t1"), (2, "t2"), (2, "t3")] {
        let world = World::with(shards, Settings { persistence: true, ..Settings::default() });
        let ann = world.connects(v5(&world.name_on(0, "ann")));
        let clear = || publish(topic, "").retained();
        ann.sends(publish(topic, "x").retained().qos1(1)).hears();
        world.log_is_late();
        ann.sends(clear().qos1(2)).sends(clear().qos1(3)).expects_nothing();
        world.refuses();
        for id in [2, 3, 4] {
            ann.expects(Said::Puback(id, ReasonCode::QuotaExceeded));
            if id < 4 {
                ann.sends(clear().qos1(id + 2).dup());
            }
        }
        ann.expects(Said::Puback(5, ReasonCode::QuotaExceeded));
        ann.sends(clear().qos2(6)).expects(Said::Pubrec(6, ReasonCode::QuotaExceeded));
        world.logs_recover(true);
        let nobody = ReasonCode::NoMatchingSubscribers;
        ann.sends(clear().qos1(7)).expects(Said::Puback(7, nobody));
    }
}

#[test]
fn a_topic_cleared_again_by_3_1_1_is_acknowledged_when_the_log_recovers() {
    let world = World::durable();
    let ann = world.connects(v311("ann"));
    ann.sends(publish("t", "x").retained().qos1(1)).expects(puback(1));
    world.log_is_late();
    ann.sends(publish("t", "").retained().qos1(2));
    world.refuses();
    ann.sends(publish("t", "").retained().qos1(3)).expects_nothing();
    world.logs_recover(true);
    ann.expects(puback(2)).expects(puback(3)).expects_nothing();
}

/// The same for what an UNSUBSCRIBE finds already gone.
#[test]
fn an_unsubscribe_repeated_waits_like_the_first_for_a_log_that_refuses() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    ann.subscribes("t", 1);
    world.log_is_late();
    ann.sends(unsubscribe(2, &["t"])).sends(unsubscribe(3, &["t"]));
    world.refuses();
    ann.expects(unsuback(2, &[0x80])).expects(unsuback(3, &[0x80]));
    ann.sends(unsubscribe(4, &["t"])).expects(unsuback(4, &[0x80]));
    world.logs_recover(true);
    ann.sends(unsubscribe(5, &["t"])).expects(unsuback(5, &[0x11]));
}

/// Options that the log has refused are not granted by asking again, those it knows are.
#[test]
fn a_subscription_asked_for_again_waits_like_the_first_for_a_log_that_refuses() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    ann.subscribes("known", 1);
    ann.subscribes("t", 1);
    world.log_is_late();
    ann.sends(subscribe("t", 2).id(3)).sends(subscribe("t", 2).id(4));
    world.refuses();
    ann.expects(suback(3, &[0x97])).expects(suback(4, &[0x97]));
    ann.sends(subscribe("known", 1).id(5)).expects(suback(5, &[1]));
    ann.sends(subscribe("t", 2).id(6)).expects_nothing();
    world.refuses();
    ann.expects(suback(6, &[0x97]));
    world.logs_recover(true);
    ann.sends(subscribe("t", 2).id(7)).expects(suback(7, &[2]));
}

/// A new connection changes nothing: PUBCOMP and PUBREL go on waiting.
#[test]
fn pubrel_and_pubcomp_of_a_new_connection_wait_for_a_log_that_refuses() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 2);
    ann.sends(publish("t", "x").qos2(1)).expects(pubrec(1));
    bob.expects(publish("t", "x").qos2(1));
    world.log_is_late();
    bob.sends(pubrec(1)).expects_nothing();
    ann.sends(pubrel(1)).expects_nothing();
    world.refuses();
    ann.vanishes();
    bob.vanishes();
    let ann = world.client(world.opens(&v5("ann").resuming()));
    let bob = world.client(world.opens(&v5("bob").resuming()));
    world.refuses();
    ann.hears();
    bob.hears();
    ann.sends(pubrel(1)).expects_nothing();
    bob.expects_nothing().sends(pubrec(1)).expects_nothing();
    world.logs_recover(true);
    ann.expects(pubcomp(1)).expects_nothing();
    bob.expects(pubrel(1)).expects_nothing();
}

#[test]
fn a_refused_subscription_is_taken_back() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    world.log_is_late();
    ann.sends(subscribe("t", 1));
    world.refuses();
    ann.expects(suback(1, &[0x97]));
    world.says("t", "x", false);
    ann.expects_nothing();
    assert_eq!(world.stats().subscriptions, 0);
}

/// Nobody could be told, so the repetition is no new attempt: 5.0 hears of the refusal then, 3.1.1
/// waits on.
#[test]
fn a_refused_pubrec_of_a_broken_connection_is_not_repeated_as_success() {
    for (version, is_told) in [(v5 as fn(&str) -> Hello, true), (v311, false)] {
        let world = World::durable();
        let bob = world.connects(v5("bob"));
        bob.subscribes("t", 0);
        let ann = world.connects(version("ann").resuming());
        world.log_is_late();
        ann.sends(publish("t", "x").qos2(1)).expects_nothing();
        ann.vanishes();
        world.refuses();
        let ann = world.client(world.opens(&version("ann").resuming()));
        world.commits();
        ann.hears();
        ann.sends(publish("t", "x").qos2(1).dup());
        assert_eq!(bob.hears_all().len(), 1, "it is the same message");
        if is_told {
            ann.expects(Said::Pubrec(1, ReasonCode::QuotaExceeded));
            ann.sends(publish("t", "y").qos2(1)).expects_nothing();
            assert_eq!(bob.hears_all().len(), 1, "another one");
            world.commits();
            ann.expects(pubrec(1));
        }
        ann.expects_nothing();
        world.logs_recover(true);
        if !is_told {
            ann.expects(pubrec(1));
        }
        ann.expects_nothing();
    }
}

#[test]
fn a_client_that_is_told_nothing_can_try_again() {
    let world = World::with(2, Settings { persistence: true, ..Settings::default() });
    let (here, there) = (world.name_on(0, "a"), world.name_on(1, "b"));
    let bob = world.connects(v5(&there).resuming());
    bob.subscribes("t", 1);
    bob.vanishes();
    let ann = world.connects(v5(&here));
    world.log_is_late();
    ann.sends(publish("t", "x").qos1(1)).expects_nothing();
    world.refuses();
    ann.expects(Said::Puback(1, ReasonCode::QuotaExceeded));
}

#[test]
fn a_client_that_waits_for_too_many_answers_is_not_read_from() {
    let unbounded = Settings { queued_messages_max: None, ..Settings::default() };
    let world = World::with(1, Settings { persistence: true, ..unbounded });
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 1);
    bob.vanishes();
    let old = world.connects(v311("old").keep_alive(10));
    world.log_is_late();
    let max = HELD_ANSWERS_MAX as u16;
    for id in 1..max {
        old.sends(publish("t", "x").qos1(id));
    }
    assert!(!old.is_paused(), "one less than the bound");
    old.sends(publish("t", "x").qos1(max));
    assert!(old.is_paused());
    world.passes(60);
    assert!(old.is_open(), "what it sends is not read, so the Keep Alive does not count");
    world.commits();
    assert!(!old.is_paused());
    assert_eq!(old.hears_all().len(), usize::from(max));
    world.passes(20);
    assert!(!old.is_open(), "now it does");

    // Others have answers of their own.
    let new = world.connects(v311("new"));
    for id in 1..max {
        new.sends(publish("t", "x").qos1(id));
    }
    let other = world.connects(v311("other"));
    other.sends(publish("t", "x").qos1(1));
    assert!(!new.is_paused() && !other.is_paused());
    new.sends(Said::Pingreq).expects(Said::Pingresp);
    new.sends(publish("t", "x").qos1(max));
    assert!(new.is_paused() && !other.is_paused());
    new.vanishes();
    world.commits();
    other.expects(puback(1));
}
