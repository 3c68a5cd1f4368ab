//! Enhanced authentication (MQTT 5.0 section 4.12) byte for byte: SCRAM-SHA-256 at CONNECT and
//! again on an open connection. The Client's proofs are computed by Python's hashlib and hmac.

use std::time::Duration;

use mqttd_tests::notation::show;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::TempDir;
use mqttd_tests::process;
use mqttd_tests::script::python_program;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker, only_our_tools};

const METHOD: &str = "15 <SCRAM-SHA-256>";
const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// alice (secret) and bob (b) can use SCRAM, carol (c) only plain passwords.
fn guarded() -> Broker {
    let dir = TempDir::new();
    let file = dir.write("pwfile", "");
    for (hash, user, password) in [
        (&["-H", "scram-sha-256", "-I", "4096"][..], "alice", "secret"),
        (&["-H", "scram-sha-256", "-I", "4096"], "bob", "b"),
        (&[], "carol", "c"),
    ] {
        let arguments = [hash, &["-b", &file, user, password]].concat();
        Tools::UnderTest.run("passwd", &arguments).ok();
    }
    Broker::guarded(&std::fs::read_to_string(file).unwrap(), "user alice\ntopic #\n")
}

/// A packet's reason code, Authentication Method and Authentication Data.
fn taken_apart(packet: &[u8]) -> (u8, Option<String>, Option<String>) {
    assert!(packet[1] < 128 || packet[0] == 0x20, "one byte of length: {}", show(packet));
    let body = if packet[1] < 128 { &packet[2..] } else { &packet[3..] };
    // CONNACK has its flags before the code.
    let body = if packet[0] == 0x20 { &body[1..] } else { body };
    let (mut method, mut data) = (None, None);
    let length = body.get(1).map_or(0, |length| usize::from(*length));
    assert!(length < 128 && body.len() <= 2 + length, "{}", show(packet));
    let mut rest = &body[2.min(body.len())..];
    while let Some((id, value)) = rest.split_first() {
        let size = match id {
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x24 | 0x25 => 1,
            0x12 | 0x15 | 0x16 => 2 + usize::from(u16::from_be_bytes([value[0], value[1]])),
            _ => panic!("property {id:02x}: {}", show(packet)),
        };
        let text = || Some(String::from_utf8(value[2..size].to_vec()).unwrap());
        match id {
            0x15 => method = text(),
            0x16 => data = text(),
            _ => {}
        }
        rest = &value[size..];
    }
    (body[0], method, data)
}

/// The AUTH that must come next.
#[track_caller]
fn heard_auth(peer: &mut Peer, code: u8) -> Option<String> {
    let packet = peer.packet("AUTH");
    assert_eq!(packet[0], 0xf0, "AUTH: {}", show(&packet));
    let (reason, method, data) = taken_apart(&packet);
    assert_eq!((reason, method.as_deref()), (code, Some("SCRAM-SHA-256")), "{}", show(&packet));
    data
}

/// The Client's last message and the answer the Server owes.
fn proved(user: &str, password: &str, challenge: &str) -> (String, String) {
    let mut python = python_program("python3", "scram.py");
    python.args(["0", user, password, NONCE, challenge]);
    let said = process::run(python, b"").ok().out();
    let (last, answer) = said.trim().split_once('\n').unwrap();
    (last.to_owned(), answer.to_owned())
}

/// Says CONNECT with the first message and returns the challenge.
#[track_caller]
fn challenged(peer: &mut Peer, user: &str) -> String {
    peer.send(&format!("10 [ <MQTT> 05 02 0000 [ {METHOD} 16 <n,,n={user},r={NONCE}> ] <c> ]"));
    heard_auth(peer, 0x18).expect("a challenge")
}

#[track_caller]
fn log_in(peer: &mut Peer, user: &str, password: &str) {
    let challenge = challenged(peer, user);
    let (last, answer) = proved(user, password, &challenge);
    peer.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
    let connack = peer.packet("CONNACK");
    let accepted = (0, Some("SCRAM-SHA-256".to_owned()), Some(answer));
    assert_eq!((connack[0], taken_apart(&connack)), (0x20, accepted), "{}", show(&connack));
}

/// A peer that has logged in as alice with SCRAM.
#[track_caller]
fn alice(broker: &Broker) -> Peer {
    let mut peer = Peer::tcp(broker);
    // For its later subscribes; what it says first is said here.
    peer.speaks(Level::V5);
    log_in(&mut peer, "alice", "secret");
    peer
}

#[track_caller]
fn refused(peer: &mut Peer, code: u8) {
    let connack = peer.packet("CONNACK");
    assert_eq!((connack[0], connack[2], connack[3]), (0x20, 0, code), "{}", show(&connack));
    peer.expect_closed();
}

#[test]
fn a_client_logs_in_by_scram_and_one_with_a_password_too() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    for carrier in Carrier::ALL {
        let mut peer = Peer::on(&broker, carrier);
        log_in(&mut peer, "alice", "secret");
        peer.expect_nothing();
    }
    // The user of SCRAM is the one the access rights speak of.
    let mut alice = alice(&broker);
    alice.subscribe("t", 0);
    publish(&broker, &["-u", "alice", "-P", "secret", "-t", "t", "-m", "plain"]);
    alice.expect_message("t", "plain", 0);
    Tools::UnderTest
        .publish(&broker, &["-u", "alice", "-P", "wrong", "-t", "t", "-m", "x"])
        .exits(5);
}

#[test]
fn our_tools_log_in_by_scram() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    only_our_tools!("mosquitto_pub has no --auth-method");
    let broker = guarded();
    let login = ["--auth-method", "SCRAM-SHA-256", "-u", "alice", "-P"];
    let mut sub =
        Tools::UnderTest.start_sub(&broker, &[&login[..], &["secret", "-t", "t"]].concat());
    let seen = process::until(|| {
        publish(&broker, &[&login[..], &["secret", "-t", "t", "-m", "in"]].concat());
        sub.line(Duration::from_millis(200))
    });
    assert_eq!(seen.as_deref(), Some("in"), "{}", broker.log());
    let message = ["-t", "t", "-m", "x"];
    for (rest, code) in [(&["wrong"][..], 0x87), (&["secret", "-V", "311"], 1)] {
        let arguments = [&login[..], rest, &message[..]].concat();
        let said = Tools::UnderTest.publish(&broker, &arguments).exits(code);
        assert!(!said.err().trim().is_empty(), "{said}");
    }
    let said = Tools::UnderTest.publish(&broker, &[&login[..2], &message[..]].concat()).exits(1);
    assert!(said.err().contains("-u"), "{said}");
}

/// The first message may also be asked for, as SASL has it.
#[test]
fn a_client_that_only_names_the_method_is_asked() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    let mut peer = Peer::tcp(&broker);
    peer.send(&format!("10 [ <MQTT> 05 02 0000 [ {METHOD} ] <c> ]"));
    assert_eq!(heard_auth(&mut peer, 0x18), None);
    peer.send(&format!("f0 [ 18 [ {METHOD} 16 <n,,n=bob,r={NONCE}> ] ]"));
    let challenge = heard_auth(&mut peer, 0x18).unwrap();
    let (last, _) = proved("bob", "b", &challenge);
    // What follows the proof in the same write belongs to the connection.
    peer.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ] c0 00"));
    assert_eq!(peer.packet("CONNACK")[3], 0);
    peer.expect("d0 00");
}

/// Wrong password, unknown user, a user whose entry can't serve SCRAM: the same to the Client.
#[test]
fn who_may_not_come_in_learns_nothing() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    for (user, password, logged) in [
        ("alice", "wrong", "wrong password"),
        ("eve", "secret", "unknown user"),
        ("carol", "c", "mqtt-passwd -H scram-sha-256"),
    ] {
        let mut salts = Vec::new();
        for _ in 0..2 {
            let mut peer = Peer::tcp(&broker);
            let challenge = challenged(&mut peer, user);
            assert!(challenge.ends_with(",i=4096"), "{challenge}");
            salts.push(challenge.split(',').nth(1).unwrap().to_owned());
            let (last, _) = proved(user, password, &challenge);
            peer.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
            refused(&mut peer, 0x87);
        }
        assert_eq!(salts[0], salts[1], "the salt of {user}");
        assert_eq!(salts[0].len(), "s=W22ZaJ0SNY7soEsUEjb6gQ==".len());
        let said = process::until(|| broker.log().contains(logged).then_some(()));
        assert!(said.is_some(), "the log says {logged}\n{}", broker.log());
    }
}

/// One proof for each connection and challenge: guessing costs an exchange each time.
#[test]
fn a_proof_opens_one_door_once() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    let mut first = Peer::tcp(&broker);
    let challenge = challenged(&mut first, "alice");
    let (last, _) = proved("alice", "secret", &challenge);
    let mut second = Peer::tcp(&broker);
    assert_ne!(challenged(&mut second, "alice"), challenge, "a nonce is used once");
    second.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
    refused(&mut second, 0x87);
    first.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
    assert_eq!(first.packet("CONNACK")[3], 0);
}

#[test]
fn methods_that_are_not_offered_are_refused() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send(&format!("10 [ <MQTT> 05 02 0000 [ {METHOD} ] <c> ]"));
    refused(&mut peer, 0x8c);
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    for method in ["SCRAM-SHA-1", "scram-sha-256", "GS2-KRB5", ""] {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("10 [ <MQTT> 05 02 0000 [ 15 <{method}> 16 <x> ] <c> ]"));
        refused(&mut peer, 0x8c);
    }
}

/// What the Client may not do before CONNACK, each with its answer.
#[test]
fn offences_during_the_exchange() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    let large = format!("f0 [ 18 [ {METHOD} 16 <{}> ] ] ", "x".repeat(65_000));
    for (said, code, clause) in [
        ("c0 00".to_owned(), 0x82, "MQTT-3.1.2-30"),
        ("30 [ <t> [ ] 'x' ]".to_owned(), 0x82, "MQTT-3.1.2-30"),
        ("f0 00".to_owned(), 0x82, "3.15.2.2.2"),
        ("f0 [ 18 [ 16 <x> ] ]".to_owned(), 0x82, "3.1.2.11.10"),
        ("f0 [ 18 [ 15 <SCRAM-SHA-1> 16 <x> ] ]".to_owned(), 0x82, "MQTT-4.12.0-5"),
        (format!("f0 [ 19 [ {METHOD} 16 <x> ] ]"), 0x82, "3.15.2.1"),
        (format!("f0 [ 00 [ {METHOD} 16 <x> ] ]"), 0x82, "3.15.2.1"),
        (format!("f0 [ 87 [ {METHOD} 16 <x> ] ]"), 0x81, "2.4"),
        (format!("f1 [ 18 [ {METHOD} 16 <x> ] ]"), 0x81, "MQTT-2.1.3-1"),
        (format!("f0 [ 18 [ {METHOD} ] ]"), 0x87, "no authentication data"),
        (format!("f0 [ 18 [ {METHOD} 16 <x> ] ]"), 0x87, "malformed SCRAM message"),
        // The whole login has the bytes of one CONNECT.
        ("f0 a08d06 18".to_owned(), 0x95, "packet is larger"),
    ] {
        let mut peer = Peer::tcp(&broker);
        challenged(&mut peer, "alice");
        peer.send(&said);
        refused(&mut peer, code);
        let found = process::until(|| broker.log().contains(clause).then_some(()));
        assert!(found.is_some(), "{said}: the log names {clause}\n{}", broker.log());
    }
    let mut peer = Peer::tcp(&broker);
    challenged(&mut peer, "alice");
    peer.send(&large);
    refused(&mut peer, 0x87);
    let mut peer = Peer::tcp(&broker);
    challenged(&mut peer, "alice");
    peer.send("e0 00");
    peer.expect_closed();
}

/// A Client that lets the exchange lie does not keep its place.
#[test]
fn the_exchange_has_the_deadline_of_connect() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    let mut peer = Peer::tcp(&broker);
    challenged(&mut peer, "alice");
    peer.expect_closed_within(Duration::from_secs(25));
}

/// Who gives another User Name in CONNECT than the one proved stays out.
#[test]
fn one_connection_has_one_user() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    for (name, code) in [("bob", 0x87), ("alice", 0)] {
        let mut peer = Peer::tcp(&broker);
        let first = format!("16 <n,,n=alice,r={NONCE}>");
        peer.send(&format!("10 [ <MQTT> 05 82 0000 [ {METHOD} {first} ] <c> <{name}> ]"));
        let challenge = heard_auth(&mut peer, 0x18).unwrap();
        let (last, _) = proved("alice", "secret", &challenge);
        peer.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
        assert_eq!(peer.packet("CONNACK")[3], code, "{name}");
    }
}

/// While the Client authenticates again, other packets flow and it keeps its rights.
#[test]
fn a_client_authenticates_again() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    let mut alice = alice(&broker);
    alice.subscribe("t", 0);
    for round in 0..2 {
        alice.send(&format!("f0 [ 19 [ {METHOD} 16 <n,,n=alice,r={NONCE}> ] ]"));
        let challenge = heard_auth(&mut alice, 0x18).unwrap();
        let text = format!("meanwhile {round}");
        publish(&broker, &["-u", "alice", "-P", "secret", "-t", "t", "-m", &text]);
        alice.expect_message("t", &text, 0);
        alice.expect_nothing();
        let (last, answer) = proved("alice", "secret", &challenge);
        alice.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
        assert_eq!(heard_auth(&mut alice, 0x00), Some(answer));
        alice.expect_nothing();
    }
}

#[test]
fn a_failed_reauthentication_disconnects() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    // Wrong password; and bob, who can prove to be bob, but the connection is alice's.
    for (user, password) in [("alice", "wrong"), ("bob", "b")] {
        let mut alice = alice(&broker);
        alice.send(&format!("f0 [ 19 [ {METHOD} 16 <n,,n={user},r={NONCE}> ] ]"));
        let challenge = heard_auth(&mut alice, 0x18).unwrap();
        let (last, _) = proved(user, password, &challenge);
        alice.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
        alice.expect_disconnect(0x87);
    }
}

/// A reload that leaves the user's entry as it was changes nothing for a re-authentication; one
/// that takes it away ends the connection, so that there is nothing left to authenticate.
#[test]
fn reauthentication_looks_at_the_reloaded_file() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    let mut alice = alice(&broker);
    let old = std::fs::read_to_string(broker.file("pwfile")).unwrap();
    broker.write("pwfile", &old.replace("carol:", "caroline:"));
    broker.hup();
    let is_read = process::until(|| {
        let login = ["-u", "caroline", "-P", "c", "-t", "t", "-m", "x"];
        (Tools::UnderTest.publish(&broker, &login).code() == 0).then_some(())
    });
    assert!(is_read.is_some());
    alice.send(&format!("f0 [ 19 [ {METHOD} 16 <n,,n=alice,r={NONCE}> ] ]"));
    let challenge = heard_auth(&mut alice, 0x18).unwrap();
    let (last, _) = proved("alice", "secret", &challenge);
    alice.send(&format!("f0 [ 18 [ {METHOD} 16 <{last}> ] ]"));
    heard_auth(&mut alice, 0x00);

    broker.write("pwfile", &old.replace("alice:", "alicia:"));
    broker.hup();
    alice.expect_disconnect(0x87);
}

#[test]
fn offences_on_an_open_connection() {
    only_our_broker!("mosquitto 2.0 has no enhanced authentication of its own");
    let broker = guarded();
    for said in [
        format!("f0 [ 18 [ {METHOD} 16 <x> ] ]"),
        format!("f0 [ 00 [ {METHOD} ] ]"),
        "f0 [ 19 [ 15 <SCRAM-SHA-1> ] ]".to_owned(),
        "f0 00".to_owned(),
    ] {
        let mut alice = alice(&broker);
        alice.send(&said);
        alice.expect_disconnect(0x82);
    }
    // A second exchange before the first has ended.
    let mut alice = alice(&broker);
    let first = format!("f0 [ 19 [ {METHOD} 16 <n,,n=alice,r={NONCE}> ] ]");
    alice.send(&first);
    heard_auth(&mut alice, 0x18);
    alice.send(&first);
    alice.expect_disconnect(0x82);
    // AUTH of a Client that named no method [MQTT-4.12.0-7].
    let mut plain = Peer::tcp(&broker);
    plain.join_with(Level::V5, "c2", "", "p", "<alice> <secret>");
    plain.send(&first);
    plain.expect_disconnect(0x82);
}
