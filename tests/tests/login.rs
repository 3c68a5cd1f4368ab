//! Issue 2, point 5: passwords at CONNECT, what the tools say when they are refused, the ACL file,
//! and SIGHUP.

use std::fs;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{TempDir, broker_under_test};
use mqttd_tests::process;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

/// A password file with these users, made by Debian's tool.
fn users(entries: &[(&str, &str)]) -> String {
    let dir = TempDir::new();
    let file = dir.write("pwfile", "");
    for (user, password) in entries {
        Tools::Mosquitto.run("passwd", &["-b", &file, user, password]).ok();
    }
    fs::read_to_string(file).unwrap()
}

#[test]
fn the_right_password_opens_the_door_for_both_tools() {
    for version in ["31", "311", "5"] {
        let broker = Broker::guarded(&users(&[("alice", "secret")]), "");
        let login = ["-u", "alice", "-P", "secret", "-V", version];
        let mut sub = Tools::UnderTest.subscribe(&broker, &[&login[..], &["-t", "t"]].concat());
        publish(&broker, &[&login[..], &["-t", "t", "-m", "in"]].concat());
        sub.expect_line("in");
    }
}

/// Mosquitto 2.1 moves both files into plugins; its lines work here, and so does SIGHUP.
#[test]
fn the_plugins_of_password_file_and_acl_file_are_built_in() {
    only_our_broker!("2.0.11 has no such plugins");
    let lines = "plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file {dir}/pw\n\
                 plugin /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file {dir}/rights\n";
    let broker = Broker::prepared(broker_under_test(), &format!("{lines}{LISTENERS}"));
    broker.write("pw", &users(&[("alice", "secret")]));
    broker.write("rights", "user alice\ntopic t\ntopic probe/#\n");
    let broker = broker.started();
    let login = ["-u", "alice", "-P", "secret", "-q", "1"];
    let both = [&login[..], &["-t", "t", "-t", "u"]].concat();
    let mut sub = Tools::UnderTest.subscribe(&broker, &both);
    publish(&broker, &[&login[..], &["-t", "u", "-m", "forbidden"]].concat());
    publish(&broker, &[&login[..], &["-t", "t", "-m", "allowed"]].concat());
    sub.expect_line("allowed");
    let stranger = Tools::UnderTest.publish(&broker, &["-t", "t", "-m", "x"]);
    assert_eq!(stranger.code(), 5, "{stranger}");
    broker.write("pw", &users(&[("bob", "secret")]));
    broker.reload("Config reloaded.");
    let alice = Tools::UnderTest.publish(&broker, &[&login[..], &["-t", "t", "-m", "x"]].concat());
    assert_eq!(alice.code(), 5, "{alice}");
}

/// Wrong password, unknown user, no credentials, no password: for both tools and every version.
#[test]
fn a_refused_tool_says_so_and_exits_with_the_code() {
    let broker = Broker::guarded(&users(&[("alice", "secret")]), "");
    let attempts: [&[&str]; 4] = [
        &["-u", "alice", "-P", "wrong"],
        &["-u", "mallory", "-P", "secret"],
        &[],
        &["-u", "alice"],
    ];
    for attempt in attempts {
        for version in ["31", "311", "5"] {
            let arguments = [attempt, &["-V", version, "-t", "t"]].concat();
            let said = [
                Tools::UnderTest.publish(&broker, &[&arguments[..], &["-m", "x"]].concat()),
                Tools::UnderTest.receive(&broker, &arguments),
            ];
            for said in said {
                if version == "5" {
                    assert!([134, 135].contains(&said.code()), "{said}");
                } else {
                    assert_eq!(said.code(), 5, "{said}");
                }
                assert!(!said.err().trim().is_empty(), "a clear line: {said}");
                assert!(said.out().is_empty(), "nothing on standard output: {said}");
            }
        }
    }
}

#[test]
fn the_refusal_in_bytes() {
    let broker = Broker::guarded(&users(&[("alice", "secret")]), "");
    for carrier in Carrier::ALL {
        for level in [Level::V31, Level::V311] {
            let mut peer = Peer::on(&broker, carrier);
            let name = level.in_connect();
            peer.send(&format!("10 [ {name} c2 003c <c> <alice> <wrong> ]"));
            peer.expect("20 02 00 05");
            peer.expect_closed();
            let mut peer = Peer::on(&broker, carrier);
            peer.send(&format!("10 [ {name} 02 003c <c> ]"));
            peer.expect("20 02 00 05");
            peer.expect_closed();
        }
        for rest in ["c2 003c [ ] <c> <alice> <wrong>", "02 003c [ ] <c>"] {
            let mut peer = Peer::on(&broker, carrier);
            peer.send(&format!("10 [ <MQTT> 05 {rest} ]"));
            let answer = peer.packet("CONNACK");
            assert_eq!((answer[0], answer[2]), (0x20, 0), "{answer:02x?}");
            assert!([0x86, 0x87].contains(&answer[3]), "{answer:02x?}");
            peer.expect_closed();
        }
    }
}

/// 3.1.1 forbids a password without a user name (3.1.2.9); 5.0 allows it.
#[test]
fn a_password_without_a_user_name() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 04 42 003c <c> <secret> ]");
    peer.expect_closed();
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join_with(Level::V5, "42", "", "c", "<secret>"));
}

/// Users are looked at even where everybody may come in: a wrong password is not anonymous.
#[test]
fn anonymous_and_users_side_by_side() {
    let text = "allow_anonymous true\npassword_file {dir}/pwfile\nlistener {port} 127.0.0.1\n";
    let broker = Broker::prepared(broker_under_test(), text);
    broker.write("pwfile", &users(&[("alice", "secret")]));
    let broker = broker.started();
    publish(&broker, &["-t", "t", "-m", "x"]);
    publish(&broker, &["-t", "t", "-m", "x", "-u", "alice", "-P", "secret"]);
    Tools::UnderTest.publish(&broker, &["-t", "t", "-m", "x", "-u", "alice", "-P", "no"]).exits(5);
}

/// Waits until a login gives this exit code: a reload takes a moment.
#[track_caller]
fn until_login_gives(broker: &Broker, user: &str, password: &str, code: i32) {
    let arguments = ["-t", "probe/x", "-m", "x", "-u", user, "-P", password];
    let done = process::until(|| {
        (Tools::Mosquitto.publish(broker, &arguments).code() == code).then_some(())
    });
    assert!(done.is_some(), "{user}/{password} never gives {code}\n{}", broker.log());
}

#[test]
fn sighup_reads_the_password_file_again_and_drops_nobody() {
    // Dora's entry stays the same: a changed one has to be shown again, see `rights.rs`.
    let of_dora = users(&[("dora", "d")]);
    let others = users(&[("alice", "old"), ("carol", "x")]);
    let mut broker = Broker::guarded(&format!("{others}{of_dora}"), "");
    let mut dora = Peer::tcp(&broker);
    dora.join_with(Level::V311, "c2", "", "dora-1", "<dora> <d>");
    dora.subscribe("t", 0);
    let others = users(&[("alice", "new"), ("bob", "fresh")]);
    broker.write("pwfile", &format!("{others}{of_dora}"));
    until_login_gives(&broker, "alice", "old", 0);
    broker.hup();
    until_login_gives(&broker, "bob", "fresh", 0);
    until_login_gives(&broker, "alice", "new", 0);
    until_login_gives(&broker, "alice", "old", 5);
    until_login_gives(&broker, "carol", "x", 5);
    dora.expect_nothing();
    publish(&broker, &["-t", "t", "-m", "still here", "-u", "bob", "-P", "fresh"]);
    dora.expect_message("t", "still here", 0);
    assert!(broker.is_running());
}

/// Mosquitto ends when the new file is wrong; we keep the old one and say why.
#[test]
fn sighup_with_a_broken_password_file_keeps_the_old_one() {
    only_our_broker!("mosquitto stops at a wrong password file");
    let mut broker = Broker::guarded(&users(&[("alice", "secret")]), "");
    let before = broker.log().len();
    broker.write("pwfile", "alice:$7$not-a-number$x$y\n");
    broker.hup();
    let said = process::until(|| broker.log()[before..].contains("pwfile").then_some(()));
    assert!(said.is_some(), "the log names the file\n{}", broker.log());
    until_login_gives(&broker, "alice", "secret", 0);
    assert!(broker.is_running());
}

const ACL: &str = "\
# anonymous clients
topic read public/#
pattern write own/%u/#
pattern readwrite id/%c

user alice
topic read house/#
topic write garden/#
topic deny house/safe

user admin
topic readwrite #
";

fn acl_broker() -> Broker {
    Broker::guarded(&users(&[("alice", "a"), ("bob", "b"), ("admin", "x")]), ACL)
}

fn joined(broker: &Broker, level: Level, user: &str, password: &str) -> Peer {
    let mut peer = Peer::tcp(broker);
    peer.join_with(level, "c2", "", &format!("id-{user}"), &format!("<{user}> <{password}>"));
    peer
}

#[test]
fn the_acl_file_decides_what_is_read() {
    let broker = acl_broker();
    let mut admin = joined(&broker, Level::V311, "admin", "x");
    let mut alice = joined(&broker, Level::V311, "alice", "a");
    alice.subscribe("#", 1);
    for (number, topic) in [(1, "secret"), (2, "house/safe"), (3, "garden/x"), (4, "house/door")] {
        admin.publish_qos1(number, topic, "v");
    }
    alice.expect_message("house/door", "v", 1);
    alice.expect_nothing();
}

#[test]
fn the_acl_file_decides_what_is_written() {
    let broker = acl_broker();
    let mut admin = joined(&broker, Level::V311, "admin", "x");
    admin.subscribe("#", 1);
    let mut alice = joined(&broker, Level::V311, "alice", "a");
    // A denied one is acknowledged all the same in 3.1.1: there is no other answer.
    for (number, topic) in
        [(1, "house/door"), (2, "elsewhere"), (3, "own/bob/x"), (4, "own/alice/x"), (5, "garden/x")]
    {
        alice.publish_qos1(number, topic, "v");
    }
    alice.publish_qos1(6, "id/id-alice", "v");
    alice.publish_qos1(7, "id/id-admin", "v");
    alice.publish_qos1(8, "garden/last", "v");
    for topic in ["own/alice/x", "garden/x", "id/id-alice", "garden/last"] {
        admin.expect_message(topic, "v", 1);
    }
    admin.expect_nothing();
}

#[test]
fn a_denied_v5_publish_is_answered_with_not_authorized() {
    let broker = acl_broker();
    let mut alice = joined(&broker, Level::V5, "alice", "a");
    alice.send("32 [ <secret> 0001 [ ] 'x' ]");
    let answer = alice.packet("PUBACK");
    assert_eq!((answer[0], &answer[2..5]), (0x40, &[0, 1, 0x87][..]), "{answer:02x?}");
    alice.send("34 [ <secret> 0002 [ ] 'x' ]");
    let answer = alice.packet("PUBREC");
    assert_eq!((answer[0], &answer[2..5]), (0x50, &[0, 2, 0x87][..]), "{answer:02x?}");
    // PUBREC with an error ends the exchange: the identifier is free.
    alice.publish_qos2(2, "garden/x", "v");
}

#[test]
fn sighup_reads_the_acl_file_again_and_drops_nobody() {
    let broker = acl_broker();
    let mut admin = joined(&broker, Level::V311, "admin", "x");
    let mut alice = joined(&broker, Level::V311, "alice", "a");
    alice.subscribe("#", 0);
    admin.publish("garden/1", "before");
    admin.publish("house/1", "before");
    alice.expect_message("house/1", "before", 0);
    broker.write("acl", "user alice\ntopic read garden/#\n\nuser admin\ntopic #\n");
    broker.hup();
    let seen = process::until(|| {
        admin.publish("garden/2", "after");
        admin.expect_nothing();
        // A message to alice left before the PINGRESP to admin, or will not come.
        alice.send("c0 00");
        let packet = alice.packet("PINGRESP");
        (packet != [0xd0, 0]).then_some(())
    });
    assert!(seen.is_some(), "alice may not read garden/#\n{}", broker.log());
    alice.expect("d0 00");
    admin.publish("house/2", "after");
    admin.expect_nothing();
    alice.expect_nothing();
}

#[test]
fn retained_messages_are_not_replayed_past_the_acl() {
    let broker = acl_broker();
    let mut admin = joined(&broker, Level::V311, "admin", "x");
    for topic in ["house/safe", "house/door"] {
        admin.send(&format!("31 [ <{topic}> 'v' ]"));
    }
    admin.expect_nothing();
    let mut alice = joined(&broker, Level::V311, "alice", "a");
    alice.subscribe("house/+", 0);
    alice.expect_message("house/door", "v", 0);
    alice.expect_nothing();
}
