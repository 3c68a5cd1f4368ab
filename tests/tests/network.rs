//! A network that is cut so that neither side is told: a namespace of its own for the client, whose
//! cable is pulled. Needs root and `ip`; elsewhere the test is skipped and says so.

use std::process::Command;
use std::time::Duration;

use mqttd_tests::place::{self, Port};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, Running};

/// A network namespace with one cable to here.
struct Away {
    name: String,
    cable: String,
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

impl Away {
    /// This end is `here`, the other one `there`.
    fn new(here: &str, there: &str) -> Result<Self, String> {
        let number = std::process::id() % 1_000_000;
        let away = Self { name: format!("mqttd-{number}"), cable: format!("mqttd{number}") };
        let (name, cable) = (away.name.as_str(), away.cable.as_str());
        ip(&["netns", "add", name])?;
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "there", "netns", name])?;
        ip(&["addr", "add", &format!("{here}/30"), "dev", cable])?;
        ip(&["link", "set", cable, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{there}/30"), "dev", "there"])?;
        ip(&["-n", name, "link", "set", "there", "up"])?;
        Ok(away)
    }

    /// Pulls the cable at the far end, so that the broker's side sees nothing of it.
    fn is_cut(&self) {
        ip(&["-n", &self.name, "link", "set", "there", "down"]).expect("the cable was put up");
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // What is not there needs no removal.
        let _ = ip(&["link", "del", &self.cable]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// The broker hears nothing and is told nothing; after one and a half times the Keep Alive it ends
/// the connection, publishes the will, keeps what comes for the session, and serves others.
#[test]
fn half_open_connections_are_found_by_their_keep_alive() {
    let (here, there) = ("10.231.77.1", "10.231.77.2");
    let away = match Away::new(here, there) {
        Ok(away) => away,
        Err(reason) => return place::say_skipped(module_path!(), &reason),
    };
    let reserved = Port::take();
    let port = reserved.number.to_string();
    let broker = Broker::config(&format!(
        "allow_anonymous true\nlistener {{port}} 127.0.0.1\nlistener {port} {here}\n"
    ));
    let mut watcher = Tools::UnderTest.subscribe(&broker, &["-t", "gone", "-q", "1"]);
    let client = Tools::UnderTest.command("sub");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &away.name]).arg(client.get_program());
    command.args(["-h", here, "-p", &port, "-i", "far", "-c", "-q", "1"]);
    command.args(["-t", "news", "-k", "5", "--will-topic", "gone", "--will-payload", "far"]);
    let mut far = Running::spawn(command, b"");
    publish(&broker, &["-t", "ready", "-m", "x"]);
    // It listens when a message gets through.
    let reached = mqttd_tests::process::until(|| {
        publish(&broker, &["-t", "news", "-m", "one", "-q", "1"]);
        far.line(Duration::from_millis(300)).map(|line| assert_eq!(line, "one"))
    });
    assert!(reached.is_some(), "nothing got through the cable");
    away.is_cut();
    publish(&broker, &["-t", "news", "-m", "two", "-q", "1"]);
    let will = watcher.line(Duration::from_secs(40));
    assert_eq!(will.as_deref(), Some("far"), "the will of a connection without a cable");
    far.signal("KILL");
    // The session is kept, and so is what came meanwhile.
    let again = ["-t", "news", "-i", "far", "-c", "-q", "1", "-F", "%p", "-C", "1", "-W", "20"];
    let mut last = String::new();
    for _ in 0..50 {
        last = Tools::UnderTest.receive(&broker, &again).out();
        if last.trim() == "two" {
            return;
        }
    }
    panic!("the message of the time without a cable is gone; last came {last:?}");
}
