//! A shard's mailbox: what other threads have for it, in order, taken all at once.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use mqtt_net::{Detached, PeerAddress, Stream};
use mqtt_proto::QoS;
use mqttd_core::event::Proof;
use mqttd_core::ids::{ConnectionKey, ListenerId, ShardId};
use mqttd_core::letters::Letters;
use mqttd_core::settings::Settings;
use mqttd_core::stats::Stats;
use mqttd_store::SyncDone;
use std::sync::Arc;
use tokio::sync::oneshot;

use crate::authenticate::Answer;
use crate::drops::DropReport;
use crate::durability::StoreReport;
use crate::permit::Permit;

/// One thing for a shard.
pub(crate) enum Item {
    /// A connection whose CONNECT has been read and whose user has been verified.
    Admit(Box<Newcomer>),
    /// What has become of a step of a Client that authenticates again.
    Authenticated(Box<Answer>),
    /// The request of this connection is done and answered.
    ControlDone { connection: ConnectionKey, serial: u64 },
    /// From another shard, in the order it was sent.
    Letters(ShardId, Letters),
    /// A message of the Server's own.
    Publish { topic: String, payload: Vec<u8>, qos: QoS, retain: bool },
    /// A reloaded configuration.
    Settings(Arc<Settings>),
    /// Subscriptions are asked for, as lines for people (SIGUSR2).
    Subscriptions(oneshot::Sender<Vec<String>>),
    /// Counters are asked for.
    Stats(oneshot::Sender<ShardReport>),
    /// What was dropped last, and for whom.
    Drops(oneshot::Sender<DropReport>),
    /// A sync of the store has ended.
    Synced(SyncDone),
    /// Write what is unwritten to the device now (SIGUSR1).
    SyncNow,
    /// Close the connections of this listener, which a reload took away.
    CloseListener(ListenerId),
    /// Close every connection; answer when they are closed. Messages of other shards still come.
    Shutdown(oneshot::Sender<()>),
    /// Bring the log to the device and end; answer when that is done.
    Stop(oneshot::Sender<()>),
}

/// What a shard and its body have counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardReport {
    pub(crate) stats: Stats,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// Bytes in output buffers now.
    pub(crate) bytes_waiting: u64,
    /// Bytes of packets whose rest has not arrived, or is not to be handled yet.
    pub(crate) bytes_unread: u64,
    /// CONNECT packets received.
    pub(crate) connects_received: u64,
    pub(crate) store: Option<StoreReport>,
}

impl ShardReport {
    /// Adds another shard's counters.
    pub(crate) fn add(&mut self, other: &Self) {
        self.stats.add(&other.stats);
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.bytes_waiting += other.bytes_waiting;
        self.bytes_unread += other.bytes_unread;
        self.connects_received += other.connects_received;
        if let Some(theirs) = other.store {
            let sum = self.store.get_or_insert_default();
            sum.state = sum.state.max(theirs.state);
            let (mine, theirs) = (&mut sum.stats, theirs.stats);
            mine.live_records += theirs.live_records;
            mine.log_bytes += theirs.log_bytes;
            mine.segments += theirs.segments;
            mine.caller_bytes += theirs.caller_bytes;
            mine.written_bytes += theirs.written_bytes;
            mine.commits += theirs.commits;
            mine.refused += theirs.refused;
            mine.syncs += theirs.syncs;
            mine.damaged_records += theirs.damaged_records;
        }
    }
}

/// A connection on its way from the lobby to its shard.
pub(crate) struct Newcomer {
    pub(crate) transport: Transport,
    /// The worker whose runtime has the socket, if one has.
    pub(crate) worker: usize,
    pub(crate) peer: PeerAddress,
    pub(crate) listener: ListenerId,
    pub(crate) permit: Permit,
    /// The whole CONNECT packet.
    pub(crate) connect: Vec<u8>,
    /// What came behind it.
    pub(crate) rest: Vec<u8>,
    pub(crate) client_id: String,
    pub(crate) username: Option<String>,
    pub(crate) proof: Proof,
    /// The settings under which it was let in.
    pub(crate) settings: Arc<Settings>,
    /// Authentication Data for the CONNACK, when it has come in by enhanced authentication.
    pub(crate) authentication_data: Option<Vec<u8>>,
}

/// A stream of this thread's runtime, or one that has been taken off its own.
pub(crate) enum Transport {
    Here(Stream),
    Moved(Detached),
}

/// See the file's head.
#[derive(Default)]
pub(crate) struct Mailbox {
    items: Mutex<Vec<Item>>,
    /// Whether `items` may hold something; read before every packet that was read from a socket.
    is_full: AtomicBool,
    waker: AtomicWaker,
    /// Sessions of the shard at the end of its last turn.
    pub(crate) sessions: AtomicU32,
    /// The worker that runs the shard.
    worker: AtomicUsize,
}

impl Mailbox {
    /// The worker that runs the shard now, as far as this thread knows.
    pub(crate) fn worker(&self) -> usize {
        self.worker.load(Ordering::Relaxed)
    }

    pub(crate) fn set_worker(&self, worker: usize) {
        self.worker.store(worker, Ordering::Relaxed);
    }

    /// Adds an item and wakes the shard.
    pub(crate) fn send(&self, item: Item) {
        self.items.lock().expect("no holder of the lock can panic").push(item);
        self.is_full.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Takes everything that is there. `into` is empty and lends its memory.
    pub(crate) fn take(&self, into: &mut Vec<Item>) {
        debug_assert!(into.is_empty());
        if self.is_full.swap(false, Ordering::AcqRel) {
            mem::swap(into, &mut self.items.lock().expect("no holder of the lock can panic"));
        }
    }

    /// Something has come since the last [`Mailbox::take`].
    #[inline]
    pub(crate) fn has_items(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// Who is to be woken by the next item.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
