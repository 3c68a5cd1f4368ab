//! The broker's brain: two shards, four connections, a log, and Clients that send what the input
//! says. Input: a byte that says what happens, and to whom; then, for a packet, its bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mqtt_proto::codec::Frame;
use mqtt_proto::packet::Connect;
use mqtt_proto::property::PropertyId;
use mqtt_proto::{Packet, Properties, ReasonCode, Version};
use mqttd_core::authenticate::Reauthentication;
use mqttd_core::begun::settle_exchanges;
use mqttd_core::control::ControlRequest;
use mqttd_core::envelope::Envelope;
use mqttd_core::event::{Admission, Proof};
use mqttd_core::ids::{ConnectionKey, ListenerId, RecordId, ShardId};
use mqttd_core::notice::Notice;
use mqttd_core::restore::Restore;
use mqttd_core::settings::Settings;
use mqttd_core::time::Instant;
use mqttd_core::wire::WireBuffer;
use mqttd_core::{Event, Output, Shard};

/// Shards of the broker.
pub(crate) const SHARDS: u8 = 2;
const CONNECTIONS: usize = 4;

/// What leaves the shards.
#[derive(Default)]
struct Outside {
    /// Of the shard whose turn it is.
    here: u8,
    wires: [WireBuffer; CONNECTIONS],
    /// Version and shard of those that are connected.
    open: [Option<(Version, u8)>; CONNECTIONS],
    mail: VecDeque<(u8, u8, Envelope)>,
    records: [BTreeMap<RecordId, Vec<u8>>; SHARDS as usize],
}

impl Outside {
    /// Every byte the broker has sent belongs to a packet that a Client can read.
    fn read_wire(&mut self, connection: usize, version: Version) {
        let wire = &mut self.wires[connection];
        let bytes: Vec<u8> = wire.chunks().flatten().copied().collect();
        wire.consume(bytes.len());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let frame = Frame::peek(rest, 1 << 28).expect("a length").expect("a whole packet");
            let packet = Packet::decode(version, frame, rest);
            packet.unwrap_or_else(|offence| panic!("{offence:?}: {:02x?}", &rest[..frame.len]));
            rest = &rest[frame.len..];
        }
    }
}

impl Output for Outside {
    // Nobody carries it out: the Client waits, as for a slow one.
    fn control(&mut self, _: ConnectionKey, _: ControlRequest<'_>) {}

    fn wire(&mut self, to: ConnectionKey) -> &mut WireBuffer {
        &mut self.wires[to.0 as usize]
    }

    fn flush(&mut self, to: ConnectionKey) -> usize {
        self.wires[to.0 as usize].len()
    }

    fn pause(&mut self, _: ConnectionKey) {}

    fn resume(&mut self, _: ConnectionKey) {}

    fn close(&mut self, connection: ConnectionKey) {
        let connection = connection.0 as usize;
        if let Some((version, _)) = self.open[connection].take() {
            self.read_wire(connection, version);
        }
    }

    fn authenticate(&mut self, connection: ConnectionKey, _: Reauthentication<'_>) {
        panic!("nobody has named an Authentication Method: {connection:?}");
    }

    fn to_shard(&mut self, to: ShardId, envelope: Envelope) {
        assert!(to.0 != self.here && to.0 < SHARDS, "mail for {to:?}");
        self.mail.push_back((self.here, to.0, envelope));
    }

    fn put(&mut self, id: RecordId, body: &[u8]) {
        let read = Restore::default().record(id, body);
        assert!(read.is_ok(), "a record that no start can read: {body:02x?}");
        self.records[usize::from(self.here)].insert(id, body.to_vec());
    }

    fn kill(&mut self, id: RecordId) {
        let known = self.records[usize::from(self.here)].remove(&id);
        assert!(known.is_some(), "{id:?} was not there");
    }

    fn is_held_back(&self, _: RecordId) -> bool {
        false
    }

    fn is_in_log(&self, id: RecordId) -> bool {
        self.records[usize::from(self.here)].contains_key(&id)
    }

    fn notice(&mut self, _: Notice<'_>) {}
}

struct World {
    shards: Vec<Shard>,
    outside: Outside,
    now: Instant,
}

impl World {
    fn new(persistence: bool) -> Self {
        let settings = Arc::new(Settings { persistence, ..Settings::default() });
        let make = |id| Shard::new(ShardId(id), SHARDS, Arc::clone(&settings), 7);
        let shards = (0..SHARDS).map(make).collect();
        Self { shards, outside: Outside::default(), now: Instant(1_000_000) }
    }

    fn handle(&mut self, shard: u8, event: Event<'_>) {
        self.outside.here = shard;
        self.shards[usize::from(shard)].handle(event, self.now, &mut self.outside);
    }

    /// Mail arrives and the logs keep what they were given, until nothing is left to do.
    fn settle(&mut self) {
        loop {
            for shard in 0..SHARDS {
                let appended = self.shards[usize::from(shard)].appended();
                self.handle(shard, Event::Durable(appended));
            }
            let Some((from, to, envelope)) = self.outside.mail.pop_front() else { break };
            self.handle(to, Event::FromShard(ShardId(from), envelope));
        }
        for connection in 0..CONNECTIONS {
            if let Some((version, shard)) = self.outside.open[connection] {
                self.outside.read_wire(connection, version);
                self.handle(shard, Event::Writable(ConnectionKey(connection as u32)));
            }
        }
    }

    fn connect(&mut self, connection: usize, connect: Connect<'_>) {
        // What the body looks at before the shard does.
        if connect.properties.text(PropertyId::AuthenticationMethod).is_some() {
            return;
        }
        let made = format!("made-{connection}");
        let client_id = if connect.client_id.is_empty() { &made } else { connect.client_id };
        let shard = Shard::of_client(client_id, SHARDS).0;
        self.outside.open[connection] = Some((connect.version, shard));
        let username = connect.username;
        let admission = Admission {
            connection: ConnectionKey(connection as u32),
            connect,
            client_id,
            username,
            listener: ListenerId(0),
            sessions_elsewhere: 0,
            proof: Proof::None,
            proved_under: None,
            authenticated: None,
        };
        self.handle(shard, Event::Connect(admission));
    }

    /// The next packet of the input comes on this connection. Returns what is behind it.
    fn receive<'i>(&mut self, connection: usize, input: &'i [u8]) -> &'i [u8] {
        let key = ConnectionKey(connection as u32);
        let open = self.outside.open[connection];
        let version = open.map_or(Version::V5, |(version, _)| version);
        let Ok(Some(frame)) = Frame::peek(input, 1 << 16) else { return &[] };
        match (Packet::decode(version, frame, input), open) {
            (Ok(Packet::Connect(connect)), None) => self.connect(connection, connect),
            (Ok(packet), Some((_, shard))) => self.handle(shard, Event::Packet(key, packet)),
            (Err(offence), Some((_, shard))) => self.handle(shard, Event::Offence(key, offence)),
            (_, None) => {}
        }
        &input[frame.len..]
    }
}

/// Whatever Clients do, the broker says only what they can read, its records can be read again, and
/// what it takes back from the log was there.
pub fn broker(bytes: &[u8]) {
    let [options, rest @ ..] = bytes else { return };
    let mut world = World::new(options & 1 == 0);
    let mut rest = rest;
    while let [what, behind @ ..] = rest {
        rest = behind;
        let connection = usize::from(*what) % CONNECTIONS;
        let key = ConnectionKey(connection as u32);
        match what >> 2 {
            0..=47 => rest = world.receive(connection, rest),
            48..=55 => {
                if let Some((version, shard)) = world.outside.open[connection].take() {
                    world.outside.read_wire(connection, version);
                    world.handle(shard, Event::Closed(key));
                }
            }
            56..=59 => {
                world.now = world.now.plus_millis(1 << ((what >> 2 & 3) * 6));
                (0..SHARDS).for_each(|shard| world.handle(shard, Event::Tick));
            }
            60 => {
                if let Some((_, shard)) = world.outside.open[connection] {
                    world.handle(shard, Event::End(key, ReasonCode::AdministrativeAction));
                }
            }
            _ => {}
        }
        // Otherwise the next events come before the mail and before the log has kept anything.
        if what & 0x40 == 0 {
            world.settle();
        }
    }
    world.settle();
}

/// A broker starts with these records of its shards, which are readable; as many of the sessions'
/// Clients as there is room for come back, time passes, and all that holds of [`broker`] holds.
pub(crate) fn starts_with(
    records: Vec<BTreeMap<RecordId, Vec<u8>>>,
    client_ids: &BTreeSet<String>,
) {
    let mut world = World::new(true);
    let mut restores = Vec::new();
    for (shard, records) in records.into_iter().enumerate() {
        let mut restore = Restore::default();
        for (id, body) in &records {
            restore.record(*id, body).expect("a readable record");
        }
        restores.push(restore);
        world.outside.records[shard] = records;
    }
    settle_exchanges(&mut restores);
    for (shard, restore) in (0..SHARDS).zip(restores) {
        world.outside.here = shard;
        restore.finish(&mut world.shards[usize::from(shard)], world.now, &mut world.outside);
    }
    world.settle();
    for (connection, client_id) in client_ids.iter().take(CONNECTIONS).enumerate() {
        let version = if connection % 2 == 0 { Version::V311 } else { Version::V5 };
        let connect = Connect {
            version,
            is_bridge: false,
            clean_start: false,
            keep_alive_seconds: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
        };
        world.connect(connection, connect);
        world.settle();
    }
    world.now = world.now.plus_millis(1 << 40);
    (0..SHARDS).for_each(|shard| world.handle(shard, Event::Tick));
    world.settle();
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frame = |first: u8, body: &[u8]| [&[0, first, body.len() as u8][..], body].concat();
    let connect = |level: u8, id: u8| match level {
        5 => frame(0x10, &[0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 60, 5, 17, 0, 0, 0, 9, 0, 1, id]),
        _ => frame(0x10, &[0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 1, id]),
    };
    let on = |connection: u8, mut packet: Vec<u8>| {
        packet[0] = connection;
        packet
    };
    let subscribe = frame(0x82, &[0, 1, 0, 1, b'a', 2]);
    let subscribe_5 = frame(0x82, &[0, 1, 0, 0, 3, b'a', b'/', b'#', 1]);
    let share = frame(0x82, b"\0\x02\0\0\x0a$share/g/a\x01");
    let retained = frame(0x33, &[0, 1, b'a', 0, 7, b'x']);
    let exactly = frame(0x34, &[0, 1, b'a', 0, 8, b'y']);
    let release = frame(0x62, &[0, 8]);
    let gone = vec![48 << 2];
    let later = vec![58 << 2];
    vec![
        [&[0][..], &connect(4, b'a'), &subscribe, &retained, &exactly, &release].concat(),
        [&[0][..], &connect(5, b'b'), &subscribe_5, &on(1, connect(4, b'c')), &on(1, retained)]
            .concat(),
        [&[1][..], &connect(5, b'b'), &share, &on(1, connect(4, b'd')), &on(1, exactly.clone())]
            .concat(),
        [
            &[0][..],
            &connect(4, b'a'),
            &subscribe,
            &gone,
            &on(1, connect(4, b'e')),
            &on(1, exactly),
            &later,
            &connect(4, b'a'),
            &release,
        ]
        .concat(),
    ]
}
