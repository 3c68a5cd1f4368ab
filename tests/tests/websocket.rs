//! Issue 2, point 11: what is particular to MQTT over WebSocket. The dialogues themselves run over
//! both carriers in `connect.rs` and `wire.rs`.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use mqttd_tests::notation::Pattern;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::process::PATIENCE;
use mqttd_tests::websocket::{BINARY, CLOSE, PING, PONG, TEXT, ask, frame, open, read_frame};
use mqttd_tests::{Broker, only_our_broker};

fn socket(broker: &Broker) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", broker.ws_port())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn connect() -> Vec<u8> {
    Pattern::parse("10 [ <MQTT> 04 02 003c <ws> ]").bytes()
}

#[test]
fn both_subprotocols_are_known() {
    let broker = Broker::open();
    for subprotocol in ["mqtt", "mqttv3.1"] {
        let mut socket = socket(&broker);
        open(&mut socket, "/mqtt", subprotocol);
        socket.write_all(&frame(BINARY, true, &connect())).unwrap();
        assert_eq!(read_frame(&mut socket).unwrap(), (BINARY, vec![0x20, 2, 0, 0]));
    }
}

/// Mosquitto takes any path; programs use `/mqtt`, `/ws` and `/`.
#[test]
fn any_path_will_do() {
    let broker = Broker::open();
    for path in ["/", "/mqtt", "/ws", "/a/b?c=d"] {
        open(&mut socket(&broker), path, "mqtt");
    }
}

#[test]
fn a_request_that_is_no_upgrade_is_not_upgraded() {
    let broker = Broker::open();
    let mut socket = socket(&broker);
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut socket, &mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    // And the listener goes on.
    Peer::joined(&broker, Carrier::WebSocket, Level::V311, "c").expect_nothing();
}

#[test]
fn plain_mqtt_on_the_websocket_port_is_put_out() {
    only_our_broker!("libwebsockets waits for the rest of a header that never comes");
    let broker = Broker::open();
    let mut socket = socket(&broker);
    socket.write_all(&connect()).unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut socket, &mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:02x?}");
}

/// A message of WebSocket may come in several frames, with a ping between them (RFC 6455, 5.4).
#[test]
fn fragments_and_pings() {
    let broker = Broker::open();
    let mut socket = socket(&broker);
    open(&mut socket, "/mqtt", "mqtt");
    let packet = connect();
    socket.write_all(&frame(BINARY, false, &packet[..5])).unwrap();
    socket.write_all(&frame(PING, true, b"are you there")).unwrap();
    socket.write_all(&frame(0, false, &packet[5..9])).unwrap();
    socket.write_all(&frame(0, true, &packet[9..])).unwrap();
    let mut frames = vec![read_frame(&mut socket).unwrap(), read_frame(&mut socket).unwrap()];
    frames.sort();
    assert_eq!(frames, [(BINARY, vec![0x20, 2, 0, 0]), (PONG, b"are you there".to_vec())]);
}

#[test]
fn a_close_frame_is_answered_and_is_no_disconnect() {
    only_our_broker!("libwebsockets closes without publishing at once");
    let broker = Broker::open();
    let mut watcher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "watcher");
    watcher.subscribe("will", 0);
    let mut socket = socket(&broker);
    open(&mut socket, "/mqtt", "mqtt");
    let packet = Pattern::parse("10 [ <MQTT> 04 06 003c <ws> <will> <gone> ]").bytes();
    socket.write_all(&frame(BINARY, true, &packet)).unwrap();
    assert_eq!(read_frame(&mut socket).unwrap().1, [0x20, 2, 0, 0]);
    socket.write_all(&frame(CLOSE, true, &1000_u16.to_be_bytes())).unwrap();
    let (opcode, _) = read_frame(&mut socket).unwrap();
    assert_eq!(opcode, CLOSE);
    watcher.expect_message("will", "gone", 0);
}

/// MQTT goes in binary frames alone ([MQTT-6.0.0-1]).
#[test]
fn a_text_frame_ends_the_connection() {
    only_our_broker!("mosquitto 2.0.11 takes text frames too");
    let broker = Broker::open();
    let mut socket = socket(&broker);
    open(&mut socket, "/mqtt", "mqtt");
    socket.write_all(&frame(TEXT, true, &connect())).unwrap();
    match read_frame(&mut socket) {
        Ok((opcode, _)) => assert_eq!(opcode, CLOSE),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
    }
}

/// A server that is asked for another subprotocol must not pretend to speak it.
#[test]
fn an_unknown_subprotocol_is_not_confirmed() {
    let broker = Broker::open();
    let mut socket = socket(&broker);
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let head = ask(&mut socket, "/mqtt", "soap");
    assert!(!head.to_lowercase().contains("sec-websocket-protocol: soap"), "{head}");
}

#[test]
fn tcp_and_websocket_clients_talk_to_each_other() {
    let broker = Broker::open();
    let mut tcp = Peer::joined(&broker, Carrier::Tcp, Level::V311, "tcp");
    let mut ws = Peer::joined(&broker, Carrier::WebSocket, Level::V5, "ws");
    tcp.subscribe("t", 2);
    ws.subscribe("t", 2);
    ws.publish_qos1(1, "t", "from the browser");
    tcp.expect_message("t", "from the browser", 1);
    ws.expect_message("t", "from the browser", 1);
    tcp.publish_from_another(&broker, "t", "from the sensor");
    ws.expect_message("t", "from the sensor", 2);
}
