//! What stands around a shard: connections, mailboxes, the log's surroundings, `Output`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use mqtt_proto::Version;
use mqttd_conf::LogType;
use mqttd_core::authenticate::Reauthentication;
use mqttd_core::control::ControlRequest;
use mqttd_core::envelope::{Envelope, Token};
use mqttd_core::ids::{ConnectionKey, Lsn, RecordId, ShardId};
use mqttd_core::letters::Letters;
use mqttd_core::message::Passing;
use mqttd_core::notice::Notice;
use mqttd_core::settings::Settings;
use mqttd_core::wire::WireBuffer;
use mqttd_core::{Output, Shard};
use mqttd_durability::{Durability, Outcome};
use mqttd_store::{DiskMem, SyncDone, SyncJob};

use crate::network::Pipe;

/// What the log of a shard finds around it.
pub(crate) struct Surroundings {
    pub(crate) shard: usize,
    pub(crate) shared: Rc<Shared>,
}

/// What all logs of one world share.
pub(crate) struct Shared {
    base: Monotonic,
    pub(crate) now: Cell<u64>,
    pub(crate) jobs: RefCell<Vec<(usize, SyncJob<DiskMem>)>>,
    pub(crate) lines: RefCell<Vec<String>>,
}

impl Shared {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            base: Monotonic::now(),
            now: Cell::new(0),
            jobs: RefCell::default(),
            lines: RefCell::default(),
        })
    }

    pub(crate) fn monotonic(&self, at: u64) -> Monotonic {
        self.base + Duration::from_millis(at)
    }

    /// The world's time for one of the log's.
    pub(crate) fn millis(&self, at: Monotonic) -> u64 {
        let since = at.saturating_duration_since(self.base);
        since.as_millis() as u64 + u64::from(since.subsec_nanos() % 1_000_000 > 0)
    }
}

impl mqttd_durability::Around for Surroundings {
    type Disk = DiskMem;

    fn now(&self) -> Monotonic {
        self.shared.monotonic(self.shared.now.get())
    }

    fn say(&self, _: LogType, words: fmt::Arguments<'_>) {
        self.shared.lines.borrow_mut().push(words.to_string());
    }

    fn run(&self, job: SyncJob<DiskMem>) {
        self.shared.jobs.borrow_mut().push((self.shard, job));
    }
}

/// One item in a shard's mailbox, as in `mqttd`.
pub(crate) enum Item {
    Letters(ShardId, Letters),
    /// The connection with this number.
    Admit(usize),
    Settings(Arc<Settings>, usize),
    Synced(SyncDone),
    Shutdown,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// CONNECT is not whole.
    Lobby,
    /// In a shard's mailbox.
    Waiting,
    Open,
    /// The shard has closed it; what waits is written.
    Draining,
    /// Nothing passes any more.
    Gone,
}

/// A connection from both ends.
pub(crate) struct Link {
    pub(crate) who: usize,
    pub(crate) version: Version,
    pub(crate) to_broker: Pipe,
    pub(crate) to_client: Pipe,
    pub(crate) state: State,
    pub(crate) shard: usize,
    pub(crate) key: u32,
    /// Beginnings of packets.
    pub(crate) unread: Vec<u8>,
    pub(crate) connect: Vec<u8>,
    pub(crate) wire: WireBuffer,
    pub(crate) is_touched: bool,
    pub(crate) is_behind: bool,
    /// The network has told the broker that it is broken.
    pub(crate) is_broken: bool,
    /// A DISCONNECT without will was handed to the shard.
    pub(crate) left: bool,
    /// Bytes handed to the network, and by when the shard had written up to which byte.
    pub(crate) bytes_out: u64,
    pub(crate) marks: VecDeque<(u64, u64)>,
    pub(crate) listed: bool,
    /// The shard wants no more packets of it for a while.
    pub(crate) is_paused: bool,
}

impl Link {
    /// Writes what the kernel takes. True when nothing is left.
    pub(crate) fn write(&mut self, now: u64, room: usize) -> Result<bool, ()> {
        if self.is_broken {
            return Err(());
        }
        while !self.wire.is_empty() {
            let space = room.saturating_sub(self.to_client.held);
            if space == 0 {
                self.is_behind = true;
                return Ok(false);
            }
            let mut bytes = Vec::new();
            for chunk in self.wire.chunks() {
                let part = chunk.len().min(space - bytes.len());
                bytes.extend_from_slice(&chunk[..part]);
            }
            self.wire.consume(bytes.len());
            self.bytes_out += bytes.len() as u64;
            self.to_client.send(bytes, now);
        }
        Ok(true)
    }

    /// Everything that waits was written by the shard at `now`.
    pub(crate) fn mark(&mut self, now: u64) {
        let end = self.bytes_out + self.wire.len() as u64;
        if self.marks.back().is_none_or(|(last, _)| *last < end) {
            self.marks.push_back((end, now));
        }
    }
}

/// A shard with its body.
pub(crate) struct Body {
    pub(crate) shard: Shard,
    pub(crate) out: Out,
    pub(crate) wake_at: Option<u64>,
    pub(crate) closing: VecDeque<(u64, u32)>,
}

/// The part that the shard writes into.
pub(crate) struct Out {
    /// By connection key; the links of this shard. Taken out of the world for the turn.
    pub(crate) links: BTreeMap<u32, usize>,
    pub(crate) touched: Vec<u32>,
    pub(crate) closed: Vec<u32>,
    pub(crate) outbox: Vec<Letters>,
    pub(crate) durability: Option<Durability<Surroundings>>,
    pub(crate) disk: DiskMem,
    pub(crate) appended: Lsn,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) now: u64,
    pub(crate) room: usize,
    pub(crate) notices: Vec<(ConnectionKey, bool)>,
    /// A connection is read again.
    pub(crate) has_resumed: bool,
    /// All connections of the world, lent for the turn.
    pub(crate) all: Vec<Link>,
}

impl Out {
    pub(crate) fn link(&mut self, key: u32) -> Option<&mut Link> {
        let number = *self.links.get(&key)?;
        self.all.get_mut(number)
    }

    fn touch(&mut self, key: u32) -> &mut Link {
        let number = self.links[&key];
        let link = &mut self.all[number];
        if !link.is_touched {
            link.is_touched = true;
            self.touched.push(key);
        }
        link
    }

    pub(crate) fn touch_again(&mut self, key: u32) {
        self.touch(key);
    }

    /// The process has died in the middle of a write.
    pub(crate) fn is_dead(&self) -> bool {
        self.disk.is_stopped()
    }

    pub(crate) fn commit(&mut self) {
        if let Some(durability) = &mut self.durability {
            match durability.commit(self.appended) {
                Outcome::Nothing => {}
                outcome => self.outcomes.push(outcome),
            }
        }
    }
}

impl Output for Out {
    fn control(&mut self, _: ConnectionKey, request: ControlRequest<'_>) {
        panic!("nobody here has a request to the Server: {request:?}");
    }

    fn authenticate(&mut self, _: ConnectionKey, request: Reauthentication<'_>) {
        panic!("nobody here has named an Authentication Method: {request:?}");
    }

    fn wire(&mut self, to: ConnectionKey) -> &mut WireBuffer {
        &mut self.touch(to.0).wire
    }

    fn flush(&mut self, to: ConnectionKey) -> usize {
        self.commit();
        let (now, room, is_dead) = (self.now, self.room, self.is_dead());
        let link = &mut self.all[self.links[&to.0]];
        link.mark(now);
        if !is_dead {
            // A broken one is seen at the end of the turn.
            let _ = link.write(now, room);
        }
        link.wire.len()
    }

    fn pause(&mut self, connection: ConnectionKey) {
        let number = self.links[&connection.0];
        assert!(!std::mem::replace(&mut self.all[number].is_paused, true));
    }

    fn resume(&mut self, connection: ConnectionKey) {
        let number = self.links[&connection.0];
        let link = &mut self.all[number];
        assert!(std::mem::replace(&mut link.is_paused, false));
        link.listed = false;
        self.has_resumed = true;
    }

    fn close(&mut self, connection: ConnectionKey) {
        let link = self.touch(connection.0);
        if link.state == State::Open {
            link.state = State::Draining;
            self.closed.push(connection.0);
        }
    }

    fn to_shard(&mut self, to: ShardId, envelope: Envelope) {
        self.outbox[usize::from(to.0)].push(envelope);
    }

    fn message_to_shard(&mut self, to: ShardId, message: &mut Passing<'_>, confirm: Option<Token>) {
        self.outbox[usize::from(to.0)].push_message(message, confirm);
    }

    fn put(&mut self, id: RecordId, body: &[u8]) {
        self.appended.0 += 1;
        if let Some(durability) = &mut self.durability {
            durability.put(id, body);
        }
    }

    fn kill(&mut self, id: RecordId) {
        self.appended.0 += 1;
        if let Some(durability) = &mut self.durability {
            durability.kill(id);
        }
    }

    fn is_held_back(&self, id: RecordId) -> bool {
        self.durability.as_ref().is_some_and(|durability| durability.is_held_back(id))
    }

    fn is_in_log(&self, id: RecordId) -> bool {
        self.durability.as_ref().is_some_and(|durability| durability.is_in_log(id))
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Connected { connection, .. } => self.notices.push((connection, true)),
            Notice::Disconnected { connection, .. } => self.notices.push((connection, false)),
            _ => {}
        }
    }
}
