//! [`Peer`]: a client made of bytes. It sends what the test spells out and compares what comes
//! back, over TCP or over WebSocket, and behaves as badly as the test wants.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::notation::{Pattern, show, variable_length};
use crate::place;
use crate::process::PATIENCE;
use crate::websocket;

/// Version of the protocol, by its Protocol Level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// MQTT 3.1 (level 3, `MQIsdp`).
    V31,
    /// MQTT 3.1.1 (level 4).
    V311,
    /// MQTT 5.0 (level 5).
    V5,
}

impl Level {
    /// All three.
    pub const ALL: [Level; 3] = [Level::V31, Level::V311, Level::V5];

    /// The value of the tools' `-V`.
    pub fn flag(self) -> &'static str {
        match self {
            Level::V31 => "31",
            Level::V311 => "311",
            Level::V5 => "5",
        }
    }

    /// Name and level as they stand in CONNECT.
    pub fn in_connect(self) -> &'static str {
        match self {
            Level::V31 => "<MQIsdp> 03",
            Level::V311 => "<MQTT> 04",
            Level::V5 => "<MQTT> 05",
        }
    }

    /// Empty properties where 5.0 has them, nothing before.
    pub fn properties(self) -> &'static str {
        if self == Level::V5 { "[ ]" } else { "" }
    }
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Plain TCP.
    Tcp,
    /// Binary WebSocket frames.
    WebSocket,
}

impl Carrier {
    /// Both.
    pub const ALL: [Carrier; 2] = [Carrier::Tcp, Carrier::WebSocket];
}

/// One client connection.
#[derive(Debug)]
pub struct Peer {
    socket: TcpStream,
    carrier: Carrier,
    level: Level,
    /// Bytes received and not yet taken.
    received: Vec<u8>,
    is_closed: bool,
}

/// A PUBLISH as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// DUP flag.
    pub dup: bool,
    /// QoS of this delivery.
    pub qos: u8,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name.
    pub topic: String,
    /// Packet Identifier; 0 for QoS 0.
    pub packet_id: u16,
    /// The properties' bytes without their length (5.0).
    pub properties: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Peer {
    /// A TCP connection on which nothing has been said yet.
    #[track_caller]
    pub fn tcp(broker: &Broker) -> Peer {
        Peer::on(broker, Carrier::Tcp)
    }

    /// A connection on which nothing has been said yet; a WebSocket one has been upgraded.
    #[track_caller]
    pub fn on(broker: &Broker, carrier: Carrier) -> Peer {
        let port = match carrier {
            Carrier::Tcp => broker.port(),
            Carrier::WebSocket => broker.ws_port(),
        };
        Peer::at(port, carrier)
    }

    /// [`Peer::on`] for any port of 127.0.0.1.
    #[track_caller]
    pub fn at(port: u16, carrier: Carrier) -> Peer {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        if carrier == Carrier::WebSocket {
            websocket::open(&mut socket, "/mqtt", "mqtt");
        }
        Peer { socket, carrier, level: Level::V311, received: Vec::new(), is_closed: false }
    }

    /// A connection with a clean session, keep alive 0, accepted by the broker.
    #[track_caller]
    pub fn joined(broker: &Broker, carrier: Carrier, level: Level, client_id: &str) -> Peer {
        let mut peer = Peer::on(broker, carrier);
        peer.join(level, "02", "", client_id);
        peer
    }

    /// Says CONNECT with keep alive 0, these flags and (5.0) these properties, `rest` being the
    /// payload behind the client id, and expects to be accepted. Returns the Session Present flag.
    #[track_caller]
    pub fn join_with(
        &mut self,
        level: Level,
        flags: &str,
        properties: &str,
        client_id: &str,
        rest: &str,
    ) -> bool {
        self.level = level;
        let properties =
            if level == Level::V5 { format!("[ {properties} ]") } else { String::new() };
        self.send(&format!(
            "10 [ {} {flags} 0000 {properties} <{client_id}> {rest} ]",
            level.in_connect()
        ));
        let answer = self.packet("CONNACK");
        assert_eq!(answer[0], 0x20, "CONNACK: {}", show(&answer));
        // Remaining Length is one byte here: flags, code and a few properties.
        assert_eq!(answer[3], 0, "refused: {}", show(&answer));
        answer[2] & 1 == 1
    }

    /// [`Peer::join_with`] without will and credentials.
    #[track_caller]
    pub fn join(&mut self, level: Level, flags: &str, properties: &str, client_id: &str) -> bool {
        self.join_with(level, flags, properties, client_id, "")
    }

    /// Takes the packets that follow as of this version: for tests that spell out CONNECT.
    pub fn speaks(&mut self, level: Level) {
        self.level = level;
    }

    /// Subscribes and expects exactly this QoS to be granted.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let none = self.level.properties();
        self.send(&format!("82 [ 7001 {none} <{filter}> {qos:02x} ]"));
        self.expect_among_publishes(&format!("90 [ 7001 {none} {qos:02x} ]"));
    }

    /// Publishes text at QoS 0.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &str) {
        self.send(&format!("30 [ <{topic}> {} '{payload}' ]", self.level.properties()));
    }

    /// Publishes text at QoS 1 and waits for the PUBACK.
    #[track_caller]
    pub fn publish_qos1(&mut self, packet_id: u16, topic: &str, payload: &str) {
        let none = self.level.properties();
        self.send(&format!("32 [ <{topic}> {packet_id:04x} {none} '{payload}' ]"));
        self.expect_acknowledgement(0x40, packet_id);
    }

    /// Publishes text at QoS 2 and plays the whole exchange.
    #[track_caller]
    pub fn publish_qos2(&mut self, packet_id: u16, topic: &str, payload: &str) {
        let none = self.level.properties();
        self.send(&format!("34 [ <{topic}> {packet_id:04x} {none} '{payload}' ]"));
        self.expect_acknowledgement(0x50, packet_id);
        self.send(&format!("62 02 {packet_id:04x}"));
        self.expect_acknowledgement(0x70, packet_id);
    }

    /// Expects an acknowledgement without an error, PUBLISH packets before it being kept for
    /// later. 5.0 allows success to be left out, to be said,
    /// and 0x10 (no matching subscribers) in its place.
    #[track_caller]
    pub fn expect_acknowledgement(&mut self, first: u8, packet_id: u16) {
        let packet = self.packet_among_publishes("an acknowledgement", first);
        let id = packet_id.to_be_bytes();
        let fits = packet[0] == first && packet.len() >= 4 && packet[2..4] == id;
        let is_success = packet.len() == 4
            || (self.level == Level::V5 && (packet[4] == 0x00 || packet[4] == 0x10));
        assert!(fits && is_success, "wanted {first:02x} of {packet_id}: {}", show(&packet));
    }

    /// The next packet must be a PUBLISH; it is taken apart, not acknowledged.
    #[track_caller]
    pub fn delivered(&mut self) -> Delivered {
        let packet = self.packet("a PUBLISH");
        assert_eq!(packet[0] & 0xf0, 0x30, "wanted a PUBLISH: {}", show(&packet));
        take_apart(&packet, self.level)
    }

    /// Like [`Peer::delivered`], and plays the receiver's part of the QoS exchange to its end.
    #[track_caller]
    pub fn receive(&mut self) -> Delivered {
        let delivered = self.delivered();
        let id = delivered.packet_id;
        match delivered.qos {
            0 => {}
            1 => self.send(&format!("40 02 {id:04x}")),
            _ => {
                self.send(&format!("50 02 {id:04x}"));
                let release = self.packet_among_publishes("PUBREL", 0x62);
                assert_eq!(release[2..4], id.to_be_bytes(), "PUBREL: {}", show(&release));
                self.send(&format!("70 02 {id:04x}"));
            }
        }
        delivered
    }

    /// Receives a message and checks topic, payload and QoS.
    #[track_caller]
    pub fn expect_message(&mut self, topic: &str, payload: &str, qos: u8) -> Delivered {
        let got = self.receive();
        let text = String::from_utf8_lossy(&got.payload);
        assert_eq!((got.topic.as_str(), &*text, got.qos), (topic, payload, qos), "{got:?}");
        got
    }

    /// Sends bytes in the notation, in one write (and one WebSocket frame).
    #[track_caller]
    pub fn send(&mut self, notation: &str) {
        self.send_bytes(&Pattern::parse(notation).bytes());
    }

    /// Sends bytes in one write (and one WebSocket frame).
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match self.carrier {
            Carrier::Tcp => self.socket.write_all(bytes).unwrap(),
            Carrier::WebSocket => {
                self.socket.write_all(&websocket::frame(websocket::BINARY, true, bytes)).unwrap();
            }
        }
    }

    /// Sends bytes that are no WebSocket frame even on a WebSocket connection; a closed
    /// connection is not this side's failure.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Sends until the broker's side takes no more for a second; returns whether it came to that
    /// within this many bytes. What was cut off in the middle stays cut off.
    #[track_caller]
    pub fn send_until_stuck(&mut self, bytes: &[u8], total: usize) -> bool {
        self.socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        for _ in 0..total.div_ceil(bytes.len()) {
            match self.socket.write_all(bytes) {
                Ok(()) => {}
                Err(error) if is_timeout(&error) => return true,
                Err(error) => panic!("{error}"),
            }
        }
        false
    }

    /// Expects exactly these bytes next.
    #[track_caller]
    pub fn expect(&mut self, notation: &str) {
        let pattern = Pattern::parse(notation);
        let got = self.take(pattern.len(), notation);
        assert!(pattern.matches(&got), "wanted {pattern}\n   got {}", show(&got));
    }

    /// Expects these bytes, PUBLISH packets before them being kept for later.
    #[track_caller]
    pub fn expect_among_publishes(&mut self, notation: &str) {
        let pattern = Pattern::parse(notation);
        let first = pattern.bytes()[0];
        let got = self.packet_among_publishes(notation, first);
        assert!(pattern.matches(&got), "wanted {pattern}\n   got {}", show(&got));
    }

    /// The next packet that is not a PUBLISH; those before it are kept for later.
    #[track_caller]
    fn packet_among_publishes(&mut self, what: &str, first: u8) -> Vec<u8> {
        let mut kept = Vec::new();
        loop {
            let packet = self.packet(what);
            if packet[0] & 0xf0 == 0x30 && first & 0xf0 != 0x30 {
                kept.extend(packet);
                continue;
            }
            kept.append(&mut self.received);
            self.received = kept;
            return packet;
        }
    }

    /// Expects that the broker says nothing more on what was sent so far: a PINGREQ is answered
    /// first.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        self.send("c0 00");
        self.expect("d0 00");
    }

    /// Expects that the broker closes the connection without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        self.expect_closed_within(PATIENCE);
    }

    /// [`Peer::expect_closed`] with a deadline of its own.
    #[track_caller]
    pub fn expect_closed_within(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.is_closed {
            assert!(self.received.is_empty(), "wanted the end, got {}", show(&self.received));
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the broker has not closed the connection in {patience:?}");
            match self.read_some(left) {
                Ok(()) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(self.received.is_empty(), "wanted the end, got {}", show(&self.received));
    }

    /// Expects that the broker closes the connection, after a DISCONNECT with this reason (5.0).
    /// Mosquitto 2.0.11 leaves the DISCONNECT out in places; only the peer may do so.
    #[track_caller]
    pub fn expect_disconnect(&mut self, reason: u8) {
        if place::broker_is_peer() {
            let all = self.everything();
            assert!(all.is_empty() || all[0] == 0xe0 && all[2] == reason, "{}", show(&all));
            return;
        }
        let packet = self.packet("DISCONNECT");
        let fits = packet[0] == 0xe0 && packet.len() >= 3 && packet[2] == reason;
        assert!(fits, "wanted DISCONNECT {reason:02x}: {}", show(&packet));
        self.expect_closed();
    }

    /// Reads until the broker closes and returns all that came.
    #[track_caller]
    pub fn everything(&mut self) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        while !self.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.received.ends_with(&[0xd0, 0]) {
                // Not closed: what came, and a mark that no broker sends.
                self.received.extend(b"... and still open");
                break;
            }
            if let Err(error) = self.read_some(left) {
                assert!(is_timeout(&error), "{error}");
            }
        }
        std::mem::take(&mut self.received)
    }

    /// Messages until exactly this packet comes; QoS exchanges are played to their end. Also
    /// tells how many other packets came.
    #[track_caller]
    pub fn messages_until(&mut self, end: &[u8]) -> (Vec<Delivered>, usize) {
        let (mut messages, mut others) = (Vec::new(), 0);
        loop {
            let packet = self.packet("a PUBLISH or the end");
            if packet == end {
                return (messages, others);
            }
            match packet[0] & 0xf0 {
                0x30 => {
                    let got = take_apart(&packet, self.level);
                    let id = got.packet_id;
                    match got.qos {
                        0 => {}
                        1 => self.send(&format!("40 02 {id:04x}")),
                        _ => self.send(&format!("50 02 {id:04x}")),
                    }
                    messages.push(got);
                }
                0x60 => {
                    let id = [packet[2], packet[3]];
                    self.send(&format!("70 02 {:02x}{:02x}", id[0], id[1]));
                }
                _ => others += 1,
            }
        }
    }

    /// Another client publishes at QoS 2, so that the message has reached the broker when this
    /// returns.
    #[track_caller]
    pub fn publish_from_another(&self, broker: &Broker, topic: &str, payload: &str) {
        let mut other = Peer::joined(broker, Carrier::Tcp, Level::V311, "");
        other.publish_qos2(1, topic, payload);
    }

    /// Sends in the notation; that the broker has closed meanwhile is not this side's failure.
    pub fn send_unless_closed(&mut self, notation: &str) {
        let bytes = Pattern::parse(notation).bytes();
        let bytes = match self.carrier {
            Carrier::Tcp => bytes,
            Carrier::WebSocket => websocket::frame(websocket::BINARY, true, &bytes),
        };
        let _ = self.socket.write_all(&bytes);
    }

    /// Leaves with DISCONNECT and waits until the broker has closed the connection, so that what
    /// follows in the test happens afterwards.
    #[track_caller]
    pub fn leave(mut self) {
        self.send("e0 00");
        self.expect_closed();
    }

    /// Closes the socket without a word: a lost connection.
    pub fn vanish(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The next whole packet, with its fixed header. Its Remaining Length must be minimal.
    #[track_caller]
    pub fn packet(&mut self, what: &str) -> Vec<u8> {
        let mut head = self.take(2, what);
        let mut length = usize::from(head[1] & 0x7f);
        let mut shift = 7;
        while head.last().is_some_and(|byte| byte & 0x80 != 0) {
            assert!(head.len() < 5, "Remaining Length too long: {}", show(&head));
            let next = self.take(1, what)[0];
            length |= usize::from(next & 0x7f) << shift;
            shift += 7;
            head.push(next);
        }
        assert_eq!(head[1..], variable_length(length), "Remaining Length is not minimal");
        let body = self.take(length, what);
        head.extend(body);
        head
    }

    #[track_caller]
    fn take(&mut self, count: usize, what: &str) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        while self.received.len() < count {
            let so_far = show(&self.received);
            assert!(!self.is_closed, "wanted {what}, the broker closed; so far: {so_far}");
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "wanted {what}, got only: {so_far}");
            if let Err(error) = self.read_some(left) {
                assert!(is_timeout(&error), "wanted {what}: {error}; so far: {so_far}");
            }
        }
        let rest = self.received.split_off(count);
        std::mem::replace(&mut self.received, rest)
    }

    fn read_some(&mut self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let got = match self.carrier {
            Carrier::Tcp => {
                let mut buffer = vec![0; 256 * 1024];
                self.socket.read(&mut buffer).map(|count| {
                    self.is_closed = count == 0;
                    self.received.extend_from_slice(&buffer[..count]);
                })
            }
            Carrier::WebSocket => {
                websocket::read_frame(&mut self.socket).map(|frame| match frame {
                    (websocket::BINARY, payload) => self.received.extend(payload),
                    (websocket::CLOSE, _) => self.is_closed = true,
                    (opcode, _) => panic!("unexpected WebSocket frame {opcode}"),
                })
            }
        };
        match got {
            Err(error) if is_end(&error) => {
                self.is_closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A reset is an end too: it happens when the broker closes while bytes to it are on their way.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

#[track_caller]
fn take_apart(packet: &[u8], level: Level) -> Delivered {
    let first = packet[0];
    let qos = (first >> 1) & 3;
    let header = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let mut rest = &packet[header..];
    let mut two = || {
        let value = u16::from_be_bytes([rest[0], rest[1]]);
        rest = &rest[2..];
        value
    };
    let length = usize::from(two());
    let topic = String::from_utf8(rest[..length].to_vec()).expect("a topic is UTF-8");
    rest = &rest[length..];
    let packet_id = if qos == 0 {
        0
    } else {
        let id = u16::from_be_bytes([rest[0], rest[1]]);
        rest = &rest[2..];
        id
    };
    let mut properties = Vec::new();
    if level == Level::V5 {
        let length = usize::from(rest[0]);
        assert!(length < 128, "the tests use few properties: {}", show(packet));
        properties = rest[1..=length].to_vec();
        rest = &rest[1 + length..];
    }
    Delivered {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: rest.to_vec(),
    }
}
