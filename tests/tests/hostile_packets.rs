//! Hostile peers after their CONNECT, packet by packet (docs/security.md, cases 3, 5 to 9, 23,
//! 24). Which offence is answered with which reason code is in `malformed.rs` and
//! `spec_errors.rs`; here the broker and its other clients must not care.

use mqttd_tests::notation::Pattern;
use mqttd_tests::peer::{Level, Peer};
use mqttd_tests::siege::{MIB, packet, properties, string};
use mqttd_tests::{Siege, only_our_broker};

/// One valid packet of each kind a client may send, in 5.0 with properties.
const GOOD: [&str; 8] = [
    "10 [ <MQTT> 05 c6 003c [ 11 00000001 21 0010 26 <k> <v> ] \
     <cut> [ 18 00000001 ] <w> <x> <u> <p> ]",
    "32 [ <t> 0001 [ 02 00000009 03 <type> 08 <r> 26 <k> <v> ] 'payload' ]",
    "34 [ <t> 0002 [ ] 'payload' ]",
    "82 [ 0001 [ 0b 05 26 <k> <v> ] <a/+/#> 2d <$share/g/b> 01 ]",
    "a2 [ 0001 [ 26 <k> <v> ] <a/+/#> <b> ]",
    "62 [ 0001 92 [ 1f <why> ] ]",
    "e0 [ 04 [ 11 00000001 1f <why> ] ]",
    "c0 00",
];

/// Case 3: every packet cut at every byte, then the end of the connection; and with a Remaining
/// Length that says the cut was the end.
#[test]
fn every_packet_cut_at_every_byte() {
    let mut siege = Siege::open();
    for (which, good) in GOOD.iter().enumerate() {
        let bytes = Pattern::parse(good).bytes();
        for end in 1..bytes.len() {
            let mut shorter = packet(bytes[0], &[&bytes[2..end.max(2)]]);
            // A body that ends early is an offence, a bare head waits for its body.
            for cut in [&bytes[..end].to_vec(), &mut shorter] {
                let mut peer = if which == 0 {
                    Peer::tcp(&siege.broker)
                } else {
                    siege.attacker(Level::V5, "cut")
                };
                peer.send_raw(cut);
                peer.vanish();
            }
        }
        siege.exchange();
    }
    siege.survived(8 * MIB);
}

/// Case 5: every first byte there is, with bodies of 0 to 4 bytes.
#[test]
fn every_first_byte() {
    let mut siege = Siege::open();
    for level in [Level::V311, Level::V5] {
        for first in 0..=255_u8 {
            for body in [&b""[..], &[0, 0], &[0, 1, 0], &[0xff; 4]] {
                let mut peer = siege.attacker(level, "first");
                peer.send_raw(&packet(first, &[body]));
                peer.vanish();
            }
        }
        siege.exchange();
    }
    siege.survived(8 * MIB);
}

/// Case 6: what only a server sends, a second CONNECT, AUTH without a method: the end, one line.
#[test]
fn packets_out_of_place() {
    let mut siege = Siege::open();
    let offences = [
        "20 03 00 00 00",
        "90 [ 0001 [ ] 00 ]",
        "b0 [ 0001 [ ] 00 ]",
        "d0 00",
        "f0 00",
        "f0 [ 19 [ 15 <SCRAM-SHA-256> ] ]",
        "10 [ <MQTT> 05 02 0000 [ ] <again> ]",
    ];
    for (number, offence) in offences.iter().enumerate() {
        let name = format!("out-of-place-{number}");
        let mut peer = siege.attacker(Level::V5, &name);
        peer.send(offence);
        let answer = peer.everything();
        assert!(answer.is_empty() || answer[0] == 0xe0, "{offence}: {answer:02x?}");
        siege.expect_lines(1, &[&name, "disconnected:"]);
        siege.exchange();
    }
    siege.survived(4 * MIB);
}

/// Case 7: properties repeated, in the wrong packet, longer than their block, ten thousand of
/// them, and bad ones in the will.
#[test]
fn property_bombs() {
    let mut siege = Siege::open();
    let offences = [
        "30 [ <t> [ 23 0001 23 0001 ] 'x' ]",
        "30 [ <t> [ 11 00000001 ] 'x' ]",
        "30 [ <t> 06 26 ffff 6b 0001 ]",
        "30 [ <t> ff ff ff 7f 'x' ]",
        "30 [ <t> 80 80 80 80 80 01 ]",
        "82 [ 0001 [ 0b ff ff ff ff 7f ] <t> 00 ]",
        "e0 [ 00 [ 26 <k> ] ]",
    ];
    for offence in offences {
        let mut peer = siege.attacker(Level::V5, "bomber");
        peer.send(offence);
        let answer = peer.everything();
        assert!(answer.is_empty() || answer[0] == 0xe0, "{offence}: {answer:02x?}");
    }
    for will in ["[ 18 00000001 18 00000001 ]", "[ 23 0001 ]", "[ 01 02 ]", "[ 26 ffff 6b ]", "7f"]
    {
        let mut peer = Peer::tcp(&siege.broker);
        peer.send(&format!("10 [ <MQTT> 05 06 0000 [ ] <bomber> {will} <w> <x> ]"));
        let answer = peer.everything();
        let refused = answer.is_empty() || answer[0] == 0x20 && answer[3] >= 0x80;
        assert!(refused, "{will}: {answer:02x?}");
    }
    // Ten thousand are allowed; they reach whoever speaks 5.0 and cost the others nothing.
    let mut receiver = siege.attacker(Level::V5, "receiver");
    receiver.subscribe("many", 1);
    let many = properties(&Pattern::parse("26 <k> <v>").bytes().repeat(10_000));
    let mut peer = siege.attacker(Level::V5, "bomber");
    peer.send_bytes(&packet(0x32, &[&string("many"), &[0, 1], &many, b"x"]));
    peer.expect_acknowledgement(0x40, 1);
    assert!(receiver.packet("PUBLISH").len() > 70_000);
    siege.exchange();
    siege.survived(8 * MIB);
}

/// Case 8: identifiers 0 and reused, exchanges never finished, acknowledgements of nothing.
#[test]
fn packet_identifier_games() {
    let mut siege = Siege::open();
    // Acknowledgements of what was never sent may be told apart by ignoring or by closing.
    for level in [Level::V311, Level::V5] {
        for first in ["40", "50", "62", "70"] {
            let mut peer = siege.attacker(level, "acks");
            let ack = Pattern::parse(&format!("{first} 02 1234")).bytes();
            peer.send_raw(&ack.repeat(5000));
            peer.vanish();
            siege.exchange();
        }
    }
    // One identifier, ten thousand times: one message.
    let mut receiver = siege.attacker(Level::V311, "receiver");
    receiver.subscribe("once", 2);
    let mut peer = siege.attacker(Level::V311, "again");
    let publish = packet(0x34, &[&string("once"), &[0, 7], b"x"]);
    let again = packet(0x3c, &[&string("once"), &[0, 7], b"x"]);
    peer.send_bytes(&publish);
    peer.expect("50 02 0007");
    for _ in 0..100 {
        peer.send_bytes(&again.repeat(100));
        for _ in 0..100 {
            peer.expect("50 02 0007");
        }
    }
    receiver.expect_message("once", "x", 2);
    receiver.expect_nothing();
    siege.exchange();
    siege.survived(8 * MIB);
}

/// Case 8: 65 535 exchanges of QoS 2 begun and none finished. 5.0 names a bound (Receive Maximum);
/// 3.1.1 has none but the identifiers.
#[test]
fn exchanges_never_finished() {
    only_our_broker!("2.0.11 does not answer the 21st");
    let mut siege = Siege::open();
    let mut peer = siege.attacker(Level::V5, "unfinished-5");
    for id in 1..=21_u16 {
        peer.send_raw(&packet(0x34, &[&string("t"), &id.to_be_bytes(), &[0], b"x"]));
    }
    for id in 1..=20_u16 {
        peer.expect_acknowledgement(0x50, id);
    }
    peer.expect_disconnect(0x93);
    let mut peer = siege.attacker(Level::V311, "unfinished-311");
    for chunk in 0..64_u16 {
        let ids = (chunk * 1024).max(1)..=(chunk * 1024 + 1023);
        let mut bytes = Vec::new();
        for id in ids.clone() {
            bytes.extend(packet(0x34, &[&string("t"), &id.to_be_bytes(), &[b'x'; 100]]));
        }
        peer.send_bytes(&bytes);
        for id in ids {
            peer.expect_acknowledgement(0x50, id);
        }
    }
    siege.exchange();
    siege.survived(8 * MIB);
}

/// Case 9: topics empty, with NUL, surrogates, overlong UTF-8, wildcards, 65 535 bytes, and as
/// deep as the bytes allow.
#[test]
fn topic_abuse() {
    let mut siege = Siege::open();
    let long = "x".repeat(65_535);
    let deep = "/".repeat(65_535);
    let names: [&[u8]; 9] = [
        b"",
        b"a\0b",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xff\xfe",
        b"a/+",
        b"#",
        deep.as_bytes(),
    ];
    for name in names {
        for level in [Level::V311, Level::V5] {
            let none: &[u8] = if level == Level::V5 { &[0] } else { &[] };
            let mut peer = siege.attacker(level, "topics");
            peer.send_bytes(&packet(0x30, &[&string(name), none, b"x"]));
            let answer = peer.everything();
            assert!(answer.is_empty() || answer[0] == 0xe0, "{name:02x?}: {answer:02x?}");
        }
    }
    // As long as a topic may be: an ordinary message.
    let mut peer = siege.attacker(Level::V311, "long");
    peer.subscribe(&long, 0);
    peer.publish(&long, "x");
    assert_eq!(peer.delivered().topic, long);
    // `$SYS` is the broker's own.
    let mut peer = siege.attacker(Level::V311, "sys");
    peer.subscribe("$SYS/broker/forged", 0);
    peer.publish("$SYS/broker/forged", "x");
    peer.expect_nothing();
    siege.exchange();
    siege.survived(8 * MIB);
}

/// Case 23: aliases 0, above the maximum, unknown, and one of the connection before.
#[test]
fn topic_alias_games() {
    only_our_broker!("2.0.11 closes without words in places");
    let mut siege = Siege::open();
    for (alias, topic, reason) in
        [("0000", "t", 0x94), ("000b", "t", 0x94), ("ffff", "t", 0x94), ("0001", "", 0x82)]
    {
        let mut peer = siege.attacker(Level::V5, "alias");
        peer.send(&format!("30 [ <{topic}> [ 23 {alias} ] 'x' ]"));
        peer.expect_disconnect(reason);
    }
    let mut peer = Peer::tcp(&siege.broker);
    peer.join(Level::V5, "00", "11 0000ffff", "alias");
    peer.send("32 [ <t> 0001 [ 23 0001 ] 'x' ]");
    peer.expect_acknowledgement(0x40, 1);
    peer.vanish();
    let mut peer = Peer::tcp(&siege.broker);
    peer.join(Level::V5, "00", "11 0000ffff", "alias");
    peer.send("30 [ <> [ 23 0001 ] 'x' ]");
    peer.expect_disconnect(0x82);
    // One alias set again and again, to topics as long as they may be: only the last is kept.
    let mut peer = siege.attacker(Level::V5, "again");
    for number in 0..500 {
        let topic = format!("{number}{}", "x".repeat(60_000));
        let id = (number + 1_u16).to_be_bytes();
        let alias = &[3, 0x23, 0, (number % 10) as u8 + 1];
        peer.send_bytes(&packet(0x32, &[&string(topic), &id, alias, b"x"]));
        peer.expect_acknowledgement(0x40, number + 1);
    }
    siege.exchange();
    siege.survived(8 * MIB);
}

/// Case 24: a client that takes packets of 16 to 40 bytes and one message at a time. What does
/// not fit is not sent to it; everybody else gets everything. Below 16 only the broker's life is
/// looked at.
#[test]
fn tiny_maximum_packet_sizes() {
    only_our_broker!("2.0.11 sends a CONNACK that is too large");
    let mut siege = Siege::open();
    for size in 1..=40_u8 {
        let mut peer = Peer::tcp(&siege.broker);
        peer.speaks(Level::V5);
        let name = format!("tiny-{size}");
        peer.send(&format!("10 [ <MQTT> 05 02 0000 [ 21 0001 27 000000{size:02x} ] <{name}> ]"));
        peer.send_raw(&Pattern::parse("82 [ 0001 [ ] <tiny/#> 01 ]").bytes());
        for id in 1..=5_u8 {
            let publish = format!("32 [ <tiny/t> 00{id:02x} [ ] 'a long payload' ]");
            peer.send_raw(&Pattern::parse(&publish).bytes());
        }
        peer.send_raw(&Pattern::parse("e0 00").bytes());
        let mut rest = &peer.everything()[..];
        while !rest.is_empty() {
            let length = usize::from(rest[1]) + 2;
            assert!(length <= usize::from(size.max(16)), "{length} bytes for {size}: {rest:02x?}");
            rest = &rest[length..];
        }
        siege.exchange();
    }
    siege.survived(4 * MIB);
}
