//! Issue 7: listeners that a reload opens, closes and changes, while the Clients of all others are
//! at work; and what happens when one of them can't be opened.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{Port, broker_under_test};
use mqttd_tests::process;
use mqttd_tests::{Broker, only_our_broker, pair};

const ADMINISTRATIVE_ACTION: u8 = 0x98;

/// A broker whose config can be replaced; `{port}` is its listener.
fn broker(more: &str) -> Broker {
    Broker::config(&format!("allow_anonymous true\nlistener {{port}} 127.0.0.1\n{more}"))
}

/// Replaces the config and reloads; waits for the line that says how it went.
#[track_caller]
fn reload(broker: &Broker, text: &str, line: &str) {
    // Root must be told to stay root, as in the first config.
    let path = broker.file("mosquitto.conf");
    let before = fs::read_to_string(path).unwrap();
    let user = if before.starts_with("user root") { "user root\n" } else { "" };
    let text = text.replace("{port}", &broker.port().to_string());
    broker.write("mosquitto.conf", &format!("{user}allow_anonymous true\n{text}"));
    broker.reload(line);
}

const DONE: &str = "Config reloaded.";
const KEPT: &str = "The old configuration stays in force";
const FIRST: &str = "listener {port} 127.0.0.1\n";

fn join(port: u16, level: Level, name: &str) -> Peer {
    let mut peer = Peer::at(port, Carrier::Tcp);
    peer.join(level, "02", "", name);
    peer
}

/// Is the port closed? Waits for it: the log line comes a moment before the last socket goes.
fn closes(port: u16) -> bool {
    let refusal = || TcpStream::connect(("127.0.0.1", port)).err().map(|error| error.kind());
    process::until(refusal) == Some(ErrorKind::ConnectionRefused)
}

#[test]
fn a_listener_is_added_and_taken_away_and_only_its_own_clients_notice() {
    only_our_broker!("2.0.11 ends at a new listener");
    let other = Port::take();
    let broker = broker("");
    let mut here = join(broker.port(), Level::V5, "here");
    here.subscribe("t", 1);
    let both = format!("{FIRST}listener {} 127.0.0.1\n", other.number);
    reload(&broker, &both, DONE);
    let mut there = join(other.number, Level::V5, "there");
    let mut old = join(other.number, Level::V311, "old");
    there.publish_qos1(1, "t", "from there");
    here.expect_message("t", "from there", 1);

    reload(&broker, FIRST, DONE);
    there.expect_disconnect(ADMINISTRATIVE_ACTION);
    old.expect_closed();
    assert!(closes(other.number), "open still");
    here.publish_qos1(2, "t", "still here");
    here.expect_message("t", "still here", 1);
    let log = broker.log();
    assert!(log.contains("disconnected: administrative action"), "{log}");
    assert!(!log.contains("Client here"), "{log}");

    reload(&broker, &both, DONE);
    join(other.number, Level::V5, "there").leave();
}

/// Fifty reloads, in which a second listener comes and goes with Clients on it, while four pairs
/// work on the first: none of them is disconnected, and no message is missing or doubled.
#[test]
fn listeners_come_and_go_under_load() {
    only_our_broker!("2.0.11 ends at a new listener");
    let other = Port::take();
    let mut broker = broker("");
    let counts = pair::at_work(
        &broker,
        4,
        |_| Carrier::Tcp,
        || {
            for round in 0..25 {
                reload(&broker, &format!("{FIRST}listener {} 127.0.0.1\n", other.number), DONE);
                let mut guest = join(other.number, Level::V5, &format!("g{round}"));
                guest.subscribe("load/0", 0);
                guest.receive();
                reload(&broker, FIRST, DONE);
                let mut rest = guest.everything();
                // Whole messages, then the DISCONNECT.
                let end = rest.split_off(rest.len().saturating_sub(4));
                assert!(
                    end.ends_with(&[0xe0, 1, ADMINISTRATIVE_ACTION]) || end == [0xe0, 2, 0x98, 0]
                );
            }
        },
    );
    assert!(counts.iter().all(|count| *count > 50), "under load: {counts:?}");
    assert!(broker.is_running());
}

/// All or nothing: neither the other listener nor another setting of the file counts.
#[test]
fn a_port_that_cannot_be_opened_keeps_the_old_configuration_whole() {
    only_our_broker!("2.0.11 ends at a new listener");
    let (taken, free) = (Port::take(), Port::take());
    let _thief = TcpListener::bind(("127.0.0.1", taken.number)).unwrap();
    let broker = broker("");
    let mut here = join(broker.port(), Level::V5, "here");
    let (free, taken) = (free.number, taken.number);
    let text = format!(
        "retain_available false\n{FIRST}listener {free} 127.0.0.1\nlistener {taken} 127.0.0.1\n"
    );
    reload(&broker, &text, KEPT);
    let log = broker.log();
    assert!(
        log.contains(&format!("opening port {taken} on 127.0.0.1: is another broker")),
        "{log}"
    );
    assert!(closes(free), "it was opened and not closed again");
    here.send("31 [ <t> [ ] 'kept' ]");
    here.send("c0 00");
    here.expect("d0 00");
}

/// The socket stays open, its Clients come back in the new way.
#[test]
fn another_protocol_on_a_port_disconnects_who_speaks_the_old_one() {
    only_our_broker!("2.0.11 does not do it");
    let other = Port::take().number;
    let second = format!("listener {other} 127.0.0.1\n");
    let broker = broker(&second);
    let mut here = join(broker.port(), Level::V5, "here");
    let mut there = join(other, Level::V5, "there");
    reload(&broker, &format!("{FIRST}{second}protocol websockets\n"), DONE);
    there.expect_disconnect(ADMINISTRATIVE_ACTION);
    let mut there = Peer::at(other, Carrier::WebSocket);
    there.join(Level::V5, "02", "", "there");
    here.send("c0 00");
    here.expect("d0 00");
    let log = broker.log();
    assert!(!log.contains(&format!("Closing listen socket on port {other}")), "{log}");
}

/// Settings of a listener that do not concern the transport leave its Clients alone.
#[test]
fn changed_settings_of_a_listener_keep_its_clients() {
    only_our_broker!("2.0.11 takes some of them only");
    let broker = broker("");
    let mut here = join(broker.port(), Level::V5, "here");
    reload(&broker, &format!("{FIRST}max_connections 1\nmax_qos 1\n"), DONE);
    here.send("c0 00");
    here.expect("d0 00");
    // The one that is there counts against the new bound.
    let mut second = Peer::at(broker.port(), Carrier::Tcp);
    second.expect_closed();
    here.send("34 [ <t> 0001 [ ] 'x' ]");
    here.expect_disconnect(0x9b);
}

/// From one address of a port to all of them: the old socket is in the way of the new one.
#[test]
fn a_port_moves_from_one_address_to_all() {
    only_our_broker!("2.0.11 ends at a new listener");
    let port = Port::take().number;
    let broker = broker(&format!("listener {port} 127.0.0.1\n"));
    let mut there = join(port, Level::V5, "there");
    let all = format!("{FIRST}listener {port}\nsocket_domain ipv4\n");
    reload(&broker, &all, DONE);
    there.expect_disconnect(ADMINISTRATIVE_ACTION);
    join(port, Level::V5, "again").leave();
    assert!(TcpStream::connect(("127.0.0.2", port)).is_ok(), "not all addresses");
    // And back, where somebody else has the port of a third listener: all stays, and still works.
    let taken = Port::take();
    let _thief = TcpListener::bind(("127.0.0.1", taken.number)).unwrap();
    let mut there = join(port, Level::V5, "there");
    let taken = taken.number;
    let text = format!("{FIRST}listener {port} 127.0.0.1\nlistener {taken} 127.0.0.1\n");
    reload(&broker, &text, KEPT);
    there.send("c0 00");
    there.expect("d0 00");
    assert!(TcpStream::connect(("127.0.0.2", port)).is_ok(), "not opened again");
}

#[test]
fn a_unix_socket_comes_with_its_mode_and_leaves_no_file() {
    only_our_broker!("2.0.11 ends at a new listener, and has no mode");
    let broker = broker("");
    let path = broker.file("s.sock");
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for wanted in ["0600", "0666"] {
        let text = format!("{FIRST}listener 0 {path}\nunix_socket_mode {wanted}\n");
        reload(&broker, &text, DONE);
        assert_eq!(mode(&path), u32::from_str_radix(wanted, 8).unwrap());
        UnixStream::connect(&path).unwrap();
    }
    reload(&broker, FIRST, DONE);
    assert!(process::until(|| (!fs::exists(&path).unwrap()).then_some(())).is_some());
    // A clean stop leaves none either.
    let mut broker = Broker::config(&format!("{FIRST}listener 0 {{dir}}/t.sock\n"));
    let path = broker.file("t.sock");
    assert!(fs::exists(&path).unwrap());
    broker.stop();
    assert!(!fs::exists(&path).unwrap());
}

/// Without a listener only this machine may connect; with one, everybody it lets in.
#[test]
fn local_only_mode_ends_with_the_first_listener() {
    only_our_broker!("2.0.11 ends at a new listener");
    let port = Port::take();
    let broker = Broker::prepared(broker_under_test(), "");
    let config = broker.file("mosquitto.conf");
    let mut command = Command::new(broker_under_test());
    command.args(["-c", &config, "-p", &port.number.to_string()]);
    let running = process::Running::spawn(command, b"");
    let opens = || TcpStream::connect(("127.0.0.1", port.number)).ok();
    assert!(process::until(opens).is_some(), "{}", running.said());
    let mut there = join(port.number, Level::V5, "there");
    let text = fs::read_to_string(&config).unwrap();
    let all = format!("{text}allow_anonymous true\nlistener {}\n", port.number);
    broker.write("mosquitto.conf", &all);
    running.signal("HUP");
    running.expect_complaint(DONE);
    there.expect_disconnect(ADMINISTRATIVE_ACTION);
    assert!(TcpStream::connect(("127.0.0.2", port.number)).is_ok(), "local only still");
}
