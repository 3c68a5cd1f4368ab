//! The turn of a shard: take all that is ready up to a bound, hand it to the shard, write its
//! records, write each touched socket once.
//!
//! ```text
//!   mailbox ─▶ timers ─▶ ready sockets ─▶ commit ─▶ Durable ─▶ mailboxes ─▶ one write per socket
//!      ▲                      │
//!      └── looked at again before what a socket brought is handled
//! ```
//! The last arrow is the law that makes a subscription effective on every shard before its SUBACK:
//! what another shard sent before a Client could know of it is handled before that Client's
//! packets.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant as Monotonic;

use mqtt_proto::codec::Frame;
use mqtt_proto::property::PropertyId;
use mqtt_proto::{Packet, ReasonCode, Version};
use mqttd_core::Shard;
use mqttd_core::authenticate::{Authenticated, Outcome as AuthOutcome};
use mqttd_core::event::{Admission, Event};
use mqttd_core::ids::{ConnectionKey, ShardId};
use mqttd_core::letters::Letters;
use mqttd_core::settings::Settings;
use slab::Slab;
use tokio::sync::oneshot;

use super::connection::{Connection, State};
use super::output::Body;
use super::pool::Pool;
use super::reading::READ_BYTES;
use super::ready::{ConnectionWaker, ReadyList};
use crate::alarm::Alarm;
use crate::authenticate::{Answer, Requests, Step};
use crate::clock::Clock;
use crate::control;
use crate::drops::DropReport;
use crate::durability::{Durability, Outcome};
use crate::logging::Logger;
use crate::mailbox::{Item, Mailbox, Newcomer, ShardReport, Transport};
use crate::placement::Placement;

/// One shard with its body: a future that ends when the shard has been shut down.
pub(crate) struct ShardTask {
    pub(super) shard: Shard,
    pub(super) body: Body,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) ready: Arc<ReadyList>,
    clock: Clock,
    pub(super) settings: Arc<Settings>,
    items: Vec<Item>,
    pub(super) keys: Vec<u32>,
    pub(super) read_buffer: Box<[u8]>,
    /// Connections being closed and when patience ends; in the order of time.
    pub(super) closing: std::collections::VecDeque<(Monotonic, u32, mqttd_core::time::Instant)>,
    /// Connections that are not read before a time, with their serial numbers.
    pub(super) paused: std::collections::BTreeMap<(Monotonic, u32), u64>,
    /// Belongs to the runtime of the worker the shard is on.
    pub(super) alarm: Option<Alarm>,
    /// The worker this task runs on, and where it should.
    pub(super) worker: usize,
    placement: Arc<Placement>,
    /// To be told once every connection is closed.
    closing_all: Option<oneshot::Sender<()>>,
    pub(super) is_closing_all: bool,
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
        (clock, logger, (requests, control)): (Clock, Logger, (Requests, control::Requests)),
        placement: Arc<Placement>,
    ) -> Self {
        let body = Body {
            id,
            connections: Slab::new(),
            touched: Vec::new(),
            closed: Vec::new(),
            outbox: mailboxes.iter().map(|_| Letters::default()).collect(),
            spare: Vec::new(),
            mailboxes,
            durability,
            appended: shard.appended(),
            outcomes: Vec::new(),
            pool: Pool::default(),
            bytes_received: 0,
            bytes_sent: 0,
            now: clock.now(),
            logger,
            requests,
            control,
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
            paused: std::collections::BTreeMap::new(),
            alarm: None,
            worker: 0,
            placement,
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

    pub(super) fn turn(&mut self, begun: Monotonic) {
        self.body.now = self.clock.at(begun);
        self.open_mailbox();
        self.tick();
        self.end_pauses();
        self.serve_ready();
        self.keep_records();
        self.body.send_outbox(self.settings.memory.as_ref());
        self.mailbox.sessions.store(self.shard.session_count(), Ordering::Relaxed);
        self.write_touched();
        self.end_closing();
    }

    pub(super) fn handle(&mut self, event: Event<'_>) {
        let now = self.body.now;
        self.shard.handle(event, now, &mut self.body);
    }

    /// As [`ShardTask::handle`], where it is worth being compiled for this one kind of event.
    #[inline(always)]
    pub(super) fn handle_packet(&mut self, key: u32, packet: Packet<'_>) {
        let event = Event::Packet(ConnectionKey(key), packet);
        self.shard.handle(event, self.body.now, &mut self.body);
    }

    // === Mailbox ===

    pub(super) fn open_mailbox(&mut self) {
        let mut items = mem::take(&mut self.items);
        self.mailbox.take(&mut items);
        for item in items.drain(..) {
            self.open(item);
        }
        self.items = items;
    }

    fn open(&mut self, item: Item) {
        match item {
            Item::Letters(from, mut letters) => {
                letters.open(from, |event| self.handle(event));
                self.body.give_letters(letters);
            }
            Item::Authenticated(answer) => self.authenticated(*answer),
            Item::Admit(newcomer) => self.admit(*newcomer),
            Item::Publish { topic, payload, qos, retain } => {
                let (topic, payload) = (&topic[..], &payload[..]);
                self.handle(Event::Publish { topic, payload, qos, retain });
            }
            Item::ControlDone { connection, serial } => {
                let found = self.body.connections.get(connection.0 as usize);
                if found.is_some_and(|found| found.serial == serial) {
                    self.handle(Event::ControlDone(connection));
                }
            }
            Item::Settings(settings) => {
                self.settings = Arc::clone(&settings);
                self.handle(Event::Settings(settings));
            }
            Item::Subscriptions(answer) => {
                let line = |(client, filter, qos): (&str, String, mqtt_proto::QoS)| {
                    format!("{filter} {} {client}", qos as u8)
                };
                let _ = answer.send(self.shard.subscriptions().map(line).collect());
            }
            Item::Stats(answer) => {
                let report = self.report();
                // Nobody waits any more when the broker stops.
                let _ = answer.send(report);
            }
            Item::Drops(answer) => {
                // Nobody waits any more when the broker stops.
                let _ = answer.send(DropReport::of(&self.shard));
            }
            Item::Synced(done) => {
                if let Some(durability) = &mut self.body.durability {
                    let outcomes = durability.synced(done);
                    self.body.outcomes.extend(outcomes);
                }
            }
            Item::SyncNow => {
                if let Some(durability) = &mut self.body.durability {
                    durability.start_sync();
                }
            }
            Item::CloseListener(listener) => self.handle(Event::CloseListener(listener)),
            Item::Shutdown(done) => {
                self.closing_all = Some(done);
                self.is_closing_all = true;
                self.handle(Event::Shutdown);
            }
            Item::Stop(done) => self.stopping = Some(done),
        }
    }

    /// What `$SYS` and the metrics want to know.
    fn report(&self) -> ShardReport {
        ShardReport {
            stats: self.shard.stats(),
            bytes_received: self.body.bytes_received,
            bytes_sent: self.body.bytes_sent,
            bytes_unread: self.body.connections.iter().map(|(_, c)| c.unread_len() as u64).sum(),
            bytes_waiting: self.body.connections.iter().map(|(_, c)| c.wire.len() as u64).sum(),
            connects_received: self.connects_received,
            store: self.body.durability.as_ref().map(Durability::report),
        }
    }

    fn admit(&mut self, newcomer: Newcomer) {
        if self.is_closing_all || newcomer.permit.is_closed() {
            return;
        }
        let stream = match newcomer.transport {
            // The shard has moved since the lobby looked where it was.
            Transport::Here(stream) if newcomer.worker != self.worker => {
                match stream.detach().and_then(mqtt_net::Detached::attach) {
                    Ok(stream) => stream,
                    Err(_) => return, // the socket broke on its way
                }
            }
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
        let packet =
            frame.and_then(|frame| Packet::decode(Version::V311, frame, &newcomer.connect).ok());
        let Some(Packet::Connect(connect)) = packet else {
            return; // the lobby has decoded it before
        };
        let about = (newcomer.peer, self.body.now, newcomer.permit);
        self.connects_received += 1;
        let serial = self.connects_received;
        let mut connection = Connection::new(stream, connect.version, place, serial, about);
        connection.about.bytes_received = (newcomer.connect.len() + newcomer.rest.len()) as u64;
        connection.keep_unread(newcomer.rest);
        connection.list();
        entry.insert(connection);
        let method = connect.properties.text(PropertyId::AuthenticationMethod);
        let authenticated = method
            .zip(newcomer.authentication_data.as_deref())
            .map(|(method, data)| Authenticated { method, data });
        self.handle(Event::Connect(Admission {
            connection: ConnectionKey(key),
            connect,
            client_id: &newcomer.client_id,
            username: newcomer.username.as_deref(),
            listener: newcomer.listener,
            sessions_elsewhere: self.sessions_elsewhere(),
            proof: newcomer.proof,
            proved_under: Some(&newcomer.settings),
            authenticated,
        }));
    }

    fn authenticated(&mut self, answer: Answer) {
        let key = answer.connection;
        let found = self.body.connections.get_mut(key.0 as usize);
        let Some(connection) = found.filter(|found| found.serial == answer.serial) else { return };
        let data;
        let outcome = match answer.step {
            Step::Continue(exchange, said) => {
                connection.rare.get_or_insert_default().exchange = Some(exchange);
                data = said;
                AuthOutcome::Continue(&data)
            }
            Step::Accepted(_, said) => {
                data = said;
                AuthOutcome::Accepted(&data)
            }
            Step::Refused(_) => AuthOutcome::Refused(ReasonCode::NotAuthorized),
        };
        self.handle(Event::Authenticated(key, outcome));
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
        let paused = self.paused.first_key_value().map(|((until, _), _)| *until);
        [shard, sync, closing, paused].into_iter().flatten().min()
    }

    // === The end of the turn ===

    /// Writes the records and tells the shard, until it has no more to say.
    pub(super) fn keep_records(&mut self) {
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
                    Outcome::Recovered { lsn, complete } => {
                        self.handle(Event::Durable(lsn));
                        self.handle(Event::Recovered { complete });
                    }
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
                    connection.give_memory(&mut self.body.pool, self.body.now);
                    let was_behind = mem::take(&mut connection.is_behind);
                    if connection.state != State::Open {
                        self.advance_closing(key);
                    } else if was_behind {
                        connection.list();
                        self.handle(Event::Writable(ConnectionKey(key)));
                    }
                }
                Err(error) => {
                    connection.set_error(error);
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

/// A shard that runs on a worker. Ends when the shard has been stopped, or when it is to go on
/// another worker.
pub(crate) struct Running(Option<Box<ShardTask>>);

/// Why a [`Running`] has ended.
pub(crate) enum Ended {
    /// The shard has been stopped.
    Stopped,
    /// The shard is to go on there; its sockets have been taken off this worker's runtime.
    Moved(usize, Box<ShardTask>),
}

impl Running {
    /// Lets the shard run on the worker that this is called on.
    pub(crate) fn on(worker: usize, mut task: Box<ShardTask>) -> Self {
        task.arrive(worker);
        Self(Some(task))
    }
}

impl Future for Running {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let Some(task) = &mut self.0 else { return Poll::Ready(Ended::Stopped) };
        task.mailbox.register(cx.waker());
        task.ready.register(cx.waker());
        let begun = Monotonic::now();
        task.turn(begun);
        task.placement.worked(task.worker, begun);
        if task.has_stopped() {
            if let Some(durability) = &mut task.body.durability {
                durability.close();
            }
            if let Some(done) = task.stopping.take() {
                let _ = done.send(());
            }
            return Poll::Ready(Ended::Stopped);
        }
        let wanted = task.placement.worker_of(task.body.id);
        if wanted != task.worker {
            task.depart();
            let task = self.0.take().expect("the task was there at the top");
            return Poll::Ready(Ended::Moved(wanted, task));
        }
        let more = task.mailbox.has_items()
            || !task.ready.is_empty()
            || !task.body.touched.is_empty()
            || task.body.outbox.iter().any(|letters| !letters.is_empty());
        if more {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(at) = task.next_deadline() {
            if task.alarm.get_or_insert_with(Alarm::new).poll(at, cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}
