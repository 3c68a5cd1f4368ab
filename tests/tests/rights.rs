//! Issue 7: rights and users that a reload changes, over real sockets and across a restart of the
//! broker: live subscriptions, queued messages, retained values, users that are gone, files that
//! cannot be used. The same as dialogues with one shard: `mqttd-core/tests/dialogues/reload.rs`.

use std::fs;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{TempDir, broker_under_test};
use mqttd_tests::process;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

const OPEN: &str = "topic #\npattern readwrite #\n";
const TIGHT: &str = "topic #\nuser bob\ntopic deny t\ntopic read #\nuser ann\ntopic read #\n";

/// Entries of users whose password is their name.
fn users(names: &[&str]) -> String {
    let dir = TempDir::new();
    let file = dir.write("pwfile", "");
    for name in names {
        Tools::Mosquitto.run("passwd", &["-b", &file, name, name]).ok();
    }
    fs::read_to_string(file).unwrap()
}

fn durable(passwords: &str, acl: &str) -> Broker {
    let lines = "persistence true\npersistence_location {dir}/store\nallow_anonymous true\n\
        check_retain_source true\npassword_file {dir}/pwfile\nacl_file {dir}/acl\n";
    let broker = Broker::prepared(broker_under_test(), &format!("{lines}{LISTENERS}"));
    fs::create_dir(broker.file("store")).unwrap();
    broker.write("pwfile", passwords);
    broker.write("acl", acl);
    let broker = broker.started();
    // A port accepts before the files are read.
    if !mqttd_tests::place::broker_is_peer() {
        let runs = process::until(|| broker.log().contains(" running").then_some(()));
        assert!(runs.is_some(), "{}", broker.log());
    }
    broker
}

/// CONNECT of a user whose password is the name.
fn login(broker: &Broker, level: Level, client_id: &str, user: &str, clean: bool) -> Peer {
    let flags = if clean { "c2" } else { "c0" };
    let mut peer = Peer::tcp(broker);
    let (version, properties) = match level {
        Level::V5 => ("5", if clean { " 00" } else { " 05 11 0000ffff" }),
        _ => ("4", ""),
    };
    let hello = format!(
        "10 [ <MQTT> 0{version} {flags} 003c{properties} <{client_id}> <{user}> <{user}> ]"
    );
    peer.speaks(level);
    peer.send(&hello);
    let connack = peer.packet("CONNACK");
    assert_eq!(connack[3], 0, "CONNACK: {connack:02x?}");
    peer
}

#[test]
fn a_queue_and_retained_values_follow_the_rights_after_a_reload_and_a_restart() {
    only_our_broker!("check_retain_source of 2.0.11 forgets sources at a reload");
    for restarts in [false, true] {
        let mut broker = durable(&users(&["bob", "ann", "eve"]), OPEN);
        let mut bob = login(&broker, Level::V311, "bob", "bob", false);
        bob.subscribe("#", 1);
        bob.leave();
        for topic in ["t", "u"] {
            publish(&broker, &["-t", topic, "-m", "queued", "-q", "1"]);
        }
        let kept = ["-m", "kept", "-q", "1", "-r", "-u", "ann", "-P", "ann", "-i", "ann"];
        publish(&broker, &[&["-t", "of/ann"], &kept[..]].concat());
        publish(&broker, &["-t", "of/nobody", "-m", "kept", "-q", "1", "-r"]);
        broker.write("acl", TIGHT);
        if restarts {
            broker.restart();
        } else {
            broker.reload("Config reloaded.");
        }
        let mut bob = login(&broker, Level::V311, "bob", "bob", false);
        assert_eq!(bob.receive().topic, "u");
        assert_eq!(bob.receive().topic, "of/ann", "published while ann had the right");
        assert_eq!(bob.receive().topic, "of/nobody");
        let mut eve = Peer::joined(&broker, Carrier::Tcp, Level::V5, "eve");
        eve.subscribe("of/+", 0);
        assert_eq!(eve.receive().topic, "of/nobody");
        eve.expect_nothing();
    }
}

#[test]
fn users_that_are_gone_or_have_another_password_are_sent_away() {
    let both = users(&["bob", "ann"]);
    let broker = durable(&both, OPEN);
    let mut ann = login(&broker, Level::V5, "ann", "ann", true);
    let mut old = login(&broker, Level::V311, "old", "ann", true);
    let mut bob = login(&broker, Level::V5, "bob", "bob", true);
    let mut nobody = Peer::joined(&broker, Carrier::WebSocket, Level::V5, "nobody");
    let of_bob: String = both.lines().filter(|line| line.starts_with("bob:")).collect();
    broker.write("pwfile", &of_bob);
    broker.reload("Reloading config.");
    if !mqttd_tests::place::broker_is_peer() {
        ann.expect_disconnect(0x87);
    }
    ann.expect_closed();
    old.expect_closed();
    bob.expect_nothing();
    nobody.expect_nothing();
    only_our_broker!("2.0.11 has no words for it in its log");
    let log = broker.log();
    assert!(log.contains("Client ann [127.0.0.1:"), "{log}");
    assert!(log.contains("disconnected: not authorised."), "{log}");
    broker.write("pwfile", &users(&["bob"]));
    broker.reload("Config reloaded.");
    bob.expect_disconnect(0x87);
    login(&broker, Level::V5, "bob", "bob", true).expect_nothing();
}

#[test]
fn anonymous_clients_go_when_they_are_no_longer_wanted() {
    let broker = durable(&users(&["bob"]), OPEN);
    let mut nobody = Peer::joined(&broker, Carrier::Tcp, Level::V5, "nobody");
    let mut bob = login(&broker, Level::V5, "bob", "bob", true);
    let text = fs::read_to_string(broker.file("mosquitto.conf")).unwrap();
    let text = text.replace("allow_anonymous true", "allow_anonymous false");
    broker.write("mosquitto.conf", &text);
    broker.reload("Reloading config.");
    if !mqttd_tests::place::broker_is_peer() {
        nobody.expect_disconnect(0x87);
    }
    nobody.expect_closed();
    bob.expect_nothing();
}

/// Neither at the start nor at a reload does a file that cannot be used open the door.
#[test]
fn files_that_cannot_be_used_fail_closed() {
    only_our_broker!("2.0.11 ends at a reload with such a file");
    let good = users(&["bob"]);
    for (name, content) in [
        ("pwfile", Some("bob:$7$broken\n")),
        ("pwfile", None),
        ("acl", Some("topic sometimes #\n")),
        ("acl", None),
    ] {
        let mut broker = durable(&good, TIGHT);
        let path = broker.file(name);
        match content {
            Some(content) => drop(broker.write(name, content)),
            None => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
        }
        broker.reload("The old configuration stays");
        let mut bob = login(&broker, Level::V5, "bob", "bob", true);
        bob.send("30 [ <t> 00 <x> ]");
        bob.send("c0 00");
        bob.expect("d0 00");
        Tools::UnderTest
            .publish(&broker, &["-t", "t", "-m", "x", "-u", "bob", "-P", "wrong"])
            .exits(5);
        broker.stop();
        let said = broker.run_to_end(&[]);
        assert!([3, 13].contains(&said.code()), "{said}");
        assert!((said.out() + &said.err()).contains(name), "{said}");
    }
}

/// Every kind of line, the precedence between them, placeholders, names that would be wildcards.
const PRECEDENCE: &str = "\
topic write anon/#
topic read free/#
user ann
topic deny a/no
topic write a/#
topic readwrite both
topic read r/#
user root
topic readwrite #
topic readwrite $SYS/#
pattern read end
pattern deny both
pattern write dev-%c/x
pattern write u/%u/#
pattern read in/%u/%c
pattern readwrite plain/+
";

const TOPICS: &str = "anon/1 free/1 a a/no a/yes both r/1 dev-one/x dev-two/x u/ann/1 u/bob/1 u//1 \
                      in/ann/one in/ann/two in//one plain/1 plain/1/2 %u %c u/%u/1";

/// Who may publish what, and who is sent what, also through a shared subscription: lines of words.
fn decisions(broker: &Broker) -> Vec<String> {
    let topics: Vec<&str> = TOPICS.split_whitespace().collect();
    let mut said = Vec::new();
    let join = |user: &str, client_id: &str| {
        let mut peer = Peer::tcp(broker);
        peer.speaks(Level::V311);
        let (flags, user) =
            if user.is_empty() { ("02", String::new()) } else { ("82", format!(" <{user}>")) };
        peer.send(&format!("10 [ <MQTT> 04 {flags} 003c <{client_id}>{user} ]"));
        peer.expect("20 02 00 00");
        peer
    };
    let mut root = join("root", "root");
    root.subscribe("#", 1);
    for (user, client_id) in
        [("", "one"), ("ann", "one"), ("ann", "two"), ("bob", "one"), ("an+", "one"), ("ann", "o#")]
    {
        let mut peer = join(user, client_id);
        for topic in &topics {
            peer.publish_qos1(1, topic, "up");
        }
        root.publish("end", "");
        let mut up = Vec::new();
        loop {
            let message = root.receive();
            match message.topic.as_str() {
                "end" => break,
                topic => up.push(topic.to_owned()),
            }
        }
        peer.subscribe("#", 0);
        peer.subscribe("$share/mine/r/#", 0);
        for topic in topics.iter().chain(&["end"]) {
            root.publish_qos1(1, topic, "down");
            root.receive();
        }
        let mut down = Vec::new();
        if user == "an+" || client_id == "o#" {
            // These are denied whatever patterns grant, "end" too.
            peer.send("c0 00");
            down.extend(peer.messages_until(&[0xd0, 0]).0.into_iter().map(|it| it.topic));
        } else {
            loop {
                let message = peer.receive();
                if message.topic == "end" {
                    break;
                }
                down.push(message.topic);
            }
        }
        // Whether a shared subscription beside another one means two copies is no question here.
        down.sort();
        down.dedup();
        said.push(format!("{user}/{client_id} publishes {up:?}, receives {down:?}"));
        peer.leave();
    }
    said
}

#[test]
fn the_acl_file_is_read_as_mosquitto_reads_it() {
    only_our_broker!("it is compared with itself");
    let start = |program| {
        let text = format!("allow_anonymous true\nacl_file {{dir}}/acl\n{LISTENERS}");
        let broker = Broker::prepared(program, &text);
        broker.write("acl", PRECEDENCE);
        broker.started()
    };
    let ours = decisions(&start(broker_under_test()));
    let theirs = decisions(&start(mqttd_tests::place::peer_binary("mosquitto")));
    assert_eq!(ours, theirs);
    assert!(
        ours[1].contains(r#"publishes ["a", "a/yes", "both", "dev-one/x", "u/ann/1", "plain/1"]"#)
    );
    assert!(ours[1].contains(r#"receives ["both", "in/ann/one", "plain/1", "r/1"]"#));
}
