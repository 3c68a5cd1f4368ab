//! Issue 7: what the directives about messages, sessions, limits and the log do; those of listeners
//! are in `conf_listener.rs`. Also: a directive whose row says that it works has a test.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::notation::show;
use mqttd_tests::peer::{Carrier, Delivered, Level, Peer};
use mqttd_tests::place::project_root;
use mqttd_tests::process;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

/// Retained messages without an expiry of their own get one; their own stays.
#[test]
fn retain_expiry_interval_is_told_with_the_retained_message() {
    only_our_broker!("came with 2.1");
    let broker = Broker::with("retain_expiry_interval 1");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "p");
    peer.send("33 [ <plain> 0001 [ ] 'x' ]");
    peer.expect_acknowledgement(0x40, 1);
    peer.send("33 [ <own> 0002 [ 02 00001000 ] 'x' ]");
    peer.expect_acknowledgement(0x40, 2);
    let expiry = |filter: &str| {
        let mut late = Peer::joined(&broker, Carrier::Tcp, Level::V5, "late");
        late.subscribe(filter, 0);
        let properties = late.delivered().properties;
        assert_eq!(properties[0], 2, "Message Expiry Interval: {properties:02x?}");
        u32::from_be_bytes(properties[1..5].try_into().unwrap())
    };
    assert!((40..=60).contains(&expiry("plain")));
    assert!((0xfe0..=0x1000).contains(&expiry("own")));
}

/// A Session that was away for longer is gone, one that was not is there.
#[test]
fn persistent_client_expiration_ends_absent_sessions() {
    for (time, remains) in [("1s", false), ("1h", true)] {
        let broker = Broker::with(&format!("persistent_client_expiration {time}"));
        let mut peer = Peer::tcp(&broker);
        peer.join(Level::V311, "00", "", "away");
        peer.subscribe("t", 1);
        peer.leave();
        let gone = || broker.log().contains("Expiring client away due to timeout");
        let end = Instant::now() + Duration::from_secs(if remains { 3 } else { 20 });
        while Instant::now() < end && !gone() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let present = Peer::tcp(&broker).join(Level::V311, "00", "", "away");
        assert_eq!(present, remains, "{time}\n{}", broker.log());
    }
}

/// A payload that is not the UTF-8 it is said to be is refused; without the directive it passes.
#[test]
fn check_payload_format_refuses_what_is_no_text() {
    only_our_broker!("Mosquitto passes everything on");
    for is_checked in [false, true] {
        let broker = Broker::with(&format!("check_payload_format {is_checked}"));
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "p");
        for (qos, answer) in [("32", "40"), ("34", "50")] {
            peer.send(&format!("{qos} [ <t> 0001 [ 01 01 ] ff ]"));
            let said = peer.packet("acknowledgement");
            let code = if is_checked { 0x99 } else { 0x10 };
            assert_eq!((format!("{:02x}", said[0]), said[4]), (answer.to_owned(), code));
            peer.send(&format!("{qos} [ <t> 0002 [ 01 01 ] 'text' ]"));
            assert_eq!(peer.packet("acknowledgement")[4], 0x10);
        }
        let mut late = Peer::tcp(&broker);
        late.send("10 [ <MQTT> 05 06 003c [ ] <w> [ 01 01 ] <t> 0001ff ]");
        assert_eq!(late.packet("CONNACK")[3], if is_checked { 0x99 } else { 0 });
        peer.send("30 [ <t> [ 01 01 ] ff ] c0 00");
        if is_checked {
            peer.expect("e0 01 99");
            peer.expect_closed();
        } else {
            peer.expect("d0 00");
        }
    }
}

/// Who asks for Response Information is told it; it gives way where the packet would be too large.
#[test]
fn response_information_is_told_to_those_who_ask() {
    only_our_broker!("Mosquitto never sends it");
    let broker = Broker::with("response_information replies/%c/%u");
    for (asked, told) in
        [("19 01", true), ("19 00", false), ("", false), ("19 01 27 00000014", false)]
    {
        let mut peer = Peer::tcp(&broker);
        peer.send(&format!("10 [ <MQTT> 05 82 003c [ {asked} ] <me> <ann> ]"));
        let connack = peer.packet("CONNACK");
        assert_eq!(connack[3], 0, "{asked}: {}", show(&connack));
        let named = connack.windows(17).any(|at| at == b"\x1a\0\x0ereplies/me/ann");
        assert_eq!(named, told, "{asked}: {}", show(&connack));
    }
    let silent = Broker::open();
    let mut peer = Peer::tcp(&silent);
    peer.send("10 [ <MQTT> 05 02 003c [ 19 01 ] <me> ]");
    let connack = peer.packet("CONNACK");
    assert!(!connack[4..].contains(&0x1a), "{}", show(&connack));
}

/// A will above the limit is refused with its CONNECT, as Mosquitto does.
#[test]
fn message_size_limit_holds_for_wills() {
    only_our_broker!("came with 2.1");
    let broker = Broker::with("message_size_limit 4");
    for (level, refused) in [(Level::V311, 5), (Level::V5, 0x95)] {
        for (payload, code) in [("<four>", 0), ("<fives>", refused)] {
            let mut peer = Peer::tcp(&broker);
            let (name, none) = (level.in_connect(), level.properties());
            peer.send(&format!("10 [ {name} 06 003c {none} <w> {none} <t> {payload} ]"));
            assert_eq!(peer.packet("CONNACK")[3], code, "{level:?}");
        }
    }
}

/// One byte more is acknowledged and dropped.
#[test]
fn message_size_limit_drops_larger_payloads() {
    let broker = Broker::with("message_size_limit 4");
    for level in Level::ALL {
        let mut sub = Peer::joined(&broker, Carrier::Tcp, level, "s");
        sub.subscribe("t", 1);
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
        peer.publish_qos1(1, "t", "12345");
        peer.publish_qos1(2, "t", "1234");
        assert_eq!(sub.receive().payload, b"1234", "{level:?}");
    }
}

/// How many of ten QoS 1 messages with payloads of 100 bytes an absent Session finds.
fn found_of_ten(lines: &str) -> usize {
    let broker = Broker::with(lines);
    let mut away = Peer::tcp(&broker);
    away.join(Level::V311, "00", "", "away");
    away.subscribe("t", 1);
    away.leave();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for id in 1..=10 {
        peer.publish_qos1(id, "t", &"x".repeat(100));
    }
    let mut back = Peer::tcp(&broker);
    assert!(back.join(Level::V311, "00", "", "away"));
    // A message to itself ends the queue.
    back.subscribe("end", 0);
    back.publish("end", "");
    back.messages_until(b"\x30\x05\x00\x03end").0.len()
}

#[test]
fn max_queued_bytes_bounds_the_queue() {
    only_our_broker!("2.0.11 lets the larger of two bounds win");
    assert_eq!(found_of_ten(""), 10);
    // Topic and payload count: 101 bytes each.
    assert_eq!(found_of_ten("max_queued_bytes 505"), 5);
    assert_eq!(found_of_ten("max_queued_bytes 504"), 4);
}

/// A client that does not acknowledge gets as many bytes as the bound allows, and one message at
/// least.
#[test]
fn max_inflight_bytes_bounds_what_is_under_way() {
    only_our_broker!("2.0.11 counts otherwise");
    for (max, wanted) in [(300, 3), (299, 2), (1, 1)] {
        let broker = Broker::with(&format!("max_inflight_bytes {max}"));
        let mut sub = Peer::joined(&broker, Carrier::Tcp, Level::V311, "s");
        sub.subscribe("t", 1);
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
        for id in 1..=5 {
            peer.publish_qos1(id, "t", &"x".repeat(100));
        }
        let under_way: Vec<_> = (0..wanted).map(|_| sub.delivered()).collect();
        sub.expect_nothing();
        sub.send(&format!("40 02 {:04x}", under_way[0].packet_id));
        sub.delivered();
    }
}

#[test]
fn upgrade_outgoing_qos_delivers_as_subscribed() {
    for (on, wanted) in [("true", 1), ("false", 0)] {
        let broker = Broker::with(&format!("upgrade_outgoing_qos {on}"));
        let mut sub = Peer::joined(&broker, Carrier::Tcp, Level::V311, "s");
        sub.subscribe("t", 1);
        sub.publish_from_another(&broker, "other", "");
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
        peer.publish("t", "x");
        assert_eq!(sub.receive().qos, wanted, "{on}");
    }
}

/// Sessions that are away count too.
#[test]
fn global_max_clients_counts_absent_sessions() {
    only_our_broker!("came with 2.1");
    let broker = Broker::with("global_max_clients 2");
    let mut away = Peer::tcp(&broker);
    away.join(Level::V311, "00", "", "away");
    away.leave();
    let _here = Peer::joined(&broker, Carrier::Tcp, Level::V311, "here");
    let mut beyond = Peer::tcp(&broker);
    beyond.send_unless_closed("10 [ <MQTT> 04 02 003c <beyond> ]");
    assert!(!beyond.everything().starts_with(&[0x20, 2, 0, 0]), "a third Session");
    // Who has a Session already is no third one.
    assert!(Peer::tcp(&broker).join(Level::V311, "00", "", "away"));
}

/// `mount_point`, `max_qos` and others of one listener are in `conf_listener.rs`.
#[test]
fn sys_interval_sets_the_pace_and_zero_stops() {
    for (interval, wanted) in [("1", true), ("0", false)] {
        let broker = Broker::with(&format!("sys_interval {interval}"));
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
        peer.subscribe("$SYS/broker/uptime", 0);
        if wanted {
            let (first, second) = (peer.delivered(), peer.delivered());
            assert_ne!(first.payload, second.payload);
        } else {
            std::thread::sleep(Duration::from_millis(1500));
            peer.expect_nothing();
        }
    }
}

#[test]
fn log_timestamp_and_its_format() {
    let first_line = |lines: &str| {
        let text = format!("{lines}\nlog_dest file {{dir}}/own.log\n{LISTENERS}");
        let mut broker = Broker::config(&format!("allow_anonymous true\n{text}"));
        broker.stop();
        let log = fs::read_to_string(broker.file("own.log")).unwrap();
        log.lines().next().unwrap().to_owned()
    };
    let bare = first_line("log_timestamp false");
    assert!(bare.starts_with(|first: char| first.is_ascii_alphabetic()), "{bare}");
    let seconds = first_line("log_timestamp true");
    let (time, _) = seconds.split_once(": ").unwrap();
    assert!(time.parse::<u64>().is_ok_and(|it| it > 1_700_000_000), "{seconds}");
    let formed = first_line("log_timestamp_format <%Y-%m-%dT%H:%M:%S>");
    let (time, _) = formed.split_once(": ").unwrap();
    let letters: String =
        time.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect();
    assert_eq!(letters, "<0000-00-00T00:00:00>", "{formed}");
}

/// Lines of the log as messages.
#[test]
fn log_dest_topic_publishes_lines() {
    let broker = Broker::with("log_dest topic\nlog_type all");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "watcher");
    peer.subscribe("$SYS/broker/log/N", 0);
    let _other = Peer::joined(&broker, Carrier::Tcp, Level::V311, "somebody");
    let seen = process::until(|| {
        let text = String::from_utf8_lossy(&peer.delivered().payload).into_owned();
        text.contains("somebody").then_some(())
    });
    assert!(seen.is_some());
}

/// Any number of both serves the same clients.
#[test]
fn threads_and_shards_change_nothing_for_clients() {
    for (threads, shards) in [(1, 1), (1, 3), (3, 3), (2, 7)] {
        let broker = Broker::with(&format!("threads {threads}\nshards {shards}"));
        let mut subs: Vec<_> =
            (0..4).map(|_| Tools::UnderTest.subscribe(&broker, &["-t", "t", "-q", "1"])).collect();
        publish(&broker, &["-t", "t", "-q", "1", "-m", "x"]);
        subs.iter_mut().for_each(|sub| sub.expect_line("x"));
    }
}

/// With `sync` the disk has a message before it is acknowledged: the store counts its syncs.
#[test]
fn durability_sync_brings_each_message_to_the_disk() {
    only_our_broker!("Mosquitto has no such option");
    let broker = Broker::with(
        "persistence true\npersistence_location {dir}/\nsys_interval 1\nshards 1\n\
         durability process\ndurability sync alarms/#",
    );
    let mut away = Peer::tcp(&broker);
    away.join(Level::V311, "00", "", "away");
    away.subscribe("#", 1);
    away.leave();
    let mut watcher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "watcher");
    watcher.subscribe("$SYS/broker/store/syncs", 0);
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    let mut syncs = 0;
    for (topic, wanted) in [("other", false), ("alarms/fire", true)] {
        for id in 1..=50 {
            peer.publish_qos1(id, topic, "x");
        }
        // The number is published when it has changed; without a change, what is known holds.
        std::thread::sleep(Duration::from_millis(2500));
        watcher.send("c0 00");
        let (messages, _) = watcher.messages_until(&[0xd0, 0]);
        let number = |it: &Delivered| String::from_utf8_lossy(&it.payload).parse::<u64>().unwrap();
        let now = messages.iter().map(number).max().unwrap_or(syncs);
        assert_eq!(now - syncs >= 50, wanted, "{topic}: {syncs} → {now} syncs");
        syncs = now;
    }
}

/// The manual, made from the rows, names what works; each of these names occurs in a test against
/// a real broker.
#[test]
fn every_directive_that_works_is_tested() {
    let manual = project_root().join("docs/reference/mqttd.conf.md");
    let manual = fs::read_to_string(manual).unwrap();
    let mut works = BTreeSet::new();
    for entry in manual.split("\n### ").skip(1) {
        let (name, text) = entry.split_once('\n').unwrap();
        let text = text.split("\n## ").next().unwrap();
        let is_off =
            ["**Checked", "**Accepted", "**Not supported"].iter().any(|it| text.contains(it));
        if !is_off {
            works.insert(name.to_owned());
        }
    }
    assert!(works.len() > 40, "the manual has another form than this test thinks: {works:?}");
    let mut tests = fs::read_to_string(project_root().join("tests/src/broker.rs")).unwrap();
    for file in fs::read_dir(project_root().join("tests/tests")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|it| it == "rs") {
            // A line end within a text must not become the first letter of a name.
            tests.push_str(&fs::read_to_string(path).unwrap().replace("\\n", "\n"));
        }
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words: BTreeSet<&str> = tests.split(|letter| !is_word(letter)).collect();
    // A name with a full stop in it is no word, and KEY stands for any.
    let is_named = |name: &str| match name.strip_suffix("KEY") {
        Some(beginning) => words.iter().any(|word| word.starts_with(beginning)),
        None => words.contains(name) || (name.contains('.') && tests.contains(&format!("{name} "))),
    };
    let missing: Vec<_> = works.iter().filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}: write one, or change the row's status");
}
