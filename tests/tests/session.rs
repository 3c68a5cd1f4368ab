//! Issue 2, point 8: what is published while a client with a persistent session is away arrives
//! afterwards: in order, exactly once for QoS 2, and without the QoS 0 messages.

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

/// Flags and properties of a CONNECT that keeps its session.
fn keeping(level: Level) -> (&'static str, &'static str) {
    match level {
        // 5.0: Clean Start 0 and a Session Expiry Interval of an hour.
        Level::V5 => ("00", "11 00000e10"),
        _ => ("00", ""),
    }
}

fn absent(broker: &Broker, level: Level, client_id: &str, filter: &str) {
    let (flags, properties) = keeping(level);
    let mut peer = Peer::tcp(broker);
    assert!(!peer.join(level, flags, properties, client_id), "no session yet");
    peer.subscribe(filter, 2);
    peer.leave();
}

fn back(broker: &Broker, carrier: Carrier, level: Level, client_id: &str) -> Peer {
    let (flags, properties) = keeping(level);
    let mut peer = Peer::on(broker, carrier);
    assert!(peer.join(level, flags, properties, client_id), "Session Present");
    peer
}

#[test]
fn messages_of_qos_1_and_2_wait_in_order() {
    for level in Level::ALL {
        for carrier in Carrier::ALL {
            let broker = Broker::open();
            absent(&broker, level, "sleeper", "t");
            let mut publisher = Peer::joined(&broker, carrier, level, "publisher");
            for number in 1..=60 {
                match number % 3 {
                    0 => publisher.publish("t", &format!("lost {number}")),
                    1 => publisher.publish_qos1(number, "t", &format!("{number}")),
                    _ => publisher.publish_qos2(number, "t", &format!("{number}")),
                }
            }
            // Nothing else answers the last one, of QoS 0, before the sleeper comes back.
            publisher.send("c0 00");
            publisher.expect("d0 00");
            // MQTT 3.1 has no Session Present flag: no look at it here.
            let mut peer = Peer::on(&broker, carrier);
            let (flags, properties) = keeping(level);
            peer.join(level, flags, properties, "sleeper");
            for number in (1..=60).filter(|it| it % 3 != 0) {
                peer.expect_message("t", &number.to_string(), (number % 3) as u8);
            }
            peer.expect_nothing();
        }
    }
}

#[test]
fn session_present_is_told() {
    for level in [Level::V311, Level::V5] {
        let broker = Broker::open();
        absent(&broker, level, "c", "t");
        let peer = back(&broker, Carrier::Tcp, level, "c");
        peer.leave();
        // A clean one ends the session…
        let mut peer = Peer::tcp(&broker);
        assert!(!peer.join(level, "02", "", "c"), "clean: {level:?}");
        peer.leave();
        // …for good.
        let (flags, properties) = keeping(level);
        let mut peer = Peer::tcp(&broker);
        assert!(!peer.join(level, flags, properties, "c"), "after clean: {level:?}");
    }
}

#[test]
fn a_clean_session_gets_nothing_afterwards() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("t", 1);
    peer.leave();
    publish(&broker, &["-t", "t", "-q", "1", "-m", "gone"]);
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V311, "00", "", "c"));
    peer.expect_nothing();
}

/// 5.0 without a Session Expiry Interval: the session ends with the connection, whatever Clean
/// Start said (3.1.2.11.2).
#[test]
fn without_session_expiry_a_v5_session_ends_with_its_connection() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V5, "00", "", "c");
    peer.subscribe("t", 1);
    peer.leave();
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V5, "00", "11 00000e10", "c"));
}

#[test]
fn a_v5_session_expires() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V5, "00", "11 00000001", "c");
    peer.subscribe("t", 1);
    peer.leave();
    // Mosquitto checks once a second and allows another one.
    std::thread::sleep(std::time::Duration::from_millis(3500));
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V5, "00", "11 00000001", "c"));
}

#[test]
fn session_expiry_can_be_changed_in_disconnect() {
    let broker = Broker::open();
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V5, "00", "11 00000e10", "c");
    peer.send("e0 [ 00 [ 11 00000000 ] ]");
    peer.expect_closed();
    let mut peer = Peer::tcp(&broker);
    assert!(!peer.join(Level::V5, "00", "11 00000e10", "c"));
}

/// The receiver vanishes between PUBLISH and its answer: the message comes again, with DUP and
/// the same identifier.
#[test]
fn an_unacknowledged_message_comes_again_with_dup() {
    for level in [Level::V311, Level::V5] {
        let broker = Broker::open();
        let (flags, properties) = keeping(level);
        for qos in [1, 2] {
            let id = format!("c{qos}");
            let mut peer = Peer::tcp(&broker);
            peer.join(level, flags, properties, &id);
            peer.subscribe("t", qos);
            publish(&broker, &["-t", "t", "-q", "2", "-m", "x"]);
            let first = peer.delivered();
            assert!(!first.dup);
            peer.vanish();
            let mut peer = back(&broker, Carrier::Tcp, level, &id);
            let second = peer.receive();
            assert!(second.dup, "{level:?} QoS {qos}");
            assert_eq!(second.packet_id, first.packet_id);
            assert_eq!(second.payload, b"x");
            peer.expect_nothing();
            peer.leave();
        }
    }
}

/// After PUBREC only the PUBREL is owed: the message itself must not come again.
#[test]
fn after_pubrec_only_pubrel_is_sent_again() {
    for level in [Level::V311, Level::V5] {
        let broker = Broker::open();
        let (flags, properties) = keeping(level);
        let mut peer = Peer::tcp(&broker);
        peer.join(level, flags, properties, "c");
        peer.subscribe("t", 2);
        publish(&broker, &["-t", "t", "-q", "2", "-m", "x"]);
        let id = peer.delivered().packet_id;
        peer.send(&format!("50 02 {id:04x}"));
        peer.expect(&format!("62 02 {id:04x}"));
        peer.vanish();
        let mut peer = back(&broker, Carrier::Tcp, level, "c");
        peer.expect(&format!("62 02 {id:04x}"));
        peer.send(&format!("70 02 {id:04x}"));
        peer.expect_nothing();
    }
}

/// The sender repeats a QoS 2 PUBLISH whose PUBREC it has not seen, on a new connection: the
/// receiver gets it once.
#[test]
fn a_repeated_qos_2_publish_is_delivered_once() {
    for level in [Level::V311, Level::V5] {
        let broker = Broker::open();
        let mut receiver = Peer::joined(&broker, Carrier::Tcp, level, "receiver");
        receiver.subscribe("t", 2);
        let (flags, properties) = keeping(level);
        let none = level.properties();
        let mut peer = Peer::tcp(&broker);
        peer.join(level, flags, properties, "sender");
        peer.send(&format!("34 [ <t> 0007 {none} 'once' ]"));
        peer.expect_acknowledgement(0x50, 7);
        peer.vanish();
        let mut peer = back(&broker, Carrier::Tcp, level, "sender");
        peer.send(&format!("3c [ <t> 0007 {none} 'once' ]"));
        peer.expect_acknowledgement(0x50, 7);
        peer.send("62 02 0007");
        peer.expect_acknowledgement(0x70, 7);
        // The identifier is free again: now it is a new message.
        peer.publish_qos2(7, "t", "twice");
        receiver.expect_message("t", "once", 2);
        receiver.expect_message("t", "twice", 2);
        receiver.expect_nothing();
    }
}

#[test]
fn takeover_hands_the_queue_over() {
    let broker = Broker::open();
    let mut old = Peer::tcp(&broker);
    old.join(Level::V311, "00", "", "c");
    old.subscribe("t", 1);
    publish(&broker, &["-t", "t", "-q", "1", "-m", "x"]);
    let first = old.delivered();
    let mut new = back(&broker, Carrier::Tcp, Level::V311, "c");
    old.expect_closed();
    let again = new.receive();
    assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
    new.expect_nothing();
}

#[test]
fn unsubscribing_ends_delivery_and_keeps_the_session() {
    let broker = Broker::open();
    absent(&broker, Level::V311, "c", "t");
    let mut peer = back(&broker, Carrier::Tcp, Level::V311, "c");
    peer.send("a2 [ 0005 <t> ]");
    peer.expect("b0 02 0005");
    peer.leave();
    publish(&broker, &["-t", "t", "-q", "1", "-m", "x"]);
    let mut peer = back(&broker, Carrier::Tcp, Level::V311, "c");
    peer.expect_nothing();
}

#[test]
fn queue_qos0_messages_true_keeps_them_too() {
    let broker = Broker::with("queue_qos0_messages true");
    absent(&broker, Level::V311, "c", "t");
    publish(&broker, &["-t", "t", "-q", "0", "-m", "kept"]);
    let mut peer = back(&broker, Carrier::Tcp, Level::V311, "c");
    peer.expect_message("t", "kept", 0);
}

#[test]
fn max_queued_messages_bounds_the_queue_and_keeps_the_oldest() {
    let broker = Broker::with("max_queued_messages 5\nmax_inflight_messages 1");
    absent(&broker, Level::V311, "c", "t");
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for number in 1..=20 {
        publisher.publish_qos1(number, "t", &number.to_string());
    }
    let mut peer = back(&broker, Carrier::Tcp, Level::V311, "c");
    let mut got = Vec::new();
    loop {
        peer.send("c0 00");
        let packet = peer.packet("PUBLISH or PINGRESP");
        if packet == [0xd0, 0] {
            break;
        }
        // Topic "t": fixed header 2, topic 3, identifier 2.
        got.push(String::from_utf8(packet[7..].to_vec()).unwrap());
        peer.send(&format!("40 02 {:02x}{:02x}", packet[5], packet[6]));
        while peer.packet("PINGRESP") != [0xd0, 0] {}
    }
    let wanted: Vec<String> = (1..=got.len()).map(|it| it.to_string()).collect();
    assert_eq!(got, wanted, "the oldest, in order");
    assert!((5..=6).contains(&got.len()), "{got:?}");
}

/// The window of `max_inflight_messages`: no more than that many unacknowledged at a time.
#[test]
fn max_inflight_messages_is_a_window() {
    only_our_broker!("mosquitto 2.0.11 sends two for one acknowledgement");
    let broker = Broker::with("max_inflight_messages 3");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("t", 1);
    publish_ten(&broker);
    expect_window_of_3(&mut peer);
}

#[test]
fn max_inflight_messages_is_a_window_after_a_resume_too() {
    only_our_broker!("mosquitto 2.0.11 sends two for one acknowledgement");
    let broker = Broker::with("max_inflight_messages 3");
    absent(&broker, Level::V311, "c", "t");
    publish_ten(&broker);
    let mut peer = back(&broker, Carrier::Tcp, Level::V311, "c");
    expect_window_of_3(&mut peer);
}

/// The defaults of Mosquitto: 20 in flight, 1000 waiting behind them.
#[test]
fn the_default_bounds_are_20_in_flight_and_1000_waiting() {
    let broker = Broker::open();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("t", 1);
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for number in 1..=1100 {
        publisher.publish_qos1(number, "t", &number.to_string());
    }
    let mut packet_ids = Vec::new();
    for number in 1..=20 {
        let got = peer.delivered();
        assert_eq!(got.payload, number.to_string().as_bytes());
        packet_ids.push(got.packet_id);
    }
    // Nothing more without an acknowledgement.
    peer.expect_nothing();
    for packet_id in packet_ids {
        peer.send(&format!("40 02 {packet_id:04x}"));
    }
    for number in 21..=1020 {
        peer.expect_message("t", &number.to_string(), 1);
    }
    peer.expect_nothing();
}

fn publish_ten(broker: &Broker) {
    let mut publisher = Peer::joined(broker, Carrier::Tcp, Level::V311, "p");
    for number in 1..=10 {
        publisher.publish_qos1(number, "t", &number.to_string());
    }
}

fn expect_window_of_3(peer: &mut Peer) {
    let mut ids = Vec::new();
    for number in 1..=10 {
        if number > 3 {
            peer.expect_nothing();
            let id: u16 = ids.remove(0);
            peer.send(&format!("40 02 {id:04x}"));
        }
        let got = peer.delivered();
        assert_eq!(got.payload, number.to_string().as_bytes());
        ids.push(got.packet_id);
    }
}

/// The client's own Receive Maximum is the window in 5.0.
#[test]
fn receive_maximum_of_the_client_is_a_window() {
    let broker = Broker::open();
    absent(&broker, Level::V5, "c", "t");
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for number in 1..=3 {
        publisher.publish_qos1(number, "t", &number.to_string());
    }
    let mut peer = Peer::tcp(&broker);
    assert!(peer.join(Level::V5, "00", "11 00000e10 21 0001", "c"));
    for number in 1..=3 {
        let got = peer.delivered();
        assert_eq!(got.payload, number.to_string().as_bytes());
        peer.expect_nothing();
        peer.send(&format!("40 02 {:04x}", got.packet_id));
    }
}

#[test]
fn the_tools_keep_a_session_too() {
    let broker = Broker::open();
    let session = ["-c", "-i", "tool", "-q", "2", "-t", "t"];
    let mut first = session.to_vec();
    first.push("-E");
    Tools::UnderTest.receive(&broker, &first).ok();
    for number in ["1", "2", "3"] {
        publish(&broker, &["-t", "t", "-q", "2", "-m", number]);
    }
    publish(&broker, &["-t", "t", "-q", "0", "-m", "no"]);
    let mut second = session.to_vec();
    second.extend(["-C", "3"]);
    let got = Tools::UnderTest.receive(&broker, &second).ok();
    assert_eq!(got.out(), "1\n2\n3\n");
}

/// Many in a queue, drained over the window, nothing doubled.
#[test]
fn a_thousand_messages_wait_in_order() {
    let broker = Broker::with("max_queued_messages 2000");
    absent(&broker, Level::V311, "c", "t");
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for number in 1..=1000 {
        publisher.publish_qos1(number, "t", &number.to_string());
    }
    let mut peer = back(&broker, Carrier::Tcp, Level::V311, "c");
    for number in 1..=1000 {
        peer.expect_message("t", &number.to_string(), 1);
    }
    peer.expect_nothing();
}
