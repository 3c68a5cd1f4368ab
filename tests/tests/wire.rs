//! Issue 2, point 11, in bytes: subscriptions and wildcards, overlapping subscriptions, the QoS
//! exchanges with known and unknown identifiers, wills, and what 5.0 passes on.

use std::time::Duration;

use mqttd_tests::notation::{Pattern, show};
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::broker_is_peer;
use mqttd_tests::{Broker, only_our_broker};

#[test]
fn subscribe_and_unsubscribe_are_answered_filter_by_filter() {
    let broker = Broker::open();
    for carrier in Carrier::ALL {
        for level in [Level::V31, Level::V311] {
            let mut peer = Peer::joined(&broker, carrier, level, "c1");
            peer.send("82 [ 0102 <a> 00 <b/+> 01 <#> 02 ]");
            peer.expect("90 [ 0102 00 01 02 ]");
            peer.send("a2 [ 0103 <a> <never> ]");
            peer.expect("b0 02 0103");
        }
        let mut peer = Peer::joined(&broker, carrier, Level::V5, "c1");
        peer.send("82 [ 0102 [ ] <a> 00 <b/+> 01 <#> 02 ]");
        peer.expect("90 [ 0102 [ ] 00 01 02 ]");
        peer.send("a2 [ 0103 [ ] <a> <never> ]");
        peer.expect("b0 [ 0103 [ ] 00 11 ]");
    }
}

/// Filter, topic, does it match (4.7 of both standards).
const MATCHES: &[(&str, &str, bool)] = &[
    ("sport/tennis/player1/#", "sport/tennis/player1", true),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
    ("sport/tennis/player1/#", "sport/tennis/player12", false),
    ("sport/#", "sport", true),
    ("sport/#", "sports", false),
    ("#", "a", true),
    ("#", "/", true),
    ("#", "a/b/c", true),
    ("#", "$other/x", false),
    ("+/x", "$other/x", false),
    ("$other/#", "$other/x", true),
    ("$other/+", "$other/x", true),
    ("sport/tennis/+", "sport/tennis/player1", true),
    ("sport/tennis/+", "sport/tennis/player1/ranking", false),
    ("sport/+", "sport", false),
    ("sport/+", "sport/", true),
    ("+", "finance", true),
    ("+", "/finance", false),
    ("+/+", "/finance", true),
    ("/+", "/finance", true),
    ("+/tennis/#", "sport/tennis", true),
    ("a/+/c", "a//c", true),
    ("a/b", "A/b", false),
    ("a/b", "a/b/", false),
    ("/a", "a", false),
    ("+/b/+/d/#", "a/b/c/d/e/f", true),
    ("a b", "a b", true),
];

#[test]
fn wildcards_match_as_the_standard_says() {
    let broker = Broker::open();
    for (carrier, level) in [
        (Carrier::Tcp, Level::V31),
        (Carrier::Tcp, Level::V311),
        (Carrier::Tcp, Level::V5),
        (Carrier::WebSocket, Level::V311),
    ] {
        for (filter, topic, is_match) in MATCHES {
            let mut peer = Peer::joined(&broker, carrier, level, "c1");
            peer.subscribe(filter, 0);
            peer.subscribe("$end", 0);
            peer.publish(topic, "x");
            peer.publish("$end", "x");
            let got = peer.delivered().topic;
            assert_eq!(got == *topic, *is_match, "{filter} and {topic} in {level:?}");
        }
    }
}

#[test]
fn the_lower_of_both_qos_counts() {
    let broker = Broker::open();
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for carrier in Carrier::ALL {
        for level in Level::ALL {
            let mut peer = Peer::joined(&broker, carrier, level, "c");
            for granted in 0..=2 {
                peer.subscribe("t", granted);
                publisher.publish("t", "q0");
                peer.expect_message("t", "q0", 0);
                publisher.publish_qos1(1, "t", "q1");
                peer.expect_message("t", "q1", granted.min(1));
                publisher.publish_qos2(1, "t", "q2");
                peer.expect_message("t", "q2", granted);
            }
        }
    }
}

/// One copy at the highest QoS, or one for each subscription: the standard allows both (3.3.5),
/// Mosquitto does the second. Every copy names its subscription in 5.0.
#[test]
fn overlapping_subscriptions_deliver_at_the_highest_qos() {
    let broker = Broker::open();
    for level in Level::ALL {
        let mut peer = Peer::joined(&broker, Carrier::Tcp, level, "c1");
        peer.subscribe("a/#", 0);
        peer.subscribe("a/+", 2);
        peer.subscribe("a/b", 1);
        peer.publish_from_another(&broker, "a/b", "x");
        let mut best = 0;
        let mut copies = 0;
        loop {
            peer.send("c0 00");
            let (messages, _) = peer.messages_until(&[0xd0, 0]);
            if messages.is_empty() {
                break;
            }
            for message in messages {
                assert_eq!(message.topic, "a/b");
                best = best.max(message.qos);
                copies += 1;
            }
        }
        // Mosquitto 2.0.11 sends one copy, at the QoS of whichever subscription it finds first.
        let least = if broker_is_peer() { 1 } else { 2 };
        assert!(best >= least, "{copies} copies, QoS {best}: {level:?}");
        assert!((1..=3).contains(&copies), "{copies} copies for {level:?}");
    }
}

#[test]
fn subscribing_again_replaces_the_qos() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c1");
    peer.subscribe("t", 2);
    peer.subscribe("t", 0);
    peer.publish_from_another(&broker, "t", "x");
    peer.expect_message("t", "x", 0);
    peer.expect_nothing();
}

#[test]
fn unsubscribing_one_of_two_leaves_the_other() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c1");
    peer.subscribe("a/+", 0);
    peer.subscribe("a/#", 0);
    peer.send("a2 [ 0009 <a/#> ]");
    peer.expect("b0 02 0009");
    peer.publish("a", "no");
    peer.publish("a/b", "yes");
    peer.expect_message("a/b", "yes", 0);
    peer.expect_nothing();
}

/// Order: what one client publishes on one topic arrives as it was sent (4.6).
#[test]
fn order_is_kept_for_each_qos() {
    let broker = Broker::open();
    for qos in 0..=2 {
        let mut receiver = Peer::joined(&broker, Carrier::Tcp, Level::V311, "r");
        receiver.subscribe("t", qos);
        let mut sender = Peer::joined(&broker, Carrier::Tcp, Level::V311, "s");
        for number in 1..=200 {
            let text = number.to_string();
            match qos {
                0 => sender.publish("t", &text),
                1 => sender.publish_qos1(number, "t", &text),
                _ => sender.publish_qos2(number, "t", &text),
            }
        }
        for number in 1..=200 {
            receiver.expect_message("t", &number.to_string(), qos);
        }
    }
}

#[test]
fn a_repeated_qos_2_publish_is_taken_once() {
    let broker = Broker::open();
    for level in Level::ALL {
        let none = level.properties();
        let mut receiver = Peer::joined(&broker, Carrier::Tcp, Level::V311, "r");
        receiver.subscribe("t", 2);
        let mut sender = Peer::joined(&broker, Carrier::Tcp, level, "s");
        // Mosquitto 2.0.11 puts the sender out at the first repetition on one connection.
        let firsts = if broker_is_peer() { vec!["34"] } else { vec!["34", "3c", "3c"] };
        for first in firsts {
            sender.send(&format!("{first} [ <t> 0007 {none} 'x' ]"));
            sender.expect_acknowledgement(0x50, 7);
        }
        sender.send("62 02 0007");
        sender.expect_acknowledgement(0x70, 7);
        receiver.expect_message("t", "x", 2);
        receiver.expect_nothing();
    }
}

/// Identifiers nobody used: the exchange must come to an end and nobody be put out.
#[test]
fn acknowledgements_of_unknown_identifiers() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c1");
    peer.send("62 02 0063");
    peer.expect("70 02 0063");
    for nothing in ["40 02 0063", "70 02 0063"] {
        peer.send(nothing);
        peer.expect_nothing();
    }
}

#[test]
fn acknowledgements_of_unknown_identifiers_in_5_0() {
    only_our_broker!("2.0.11 answers without a reason, and PUBREC not at all");
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c1");
    peer.send("62 02 0063");
    let answer = peer.packet("PUBCOMP");
    assert_eq!((answer[0], &answer[2..5]), (0x70, &[0, 0x63, 0x92][..]), "{}", show(&answer));
    peer.send("50 02 0063");
    let answer = peer.packet("PUBREL");
    assert_eq!((answer[0], &answer[2..5]), (0x62, &[0, 0x63, 0x92][..]), "{}", show(&answer));
    for nothing in ["40 02 0063", "70 02 0063"] {
        peer.send(nothing);
        peer.expect_nothing();
    }
}

/// A peer whose will is `<will> 'gone'` with these flags added, and one who waits for it.
fn with_will(broker: &Broker, carrier: Carrier, level: Level, flags: u8) -> (Peer, Peer) {
    let mut watcher = Peer::joined(broker, Carrier::Tcp, level, "watcher");
    watcher.subscribe("will", 2);
    let mut peer = Peer::on(broker, carrier);
    let rest = format!("{} <will> <gone>", level.properties());
    peer.join_with(level, &format!("{:02x}", 0x06 | flags), "", "mortal", &rest);
    (peer, watcher)
}

#[test]
fn a_lost_connection_publishes_the_will() {
    let broker = Broker::open();
    for carrier in Carrier::ALL {
        for level in Level::ALL {
            for qos in 0..=2 {
                let (peer, mut watcher) = with_will(&broker, carrier, level, qos << 3);
                peer.vanish();
                let got = watcher.expect_message("will", "gone", qos);
                assert!(!got.retain);
                watcher.expect_nothing();
            }
        }
    }
}

#[test]
fn disconnect_deletes_the_will() {
    let broker = Broker::open();
    for level in Level::ALL {
        let (peer, mut watcher) = with_will(&broker, Carrier::Tcp, level, 0);
        peer.leave();
        watcher.expect_nothing();
    }
    let (mut peer, mut watcher) = with_will(&broker, Carrier::Tcp, Level::V5, 0);
    peer.send("e0 02 00 00");
    peer.expect_closed();
    watcher.expect_nothing();
}

/// 5.0, reason 0x04: Disconnect with Will Message.
#[test]
fn disconnect_0x04_publishes_the_will() {
    let broker = Broker::open();
    for bytes in ["e0 01 04", "e0 02 04 00"] {
        let (mut peer, mut watcher) = with_will(&broker, Carrier::Tcp, Level::V5, 0);
        peer.send(bytes);
        peer.expect_closed();
        watcher.expect_message("will", "gone", 0);
    }
}

#[test]
fn a_protocol_error_publishes_the_will() {
    let broker = Broker::open();
    for level in Level::ALL {
        let (mut peer, mut watcher) = with_will(&broker, Carrier::Tcp, level, 0);
        peer.send("36 [ <t> 0001 'qos 3' ]");
        watcher.expect_message("will", "gone", 0);
        peer.everything();
    }
}

#[test]
fn a_takeover_publishes_the_will() {
    let broker = Broker::open();
    let (mut peer, mut watcher) = with_will(&broker, Carrier::Tcp, Level::V311, 0);
    let _new = Peer::joined(&broker, Carrier::Tcp, Level::V311, "mortal");
    peer.expect_closed();
    watcher.expect_message("will", "gone", 0);
}

#[test]
fn a_missed_keep_alive_publishes_the_will() {
    let broker = Broker::open();
    let mut watcher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "watcher");
    watcher.subscribe("will", 0);
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 06 0001 <mortal> <will> <gone> ]");
    peer.expect("20 02 00 00");
    watcher.expect_message("will", "gone", 0);
}

#[test]
fn a_retained_will_is_retained_and_an_empty_one_is_a_message() {
    let broker = Broker::open();
    let (peer, mut watcher) = with_will(&broker, Carrier::Tcp, Level::V311, 0x20);
    peer.vanish();
    assert!(!watcher.expect_message("will", "gone", 0).retain);
    let mut late = Peer::joined(&broker, Carrier::Tcp, Level::V311, "late");
    late.subscribe("will", 0);
    assert!(late.expect_message("will", "gone", 0).retain);
    let mut peer = Peer::tcp(&broker);
    peer.join_with(Level::V311, "06", "", "mortal", "<will> <>");
    peer.vanish();
    watcher.expect_message("will", "", 0);
}

/// Will Delay Interval (5.0, 3.1.3.2.2): coming back in time cancels it; it comes when time is up.
#[test]
fn a_delayed_will() {
    let broker = Broker::open();
    let mut watcher = Peer::joined(&broker, Carrier::Tcp, Level::V5, "watcher");
    watcher.subscribe("will", 0);
    let mortal = |peer: &mut Peer| {
        let rest = "[ 18 00000002 ] <will> <gone>";
        peer.join_with(Level::V5, "04", "11 0000003c", "mortal", rest);
    };
    let mut peer = Peer::tcp(&broker);
    mortal(&mut peer);
    peer.vanish();
    let mut peer = Peer::tcp(&broker);
    mortal(&mut peer);
    std::thread::sleep(Duration::from_millis(3500));
    watcher.expect_nothing();
    peer.vanish();
    watcher.expect_nothing();
    watcher.expect_message("will", "gone", 0);
}

/// 5.0: what the publisher says about a message reaches the receiver, in order.
#[test]
fn properties_of_a_message_are_passed_on() {
    let broker = Broker::open();
    let mut receiver = Peer::joined(&broker, Carrier::Tcp, Level::V5, "r");
    receiver.subscribe("t", 1);
    let properties = "01 01 03 <text/plain> 08 <reply/to> 09 <ref> \
                      26 <k> <1> 26 <k> <2> 26 <a> <3>";
    let mut sender = Peer::joined(&broker, Carrier::Tcp, Level::V5, "s");
    sender.send(&format!("32 [ <t> 0001 [ {properties} ] 'x' ]"));
    sender.expect_acknowledgement(0x40, 1);
    let got = receiver.receive();
    assert_eq!(got.properties, Pattern::parse(properties).bytes(), "{}", show(&got.properties));
    // A receiver of an older version gets the message without them.
    let mut older = Peer::joined(&broker, Carrier::Tcp, Level::V311, "o");
    older.subscribe("t", 0);
    sender.send(&format!("30 [ <t> [ {properties} ] 'x' ]"));
    older.expect_message("t", "x", 0);
}

#[test]
fn subscription_identifiers_come_back_with_the_message() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c1");
    peer.send("82 [ 0001 [ 0b 05 ] <a/+> 00 ]");
    peer.expect("90 [ 0001 [ ] 00 ]");
    peer.publish("a/b", "x");
    assert_eq!(peer.delivered().properties, [0x0b, 5]);
}

/// Overlapping filters with identifiers: every identifier comes, in one copy or in several (5.0,
/// 3.3.4).
#[test]
fn overlapping_subscriptions_all_name_themselves() {
    only_our_broker!("2.0.11 sends one copy with one identifier");
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c1");
    for (identifier, filter) in [(5, "a/+"), (6, "a/#"), (7, "a/b"), (8, "b/#")] {
        peer.send(&format!("82 [ 0001 [ 0b {identifier:02x} ] <{filter}> 00 ]"));
        peer.expect("90 [ 0001 [ ] 00 ]");
    }
    peer.publish_from_another(&broker, "a/b", "x");
    peer.send("c0 00");
    let (mut messages, _) = peer.messages_until(&[0xd0, 0]);
    if messages.is_empty() {
        // The PINGRESP may overtake what comes from another connection.
        messages.push(peer.delivered());
        peer.send("c0 00");
        messages.extend(peer.messages_until(&[0xd0, 0]).0);
    }
    let mut identifiers: Vec<u8> = Vec::new();
    for message in &messages {
        assert!(message.properties.chunks(2).all(|it| it[0] == 0x0b), "{message:?}");
        identifiers.extend(message.properties.chunks(2).map(|it| it[1]));
    }
    identifiers.sort_unstable();
    assert_eq!(identifiers, [5, 6, 7], "{messages:?}");
}

#[test]
fn no_local_keeps_ones_own_messages_away() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c1");
    peer.send("82 [ 0001 [ ] <t> 04 ]");
    peer.expect("90 [ 0001 [ ] 00 ]");
    peer.publish("t", "mine");
    peer.expect_nothing();
    peer.publish_from_another(&broker, "t", "theirs");
    peer.expect_message("t", "theirs", 0);
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let broker = Broker::open();
    let mut receiver = Peer::joined(&broker, Carrier::Tcp, Level::V311, "r");
    receiver.subscribe("long/topic/name", 0);
    let mut sender = Peer::joined(&broker, Carrier::Tcp, Level::V5, "s");
    sender.send("30 [ <long/topic/name> [ 23 0003 ] 'one' ]");
    sender.send("30 [ <> [ 23 0003 ] 'two' ]");
    receiver.expect_message("long/topic/name", "one", 0);
    receiver.expect_message("long/topic/name", "two", 0);
    // An alias may be given to another topic, and the largest announced one is 10.
    sender.send("30 [ <other> [ 23 0003 ] 'no' ]");
    sender.send("30 [ <long/topic/name> [ 23 000a ] 'three' ]");
    receiver.expect_message("long/topic/name", "three", 0);
    receiver.expect_nothing();
    sender.send("30 [ <t> [ 23 000b ] 'too large' ]");
    sender.expect_disconnect(0x94);
}

#[test]
fn a_message_that_expired_in_the_queue_is_not_sent() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V5, "00", "11 0000003c", "c1");
    peer.subscribe("t", 1);
    peer.leave();
    let mut sender = Peer::joined(&broker, Carrier::Tcp, Level::V5, "s");
    sender.send("32 [ <t> 0001 [ 02 00000001 ] 'short' ]");
    sender.expect_acknowledgement(0x40, 1);
    sender.send("32 [ <t> 0002 [ 02 00000064 ] 'long' ]");
    sender.expect_acknowledgement(0x40, 2);
    std::thread::sleep(Duration::from_millis(2200));
    let mut peer = Peer::tcp(&broker);
    assert!(peer.join(Level::V5, "00", "11 0000003c", "c1"));
    let got = peer.expect_message("t", "long", 1);
    let left = u32::from_be_bytes(got.properties[1..5].try_into().unwrap());
    assert_eq!(got.properties[0], 2, "{got:?}");
    assert!((95..=98).contains(&left), "{left} seconds left of 100");
    peer.expect_nothing();
}
