//! Issue 7: SIGHUP while clients are at work, what a reload applies and what it does not, and what
//! the service manager hears of all that. Listeners that come and go are in `reload_listeners.rs`.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::broker_under_test;
use mqttd_tests::process::{self, PATIENCE, Running};
use mqttd_tests::{Broker, only_our_broker, pair};

/// The config as it stands, with a line replaced.
fn change(broker: &Broker, from: &str, to: &str) {
    let path = broker.file("mosquitto.conf");
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    broker.write("mosquitto.conf", &text.replace(from, to));
}

/// Thirty reloads, every third of them with a broken file, while publishers and subscribers work:
/// nobody is disconnected and no message is missing or doubled.
#[test]
fn reloads_under_load_lose_nobody_and_nothing() {
    only_our_broker!("2.0.11 ends at a file that it cannot read");
    let mut broker = Broker::with("max_queued_messages 600");
    let sent = pair::at_work(
        &broker,
        4,
        |pair| Carrier::ALL[pair % 2],
        || {
            for round in 0..30 {
                match round % 3 {
                    0 => change(&broker, "max_queued_messages 600", "max_queued_messages 500"),
                    1 => change(&broker, "max_queued_messages 500", "max_queued_messages many"),
                    _ => change(&broker, "max_queued_messages many", "max_queued_messages 600"),
                }
                let is_broken = round % 3 == 1;
                let line =
                    if is_broken { "The old configuration stays" } else { "Config reloaded." };
                broker.reload(line);
            }
            let log = broker.log();
            let is_end = |line: &str| {
                line.contains("disconnected")
                    && (line.contains("Client s") || line.contains("Client p"))
            };
            assert!(!log.lines().any(is_end), "{log}");
        },
    );
    assert!(sent.iter().all(|count| *count > 30), "under load: {sent:?}");
    assert!(broker.is_running());
}

/// `threads`, `shards`, `user`, `persistence` and others of their kind name themselves.
#[test]
fn what_takes_effect_at_a_restart_is_named() {
    only_our_broker!("2.0.11 says nothing");
    let broker = Broker::with("shards 2");
    change(&broker, "shards 2", "shards 3");
    broker.reload("Config reloaded.");
    assert!(broker.log().contains("shards takes effect at a restart"), "{}", broker.log());
}

/// What systemd hears from start to stop, the watchdog included.
#[test]
fn the_service_manager_hears_of_start_reload_and_stop() {
    only_our_broker!("2.0.11 in Debian speaks to systemd, but has neither reload nor watchdog");
    let broker =
        Broker::prepared(broker_under_test(), &format!("allow_anonymous true\n{LISTENERS}"));
    let path = broker.file("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 512];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let hear_but_watchdog = || {
        loop {
            let text = hear();
            if text != "WATCHDOG=1\n" {
                return text;
            }
        }
    };
    let mut command = Command::new(broker_under_test());
    command.args(["-c", &broker.file("mosquitto.conf")]).env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "200000");
    let running = Running::spawn(command, b"");
    assert_eq!(hear(), format!("READY=1\nMAINPID={}\n", running.id()));
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "c").expect_nothing();
    assert_eq!(hear(), "WATCHDOG=1\n");
    assert_eq!(hear(), "WATCHDOG=1\n");
    running.signal("HUP");
    let text = hear_but_watchdog();
    let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(str::trim_end);
    assert!(micros.is_some_and(|it| it.parse::<u64>().is_ok_and(|it| it > 0)), "{text}");
    assert!(hear_but_watchdog().starts_with("READY=1\n"));
    // A process that stands still must not be called alive.
    running.signal("STOP");
    thread::sleep(Duration::from_millis(300));
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 64]).is_ok() {}
    thread::sleep(Duration::from_millis(500));
    assert!(socket.recv(&mut [0; 64]).is_err(), "alive while stopped");
    socket.set_nonblocking(false).unwrap();
    running.signal("CONT");
    assert_eq!(hear(), "WATCHDOG=1\n");
    running.signal("TERM");
    assert_eq!(hear_but_watchdog(), "STOPPING=1\n");
    running.ends().ok();
}

/// A socket that is not there is a mistake of who set the variable, and is said.
#[test]
fn a_service_manager_that_is_not_there_is_said() {
    only_our_broker!("2.0.11 says nothing");
    let broker = Broker::prepared(broker_under_test(), LISTENERS);
    let mut command = Command::new(broker_under_test());
    command.args(["-c", &broker.file("mosquitto.conf")]).env("NOTIFY_SOCKET", "/nonexistent/s");
    process::run(command, b"").exits(1).complains("NOTIFY_SOCKET /nonexistent/s");
}
