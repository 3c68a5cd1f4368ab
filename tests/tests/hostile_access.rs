//! Hostile peers and access (docs/security.md, cases 11 to 15, 29): names that want to be
//! patterns, paths or log lines; files that are empty or broken; permissions taken away; topics
//! of the broker's own; a store that was tampered with.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::peer::{Level, Peer};
use mqttd_tests::siege::{MIB, packet, string};
use mqttd_tests::{Broker, Siege, only_our_broker, place, process};

/// A broker for everybody, with this ACL file.
#[track_caller]
fn with_acl(acl: &str) -> Broker {
    let text = format!("allow_anonymous true\nacl_file {{dir}}/acl\n{LISTENERS}");
    let broker = Broker::prepared(place::broker_under_test(), &text);
    broker.write("acl", acl);
    broker.started()
}

/// Replaces the ACL file and waits until it is in force.
#[track_caller]
fn change_acl(siege: &Siege, acl: &str) {
    let before = siege.lines(&["Reloading"]);
    siege.broker.write("acl", acl);
    siege.broker.hup();
    process::until(|| (siege.lines(&["Reloading"]) > before).then_some(())).expect("reloaded");
    // The shards take their new settings with their next turns.
    std::thread::sleep(Duration::from_millis(200));
}

/// Expects the PUBACK of identifier 1 with Not authorized, with or without a Reason String.
#[track_caller]
fn expect_refused(peer: &mut Peer) {
    let answer = peer.packet("PUBACK");
    assert_eq!((answer[0], &answer[2..5]), (0x40, &[0, 1, 0x87][..]), "{answer:02x?}");
}

/// Case 11: `#`, `+` and `/` in a client id must not widen a pattern.
#[test]
fn names_that_want_to_be_patterns() {
    only_our_broker!("2.0.11 takes / in such names");
    let broker = with_acl("topic good/#\npattern readwrite of/%c/data\n");
    let mut siege = Siege::of(broker);
    let mut victim = siege.attacker(Level::V5, "victim");
    victim.subscribe("of/victim/data", 1);
    for name in ["#", "+", "+/data", "victim/data/..", "vic/../victim", "a/#"] {
        let mut peer = siege.attacker(Level::V5, name);
        // As in Mosquitto every SUBSCRIBE is granted and each message is checked.
        peer.send("82 [ 0001 [ ] <of/victim/data> 00 ]");
        assert_eq!(peer.packet("SUBACK")[0], 0x90);
        peer.send("32 [ <of/victim/data> 0001 [ ] 'forged' ]");
        expect_refused(&mut peer);
        victim.publish_qos1(1, "of/victim/data", "mine");
        victim.expect_message("of/victim/data", "mine", 1);
        peer.expect_nothing();
        siege.exchange();
    }
    victim.expect_nothing();
    siege.survived(4 * MIB);
}

/// Case 11: line ends and terminal codes in a client id, a user name and a topic stay within one
/// line of the log.
#[test]
fn names_that_want_to_be_log_lines() {
    only_our_broker!("2.0.11 writes them as they come");
    let siege = Siege::with("log_type all");
    let forged = "1700000000: Client admin connected";
    let name = format!("x\n{forged}\r\n\u{1b}[2J\u{85}\u{2028}y");
    for level in [Level::V311, Level::V5] {
        let none: &[u8] = if level == Level::V5 { &[0] } else { &[] };
        let protocol = if level == Level::V5 { 5 } else { 4 };
        let mut peer = Peer::tcp(&siege.broker);
        peer.speaks(level);
        let head: &[u8] = &[protocol, 0x82, 0, 0];
        peer.send_bytes(&packet(
            0x10,
            &[&string("MQTT"), head, none, &string(&name), &string(&name)],
        ));
        peer.send_raw(&packet(0x82, &[&[0, 1], none, &string(&name), &[0]]));
        peer.send_raw(&packet(0x30, &[&string(&name), none, b"x"]));
        peer.send_raw(&[0xe0, 0]);
        peer.everything();
    }
    let log = siege.broker.log();
    assert!(!log.lines().any(|line| line.starts_with(forged)), "{log}");
    let control = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    assert!(!control(&log), "{log:?}");
    siege.survived(4 * MIB);
}

/// Case 11: path elements in a client id, with a store: nothing is written outside it.
#[test]
fn names_that_want_to_be_paths() {
    let siege = Siege::with("persistence true\npersistence_location {dir}/");
    for name in ["../../outside", "/etc/passwd", "..", ".", "shards", "a\u{fe0e}/b"] {
        let mut peer = Peer::tcp(&siege.broker);
        peer.join(Level::V311, "00", "", name);
        peer.subscribe("t", 1);
        peer.publish_qos1(1, name, "x");
        peer.leave();
    }
    let above = siege.broker.dir().parent().unwrap();
    assert!(!above.join("outside").exists() && !above.parent().unwrap().join("outside").exists());
    siege.survived(8 * MIB);
}

/// Case 12: an ACL or password file that is missing, a folder, or noise: the start fails. An
/// empty one lets nobody do anything.
#[test]
fn broken_access_files_fail_closed() {
    only_our_broker!("2.0.11 starts with some of them");
    for (file, content) in [
        ("acl", None),
        ("pwfile", None),
        ("acl", Some("\u{0}\u{1}garbage\n")),
        ("acl", Some("topic sideways a/#\n")),
    ] {
        let text = "password_file {dir}/pwfile\nacl_file {dir}/acl\nlistener {port} 127.0.0.1\n";
        let broker = Broker::prepared(place::broker_under_test(), text);
        for (name, good) in [("acl", "topic read a\n"), ("pwfile", "")] {
            match (name == file, content) {
                (true, None) => fs::create_dir(broker.file(name)).unwrap(),
                (true, Some(bad)) => drop(broker.write(name, bad)),
                (false, _) => drop(broker.write(name, good)),
            }
        }
        let end = broker.run_to_end(&[]);
        assert!(!end.status.success() && end.err().contains(file), "{file} {content:?}: {end}");
    }
    let broker = with_acl("\n\n   \n# only a comment\n");
    let mut peer = Peer::joined(&broker, mqttd_tests::peer::Carrier::Tcp, Level::V5, "nobody");
    peer.send("32 [ <a> 0001 [ ] 'x' ]");
    expect_refused(&mut peer);
}

/// Case 12: a reload that finds the file broken, or no descriptor to open it with, keeps the old
/// rules.
#[test]
fn a_reload_that_fails_keeps_the_old_rules() {
    only_our_broker!("2.0.11 goes on without an ACL");
    let mut siege = Siege::of(with_acl("topic good/#\ntopic read mine\n"));
    for broken in ["topic sideways x\n", "\u{0}"] {
        siege.broker.write("acl", broken);
        siege.broker.hup();
        std::thread::sleep(Duration::from_millis(300));
        let mut peer = siege.attacker(Level::V5, "tester");
        peer.send("32 [ <secret> 0001 [ ] 'x' ]");
        expect_refused(&mut peer);
        siege.exchange();
    }
    siege.broker.write("acl", "topic #\n");
    let pid = siege.broker.id().to_string();
    let limit = |count: usize| {
        let limit = format!("--nofile={count}:20000");
        std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    };
    // Below what is open already: no file can be opened, whatever closes meanwhile.
    limit(3);
    siege.broker.hup();
    std::thread::sleep(Duration::from_millis(300));
    limit(20_000);
    let mut peer = siege.attacker(Level::V5, "tester");
    peer.send("32 [ <secret> 0001 [ ] 'x' ]");
    expect_refused(&mut peer);
    siege.survived(4 * MIB);
}

/// Case 13: a permission taken away ends what was subscribed, queued, in flight and promised.
#[test]
fn permissions_taken_away() {
    only_our_broker!("2.0.11 goes on delivering");
    let open = "topic good/#\ntopic secret/#\n";
    let closed = "topic good/#\ntopic write secret/in\n";
    let siege = Siege::of(with_acl(open));
    let mut live = siege.attacker(Level::V311, "live");
    live.subscribe("secret/#", 0);
    let mut away = Peer::tcp(&siege.broker);
    away.join(Level::V311, "00", "", "away");
    away.subscribe("secret/#", 1);
    away.vanish();
    let mut publisher = siege.attacker(Level::V311, "publisher");
    publisher.publish_qos1(1, "secret/in", "queued while allowed");
    live.expect_message("secret/in", "queued while allowed", 0);
    let mut will = Peer::tcp(&siege.broker);
    will.join_with(Level::V311, "06", "", "willing", "<secret/will> <gone>");
    change_acl(&siege, closed);
    publisher.publish_qos1(2, "secret/in", "after");
    live.expect_nothing();
    let mut back = Peer::tcp(&siege.broker);
    back.join(Level::V311, "00", "", "away");
    back.expect_nothing();
    // The will's author may no longer write there; who may read again does not get it.
    will.vanish();
    let gone = process::until(|| (siege.lines(&["willing", "disconnected"]) > 0).then_some(()));
    gone.expect("the broker notices");
    change_acl(&siege, open);
    live.expect_nothing();
    siege.survived(4 * MIB);
}

/// Case 14: a shared subscription is checked as its filter; malformed ones are refused.
#[test]
fn shared_subscriptions_around_the_acl() {
    only_our_broker!("2.0.11 accepts any filter and checks each message");
    let mut siege = Siege::of(with_acl("topic good/#\ntopic write secret\n"));
    let mut peer = siege.attacker(Level::V5, "sharer");
    // As in Mosquitto every SUBSCRIBE is granted and each message is checked.
    for filter in ["$share/g/secret", "$share/g/#", "$share/g/+", "secret", "#"] {
        peer.send(&format!("82 [ 0001 [ ] <{filter}> 00 ]"));
        assert_eq!(peer.packet("SUBACK")[0], 0x90);
    }
    let mut publisher = siege.attacker(Level::V311, "publisher");
    publisher.publish_qos1(1, "secret", "x");
    peer.expect_nothing();
    for filter in
        ["$share", "$share/", "$share/g", "$share/g/", "$share/+/a", "$share/#/a", "$share//a"]
    {
        let mut peer = siege.attacker(Level::V5, "malformed");
        peer.send(&format!("82 [ 0001 [ ] <{filter}> 00 ]"));
        peer.send_unless_closed("c0 00");
        let answer = peer.everything();
        let refused = answer.is_empty()
            || answer[0] == 0xe0
            || answer[0] == 0x90 && answer.get(5).is_some_and(|code| *code >= 0x80);
        assert!(refused || filter == "$share", "{filter}: {answer:02x?}");
    }
    siege.exchange();
    siege.survived(4 * MIB);
}

/// Case 14: a thousand members of a group, half of whom are gone again when it is written to.
#[test]
fn a_huge_group() {
    let mut siege = Siege::open();
    let mut members = Vec::new();
    for number in 0..1000 {
        let mut peer = siege.attacker(Level::V5, &format!("member-{number}"));
        peer.subscribe("$share/crowd/work", 1);
        members.push(peer);
        if number % 2 == 1 {
            members.swap_remove(number / 3).vanish();
        }
    }
    let mut publisher = siege.attacker(Level::V311, "publisher");
    for id in 1..=1000 {
        publisher.publish_qos1(id, "work", &format!("piece {id}"));
    }
    siege.exchange();
    // Each piece of work went to one member, and nobody has more than another.
    let mut pieces = BTreeSet::new();
    for member in &mut members {
        for _ in 0..2 {
            pieces.insert(member.receive().payload);
        }
        member.expect_nothing();
    }
    assert_eq!((members.len(), pieces.len()), (500, 1000));
    siege.survived(48 * MIB);
}

/// Case 15: `$SYS` and `$CONTROL` are not matched by `#` and `+`, nobody writes there, not by a
/// will either.
#[test]
fn topics_of_the_broker() {
    let siege = Siege::with("sys_interval 1");
    let mut peer = siege.attacker(Level::V5, "dollar");
    peer.subscribe("#", 0);
    peer.subscribe("+/broker/#", 0);
    let mut control = siege.attacker(Level::V5, "control");
    control.subscribe("$CONTROL/#", 0);
    control.subscribe("$SYS/forged", 0);
    let mut will = Peer::tcp(&siege.broker);
    will.speaks(Level::V5);
    will.send("10 [ <MQTT> 05 06 0000 [ ] <will> [ ] <$SYS/forged> <x> ]");
    will.send_raw(&packet(0x30, &[&string("$SYS/forged"), &[0], b"x"]));
    std::thread::sleep(Duration::from_millis(200));
    will.vanish();
    std::thread::sleep(Duration::from_millis(1500));
    peer.expect_nothing();
    control.expect_nothing();
    siege.survived(4 * MIB);
}

/// Case 29: two brokers on one store: the second does not start, the first goes on.
#[test]
fn two_brokers_on_one_store() {
    only_our_broker!("2.0.11 lets them overwrite each other");
    let siege = Siege::with("persistence true\npersistence_location {dir}/");
    let dir = siege.broker.dir().to_str().unwrap();
    let text =
        format!("listener {{port}} 127.0.0.1\npersistence true\npersistence_location {dir}/\n");
    let second = Broker::prepared(place::broker_under_test(), &text).run_to_end(&[]);
    assert!(!second.status.success() && !second.err().is_empty(), "{second}");
    siege.survived(8 * MIB);
}

/// Case 29: files of the store filled with NUL, cut, or with a bit flipped: the start either
/// restores what is whole or fails with a line that says why. It never panics.
#[test]
fn a_store_that_was_tampered_with() {
    only_our_broker!("our own store");
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("NUL", |bytes| bytes.fill(0)),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("a bit", |bytes| {
            let middle = bytes.len().min(600) / 2;
            bytes[middle] ^= 0x10;
        }),
        ("noise", |bytes| {
            bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = ((at * 167) >> 3) as u8);
        }),
    ];
    for (what, damage) in damages {
        let mut broker = Broker::with("persistence true\npersistence_location {dir}/");
        let mut peer = Peer::tcp(&broker);
        peer.join(Level::V311, "00", "", "kept");
        peer.subscribe("t", 1);
        for id in 1..=50 {
            peer.send(&format!("33 [ <t/{id}> {id:04x} 'retained' ]"));
            peer.expect_acknowledgement(0x40, id);
        }
        broker.stop();
        let mut files = Vec::new();
        collect(broker.dir(), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let mut bytes = fs::read(&file).unwrap();
            if !bytes.is_empty() {
                damage(&mut bytes);
                fs::write(&file, bytes).unwrap();
            }
        }
        let log_before = broker.log().len();
        let end = {
            let mut command = std::process::Command::new("timeout");
            command.args(["-s", "TERM", "3"]).arg(place::broker_under_test());
            command.args(["-c", &broker.file("mosquitto.conf")]);
            process::run(command, b"")
        };
        let said = format!("{}{}{}", end.err(), end.out(), &broker.log()[log_before..]);
        assert!(!said.contains("panicked"), "{what}: {said}");
        // 124: it ran until it was told to stop.
        let refused = [1, 3, 4, 13].contains(&end.code()) && said.contains("Error");
        assert!(end.code() == 124 || end.code() == 0 || refused, "{what}: {end} {said}");
    }
}

/// All files of the store below a folder.
fn collect(dir: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, files);
        } else if !["mosquitto.conf", "broker.log"].contains(&&*name) {
            files.push(path);
        }
    }
}
