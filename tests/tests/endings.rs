//! Issue 7: every way a connection can end has one line in the log, with its reason; lines as JSON;
//! files that are rotated. Bans, rates and `memory_limit` are in `conf_limits.rs`, users that a
//! reload removes in `rights.rs`, listeners that it removes in `reload_listeners.rs`; a socket that
//! breaks otherwise than by a reset can't be made here and is a unit test of `wording.rs`.

use std::fs;

use mqttd_tests::authority::Authority;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{TempDir, broker_under_test};
use mqttd_tests::process;
use mqttd_tests::tool::Tools;
use mqttd_tests::{Broker, only_our_broker};

/// The one line about the client's end: what follows "disconnected".
#[track_caller]
fn end_of(broker: &Broker, client: &str) -> String {
    let begin = format!("Client {client} [127.0.0.1:");
    let find = || {
        let log = broker.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&begin)).collect();
        assert!(lines.len() < 2, "{lines:?}");
        lines.first().map(|line| line.split_once("] disconnected").unwrap().1.to_owned())
    };
    process::until(find).unwrap_or_else(|| panic!("nothing of {client}\n{}", broker.log()))
}

/// The reason stands in front, the counters behind.
#[track_caller]
fn ends(broker: &Broker, client: &str, reason: &str) {
    let end = end_of(broker, client);
    assert!(end.starts_with(&format!("{reason} Connected ")), "{client}: {end}");
    assert!(end.contains(" s, received ") && end.ends_with(" bytes)."), "{client}: {end}");
}

#[test]
fn every_end_has_its_reason_and_counters() {
    only_our_broker!("2.0.11 has other words and no counters");
    let lines = "max_packet_size 1000\nmax_message_rate 5\nrate_excess disconnect";
    let mut broker = Broker::with(lines);
    let joined = |name: &str| Peer::joined(&broker, Carrier::Tcp, Level::V5, name);

    let mut clean = joined("clean");
    clean.subscribe("c", 0);
    clean.publish("c", "12");
    clean.receive();
    clean.leave();
    let end = end_of(&broker, "clean");
    assert!(end.starts_with(". Connected "), "{end}");
    assert!(end.contains("received 4 packets with 1 messages"), "{end}");
    assert!(end.contains("sent 1 messages"), "{end}");

    joined("gone").vanish();
    ends(&broker, "gone", ": connection closed by client.");

    let mut will = joined("will");
    will.send("e0 01 04");
    will.expect_closed();
    ends(&broker, "will", ". Its reason: disconnect with will message.");

    let mut silent = Peer::tcp(&broker);
    silent.send("10 [ <MQTT> 04 02 0001 <silent> ]");
    silent.expect("20 02 00 00");
    silent.expect_closed();
    ends(&broker, "silent", ": exceeded timeout.");

    let mut first = joined("twice");
    let second = joined("twice");
    first.expect_disconnect(0x8e);
    ends(&broker, "twice", ": session taken over.");
    drop(second);

    for (name, bytes, reason) in [
        ("protocol", "10 [ <MQTT> 05 02 003c [ ] <c> ]", ": protocol error (second CONNECT"),
        ("malformed", "80 [ 0001 [ ] <t> 00 ]", ": malformed packet ("),
        ("oversize", &format!("30 [ <t> [ ] '{}' ]", "x".repeat(1000)), ": oversize packet ("),
        ("topic", "30 [ <t/#> [ ] <x> ]", ": malformed packet ("),
        ("alias", "30 [ <t> [ 23 ffff ] <x> ]", ": topic alias invalid ("),
    ] {
        let mut peer = joined(name);
        peer.send(bytes);
        peer.everything();
        let end = end_of(&broker, name);
        assert!(end.starts_with(reason), "{name}: {end}");
        assert!(end.contains("). Connected "), "{name}: {end}");
    }

    let mut fast = joined("fast");
    for _ in 0..20 {
        fast.send_unless_closed("30 [ <t> [ ] <x> ]");
    }
    fast.expect_disconnect(0x96);
    ends(&broker, "fast", ": message rate too high.");

    let mut last = joined("last");
    broker.stop();
    last.expect_disconnect(0x8b);
    ends(&broker, "last", ": server shutting down.");
}

/// Those who never get in have no counters; intrusion filters match their lines to the end.
#[test]
fn who_is_not_let_in_is_named_too() {
    only_our_broker!("2.0.11 has other words");
    let dir = TempDir::new();
    let file = dir.write("pwfile", "");
    Tools::Mosquitto.run("passwd", &["-b", &file, "ann", "ann"]).ok();
    let broker = Broker::guarded(&fs::read_to_string(file).unwrap(), "");
    let refused = |hello: &str| {
        let mut peer = Peer::tcp(&broker);
        peer.send(hello);
        peer.everything();
    };
    refused("10 [ <MQTT> 04 c2 003c <wrong> <ann> <bob> ]");
    assert_eq!(end_of(&broker, "wrong"), ": not authorised.");
    refused("10 [ <MQTT> 04 02 003c <nobody> ]");
    assert_eq!(end_of(&broker, "nobody"), ": not authorised.");
    refused("10 [ <MQTT> 07 02 003c <c> ]");
    let is_named = |line: &str| line.contains("<unknown>") && line.contains(": protocol error (");
    let said = process::until(|| broker.log().lines().any(is_named).then_some(()));
    assert!(said.is_some(), "{}", broker.log());
}

#[test]
fn a_failed_handshake_is_named_too() {
    only_our_broker!("2.0.11 has other words");
    let authority = Authority::new("Test-CA");
    authority.server("server");
    let broker = authority.broker("");
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 02 003c <c> ]");
    peer.everything();
    // The harness has looked whether the ports are open, and closed.
    let is_named = |line: &str| {
        let reason = line.split_once("] disconnected: ").map(|(_, reason)| reason);
        line.contains("<unknown>")
            && reason.is_some_and(|it| !it.contains("closed by client") && it.len() > 5)
    };
    let said = process::until(|| broker.log().lines().any(is_named).then_some(()));
    assert!(said.is_some(), "{}", broker.log());
}

/// A reader that stops is told of in the log once, and counted.
#[test]
fn a_slow_reader_is_named() {
    only_our_broker!("2.0.11 has no reason in its line");
    let broker = Broker::with("max_queued_messages 10");
    let mut slow = Peer::joined(&broker, Carrier::Tcp, Level::V311, "slow");
    slow.subscribe("t", 0);
    let mut fast = Peer::joined(&broker, Carrier::Tcp, Level::V311, "fast");
    let payload = "x".repeat(100_000);
    let line = "Outgoing messages are being dropped for client slow. (slow_reader)";
    let said = process::until(|| {
        for _ in 0..10 {
            fast.publish("t", &payload);
        }
        broker.log().contains(line).then_some(())
    });
    assert!(said.is_some(), "{}", broker.log());
    fast.send("c0 00");
    fast.expect("d0 00");
    assert_eq!(broker.log().matches(line).count(), 1);
}

/// One JSON object for each line, with what a program wants to know beside the text.
#[test]
fn log_format_json() {
    only_our_broker!("an option of ours");
    let lines = "log_format json\nlog_timestamp_format %Y\nconnection_messages true";
    let broker = Broker::with(lines);
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "a\u{7f}b");
    peer.publish("t", "x");
    peer.leave();
    let line = process::until(|| {
        let log = broker.log();
        log.lines().find(|line| line.contains(r#""event":"disconnected""#)).map(str::to_owned)
    });
    let line = line.unwrap_or_else(|| panic!("{}", broker.log()));
    for part in [
        r#""type":"notice""#,
        r#""time":2"#,
        r#""reason":"disconnected by client""#,
        r#""messages_received":1"#,
        r#""messages_sent":0"#,
        r#""seconds":"#,
        r#""address":"127.0.0.1:"#,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for line in broker.log().lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

/// The signal by which a log file is opened anew after a rotation.
#[test]
fn log_files_are_reopened_on_a_signal() {
    let text = format!(
        "allow_anonymous true\nlog_dest file {{dir}}/own.log\n{}",
        mqttd_tests::broker::LISTENERS
    );
    let broker = Broker::config(&text);
    let own = broker.file("own.log");
    fs::rename(&own, broker.file("own.log.1")).unwrap();
    broker.signal(if mqttd_tests::place::broker_is_peer() { "HUP" } else { "RTMIN" });
    assert!(process::until(|| fs::exists(&own).unwrap().then_some(())).is_some());
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "after").leave();
    let said = process::until(|| fs::read_to_string(&own).unwrap().contains("after").then_some(()));
    assert!(said.is_some());
}

/// The journal is another process: here one of ours that listens where the journal would. Without
/// a journal the lines are lost, and standard error says so.
#[test]
fn log_dest_journald_without_a_journal_says_so() {
    only_our_broker!("an option of ours");
    if fs::exists("/run/systemd/journal/socket").unwrap() {
        return; // nothing of this test belongs into a real journal
    }
    let text =
        format!("allow_anonymous true\nlog_dest journald\n{}", mqttd_tests::broker::LISTENERS);
    let broker = Broker::prepared(broker_under_test(), &text).started();
    let said = "Log lines cannot be written to the journal (without systemd: log_dest stderr or";
    let found = process::until(|| broker.log().contains(said).then_some(()));
    assert!(found.is_some(), "{}", broker.log());
}

/// `log_facility` and syslog have unit tests; here only that the broker starts and works with it.
#[test]
fn log_dest_syslog_with_log_facility() {
    let text = format!(
        "allow_anonymous true\nlog_dest syslog\nlog_facility 5\n{}",
        mqttd_tests::broker::LISTENERS
    );
    let broker = Broker::config(&text);
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "c").expect_nothing();
}
