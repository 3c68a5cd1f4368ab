//! Issue 2, points 1 and 2: what a newcomer types first. The two commands of the README, the
//! broker without a config file, "Hello MQTT" from one terminal to another.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use mqttd_tests::place::{self, Port, TempDir, our_binary, project_root};
use mqttd_tests::process;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

#[test]
fn hello_mqtt() {
    let broker = Broker::open();
    let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "mqtt", "-v"]);
    publish(&broker, &["-t", "mqtt", "-m", "Hello MQTT"]);
    sub.expect_line("mqtt Hello MQTT");
}

#[test]
fn without_verbose_only_the_payload_is_printed() {
    let broker = Broker::open();
    let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "mqtt"]);
    publish(&broker, &["-t", "mqtt", "-m", "Hello MQTT"]);
    sub.expect_line("Hello MQTT");
}

#[test]
fn several_subscribers_all_hear_it() {
    let broker = Broker::open();
    let mut one = Tools::UnderTest.subscribe(&broker, &["-t", "home/+/temperature", "-v"]);
    let mut two = Tools::UnderTest.subscribe(&broker, &["-t", "home/#", "-v"]);
    let mut other = Tools::UnderTest.subscribe(&broker, &["-t", "garden/#", "-v"]);
    publish(&broker, &["-t", "home/kitchen/temperature", "-m", "21.5"]);
    publish(&broker, &["-t", "garden/temperature", "-m", "9"]);
    one.expect_line("home/kitchen/temperature 21.5");
    two.expect_line("home/kitchen/temperature 21.5");
    other.expect_line("garden/temperature 9");
}

#[test]
fn every_qos_arrives() {
    let broker = Broker::open();
    let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "q", "-q", "2"]);
    for qos in ["0", "1", "2"] {
        publish(&broker, &["-t", "q", "-q", qos, "-m", qos]);
        sub.expect_line(qos);
    }
}

#[test]
fn sigterm_and_sigint_end_the_broker_with_success() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::open();
        broker.end_by(signal);
    }
}

#[test]
fn stopping_the_broker_does_not_wait_for_its_clients() {
    let mut broker = Broker::open();
    let _sub = Tools::UnderTest.subscribe(&broker, &["-t", "mqtt"]);
    broker.stop();
}

#[test]
fn help_and_version_end_with_success() {
    for flag in ["-h", "--help", "--version"] {
        only_our_broker!("mosquitto 2.0.11 exits 3 after --help and knows no --version");
        let mut command = Command::new(place::broker_under_test());
        command.arg(flag);
        let said = process::run(command, b"").ok();
        assert!(said.out().contains("mqttd"), "{said}");
    }
}

#[test]
fn the_two_commands_stand_at_the_top_of_the_readme() {
    only_our_broker!("the project's own files");
    let readme = fs::read_to_string(project_root().join("README.md")).unwrap();
    let top: String = readme.lines().take(40).collect::<Vec<_>>().join("\n");
    for command in ["make run", "make test"] {
        assert!(top.contains(command), "'{command}' is not in the first 40 lines of README.md");
    }
}

/// What `make run` does behind the build, in a folder of its own with the programs under test.
fn run_script(place: &TempDir, arguments: &[&str]) -> Command {
    let script = place.file("scripts/run-mqttd");
    if !fs::exists(&script).unwrap() {
        fs::create_dir_all(place.file("scripts")).unwrap();
        fs::create_dir_all(place.file("target")).unwrap();
        fs::copy(project_root().join("scripts/run-mqttd"), &script).unwrap();
        symlink(our_binary("mqttd").parent().unwrap(), place.file("target/release")).unwrap();
    }
    let mut command = Command::new("bash");
    command.arg(script).args(arguments).current_dir("/").env_remove("CARGO_TARGET_DIR");
    command
}

#[test]
fn make_run_says_what_to_type_and_keeps_its_data() {
    only_our_broker!("the project's own files");
    let (place, port) = (TempDir::new(), Port::take());
    let number = port.number.to_string();
    let retained = ["-h", "localhost", "-p", &number, "-t", "kept", "-r", "-q", "1", "-m", "here"];
    let probe = ["-h", "localhost", "-p", &number, "-t", "probe", "-m", "x"];
    let read = ["-h", "localhost", "-p", &number, "-t", "kept", "-C", "1", "-W", "20"];
    for round in 1..=2 {
        process::run(run_script(&place, &["--check", &number]), b"").ok();
        let mut broker = process::Running::spawn(run_script(&place, &[&number]), b"");
        let is_up = process::until(|| {
            assert!(broker.wait(Duration::ZERO).is_none(), "{}", broker.said());
            (Tools::UnderTest.run("pub", &probe).code() == 0).then_some(())
        });
        assert!(is_up.is_some(), "{}", broker.said());
        if round == 1 {
            process::run(run_script(&place, &["--check", &number]), b"").complains("in use");
            Tools::UnderTest.run("pub", &retained).ok();
        }
        let said = String::from_utf8(broker.stdout_so_far()).unwrap();
        for command in ["mqtt-sub -h localhost", "mqtt-pub -h localhost", "Hello MQTT"] {
            assert!(said.contains(command), "{said}");
        }
        assert_eq!(Tools::UnderTest.run("sub", &read).ok().out(), "here\n");
        broker.signal("INT");
        assert!(broker.wait(process::PATIENCE).is_some_and(|it| it.success()), "{}", broker.said());
    }
    assert!(fs::exists(place.file("run/data/mqttd.store")).unwrap());
}

#[test]
fn make_run_leaves_a_configuration_of_your_own_alone() {
    only_our_broker!("the project's own files");
    let (place, port) = (TempDir::new(), Port::take());
    fs::create_dir(place.file("run")).unwrap();
    let own = format!("listener {} 127.0.0.1\nallow_anonymous false\n", port.number);
    fs::write(place.file("run/mqttd.conf"), &own).unwrap();
    let mut broker = process::Running::spawn(run_script(&place, &["1883"]), b"");
    let number = port.number.to_string();
    let refused = process::until(|| {
        assert!(broker.wait(Duration::ZERO).is_none(), "{}", broker.said());
        let said = Tools::UnderTest.run("pub", &["-p", &number, "-t", "t", "-m", "x"]);
        (said.code() == 5).then_some(())
    });
    assert!(refused.is_some(), "{}", broker.said());
    assert_eq!(fs::read_to_string(place.file("run/mqttd.conf")).unwrap(), own);
    broker.signal("TERM");
    assert!(broker.wait(process::PATIENCE).is_some_and(|it| it.success()), "{}", broker.said());
}

/// What `make run` would do; doing it here would build everything once more.
#[test]
fn make_run_starts_the_release_build() {
    only_our_broker!("the project's own files");
    let mut command = Command::new("make");
    command.args(["-n", "run"]).current_dir(project_root());
    // Flags of an outer `make test` must not leak into this one.
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    let plan = process::run(command, b"").ok();
    assert!(plan.out().contains("--release"), "{plan}");
    assert!(plan.out().contains("mqttd"), "{plan}");
}
