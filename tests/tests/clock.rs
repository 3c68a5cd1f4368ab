//! The wall clock of the machine is stepped forth and back while the broker runs. What expires, and
//! who is silent, goes by the time that passes; only log lines follow the clock. Between two lives
//! of the broker the wall clock is all there is.

use std::time::{SystemTime, UNIX_EPOCH};

use mqttd_tests::process::{self, PATIENCE};
use mqttd_tests::wall_clock::WallClock;
use mqttd_tests::{Broker, Level, Peer, Tools, only_our_broker};

const DAY: i64 = 86_400;
/// Session Expiry Interval of one hour.
const AN_HOUR: &str = "11 00000e10";

/// What the broker says under `$SYS/broker/` next, as a number.
fn sys(broker: &Broker, topic: &str) -> u64 {
    let topic = format!("$SYS/broker/{topic}");
    let said = Tools::UnderTest.receive(broker, &["-t", &topic, "-C", "1", "-W", "10"]).out();
    let number = said.split_whitespace().next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{topic}: {said:?}"))
}

/// Lets the broker look at its clock: it has said how long it runs twice more.
fn lets_time_pass(broker: &Broker) {
    let before = sys(broker, "uptime");
    let later = process::until(|| (sys(broker, "uptime") > before + 1).then_some(()));
    later.expect("the broker goes on counting its seconds");
}

/// Seconds until the message expires, by its property.
fn expiry_left(properties: &[u8]) -> u32 {
    let [2, left @ ..] = properties else { panic!("no Message Expiry Interval: {properties:?}") };
    u32::from_be_bytes(left.try_into().expect("four bytes and nothing else"))
}

fn leaves_a_session(broker: &Broker) {
    let mut peer = Peer::tcp(broker);
    peer.join(Level::V5, "02", AN_HOUR, "away");
    peer.subscribe("t", 1);
    peer.leave();
}

fn publishes_for_an_hour(broker: &Broker) {
    let mut publisher = Peer::tcp(broker);
    publisher.join(Level::V5, "02", "", "publisher");
    publisher.send("32 [ <t> 0001 [ 02 00000e10 ] 'waits' ]");
    publisher.expect("40 02 0001");
    publisher.leave();
}

#[test]
fn while_the_broker_runs_nothing_expires_early_or_late() {
    only_our_broker!("Mosquitto's expiry follows the wall clock");
    let Some(clock) = WallClock::new(module_path!()) else { return };
    let broker = clock.broker("sys_interval 1");
    let mut steady = Peer::tcp(&broker);
    steady.speaks(Level::V311);
    steady.send("10 [ <MQTT> 04 02 001e <steady> ]");
    steady.expect("20 02 00 00");
    for off in [DAY, -DAY, 0] {
        leaves_a_session(&broker);
        publishes_for_an_hour(&broker);
        clock.is_off_by(off);
        lets_time_pass(&broker);
        // Its Keep Alive is half a minute, of which no step is a part.
        steady.send("c0 00");
        steady.expect("d0 00");
        let mut peer = Peer::tcp(&broker);
        assert!(
            peer.join(Level::V5, "00", AN_HOUR, "away"),
            "off by {off} s: the session is there"
        );
        let left = expiry_left(&peer.expect_message("t", "waits", 1).properties);
        assert!((3500..=3600).contains(&left), "off by {off} s: {left} s are left");
        peer.leave();
    }
    let uptime = sys(&broker, "uptime");
    assert!(uptime < 600, "the broker says it runs for {uptime} s");
}

#[test]
fn a_clock_that_went_back_keeps_nobody_alive() {
    only_our_broker!("Mosquitto's expiry follows the wall clock");
    let Some(clock) = WallClock::new(module_path!()) else { return };
    let broker = clock.broker("sys_interval 1");
    let mut silent = Peer::tcp(&broker);
    silent.speaks(Level::V311);
    silent.send("10 [ <MQTT> 04 02 0002 <silent> ]");
    silent.expect("20 02 00 00");
    let mut short = Peer::tcp(&broker);
    short.join(Level::V5, "02", "11 00000001", "short");
    short.leave();
    clock.is_off_by(-DAY);
    silent.expect_closed_within(PATIENCE);
    let ended = process::until(|| (sys(&broker, "clients/expired") >= 1).then_some(()));
    ended.expect("a session of one second ends");
    assert!(!Peer::tcp(&broker).join(Level::V5, "00", "", "short"));
}

/// The first word of a line is the time in seconds.
#[test]
fn log_lines_follow_the_wall_clock() {
    only_our_broker!("the library stands before our clock");
    let Some(clock) = WallClock::new(module_path!()) else { return };
    let broker = clock.broker("");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    for (off, name) in [(DAY, "ahead"), (-DAY, "behind"), (0, "right")] {
        clock.is_off_by(off);
        Peer::tcp(&broker).join(Level::V311, "02", "", name);
        let line = process::until(|| {
            let log = broker.log();
            log.lines().find(|line| line.contains(name)).map(str::to_owned)
        });
        let line = line.unwrap_or_else(|| panic!("nothing of {name}:\n{}", broker.log()));
        let time = line.split(':').next().and_then(|word| word.parse::<i64>().ok());
        let time = time.unwrap_or_else(|| panic!("no time at the head of {line:?}"));
        assert!((time - now - off).abs() < 600, "{line:?}, the clock is off by {off} s of {now}");
    }
}

#[test]
fn between_two_lives_the_wall_clock_counts() {
    only_our_broker!("persistence of ours");
    let Some(clock) = WallClock::new(module_path!()) else { return };
    let mut broker = clock.broker("persistence true\npersistence_location {dir}/");
    leaves_a_session(&broker);
    publishes_for_an_hour(&broker);
    broker.stop();
    // Two days in the past nothing can have expired.
    clock.is_off_by(-2 * DAY);
    broker.start();
    let mut peer = Peer::tcp(&broker);
    assert!(peer.join(Level::V5, "00", AN_HOUR, "away"), "after a step back");
    peer.expect_message("t", "waits", 1);
    peer.leave();
    broker.stop();
    clock.is_off_by(-2 * DAY + 7200);
    broker.start();
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V5, "00", AN_HOUR, "away"), "two hours later");
}
