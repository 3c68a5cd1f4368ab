//! Work to be counted by `scripts/bench-count`: `count CASE N` does one case N times.
//!
//! Each case decodes real bytes, hands them to a real shard and lets the Clients answer what it
//! writes; nothing is timed and nothing is random, so that two runs execute the same instructions.
//! The script takes the difference of two N, which leaves out setting up.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use mqtt_proto::codec::Frame;
use mqtt_proto::packet::publish::PublishHead;
use mqtt_proto::packet::subscribe::{SubscribeFilters, push_filter};
use mqtt_proto::packet::{Connect, Publish, Subscribe, SubscriptionOptions};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::topic::FilterTrie;
use mqtt_proto::{Packet, PacketIdentifier, Properties, PropertiesBuf, QoS, Version};
use mqttd_core::authenticate::Reauthentication;
use mqttd_core::control::ControlRequest;
use mqttd_core::envelope::{Envelope, Token};
use mqttd_core::event::{Admission, Event, Proof};
use mqttd_core::ids::{ConnectionKey, ListenerId, RecordId, ShardId};
use mqttd_core::letters::Letters;
use mqttd_core::message::Passing;
use mqttd_core::notice::Notice;
use mqttd_core::settings::Settings;
use mqttd_core::time::Instant;
use mqttd_core::wire::WireBuffer;
use mqttd_core::{Output, Shard};

/// A case does its work N times.
type Case = fn(u64);

const CASES: [(&str, Case); 22] = [
    ("decode-publish-qos0", |n| decode(n, Version::V311, QoS::AtMostOnce)),
    ("decode-publish-qos1-v5-properties", |n| decode(n, Version::V5, QoS::AtLeastOnce)),
    ("encode-publish-qos0", |n| encode(n, Version::V311, QoS::AtMostOnce)),
    ("encode-publish-qos1-v5-properties", |n| encode(n, Version::V5, QoS::AtLeastOnce)),
    ("match-exact-of-100", |n| matching(n, 100, topic_of)),
    ("match-exact-of-10000", |n| matching(n, 10_000, topic_of)),
    ("match-exact-of-100000", |n| matching(n, 100_000, topic_of)),
    ("match-wildcards-of-10000", |n| matching(n, 10_000, wildcard)),
    ("path-qos0", |n| path(n, Version::V311, QoS::AtMostOnce, false, 1)),
    ("path-qos1", |n| path(n, Version::V311, QoS::AtLeastOnce, false, 1)),
    ("path-qos2", |n| path(n, Version::V311, QoS::ExactlyOnce, false, 1)),
    ("path-qos1-v5", |n| path(n, Version::V5, QoS::AtLeastOnce, false, 1)),
    ("path-qos1-kept", |n| path(n, Version::V311, QoS::AtLeastOnce, true, 1)),
    ("path-qos2-kept", |n| path(n, Version::V311, QoS::ExactlyOnce, true, 1)),
    ("path-qos0-between-shards", |n| between(n, QoS::AtMostOnce)),
    ("path-qos1-between-shards", |n| between(n, QoS::AtLeastOnce)),
    ("deliver-qos0-to-100", |n| path(n, Version::V311, QoS::AtMostOnce, false, 100)),
    ("deliver-qos1-to-100", |n| path(n, Version::V311, QoS::AtLeastOnce, false, 100)),
    ("deliver-shared-qos1", shared),
    ("queue-for-absent-session", queue),
    ("retain-replace", retain),
    ("connect-subscribe-close", connect),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let [name, count] = &arguments[..] else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let case = CASES.iter().find(|(known, _)| known == name);
    match (case, count.parse()) {
        (Some((_, case)), Ok(count)) => {
            case(count);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: count CASE N; without arguments it lists the cases");
            ExitCode::from(2)
        }
    }
}

const TOPIC: &str = "site/7/device/1234/state";
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// The Packet Identifier stands behind the header and the topic.
const PACKET_ID_AT: usize = 2 + 2 + TOPIC.len();

fn properties(version: Version) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if version == Version::V5 {
        for (id, value) in [
            (PropertyId::MessageExpiryInterval, Value::U32(3600)),
            (PropertyId::ContentType, Value::Text("application/json")),
            (PropertyId::UserProperty, Value::Pair("source", "sensor")),
        ] {
            properties.push(id, value).expect("short");
        }
    }
    properties
}

fn publish(topic: &str, version: Version, qos: QoS, retain: bool, rich: bool) -> Vec<u8> {
    let properties = if rich { properties(version) } else { PropertiesBuf::new() };
    let publish = Publish {
        dup: false,
        qos,
        retain,
        topic,
        packet_id: (qos != QoS::AtMostOnce).then(|| id(1)),
        properties: properties.as_properties(),
        payload: &PAYLOAD,
    };
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes).expect("short");
    bytes
}

fn id(value: u16) -> PacketIdentifier {
    PacketIdentifier::new(value).expect("above 0")
}

fn decode(count: u64, version: Version, qos: QoS) {
    let bytes = publish(TOPIC, version, qos, false, true);
    for _ in 0..count {
        let bytes = black_box(&bytes[..]);
        let frame = Frame::peek(bytes, 1 << 20).expect("a frame").expect("whole");
        black_box(Packet::decode(version, frame, bytes).expect("a packet"));
    }
}

fn encode(count: u64, version: Version, qos: QoS) {
    let properties = properties(version);
    let mut out = Vec::with_capacity(4096);
    for _ in 0..count {
        out.clear();
        let head = PublishHead {
            dup: false,
            qos,
            retain: false,
            topic: black_box(TOPIC),
            packet_id: (qos != QoS::AtMostOnce).then(|| id(1)),
            properties: [&[], properties.as_properties().as_bytes()],
            payload_len: PAYLOAD.len(),
        };
        head.encode(version, &mut out).expect("short");
        out.extend_from_slice(black_box(&PAYLOAD));
        black_box(&out);
    }
}

/// Filters of all kinds; a few of them match a topic.
fn wildcard(number: u64) -> String {
    let (site, device) = (number % 50, number);
    match number % 4 {
        0 => format!("site/{site}/device/{device}/state"),
        1 => format!("site/+/device/{device}/state"),
        2 => format!("site/{site}/device/{device}/#"),
        _ => format!("+/{site}/+/{device}/state"),
    }
}

/// The cost of one topic must not depend on how many filters there are.
fn matching(count: u64, filters: u64, filter: fn(u64) -> String) {
    let mut trie = FilterTrie::new(7);
    for number in 0..filters {
        *trie.get_or_insert_with(&filter(number), || 0u64) += 1;
    }
    let topics: Vec<_> = (0..64).map(|it| it * 151 % filters).map(topic_of).collect();
    for turn in 0..count {
        let mut found = 0;
        trie.visit(black_box(&topics[turn as usize % topics.len()]), |value| found += value);
        black_box(found);
    }
}

fn topic_of(number: u64) -> String {
    format!("site/{}/device/{number}/state", number % 50)
}

/// Connections as buffers in memory; records are counted and dropped.
#[derive(Default)]
struct Sockets {
    wires: Vec<WireBuffer>,
    record_bytes: usize,
    closed: usize,
    /// By shard; there are at most two.
    outbox: [Letters; 2],
}

impl Output for Sockets {
    fn control(&mut self, _: ConnectionKey, request: ControlRequest<'_>) {
        panic!("nobody here has a request to the Server: {request:?}");
    }

    fn authenticate(&mut self, _: ConnectionKey, request: Reauthentication<'_>) {
        panic!("no Client here has named an Authentication Method: {request:?}");
    }

    fn wire(&mut self, to: ConnectionKey) -> &mut WireBuffer {
        &mut self.wires[to.0 as usize]
    }

    fn flush(&mut self, to: ConnectionKey) -> usize {
        let wire = &mut self.wires[to.0 as usize];
        wire.consume(wire.len());
        0
    }

    fn pause(&mut self, _: ConnectionKey) {}

    fn resume(&mut self, _: ConnectionKey) {}

    fn close(&mut self, _connection: ConnectionKey) {
        self.closed += 1;
    }

    fn to_shard(&mut self, to: ShardId, envelope: Envelope) {
        self.outbox[usize::from(to.0)].push(envelope);
    }

    fn message_to_shard(&mut self, to: ShardId, message: &mut Passing<'_>, confirm: Option<Token>) {
        self.outbox[usize::from(to.0)].push_message(message, confirm);
    }

    fn put(&mut self, _id: RecordId, body: &[u8]) {
        self.record_bytes += black_box(body).len();
    }

    fn kill(&mut self, id: RecordId) {
        black_box(id);
    }

    fn is_held_back(&self, _: RecordId) -> bool {
        false
    }

    fn is_in_log(&self, _: RecordId) -> bool {
        true
    }

    fn notice(&mut self, notice: Notice<'_>) {
        black_box(notice);
    }
}

/// One shard and its Clients.
struct World {
    id: ShardId,
    shard: Shard,
    sockets: Sockets,
    version: Version,
    keeps: bool,
}

const NOW: Instant = Instant(1_700_000_000_000);

impl World {
    fn new(version: Version, keeps: bool) -> Self {
        Self::one_of(1, ShardId(0), version, keeps)
    }

    fn one_of(shards: u8, id: ShardId, version: Version, keeps: bool) -> Self {
        let settings =
            Settings { persistence: keeps, queued_messages_max: None, ..Settings::default() };
        let shard = Shard::new(id, shards, Arc::new(settings), 7);
        Self { id, shard, sockets: Sockets::default(), version, keeps }
    }

    /// Hands what waits for the other shard over to it, as at the end of a turn. Their buffers
    /// change places, as those of a body do in the end.
    #[inline]
    fn pass_to(&mut self, other: &mut World) {
        let place = usize::from(other.id.0);
        let mut letters = std::mem::take(&mut self.sockets.outbox[place]);
        letters.open(self.id, |event| other.shard.handle(event, NOW, &mut other.sockets));
        self.sockets.outbox[place] = letters;
    }

    /// Hands over what the shard has for itself. False: there was nothing.
    fn pass_own(&mut self) -> bool {
        let mut letters = std::mem::take(&mut self.sockets.outbox[usize::from(self.id.0)]);
        let has_some = !letters.is_empty();
        letters.open(self.id, |event| self.shard.handle(event, NOW, &mut self.sockets));
        has_some
    }

    fn join(&mut self, client_id: &str, clean_start: bool) -> ConnectionKey {
        let connection = ConnectionKey(self.sockets.wires.len() as u32);
        self.sockets.wires.push(WireBuffer::default());
        self.join_as(connection, client_id, clean_start);
        connection
    }

    fn join_as(&mut self, connection: ConnectionKey, client_id: &str, clean_start: bool) {
        let connect = Connect {
            version: self.version,
            is_bridge: false,
            clean_start,
            keep_alive_seconds: 60,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
        };
        let listener = ListenerId(0);
        let admission = Admission {
            connection,
            connect,
            client_id,
            username: None,
            listener,
            sessions_elsewhere: 0,
            proof: Proof::None,
            proved_under: None,
            authenticated: None,
        };
        self.shard.handle(Event::Connect(admission), NOW, &mut self.sockets);
        self.expect_answer(connection, 0x20);
    }

    fn subscribe(&mut self, connection: ConnectionKey, filter: &str, qos: QoS) {
        self.say_subscribe(connection, filter, qos);
        self.expect_answer(connection, 0x90);
    }

    fn say_subscribe(&mut self, connection: ConnectionKey, filter: &str, qos: QoS) {
        let mut filters = Vec::new();
        push_filter(&mut filters, filter, SubscriptionOptions::with_qos(qos)).expect("short");
        let subscribe = Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: SubscribeFilters::from_pushed(&filters),
        });
        self.say(connection, &subscribe);
    }

    fn say(&mut self, connection: ConnectionKey, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("short");
        self.feed(connection, &bytes);
    }

    /// What a body does with the bytes of one packet in one turn.
    #[inline]
    fn feed(&mut self, connection: ConnectionKey, bytes: &[u8]) {
        let bytes = black_box(bytes);
        let frame = Frame::peek(bytes, 1 << 20).expect("a frame").expect("whole");
        let packet = Packet::decode(self.version, frame, bytes).expect("a packet");
        self.shard.handle(Event::Packet(connection, packet), NOW, &mut self.sockets);
        if self.keeps {
            let appended = self.shard.appended();
            self.shard.handle(Event::Durable(appended), NOW, &mut self.sockets);
        }
    }

    /// The first byte of what a Client was sent, and its Packet Identifier at the place given; all
    /// of it has then been written.
    #[inline]
    fn hear(&mut self, connection: ConnectionKey, id_at: usize) -> Option<(u8, [u8; 2])> {
        let wire = &mut self.sockets.wires[connection.0 as usize];
        let bytes = wire.chunks().next()?;
        let heard = match bytes.get(id_at..id_at + 2) {
            Some(id) => (bytes[0], [id[0], id[1]]),
            None => (bytes[0], [0, 0]),
        };
        wire.consume(wire.len());
        Some(heard)
    }

    fn expect_answer(&mut self, connection: ConnectionKey, first_byte: u8) {
        let heard = self.hear(connection, 2);
        assert_eq!(heard.map(|(first, _)| first), Some(first_byte));
    }

    /// A receiver takes its message and finishes the exchange.
    #[inline]
    fn finish(&mut self, receiver: ConnectionKey, qos: QoS) {
        let (first, packet_id) = self.hear(receiver, PACKET_ID_AT).expect("a message");
        assert_eq!(first, 0x30 | (qos as u8) << 1);
        let [high, low] = packet_id;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.feed(receiver, &[0x40, 2, high, low]),
            QoS::ExactlyOnce => {
                self.feed(receiver, &[0x50, 2, high, low]);
                assert_eq!(self.hear(receiver, 2), Some((0x62, packet_id)));
                self.feed(receiver, &[0x70, 2, high, low]);
            }
        }
    }

    /// A sender says its message and finishes the exchange.
    #[inline]
    fn send(&mut self, sender: ConnectionKey, publish: &[u8], qos: QoS) {
        self.feed(sender, publish);
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => assert_eq!(self.hear(sender, 2), Some((0x40, [0, 1]))),
            QoS::ExactlyOnce => {
                assert_eq!(self.hear(sender, 2), Some((0x50, [0, 1])));
                self.feed(sender, &[0x62, 2, 0, 1]);
                assert_eq!(self.hear(sender, 2), Some((0x70, [0, 1])));
            }
        }
    }
}

/// One message from one Client to `receivers` others, with everything both sides answer.
fn path(count: u64, version: Version, qos: QoS, keeps: bool, receivers: usize) {
    let mut world = World::new(version, keeps);
    let sender = world.join("sender", true);
    let receivers: Vec<_> =
        (0..receivers).map(|it| world.join(&format!("receiver-{it}"), !keeps)).collect();
    for receiver in &receivers {
        world.subscribe(*receiver, TOPIC, qos);
    }
    let bytes = publish(TOPIC, version, qos, false, false);
    for _ in 0..count {
        world.send(sender, &bytes, qos);
        for receiver in &receivers {
            world.finish(*receiver, qos);
        }
    }
    assert_eq!(keeps && qos != QoS::AtMostOnce && count > 0, world.sockets.record_bytes > 0);
}

/// One message from one Client to another of another shard.
fn between(count: u64, qos: QoS) {
    let mut here = World::one_of(2, ShardId(0), Version::V311, false);
    let mut there = World::one_of(2, ShardId(1), Version::V311, false);
    let sender = here.join("sender", true);
    let receiver = there.join("receiver", true);
    there.say_subscribe(receiver, TOPIC, qos);
    // Interest and its answer, then the question for retained messages and that answer.
    for _ in 0..3 {
        there.pass_to(&mut here);
        here.pass_to(&mut there);
        // The question for retained messages follows the SUBACK, at the next tick.
        there.shard.handle(Event::Tick, NOW, &mut there.sockets);
        while there.pass_own() {}
    }
    there.expect_answer(receiver, 0x90);
    let bytes = publish(TOPIC, Version::V311, qos, false, false);
    for _ in 0..count {
        here.send(sender, &bytes, qos);
        here.pass_to(&mut there);
        there.finish(receiver, qos);
    }
}

/// One message for a group of four.
fn shared(count: u64) {
    let qos = QoS::AtLeastOnce;
    let mut world = World::new(Version::V311, false);
    let sender = world.join("sender", true);
    let members: Vec<_> = (0..4).map(|it| world.join(&format!("member-{it}"), true)).collect();
    for member in &members {
        world.subscribe(*member, &format!("$share/group/{TOPIC}"), qos);
    }
    let bytes = publish(TOPIC, Version::V311, qos, false, false);
    for _ in 0..count {
        world.send(sender, &bytes, qos);
        let waits = |it: &&ConnectionKey| !world.sockets.wires[it.0 as usize].is_empty();
        let chosen = *members.iter().find(waits).expect("one member gets the message");
        world.finish(chosen, qos);
    }
}

fn queue(count: u64) {
    let mut world = World::new(Version::V311, false);
    let sender = world.join("sender", true);
    let absent = world.join("absent", false);
    world.subscribe(absent, TOPIC, QoS::AtLeastOnce);
    world.shard.handle(Event::Closed(absent), NOW, &mut world.sockets);
    let bytes = publish(TOPIC, Version::V311, QoS::AtLeastOnce, false, false);
    for _ in 0..count {
        world.send(sender, &bytes, QoS::AtLeastOnce);
    }
    assert_eq!(world.sockets.wires[absent.0 as usize].len(), 0);
}

fn retain(count: u64) {
    let mut world = World::new(Version::V311, false);
    let sender = world.join("sender", true);
    let kept = |number| publish(&topic_of(number), Version::V311, QoS::AtMostOnce, true, false);
    let messages: Vec<_> = (0..64).map(kept).collect();
    for turn in 0..count {
        world.send(sender, &messages[turn as usize % messages.len()], QoS::AtMostOnce);
    }
}

/// A Client comes, subscribes and goes, among 1,000 others.
fn connect(count: u64) {
    let mut world = World::new(Version::V311, false);
    for number in 0..1000 {
        let other = world.join(&format!("other-{number}"), true);
        world.subscribe(other, &topic_of(number), QoS::AtMostOnce);
    }
    let guest = world.join("guest-0", true);
    for _ in 0..count {
        world.shard.handle(Event::Closed(guest), NOW, &mut world.sockets);
        world.join_as(guest, "guest-0", true);
        world.subscribe(guest, TOPIC, QoS::AtLeastOnce);
    }
}
