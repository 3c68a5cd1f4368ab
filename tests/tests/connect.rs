//! Issue 2, points 11 and 13, in bytes: CONNECT and its answers in the three versions, over TCP and
//! over WebSocket; takeover; keep alive.

use std::time::{Duration, Instant};

use mqttd_tests::notation::{Pattern, show};
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::broker_is_peer;
use mqttd_tests::{Broker, only_our_broker};

#[test]
fn connack_of_the_older_versions() {
    let broker = Broker::open();
    for carrier in Carrier::ALL {
        for level in [Level::V31, Level::V311] {
            let mut peer = Peer::on(&broker, carrier);
            peer.send(&format!("10 [ {} 02 003c <c1> ]", level.in_connect()));
            peer.expect("20 02 00 00");
            peer.send("c0 00");
            peer.expect("d0 00");
            peer.leave();
        }
    }
}

/// Mosquitto 2.1's bytes: Topic Alias Maximum 10, Maximum Packet Size 2,000,000, Receive Maximum
/// 20.
#[test]
fn connack_of_5_0_is_mosquitto_2_1s_byte_for_byte() {
    only_our_broker!("2.0.11 has other defaults");
    let broker = Broker::open();
    for carrier in Carrier::ALL {
        let mut peer = Peer::on(&broker, carrier);
        peer.send("10 [ <MQTT> 05 02 003c [ ] <c1> ]");
        peer.expect("20 0e 00 00 0b 22 000a 27 001e8480 21 0014");
        let mut peer = Peer::on(&broker, carrier);
        peer.send("10 [ <MQTT> 05 02 003c [ ] <> ]");
        let uuid = "?? ".repeat(36);
        peer.expect(&format!(
            "20 [ 00 00 [ 22 000a 12 0029 'auto-' {uuid} 27 001e8480 21 0014 ] ]"
        ));
    }
}

#[test]
fn connack_of_5_0_follows_the_configuration() {
    only_our_broker!("the order of the properties is 2.1's");
    let broker = Broker::with(
        "max_packet_size 5000\nmax_inflight_messages 7\nretain_available false\nmax_keepalive 30",
    );
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 003c [ ] <c1> ]");
    let answer = peer.packet("CONNACK");
    for part in ["27 00001388", "21 0007", "25 00", "13 001e"] {
        let part = Pattern::parse(part).bytes();
        let found = answer.windows(part.len()).any(|it| it == part);
        assert!(found, "{} is not in {}", show(&part), show(&answer));
    }
}

/// An id is given to a client without one; with 3.1.1 only if it does not want to keep a session.
#[test]
fn an_empty_client_identifier() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 02 003c <> ]");
    peer.expect("20 02 00 00");
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 00 003c <> ]");
    peer.expect("20 02 00 02");
    peer.expect_closed();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQIsdp> 03 02 003c <> ]");
    peer.expect("20 02 00 02");
    peer.expect_closed();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 00 003c [ ] <> ]");
    let answer = peer.packet("CONNACK");
    assert_eq!(answer[3], 0, "{}", show(&answer));
    assert!(answer.windows(8).any(|it| it == b"\x12\x00\x29auto-"), "{}", show(&answer));
}

#[test]
fn two_clients_without_identifier_do_not_meet() {
    let broker = Broker::open();
    let mut one = Peer::joined(&broker, Carrier::Tcp, Level::V311, "");
    let mut two = Peer::joined(&broker, Carrier::Tcp, Level::V311, "");
    one.expect_nothing();
    two.expect_nothing();
}

#[test]
fn an_unknown_protocol_level_is_refused_in_words() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 07 02 003c <c1> ]");
    let answer = peer.packet("CONNACK");
    assert!([0x01, 0x84].contains(&answer[3]), "{}", show(&answer));
    peer.expect_closed();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQIsdp> 04 02 003c <c1> ]");
    let answer = peer.packet("CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 1]);
    peer.expect_closed();
}

/// Mosquitto's bridges set the level's highest bit (`try_private`).
#[test]
fn the_bridge_bit_is_accepted() {
    let broker = Broker::open();
    for name in ["<MQIsdp> 83", "<MQTT> 84"] {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("10 [ {name} 02 003c <bridge> ]"));
        peer.expect("20 02 00 00");
        peer.expect_nothing();
    }
}

#[test]
fn whatever_else_comes_first_ends_the_connection() {
    let broker = Broker::open();
    let firsts = [
        "c0 00",
        "30 [ <t> 'x' ]",
        "82 [ 0001 <t> 00 ]",
        "e0 00",
        "20 02 00 00",
        "00 00",
        "'GET / HTTP/1.1' 0d0a0d0a",
        "16 03 01 00 a5 01 00 00 a1 03 03",
        "10 [ <MQTX> 04 02 003c <c1> ]",
        "10 [ <MQTT> 04 02 003c ]",
        "10 [ <MQTT> 04 03 003c <c1> ]",
        "10 [ <MQTT> 04 1e 003c <c1> <w> <m> ]",
        "10 [ <MQTT> 04 22 003c <c1> ]",
        "10 [ <MQTT> 04 0a 003c <c1> ]",
        "10 [ <MQTT> 04 06 003c <c1> <a/#> <m> ]",
        "10 [ <MQTT> 04 02 003c 0002 c328 ]",
        "12 [ <MQTT> 04 02 003c <c1> ]",
        "10 [ <MQTT> 05 02 003c [ 21 0000 ] <c1> ]",
        "10 [ <MQTT> 05 02 003c [ 21 0001 21 0001 ] <c1> ]",
        "10 [ <MQTT> 05 02 003c [ 27 00000000 ] <c1> ]",
        "10 [ <MQTT> 05 02 003c [ 01 00 ] <c1> ]",
        "10 [ <MQTT> 05 02 003c [ 7f 00 ] <c1> ]",
    ];
    for first in firsts {
        let mut peer = Peer::tcp(&broker);
        peer.send(first);
        expect_refused(&mut peer, first);
    }
    let mut other = Peer::joined(&broker, Carrier::Tcp, Level::V311, "other");
    other.expect_nothing();
}

/// Closed at once, or after a CONNACK that says no. Never accepted.
#[track_caller]
fn expect_refused(peer: &mut Peer, what: &str) {
    let all = peer.everything();
    let is_refusal = all.is_empty() || (all[0] == 0x20 && all.len() > 3 && all[3] != 0);
    assert!(is_refusal, "{what}: {}", show(&all));
}

#[test]
fn an_authentication_method_nobody_knows_is_refused() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 003c [ 15 <NONE-SUCH> ] <c1> ]");
    let answer = peer.packet("CONNACK");
    assert_eq!((answer[0], answer[3]), (0x20, 0x8c), "{}", show(&answer));
    peer.expect_closed();
}

#[test]
fn a_second_connect_ends_the_connection() {
    let broker = Broker::open();
    for carrier in Carrier::ALL {
        let mut peer = Peer::joined(&broker, carrier, Level::V311, "c1");
        peer.send("10 [ <MQTT> 04 02 003c <c1> ]");
        peer.expect_closed();
        let mut peer = Peer::joined(&broker, carrier, Level::V5, "c1");
        peer.send("10 [ <MQTT> 05 02 003c [ ] <c1> ]");
        peer.expect_disconnect(0x82);
    }
}

#[test]
fn a_takeover_ends_the_older_connection() {
    let broker = Broker::open();
    for carrier in Carrier::ALL {
        let mut old = Peer::joined(&broker, carrier, Level::V311, "c1");
        let mut new = Peer::joined(&broker, carrier, Level::V311, "c1");
        old.expect_closed();
        new.expect_nothing();
        let mut old = Peer::joined(&broker, carrier, Level::V5, "c2");
        let mut new = Peer::joined(&broker, carrier, Level::V5, "c2");
        old.expect_disconnect(0x8e);
        new.expect_nothing();
    }
}

#[test]
fn many_takeovers_leave_one() {
    let broker = Broker::open();
    let mut peers: Vec<Peer> =
        (0..30).map(|_| Peer::joined(&broker, Carrier::Tcp, Level::V311, "same")).collect();
    let mut last = peers.pop().unwrap();
    for old in &mut peers {
        old.expect_closed();
    }
    last.subscribe("t", 0);
    last.publish("t", "me");
    last.expect_message("t", "me", 0);
}

/// One and a half times the keep alive without a packet.
#[test]
fn a_silent_client_is_put_out_after_its_keep_alive() {
    let broker = Broker::open();
    let mut older = Peer::tcp(&broker);
    let mut newer = Peer::tcp(&broker);
    let start = Instant::now();
    older.send("10 [ <MQTT> 04 02 0002 <older> ]");
    older.expect("20 02 00 00");
    newer.speaks(Level::V5);
    newer.send("10 [ <MQTT> 05 02 0002 [ ] <newer> ]");
    assert_eq!(newer.packet("CONNACK")[3], 0);
    older.expect_closed();
    let took = start.elapsed();
    // Debian's mosquitto looks every five seconds.
    let latest = if broker_is_peer() { 9 } else { 5 };
    assert!(took > Duration::from_millis(2900), "after {took:?}: too early for 3 s");
    assert!(took < Duration::from_secs(latest), "after {took:?}: too late for 3 s");
    newer.expect_disconnect(0x8d);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(latest), "after {took:?}: too late for 3 s");
}

#[test]
fn any_packet_keeps_a_client_alive_and_zero_switches_it_off() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 02 0001 <busy> ]");
    peer.expect("20 02 00 00");
    let mut idle = Peer::joined(&broker, Carrier::Tcp, Level::V311, "idle");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(700));
        peer.expect_nothing();
    }
    idle.expect_nothing();
}

/// A slow writer: one packet in single bytes, over both carriers (one byte a frame).
#[test]
fn packets_may_come_in_any_pieces() {
    let broker = Broker::open();
    let all =
        Pattern::parse("10 [ <MQTT> 04 02 003c <c1> ] 82 [ 0001 <t> 01 ] 30 [ <t> 'hello' ] c0 00");
    for carrier in Carrier::ALL {
        for piece in [1, 2, 3, 7, 1000] {
            let mut peer = Peer::on(&broker, carrier);
            for bytes in all.bytes().chunks(piece) {
                peer.send_bytes(bytes);
            }
            peer.expect("20 02 00 00");
            // The message may come before the SUBACK (3.8.4): that one waits for other shards.
            let mut answers: Vec<_> = (0..3).map(|_| peer.packet("an answer")).collect();
            answers.sort();
            assert_eq!(answers[0], Pattern::parse("30 [ <t> 'hello' ]").bytes());
            assert_eq!(answers[1], Pattern::parse("90 03 0001 01").bytes());
            assert_eq!(answers[2], Pattern::parse("d0 00").bytes());
            peer.leave();
        }
    }
}
