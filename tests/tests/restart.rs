//! Issue 2, point 9: `persistence true`. After a clean stop by SIGTERM or SIGINT and a new start,
//! sessions with their subscriptions and queues, and the retained messages, are there.

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::tool::publish;
use mqttd_tests::{Broker, only_our_broker};

/// Persistent in the broker's own folder.
fn persistent() -> Broker {
    Broker::with("persistence true\npersistence_location {dir}/\n")
}

fn keeping(level: Level) -> (&'static str, &'static str) {
    if level == Level::V5 { ("00", "11 00000e10") } else { ("00", "") }
}

#[test]
fn everything_is_there_after_a_clean_stop() {
    for signal in ["TERM", "INT"] {
        for level in [Level::V311, Level::V5] {
            let mut broker = persistent();
            let (flags, properties) = keeping(level);
            let mut peer = Peer::tcp(&broker);
            peer.join(level, flags, properties, "sleeper");
            peer.subscribe("queue/+", 2);
            peer.leave();
            let mut publisher = Peer::joined(&broker, Carrier::Tcp, level, "publisher");
            for number in 1..=30 {
                publisher.publish_qos1(number, "queue/a", &format!("one {number}"));
                publisher.publish_qos2(number, "queue/a", &format!("two {number}"));
            }
            publish(&broker, &["-t", "lamp", "-r", "-q", "1", "-m", "on"]);
            publish(&broker, &["-t", "gone", "-r", "-m", "x"]);
            publish(&broker, &["-t", "gone", "-r", "-n"]);
            broker.end_by(signal);
            broker.start();
            let mut peer = Peer::tcp(&broker);
            assert!(peer.join(level, flags, properties, "sleeper"), "Session Present");
            for number in 1..=30 {
                peer.expect_message("queue/a", &format!("one {number}"), 1);
                peer.expect_message("queue/a", &format!("two {number}"), 2);
            }
            peer.expect_nothing();
            // The subscription itself is still effective.
            publish(&broker, &["-t", "queue/b", "-q", "1", "-m", "later"]);
            peer.expect_message("queue/b", "later", 1);
            peer.subscribe("lamp", 1);
            assert!(peer.expect_message("lamp", "on", 1).retain);
            peer.subscribe("gone", 1);
            peer.expect_nothing();
        }
    }
}

#[test]
fn a_clean_session_does_not_come_back() {
    let mut broker = persistent();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("t", 1);
    broker.restart();
    publish(&broker, &["-t", "t", "-q", "1", "-m", "x"]);
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V311, "00", "", "c"));
    peer.expect_nothing();
}

/// A session that is online when the broker stops is kept like one that is away.
#[test]
fn an_online_session_is_kept() {
    let mut broker = persistent();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V311, "00", "", "c");
    peer.subscribe("t", 2);
    publish(&broker, &["-t", "t", "-q", "1", "-m", "unacknowledged"]);
    let first = peer.delivered();
    broker.restart();
    let mut peer = Peer::tcp(&broker);
    assert!(peer.join(Level::V311, "00", "", "c"));
    let again = peer.receive();
    assert_eq!(again.payload, b"unacknowledged");
    assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
    peer.expect_nothing();
}

/// A QoS 2 exchange in its second half survives on both sides of the broker.
#[test]
fn qos_2_exchanges_go_on_where_they_were() {
    let mut broker = persistent();
    let mut receiver = Peer::tcp(&broker);
    receiver.join(Level::V311, "00", "", "receiver");
    receiver.subscribe("t", 2);
    publish(&broker, &["-t", "t", "-q", "2", "-m", "half"]);
    let id = receiver.delivered().packet_id;
    receiver.send(&format!("50 02 {id:04x}"));
    receiver.expect(&format!("62 02 {id:04x}"));
    let mut sender = Peer::tcp(&broker);
    sender.join(Level::V311, "00", "", "sender");
    sender.send("34 [ <t> 0009 'mine' ]");
    sender.expect("50 02 0009");
    broker.restart();
    let mut receiver = Peer::tcp(&broker);
    assert!(receiver.join(Level::V311, "00", "", "receiver"));
    let mut sender = Peer::tcp(&broker);
    assert!(sender.join(Level::V311, "00", "", "sender"));
    // Repeated by the sender, known to the broker: delivered once.
    sender.send("3c [ <t> 0009 'mine' ]");
    sender.expect("50 02 0009");
    sender.send("62 02 0009");
    sender.expect("70 02 0009");
    receiver.expect(&format!("62 02 {id:04x}"));
    receiver.send(&format!("70 02 {id:04x}"));
    receiver.expect_message("t", "mine", 2);
    receiver.expect_nothing();
}

/// Many restarts, each leaving and taking something.
#[test]
fn a_queue_grows_and_shrinks_over_restarts() {
    let mut broker = persistent();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V311, "00", "", "c");
    peer.subscribe("t", 1);
    peer.leave();
    for round in 0..4 {
        for part in 0..3 {
            publish(&broker, &["-t", "t", "-q", "1", "-m", &format!("{round}.{part}")]);
        }
        broker.restart();
        let mut peer = Peer::tcp(&broker);
        assert!(peer.join(Level::V311, "00", "", "c"), "round {round}");
        for part in 0..3 {
            peer.expect_message("t", &format!("{round}.{part}"), 1);
        }
        peer.expect_nothing();
        peer.leave();
    }
}

#[test]
fn retained_values_of_any_kind_come_back() {
    let mut broker = persistent();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "p");
    // Payload format indicator, content type, a user property; the broker passes them on.
    let properties = "01 01 03 <text/plain> 26 <k> <v>";
    peer.send(&format!("33 [ <温度/客厅> 0001 [ {properties} ] '21 °C' ]"));
    peer.expect_acknowledgement(0x40, 1);
    peer.send("31 [ <bytes> [ ] 00ff0a0d00 ]");
    peer.expect_nothing();
    broker.restart();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.subscribe("温度/+", 1);
    let got = peer.receive();
    assert_eq!((got.topic.as_str(), got.payload.as_slice()), ("温度/客厅", "21 °C".as_bytes()));
    let sent = mqttd_tests::notation::Pattern::parse(properties).bytes();
    assert_eq!(got.properties, sent);
    peer.subscribe("bytes", 0);
    assert_eq!(peer.receive().payload, [0, 0xff, 10, 13, 0]);
}

#[test]
fn persistence_false_forgets() {
    let mut broker = Broker::open();
    publish(&broker, &["-t", "lamp", "-r", "-m", "on"]);
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V311, "00", "", "c");
    peer.leave();
    broker.restart();
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V311, "00", "", "c"));
    peer.subscribe("lamp", 0);
    peer.expect_nothing();
}

#[test]
fn a_missing_persistence_location_is_an_error_that_names_it() {
    only_our_broker!("mosquitto only finds out when it saves");
    let text =
        "persistence true\npersistence_location {dir}/not/there/\nlistener {port} 127.0.0.1\n";
    let broker = Broker::prepared(mqttd_tests::place::broker_under_test(), text);
    broker.write("not", "a file where a folder would have to be");
    let said = broker.run_to_end(&[]);
    assert_ne!(said.code(), 0, "{said}");
    let all = said.out() + &said.err();
    assert!(all.contains("not/there"), "{all}");
}
