//! The turn of a shard: take all that is ready up to a bound, hand it to the shard, write its records,
//! write each touched socket once.
//!
//! ```text
//!   mailbox ─▶ timers ─▶ ready sockets ─▶ commit ─▶ Durable ─▶ other mailboxes ─▶ one write per socket
//!      ▲                      │
//!      └── looked at again before what a socket brought is handled
//! ```
//! The last arrow is the law that makes a subscription effective on every shard before its SUBACK: what
//! another shard sent before a Client could know of it is handled before that Client's packets.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant as Monotonic};

use mqtt_proto::codec::Frame;
use mqtt_proto::{Offence, Packet, Version};
use mqttd_core::event::{Admission, Event};
use mqttd_core::ids::{ConnectionKey, ShardId};
use mqttd_core::settings::Settings;
use mqttd_core::Shard;
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};

use super::connection::{Connection, ReadOutcome, State};
use super::output::Body;
use super::ready::{ConnectionWaker, ReadyList};
use crate::clock::Clock;
use crate::durability::{Durability, Outcome};
use crate::logging::Logger;
use crate::mailbox::{Item, Mailbox, Newcomer, ShardReport, Transport};

/// Bytes read from one socket in one turn: as much as the kernel usually has, and little enough that
/// others get their turn.
const READ_BYTES: usize = 64 * 1024;

/// Beginnings of packets up to this size are moved in front of the next read instead of being kept
/// in a buffer of the connection's.
const MOVED_BYTES_MAX: usize = 8 * 1024;

/// Output that may wait for a connection before nothing more is read from it: a Client that does not
/// read its answers does not get to ask for more.
const UNREAD_OUTPUT_MAX: usize = mqttd_core::limits::OUTPUT_BYTES_MAX;

/// How long a connection that the shard has closed may take to be written and shut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The same while the broker stops: nobody should wait for a Client that does not read.
const STOP_CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// One shard with its body: a future that ends when the shard has been shut down.
pub(crate) struct ShardTask {
    shard: Shard,
    body: Body,
    mailbox: Arc<Mailbox>,
    ready: Arc<ReadyList>,
    clock: Clock,
    settings: Arc<Settings>,
    items: Vec<Item>,
    keys: Vec<u32>,
    read_buffer: Box<[u8]>,
    /// Connections being closed and when patience ends; in the order of time.
    closing: std::collections::VecDeque<(Monotonic, u32, mqttd_core::time::Instant)>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Monotonic>,
    /// To be told once every connection is closed.
    closing_all: Option<oneshot::Sender<()>>,
    is_closing_all: bool,
    connects_received: u64,
    /// To be told once the log is closed; then the task ends.
    stopping: Option<oneshot::Sender<()>>,
}

impl ShardTask {
    pub(crate) fn new(
        shard: Shard,
        id: ShardId,
        mailboxes: Vec<Arc<Mailbox>>,
        durability: Option<Durability>,
        settings: Arc<Settings>,
        (clock, logger): (Clock, Logger),
    ) -> Self {
        let body = Body {
            id,
            connections: Slab::new(),
            touched: Vec::new(),
            closed: Vec::new(),
            outbox: mailboxes.iter().map(|_| Vec::new()).collect(),
            mailboxes,
            durability,
            appended: shard.appended(),
            outcomes: Vec::new(),
            pool: Vec::new(),
            bytes_received: 0,
            bytes_sent: 0,
            now: clock.now(),
            logger,
        };
        Self {
            mailbox: Arc::clone(&body.mailboxes[usize::from(id.0)]),
            shard,
            body,
            ready: Arc::new(ReadyList::default()),
            clock,
            settings,
            items: Vec::new(),
            keys: Vec::new(),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            closing: std::collections::VecDeque::new(),
            timer: Box::pin(sleep_until(Monotonic::now().into())),
            timer_at: None,
            closing_all: None,
            is_closing_all: false,
            connects_received: 0,
            stopping: None,
        }
    }

    /// The shard's output, for what is restored before the first turn.
    pub(crate) fn parts(&mut self) -> (&mut Shard, &mut Body) {
        (&mut self.shard, &mut self.body)
    }

    fn turn(&mut self) {
        self.body.now = self.clock.now();
        self.open_mailbox();
        self.tick();
        self.serve_ready();
        self.keep_records();
        self.body.send_outbox();
        self.mailbox.sessions.store(self.shard.session_count(), Ordering::Relaxed);
        self.write_touched();
        self.end_closing();
    }

    fn handle(&mut self, event: Event<'_>) {
        let now = self.body.now;
        self.shard.handle(event, now, &mut self.body);
    }

    // === Mailbox ===

    fn open_mailbox(&mut self) {
        let mut items = mem::take(&mut self.items);
        self.mailbox.take(&mut items);
        for item in items.drain(..) {
            self.open(item);
        }
        self.items = items;
    }

    fn open(&mut self, item: Item) {
        match item {
            Item::Envelopes(from, envelopes) => {
                for envelope in envelopes {
                    self.handle(Event::FromShard(from, envelope));
                }
            }
            Item::Admit(newcomer) => self.admit(*newcomer),
            Item::Publish { topic, payload, retain } => self.handle(Event::Publish {
                topic: &topic,
                payload: &payload,
                qos: mqtt_proto::QoS::ExactlyOnce,
                retain,
            }),
            Item::Settings(settings) => {
                self.settings = Arc::clone(&settings);
                self.handle(Event::Settings(settings));
            }
            Item::Stats(answer) => {
                let report = ShardReport {
                    stats: self.shard.stats(),
                    bytes_received: self.body.bytes_received,
                    bytes_sent: self.body.bytes_sent,
                    bytes_waiting: self.body.connections.iter().map(|(_, c)| c.wire.len() as u64).sum(),
                    connects_received: self.connects_received,
                    store: self.body.durability.as_ref().map(Durability::stats),
                };
                // Nobody waits any more when the broker stops.
                let _ = answer.send(report);
            }
            Item::Synced(done) => {
                if let Some(durability) = &mut self.body.durability {
                    let outcome = durability.synced(done);
                    self.body.outcomes.push(outcome);
                }
            }
            Item::SyncNow => {
                if let Some(durability) = &mut self.body.durability {
                    durability.start_sync();
                }
            }
            Item::Shutdown(done) => {
                self.closing_all = Some(done);
                self.is_closing_all = true;
                self.handle(Event::Shutdown);
            }
            Item::Stop(done) => self.stopping = Some(done),
        }
    }

    fn admit(&mut self, newcomer: Newcomer) {
        if self.is_closing_all {
            return;
        }
        let stream = match newcomer.transport {
            Transport::Here(stream) => stream,
            Transport::Moved(detached) => match detached.attach() {
                Ok(stream) => stream,
                Err(_) => return, // the socket broke on its way
            },
        };
        let entry = self.body.connections.vacant_entry();
        let key = entry.key() as u32;
        let place = ConnectionWaker::new(&self.ready, key);
        let frame = Frame::peek(&newcomer.connect, usize::MAX).ok().flatten();
        let packet = frame
            .and_then(|frame| Packet::decode(Version::V311, frame, &newcomer.connect).ok());
        let Some(Packet::Connect(connect)) = packet else {
            return; // the lobby has decoded it before
        };
        let about = (newcomer.peer, self.body.now, newcomer.permit);
        let mut connection =
            Connection::new(stream, connect.version, place, about);
        connection.about.bytes_received = (newcomer.connect.len() + newcomer.rest.len()) as u64;
        connection.unread = newcomer.rest;
        connection.list();
        entry.insert(connection);
        self.connects_received += 1;
        self.handle(Event::Connect(Admission {
            connection: ConnectionKey(key),
            connect,
            client_id: &newcomer.client_id,
            username: newcomer.username.as_deref(),
            listener: newcomer.listener,
            sessions_elsewhere: self.sessions_elsewhere(),
        }));
    }

    fn sessions_elsewhere(&self) -> u32 {
        let others = self.body.mailboxes.iter().filter(|other| !Arc::ptr_eq(other, &self.mailbox));
        others.map(|other| other.sessions.load(Ordering::Relaxed)).sum()
    }

    // === Time ===

    fn tick(&mut self) {
        if self.shard.deadline().is_some_and(|due| due <= self.body.now) {
            self.handle(Event::Tick);
        }
        if let Some(durability) = &mut self.body.durability {
            if durability.sync_due().is_some_and(|due| due <= Monotonic::now()) {
                durability.start_sync();
            }
        }
    }

    /// When the next turn must come without anything arriving; `None` in the inner value: at once.
    fn next_deadline(&self) -> Option<Monotonic> {
        let shard = self.shard.deadline().map(|at| self.clock.when(at));
        let sync = self.body.durability.as_ref().and_then(Durability::sync_due);
        let closing = self.closing.front().map(|(at, ..)| *at);
        [shard, sync, closing].into_iter().flatten().min()
    }

    // === Sockets ===

    fn serve_ready(&mut self) {
        let mut keys = mem::take(&mut self.keys);
        self.ready.take(&mut keys);
        for key in keys.drain(..) {
            let Some(connection) = self.body.connections.get_mut(key as usize) else { continue };
            connection.unlist();
            if mem::take(&mut connection.is_blocked) {
                self.body.touch(key);
            }
            self.read(key);
        }
        self.keys = keys;
    }

    /// Reads from one socket and handles what came; at most once a turn, then others are served.
    fn read(&mut self, key: u32) {
        let connection = &mut self.body.connections[key as usize];
        match connection.state {
            State::Open => {}
            State::Draining => return self.advance_closing(key),
            State::Lingering => return self.discard(key),
        }
        if connection.wire.len() > UNREAD_OUTPUT_MAX {
            return; // listed again when it has been written
        }
        let mut kept = mem::take(&mut connection.unread);
        let mut buffer = mem::take(&mut self.read_buffer);
        if kept.len() < MOVED_BYTES_MAX {
            let at = kept.len();
            buffer[..at].copy_from_slice(&kept);
            let outcome = connection.read(&mut buffer[at..]);
            let len = self.after_read(key, &outcome, at);
            let used = self.handle_packets(key, &buffer[..len]);
            let more = matches!(outcome, ReadOutcome::Bytes(_));
            self.keep_unread(key, &buffer[used..len], kept, more);
        } else {
            // The rest of a large packet: room follows the bytes that have arrived.
            let at = kept.len();
            kept.resize(at + READ_BYTES.max(at / 4).min(room_for(&kept)), 0);
            let outcome = self.body.connections[key as usize].read(&mut kept[at..]);
            let len = self.after_read(key, &outcome, at);
            kept.truncate(len);
            let used = self.handle_packets(key, &kept);
            kept.drain(..used);
            let more = matches!(outcome, ReadOutcome::Bytes(_));
            if let Some(connection) = self.body.connections.get_mut(key as usize) {
                connection.unread = kept;
                if more {
                    connection.list();
                }
            }
        }
        self.read_buffer = buffer;
    }

    /// Counts a read. Returns how much of the buffer is filled.
    fn after_read(&mut self, key: u32, outcome: &ReadOutcome, at: usize) -> usize {
        match outcome {
            ReadOutcome::Bytes(count) => {
                self.body.bytes_received += *count as u64;
                // See the head of the file.
                if self.mailbox.has_items() {
                    self.open_mailbox();
                }
                at + count
            }
            ReadOutcome::Pending => at,
            ReadOutcome::Ended => {
                self.handle(Event::Closed(ConnectionKey(key)));
                0
            }
        }
    }

    fn keep_unread(&mut self, key: u32, rest: &[u8], mut kept: Vec<u8>, more: bool) {
        let connection = &mut self.body.connections[key as usize];
        kept.clear();
        if connection.state == State::Open {
            kept.extend_from_slice(rest);
            if more {
                // Reading until the socket has no more also arms its waker.
                connection.list();
            }
        }
        connection.unread = kept;
    }

    /// Hands every whole packet at the front of `bytes` to the shard. Returns the bytes used.
    fn handle_packets(&mut self, key: u32, bytes: &[u8]) -> usize {
        let version = self.body.connections[key as usize].version;
        let packet_max = self.settings.packet_bytes_max as usize;
        let debug = self.settings.debug;
        let mut used = 0;
        while self.body.connections[key as usize].state == State::Open {
            let rest = &bytes[used..];
            let packet = match Frame::peek(rest, packet_max) {
                Ok(None) => return used,
                Ok(Some(frame)) => {
                    used += frame.len;
                    Packet::decode(version, frame, rest)
                }
                Err(offence) => Err(offence),
            };
            match packet {
                Ok(packet) => {
                    self.body.connections[key as usize].about.packets_received += 1;
                    if debug {
                        let client_id = self.shard.client_id(ConnectionKey(key));
                        self.body.received(client_id.unwrap_or_default(), &packet);
                    }
                    self.handle(Event::Packet(ConnectionKey(key), packet));
                }
                Err(offence) => self.offend(key, offence),
            }
        }
        bytes.len()
    }

    fn offend(&mut self, key: u32, offence: Offence) {
        self.handle(Event::Offence(ConnectionKey(key), offence));
    }

    /// What a Client sends after it has been told to go is thrown away.
    fn discard(&mut self, key: u32) {
        let mut buffer = mem::take(&mut self.read_buffer);
        let connection = &mut self.body.connections[key as usize];
        match connection.read(&mut buffer) {
            ReadOutcome::Bytes(_) => connection.list(),
            ReadOutcome::Pending => {}
            ReadOutcome::Ended => self.remove(key),
        }
        self.read_buffer = buffer;
    }

    // === The end of the turn ===

    /// Writes the records and tells the shard, until it has no more to say.
    fn keep_records(&mut self) {
        loop {
            self.body.commit();
            if self.body.outcomes.is_empty() {
                return;
            }
            for outcome in mem::take(&mut self.body.outcomes) {
                match outcome {
                    Outcome::Nothing => {}
                    Outcome::Durable(lsn) => self.handle(Event::Durable(lsn)),
                    Outcome::Refused(lsn) => self.handle(Event::NotDurable(lsn)),
                }
            }
        }
    }

    fn write_touched(&mut self) {
        let mut touched = mem::take(&mut self.body.touched);
        for key in touched.drain(..) {
            let Some(connection) = self.body.connections.get_mut(key as usize) else { continue };
            connection.is_touched = false;
            let sent_before = connection.about.bytes_sent;
            let result = connection.write();
            self.body.bytes_sent += connection.about.bytes_sent - sent_before;
            match result {
                Ok(false) => {}
                Ok(true) => {
                    connection.give_memory(&mut self.body.pool);
                    let was_behind = mem::take(&mut connection.is_behind);
                    if connection.state != State::Open {
                        self.advance_closing(key);
                    } else if was_behind {
                        connection.list();
                        self.handle(Event::Writable(ConnectionKey(key)));
                    }
                }
                Err(error) => {
                    connection.about.error = Some(error);
                    if connection.state == State::Open {
                        self.handle(Event::Closed(ConnectionKey(key)));
                    }
                    self.body.closed.retain(|closed| *closed != key);
                    self.remove(key);
                }
            }
        }
        // What was touched meanwhile is written in the next turn, which comes at once.
        touched.append(&mut self.body.touched);
        self.body.touched = touched;
    }

    /// Moves a connection that the shard has closed towards its end: once all is written, the sending
    /// side is shut, and the Client's closing is waited for.
    fn advance_closing(&mut self, key: u32) {
        let Some(connection) = self.body.connections.get_mut(key as usize) else { return };
        if connection.state != State::Draining || !connection.wire.is_empty() {
            return;
        }
        match connection.shut() {
            Ok(true) => {
                connection.state = State::Lingering;
                connection.list();
            }
            Ok(false) => {}
            Err(_) => self.remove(key),
        }
    }

    /// Gives up on connections that take too long to end.
    fn end_closing(&mut self) {
        let now = Monotonic::now();
        for key in mem::take(&mut self.body.closed) {
            if let Some(connection) = self.body.connections.get(key as usize) {
                let patience =
                    if self.is_closing_all { STOP_CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
                self.closing.push_back((now + patience, key, connection.about.since));
            }
        }
        while let Some(&(until, key, since)) = self.closing.front() {
            if until > now {
                return;
            }
            self.closing.pop_front();
            let connection = self.body.connections.get(key as usize);
            if connection.is_some_and(|c| c.about.since == since && c.state != State::Open) {
                self.remove(key);
            }
        }
    }

    fn remove(&mut self, key: u32) {
        self.body.connections.try_remove(key as usize);
    }

    /// Everything that a stop waits for is done.
    fn has_stopped(&mut self) -> bool {
        if self.body.connections.is_empty() {
            if let Some(done) = self.closing_all.take() {
                // Whoever asked may have given up waiting.
                let _ = done.send(());
            }
        }
        self.stopping.is_some()
            && !self.mailbox.has_items()
            && !self.body.durability.as_ref().is_some_and(Durability::is_syncing)
    }
}

impl Future for ShardTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        task.mailbox.register(cx.waker());
        task.ready.register(cx.waker());
        task.turn();
        if task.has_stopped() {
            if let Some(durability) = &mut task.body.durability {
                durability.close();
            }
            if let Some(done) = task.stopping.take() {
                let _ = done.send(());
            }
            return Poll::Ready(());
        }
        let more = task.mailbox.has_items()
            || !task.ready.is_empty()
            || !task.body.touched.is_empty()
            || task.body.outbox.iter().any(|envelopes| !envelopes.is_empty());
        if more {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let deadline = task.next_deadline();
        if let Some(at) = deadline {
            if task.timer_at != Some(at) {
                task.timer.as_mut().reset(at.into());
                task.timer_at = Some(at);
            }
            if task.timer.as_mut().poll(cx).is_ready() {
                task.timer_at = None;
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

/// Bytes that the packet in `kept` still needs, at least one.
fn room_for(kept: &[u8]) -> usize {
    Frame::announced_len(kept).map_or(READ_BYTES, |len| len.saturating_sub(kept.len())).max(1)
}
