//! Several shards: interest, confirmation, order.

use mqttd_core::settings::Settings;

use crate::world::*;

fn three() -> World {
    World::with(3, Settings { persistence: true, ..Settings::default() })
}

#[test]
fn suback_waits_until_every_shard_knows_of_the_subscription() {
    let world = three();
    let bob = world.connects(v5(&world.name_on(0, "bob")));
    let ben = world.connects(v5(&world.name_on(0, "ben")));
    let ann = world.connects(v5(&world.name_on(1, "ann")));
    world.mail_is_late();
    bob.sends(subscribe("t", 1)).expects_nothing();
    ben.sends(subscribe("t", 0)).expects_nothing();
    world.mail_arrives();
    bob.expects(suback(1, &[1]));
    ben.expects(suback(1, &[0]));
    ann.sends(publish("t", "x"));
    world.mail_arrives();
    bob.expects(publish("t", "x"));
    ben.expects(publish("t", "x"));
    bob.sends(unsubscribe(2, &["t"])).sends(publish("t", "y"));
    world.mail_arrives();
    ben.expects(publish("t", "y"));
}

#[test]
fn puback_waits_for_the_shards_a_message_goes_to() {
    let world = three();
    let bob = world.connects(v5(&world.name_on(0, "bob")).resuming());
    bob.subscribes("t", 1);
    bob.vanishes();
    let ann = world.connects(v5(&world.name_on(1, "ann")).resuming());
    world.mail_is_late();
    ann.sends(publish("t", "x").qos1(1)).sends(publish("u", "x").qos1(2)).expects_nothing();
    world.mail_arrives();
    ann.expects(puback(1));
    assert_eq!(ann.hears_all().len(), 1, "and the one behind it");
    world.restarts();
    let bob = world.connects(v5(&world.name_on(0, "bob")).resuming());
    bob.expects_under_any_id(publish("t", "x").qos1(1));
}

#[test]
fn filters_of_any_form_are_found_from_another_shard() {
    let world = three();
    let (bob, ann) = (
        world.connects(v5(&world.name_on(0, "bob"))),
        world.connects(v5(&world.name_on(1, "ann"))),
    );
    let deep = ["x"; 30].join("/");
    let filters = ["#", "+/b", "a/+", "a/#", "a/b", "a/b/#", "+/+", "/a/b", &deep];
    for filter in filters {
        bob.subscribes(filter, 0);
        let topic = if filter == deep { &*deep } else { "a/b" };
        let topic = if filter == "/a/b" { filter } else { topic };
        ann.sends(publish(topic, "x"));
        bob.expects(publish(topic, "x"));
        bob.sends(unsubscribe(2, &[filter])).hears();
        ann.sends(publish(topic, "y"));
        assert_eq!(bob.hears_all(), [], "{filter}");
    }
}

#[test]
fn two_shards_that_wait_for_each_other_do_not_wait_for_ever() {
    let world = three();
    let names = [world.name_on(0, "a"), world.name_on(1, "b")];
    let clients: Vec<_> = names.iter().map(|name| world.connects(v5(name).resuming())).collect();
    for client in &clients {
        client.subscribes("t", 1);
    }
    world.mail_is_late();
    for client in &clients {
        client.sends(publish("t", "x").qos1(1)).sends(publish("t", "y").qos1(2));
    }
    world.mail_arrives();
    for client in &clients {
        let heard = client.hears_all();
        assert!(heard.contains(&puback(1)) && heard.contains(&puback(2)), "{heard:?}");
    }
}

#[test]
fn order_holds_for_each_publisher_and_topic_across_shards() {
    let world = three();
    let bob = world.connects(v5(&world.name_on(0, "bob")).receive_maximum(3));
    bob.subscribes("t/#", 1);
    let publishers: Vec<_> =
        (0..3).map(|shard| world.connects(v5(&world.name_on(shard, "p")))).collect();
    world.mail_is_late();
    for round in 0..20u8 {
        for (place, publisher) in publishers.iter().enumerate() {
            publisher.sends(publish(&format!("t/{place}"), [round]).qos1(1));
            world.letter_arrives(u64::from(round) * 7);
        }
    }
    world.mail_arrives();
    let mut last = [None; 3];
    let mut count = 0;
    while let Some(Said::Publish(publish)) = bob.hears() {
        let place = usize::from(publish.topic.as_bytes()[2] - b'0');
        assert!(last[place] < Some(publish.payload[0]));
        last[place] = Some(publish.payload[0]);
        count += 1;
        bob.sends(puback(publish.id));
    }
    assert_eq!(count, 60);
}

#[test]
fn retained_messages_of_all_shards_are_found_and_a_puback_means_found() {
    let world = three();
    let ann = world.connects(v5(&world.name_on(0, "ann")));
    let bob = world.connects(v5(&world.name_on(1, "bob")));
    for number in 0..20 {
        ann.sends(publish(&format!("t/{number}"), "x").qos1(1).retained()).hears();
    }
    bob.sends(subscribe("t/+", 0)).expects(suback(1, &[0]));
    assert_eq!(bob.hears_all().len(), 20);
    world.mail_is_late();
    for number in 0..20 {
        ann.sends(publish(&format!("t/{number}"), "y").qos1(1).retained());
    }
    let at_once = ann.hears_all().len();
    assert!(at_once < 20, "the others are not there yet");
    world.mail_arrives();
    assert_eq!(ann.hears_all().len() + at_once, 20);
}
