//! Statements about sessions, acknowledgements and delivery that the suites by topic leave open,
//! byte for byte: what is sent again and what is not, what a full window holds back, what an
//! UNSUBSCRIBE lets finish, and which parts of a message pass through untouched.

use std::thread;
use std::time::Duration;

use mqttd_tests::notation::show;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::{Broker, only_our_broker, place};

/// Comes back to a session kept for an hour.
fn back(broker: &Broker, client_id: &str) -> Peer {
    let mut peer = Peer::tcp(broker);
    assert!(peer.join(Level::V5, "00", "11 00000e10", client_id), "the session is gone");
    peer
}

/// A fresh session kept for an hour.
fn fresh(broker: &Broker, client_id: &str, more: &str) -> Peer {
    let mut peer = Peer::tcp(broker);
    peer.join(Level::V5, "02", &format!("11 00000e10 {more}"), client_id);
    peer
}

fn publish(broker: &Broker, topic: &str, payload: &str) {
    Peer::joined(broker, Carrier::Tcp, Level::V5, "").publish_qos2(1, topic, payload);
}

#[test]
fn the_dup_flag_is_not_passed_on() {
    let broker = Broker::open();
    for level in Level::ALL {
        let none = level.properties();
        let mut peer = Peer::joined(&broker, Carrier::Tcp, level, "c");
        peer.subscribe("t", 2);
        for (first, answer, qos) in [("3a", 0x40, 1), ("3c", 0x50, 2)] {
            peer.send(&format!("{first} [ <t> 0009 {none} 'x' ]"));
            peer.expect_acknowledgement(answer, 9);
            let got = peer.receive();
            assert_eq!((got.dup, got.qos), (false, qos), "{level:?}");
        }
    }
}

#[test]
fn a_qos_1_publish_with_an_identifier_that_was_acknowledged_is_a_new_one() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.subscribe("t", 0);
    for first in ["32", "3a", "3a"] {
        peer.send(&format!("{first} [ <t> 0005 [ ] 'x' ]"));
        peer.expect_acknowledgement(0x40, 5);
        peer.expect_message("t", "x", 0);
    }
}

#[test]
fn after_pubcomp_the_identifier_is_free_for_a_new_message() {
    let broker = Broker::open();
    for level in Level::ALL {
        let mut peer = Peer::joined(&broker, Carrier::Tcp, level, "c");
        peer.subscribe("t", 0);
        for payload in ["one", "two"] {
            peer.publish_qos2(5, "t", payload);
            peer.expect_message("t", payload, 0);
        }
    }
}

/// Refused with a reason code of 0x80 or above: done with, never sent again.
#[test]
fn what_the_receiver_refused_is_not_sent_again() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "");
    peer.subscribe("t", 2);
    publish(&broker, "t", "refused");
    let got = peer.delivered();
    peer.send(&format!("50 [ {:04x} 80 ]", got.packet_id));
    peer.expect_nothing();
    peer.vanish();
    back(&broker, "c").expect_nothing();
}

#[test]
fn nothing_is_sent_again_on_a_connection_that_lasts() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "");
    peer.subscribe("t", 2);
    publish(&broker, "t", "once");
    assert_eq!(peer.delivered().payload, b"once");
    thread::sleep(Duration::from_millis(1200));
    peer.expect_nothing();
}

#[test]
fn a_full_window_holds_back_messages_and_nothing_else() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "21 0001");
    peer.subscribe("t", 1);
    publish(&broker, "t", "one");
    publish(&broker, "t", "two");
    let got = peer.delivered();
    assert_eq!(got.payload, b"one");
    peer.send("c0 00");
    peer.expect("d0 00");
    peer.subscribe("u", 0);
    peer.send("a2 [ 0002 [ ] <u> ]");
    peer.expect("b0 [ 0002 [ ] 00 ]");
    peer.send("34 [ <elsewhere> 0007 [ ] 'x' ]");
    peer.expect_acknowledgement(0x50, 7);
    peer.send("62 02 0007");
    peer.expect_acknowledgement(0x70, 7);
    peer.send(&format!("40 02 {:04x}", got.packet_id));
    peer.expect_message("t", "two", 1);
}

#[test]
fn unsubscribe_lets_what_was_begun_be_finished() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "");
    peer.subscribe("t", 2);
    publish(&broker, "t", "begun");
    let got = peer.delivered();
    peer.send("a2 [ 0002 [ ] <t> ]");
    peer.expect("b0 [ 0002 [ ] 00 ]");
    publish(&broker, "t", "too late");
    peer.vanish();
    let mut peer = back(&broker, "c");
    let again = peer.receive();
    assert_eq!((again.dup, again.packet_id), (true, got.packet_id));
    assert_eq!(again.payload, b"begun");
    peer.expect_nothing();
}

/// Section 3.10.4: compared character by character, wildcards included.
#[test]
fn unsubscribe_takes_only_the_very_same_filter() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.subscribe("a/+", 0);
    peer.subscribe("a/b", 0);
    peer.send("a2 [ 0002 [ ] <a/#> <A/b> <a/+/> <a/+> ]");
    peer.expect("b0 [ 0002 [ ] 11 11 11 00 ]");
    publish(&broker, "a/b", "still here");
    peer.expect_message("a/b", "still here", 0);
    publish(&broker, "a/c", "no longer");
    peer.expect_nothing();
}

/// Several filters in one packet count as several packets: the later one of the same filter wins.
#[test]
fn filters_of_one_subscribe_are_taken_one_after_the_other() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send("82 [ 0001 [ ] <t> 00 <t> 02 <u> 01 <t> 01 ]");
    peer.expect("90 [ 0001 [ ] 00 02 01 01 ]");
    publish(&broker, "t", "x");
    peer.expect_message("t", "x", 1);
    peer.expect_nothing();
}

/// The session's queue survives the replacement of a subscription.
#[test]
fn no_message_is_lost_when_a_subscription_is_replaced() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "21 0001");
    peer.subscribe("t", 1);
    for payload in ["one", "two", "three"] {
        publish(&broker, "t", payload);
    }
    let got = peer.delivered();
    assert_eq!(got.payload, b"one");
    peer.subscribe("t", 2);
    publish(&broker, "t", "four");
    peer.send(&format!("40 02 {:04x}", got.packet_id));
    peer.expect_message("t", "two", 1);
    peer.expect_message("t", "three", 1);
    peer.expect_message("t", "four", 2);
}

/// Expiry ends what waits, never an exchange that has begun: its PUBREL still comes.
#[test]
fn expiry_does_not_touch_an_exchange_that_has_begun() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "");
    peer.subscribe("t", 2);
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V5, "p");
    publisher.send("34 [ <t> 0001 [ 02 00000001 ] 'short-lived' ]");
    publisher.expect_acknowledgement(0x50, 1);
    let got = peer.delivered();
    assert_eq!(got.payload, b"short-lived");
    thread::sleep(Duration::from_millis(2100));
    let id = format!("{:04x}", got.packet_id);
    peer.send(&format!("50 02 {id}"));
    peer.expect(&format!("62 02 {id}"));
    // The sender's half goes on as well.
    publisher.send("62 02 0001");
    publisher.expect_acknowledgement(0x70, 1);
    peer.vanish();
    let mut peer = back(&broker, "c");
    peer.expect(&format!("62 02 {id}"));
    peer.send(&format!("70 02 {id}"));
    peer.expect_nothing();
}

#[test]
fn a_topic_alias_ends_with_its_connection() {
    let broker = Broker::open();
    let mut peer = fresh(&broker, "c", "");
    peer.send("30 [ <t> [ 23 0001 ] 'x' ]");
    peer.expect_nothing();
    peer.vanish();
    let mut peer = back(&broker, "c");
    peer.send("30 [ <> [ 23 0001 ] 'x' ]");
    peer.expect_disconnect(0x82);
}

#[test]
fn no_alias_is_sent_to_a_client_that_allows_none() {
    let broker = Broker::open();
    for properties in ["", "22 0000"] {
        let mut peer = Peer::tcp(&broker);
        peer.join(Level::V5, "02", properties, "c");
        peer.subscribe("t", 0);
        for _ in 0..3 {
            publish(&broker, "t", "x");
            let got = peer.delivered();
            assert_eq!((got.topic.as_str(), got.properties.len()), ("t", 0), "{got:?}");
        }
    }
}

/// U+FEFF at the front of a string is a character like others, and no form of a letter stands
/// for another.
#[test]
fn no_character_is_dropped_or_made_equal() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    let (marked, composed, decomposed) = ("\u{feff}a", "caf\u{e9}", "cafe\u{301}");
    for filter in [marked, composed] {
        peer.subscribe(filter, 0);
    }
    publish(&broker, "a", "unmarked");
    publish(&broker, decomposed, "another spelling");
    publish(&broker, marked, "marked");
    publish(&broker, composed, "this spelling");
    peer.expect_message(marked, "marked", 0);
    peer.expect_message(composed, "this spelling", 0);
}

#[test]
fn client_identifiers_of_all_letters_and_digits_are_taken() {
    let broker = Broker::open();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for level in Level::ALL {
        for start in 0..=all.len() - 23 {
            for length in [1, 23] {
                let id = &all[start..start + length];
                let mut peer = Peer::tcp(&broker);
                peer.join(level, "02", "", id);
            }
        }
    }
}

#[test]
fn properties_of_a_will_keep_their_order() {
    let broker = Broker::open();
    let mut watcher = Peer::joined(&broker, Carrier::Tcp, Level::V5, "watcher");
    watcher.subscribe("w", 0);
    let mut peer = Peer::tcp(&broker);
    let will = "[ 26 <z> <1> 26 <a> <2> 26 <z> <3> 03 <text> ] <w> <gone>";
    peer.join_with(Level::V5, "06", "", "c", will);
    peer.vanish();
    let got = watcher.delivered();
    assert_eq!(got.payload, b"gone");
    let order: Vec<u8> =
        got.properties.windows(3).filter(|it| it[..2] == [0, 1]).map(|it| it[2]).collect();
    assert_eq!(order, b"z1a2z3", "{}", show(&got.properties));
}

/// Request Problem Information 0: no Reason String and no User Property outside PUBLISH, CONNACK
/// and DISCONNECT. Request Response Information 0 or absent: none in CONNACK.
#[test]
fn information_nobody_asked_for_is_not_sent() {
    only_our_broker!("2.0.11 never sends reason strings");
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 0000 [ 17 00 19 00 ] <c> ]");
    let connack = peer.packet("CONNACK");
    assert!(!connack[4..].contains(&0x1a), "{}", show(&connack));
    peer.speaks(Level::V5);
    // Refusals in every acknowledgement the broker can be made to send.
    peer.send("32 [ <$SYS/mine> 0002 [ ] 'x' ]");
    peer.send("34 [ <$SYS/mine> 0003 [ ] 'x' ]");
    peer.send("62 02 0009");
    peer.send("a2 [ 0004 [ ] <never> ] c0 00");
    for (first, reason, properties_at) in
        [(0x40, 0x87, 5), (0x50, 0x87, 5), (0x70, 0x92, 5), (0xb0, 0x11, 4)]
    {
        let packet = peer.packet("acknowledgements");
        assert_eq!(packet[0], first, "{}", show(&packet));
        assert!(packet.contains(&reason), "{}", show(&packet));
        assert_eq!(packet.get(properties_at).copied().unwrap_or(0), 0, "{}", show(&packet));
    }
    peer.expect("d0 00");
}

/// A Reason String is left out where the packet would become too large for the Client with it.
#[test]
fn a_reason_string_never_makes_a_packet_too_large() {
    only_our_broker!("2.0.11 never sends reason strings");
    let broker = Broker::prepared(
        place::broker_under_test(),
        "allow_anonymous true\nacl_file {dir}/acl\nlistener {port} 127.0.0.1\n",
    );
    broker.write("acl", "topic read #\n");
    let broker = broker.started();
    // CONNACK has 16 bytes.
    for (limit, has_text) in [(200, true), (16, false)] {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("10 [ <MQTT> 05 02 0000 [ 27 {limit:08x} ] <c> ]"));
        peer.speaks(Level::V5);
        let connack = peer.packet("CONNACK");
        assert_eq!(connack[3], 0, "{}", show(&connack));
        for (publish, first) in [("32", 0x40), ("34", 0x50)] {
            peer.send(&format!("{publish} [ <t> 0001 [ ] 'x' ]"));
            let answer = peer.packet("a refusal");
            assert_eq!((answer[0], answer[4]), (first, 0x87), "{}", show(&answer));
            assert_eq!(answer.get(6) == Some(&0x1f), has_text, "{}", show(&answer));
            assert!(answer.len() <= limit, "{}", show(&answer));
        }
    }
}

/// Retained messages are no part of a session and stay when it ends.
#[test]
fn retained_messages_outlive_the_session_of_their_publisher() {
    let broker = Broker::open();
    for (flags, level) in [("02", Level::V311), ("02", Level::V5), ("00", Level::V311)] {
        let mut peer = Peer::tcp(&broker);
        peer.join(level, flags, "", "c");
        peer.send(&format!("31 [ <t> {} 'kept' ]", level.properties()));
        peer.leave();
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
        peer.subscribe("t", 0);
        assert!(peer.expect_message("t", "kept", 0).retain);
    }
}

/// A shared QoS 2 message belongs to its member: it is finished when the member is back, ends with
/// the member's session, and a refusal is final; none of this brings it to another member.
#[test]
fn a_shared_message_in_flight_stays_with_its_member() {
    let broker = Broker::open();
    let mut first = fresh(&broker, "first", "");
    first.subscribe("$share/g/t", 2);
    publish(&broker, "t", "begun");
    let got = first.delivered();
    assert_eq!((got.payload.as_slice(), got.qos), (&b"begun"[..], 2));
    let mut second = fresh(&broker, "second", "");
    second.subscribe("$share/g/t", 2);
    first.vanish();
    second.expect_nothing();
    let mut first = back(&broker, "first");
    let again = first.receive();
    assert_eq!((again.dup, again.packet_id), (true, got.packet_id));
    // A refusal is final.
    second.send("a2 [ 0001 [ ] <$share/g/t> ]");
    second.expect("b0 [ 0001 [ ] 00 ]");
    publish(&broker, "t", "refused");
    let got = first.delivered();
    second.subscribe("$share/g/t", 2);
    first.send(&format!("50 [ {:04x} 97 ]", got.packet_id));
    first.expect_nothing();
    second.expect_nothing();
    // The member's end is the message's.
    second.send("a2 [ 0002 [ ] <$share/g/t> ]");
    second.expect("b0 [ 0002 [ ] 00 ]");
    publish(&broker, "t", "lost with its member");
    assert_eq!(first.delivered().payload, b"lost with its member");
    second.subscribe("$share/g/t", 2);
    first.send("e0 [ 00 [ 11 00000000 ] ]");
    first.expect_closed();
    second.expect_nothing();
}

/// The members' own grants count, not the group's.
#[test]
fn shared_members_get_their_own_qos() {
    let broker = Broker::open();
    let mut zero = Peer::joined(&broker, Carrier::Tcp, Level::V5, "zero");
    let mut one = Peer::joined(&broker, Carrier::Tcp, Level::V5, "one");
    zero.subscribe("$share/g/t", 0);
    one.subscribe("$share/g/t", 1);
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V5, "publisher");
    publisher.publish_qos2(1, "t", "x");
    publisher.publish_qos2(2, "t", "x");
    zero.expect_message("t", "x", 0);
    one.expect_message("t", "x", 1);
}
