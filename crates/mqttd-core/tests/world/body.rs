//! The body of the test world: mailboxes, sockets and a log, all in plain collections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mqtt_proto::Version;
use mqtt_proto::codec::Frame;
use mqttd_core::Output;
use mqttd_core::authenticate::Reauthentication;
use mqttd_core::control::ControlRequest;
use mqttd_core::envelope::Envelope;
use mqttd_core::ids::{ConnectionKey, RecordId, ShardId};
use mqttd_core::notice::Notice;
use mqttd_core::record::Record;
use mqttd_core::wire::WireBuffer;

use super::said::Said;

/// With `LOUD=1` in the environment the letters, records and commits are printed.
pub fn is_loud() -> bool {
    static LOUD: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *LOUD.get_or_init(|| std::env::var_os("LOUD").is_some())
}

/// One end of a connection.
pub struct Socket {
    pub shard: usize,
    pub key: ConnectionKey,
    pub version: Version,
    pub wire: WireBuffer,
    /// The Client's Maximum Packet Size; no test's Client ever gets a larger packet.
    pub packet_bytes_max: usize,
    /// What the Client has received and the test has not looked at.
    pub heard: VecDeque<Said>,
    /// The Client takes bytes.
    pub reads: bool,
    /// The shard was told of bytes left over.
    pub owes_writable: bool,
    /// Closed by the Server or cut.
    pub is_closed: bool,
    /// The shard wants no more packets now.
    pub is_paused: bool,
}

/// One change of the log.
pub enum Change {
    Put(RecordId, Vec<u8>),
    Kill(RecordId),
}

impl Change {
    fn id(&self) -> RecordId {
        match self {
            Self::Put(id, _) | Self::Kill(id) => *id,
        }
    }
}

/// The log of one shard.
#[derive(Default)]
pub struct Log {
    /// What is kept.
    pub live: BTreeMap<RecordId, Vec<u8>>,
    /// Handed over and not kept yet.
    pub pending: Vec<Change>,
    /// Changes kept or refused so far.
    pub settled: u64,
    /// Records whose last change it refused.
    pub held_back: BTreeSet<RecordId>,
    /// What it refused.
    pub refused: Vec<Change>,
}

impl Log {
    /// Keeps everything handed over so far.
    pub fn commit(&mut self) {
        self.settled += self.pending.len() as u64;
        let changes = std::mem::take(&mut self.pending);
        self.take(changes);
    }

    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            // What comes later counts.
            self.refused.retain(|refused| refused.id() != change.id());
            match change {
                Change::Put(id, bytes) => {
                    self.held_back.remove(&id);
                    self.live.insert(id, bytes);
                }
                Change::Kill(id) => {
                    self.live.remove(&id);
                }
            }
        }
    }

    /// Keeps nothing of what was handed over.
    pub fn refuse(&mut self) {
        self.settled += self.pending.len() as u64;
        self.held_back.extend(self.pending.iter().map(Change::id));
        self.refused.append(&mut self.pending);
    }

    /// Takes what it has refused, but for messages if not `complete`.
    pub fn recover(&mut self, complete: bool) {
        self.held_back.clear();
        let is_message = |change: &Change| {
            let Change::Put(_, body) = change else { return false };
            matches!(Record::decode(body), Ok(Record::Message { .. }))
        };
        let mut changes = std::mem::take(&mut self.refused);
        changes.retain(|change| complete || !is_message(change));
        self.take(changes);
    }
}

/// Everything outside the shards.
#[derive(Default)]
pub struct Body {
    pub sockets: Vec<Socket>,
    /// By shard, then connection key: the socket's number.
    pub keys: Vec<Vec<Option<usize>>>,
    pub mail: BTreeMap<(usize, usize), VecDeque<Envelope>>,
    pub logs: Vec<Log>,
    /// Bytes leave only when the log has all records handed over before.
    pub is_gated: bool,
    /// A log has refused something.
    pub refused_once: bool,
    pub notices: Vec<String>,
    /// Requests to the Server that are under way: shard, connection, and who wants what.
    pub requests: VecDeque<(usize, ConnectionKey, String)>,
}

impl Body {
    /// Lets a socket's Client read what waits.
    pub fn drain(&mut self, number: usize) {
        let socket = &mut self.sockets[number];
        if !socket.reads || (self.is_gated && !self.logs[socket.shard].pending.is_empty()) {
            return;
        }
        let bytes = socket.wire.chunks().collect::<Vec<_>>().concat();
        socket.wire.consume(bytes.len());
        let mut rest = &bytes[..];
        while let Some(frame) = Frame::peek(rest, usize::MAX).expect("the Server writes frames") {
            let max = socket.packet_bytes_max;
            assert!(frame.len <= max, "{} bytes for a Client that takes {max}", frame.len);
            socket.heard.push_back(Said::decode(socket.version, frame, rest));
            rest = &rest[frame.len..];
        }
        assert!(rest.is_empty(), "the Server writes whole packets");
    }
}

/// A shard's way out for one event.
pub struct Out<'a> {
    pub body: &'a mut Body,
    pub shard: usize,
}

impl Out<'_> {
    fn number(&self, key: ConnectionKey) -> usize {
        self.body.keys[self.shard][key.0 as usize].expect("the shard writes to open connections")
    }
}

impl Output for Out<'_> {
    fn authenticate(&mut self, _: ConnectionKey, request: Reauthentication<'_>) {
        panic!("no Client here has named an Authentication Method: {request:?}");
    }

    fn control(&mut self, connection: ConnectionKey, request: ControlRequest<'_>) {
        let user = request.username.unwrap_or("-");
        let payload = String::from_utf8_lossy(request.payload);
        let text = format!("{}/{user} {} {payload}", request.client_id, request.topic);
        self.body.requests.push_back((self.shard, connection, text));
    }

    fn wire(&mut self, to: ConnectionKey) -> &mut WireBuffer {
        let number = self.number(to);
        &mut self.body.sockets[number].wire
    }

    fn flush(&mut self, to: ConnectionKey) -> usize {
        let number = self.number(to);
        self.body.drain(number);
        let socket = &mut self.body.sockets[number];
        socket.owes_writable |= !socket.wire.is_empty();
        socket.wire.len()
    }

    fn pause(&mut self, connection: ConnectionKey) {
        let number = self.number(connection);
        assert!(!std::mem::replace(&mut self.body.sockets[number].is_paused, true));
    }

    fn resume(&mut self, connection: ConnectionKey) {
        let number = self.number(connection);
        assert!(std::mem::replace(&mut self.body.sockets[number].is_paused, false));
    }

    fn close(&mut self, connection: ConnectionKey) {
        let number = self.number(connection);
        self.body.drain(number);
        self.body.sockets[number].is_closed = true;
        self.body.keys[self.shard][connection.0 as usize] = None;
    }

    fn to_shard(&mut self, to: ShardId, envelope: Envelope) {
        assert_ne!(usize::from(to.0), self.shard, "a shard writes no letters to itself");
        let mailbox = (self.shard, usize::from(to.0));
        self.body.mail.entry(mailbox).or_default().push_back(envelope);
    }

    fn put(&mut self, id: RecordId, body: &[u8]) {
        if is_loud() {
            println!("shard {} puts {id:?} {:?}", self.shard, Record::decode(body));
        }
        self.body.logs[self.shard].pending.push(Change::Put(id, body.to_vec()));
    }

    fn kill(&mut self, id: RecordId) {
        let log = &mut self.body.logs[self.shard];
        let put = |change: &Change| matches!(change, Change::Put(put, _) if *put == id);
        let killed = |change: &Change| matches!(change, Change::Kill(killed) if *killed == id);
        let last = log.pending.iter().rev().find(|change| put(change) || killed(change));
        let is_live = match last {
            Some(change) => put(change),
            None => log.live.contains_key(&id),
        };
        // After a refusal the shard may kill what the log never took.
        assert!(is_live || self.body.refused_once, "a record is killed once: {id:?}");
        log.pending.push(Change::Kill(id));
    }

    fn is_held_back(&self, id: RecordId) -> bool {
        self.body.logs[self.shard].held_back.contains(&id)
    }

    fn is_in_log(&self, id: RecordId) -> bool {
        self.body.logs[self.shard].live.contains_key(&id)
    }

    fn notice(&mut self, notice: Notice<'_>) {
        self.body.notices.push(format!("{notice:?}"));
    }
}
