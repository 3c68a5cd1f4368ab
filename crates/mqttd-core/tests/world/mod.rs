//! A world for shards: a hand clock, scripted Clients, mailboxes, and a log that can be late,
//! refuse, or lose what it did not keep. Tests read like a dialogue:
//!
//! ```text
//! ann.sends(publish("t", "x").qos1(7));
//! ann.expects_nothing();
//! world.commits();
//! ann.expects(puback(7));
//! ```
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]

pub mod asking;
pub mod body;
pub mod hello;
pub mod said;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mqtt_proto::codec::Frame;
use mqtt_proto::packet::{Connect, Packet, Will};
use mqtt_proto::property::PropertyId;
use mqtt_proto::{Offence, QoS, ReasonCode};
use mqttd_core::begun::settle_exchanges;
use mqttd_core::event::Admission;
use mqttd_core::ids::{ConnectionKey, ListenerId, Lsn, RecordId, ShardId};
use mqttd_core::restore::{Restore, Restored};
use mqttd_core::settings::Settings;
use mqttd_core::time::Instant;
use mqttd_core::wire::WireBuffer;
use mqttd_core::{Event, Shard};

use body::{Body, Log, Out, Socket};
pub use hello::*;
pub use said::*;

/// Shards and everything around them.
#[derive(Clone)]
pub struct World(Rc<RefCell<Inner>>);

struct Inner {
    shards: Vec<Shard>,
    settings: Arc<Settings>,
    now: Instant,
    body: Body,
    /// The log keeps what it is given at once.
    commits_itself: bool,
    /// Letters between shards arrive at once.
    delivers_itself: bool,
    seed: u64,
    ticks: usize,
}

/// A scripted Client on one connection.
#[derive(Clone)]
pub struct Client {
    world: World,
    socket: usize,
    pub connack: Said,
}

impl World {
    /// One shard with default settings, without persistence.
    pub fn new() -> Self {
        Self::with(1, Settings::default())
    }

    /// One shard with a log that keeps everything at once.
    pub fn durable() -> Self {
        Self::with(1, Settings { persistence: true, ..Settings::default() })
    }

    pub fn with(shards: u8, settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let seed = 7;
        let count = usize::from(shards);
        let body = Body {
            keys: (0..count).map(|_| vec![]).collect(),
            logs: (0..count).map(|_| Log::default()).collect(),
            ..Body::default()
        };
        let make = |id| Shard::new(ShardId(id), shards, Arc::clone(&settings), seed);
        let shards = (0..shards).map(make).collect();
        let now = Instant(1_000_000);
        let inner = Inner {
            shards,
            settings,
            now,
            body,
            commits_itself: true,
            delivers_itself: true,
            seed,
            ticks: 0,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// The log waits for [`World::commits`] from now on.
    pub fn log_is_late(&self) {
        self.0.borrow_mut().commits_itself = false;
    }

    /// Letters between shards wait for [`World::mail_arrives`] from now on.
    pub fn mail_is_late(&self) {
        self.0.borrow_mut().delivers_itself = false;
    }

    /// Bytes leave only when the log has kept everything handed over before them.
    pub fn log_gates_the_wire(&self) {
        self.0.borrow_mut().body.is_gated = true;
    }

    /// Everything handed to the logs is kept.
    pub fn commits(&self) {
        let mut inner = self.0.borrow_mut();
        (0..inner.shards.len()).for_each(|shard| inner.commit(shard));
        inner.settle();
    }

    /// One shard's log keeps what it was handed.
    pub fn commits_on(&self, shard: usize) {
        let mut inner = self.0.borrow_mut();
        inner.commit(shard);
        inner.settle();
    }

    /// Everything handed to the logs is refused.
    pub fn refuses(&self) {
        let shards = self.0.borrow().shards.len();
        (0..shards).for_each(|shard| self.refuses_on(shard));
    }

    /// Everything handed to one shard's log is refused.
    pub fn refuses_on(&self, shard: usize) {
        let mut inner = self.0.borrow_mut();
        inner.body.refused_once = true;
        inner.body.logs[shard].refuse();
        let lsn = Lsn(inner.body.logs[shard].settled);
        inner.handle(shard, Event::NotDurable(lsn));
        inner.settle();
    }

    /// The logs work again and have taken what they had refused.
    pub fn logs_recover(&self, complete: bool) {
        let shards = self.0.borrow().shards.len();
        (0..shards).for_each(|shard| self.recovers_on(shard, complete));
    }

    /// One shard's log works again.
    pub fn recovers_on(&self, shard: usize, complete: bool) {
        let mut inner = self.0.borrow_mut();
        inner.body.logs[shard].recover(complete);
        inner.handle(shard, Event::Recovered { complete });
        inner.settle();
    }

    /// All letters between shards arrive.
    pub fn mail_arrives(&self) {
        let mut inner = self.0.borrow_mut();
        inner.settle();
        while inner.deliver_one(0) {
            inner.settle();
        }
    }

    /// All letters to one shard arrive.
    pub fn mail_arrives_at(&self, shard: usize) {
        let mut inner = self.0.borrow_mut();
        inner.settle();
        while inner.deliver_one_to(Some(shard), 0) {
            inner.settle();
        }
    }

    /// One letter arrives, of the mailbox that `choice` picks. False when there is none.
    pub fn letter_arrives(&self, choice: u64) -> bool {
        let mut inner = self.0.borrow_mut();
        let found = inner.deliver_one(choice);
        inner.settle();
        found
    }

    /// The broker is killed: what the log did not keep is lost, all connections break, and new
    /// shards begin with what was kept.
    pub fn restarts(&self) -> Restored {
        self.restarts_with(0)
    }

    /// Likewise; records are found in an order that depends on `shuffle`.
    pub fn restarts_with(&self, shuffle: u64) -> Restored {
        let mut inner = self.0.borrow_mut();
        inner.restart(shuffle)
    }

    /// Time passes, second by second, with ticks where they are due.
    pub fn passes(&self, seconds: u64) {
        let mut inner = self.0.borrow_mut();
        let end = inner.now.plus_millis(seconds * 1000);
        while inner.now < end {
            let due = inner.shards.iter().filter_map(Shard::deadline).min();
            let next = due.map_or(end, |due| due.max(inner.now.plus_millis(1)).min(end));
            inner.now = next;
            inner.settle();
        }
    }

    /// A Client connects; panics when it is refused.
    pub fn connects(&self, hello: Hello) -> Client {
        let client = self.tries(hello);
        assert!(matches!(client.connack, Said::Connack { code: 0, .. }), "{:?}", client.connack);
        client
    }

    /// A Client connects or is refused.
    pub fn tries(&self, hello: Hello) -> Client {
        let socket = self.opens(&hello);
        let mut inner = self.0.borrow_mut();
        let connack = inner.body.sockets[socket].heard.pop_front();
        let connack =
            connack.unwrap_or(Said::Connack { present: false, code: 0xFF, props: vec![] });
        drop(inner);
        Client { world: self.clone(), socket, connack }
    }

    /// A Client sends CONNECT; its answer may wait for the log.
    pub fn opens(&self, hello: &Hello) -> usize {
        self.0.borrow_mut().connect(hello)
    }

    /// The Client of a connection that was opened.
    pub fn client(&self, socket: usize) -> Client {
        let connack = Said::Connack { present: false, code: 0, props: vec![] };
        Client { world: self.clone(), socket, connack }
    }

    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut inner = self.0.borrow_mut();
        let mut settings = (*inner.settings).clone();
        change(&mut settings);
        settings.generation += 1;
        inner.settings = Arc::new(settings);
        for shard in 0..inner.shards.len() {
            let settings = Arc::clone(&inner.settings);
            inner.handle(shard, Event::Settings(settings));
        }
        inner.settle();
    }

    /// The Server publishes a message of its own on the first shard.
    pub fn says(&self, topic: &str, payload: &str, retain: bool) {
        let mut inner = self.0.borrow_mut();
        let payload = payload.as_bytes();
        inner.handle(0, Event::Publish { topic, payload, qos: QoS::AtMostOnce, retain });
        inner.settle();
    }

    /// The body carries out the oldest request to the Server; what it was, if there is one.
    pub fn carries_out(&self) -> Option<String> {
        let mut inner = self.0.borrow_mut();
        let (shard, connection, text) = inner.body.requests.pop_front()?;
        inner.handle(shard, Event::ControlDone(connection));
        inner.settle();
        Some(text)
    }

    pub fn shuts_down(&self) {
        let mut inner = self.0.borrow_mut();
        (0..inner.shards.len()).for_each(|shard| inner.handle(shard, Event::Shutdown));
        inner.settle();
    }

    pub fn closes_listener(&self, listener: u16) {
        let mut inner = self.0.borrow_mut();
        let event = || Event::CloseListener(ListenerId(listener));
        (0..inner.shards.len()).for_each(|shard| inner.handle(shard, event()));
        inner.settle();
    }

    /// The first name with this beginning that belongs to the shard.
    pub fn name_on(&self, shard: u8, beginning: &str) -> String {
        let shards = self.0.borrow().shards.len() as u8;
        let names = (0..).map(|number| format!("{beginning}{number}"));
        let mut names = names.filter(|name| Shard::of_client(name, shards) == ShardId(shard));
        names.next().unwrap()
    }
}

impl Inner {
    fn handle(&mut self, shard: usize, event: Event<'_>) {
        let mut out = Out { body: &mut self.body, shard };
        self.shards[shard].handle(event, self.now, &mut out);
        let handed = self.body.logs[shard].settled + self.body.logs[shard].pending.len() as u64;
        assert_eq!(self.shards[shard].appended(), Lsn(handed), "every change is counted");
    }

    fn commit(&mut self, shard: usize) {
        if !self.body.logs[shard].pending.is_empty() {
            if body::is_loud() {
                println!("shard {shard} commits");
            }
            self.body.logs[shard].commit();
            let lsn = Lsn(self.body.logs[shard].settled);
            self.handle(shard, Event::Durable(lsn));
        }
    }

    fn deliver_one(&mut self, choice: u64) -> bool {
        self.deliver_one_to(None, choice)
    }

    fn deliver_one_to(&mut self, shard: Option<usize>, choice: u64) -> bool {
        self.body.mail.retain(|_, mail| !mail.is_empty());
        // A letter leaves after the records that were handed over before it.
        let (logs, is_gated) = (&self.body.logs, self.body.is_gated);
        let ready = |mailbox: &&(usize, usize)| {
            (!is_gated || logs[mailbox.0].pending.is_empty())
                && shard.is_none_or(|shard| mailbox.1 == shard)
        };
        let ready: Vec<_> = self.body.mail.keys().filter(ready).copied().collect();
        if ready.is_empty() {
            return false;
        }
        let mailbox = ready[choice as usize % ready.len()];
        let envelope = self.body.mail.get_mut(&mailbox).and_then(|mail| mail.pop_front()).unwrap();
        if body::is_loud() {
            println!("letter {mailbox:?} {envelope:?}");
        }
        self.handle(mailbox.1, Event::FromShard(ShardId(mailbox.0 as u8), envelope));
        true
    }

    /// Lets everything happen that happens by itself.
    fn settle(&mut self) {
        loop {
            let mut is_busy = self.delivers_itself && self.deliver_one(0);
            for shard in 0..self.shards.len() {
                if self.shards[shard].deadline().is_some_and(|due| due <= self.now) {
                    self.handle(shard, Event::Tick);
                    self.ticks += 1;
                    is_busy = true;
                }
                if self.commits_itself && !self.body.logs[shard].pending.is_empty() {
                    self.commit(shard);
                    is_busy = true;
                }
            }
            for number in 0..self.body.sockets.len() {
                self.body.drain(number);
                let socket = &mut self.body.sockets[number];
                if socket.owes_writable && socket.wire.is_empty() && !socket.is_closed {
                    socket.owes_writable = false;
                    let (shard, key) = (socket.shard, socket.key);
                    self.handle(shard, Event::Writable(key));
                    is_busy = true;
                }
            }
            if !is_busy {
                return;
            }
        }
    }

    fn connect(&mut self, hello: &Hello) -> usize {
        let shard = Shard::of_client(&hello.name, self.shards.len() as u8).0 as usize;
        let number = self.body.sockets.len();
        let keys = &mut self.body.keys[shard];
        let place = keys.iter().position(Option::is_none).unwrap_or(keys.len());
        if place == keys.len() {
            keys.push(None);
        }
        keys[place] = Some(number);
        let key = ConnectionKey(place as u32);
        self.body.sockets.push(Socket {
            shard,
            key,
            version: hello.version,
            wire: WireBuffer::default(),
            packet_bytes_max: hello.packet_bytes_max(),
            heard: Default::default(),
            reads: true,
            owes_writable: false,
            is_closed: false,
            is_paused: false,
        });
        let (block, will_block) = (
            encode_props(&hello.props),
            encode_props(hello.will.as_ref().map_or(&[][..], |will| &will.props)),
        );
        let connect = Connect {
            version: hello.version,
            is_bridge: false,
            clean_start: hello.clean,
            keep_alive_seconds: hello.keep_alive,
            client_id: if hello.is_assigned { "" } else { &hello.name },
            will: hello.will.as_ref().map(|will| Will {
                qos: will.qos,
                retain: will.retain,
                topic: &will.topic,
                payload: &will.payload,
                properties: will_block.as_properties(),
            }),
            username: hello.username.as_deref(),
            password: None,
            properties: block.as_properties(),
        };
        let admission = Admission {
            connection: key,
            connect,
            client_id: &hello.name,
            username: hello.username.as_deref(),
            listener: ListenerId(hello.listener),
            sessions_elsewhere: 0,
            proof: hello.proof,
            proved_under: None,
            authenticated: None,
        };
        self.handle(shard, Event::Connect(admission));
        self.settle();
        number
    }

    fn restart(&mut self, shuffle: u64) -> Restored {
        let count = self.shards.len() as u8;
        for socket in &mut self.body.sockets {
            socket.is_closed = true;
            socket.reads = false;
        }
        self.body.mail.clear();
        self.body.keys.iter_mut().for_each(Vec::clear);
        self.seed += 1;
        let mut restores = Vec::new();
        for log in &mut self.body.logs {
            log.pending.clear();
            log.refused.clear();
            log.held_back.clear();
            log.settled = 0;
            let mut restore = Restore::default();
            let mut records: Vec<_> = log.live.iter().collect();
            let key = |id: &RecordId| (id.0 ^ shuffle).wrapping_mul(shuffle | 1);
            records.sort_by_key(|(id, _)| key(id));
            for (id, bytes) in records {
                restore.record(*id, bytes).expect("what was written can be read");
            }
            restores.push(restore);
        }
        settle_exchanges(&mut restores);
        let mut all = Restored::default();
        for (shard, restore) in restores.into_iter().enumerate() {
            let id = ShardId(shard as u8);
            let mut fresh = Shard::new(id, count, Arc::clone(&self.settings), self.seed);
            let mut out = Out { body: &mut self.body, shard };
            let found = restore.finish(&mut fresh, self.now, &mut out);
            self.shards[shard] = fresh;
            all.sessions += found.sessions;
            all.subscriptions += found.subscriptions;
            all.messages += found.messages;
            all.queued += found.queued;
            all.retained += found.retained;
        }
        // The broker listens only when the shards know of each other's subscriptions.
        let is_busy = |inner: &Self| {
            let logs = &inner.body.logs;
            logs.iter().any(|log| !log.pending.is_empty())
                || inner.body.mail.values().any(|mail| !mail.is_empty())
        };
        while is_busy(self) {
            (0..usize::from(count)).for_each(|shard| self.commit(shard));
            while self.deliver_one(0) {}
        }
        self.settle();
        all
    }
}

impl Client {
    /// The Client sends a packet, as bytes.
    pub fn sends(&self, packet: impl Into<Said>) -> &Self {
        let packet = packet.into();
        let mut inner = self.world.0.borrow_mut();
        let socket = &inner.body.sockets[self.socket];
        if socket.is_closed {
            return self;
        }
        let (shard, key, version) = (socket.shard, socket.key, socket.version);
        let bytes = packet.encode(version);
        let frame = Frame::peek(&bytes, usize::MAX).unwrap().unwrap();
        match Packet::decode(version, frame, &bytes) {
            Ok(packet) => inner.handle(shard, Event::Packet(key, packet)),
            Err(offence) => inner.handle(shard, Event::Offence(key, offence)),
        }
        inner.settle();
        self
    }

    /// The bytes of the Client turned out to be no MQTT.
    pub fn offends(&self, offence: Offence) {
        let mut inner = self.world.0.borrow_mut();
        let (shard, key) = self.place(&inner);
        inner.handle(shard, Event::Offence(key, offence));
        inner.settle();
    }

    /// What the Client hears next.
    pub fn hears(&self) -> Option<Said> {
        self.world.0.borrow_mut().body.sockets[self.socket].heard.pop_front()
    }

    /// All that the Client has heard.
    pub fn hears_all(&self) -> Vec<Said> {
        std::iter::from_fn(|| self.hears()).collect()
    }

    /// The next packet is exactly this one.
    #[track_caller]
    pub fn expects(&self, packet: impl Into<Said>) -> &Self {
        assert_eq!(self.hears(), Some(packet.into()));
        self
    }

    /// The next packet is this PUBLISH, under whatever identifier, which is returned.
    #[track_caller]
    pub fn expects_under_any_id(&self, publish: Publish) -> u16 {
        let said = self.hears();
        let id = if let Some(Said::Publish(heard)) = &said { heard.id } else { 0 };
        assert_eq!(said, Some(Said::Publish(Publish { id, ..publish })));
        id
    }

    #[track_caller]
    pub fn expects_nothing(&self) -> &Self {
        assert_eq!(self.hears(), None);
        self
    }

    /// Its publish is acknowledged, perhaps without receivers, and nothing else comes.
    #[track_caller]
    pub fn expects_nothing_but_puback(&self, id: u16) -> &Self {
        let said = self.hears();
        assert!(matches!(said, Some(Said::Puback(found, _)) if found == id), "{said:?}");
        self.expects_nothing()
    }

    /// The Server has closed the connection, after these last words.
    #[track_caller]
    pub fn is_told(&self, reason: ReasonCode) {
        self.expects(disconnect(reason)).is_closed();
    }

    #[track_caller]
    pub fn is_closed(&self) {
        self.expects_nothing();
        assert!(self.world.0.borrow().body.sockets[self.socket].is_closed, "still open");
    }

    pub fn is_open(&self) -> bool {
        !self.world.0.borrow().body.sockets[self.socket].is_closed
    }

    /// The shard wants no more of the Client's packets now.
    pub fn is_paused(&self) -> bool {
        self.world.0.borrow().body.sockets[self.socket].is_paused
    }

    /// The connection breaks.
    pub fn vanishes(&self) {
        let mut inner = self.world.0.borrow_mut();
        let (shard, key) = self.place(&inner);
        let socket = &mut inner.body.sockets[self.socket];
        if std::mem::replace(&mut socket.is_closed, true) {
            return;
        }
        socket.reads = false;
        inner.handle_closed(shard, key);
        inner.settle();
    }

    /// Goes with a DISCONNECT.
    pub fn leaves(&self) {
        self.sends(disconnect(ReasonCode::Success)).is_closed();
    }

    /// Takes no more bytes.
    pub fn stops_reading(&self) {
        self.world.0.borrow_mut().body.sockets[self.socket].reads = false;
    }

    /// Takes bytes again.
    pub fn reads_again(&self) {
        let mut inner = self.world.0.borrow_mut();
        inner.body.sockets[self.socket].reads = true;
        inner.settle();
    }

    /// Bytes waiting for the Client in the Server.
    pub fn waiting_bytes(&self) -> usize {
        self.world.0.borrow().body.sockets[self.socket].wire.len()
    }

    /// Whether CONNACK said that the session is resumed.
    pub fn is_resumed(&self) -> bool {
        matches!(self.connack, Said::Connack { present: true, .. })
    }

    /// A property of CONNACK.
    pub fn told(&self, id: PropertyId) -> Option<Prop> {
        let Said::Connack { props, .. } = &self.connack else { return None };
        let has = |prop: &&Prop| match prop {
            Prop::Byte(found, _) | Prop::U16(found, _) | Prop::U32(found, _) => *found == id,
            Prop::VarInt(found, _) | Prop::Text(found, _) | Prop::Binary(found, _) => *found == id,
            Prop::Pair(..) => id == PropertyId::UserProperty,
        };
        props.iter().find(has).cloned()
    }

    /// Subscribes and hears that it was granted.
    #[track_caller]
    pub fn subscribes(&self, filter: &str, qos: u8) -> &Self {
        self.sends(subscribe(filter, qos)).expects(suback(1, &[qos]))
    }

    fn place(&self, inner: &Inner) -> (usize, ConnectionKey) {
        let socket = &inner.body.sockets[self.socket];
        (socket.shard, socket.key)
    }
}

impl Inner {
    fn handle_closed(&mut self, shard: usize, key: ConnectionKey) {
        self.handle(shard, Event::Closed(key));
    }
}
