//! Subscriptions: overlaps, identifiers, options, UNSUBSCRIBE.

use mqtt_proto::packet::RetainHandling;
use mqtt_proto::property::PropertyId;
use mqttd_core::settings::Settings;

use crate::world::*;

#[test]
fn overlapping_subscriptions_bring_one_message_with_all_identifiers() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    ann.sends(subscribe("a/+", 0).identifier(5)).expects(suback(1, &[0]));
    ann.sends(subscribe("a/#", 2).identifier(300)).expects(suback(1, &[2]));
    let bob = world.connects(v311("bob"));
    bob.sends(publish("a/b", "x").qos2(1)).expects(pubrec(1));
    let Some(Said::Publish(mut got)) = ann.hears() else { panic!("no message") };
    got.props.sort_by_key(|prop| format!("{prop:?}"));
    let expected = publish("a/b", "x").qos2(1).with(identified(300)).with(identified(5));
    assert_eq!(got, expected);
    ann.expects_nothing();
    world.settings(|settings| settings.duplicate_overlaps = true);
    bob.sends(publish("a/b", "y").qos2(2));
    assert_eq!(ann.hears_all().len(), 2);
}

#[test]
fn no_local_and_retain_retain_as_published() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    ann.sends(subscribe("t", 1).no_local()).expects(suback(1, &[1]));
    ann.sends(publish("t", "mine").qos1(1)).expects_nothing_but_puback(1);
    let bob = world.connects(v5("bob"));
    bob.sends(subscribe("t", 1).retain_as_published()).expects(suback(1, &[1]));
    ann.sends(publish("t", "x").retained());
    bob.expects(publish("t", "x").retained());
    bob.sends(publish("t", "y").retained());
    bob.expects(publish("t", "y").retained());
    ann.expects(publish("t", "y"));
}

#[test]
fn a_new_subscription_to_the_same_filter_replaces_the_old() {
    let world = World::durable();
    let ann = world.connects(v5("ann").resuming());
    ann.sends(subscribe("t", 2).identifier(1)).expects(suback(1, &[2]));
    ann.sends(subscribe("t", 0).identifier(2)).expects(suback(1, &[0]));
    world.says("t", "x", false);
    ann.expects(publish("t", "x").with(identified(2))).expects_nothing();
    assert_eq!(world.stats().subscriptions, 1);
    assert_eq!(world.live_records().len(), 2, "session and subscription");
    ann.sends(unsubscribe(3, &["t", "u"])).expects(unsuback(3, &[0, 0x11]));
    world.says("t", "x", false);
    ann.expects_nothing();
    assert_eq!(world.live_records().len(), 1);
    let bob = world.connects(v311("bob"));
    bob.sends(unsubscribe(3, &["t"])).expects(unsuback(3, &[]));
}

#[test]
fn retain_handling_decides_about_retained_messages() {
    let world = World::new();
    world.says("t", "kept", true);
    let ann = world.connects(v5("ann"));
    let kept = || publish("t", "kept").retained();
    let with = |handling| subscribe("t", 0).handling(handling);
    ann.sends(with(RetainHandling::Never)).expects(suback(1, &[0])).expects_nothing();
    ann.sends(with(RetainHandling::IfNew)).expects(suback(1, &[0])).expects_nothing();
    ann.sends(with(RetainHandling::AtSubscribe)).expects(suback(1, &[0])).expects(kept());
    ann.sends(unsubscribe(2, &["t"])).expects(unsuback(2, &[0]));
    ann.sends(with(RetainHandling::IfNew)).expects(suback(1, &[0])).expects(kept());
    ann.sends(with(RetainHandling::IfNew)).expects(suback(1, &[0])).expects_nothing();
}

#[test]
fn a_subscription_gets_no_more_than_the_listener_allows() {
    let mut settings = Settings::default();
    settings.listeners[0].qos_max = mqtt_proto::QoS::AtLeastOnce;
    let world = World::with(1, settings);
    let ann = world.connects(v311("ann"));
    ann.sends(subscribe("a", 2).and("b", 0).and("c", 1)).expects(suback(1, &[1, 0, 1]));
}

#[test]
fn qos_is_the_lower_of_both_unless_upgrades_are_asked_for() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    ann.subscribes("t", 1);
    let bob = world.connects(v5("bob"));
    bob.sends(publish("t", "2").qos2(1)).sends(publish("t", "0"));
    ann.expects(publish("t", "2").qos1(1)).expects(publish("t", "0"));
    world.settings(|settings| settings.upgrade_outgoing_qos = true);
    bob.sends(publish("t", "0"));
    ann.expects(publish("t", "0").qos1(2));
}

/// 5.0 has a word for it, 3.1.1 has 0x80, and 3.1 hears of a grant because it knows nothing else.
/// The Reason String of 5.0 is left out where it has no room (the world measures).
#[test]
fn a_subscription_too_many_is_refused_in_the_words_of_the_version() {
    let world = World::with(1, Settings { subscriptions_max: 3, ..Settings::default() });
    let ann = world.connects(v5("ann").resuming());
    let some = subscribe("a", 1).and("b", 1).and("c", 1);
    ann.sends(some).expects(suback(1, &[1; 3]));
    for (hello, refused) in [(v5("ann"), 0x97), (v311("ann"), 0x80), (v31("ann"), 1)] {
        let ann = world.connects(hello.resuming());
        ann.sends(subscribe("more", 1).and("c", 0)).expects(suback(1, &[refused, 0]));
        world.says("more", "x", false);
        ann.expects_nothing();
        assert_eq!(world.stats().subscriptions, 3);
    }
    for max in 20..40 {
        let maximum = Prop::U32(PropertyId::MaximumPacketSize, max);
        let ann = world.connects(v5("ann").resuming().with(maximum));
        ann.sends(subscribe("more", 1).and("c", 0)).expects(suback(1, &[0x97, 0]));
    }
}

/// Own messages come by the subscriptions without No Local, and with their QoS and identifiers.
#[test]
fn no_local_on_some_of_several_subscriptions() {
    let world = World::new();
    let ann = world.connects(v5("ann"));
    let subscribes = |filter: &str, qos, number, is_local: bool| {
        let one = subscribe(filter, qos).identifier(number);
        let one = if is_local { one } else { one.no_local() };
        ann.sends(one).expects(suback(1, &[qos]));
    };
    subscribes("a/+", 2, 1, false);
    subscribes("a/#", 1, 2, false);
    ann.sends(publish("a/b", "mine")).expects_nothing();
    subscribes("#", 0, 3, true);
    ann.sends(publish("a/b", "mine").qos1(1));
    ann.expects(publish("a/b", "mine").with(identified(3))).expects(puback(1)).expects_nothing();
    subscribes("+/b", 1, 4, true);
    ann.sends(publish("a/b", "mine").qos1(1));
    let Some(Said::Publish(mut got)) = ann.hears() else { panic!("no message") };
    got.props.sort_by_key(|prop| format!("{prop:?}"));
    let own = publish("a/b", "mine").qos1(1);
    assert_eq!(got, own.with(identified(3)).with(identified(4)));
    ann.expects(puback(1)).expects_nothing();

    let bob = world.connects(v5("bob"));
    bob.sends(publish("a/b", "his").qos2(1));
    let Some(Said::Publish(got)) = ann.hears() else { panic!("no message") };
    assert_eq!((got.qos, got.props.len()), (mqtt_proto::QoS::ExactlyOnce, 4));
    ann.expects_nothing();
}
