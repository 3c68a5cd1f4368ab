//! MQTT 5.0, section 4.13 and the sections it points to: which offence is answered with which
//! reason code, packet by packet; what is refused with CONNACK and never with DISCONNECT; and that
//! nothing behind an offence is processed.

use mqttd_tests::notation::show;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::{Broker, only_our_broker};

/// Offence and reason code of the DISCONNECT that answers it (3.14.2.1).
const AFTER_CONNECT: &[(&str, u8)] = &[
    // Malformed Packet, 0x81: can't be read.
    ("00 00", 0x81),
    ("30 ff ff ff ff 7f", 0x81),
    ("36 [ <t> 0001 [ ] 'x' ]", 0x81),
    ("60 02 0001", 0x81),
    ("80 [ 0001 [ ] <t> 00 ]", 0x81),
    ("a0 [ 0001 [ ] <t> ]", 0x81),
    ("e1 00", 0x81),
    ("f1 00", 0x81),
    ("30 [ 0002 c328 [ ] 'x' ]", 0x81),
    ("30 [ 0003 610062 [ ] 'x' ]", 0x81),
    ("30 [ 0003 eda080 [ ] 'x' ]", 0x81),
    ("30 [ <t> [ 26 0002 c328 <v> ] 'x' ]", 0x81),
    ("30 [ <t> [ 26 <k> 0001 00 ] 'x' ]", 0x81),
    ("30 [ <t> [ 03 0002 c328 ] 'x' ]", 0x81),
    ("30 [ <t> [ 08 0002 c328 ] 'x' ]", 0x81),
    ("30 [ <t> 7f 'short' ]", 0x81),
    ("30 [ <t> [ 7f 00 ] 'x' ]", 0x81),
    ("30 [ <t> [ 11 00000001 ] 'x' ]", 0x81),
    ("82 [ 0001 [ ] 0002 c328 00 ]", 0x81),
    ("82 [ 0001 [ ] <t> c0 ]", 0x81),
    ("a2 [ 0001 [ ] 0002 c328 ]", 0x81),
    // Protocol Error, 0x82: can be read and is not allowed.
    ("10 [ <MQTT> 05 02 0000 [ ] <again> ]", 0x82),
    ("20 03 00 00 00", 0x82),
    ("d0 00", 0x82),
    ("30 [ <t> [ 01 00 01 00 ] 'x' ]", 0x82),
    ("30 [ <t> [ 0b 01 ] 'x' ]", 0x82),
    ("30 [ <> [ ] 'x' ]", 0x82),
    ("30 [ <> [ 23 0001 ] 'never set' ]", 0x82),
    ("82 [ 0001 [ ] ]", 0x82),
    ("82 [ 0001 [ 0b 00 ] <t> 00 ]", 0x82),
    ("82 [ 0001 [ 0b 01 0b 02 ] <t> 00 ]", 0x82),
    ("82 [ 0001 [ ] <t> 03 ]", 0x82),
    ("82 [ 0001 [ ] <t> 30 ]", 0x82),
    ("82 [ 0001 [ ] <$share/g/t> 04 ]", 0x82),
    ("a2 [ 0001 [ ] ]", 0x82),
    ("e0 [ 00 [ 11 00000001 ] ]", 0x82),
    ("f0 [ 18 [ 15 <NONE> ] ]", 0x82),
    ("f0 [ 19 [ 15 <NONE> ] ]", 0x82),
    // Codes of their own.
    ("30 [ <t> [ 23 0000 ] 'x' ]", 0x94),
    ("30 [ <t> [ 23 ffff ] 'x' ]", 0x94),
];

#[test]
fn each_offence_has_its_reason_code() {
    only_our_broker!("2.0.11 lets some pass and says 0x81 or 0x82 for others");
    let broker = Broker::open();
    let mut witness = Peer::joined(&broker, Carrier::Tcp, Level::V5, "witness");
    let mut wrong = Vec::new();
    for (offence, reason) in AFTER_CONNECT {
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "offender");
        peer.send(offence);
        peer.send_unless_closed("30 [ <witness> [ ] 'behind the offence' ]");
        let all = peer.everything();
        if all.len() < 3 || all[0] != 0xe0 || all[2] != *reason {
            wrong.push(format!("{offence}: wanted {reason:02x}, got {}", show(&all)));
        }
    }
    witness.expect_nothing();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The DISCONNECT of the Server has no Session Expiry Interval, stands alone, and is the last.
#[test]
fn a_server_disconnect_is_the_last_word() {
    only_our_broker!("the reason string is ours");
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V5, "02", "11 00000e10", "c");
    // Without Request Problem Information 0, a Reason String may follow: 0x1f and nothing else.
    peer.send("30 [ <t> [ 23 0000 ] 'x' ] c0 00");
    let all = peer.everything();
    assert_eq!(all[0], 0xe0, "{}", show(&all));
    assert_eq!(usize::from(all[1]) + 2, all.len(), "one packet: {}", show(&all));
    assert!(all.len() == 3 || all[3] == 0 || all[4] == 0x1f, "{}", show(&all));
}

/// CONNECT and the answer of 5.0: a CONNACK with this code, or the end without a word, and never
/// a DISCONNECT, for that is only allowed after a CONNACK of success.
#[test]
fn a_bad_connect_is_answered_with_connack_or_not_at_all() {
    let broker = Broker::open();
    let mut wrong = Vec::new();
    for (connect, reason) in [
        ("10 [ <MQTT> 05 03 003c [ ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 02 003c [ ] 0002 c328 ]", 0x81),
        ("10 [ <MQTT> 05 02 003c [ ] 0001 00 ]", 0x81),
        ("10 [ <MQTT> 05 1e 003c [ ] <c> [ ] <w> <m> ]", 0x81),
        ("10 [ <MQTT> 05 0a 003c [ ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 22 003c [ ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 06 003c [ ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 06 003c [ ] <c> [ ] 0002 c328 <m> ]", 0x81),
        ("10 [ <MQTT> 05 82 003c [ ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 82 003c [ ] <c> 0002 c328 ]", 0x81),
        ("10 [ <MQTT> 05 42 003c [ ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 02 003c [ ] <c> <unannounced> ]", 0x81),
        ("10 [ <MQTT> 05 02 003c [ 23 0001 ] <c> ]", 0x81),
        ("10 [ <MQTT> 05 02 003c [ 21 0000 ] <c> ]", 0x82),
        ("10 [ <MQTT> 05 02 003c [ 27 00000000 ] <c> ]", 0x82),
        ("10 [ <MQTT> 05 02 003c [ 17 02 ] <c> ]", 0x82),
        ("10 [ <MQTT> 05 02 003c [ 11 00000001 11 00000001 ] <c> ]", 0x82),
        ("10 [ <MQTT> 05 02 003c [ 16 <data> ] <c> ]", 0x82),
        ("10 [ <MQTT> 06 02 003c [ ] <c> ]", 0x84),
        ("10 [ <MQTT> 05 06 003c [ ] <c> [ ] <a/#> <m> ]", 0x90),
    ] {
        let mut peer = Peer::tcp(&broker);
        peer.send(connect);
        let all = peer.everything();
        // 3.1.1's 0x01 for a level that is not known is as good: who knows what the client reads.
        let is_old_level = reason == 0x84 && all == [0x20, 2, 0, 1];
        let fits = all.is_empty()
            || (all[0] == 0x20
                && all[2] == 0
                && usize::from(all[1]) + 2 == all.len()
                && (all[3] == reason || all[3] == 0x81 || all[3] == 0x82));
        if !fits && !is_old_level {
            wrong.push(format!("{connect}: wanted {reason:02x}, got {}", show(&all)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Packets sent behind a CONNECT, in one write with it, count only if it is accepted.
#[test]
fn nothing_behind_a_refused_connect_is_processed() {
    let broker = Broker::config(
        "listener {port} 127.0.0.1\nallow_anonymous true\n\
         listener {ws} 127.0.0.1\nprotocol websockets\n",
    );
    let mut witness = Peer::joined(&broker, Carrier::Tcp, Level::V311, "witness");
    witness.subscribe("#", 0);
    for (connect, none) in [
        ("10 [ <MQTT> 04 00 003c <> ]", ""),
        ("10 [ <MQTT> 05 02 003c [ 15 <NONE> ] <c> ]", "[ ]"),
        ("10 [ <MQTT> 04 03 003c <c> ]", ""),
    ] {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("{connect} 31 [ <t> {none} 'too early' ]"));
        let all = peer.everything();
        assert!(all.is_empty() || all[0] == 0x20 && all[3] != 0, "{}", show(&all));
    }
    witness.expect_nothing();
    for (connect, none) in
        [("10 [ <MQTT> 04 02 003c <c> ]", ""), ("10 [ <MQTT> 05 02 003c [ ] <c> ]", "[ ]")]
    {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("{connect} 30 [ <t> {none} 'welcome' ] e0 00"));
        let all = peer.everything();
        assert_eq!((all[0], all[3]), (0x20, 0), "{}", show(&all));
        witness.expect_message("t", "welcome", 0);
    }
}

/// One CONNACK a connection, whatever follows.
#[test]
fn a_connack_comes_first_and_once() {
    let broker = Broker::open();
    let mut keeper = Peer::tcp(&broker);
    keeper.join(Level::V311, "00", "", "c");
    keeper.subscribe("t", 1);
    keeper.vanish();
    let peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "other");
    peer.publish_from_another(&broker, "t", "waits");
    let mut keeper = Peer::tcp(&broker);
    keeper.send("10 [ <MQTT> 04 00 003c <c> ] c0 00 82 [ 0001 <u> 00 ] e0 00");
    let all = keeper.everything();
    assert_eq!(all[..4], [0x20, 2, 1, 0], "{}", show(&all));
    let later = all[4..].windows(4).filter(|it| it[..2] == [0x20, 2]).count();
    assert_eq!(later, 0, "{}", show(&all));
}

#[test]
fn a_client_that_sends_more_than_the_receive_maximum_is_put_out() {
    only_our_broker!("2.0.11 does not count");
    let broker = Broker::with("max_inflight_messages 2");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    for id in 1..=2 {
        peer.send(&format!("34 [ <t> {id:04x} [ ] 'x' ]"));
        peer.expect_acknowledgement(0x50, id);
    }
    // A repetition of one that is known is no further one.
    peer.send("3c [ <t> 0002 [ ] 'x' ]");
    peer.expect_acknowledgement(0x50, 2);
    peer.send("34 [ <t> 0003 [ ] 'x' ]");
    peer.expect_disconnect(0x93);
}

#[test]
fn a_packet_above_the_announced_maximum_is_answered_with_0x95() {
    only_our_broker!("2.0.11 closes without a word");
    let broker = Broker::with("max_packet_size 100");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send(&format!("30 [ <t> [ ] '{}' ]", "x".repeat(94)));
    peer.expect_nothing();
    peer.send(&format!("30 [ <t> [ ] '{}' ]", "x".repeat(95)));
    peer.expect_disconnect(0x95);
}
