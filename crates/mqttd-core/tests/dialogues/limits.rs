//! Topic aliases, maximum packet size, access rights.

use std::sync::Arc;

use mqtt_auth::AclTable;
use mqtt_proto::ReasonCode;
use mqtt_proto::property::PropertyId;
use mqttd_core::drops::DropReason;
use mqttd_core::memory::Memory;
use mqttd_core::settings::Settings;

use crate::world::*;

#[test]
fn the_client_may_use_topic_aliases() {
    let world = World::new();
    let bob = world.connects(v5("bob"));
    bob.subscribes("#", 1);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("long/topic", "1").with(alias(10)));
    ann.sends(publish("", "2").qos1(1).with(alias(10))).expects(puback(1));
    ann.sends(publish("other", "3").with(alias(10))).sends(publish("", "4").with(alias(10)));
    bob.expects(publish("long/topic", "1")).expects(publish("long/topic", "2").qos1(1));
    bob.expects(publish("other", "3")).expects(publish("other", "4"));
    ann.sends(publish("", "").with(alias(9))).is_told(ReasonCode::ProtocolError);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", "").with(alias(11))).is_told(ReasonCode::TopicAliasInvalid);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("", "").with(alias(10))).is_told(ReasonCode::ProtocolError);
}

#[test]
fn the_server_uses_as_many_aliases_as_the_client_allows() {
    let world = World::new();
    let maximum = Prop::U16(PropertyId::TopicAliasMaximum, 1);
    let hello = || v5("bob").resuming().with(maximum.clone());
    let bob = world.connects(hello());
    bob.subscribes("#", 1);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("long/a", "1")).sends(publish("long/b", "2")).sends(publish("long/a", "3"));
    bob.expects(publish("long/a", "1").with(alias(1))).expects(publish("long/b", "2"));
    bob.expects(publish("", "3").with(alias(1)));
    ann.sends(publish("long/a", "4").qos1(1));
    bob.expects(publish("", "4").qos1(1).with(alias(1)));
    let bob = world.connects(hello());
    bob.expects(publish("long/a", "4").qos1(1).dup().with(alias(1)));
}

#[test]
fn a_message_above_the_clients_maximum_is_dropped_as_if_sent() {
    for world in [World::new(), World::durable()] {
        let maximum = Prop::U32(PropertyId::MaximumPacketSize, 30);
        let bob = world.connects(v5("bob").resuming().receive_maximum(1).with(maximum));
        bob.subscribes("t", 2);
        let ann = world.connects(v5("ann"));
        for qos in 0..3 {
            let big = publish("t", [b'x'; 40]);
            ann.sends(match qos {
                0 => big,
                1 => big.qos1(1),
                _ => big.qos2(2),
            });
        }
        assert_eq!(world.dropped(DropReason::PacketTooLarge), 3);
        ann.sends(publish("t", "fits").qos1(3));
        assert!(matches!(bob.hears(), Some(Said::Publish(publish)) if publish.payload == b"fits"));
        bob.expects_nothing();
    }
}

#[test]
fn a_message_that_has_become_too_large_gives_its_identifier_back() {
    let world = World::durable();
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 2);
    let ann = world.connects(v5("ann"));
    ann.sends(publish("t", [b'x'; 40]).qos1(1)).sends(publish("t", [b'x'; 40]).qos2(2));
    ann.sends(publish("t", "fits").qos1(3));
    bob.vanishes();
    let maximum = Prop::U32(PropertyId::MaximumPacketSize, 30);
    let bob = world.connects(v5("bob").resuming().receive_maximum(1).with(maximum));
    bob.expects(publish("t", "fits").qos1(3).dup()).sends(puback(3)).expects_nothing();
    assert_eq!(world.dropped(DropReason::PacketTooLarge), 2);
    assert_eq!(world.live_records().len(), 2);
    ann.sends(publish("t", "next").qos1(1));
    assert!(matches!(bob.hears(), Some(Said::Publish(_))), "the window is free");
}

fn guarded(acl: &str) -> World {
    let mut settings = Settings::default();
    settings.listeners[0].acl = Some(Arc::new(AclTable::parse(acl).unwrap()));
    World::with(1, settings)
}

#[test]
fn access_rights_hold_for_publishing() {
    let world = guarded("user ann\ntopic write open\n");
    let denied = ReasonCode::NotAuthorized;
    let ann = world.connects(v5("ann").user("ann"));
    let refused = |said: Option<Said>, expected: Said| assert_eq!(said, Some(expected));
    ann.sends(publish("shut", "").qos1(1));
    refused(ann.hears(), Said::Puback(1, denied));
    ann.sends(publish("shut", "").qos2(2));
    refused(ann.hears(), Said::Pubrec(2, denied));
    ann.sends(publish("open", "").qos1(3));
    refused(ann.hears(), Said::Puback(3, ReasonCode::NoMatchingSubscribers));
    ann.sends(publish("$SYS/x", "").qos1(4));
    refused(ann.hears(), Said::Puback(4, denied));
    let old = world.connects(v311("old").user("ann"));
    old.sends(publish("shut", "").qos1(1)).expects(puback(1));
    old.sends(publish("shut", "").qos2(2)).expects(pubrec(2)).sends(pubrel(2)).expects(pubcomp(2));
    assert_eq!(world.dropped(DropReason::NotAuthorized), 5);
}

#[test]
fn access_rights_hold_for_delivery_retained_messages_and_wills() {
    let world = guarded("topic write #\nuser bob\ntopic read open/#\ntopic write #\n");
    let ann = world.connects(v5("ann"));
    for topic in ["open/a", "shut/a"] {
        ann.sends(publish(topic, "kept").retained());
    }
    let bob = world.connects(v5("bob").user("bob"));
    bob.sends(subscribe("#", 0)).hears();
    bob.expects(publish("open/a", "kept").retained()).expects_nothing();
    ann.sends(publish("shut/a", "x")).sends(publish("open/a", "x"));
    bob.expects(publish("open/a", "x")).expects_nothing();

    let world = guarded("user ann\ntopic write no\nuser bob\ntopic read #\n");
    let bob = world.connects(v5("bob").user("bob"));
    bob.sends(subscribe("#", 0)).hears();
    world.connects(v5("ann").user("ann").will(publish("will", ""))).vanishes();
    bob.expects_nothing();
    world.connects(v5("ann").user("ann").will(publish("no", ""))).vanishes();
    bob.expects(publish("no", ""));
}

/// The shortest CONNACK of a default broker has 10 bytes, a refusal has 5.
#[test]
fn a_client_that_cannot_be_sent_its_connack_is_refused() {
    let world = World::new();
    let limited = |max| v5("bob").with(Prop::U32(PropertyId::MaximumPacketSize, max));
    world.connects(limited(10)).vanishes();
    let refused = world.tries(limited(9)).connack;
    let code = ReasonCode::PacketTooLarge.value();
    assert_eq!(refused, Said::Connack { present: false, code, props: vec![] });
    assert_eq!(world.tries(limited(5)).connack, refused);
    world.tries(limited(4)).is_closed();
}

/// Whatever there is to say, to Clients that take no packet above 1, 2, 3 … bytes. The world checks
/// every packet.
#[test]
fn no_client_gets_a_packet_above_its_maximum() {
    let acl = AclTable::parse("topic readwrite t/#\n").unwrap();
    let mut settings = Settings { keep_alive_seconds_max: Some(60), ..Settings::default() };
    settings.listeners[0].acl = Some(Arc::new(acl));
    let (mut refused, mut silenced, mut cut, mut done) = (0, 0, 0, 0);
    for max in 1..120 {
        let world = World::with(1, settings.clone());
        let maximum = Prop::U32(PropertyId::MaximumPacketSize, max);
        let aliases = alias_maximum(5);
        let bob = world.tries(v5("bob").resuming().with(maximum).with(aliases));
        match bob.connack {
            Said::Connack { code: 0, .. } => {}
            Said::Connack { code: 0x95, .. } => {
                refused += 1;
                continue;
            }
            _ => {
                silenced += 1;
                continue;
            }
        }
        let ann = world.connects(v5("ann"));
        ann.sends(publish("t/retained", "value").qos1(1).retained());
        let mut many = subscribe("t/#", 2);
        (0..20).for_each(|number| many = many.clone().and(&format!("t/{number}"), 1));
        bob.sends(Said::Pingreq).sends(subscribe("t/#", 2)).sends(many);
        for len in 0..60 {
            ann.sends(publish("t/long/topic", vec![b'x'; len]));
            ann.sends(publish("t/other", vec![b'x'; len]).qos2(len as u16 + 1));
            ann.sends(pubrel(len as u16 + 1));
        }
        bob.sends(publish("forbidden", "x").qos1(1)).sends(publish("forbidden", "x").qos2(2));
        bob.sends(publish("t/x", "x").qos2(3)).sends(pubrel(3)).sends(pubrel(9));
        bob.sends(Said::Pubrec(1000, ReasonCode::Success));
        let filters: Vec<_> = (0..50).map(|number| format!("u/{number}")).collect();
        bob.sends(unsubscribe(7, &filters.iter().map(String::as_str).collect::<Vec<_>>()));
        if !bob.is_open() {
            assert_eq!(bob.hears_all().pop(), Some(disconnect(ReasonCode::PacketTooLarge)));
            cut += 1;
            continue;
        }
        world.connects(v5("bob"));
        assert_eq!(bob.hears_all().pop(), Some(disconnect(ReasonCode::SessionTakenOver)));
        done += 1;
    }
    // CONNACK says at least keep alive and the largest packet: 13 bytes. SUBACK with 21 codes has
    // 26 bytes, UNSUBACK with 50 has 55.
    assert_eq!((silenced, refused, cut, done), (4, 8, 42, 65));
}

/// Who takes only small packets is told less than others, and held to no more than it was told.
#[test]
fn connack_leaves_out_what_can_be_done_without() {
    let world = World::new();
    let told = |max| {
        let bob = world.connects(v5("bob").with(Prop::U32(PropertyId::MaximumPacketSize, max)));
        let has = |id| bob.told(id).is_some();
        (has(PropertyId::TopicAliasMaximum), has(PropertyId::ReceiveMaximum), bob)
    };
    let (aliases, maximum, bob) = told(16);
    assert_eq!((aliases, maximum), (true, true));
    bob.sends(publish("t", "x").with(alias(1)));
    assert!(bob.is_open());
    let (aliases, maximum, bob) = told(15);
    assert_eq!((aliases, maximum), (false, true));
    bob.sends(publish("t", "x").with(alias(1))).is_told(ReasonCode::TopicAliasInvalid);
    let (aliases, maximum, bob) = told(12);
    assert_eq!((aliases, maximum), (false, false));
    for id in 1..=30 {
        bob.sends(publish("t", "x").qos2(id));
    }
    assert!(bob.is_open(), "20 is the Receive Maximum that could not be told");
    assert_eq!(bob.hears_all().len(), 30);
}

fn limited(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = Settings { persistence: true, ..Settings::default() };
    change(&mut settings);
    World::with(1, settings)
}

#[test]
fn topic_levels() {
    let world = limited(|settings| settings.topic_levels_max = Some(3));
    let bob = world.connects(v5("bob"));
    bob.subscribes("a/b/c", 1).subscribes("$share/g/a/b/+", 1);
    bob.sends(subscribe("a/b/c/#", 1)).expects(suback(1, &[0x8F]));
    bob.sends(subscribe("$share/g/a/b/c/d", 1)).expects(suback(1, &[0x8F]));
    let ann = world.connects(v5("ann"));
    ann.sends(publish("a/b/c", "x").qos1(1)).expects(puback(1));
    assert_eq!(bob.hears_all().len(), 2);
    ann.sends(publish("a/b/c/d", "x").qos1(2));
    ann.expects(Said::Puback(2, ReasonCode::TopicNameInvalid));
    ann.sends(publish("a/b/c/d", "x").qos2(3));
    ann.expects(Said::Pubrec(3, ReasonCode::TopicNameInvalid));
    ann.sends(publish("a/b/c/d", "x")).expects_nothing();
    let old = world.connects(v311("old"));
    old.sends(publish("a/b/c/d", "x").qos1(4)).expects(puback(4));
    old.sends(subscribe("a/b/c/d", 0)).expects(suback(1, &[0x80]));
    assert_eq!(world.dropped(DropReason::TopicTooDeep), 4);
    world.connects(v5("will").will(publish("a/b/c", "")));
    let refused = world.tries(v5("deep").will(publish("a/b/c/d", ""))).connack;
    assert!(matches!(refused, Said::Connack { code: 0x90, .. }), "{refused:?}");
}

#[test]
fn subscriptions_of_one_client() {
    let world = limited(|settings| settings.subscriptions_max = 2);
    let bob = world.connects(v5("bob"));
    bob.subscribes("a", 0).subscribes("b", 0).subscribes("a", 1);
    bob.sends(subscribe("c", 0)).expects(suback(1, &[0x97]));
    let old = world.connects(v311("old"));
    old.subscribes("a", 0).subscribes("b", 0);
    old.sends(subscribe("c", 0)).expects(suback(1, &[0x80]));
    bob.sends(unsubscribe(2, &["a"])).expects(unsuback(2, &[0]));
    bob.subscribes("c", 0);
}

#[test]
fn the_rate_of_subscriptions() {
    let world = limited(|settings| settings.subscribe_rate = Some(2));
    let bob = world.connects(v5("bob"));
    bob.subscribes("a", 0).subscribes("b", 0);
    bob.sends(subscribe("c", 0)).expects(suback(1, &[0x97]));
    // Another Client has a rate of its own.
    world.connects(v5("ann")).subscribes("c", 0);
    world.passes(1);
    bob.subscribes("c", 0).subscribes("c", 1);
    bob.sends(subscribe("c", 0)).expects(suback(1, &[0x97]));
}

/// At the limit nothing new is taken, what is there goes on, and what was acknowledged stays.
#[test]
fn the_memory_limit() {
    for restarts in [false, true] {
        let memory = Arc::new(Memory::new(20_000));
        let world = limited(|settings| settings.memory = Some(Arc::clone(&memory)));
        let bob = world.connects(v5("bob").resuming());
        bob.subscribes("t", 1);
        bob.vanishes();
        let mut taken = 0_u16;
        let ann = world.connects(v5("ann"));
        while ann.sends(publish("t", [b'x'; 1000]).qos1(taken + 1)).is_open() {
            taken += 1;
            ann.expects(puback(taken));
        }
        ann.is_told(ReasonCode::QuotaExceeded);
        assert!((15..=20).contains(&taken), "{taken}");
        if restarts {
            world.restarts();
        }
        assert!(memory.is_full());
        assert_eq!(world.dropped(DropReason::MemoryLimit), u64::from(!restarts));
        let refused = world.tries(v5("new")).connack;
        assert!(matches!(refused, Said::Connack { code: 0x97, .. }), "{refused:?}");
        // Who has a session comes in, and gets everything.
        let bob = world.connects(v5("bob").resuming());
        bob.sends(subscribe("u", 0));
        while let Some(said) = bob.hears() {
            if let Said::Publish(publish) = said {
                bob.sends(puback(publish.id));
            }
        }
        assert!(!memory.is_full(), "{} bytes", memory.held());
        world.connects(v5("new")).subscribes("u", 0).sends(publish("t", "y").qos1(1));
        assert!(matches!(bob.hears(), Some(Said::Publish(_))));
    }
}

/// The account of a message ends with its last holder, on whichever shard that is.
#[test]
fn memory_is_given_back() {
    let memory = Arc::new(Memory::new(1_000_000));
    let settings = Settings {
        persistence: true,
        memory: Some(Arc::clone(&memory)),
        retain_expiry_seconds: Some(1000),
        ..Settings::default()
    };
    let world = World::with(3, settings);
    for shard in 0..3 {
        let absent = world.connects(v5(&world.name_on(shard, "s")).resuming());
        absent.subscribes("#", 1);
        absent.vanishes();
    }
    let ann = world.connects(v5("ann"));
    for number in 0..10 {
        ann.sends(publish(&format!("t/{number}"), [b'x'; 100]).qos1(1).retained()).hears();
    }
    let held = memory.held();
    assert!(held > 10 * 100, "{held}");
    for shard in 0..3 {
        world.connects(v5(&world.name_on(shard, "s"))).leaves();
    }
    assert!(memory.held() < held, "the retained ones are left");
    for number in 0..10 {
        ann.sends(publish(&format!("t/{number}"), "").qos1(1).retained()).hears();
    }
    assert_eq!(memory.held(), 0);
}

#[test]
fn the_last_drops_and_those_of_each_client_are_known() {
    let world = limited(|settings| settings.queued_messages_max = Some(1));
    let bob = world.connects(v5("bob").resuming());
    bob.subscribes("t", 1);
    bob.vanishes();
    let ann = world.connects(v5("ann"));
    for number in 0..5 {
        ann.sends(publish("t", format!("{number}")).qos1(number + 1)).hears();
        world.passes(1);
    }
    let drops = world.recent_drops();
    assert_eq!(drops.len(), 4);
    let last = drops.last().unwrap();
    assert_eq!((last.client_id.as_str(), last.topic.as_str()), ("bob", "t"));
    assert_eq!(last.reason, Some(DropReason::QueueFull));
    assert!(drops.is_sorted_by_key(|drop| drop.at) && drops[0].at < last.at);
    assert_eq!(world.drops_of("bob", DropReason::QueueFull), 4);
    assert_eq!(world.drops_of("ann", DropReason::QueueFull), 0);
}
