//! What `make deb` and `make oci` ship, as far as a test without root can tell: configurations that
//! start, stay on this machine and keep what they should; a service that calls the programs as they
//! are; one version; known licences. Installing and purging want a root file system of their own.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

use mqttd_tests::place::{self, TempDir, our_binary, project_root};
use mqttd_tests::tool::{self, Tools};
use mqttd_tests::{Broker, only_our_broker, process};

#[track_caller]
fn read(path: &str) -> String {
    let full = project_root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// An address of this machine that is not its loopback. Asks the routing table, sends nothing.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

/// Starts a shipped configuration with its folders moved: whoever is on this machine is let in
/// without a password, nobody else, and a retained message outlives a restart.
#[track_caller]
fn starts_local_and_persistent(path: &str, folders: &[&str]) {
    only_our_broker!("the packages are of mqttd");
    let dir = TempDir::new();
    let own = format!("{}/", dir.path().display());
    let mut text = read(path);
    for folder in folders {
        assert!(text.contains(folder), "{path} does not name {folder}");
        text = text.replace(folder, &own);
    }
    if place::is_root() {
        text.insert_str(0, "user root\n");
    }
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    let config = dir.write("shipped.conf", text);
    let mut broker = Broker::with_arguments(&["-c", &config, "-p", "{port}"]);
    tool::publish(&broker, &["-t", "kept", "-m", "x", "-r", "-q", "1"]);
    if let Some(address) = outer_address() {
        let reached = TcpStream::connect((address.as_str(), broker.port()));
        assert!(reached.is_err(), "{address} is open to other machines");
    }
    broker.restart();
    let got = Tools::UnderTest.receive(&broker, &["-t", "kept", "-C", "1", "-W", "5"]).ok();
    assert_eq!(got.out().trim_end(), "x");
}

#[test]
fn the_configuration_of_the_package_is_local_and_persistent() {
    let folders = ["/run/mqttd/", "/var/lib/mqttd/", "/var/log/mqttd/", "/etc/mqttd/"];
    starts_local_and_persistent("packaging/deb/mqttd.conf", &folders);
}

#[test]
fn so_is_the_one_under_mosquittos_name() {
    let folders = ["/run/mosquitto/", "/var/lib/mosquitto/", "/etc/mosquitto/"];
    starts_local_and_persistent("packaging/deb/mosquitto.conf", &folders);
}

#[test]
fn so_is_the_one_of_the_image() {
    starts_local_and_persistent("packaging/oci/mosquitto.conf", &["/mosquitto/data/"]);
}

/// The commented examples are what people will uncomment.
#[test]
fn the_examples_in_the_configuration_are_right() {
    let dir = TempDir::new();
    let examples: Vec<_> = read("packaging/deb/mqttd.conf")
        .lines()
        .filter_map(|line| line.strip_prefix("#     "))
        .filter(|line| !line.starts_with("mqtt-passwd") && !line.starts_with("chown"))
        // There is no certificate here; that listener's other lines are checked.
        .filter(|line| !line.starts_with("certfile") && !line.starts_with("keyfile"))
        .map(|line| line.replace("/etc/mqttd/", &format!("{}/", dir.path().display())))
        .collect();
    for word in ["listener 1883", "password_file", "acl_file", "protocol websockets"] {
        assert!(examples.iter().any(|line| line.starts_with(word)), "no example of {word}");
    }
    let passwords = dir.write("pwfile", "");
    Tools::UnderTest.run("passwd", &["-b", "-c", &passwords, "alice", "secret"]).ok();
    dir.write("acl", "topic readwrite home/#\n");
    let config = dir.write("examples.conf", examples.join("\n") + "\n");
    let mut command = Command::new(our_binary("mqttd"));
    command.args(["-c", &config, "--test-config"]);
    process::run(command, b"").ok();
}

/// Each option on the `ExecStart` lines is one that `mqttd --help` names.
#[test]
fn the_services_call_the_broker_as_it_is() {
    let mut command = Command::new(our_binary("mqttd"));
    command.arg("--help");
    let help = process::run(command, b"").ok().out();
    for path in ["packaging/systemd/mqttd.service", "packaging/systemd/mosquitto.conf"] {
        let text = read(path);
        let starts: Vec<_> =
            text.lines().filter_map(|it| it.strip_prefix("ExecStart=/usr/sbin/mqttd ")).collect();
        assert_eq!(starts.len(), 1, "{path}");
        for option in starts[0].split_whitespace().filter(|word| word.starts_with('-')) {
            let is_known = help.contains(&format!(" {option}, --"));
            assert!(is_known, "{path}: {option} is no option of mqttd");
        }
    }
}

/// Each tool is installed and packaged, and those that Mosquitto has too get its names.
#[test]
fn every_tool_is_shipped() {
    let (install, docs) = (read("scripts/install"), read("scripts/docs"));
    let deb = read("scripts/deb/build");
    let has = |text: &str, start: &str, word: &str| {
        text.lines()
            .filter(|line| line.trim_start().starts_with(start))
            .any(|line| line.split([' ', ';', ')']).any(|it| it == word))
    };
    let mut count = 0;
    for entry in fs::read_dir(project_root().join("crates/mqtt-cli/src/bin")).unwrap() {
        let tool = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let short = tool.strip_prefix("mqtt-").unwrap();
        assert!(has(&install, "programs=(mqttd", &tool), "make install lacks {tool}");
        assert!(has(&docs, "for program in mqttd", &tool), "{tool} has no man page");
        assert!(has(&deb, "for tool in mqtt-", &tool), "{tool} is in no package");
        assert!(has(&deb, "for tool in pub", short), "there is no mosquitto_{short}");
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn the_changelog_begins_with_the_version_of_cargo() {
    let first =
        read("packaging/deb/debian/changelog").lines().next().unwrap_or_default().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    assert!(first.starts_with(&format!("mqttd ({version}) ")), "{first}");
}

/// The crates that do the cryptography are listed with their owners and licences; crates that only
/// tests use are not.
#[test]
fn the_copyright_file_names_what_is_linked() {
    let mut command = Command::new(project_root().join("packaging/deb/copyright"));
    command.arg("--offline");
    let text = process::run(command, b"").ok().out();
    // hdrhistogram is mqtt-bench's, openssl comes with the feature psk.
    let names = ["rustls ", "ring ", "tokio ", "argon2 ", "clap ", "openssl ", "hdrhistogram "];
    for name in names {
        let line = text.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|it| it.contains(": ")), "{name} is missing");
    }
    assert!(!text.lines().any(|line| line.starts_with("tempfile ")), "only tests use tempfile");
    assert!(text.contains("Brian Smith"), "ring's owners");
}

/// Each linked crate once, with a checksum; ours are there too, what only tests use is not. Two
/// runs give the same bytes.
#[test]
fn the_bill_of_materials_is_whole() {
    let write = || {
        let mut command = Command::new(project_root().join("packaging/sbom"));
        command.arg("--offline").env("SOURCE_DATE_EPOCH", "1000000000");
        process::run(command, b"").ok().out()
    };
    let text = write();
    assert_eq!(text, write());
    for part in [
        r#""specVersion": "1.5""#,
        r#""timestamp": "2001-09-09T01:46:40Z""#,
        r#""bom-ref": "pkg:cargo/mqttd-store@"#,
        r#""ref": "pkg:cargo/tokio@"#,
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("pkg:cargo/tempfile@"), "only tests use tempfile");
    let lines = |start: &str| text.lines().filter(|it| it.trim_start().starts_with(start)).count();
    let foreign = lines(r#""alg": "SHA-256""#);
    let ours = text.lines().filter(|it| it.contains(r#""bom-ref": "pkg:cargo/mqtt"#)).count();
    assert!(foreign > 50 && ours >= 10, "{foreign} crates of others, {ours} of ours");
    assert_eq!(lines(r#""bom-ref""#), 1 + foreign + ours);
}

#[test]
fn maintainer_scripts_and_init_script_are_posix_shell() {
    let folder = project_root().join("packaging/deb/debian");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.starts_with("#!/bin/sh\n") {
            let mut command = Command::new("sh");
            command.arg("-n").arg(&path);
            process::run(command, b"").ok();
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} scripts found");
}
