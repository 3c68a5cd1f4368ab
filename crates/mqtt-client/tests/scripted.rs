//! The client against a Server that follows a script: what goes over the wire, packet by packet,
//! when connections break at the worst moments.

use std::time::Duration;

use mqtt_client::{
    Acknowledge, Backoff, Client, ConnectError, Event, Incoming, Lost, Options, Publish, QoS,
    RequestError, Version,
};
use mqtt_proto::codec::Frame;
use mqtt_proto::packet::{Ack, Connack, Disconnect, Suback};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{Packet, PacketIdentifier, Properties, PropertiesBuf, ReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough for a busy machine; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing must come to count as nothing.
const SILENCE: Duration = Duration::from_millis(150);

struct Server {
    listener: TcpListener,
}

/// The Server's end of one connection.
struct Peer {
    stream: TcpStream,
    bytes: Vec<u8>,
    version: Version,
}

/// A packet with the bytes it borrows from.
struct Got {
    version: Version,
    bytes: Vec<u8>,
}

impl Got {
    fn packet(&self) -> Packet<'_> {
        let frame = Frame::peek(&self.bytes, usize::MAX).unwrap().unwrap();
        Packet::decode(self.version, frame, &self.bytes).unwrap()
    }
}

impl Server {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn options(&self) -> Options {
        let mut options = Options::new("127.0.0.1", self.listener.local_addr().unwrap().port());
        options.client_id = "scripted".to_owned();
        options.clean_start = false;
        options.reconnect = Some(Backoff::constant(Duration::from_millis(20)));
        options
    }

    /// Accepts a connection, and reads CONNECT.
    async fn accept(&self, version: Version) -> Peer {
        let accepted = timeout(PATIENCE, self.listener.accept()).await.expect("no connection");
        let mut peer = Peer { stream: accepted.unwrap().0, bytes: Vec::new(), version };
        let connect = peer.next().await;
        assert!(matches!(connect.packet(), Packet::Connect(_)), "{:?}", connect.packet());
        peer
    }

    /// Accepts a connection and the Client.
    async fn welcome(&self, version: Version, session_present: bool) -> Peer {
        let mut peer = self.accept(version).await;
        peer.connack(session_present, 0).await;
        peer
    }
}

impl Peer {
    async fn connack(&mut self, session_present: bool, code: u8) {
        let properties = Properties::EMPTY;
        self.send(Packet::Connack(Connack { session_present, code, properties })).await;
    }

    async fn send(&mut self, packet: Packet<'_>) {
        let mut out = Vec::new();
        packet.encode(self.version, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    async fn next(&mut self) -> Got {
        timeout(PATIENCE, self.next_or_end()).await.expect("nothing came").expect("the end came")
    }

    async fn next_or_end(&mut self) -> Option<Got> {
        loop {
            if let Some(frame) = Frame::peek(&self.bytes, usize::MAX).unwrap() {
                let bytes = self.bytes.drain(..frame.len).collect();
                return Some(Got { version: self.version, bytes });
            }
            if self.stream.read_buf(&mut self.bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn nothing(&mut self) {
        if let Ok(got) = timeout(SILENCE, self.next_or_end()).await {
            panic!("unexpected: {:?}", got.as_ref().map(|got| got.packet()));
        }
    }

    /// The next packet is a PUBLISH: (dup, QoS, identifier, payload).
    async fn publish(&mut self) -> (bool, u8, u16, String) {
        let got = self.next().await;
        let Packet::Publish(publish) = got.packet() else { panic!("{:?}", got.packet()) };
        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
        let id = publish.packet_id.map_or(0, PacketIdentifier::get);
        (publish.dup, publish.qos.as_u8(), id, payload)
    }

    async fn expect(&mut self, packet: Packet<'_>) {
        let got = self.next().await;
        assert_eq!(got.packet(), packet);
    }

    async fn give(&mut self, qos: QoS, number: u16, dup: bool, payload: &str) {
        let packet_id = PacketIdentifier::new(number);
        self.send(Packet::Publish(mqtt_proto::packet::Publish {
            dup,
            qos,
            retain: false,
            topic: "t",
            packet_id,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        }))
        .await;
    }
}

fn ack(number: u16) -> Ack<'static> {
    Ack::success(PacketIdentifier::new(number).unwrap())
}

fn message(payload: &str, qos: QoS) -> Publish {
    Publish::new("t", payload.to_owned()).qos(qos)
}

async fn start(server: &Server, options: Options) -> (Client, Incoming, Peer) {
    let version = options.version;
    let (connected, peer) = tokio::join!(Client::connect(options), server.welcome(version, false));
    let (client, mut incoming) = connected.unwrap();
    assert!(matches!(next(&mut incoming).await, Event::Connected(_)));
    (client, incoming, peer)
}

async fn next(incoming: &mut Incoming) -> Event {
    timeout(PATIENCE, incoming.next()).await.expect("no event").expect("the client has ended")
}

async fn payload(incoming: &mut Incoming) -> String {
    loop {
        match next(incoming).await {
            Event::Message(message) => {
                return String::from_utf8(message.payload().to_vec()).unwrap();
            }
            Event::Connected(_) | Event::Disconnected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn deliveries_resolve_with_what_the_server_said() {
    let server = Server::new().await;
    let mut options = server.options();
    options.version = Version::V5;
    let (client, _incoming, mut peer) = start(&server, options).await;
    let zero = client.publish(message("0", QoS::AtMostOnce)).await.unwrap();
    let one = client.publish(message("1", QoS::AtLeastOnce)).await.unwrap();
    let two = client.publish(message("2", QoS::ExactlyOnce)).await.unwrap();
    let refused = client.publish(message("3", QoS::ExactlyOnce)).await.unwrap();
    for expected in [(0, 0, "0"), (1, 1, "1"), (2, 2, "2"), (2, 3, "3")] {
        let (dup, qos, id, payload) = peer.publish().await;
        assert_eq!((dup, qos, id, payload.as_str()), (false, expected.0, expected.1, expected.2));
    }
    assert_eq!(zero.await.unwrap().reason, ReasonCode::Success);
    let quota = Ack::new(PacketIdentifier::new(1).unwrap(), ReasonCode::QuotaExceeded);
    peer.send(Packet::Puback(quota)).await;
    assert_eq!(one.await.unwrap().reason, ReasonCode::QuotaExceeded);
    peer.send(Packet::Pubrec(ack(2))).await;
    peer.expect(Packet::Pubrel(ack(2))).await;
    peer.send(Packet::Pubcomp(ack(2))).await;
    assert_eq!(two.await.unwrap().reason, ReasonCode::Success);
    let denied = Ack::new(PacketIdentifier::new(3).unwrap(), ReasonCode::NotAuthorized);
    peer.send(Packet::Pubrec(denied)).await;
    assert_eq!(refused.await.unwrap().reason, ReasonCode::NotAuthorized);
    peer.nothing().await;
}

#[tokio::test]
async fn a_kept_session_sends_again_what_is_open_and_nothing_else() {
    let server = Server::new().await;
    let (client, _incoming, mut peer) = start(&server, server.options()).await;
    let mut open = Vec::new();
    for (payload, qos) in [
        ("one", QoS::AtLeastOnce),
        ("two", QoS::ExactlyOnce),
        ("three", QoS::ExactlyOnce),
        ("four", QoS::AtLeastOnce),
    ] {
        open.push(client.publish(message(payload, qos)).await.unwrap());
        peer.publish().await;
    }
    peer.send(Packet::Pubrec(ack(2))).await;
    peer.expect(Packet::Pubrel(ack(2))).await;
    peer.send(Packet::Puback(ack(4))).await;
    open.pop().unwrap().await.unwrap();
    drop(peer);

    let mut peer = server.welcome(Version::V311, true).await;
    assert_eq!(peer.publish().await, (true, 1, 1, "one".to_owned()));
    peer.expect(Packet::Pubrel(ack(2))).await;
    assert_eq!(peer.publish().await, (true, 2, 3, "three".to_owned()));
    peer.nothing().await;
    peer.send(Packet::Puback(ack(1))).await;
    peer.send(Packet::Pubcomp(ack(2))).await;
    peer.send(Packet::Pubrec(ack(3))).await;
    peer.expect(Packet::Pubrel(ack(3))).await;
    peer.send(Packet::Pubcomp(ack(3))).await;
    for delivery in open {
        assert_eq!(delivery.await.unwrap().reason, ReasonCode::Success);
    }
}

#[tokio::test]
async fn a_lost_session_begins_exchanges_anew_but_never_repeats_what_arrived() {
    let server = Server::new().await;
    let (client, _incoming, mut peer) = start(&server, server.options()).await;
    let one = client.publish(message("one", QoS::AtLeastOnce)).await.unwrap();
    let two = client.publish(message("two", QoS::ExactlyOnce)).await.unwrap();
    let three = client.publish(message("three", QoS::ExactlyOnce)).await.unwrap();
    for _ in 0..3 {
        peer.publish().await;
    }
    // The Server has "two" now, whatever becomes of its Session.
    peer.send(Packet::Pubrec(ack(2))).await;
    peer.expect(Packet::Pubrel(ack(2))).await;
    drop(peer);

    let mut peer = server.welcome(Version::V311, false).await;
    let (dup, _, first, payload) = peer.publish().await;
    assert_eq!((dup, payload.as_str()), (false, "one"));
    let (dup, _, second, payload) = peer.publish().await;
    assert_eq!((dup, payload.as_str()), (false, "three"));
    peer.nothing().await;
    assert_eq!(two.await.unwrap().reason, ReasonCode::Success);
    peer.send(Packet::Puback(ack(first))).await;
    peer.send(Packet::Pubrec(ack(second))).await;
    peer.expect(Packet::Pubrel(ack(second))).await;
    peer.send(Packet::Pubcomp(ack(second))).await;
    one.await.unwrap();
    three.await.unwrap();
}

#[tokio::test]
async fn an_exactly_once_message_is_handed_out_once_over_reconnects() {
    let server = Server::new().await;
    let (_client, mut incoming, mut peer) = start(&server, server.options()).await;
    peer.give(QoS::ExactlyOnce, 9, false, "once").await;
    assert_eq!(payload(&mut incoming).await, "once");
    peer.expect(Packet::Pubrec(ack(9))).await;
    drop(peer);
    // The PUBREC was lost on its way.
    let mut peer = server.welcome(Version::V311, true).await;
    peer.give(QoS::ExactlyOnce, 9, true, "once").await;
    peer.expect(Packet::Pubrec(ack(9))).await;
    peer.send(Packet::Pubrel(ack(9))).await;
    peer.expect(Packet::Pubcomp(ack(9))).await;
    // Now the identifier stands for another message.
    peer.give(QoS::ExactlyOnce, 9, false, "next").await;
    assert_eq!(payload(&mut incoming).await, "next");
}

#[tokio::test]
async fn manual_acknowledgement_waits_for_the_reader_over_reconnects() {
    let server = Server::new().await;
    let mut options = server.options();
    options.acknowledge = Acknowledge::Manual;
    let (client, mut incoming, mut peer) = start(&server, options).await;
    peer.give(QoS::AtLeastOnce, 5, false, "a").await;
    peer.give(QoS::ExactlyOnce, 6, false, "b").await;
    let mut messages = Vec::new();
    for _ in 0..2 {
        let Event::Message(message) = next(&mut incoming).await else { panic!() };
        messages.push(message);
    }
    peer.nothing().await;
    client.acknowledge(&messages[1]);
    peer.expect(Packet::Pubrec(ack(6))).await;
    drop(peer);

    // The Server sends both again; the reader has them already, and only one is acknowledged.
    let mut peer = server.welcome(Version::V311, true).await;
    peer.give(QoS::AtLeastOnce, 5, true, "a").await;
    peer.give(QoS::ExactlyOnce, 6, true, "b").await;
    peer.expect(Packet::Pubrec(ack(6))).await;
    peer.nothing().await;
    client.acknowledge(&messages[0]);
    peer.expect(Packet::Puback(ack(5))).await;
    client.acknowledge(&messages[0]);
    peer.nothing().await;
}

#[tokio::test]
async fn messages_of_a_lost_session_are_not_acknowledged() {
    let server = Server::new().await;
    let mut options = server.options();
    options.acknowledge = Acknowledge::Manual;
    let (client, mut incoming, mut peer) = start(&server, options).await;
    peer.give(QoS::AtLeastOnce, 5, false, "old").await;
    let Event::Message(old) = next(&mut incoming).await else { panic!() };
    drop(peer);
    let mut peer = server.welcome(Version::V311, false).await;
    peer.give(QoS::AtLeastOnce, 5, false, "new").await;
    assert_eq!(payload(&mut incoming).await, "new");
    client.acknowledge(&old);
    peer.nothing().await;
}

#[tokio::test]
async fn subscriptions_are_made_again_only_when_the_session_is_gone() {
    let server = Server::new().await;
    let (client, _incoming, mut peer) = start(&server, server.options()).await;
    let subscribing = tokio::spawn({
        let client = client.clone();
        async move { client.subscribe("a/#", QoS::AtLeastOnce).await }
    });
    let got = peer.next().await;
    let Packet::Subscribe(subscribe) = got.packet() else { panic!("{:?}", got.packet()) };
    let packet_id = subscribe.packet_id;
    let suback = Suback { packet_id, properties: Properties::EMPTY, reason_codes: &[1] };
    peer.send(Packet::Suback(suback)).await;
    assert_eq!(subscribing.await.unwrap().unwrap().reason_codes, [1]);
    drop(peer);

    let mut peer = server.welcome(Version::V311, true).await;
    peer.nothing().await;
    drop(peer);

    let mut peer = server.welcome(Version::V311, false).await;
    let got = peer.next().await;
    let Packet::Subscribe(subscribe) = got.packet() else { panic!("{:?}", got.packet()) };
    let filters: Vec<_> = subscribe.filters.iter().map(|(filter, _)| filter).collect();
    assert_eq!(filters, ["a/#"]);
}

#[tokio::test]
async fn a_subscribe_without_an_answer_is_sent_again_on_the_next_connection() {
    let server = Server::new().await;
    let (client, _incoming, mut peer) = start(&server, server.options()).await;
    let subscribing = tokio::spawn(async move { client.subscribe("a", QoS::AtMostOnce).await });
    assert!(matches!(peer.next().await.packet(), Packet::Subscribe(_)));
    drop(peer);
    let mut peer = server.welcome(Version::V311, false).await;
    let got = peer.next().await;
    let Packet::Subscribe(subscribe) = got.packet() else { panic!("{:?}", got.packet()) };
    let packet_id = subscribe.packet_id;
    let suback = Suback { packet_id, properties: Properties::EMPTY, reason_codes: &[0x80] };
    peer.send(Packet::Suback(suback)).await;
    assert_eq!(subscribing.await.unwrap().unwrap().reason_codes, [0x80]);
}

#[tokio::test]
async fn the_window_is_kept_and_refilled_in_order() {
    let server = Server::new().await;
    let mut options = server.options();
    options.max_in_flight = 2;
    let (client, _incoming, mut peer) = start(&server, options).await;
    for number in 1..=4 {
        client.publish(message(&number.to_string(), QoS::AtLeastOnce)).await.unwrap();
    }
    assert_eq!(peer.publish().await.3, "1");
    assert_eq!(peer.publish().await.3, "2");
    peer.nothing().await;
    peer.send(Packet::Puback(ack(1))).await;
    assert_eq!(peer.publish().await.3, "3");
    peer.nothing().await;
    peer.send(Packet::Puback(ack(2))).await;
    peer.send(Packet::Puback(ack(3))).await;
    assert_eq!(peer.publish().await.3, "4");
}

#[tokio::test]
async fn a_slow_reader_stops_the_server_and_loses_nothing() {
    const MESSAGES: usize = 40_000;
    let server = Server::new().await;
    let mut options = server.options();
    // The pause must not be taken for a dead Server.
    options.keep_alive_seconds = 1;
    let (client, mut incoming, peer) = start(&server, options).await;
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        let payload = format!("{number:0>200}");
        let packet = mqtt_proto::packet::Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: None,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        packet.encode(Version::V311, &mut bytes).unwrap();
    }
    let (mut from_client, mut to_client) = peer.stream.into_split();
    let writing = tokio::spawn(async move {
        to_client.write_all(&bytes).await.unwrap();
        to_client
    });
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for number in 0..MESSAGES {
        assert_eq!(payload(&mut incoming).await, format!("{number:0>200}"));
    }
    let to_client = writing.await.unwrap();
    client.disconnect().await;
    let mut rest = Vec::new();
    from_client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&[0xE0, 0]), "no DISCONNECT in {rest:02x?}");
    drop(to_client);
}

#[tokio::test]
async fn a_silent_server_is_left_after_the_keep_alive() {
    let server = Server::new().await;
    let mut options = server.options();
    options.keep_alive_seconds = 1;
    let (_client, mut incoming, mut peer) = start(&server, options).await;
    peer.expect(Packet::Pingreq).await;
    let Event::Disconnected { lost, retry_in } = next(&mut incoming).await else { panic!() };
    assert!(matches!(lost, Lost::KeepAlive), "{lost:?}");
    assert!(retry_in.is_some());
}

#[tokio::test]
async fn a_ping_that_is_answered_keeps_the_connection() {
    let server = Server::new().await;
    let mut options = server.options();
    options.keep_alive_seconds = 1;
    let (_client, mut incoming, mut peer) = start(&server, options).await;
    for _ in 0..3 {
        peer.expect(Packet::Pingreq).await;
        peer.send(Packet::Pingresp).await;
    }
    assert!(incoming.try_next().is_none());
}

#[tokio::test]
async fn a_refused_connect_tells_the_code() {
    let server = Server::new().await;
    let (connected, ()) = tokio::join!(Client::connect(server.options()), async {
        server.accept(Version::V311).await.connack(false, 5).await;
    });
    match connected {
        Err(ConnectError::Refused(refusal)) => {
            assert_eq!((refusal.code, refusal.is_temporary()), (5, false));
        }
        other => panic!("{other:?}"),
    }
}

/// Both codes, in CONNACK and in DISCONNECT: the client says where to go, and stays away.
#[tokio::test]
async fn a_server_may_name_another_one() {
    let mut properties = PropertiesBuf::new();
    let other = Value::Text("other.example:1884");
    properties.push(PropertyId::ServerReference, other).unwrap();
    let properties = properties.as_properties();
    for reason in [ReasonCode::UseAnotherServer, ReasonCode::ServerMoved] {
        let server = Server::new().await;
        let mut options = server.options();
        options.version = Version::V5;
        let (connected, ()) = tokio::join!(Client::connect(options.clone()), async {
            let mut peer = server.accept(Version::V5).await;
            let code = reason.value();
            let refused = Connack { session_present: false, code, properties };
            peer.send(Packet::Connack(refused)).await;
        });
        match connected {
            Err(ConnectError::Refused(refusal)) => {
                assert_eq!((refusal.code, refusal.is_temporary()), (reason.value(), false));
                assert_eq!(refusal.server_reference(), Some("other.example:1884"));
            }
            other => panic!("{other:?}"),
        }

        let (_client, mut incoming, mut peer) = start(&server, options).await;
        peer.send(Packet::Disconnect(Disconnect { reason, properties })).await;
        match next(&mut incoming).await {
            Event::Disconnected { lost, retry_in } => {
                assert_eq!(lost.server_reference(), Some("other.example:1884"));
                assert_eq!(retry_in, None);
                assert!(lost.to_string().ends_with("; it names other.example:1884 instead"));
            }
            other => panic!("{other:?}"),
        }
        assert!(timeout(SILENCE, server.listener.accept()).await.is_err(), "it stays away");
    }
}

#[tokio::test]
async fn a_server_without_words_is_told_apart_from_one_that_hangs() {
    let server = Server::new().await;
    let (connected, ()) = tokio::join!(Client::connect(server.options()), async {
        drop(server.accept(Version::V311).await);
    });
    assert!(matches!(connected, Err(ConnectError::Closed)), "{connected:?}");

    let mut options = server.options();
    options.connect_timeout = Duration::from_millis(100);
    let (connected, _peer) = tokio::join!(Client::connect(options), server.accept(Version::V311));
    assert!(matches!(connected, Err(ConnectError::Timeout)), "{connected:?}");
}

#[tokio::test]
async fn a_permanent_refusal_ends_the_client_and_its_deliveries() {
    let server = Server::new().await;
    let (client, mut incoming, mut peer) = start(&server, server.options()).await;
    let open = client.publish(message("x", QoS::AtLeastOnce)).await.unwrap();
    peer.publish().await;
    drop(peer);
    assert!(matches!(next(&mut incoming).await, Event::Disconnected { retry_in: Some(_), .. }));
    server.accept(Version::V311).await.connack(false, 4).await;
    match next(&mut incoming).await {
        Event::Disconnected { lost: Lost::Reconnect(ConnectError::Refused(refusal)), retry_in } => {
            assert_eq!((refusal.code, retry_in), (4, None));
        }
        other => panic!("{other:?}"),
    }
    assert!(timeout(PATIENCE, incoming.next()).await.unwrap().is_none());
    assert_eq!(open.await, Err(RequestError::Closed));
    let after = client.publish(message("y", QoS::AtMostOnce)).await;
    assert_eq!(after.err(), Some(RequestError::Closed));
    timeout(PATIENCE, client.disconnect()).await.unwrap();
}

#[tokio::test]
async fn disconnect_does_not_wait_for_the_next_attempt() {
    let server = Server::new().await;
    let mut options = server.options();
    options.reconnect = Some(Backoff::constant(Duration::from_secs(3600)));
    let (client, mut incoming, peer) = start(&server, options).await;
    drop(peer);
    assert!(matches!(next(&mut incoming).await, Event::Disconnected { .. }));
    timeout(PATIENCE, client.disconnect()).await.unwrap();
    assert!(timeout(PATIENCE, incoming.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn dropping_everything_says_goodbye() {
    let server = Server::new().await;
    let (client, incoming, mut peer) = start(&server, server.options()).await;
    drop(client);
    drop(incoming);
    assert!(matches!(peer.next().await.packet(), Packet::Disconnect(_)));
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_and_left() {
    let server = Server::new().await;
    let mut options = server.options();
    options.version = Version::V5;
    let (_client, mut incoming, mut peer) = start(&server, options).await;
    peer.send(Packet::Pingreq).await;
    let got = peer.next().await;
    let Packet::Disconnect(disconnect) = got.packet() else { panic!("{:?}", got.packet()) };
    assert_eq!(disconnect.reason, ReasonCode::ProtocolError);
    let event = next(&mut incoming).await;
    assert!(matches!(event, Event::Disconnected { lost: Lost::Protocol(_), .. }), "{event:?}");
}

#[tokio::test]
async fn what_the_server_does_not_take_is_refused_before_it_is_sent() {
    let server = Server::new().await;
    let mut options = server.options();
    options.version = Version::V5;
    let (connected, mut peer) = tokio::join!(Client::connect(options), async {
        let mut peer = server.accept(Version::V5).await;
        let mut properties = PropertiesBuf::new();
        let limit = Value::U32(64);
        properties.push(PropertyId::MaximumPacketSize, limit).unwrap();
        let properties = properties.as_properties();
        peer.send(Packet::Connack(Connack { session_present: false, code: 0, properties })).await;
        peer
    });
    let (client, _incoming) = connected.unwrap();
    let large = client.publish(message(&"x".repeat(100), QoS::AtLeastOnce)).await.unwrap();
    assert!(matches!(large.await, Err(RequestError::Server(_))));
    let wrong = client.publish(Publish::new("a/#", "x")).await;
    assert!(matches!(wrong, Err(RequestError::Topic(_))));
    peer.nothing().await;
}
