//! Issue 7: bounds from both sides, rates, and what failed logins lead to. A rate is tested by the
//! time that must have passed at least: a slow machine only makes it longer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::notation::Pattern;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{TempDir, broker_under_test};
use mqttd_tests::process::{self, PATIENCE};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

/// The code of the CONNACK, or `None` when the connection is closed without one.
fn connects(broker: &Broker, hello: &str) -> Option<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be closed already.
    let _ = socket.write_all(&Pattern::parse(hello).bytes());
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).ok()?;
    assert_eq!(answer[0], 0x20, "{answer:02x?}");
    Some(answer[3])
}

const HELLO_5: &str = "10 [ <MQTT> 05 02 003c [ ] <c> ]";
const HELLO_4: &str = "10 [ <MQTT> 04 02 003c <c> ]";

/// Whoever connects just after others have closed has their places.
#[test]
fn max_connections_counts_who_is_there_now() {
    let broker =
        Broker::config("allow_anonymous true\nlistener {port} 127.0.0.1\nmax_connections 10\n");
    for round in 0..20 {
        let id = |number: i32| format!("c{round}-{number}");
        let peers: Vec<Peer> = (0..10)
            .map(|number| Peer::joined(&broker, Carrier::Tcp, Level::V311, &id(number)))
            .collect();
        if round % 10 == 0 {
            let mut late = Peer::tcp(&broker);
            late.send_unless_closed(HELLO_4);
            late.expect_closed();
        }
        for peer in peers {
            if round % 2 == 0 { peer.leave() } else { peer.vanish() }
        }
    }
    let log = broker.log();
    assert_eq!(log.matches("denied: max_connections exceeded.").count(), 2, "{log}");
}

/// Sessions of all shards count, connected or not.
#[test]
fn global_max_clients_counts_over_all_shards() {
    only_our_broker!("an option of 2.1");
    let broker = Broker::with("global_max_clients 10\nshards 2");
    let mut peers: Vec<Peer> = (0..9)
        .map(|number| Peer::joined(&broker, Carrier::Tcp, Level::V5, &format!("n{number}")))
        .collect();
    let mut absent = Peer::tcp(&broker);
    absent.send("10 [ <MQTT> 04 00 003c <absent> ]");
    absent.expect("20 02 00 00");
    absent.leave();
    assert_eq!(connects(&broker, HELLO_5), Some(0x97));
    assert_eq!(connects(&broker, HELLO_4), Some(3));
    // Who has a session comes in.
    assert_eq!(connects(&broker, "10 [ <MQTT> 04 00 003c <absent> ]"), Some(0));
    peers.pop().unwrap().leave();
    let fits = process::until(|| (connects(&broker, HELLO_5) == Some(0)).then_some(()));
    assert!(fits.is_some(), "a place is free");
}

/// 5.0 is told the longest Keep Alive there is; older clients are refused with more, or with none.
#[test]
fn max_keepalive_holds_from_both_sides() {
    only_our_broker!("2.0.11 refuses nobody");
    let broker = Broker::with("max_keepalive 100");
    for (seconds, code) in [(1, 0), (100, 0), (101, 2), (0, 2)] {
        let hello = format!("10 [ <MQTT> 04 02 {seconds:04x} <c> ]");
        assert_eq!(connects(&broker, &hello), Some(code), "{seconds}");
    }
    for (seconds, is_told) in [(1, false), (100, false), (101, true), (0, true)] {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("10 [ <MQTT> 05 02 {seconds:04x} [ ] <c> ]"));
        let answer = peer.packet("CONNACK");
        let found = answer.windows(3).any(|it| it == [0x13, 0, 100]);
        assert_eq!(found, is_told, "{seconds}: {answer:02x?}");
    }
}

/// How long the last of 150 messages of 1000 bytes takes; another client must not wait for it.
fn time_for_150(lines: &str) -> Duration {
    let broker = Broker::with(lines);
    let mut sub = Peer::joined(&broker, Carrier::Tcp, Level::V311, "sub");
    sub.subscribe("#", 0);
    let mut fast = Peer::joined(&broker, Carrier::Tcp, Level::V311, "fast");
    let start = Instant::now();
    for number in 0..150 {
        fast.publish("fast", &format!("{number:01000}"));
    }
    let mut other = Peer::joined(&broker, Carrier::Tcp, Level::V311, "other");
    other.publish_qos1(1, "other", "x");
    let mut others_place = 0;
    for place in 0..151 {
        if sub.receive().topic == "other" {
            others_place = place;
        }
    }
    assert!(others_place < 150 || lines.is_empty(), "the other one waited");
    start.elapsed()
}

#[test]
fn max_message_rate_reads_more_slowly_and_loses_nothing() {
    only_our_broker!("an option of ours");
    // 50 at once, 100 more at 50 a second.
    assert!(time_for_150("max_message_rate 50") >= Duration::from_millis(1900));
    assert!(time_for_150("") < Duration::from_millis(1900));
}

#[test]
fn max_byte_rate_reads_more_slowly_and_loses_nothing() {
    only_our_broker!("an option of ours");
    // 150,000 bytes: 50,000 at once, the rest at 50,000 a second.
    assert!(time_for_150("max_byte_rate 50000") >= Duration::from_millis(1900));
}

#[test]
fn rate_excess_disconnect_says_why() {
    only_our_broker!("an option of ours");
    let broker = Broker::with("max_message_rate 10\nrate_excess disconnect");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    for _ in 0..10 {
        peer.send("30 [ <t> [ ] <x> ]");
    }
    peer.send("c0 00");
    peer.expect("d0 00");
    for _ in 0..100 {
        peer.send_unless_closed("30 [ <t> [ ] <x> ]");
    }
    peer.expect_disconnect(0x96);
    let log = process::until(|| {
        let log = broker.log();
        log.contains("disconnected: message rate too high.").then_some(())
    });
    assert!(log.is_some(), "{}", broker.log());
}

/// A pause longer than a Keep Alive of a few seconds does not cost the connection.
#[test]
fn a_paused_client_is_heard_again() {
    only_our_broker!("an option of ours");
    let broker = Broker::with("max_byte_rate 10");
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 02 0006 <c> ]");
    peer.expect("20 02 00 00");
    peer.publish("t", &"x".repeat(1000));
    peer.send("c0 00");
    peer.expect("d0 00");
}

#[test]
fn max_subscribe_rate_refuses_what_is_above() {
    only_our_broker!("an option of ours");
    let broker = Broker::with("max_subscribe_rate 3");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send("82 [ 0001 [ ] <a> 00 <b> 00 <c> 00 <d> 00 ]");
    peer.expect("90 [ 0001 [ 1f <quota exceeded> ] 00 00 00 97 ]");
    let granted = process::until(|| {
        peer.send("82 [ 0002 [ ] <d> 00 ]");
        (peer.packet("SUBACK")[5] == 0).then_some(())
    });
    assert!(granted.is_some(), "after a while");
}

#[test]
fn max_subscriptions_and_max_topic_levels_hold_from_both_sides() {
    only_our_broker!("options of ours");
    let broker = Broker::with("max_subscriptions 2\nmax_topic_levels 3");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send("82 [ 0001 [ ] <a/b/c> 00 <a/b/c/#> 00 <b> 00 <c> 00 ]");
    peer.expect("90 [ 0001 [ 1f <topic filter invalid> ] 00 8f 00 97 ]");
    // Bare for those who want no words or have no room for them.
    for properties in ["17 00", "27 00000018"] {
        let mut peer = Peer::tcp(&broker);
        peer.join(Level::V5, "02", properties, "d");
        peer.send("82 [ 0001 [ ] <a/b/c> 00 <a/b/c/#> 00 <b> 00 <c> 00 ]");
        peer.expect("90 [ 0001 [ ] 00 8f 00 97 ]");
    }
    peer.send("32 [ <x/y/z> 0001 [ ] ]");
    peer.expect("40 [ 0001 10 ]");
    peer.send("32 [ <w/x/y/z> 0002 [ ] ]");
    // A Reason String may follow.
    assert_eq!(peer.packet("PUBACK")[2..5], [0, 2, 0x90]);
}

#[test]
fn max_connect_rate_refuses_what_is_above() {
    only_our_broker!("an option of ours");
    let broker = Broker::with("max_connect_rate 2");
    for (hello, code) in [(HELLO_5, 0x9f), (HELLO_4, 3)] {
        // As fast as this machine can.
        let refused = process::until(|| (connects(&broker, hello) == Some(code)).then_some(()));
        assert!(refused.is_some(), "{hello}");
        let taken = process::until(|| {
            std::thread::sleep(Duration::from_millis(100));
            (connects(&broker, hello) == Some(0)).then_some(())
        });
        assert!(taken.is_some(), "{hello}");
    }
    assert!(broker.log().contains("disconnected: connection rate exceeded."), "{}", broker.log());
}

/// A broker with ann and bob, whose passwords are their names.
fn guarded(lines: &str) -> Broker {
    let dir = TempDir::new();
    let file = dir.write("pwfile", "");
    for name in ["ann", "bob"] {
        Tools::Mosquitto.run("passwd", &["-b", &file, name, name]).ok();
    }
    let lines = format!("password_file {{dir}}/pwfile\nsys_interval 1\n{lines}\n{LISTENERS}");
    let broker = Broker::prepared(broker_under_test(), &lines);
    broker.write("pwfile", &fs::read_to_string(file).unwrap());
    broker.started()
}

fn login(broker: &Broker, level: Level, user: &str, password: &str) -> Option<u8> {
    let (version, properties) = if level == Level::V5 { ("5", "[ ]") } else { ("4", "") };
    let hello = format!("10 [ <MQTT> 0{version} c2 003c {properties} <c> <{user}> <{password}> ]");
    connects(broker, &hello)
}

#[test]
fn failed_logins_of_an_address_lead_to_a_ban_that_ends() {
    only_our_broker!("an option of ours");
    let broker = guarded("max_login_failures 3\nlogin_ban_time 3");
    for password in ["no", "ann", "still not", "nor this"] {
        let right = password == "ann";
        let code = login(&broker, Level::V5, "ann", password);
        assert_eq!(code, Some(if right { 0 } else { 0x87 }), "{password}");
    }
    assert_eq!(login(&broker, Level::V5, "ann", "ann"), Some(0x8a));
    assert_eq!(login(&broker, Level::V311, "bob", "bob"), Some(5));
    let log = broker.log();
    assert!(log.contains("Banned address 127.0.0.1 for 3 s: max_login_failures"), "{log}");
    assert!(log.contains("disconnected: client banned."), "{log}");
    let free =
        process::until(|| (login(&broker, Level::V5, "ann", "ann") == Some(0)).then_some(()));
    assert!(free.is_some(), "the ban ends");
    let sys = |topic: &str, wanted: &str| {
        let login = ["-u", "ann", "-P", "ann", "-W", "5"];
        let topic = format!("$SYS/broker/logins/{topic}");
        let found = process::until(|| {
            let ask = [&["-t", &topic, "-C", "1"], &login[..]].concat();
            let said = Tools::UnderTest.receive(&broker, &ask).ok().out();
            (said.trim() == wanted).then_some(())
        });
        assert!(found.is_some(), "{topic}");
    };
    sys("failed", "3");
    sys("bans", "1");
    sys("banned/addresses", "0");
}

#[test]
fn failed_logins_with_a_user_name_ban_the_name() {
    only_our_broker!("an option of ours");
    let broker = guarded("max_login_failures_user 2\nlogin_ban_time 1000");
    let mut there = Peer::tcp(&broker);
    there.speaks(Level::V5);
    there.send("10 [ <MQTT> 05 c2 003c [ ] <there> <ann> <ann> ]");
    there.packet("CONNACK");
    for _ in 0..2 {
        assert_eq!(login(&broker, Level::V5, "ann", "no"), Some(0x87));
    }
    assert_eq!(login(&broker, Level::V5, "ann", "ann"), Some(0x8a));
    assert_eq!(login(&broker, Level::V5, "bob", "bob"), Some(0));
    there.send("c0 00");
    there.expect("d0 00");
    assert!(broker.log().contains("Banned user 'ann' for 1000 s"), "{}", broker.log());
}

#[test]
fn refusals_of_failed_logins_wait() {
    only_our_broker!("an option of ours");
    let broker = guarded("login_failure_delay 200");
    for least in [200, 400, 800] {
        let start = Instant::now();
        assert_eq!(login(&broker, Level::V311, "ann", "no"), Some(5));
        assert!(start.elapsed() >= Duration::from_millis(least), "{least}");
    }
}

/// What was acknowledged at the limit is delivered, nothing more is taken, and afterwards all is as
/// before.
#[test]
fn memory_limit_refuses_work_and_loses_nothing() {
    only_our_broker!("Debian's broker counts its heap");
    let broker = Broker::with("memory_limit 3000000\nmax_queued_messages 0\nsys_interval 1");
    let mut absent = Peer::tcp(&broker);
    absent.send("10 [ <MQTT> 04 00 003c <absent> ]");
    absent.expect("20 02 00 00");
    absent.subscribe("t", 1);
    absent.leave();
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V5, "publisher");
    let payload = "x".repeat(10_000);
    let mut taken = 0;
    loop {
        publisher.send(&format!("32 [ <t> {:04x} [ ] '{payload}' ]", taken + 1));
        let answer = publisher.packet("PUBACK or DISCONNECT");
        if answer[0] == 0xe0 {
            assert_eq!(answer[2], 0x97);
            break;
        }
        taken += 1;
    }
    assert!((250..=300).contains(&taken), "{taken}");
    let warned = process::until(|| broker.log().contains("memory_limit is reached").then_some(()));
    assert!(warned.is_some(), "{}", broker.log());
    assert_eq!(connects(&broker, "10 [ <MQTT> 05 02 003c [ ] <new> ]"), Some(0x97));
    let mut absent = Peer::tcp(&broker);
    absent.send("10 [ <MQTT> 04 00 003c <absent> ]");
    absent.expect("20 02 01 00");
    for _ in 0..taken {
        assert_eq!(absent.receive().payload, payload.as_bytes());
    }
    let below = process::until(|| broker.log().contains("Below memory_limit again").then_some(()));
    assert!(below.is_some(), "{}", broker.log());
    publish(&broker, &["-t", "t", "-m", "again", "-q", "1"]);
    assert_eq!(absent.receive().payload, b"again");
    let ask = ["-t", "$SYS/broker/drops/last", "-C", "1"];
    let drops = Tools::UnderTest.receive(&broker, &ask).ok().out();
    for part in [r#""client":"publisher""#, r#""reason":"memory_limit""#, r#""topic":"t""#] {
        assert!(drops.contains(part), "{drops}");
    }
}
