//! Issue 5: `mqtt-bench` counts what a real broker did, and says what went wrong.

use std::process::Command;

use mqttd_tests::Broker;
use mqttd_tests::place::our_binary;
use mqttd_tests::process::{self, Finished};

/// `mqtt-bench` with these words against this broker.
#[track_caller]
fn bench(broker: &Broker, line: &str) -> Finished {
    let mut command = Command::new(our_binary("mqtt-bench"));
    command.args(line.split(' '));
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string()]);
    process::run(command, b"")
}

/// The same with `--json`; the report on one line, without blanks.
#[track_caller]
fn report(broker: &Broker, line: &str, exit: i32) -> String {
    let finished = bench(broker, &format!("{line} --json"));
    assert_eq!(finished.code(), exit, "{line}: {finished}");
    finished.out().split_whitespace().collect()
}

#[track_caller]
fn expect(report: &str, parts: &[&str]) {
    for part in parts {
        assert!(report.contains(part), "no {part} in {report}");
    }
}

#[test]
fn every_message_of_every_kind_of_run_is_counted() {
    let broker = Broker::open();
    for (line, sent, received) in [
        ("pairs -c 3 -q 0 -n 1000", 1000, 1000),
        ("pairs -c 3 -q 1 -n 1000 -V 5 --threads 2", 1000, 1000),
        ("pairs -c 2 -q 2 -n 500 -w 7", 500, 500),
        ("pairs -c 1 -q 1 -n 3 -s 100000", 3, 3),
        ("fanout --subscribers 20 -n 50", 50, 1000),
        ("fanout --subscribers 20 --stalled 2 -n 50", 50, 1000),
        ("fanin --publishers 7 -q 1 -n 500", 500, 500),
        ("shared --publishers 3 --subscribers 4 -q 1 -n 600 -V 5", 600, 600),
        ("latency -c 2 -r 500 -n 100", 100, 100),
    ] {
        let report = report(&broker, line, 0);
        let counts = format!("\"sent\":{sent},");
        let arrivals = format!("\"received\":{received},");
        expect(
            &report,
            &[&counts, &arrivals, "\"lost\":0,", "\"duplicates\":0,", "\"clean\":true"],
        );
        if line.contains("-q 1") || line.contains("-q 2") {
            expect(&report, &[&format!("\"acknowledged\":{sent},")]);
        }
        expect(&report, &[&format!("\"latency\":{{\"count\":{received},")]);
    }
}

#[test]
fn what_a_broker_drops_is_lost() {
    let broker = Broker::with("message_size_limit 100");
    let report = report(&broker, "pairs -c 2 -q 1 -n 40 -s 200 --drain 0.5", 3);
    expect(&report, &["\"sent\":40,", "\"received\":0,", "\"lost\":40,", "\"clean\":false"]);
    let report = self::report(&broker, "pairs -c 2 -q 1 -n 40 -s 90 --drain 0.5", 0);
    expect(&report, &["\"received\":40,", "\"lost\":0,"]);
}

#[test]
fn connections_come_from_many_addresses_and_over_websocket() {
    let broker = Broker::open();
    let line = "conn -c 50 --hold 0.2 --subscribe a/%c --source-addresses 127.0.0.5-127.0.0.6";
    expect(&report(&broker, line, 0), &["\"connections\":50,", "\"connections_lost\":0,"]);
    let log = broker.log();
    for source in ["127.0.0.5", "127.0.0.6"] {
        assert!(log.contains(source), "nobody came from {source}: {log}");
    }
    let url = format!("pairs -n 200 -q 1 -L ws://127.0.0.1:{}/mqtt --json", broker.ws_port());
    let mut command = Command::new(our_binary("mqtt-bench"));
    command.args(url.split(' '));
    let finished = process::run(command, b"");
    assert_eq!(finished.code(), 0, "{finished}");
    let report: String = finished.out().split_whitespace().collect();
    expect(&report, &["\"received\":200,", "\"lost\":0,", "\"broker\":\"ws://"]);
}

#[test]
fn a_run_that_cannot_be_made_says_why() {
    let broker = Broker::guarded("", "");
    let refused = bench(&broker, "pairs -n 10");
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.err().contains("CONNACK"), "{refused}");
    let wrong = bench(&broker, "pairs -q 3");
    assert_eq!(wrong.code(), 2, "{wrong}");
    let mut command = Command::new(our_binary("mqtt-bench"));
    command.args(["disk", "/nowhere"]);
    process::run(command, b"").exits(1).complains("/nowhere");
}

#[test]
fn the_table_names_the_figures() {
    let broker = Broker::open();
    let pid = broker.id();
    let finished = bench(&broker, &format!("pairs -q 1 -n 2000 --broker-pid {pid}"));
    assert_eq!(finished.code(), 0, "{finished}");
    for words in ["received/s", "lost", "p99.9", "broker CPU-µs/message", "busiest thread"] {
        assert!(finished.out().contains(words), "{finished}");
    }
    assert_eq!(finished.err(), "", "no progress without a terminal");
}
