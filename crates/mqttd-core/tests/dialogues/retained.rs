//! Retained messages: set, replaced, cleared, expired; paced replays.

use mqttd_core::settings::Settings;

use crate::world::*;

#[test]
fn a_topic_keeps_its_last_value_until_it_is_cleared() {
    let world = World::durable();
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "1").qos1(1).retained()).hears();
    ann.sends(publish("t", "2").qos1(1).retained()).hears();
    ann.sends(publish("t", "3"));
    let bob = world.connects(v5("bob"));
    bob.subscribes("t", 1).expects(publish("t", "2").qos1(1).retained());
    assert_eq!((world.live_records().len(), world.stats().retained), (1, 1));
    ann.sends(publish("t", "").qos1(1).retained());
    bob.expects(publish("t", "").qos1(2));
    bob.subscribes("t", 1).expects_nothing();
    assert_eq!((world.live_records().len(), world.stats().retained), (0, 0));
}

#[test]
fn retained_messages_expire_and_say_how_long_they_last() {
    let world = World::with(1, Settings { persistence: true, ..Settings::default() });
    let ann = world.connects(v5("ann"));
    ann.sends(publish("a", "x").retained().with(expires(10)));
    ann.sends(publish("b", "x").retained().with(expires(20)));
    world.passes(4);
    ann.subscribes("a", 0).expects(publish("a", "x").retained().with(expires(6)));
    ann.sends(publish("a", "y").retained().with(expires(100)));
    world.passes(6);
    assert_eq!(world.stats().retained, 2, "the new value has a longer life");
    world.passes(10);
    assert_eq!(world.stats().retained, 1);
    world.settings(|settings| settings.retain_expiry_seconds = Some(5));
    ann.sends(publish("c", "x").retained());
    world.passes(200);
    assert_eq!((world.stats().retained, world.live_records()), (0, vec![]));
}

#[test]
fn thousands_of_retained_messages_reach_a_slow_reader_without_loss() {
    let world = World::with(3, Settings { queued_messages_max: Some(10), ..Settings::default() });
    let ann = world.connects(v5("ann"));
    for number in 0..3000 {
        ann.sends(publish(&format!("t/{number}"), [b'x'; 500]).qos1(1).retained()).hears();
    }
    let bob = world.connects(v5("bob"));
    bob.sends(subscribe("t/#", 0)).expects(suback(1, &[0]));
    assert_eq!(bob.hears_all().len(), 3000);

    bob.stops_reading();
    bob.sends(subscribe("t/+", 1));
    assert!(bob.waiting_bytes() < 200_000, "{} bytes", bob.waiting_bytes());
    bob.reads_again();
    bob.expects(suback(1, &[1]));
    let mut count = 0;
    while let Some(Said::Publish(publish)) = bob.hears() {
        assert!(publish.retain);
        count += 1;
        bob.sends(puback(publish.id));
    }
    assert_eq!(count, 3000);
    assert_eq!(world.stats().dropped_total(), 0);
}

#[test]
fn a_newer_value_that_overtakes_the_replay_is_not_undone_by_it() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    for topic in ["t/1", "t/2", "t/3"] {
        ann.sends(publish(topic, "old").qos1(1).retained()).hears();
    }
    let bob = world.connects(v5("bob").receive_maximum(1));
    bob.subscribes("t/+", 1);
    let Some(Said::Publish(first)) = bob.hears() else { panic!("no message") };
    for topic in ["t/1", "t/2", "t/3"] {
        ann.sends(publish(topic, "new").qos1(1).retained()).hears();
    }
    bob.sends(puback(first.id));
    let mut last = std::collections::BTreeMap::from([(first.topic, first.payload)]);
    while let Some(Said::Publish(publish)) = bob.hears() {
        last.insert(publish.topic, publish.payload);
        bob.sends(puback(publish.id));
    }
    assert_eq!(last.len(), 3);
    assert!(last.values().all(|value| value == b"new"), "{last:?}");
}

/// Ten retained messages, and Bob, whose window of one they have begun to come through.
fn in_the_middle_of_a_replay(world: &World, qos: u8) -> Client {
    let ann = world.connects(v5("ann"));
    for number in 0..10 {
        ann.sends(publish(&format!("t/{number}"), "x").qos2(1).retained()).hears();
        ann.sends(pubrel(1)).hears();
    }
    let bob = world.connects(v5("bob").resuming().receive_maximum(1));
    bob.subscribes("t/#", qos);
    bob
}

/// Takes all that comes; returns the topics, those sent again left out.
fn takes_all(bob: &Client) -> Vec<String> {
    let mut topics = vec![];
    while let Some(said) = bob.hears() {
        match said {
            Said::Publish(publish) if publish.qos == mqtt_proto::QoS::ExactlyOnce => {
                if !publish.dup {
                    topics.push(publish.topic);
                }
                bob.sends(pubrec(publish.id));
            }
            Said::Publish(publish) => {
                topics.push(publish.topic);
                bob.sends(puback(publish.id));
            }
            Said::Pubrel(id, _) => drop(bob.sends(pubcomp(id))),
            said => panic!("{said:?}"),
        }
    }
    topics
}

#[test]
fn a_replay_that_a_lost_connection_cuts_off_goes_on() {
    let world = World::durable();
    // With QoS 2 nothing comes twice.
    let bob = in_the_middle_of_a_replay(&world, 2);
    let Some(Said::Publish(first)) = bob.hears() else { panic!("no message") };
    bob.sends(pubrec(1)).expects(pubrel(1)).sends(pubcomp(1));
    let Some(Said::Publish(second)) = bob.hears() else { panic!("no message") };
    bob.vanishes();
    // A value that is lost to Bob does not take the place of the one that is owed.
    world.connects(v5("ann")).sends(publish("t/9", "lost").retained());
    let bob = world.connects(v5("bob").resuming().receive_maximum(1));
    bob.expects(second.clone().dup()).sends(pubrec(2)).expects(pubrel(2)).sends(pubcomp(2));
    let mut topics = takes_all(&bob);
    assert_eq!(topics.len(), 8, "{topics:?}");
    topics.extend([first.topic, second.topic]);
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 10);
    assert_eq!(world.live_records().len(), 12, "session, subscription, ten retained");
    bob.vanishes();
    world.connects(v5("bob").resuming()).expects_nothing();
}

#[test]
fn a_replay_goes_on_after_a_restart() {
    let world = World::durable();
    let bob = in_the_middle_of_a_replay(&world, 1);
    bob.hears();
    world.shuts_down();
    world.restarts();
    let bob = world.connects(v5("bob").resuming());
    let mut topics = takes_all(&bob);
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 10);
    // It is owed once.
    world.shuts_down();
    world.restarts();
    world.connects(v5("bob").resuming()).expects_nothing();

    // What was owed when Bob lost his connection is known after a crash too.
    let world = World::durable();
    let bob = in_the_middle_of_a_replay(&world, 1);
    bob.vanishes();
    world.restarts();
    let bob = world.connects(v5("bob").resuming());
    assert!(takes_all(&bob).len() >= 10);
    // A crash in the middle of a connection ends a replay: nothing was written about it.
    let world = World::durable();
    let bob = in_the_middle_of_a_replay(&world, 1);
    world.restarts();
    drop(bob);
    let bob = world.connects(v5("bob").resuming());
    assert_eq!(takes_all(&bob).len(), 1, "what was under way");
}

#[test]
fn a_replay_owed_ends_with_its_subscription_and_with_its_topics() {
    let world = World::durable();
    let bob = in_the_middle_of_a_replay(&world, 1);
    bob.vanishes();
    world.restarts();
    let ann = world.connects(v5("ann"));
    for number in 0..10 {
        ann.sends(publish(&format!("t/{number}"), "").qos1(1).retained());
    }
    world.restarts();
    ann.vanishes();
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t/0", "new").qos1(1).retained());
    let bob = world.connects(v5("bob").resuming());
    let payloads: Vec<_> = takes_all(&bob).into_iter().filter(|topic| topic == "t/0").collect();
    assert!(payloads.len() <= 2, "at most the old one that was under way, and the new one");
    bob.sends(unsubscribe(2, &["t/#"])).hears();
    bob.vanishes();
    world.restarts();
    world.connects(v5("bob").resuming()).expects_nothing();
}

#[test]
fn unsubscribe_ends_a_replay_and_a_resume_begins_it_anew() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    for number in 0..10 {
        ann.sends(publish(&format!("t/{number}"), "x").qos1(1).retained()).hears();
    }
    let bob = world.connects(v5("bob").resuming().receive_maximum(1));
    bob.subscribes("t/#", 1);
    assert!(matches!(bob.hears(), Some(Said::Publish(publish)) if publish.id == 1));
    bob.vanishes();
    let bob = world.connects(v5("bob").resuming());
    assert_eq!(bob.hears_all().len(), 11, "one again, and all from the start");
    (1..=11).for_each(|id| {
        bob.sends(puback(id));
    });
    bob.vanishes();

    let bob = world.connects(v5("bob").resuming().receive_maximum(1));
    bob.subscribes("t/#", 1);
    let Some(Said::Publish(first)) = bob.hears() else { panic!("no message") };
    bob.sends(unsubscribe(2, &["t/#"])).expects(unsuback(2, &[0]));
    bob.sends(puback(first.id)).expects_nothing();
}

#[test]
fn many_subscriptions_at_once_all_get_their_messages() {
    for shards in [1, 3] {
        let world = World::with(shards, Settings::default());
        let ann = world.connects(v5("ann"));
        let mut all = subscribe("t/0", 0);
        for number in 0..100 {
            ann.sends(publish(&format!("t/{number}"), "x").qos1(1).retained()).hears();
            all = all.and(&format!("t/{number}"), 0);
        }
        let bob = world.connects(v311("bob"));
        bob.sends(all).hears();
        assert_eq!(bob.hears_all().len(), 100);
    }
}

/// Subscribing again while replays wait replaces the waiting ones, each found by its filter.
#[test]
fn replays_that_wait_are_replaced_by_new_ones() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    let topic = |number: usize| format!("t/{number}");
    for number in 0..400 {
        ann.sends(publish(&topic(number), [b'x'; 1000]).qos1(1).retained()).hears();
    }
    let bob = world.connects(v5("bob"));
    bob.stops_reading();
    let subscribe_all = || {
        for number in 0..400 {
            bob.sends(subscribe(&topic(number), 0));
        }
    };
    subscribe_all();
    let sent_before = bob.waiting_bytes() / 1000;
    assert!((10..300).contains(&sent_before), "{sent_before} of 400 are under way");
    subscribe_all();
    bob.sends(unsubscribe(2, &["t/399"]));
    bob.reads_again();
    let heard = bob.hears_all();
    let messages = heard.iter().filter(|said| matches!(said, Said::Publish(_))).count();
    assert!((400..400 + sent_before + 2).contains(&messages), "{messages} with {sent_before}");
    let is_last = |said: &&Said| matches!(said, Said::Publish(it) if it.topic == "t/399");
    assert_eq!(heard.iter().filter(is_last).count(), 0, "given up before its turn");
}
