//! Issue 2, point 12: what may stand in a message: nothing, any bytes, any UTF-8 in the topic, and
//! as much as `max_packet_size` allows.

use std::time::Duration;

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::process::{run, run_within};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker, only_our_tools};

#[test]
fn an_empty_message_is_a_message() {
    let broker = Broker::open();
    for level in Level::ALL {
        let id = format!("c{}", level.flag());
        let mut peer = Peer::joined(&broker, Carrier::Tcp, level, &id);
        peer.subscribe("t", 2);
        for qos in ["0", "1", "2"] {
            publish(&broker, &["-t", "t", "-n", "-q", qos]);
            let got = peer.receive();
            assert_eq!((got.payload.len(), got.qos.to_string().as_str()), (0, qos));
        }
    }
}

#[test]
fn all_256_bytes_pass_unchanged() {
    let broker = Broker::open();
    let bytes: Vec<u8> = (0..=255).cycle().take(1024).collect();
    for carrier in Carrier::ALL {
        let mut peer = Peer::joined(&broker, carrier, Level::V311, "c");
        peer.subscribe("t", 1);
        Tools::UnderTest.publish_from(&broker, &["-t", "t", "-q", "1", "-s"], &bytes).ok();
        assert_eq!(peer.receive().payload, bytes);
    }
}

#[test]
fn the_tools_pass_bytes_through_files_and_pipes() {
    let broker = Broker::open();
    let bytes: Vec<u8> = (0..=255).rev().cycle().take(5000).collect();
    let path = broker.file("payload");
    std::fs::write(&path, &bytes).unwrap();
    publish(&broker, &["-t", "t", "-r", "-f", &path]);
    let got = Tools::UnderTest.receive(&broker, &["-t", "t", "-C", "1", "-N"]).ok();
    assert_eq!(got.stdout, bytes);
}

#[test]
fn topics_in_any_utf_8() {
    let broker = Broker::open();
    let topics = ["温度/客厅", "дом/кухня", "🏠/🌡", " leading and trailing ", "/", "a//b", "ü"];
    let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "#", "-v"]);
    for topic in topics {
        publish(&broker, &["-t", topic, "-m", "值"]);
        sub.expect_line(&format!("{topic} 值"));
    }
    let mut one = Tools::UnderTest.subscribe(&broker, &["-t", "温度/+", "-v"]);
    publish(&broker, &["-t", "温度/厨房", "-m", "19"]);
    one.expect_line("温度/厨房 19");
}

#[test]
fn a_topic_of_65535_bytes() {
    let broker = Broker::open();
    let topic = "t".repeat(65_535);
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe(&topic, 1);
    peer.publish("t", "no");
    peer.send(&format!("30 [ <{topic}> 'yes' ]"));
    let got = peer.delivered();
    assert_eq!((got.topic, got.payload), (topic, b"yes".to_vec()));
}

/// Lengths around every boundary of the Remaining Length and of the WebSocket frame.
#[test]
fn sizes_around_the_boundaries_of_the_length_fields() {
    let broker = Broker::with("max_packet_size 3000000");
    for carrier in Carrier::ALL {
        let mut peer = Peer::joined(&broker, carrier, Level::V311, "c");
        peer.subscribe("t", 0);
        for boundary in [0x80_usize, 0x4000, 0x1_0000, 0x20_0000] {
            if mqttd_tests::place::broker_is_peer()
                && carrier == Carrier::WebSocket
                && boundary > 0x1_0000
            {
                continue; // libwebsockets takes 20 seconds for each of these
            }
            // The packet is topic (3) and payload.
            for size in boundary - 5..boundary + 3 {
                let payload: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
                peer.send_bytes(&publish_bytes("t", &payload));
                assert!(peer.delivered().payload == payload, "{size} bytes over {carrier:?}");
            }
        }
    }
}

fn publish_bytes(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x30];
    bytes.extend(mqttd_tests::notation::variable_length(2 + topic.len() + payload.len()));
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend(payload);
    bytes
}

/// A whole packet of exactly 2,000,000 bytes passes, one more does not.
#[test]
fn the_default_limit_is_two_million_bytes() {
    only_our_broker!("max_packet_size has had this default since Mosquitto 2.1");
    let broker = Broker::open();
    // Fixed header 1 + 3, topic 3: a packet of 2,000,000 bytes passes, one byte more does not.
    let fits = vec![b'x'; 2_000_000 - 7];
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe("t", 0);
    peer.send_bytes(&publish_bytes("t", &fits));
    assert!(peer.delivered().payload == fits);
    let too_large = publish_bytes("t", &vec![b'x'; 2_000_000 - 6]);
    // The length alone is enough to know.
    peer.send_bytes(&too_large[..1000]);
    peer.expect_closed();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send_bytes(&too_large[..1000]);
    peer.expect_disconnect(0x95);
}

#[test]
fn max_packet_size_refuses_larger_ones() {
    let broker = Broker::with("max_packet_size 1000");
    for carrier in Carrier::ALL {
        if carrier == Carrier::WebSocket && mqttd_tests::place::broker_is_peer() {
            continue; // mosquitto 2.0.11 has no limit there
        }
        let mut peer = Peer::joined(&broker, carrier, Level::V311, "c");
        peer.subscribe("t", 0);
        // Fixed header 1 + 2, topic 3: a packet of 1000 bytes passes. Mosquitto leaves the fixed
        // header out of the count, so the other one is larger by more than that.
        peer.send_bytes(&publish_bytes("t", &[b'x'; 994]));
        assert_eq!(peer.delivered().payload.len(), 994);
        peer.send_bytes(&publish_bytes("t", &[b'x'; 1000]));
        peer.expect_closed();
    }
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send_bytes(&publish_bytes("t", &[b'x'; 1000]));
    peer.expect_disconnect(0x95);
}

/// 5.0: the client's own Maximum Packet Size. The larger message is dropped for this client only.
#[test]
fn a_client_never_gets_more_than_its_maximum_packet_size() {
    let broker = Broker::open();
    let mut small = Peer::tcp(&broker);
    small.join(Level::V5, "02", "27 00000064", "small");
    small.subscribe("t", 1);
    let mut large = Peer::joined(&broker, Carrier::Tcp, Level::V5, "large");
    large.subscribe("t", 1);
    let text = "x".repeat(200);
    publish(&broker, &["-t", "t", "-q", "1", "-m", &text]);
    publish(&broker, &["-t", "t", "-q", "1", "-m", "short"]);
    small.expect_message("t", "short", 1);
    large.expect_message("t", &text, 1);
    large.expect_message("t", "short", 1);
}

#[test]
fn ten_megabytes_through_the_tools() {
    let broker = Broker::with("max_packet_size 20000000");
    let bytes: Vec<u8> = (0..10_000_000_u32).map(|at| (at / 7) as u8).collect();
    for qos in ["0", "2"] {
        Tools::UnderTest.publish_from(&broker, &["-t", "t", "-r", "-q", qos, "-s"], &bytes).ok();
        let got = Tools::UnderTest.receive(&broker, &["-t", "t", "-C", "1", "-N", "-q", qos]).ok();
        assert!(got.stdout == bytes, "{} bytes came back", got.stdout.len());
    }
}

/// The largest packet of the standard: Remaining Length 268,435,455. Once, and it takes seconds.
#[test]
fn the_largest_message_of_the_standard() {
    let broker = Broker::with("max_packet_size 268435460");
    let size = 268_435_455 - 3;
    let mut command = python("large_message.py");
    command.args([&broker.port().to_string(), &size.to_string()]);
    run_within(command, b"", Duration::from_secs(120)).ok();
    // One copy coming in, one going out, and what an allocator rounds up to.
    let peak = broker.memory_peak();
    if !mqttd_tests::place::broker_is_peer() {
        assert!(peak < 4 * 268_435_456, "{peak} bytes at the peak");
    }
}

/// A claimed length is not a reason to allocate: 100 connections claiming 268 MB each.
#[test]
fn a_claimed_length_costs_no_memory() {
    let broker = Broker::with("max_packet_size 268435460");
    let before = broker.memory_peak();
    let mut peers = Vec::new();
    for number in 0..100 {
        let id = format!("c{number}");
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, &id);
        peer.send_bytes(b"\x30\xff\xff\xff\x7f\x00\x01t");
        peers.push(peer);
    }
    let mut other = Peer::joined(&broker, Carrier::Tcp, Level::V311, "other");
    other.expect_nothing();
    let grown = broker.memory_peak() - before;
    // Mosquitto does allocate it, but the pages it never touches are not resident.
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes for 700 that arrived");
}

/// Our tools, at the broker's limit: the refusal must be said, not only a closed connection.
#[test]
fn a_tool_says_when_its_message_was_too_large() {
    only_our_broker!("the limit's default");
    only_our_tools!("mosquitto_pub 2.0.11 connects again for ever");
    let broker = Broker::open();
    let bytes = vec![b'x'; 2_000_001];
    let mut command = Tools::UnderTest.command("pub");
    command.args(["-p", &broker.port().to_string(), "-t", "t", "-q", "1", "-s", "-V", "5"]);
    let said = run(command, &bytes);
    assert_ne!(said.code(), 0, "{said}");
    assert!(!said.err().trim().is_empty(), "{said}");
}

fn python(program: &str) -> std::process::Command {
    mqttd_tests::script::python_program("python3", program)
}
