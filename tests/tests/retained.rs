//! Issue 2, point 7: retained messages.

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

#[test]
fn a_new_subscriber_gets_the_last_value_at_once() {
    let broker = Broker::open();
    publish(&broker, &["-t", "lamp", "-r", "-m", "off"]);
    publish(&broker, &["-t", "lamp", "-r", "-m", "on"]);
    publish(&broker, &["-t", "lamp", "-m", "not retained"]);
    let got = Tools::UnderTest.receive(&broker, &["-t", "lamp", "-C", "1", "-F", "%t %p %r"]).ok();
    assert_eq!(got.out(), "lamp on 1\n");
}

#[test]
fn the_retain_flag_is_set_only_on_the_replay() {
    for level in Level::ALL {
        let broker = Broker::open();
        let mut old = Peer::joined(&broker, Carrier::Tcp, level, "old");
        old.subscribe("lamp", 1);
        let mut publisher = Peer::joined(&broker, Carrier::Tcp, level, "publisher");
        let none = level.properties();
        publisher.send(&format!("33 [ <lamp> 0001 {none} 'on' ]"));
        publisher.expect_acknowledgement(0x40, 1);
        assert!(!old.expect_message("lamp", "on", 1).retain, "live for {level:?}");
        let mut new = Peer::joined(&broker, Carrier::Tcp, level, "new");
        new.subscribe("lamp", 1);
        assert!(new.expect_message("lamp", "on", 1).retain, "replay for {level:?}");
    }
}

#[test]
fn an_empty_payload_clears_it() {
    let broker = Broker::open();
    publish(&broker, &["-t", "lamp", "-r", "-m", "on"]);
    let mut live = Tools::UnderTest.subscribe(&broker, &["-t", "lamp", "-F", "%t '%p' %r"]);
    live.expect_line("lamp 'on' 1");
    publish(&broker, &["-t", "lamp", "-r", "-n"]);
    live.expect_line("lamp '' 0");
    let mut late = Peer::joined(&broker, Carrier::Tcp, Level::V311, "late");
    late.subscribe("lamp", 0);
    late.expect_nothing();
}

#[test]
fn wildcards_bring_every_retained_value_below() {
    let broker = Broker::open();
    for (topic, value) in [("a/1", "x"), ("a/2", "y"), ("a/b/3", "z"), ("b", "no")] {
        publish(&broker, &["-t", topic, "-r", "-m", value]);
    }
    let got = Tools::UnderTest.receive(&broker, &["-t", "a/#", "-C", "3", "-v"]).ok();
    let mut lines: Vec<String> = got.out().lines().map(String::from).collect();
    lines.sort();
    assert_eq!(lines, ["a/1 x", "a/2 y", "a/b/3 z"]);
}

#[test]
fn subscribing_again_replays_again() {
    let broker = Broker::open();
    publish(&broker, &["-t", "lamp", "-r", "-m", "on"]);
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    for _ in 0..2 {
        peer.subscribe("lamp", 0);
        assert!(peer.expect_message("lamp", "on", 0).retain);
    }
}

#[test]
fn replay_happens_at_the_lower_of_both_qos() {
    let broker = Broker::open();
    publish(&broker, &["-t", "low", "-r", "-q", "0", "-m", "x"]);
    publish(&broker, &["-t", "high", "-r", "-q", "2", "-m", "x"]);
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("low", 2);
    assert_eq!(peer.receive().qos, 0);
    peer.subscribe("high", 1);
    assert_eq!(peer.receive().qos, 1);
    peer.subscribe("high", 2);
    assert_eq!(peer.receive().qos, 2);
}

/// Retain handling (5.0, 3.8.3.1): 1 = only for a new subscription, 2 = never.
#[test]
fn retain_handling_and_retain_as_published() {
    let broker = Broker::open();
    publish(&broker, &["-t", "lamp", "-r", "-m", "on"]);
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    let mut subscribe = |options: &str| {
        peer.send(&format!("82 [ 0009 [ ] <lamp> {options} ]"));
        peer.expect_among_publishes("90 [ 0009 [ ] 00 ]");
    };
    subscribe("20");
    subscribe("10");
    peer.expect_nothing();
    peer.send("a2 [ 000a [ ] <lamp> ]");
    peer.expect("b0 [ 000a [ ] 00 ]");
    peer.send("82 [ 0009 [ ] <lamp> 18 ]");
    peer.expect_among_publishes("90 [ 0009 [ ] 00 ]");
    assert!(peer.expect_message("lamp", "on", 0).retain);
    // 0x18: retain as published, so a live retained message keeps its flag.
    publish(&broker, &["-t", "lamp", "-r", "-m", "off"]);
    assert!(peer.expect_message("lamp", "off", 0).retain);
}

/// 1100 values at QoS 1: more than `max_queued_messages` (1000), which must not cut a replay.
#[test]
fn a_long_replay_is_not_cut_by_queue_limits() {
    only_our_broker!("mosquitto loses retained messages beyond max_queued_messages");
    let broker = Broker::open();
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for number in 1..=1100 {
        publisher.send(&format!("33 [ <many/{number}> {number:04x} 'v' ]"));
        publisher.expect_acknowledgement(0x40, number);
    }
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("many/#", 1);
    let mut topics: Vec<String> = (0..1100).map(|_| peer.receive().topic).collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 1100);
}
