//! Issue 2, point 4: `mqtt-passwd`, `mosquitto_passwd` and the password file between them and
//! both brokers.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use mqttd_tests::peer::{Level, Peer};
use mqttd_tests::place::{self, TempDir};
use mqttd_tests::process::{self, Finished};
use mqttd_tests::script::python_program;
use mqttd_tests::tool::Tools;
use mqttd_tests::{Broker, only_our_broker, only_our_tools};

/// `mqtt-passwd` (or the peer's) with these arguments.
#[track_caller]
fn passwd(arguments: &[&str]) -> Finished {
    Tools::UnderTest.run("passwd", arguments)
}

/// The same at a terminal where a person types these answers.
#[track_caller]
fn passwd_asks(answers: &[&str], arguments: &[&str]) -> Finished {
    let program = Tools::UnderTest.command("passwd").get_program().to_owned();
    let mut command = python_program("python3", "ask_password.py");
    command.args(answers).arg("--").arg(program).args(arguments);
    process::run(command, b"")
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(String::from).collect()
}

/// Does the broker under test, with this password file, let the user in?
#[track_caller]
fn expect_login(file: &str, user: &str, password: &str, is_welcome: bool) {
    expect_login_at(place::broker_under_test(), file, user, password, is_welcome);
}

#[track_caller]
fn expect_login_at(
    program: std::path::PathBuf,
    file: &str,
    user: &str,
    password: &str,
    is_welcome: bool,
) {
    let text = "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {dir}/pwfile\n";
    let broker = Broker::prepared(program, text);
    broker.write("pwfile", &fs::read_to_string(file).unwrap());
    let broker = broker.started();
    let arguments = ["-t", "t", "-m", "x", "-u", user, "-P", password];
    let code = Tools::Mosquitto.publish(&broker, &arguments).code();
    assert_eq!(code, if is_welcome { 0 } else { 5 }, "{user}/{password}\n{}", broker.log());
}

#[test]
fn asks_twice_without_echo_and_makes_the_file() {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    let said = passwd_asks(&["sesame", "sesame"], &["-c", &file, "alice"]).ok();
    assert!(said.out().contains("echo while typing: off off"), "{said}");
    assert!(said.out().contains("answers left: 0"), "{said}");
    assert!(!said.out().contains("sesame"), "{said}");
    assert!(lines(&file)[0].starts_with("alice:$"));
    expect_login(&file, "alice", "sesame", true);
    expect_login(&file, "alice", "Sesame", false);
}

#[test]
fn refuses_when_the_two_differ() {
    only_our_tools!("mosquitto_passwd 2.0.11 exits 1 and leaves the new file behind");
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    passwd_asks(&["sesame", "open"], &["-c", &file, "alice"]).exits(2);
    assert!(!fs::exists(&file).unwrap(), "no file without an entry");
    passwd(&["-b", "-c", &file, "alice", "sesame"]).ok();
    let before = lines(&file);
    passwd_asks(&["one", "two"], &[&file, "alice"]).exits(2);
    assert_eq!(lines(&file), before);
}

#[test]
fn adds_updates_and_deletes() {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    passwd(&["-c", "-b", &file, "alice", "one"]).ok();
    passwd_asks(&["two", "two"], &[&file, "bob"]).ok();
    passwd(&["-b", &file, "carol", "three"]).ok();
    passwd(&["-b", &file, "alice", "new"]).ok();
    let users: Vec<String> =
        lines(&file).iter().map(|it| it.split(':').next().unwrap().to_string()).collect();
    assert_eq!(users, ["alice", "bob", "carol"]);
    expect_login(&file, "alice", "new", true);
    expect_login(&file, "alice", "one", false);
    expect_login(&file, "bob", "two", true);
    passwd(&["-D", &file, "bob"]).ok();
    assert_eq!(lines(&file).len(), 2);
    expect_login(&file, "bob", "two", false);
    expect_login(&file, "carol", "three", true);
}

#[test]
fn the_file_is_the_owners_alone_and_replaced_in_one_step() {
    only_our_tools!("mosquitto_passwd 2.0.11 makes it readable by all, and rewrites it in place");
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    passwd(&["-c", "-b", &file, "alice", "one"]).ok();
    let before = fs::metadata(&file).unwrap();
    assert_eq!(before.permissions().mode() & 0o777, 0o600);
    passwd(&["-b", &file, "bob", "two"]).ok();
    let after = fs::metadata(&file).unwrap();
    assert_eq!(after.permissions().mode() & 0o777, 0o600);
    // A rename gives the name to another file; a reader never sees half of one.
    assert_ne!(before.ino(), after.ino());
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    let left_over: Vec<_> = names
        .iter()
        .filter(|name| !["pwfile", "pwfile.backup"].contains(&name.to_str().unwrap()))
        .collect();
    assert!(left_over.is_empty(), "{left_over:?}");
}

#[test]
fn converts_a_plain_text_file() {
    let dir = TempDir::new();
    let file = dir.write("pwfile", "alice:one\nbob:with:colon\n");
    passwd(&["-U", &file]).ok();
    let now = lines(&file);
    assert_eq!(now.len(), 2);
    assert!(now[0].starts_with("alice:$") && now[1].starts_with("bob:$"), "{now:?}");
    assert!(!now.concat().contains("colon"));
    expect_login(&file, "alice", "one", true);
}

#[test]
fn an_entry_can_be_removed_only_if_it_is_there() {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    passwd(&["-c", "-b", &file, "alice", "one"]).ok();
    let before = lines(&file);
    passwd(&["-D", &file, "nobody"]).exits(1).complains("nobody");
    assert_eq!(lines(&file), before);
}

#[test]
fn a_user_name_with_a_colon_is_refused() {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    passwd(&["-c", "-b", &file, "alice", "one"]).ok();
    passwd(&["-b", &file, "a:b", "x"]).exits(1).complains(":");
    assert_eq!(lines(&file).len(), 1);
}

#[test]
fn a_missing_file_is_made_only_with_c() {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    passwd(&["-b", &file, "alice", "one"]).exits(1).complains(&file);
    assert!(!fs::exists(&file).unwrap());
}

#[test]
fn the_hash_can_be_chosen() {
    only_our_tools!("-H came with mosquitto_passwd 2.1");
    only_our_broker!("mosquitto 2.0.11 does not know $argon2id$");
    for (name, head) in [("sha512", "$6$"), ("sha512-pbkdf2", "$7$"), ("argon2id", "$argon2id$")] {
        let dir = TempDir::new();
        let file = dir.file("pwfile");
        passwd(&["-H", name, "-c", "-b", &file, "alice", "one"]).ok();
        assert!(lines(&file)[0].starts_with(&format!("alice:{head}")), "{name}");
        expect_login(&file, "alice", "one", true);
        expect_login(&file, "alice", "two", false);
    }
    let dir = TempDir::new();
    passwd(&["-H", "md5", "-c", "-b", &dir.file("pwfile"), "alice", "one"])
        .exits(1)
        .complains("md5");
}

/// Each tool edits what the other wrote, each broker reads the result.
#[test]
fn both_tools_and_both_brokers_share_one_file() {
    let dir = TempDir::new();
    let ours_first = dir.file("ours");
    passwd(&["-c", "-b", &ours_first, "alice", "one"]).ok();
    Tools::Mosquitto.run("passwd", &["-b", &ours_first, "bob", "two"]).ok();
    let theirs_first = dir.file("theirs");
    Tools::Mosquitto.run("passwd", &["-c", "-b", &theirs_first, "alice", "one"]).ok();
    passwd(&["-b", &theirs_first, "bob", "two"]).ok();
    for file in [&ours_first, &theirs_first] {
        for broker in [place::broker_under_test(), place::peer_binary("mosquitto")] {
            expect_login_at(broker.clone(), file, "alice", "one", true);
            expect_login_at(broker.clone(), file, "bob", "two", true);
            expect_login_at(broker, file, "bob", "one", false);
        }
    }
    Tools::Mosquitto.run("passwd", &["-D", &ours_first, "alice"]).ok();
    passwd(&["-D", &theirs_first, "alice"]).ok();
    assert_eq!((lines(&ours_first).len(), lines(&theirs_first).len()), (1, 1));
}

/// `$6$` and `$7$` as Python's hashlib computes them: salts of 12 and 64 bytes, any iterations.
#[test]
fn entries_of_other_makers_are_accepted() {
    let kinds: [&[&str]; 5] = [
        &["sha512", "12"],
        &["pbkdf2", "12", "101"],
        &["pbkdf2", "12", "1"],
        &["pbkdf2", "12", "25000"],
        &["pbkdf2", "64", "1000"],
    ];
    for kind in kinds {
        if kind[1] == "64" {
            only_our_broker!("mosquitto 2.0.11 takes salts of 12 bytes only");
        }
        let mut command = python_program("python3", "hash_entry.py");
        command.args(["alice", "sésame"]).args(kind);
        let entry = process::run(command, b"").ok().out();
        let dir = TempDir::new();
        let file = dir.write("pwfile", format!("# a comment\n{entry}"));
        expect_login(&file, "alice", "sésame", true);
        expect_login(&file, "alice", "sesame", false);
    }
}

/// The hash of an empty password opens nothing.
#[test]
fn nobody_logs_in_without_a_password() {
    let mut command = python_program("python3", "hash_entry.py");
    command.args(["alice", "", "sha512", "12"]);
    let entry = process::run(command, b"").ok().out();
    let config = "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {dir}/pwfile\n";
    let broker = Broker::prepared(place::broker_under_test(), config);
    broker.write("pwfile", &entry);
    let broker = broker.started();
    for level in Level::ALL {
        for (flags, password) in [("c2", "<>"), ("82", "")] {
            let mut peer = Peer::tcp(&broker);
            let (name, properties) = (level.in_connect(), level.properties());
            peer.send(&format!("10 [ {name} {flags} 003c {properties} <c> <alice> {password} ]"));
            let connack = peer.packet("CONNACK");
            let refused = if level == Level::V5 { 0x87 } else { 5 };
            assert_eq!(connack[3], refused, "{level:?} {flags}");
        }
    }
}

/// Two PHC strings for "sesame" from argon2-cffi (the reference implementation).
#[test]
fn argon2id_entries_of_other_makers_are_accepted() {
    only_our_broker!("mosquitto 2.0.11 does not know $argon2id$");
    let long = "$argon2id$v=19$m=4096,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj\
        JCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$fSDmBwTVUPjWukNIMZntPyG5PzSl6vXPp33CSLu8sUe92UkH\
        Ygh1Zd01YsMmCh+gqhVGRDKX4shwjRCy7hJBCQ";
    let short = "$argon2id$v=19$m=1024,t=2,p=2$AAECAwQFBgcICQoLDA0ODw$X45t1NwAwnpJCwfDXYJq5S8H\
        iMdr0DpdDxbp1wzodK0";
    for entry in [long, short] {
        let dir = TempDir::new();
        let file = dir.write("pwfile", format!("alice:{entry}\n"));
        expect_login(&file, "alice", "sesame", true);
        expect_login(&file, "alice", "Sesame", false);
    }
}
