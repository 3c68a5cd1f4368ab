//! Shared subscriptions: turns, absent members, members that die.

use mqttd_core::settings::Settings;

use crate::world::*;

fn payloads(client: &Client) -> Vec<String> {
    let mut all = vec![];
    while let Some(said) = client.hears() {
        if let Said::Publish(publish) = said {
            all.push(String::from_utf8(publish.payload).unwrap());
        }
    }
    all
}

#[test]
fn members_take_turns_and_others_get_everything() {
    for shards in [1, 3] {
        let world = World::with(shards, Settings::default());
        let members: Vec<_> = (0..3).map(|n| world.connects(v5(&format!("m{n}")))).collect();
        members.iter().for_each(|member| drop(member.subscribes("$share/g/t", 1).clone()));
        let all = world.connects(v5("all"));
        all.subscribes("t", 0);
        let ann = world.connects(v5("ann"));
        for number in 0..9u8 {
            ann.sends(publish("t", [b'0' + number]).qos1(1)).expects(puback(1));
        }
        let got: Vec<_> = members.iter().map(payloads).collect();
        assert!(got.iter().all(|got| got.len() == 3), "{got:?}");
        assert!(got.iter().all(|got| got.is_sorted()), "each in order: {got:?}");
        assert_eq!(payloads(&all).len(), 9);
    }
}

#[test]
fn an_absent_member_is_chosen_only_when_nobody_is_there() {
    for shards in [1, 3] {
        let world = World::with(shards, Settings { persistence: true, ..Settings::default() });
        let ann = world.connects(v5("ann"));
        let there = world.connects(v5("there"));
        let away = world.connects(v5("away").resuming());
        there.subscribes("$share/g/t", 1);
        away.subscribes("$share/g/t", 1);
        away.vanishes();
        (0..4u16).for_each(|n| drop(ann.sends(publish("t", "x").qos1(n + 1)).clone()));
        assert_eq!(payloads(&there).len(), 4);
        (1..=4).for_each(|id| drop(there.sends(puback(id)).clone()));
        there.leaves();
        ann.sends(publish("t", "kept").qos1(9));
        world.restarts();
        let away = world.connects(v5("away").resuming());
        assert_eq!(payloads(&away), ["kept"]);
    }
}

#[test]
fn what_a_dead_member_left_unacknowledged_goes_to_another() {
    for shards in [1, 3] {
        let world = World::with(shards, Settings { persistence: true, ..Settings::default() });
        let first = world.connects(v5("first").receive_maximum(2));
        first.subscribes("$share/g/t", 2);
        let ann = world.connects(v5("ann"));
        ann.sends(publish("t", "one").qos1(1)).expects(puback(1));
        ann.sends(publish("t", "two").qos2(2)).expects(pubrec(2));
        ann.sends(publish("t", "waits").qos1(3)).expects(puback(3));
        assert_eq!(payloads(&first), ["one", "two"]);
        let second = world.connects(v5("second"));
        second.subscribes("$share/g/t", 2);
        first.vanishes();
        let got = payloads(&second);
        assert_eq!(got, ["one", "waits"], "QoS 2 in flight is never sent to another");
    }
}

#[test]
fn a_slow_member_is_passed_over() {
    let world = World::new();
    let slow = world.connects(v5("slow").receive_maximum(1));
    let quick = world.connects(v5("quick"));
    slow.subscribes("$share/g/t", 1);
    quick.subscribes("$share/g/t", 1);
    let ann = world.connects(v5("ann"));
    (1..=7).for_each(|id| drop(ann.sends(publish("t", "x").qos1(id)).clone()));
    assert_eq!((payloads(&slow).len(), payloads(&quick).len()), (1, 6));
}

#[test]
fn shared_subscriptions_get_no_retained_messages_and_end_with_unsubscribe() {
    let world = World::with(2, Settings::default());
    world.says("t", "kept", true);
    let bob = world.connects(v5("bob"));
    bob.subscribes("$share/g/t", 1).expects_nothing();
    bob.sends(unsubscribe(2, &["$share/g/t"])).expects(unsuback(2, &[0]));
    world.says("t", "x", false);
    bob.expects_nothing();
    assert_eq!(world.stats().shared_subscriptions, 0);
}

#[test]
fn a_member_that_subscribes_again_keeps_the_new_options_over_a_reconnect() {
    let world = World::new();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("$share/g/t", 0).subscribes("$share/g/t", 1).vanishes();
    let bob = world.connects(v5("bob").resuming());
    world.connects(v5("ann")).sends(publish("t", "x").qos1(1));
    bob.expects(publish("t", "x").qos1(1)).expects_nothing();
}
