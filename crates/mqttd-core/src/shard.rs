//! The shard machine: one event at one moment in, everything that must happen next out.
//!
//! This file holds the state and sends each event to the file that knows it. Reading order:
//! `event`,
//! `output`, this file, `connect`, `session`, `publish`, `deliver`, `subscribe`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use mqtt_proto::count::Count;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use mqtt_proto::packet::{Disconnect, Packet, PacketType};
use mqtt_proto::property::PropertyId;
use mqtt_proto::{Offence, QoS, ReasonCode};

use crate::acknowledge::{HeldAnswers, Wait};
use crate::drops::{DropReason, Dropped, RecentDrops};
use crate::envelope::{Confirmation, Envelope, Token};
use crate::event::Event;
use crate::exchange::{Exchanges, Receipt};
use crate::expiry::{QueueSweep, Timer, Timers};
use crate::frames::Frames;
use crate::ids::{ConnectionKey, ListenerId, Lsn, SessionKey, ShardId};
use crate::journal::Journal;
use crate::matching::Matching;
use crate::message::Passing;
use crate::notice::{Ending, Notice};
use crate::output::Output;
use crate::replay::ServedReplays;
use crate::retained::RetainedMessages;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::shared::Groups;
use crate::stats::Stats;
use crate::subscriptions::Hasher;
use crate::time::Instant;

/// The most shards a broker can have.
pub const SHARDS_MAX: u8 = 64;

/// One shard: the sessions whose Client Identifiers belong to it, and all that follows from them.
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) shards: u8,
    pub(crate) settings: Arc<Settings>,
    pub(crate) sessions: Sessions,
    by_client_id: HashTable<SessionKey>,
    connections: Vec<Option<SessionKey>>,
    pub(crate) matching: Matching,
    pub(crate) groups: Groups,
    pub(crate) retained: RetainedMessages,
    pub(crate) served: ServedReplays,
    pub(crate) journal: Journal,
    pub(crate) held: HeldAnswers,
    pub(crate) exchanges: Exchanges,
    pub(crate) timers: Timers,
    pub(crate) stats: Stats,
    pub(crate) drops: RecentDrops,
    /// The moment of the event in hand.
    pub(crate) now: Instant,
    pub(crate) frames: Frames,
    /// Another shard was sent news of a subscription by the packet in hand.
    pub(crate) announced: bool,
    /// The latest answer that waits until the others know of its subscriptions.
    pub(crate) last_sync: Option<Token>,
    pub(crate) sweep: QueueSweep,
    /// Sessions to look at again at the next tick.
    pub(crate) pump_later: Vec<SessionKey>,
    pub(crate) epochs: u64,
    pub(crate) replays_made: u64,
    hash: FixedState,
}

impl Shard {
    /// A shard without sessions. `seed` makes the hash tables unpredictable to strangers, who
    /// choose identifiers and topics; a fixed one makes a run repeatable. `shards` is at most
    /// [`SHARDS_MAX`].
    pub fn new(id: ShardId, shards: u8, settings: Arc<Settings>, seed: u64) -> Self {
        assert!(shards <= SHARDS_MAX && id.0 < shards, "shard {id:?} of {shards}");
        let mut matching = Matching::new(seed, shards);
        matching.duplicate_overlaps = settings.duplicate_overlaps;
        Self {
            id,
            shards,
            journal: Journal::new(id, settings.persistence),
            settings,
            sessions: Sessions::default(),
            by_client_id: HashTable::new(),
            connections: Vec::new(),
            matching,
            groups: Groups::new(seed),
            retained: RetainedMessages::new(seed),
            served: ServedReplays::new(seed),
            held: HeldAnswers::default(),
            exchanges: Exchanges::default(),
            timers: Timers::default(),
            stats: Stats::default(),
            drops: RecentDrops::default(),
            now: Instant(0),
            frames: Frames::default(),
            announced: false,
            last_sync: None,
            sweep: QueueSweep::default(),
            pump_later: Vec::new(),
            epochs: 0,
            replays_made: 0,
            hash: FixedState::with_seed(seed),
        }
    }

    /// The shard a Client Identifier belongs to: the same in every run with the same number of
    /// shards.
    pub fn of_client(client_id: &str, shards: u8) -> ShardId {
        if shards <= 1 {
            return ShardId(0);
        }
        let hash = FixedState::with_seed(0).hash_one(client_id.as_bytes());
        ShardId(hash.checked_rem(u64::from(shards)).unwrap_or_default() as u8)
    }

    /// Takes one event; everything that must happen because of it goes to `out`.
    #[inline]
    pub fn handle<O: Output>(&mut self, event: Event<'_>, now: Instant, out: &mut O) {
        self.now = now;
        match event {
            Event::Packet(connection, packet) => self.receive(connection, packet, now, out),
            Event::Connect(admission) => {
                self.stats.packets_received.up(1);
                self.connect(&admission, now, out);
            }
            Event::Offence(connection, offence) => {
                self.end_connection(connection, Ending::Offence(offence), now, out);
            }
            Event::End(connection, reason) => {
                self.end_connection(connection, Ending::Server(reason), now, out);
            }
            Event::Closed(connection) => {
                self.end_connection(connection, Ending::ConnectionLost, now, out);
            }
            Event::Writable(connection) => {
                if let Some(key) = self.session_of(connection) {
                    self.pump(key, now, out);
                }
            }
            Event::ControlDone(connection) => self.control_done(connection, out),
            Event::Authenticated(connection, outcome) => {
                self.authenticated(connection, &outcome, now, out);
            }
            Event::FromShard(from, envelope) => self.open(from, envelope, now, out),
            Event::MessageFromShard(from, message, confirm) => {
                let memory = self.settings.memory.clone();
                let mut message = Passing { memory, ..message };
                self.route_from(from, &mut message, &Receipt::NONE, confirm, now, out);
            }
            Event::Durable(lsn) => self.durable(lsn, out),
            Event::NotDurable(lsn) => self.not_durable(lsn, out),
            Event::Recovered { complete } => self.recovered(complete, out),
            Event::Tick => self.tick(now, out),
            Event::Publish { topic, payload, qos, retain } => {
                let mut message = Passing::internal(topic, payload, qos, retain);
                self.publish_message(&mut message, None, &Receipt::NONE, now, out);
            }
            Event::Settings(settings) => self.set_settings(settings, now, out),
            Event::CloseListener(listener) => self.close_listener(listener, now, out),
            Event::Shutdown => self.shut_down(now, out),
        }
    }

    /// When [`Event::Tick`] is due next; in the past when there is work left.
    pub fn deadline(&self) -> Option<Instant> {
        if self.pump_later.is_empty() && self.served.local.is_empty() {
            self.timers.next()
        } else {
            Some(Instant(0))
        }
    }

    /// How many records have been handed to [`Output::put`] and [`Output::kill`].
    pub fn appended(&self) -> Lsn {
        self.journal.appended()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.sessions = self.sessions.len() as u64;
        stats
    }

    /// What was dropped last, oldest first.
    pub fn recent_drops(&self) -> impl Iterator<Item = &Dropped> {
        self.drops.iter()
    }

    /// The Clients for which messages were dropped, with a counter for each [`DropReason`].
    pub fn drops_by_client(&self) -> impl Iterator<Item = (&str, &[u64; DropReason::COUNT])> {
        let sessions = self.sessions.iter();
        sessions
            .filter_map(|(_, session)| Some((&*session.client_id, &**session.dropped.as_ref()?)))
    }

    /// Sessions now, connected or not.
    pub fn session_count(&self) -> u32 {
        self.sessions.len() as u32
    }

    /// Every subscription of the sessions here, in no order: Client Identifier, filter, QoS.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&str, String, QoS)> {
        self.sessions.iter().flat_map(|(_, session)| {
            session.subscriptions.iter().filter_map(|it| {
                let filter = self.matching.subscribers.filter(it.filter)?;
                Some((&*session.client_id, filter, it.options.qos))
            })
        })
    }

    /// The Client Identifier of a connection, for log lines.
    pub fn client_id(&self, connection: ConnectionKey) -> Option<&str> {
        let key = self.session_of(connection)?;
        Some(&self.sessions[key].client_id)
    }

    #[inline]
    fn receive<O: Output>(
        &mut self,
        connection: ConnectionKey,
        packet: Packet<'_>,
        now: Instant,
        out: &mut O,
    ) {
        let Some(key) = self.session_of(connection) else { return };
        self.stats.packets_received.up(1);
        if let Some(online) = &mut self.sessions[key].online {
            online.last_received = now;
        }
        let result = match packet {
            Packet::Publish(publish) => {
                if self.is_short_of_memory(&publish) {
                    return self.refuse_for_memory(key, connection, publish.topic, now, out);
                }
                self.receive_publish(key, &publish, now, out)
            }
            Packet::Puback(ack) => self.receive_puback(key, &ack, now, out),
            Packet::Pubrec(ack) => self.receive_pubrec(key, &ack, now, out),
            Packet::Pubcomp(ack) => self.receive_pubcomp(key, &ack, now, out),
            Packet::Pubrel(ack) => {
                self.receive_pubrel(key, ack.packet_id, out);
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                self.receive_subscribe(key, &subscribe, now, out);
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.receive_unsubscribe(key, &unsubscribe, now, out);
                Ok(())
            }
            Packet::Pingreq => {
                self.answer_ping(key, connection, out);
                Ok(())
            }
            Packet::Disconnect(disconnect) => {
                self.receive_disconnect(key, connection, &disconnect, now, out)
            }
            Packet::Connect(_) => Err(Offence::SecondConnect),
            Packet::Auth(auth) => self.receive_auth(key, connection, &auth, out),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Err(Offence::PacketFromWrongRole)
            }
        };
        if let Err(offence) = result {
            self.end_connection(connection, Ending::Offence(offence), now, out);
        }
    }

    fn answer_ping<O: Output>(&mut self, key: SessionKey, connection: ConnectionKey, out: &mut O) {
        out.wire(connection).bytes_mut().extend_from_slice(&[0xD0, 0]);
        self.stats.packets_sent.up(1);
        if self.settings.debug {
            out.notice(Notice::Sending {
                client_id: &self.sessions[key].client_id,
                packet: crate::notice::SentPacket::Other(PacketType::Pingresp),
            });
        }
    }

    fn receive_disconnect<O: Output>(
        &mut self,
        key: SessionKey,
        connection: ConnectionKey,
        disconnect: &Disconnect<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        if let Some(expiry) = disconnect.properties.u32(PropertyId::SessionExpiryInterval) {
            let max = self.settings.session_expiry_seconds_max.unwrap_or(u32::MAX);
            let session = &mut self.sessions[key];
            let expiry = expiry.min(max);
            if session.expiry_seconds == 0 && expiry > 0 {
                return Err(Offence::SessionExpiryFromZero);
            }
            session.expiry_seconds = expiry;
        }
        let ending = match disconnect.reason {
            ReasonCode::Success => Ending::Disconnected,
            reason => Ending::DisconnectedWithWill(reason),
        };
        self.end_connection(connection, ending, now, out);
        Ok(())
    }

    fn open<O: Output>(&mut self, from: ShardId, envelope: Envelope, now: Instant, out: &mut O) {
        match envelope {
            Envelope::Publish { message, confirm, origin, reached } => {
                let mut passing = Passing::from_message(&message);
                let receipt = Receipt { token: None, origin, reached };
                self.route_from(from, &mut passing, &receipt, confirm, now, out);
            }
            Envelope::Directed { to, grant, message, confirm, origin } => {
                let before = self.journal.appended();
                // Wherever it goes from here, the answer is this shard's to pass on.
                let token = confirm.map(|_| self.held.confirms.next_token());
                let mut confirms = 0;
                let there = self.sessions.find(to.key).is_some_and(|s| s.uid == to.uid);
                if there {
                    let mut passing = Passing::from_message(&message);
                    self.deliver_to_one(to.key, &grant, &mut passing, now, out);
                    self.journal.close_message(&passing, origin, out);
                } else {
                    let receipt = Receipt { token, origin, reached: None };
                    confirms = self.redirect(&grant, &message, &receipt, now, out);
                }
                if let Some(token) = confirm {
                    let appended = self.journal.appended();
                    let need = if appended > before { appended } else { Lsn::default() };
                    self.confirm(from, token, Wait { confirms, ..Wait::for_log(need) }, out);
                }
            }
            Envelope::Settled { up_to } => self.settled(up_to, out),
            Envelope::Sync(token) => {
                let confirmation = Confirmation::Kept;
                out.to_shard(from, Envelope::Confirm { token, confirmation });
            }
            Envelope::Confirm { token, confirmation } => self.confirmed(token, confirmation, out),
            Envelope::Recovered { recoveries, complete } => {
                self.recovered_elsewhere(from, recoveries, complete, out);
            }
            Envelope::Interest { filter, present } => self.set_interest(from, &filter, present),
            Envelope::Member { filter, member } => {
                self.groups.update(&filter, from, member, &mut self.matching.groups);
                self.matching.changed();
            }
            Envelope::Retain { message, source, confirm } => {
                let wait = self.set_retained(message, source, now, out);
                if let Some(token) = confirm {
                    self.confirm(from, token, wait, out);
                }
            }
            Envelope::ReplayMore { to, filter } => {
                self.serve_remote_replay(from, to, filter, out);
            }
            Envelope::ReplayCancel(to) => self.cancel_replay(from, to),
            Envelope::ReplayPart { to, messages, finished } => {
                self.replay_part(from, to, messages, finished, now, out);
            }
        }
    }

    fn tick<O: Output>(&mut self, now: Instant, out: &mut O) {
        for key in core::mem::take(&mut self.pump_later) {
            if self.sessions.find(key).is_some() {
                self.pump_replays(key, now, out);
            }
        }
        self.serve_local_replays(now, out);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::KeepAlive(key, epoch) => self.check_keep_alive(key, epoch, now, out),
                Timer::Session(key, uid) => {
                    if self.sessions.find(key).is_some_and(|s| s.uid == uid) {
                        self.check_session_expiry(key, now, out);
                    }
                }
                Timer::Will(key, uid) => {
                    if self.sessions.find(key).is_some_and(|s| s.uid == uid) {
                        self.will_is_due(key, now, out);
                    }
                }
                Timer::Retained => self.expire_retained(now, out),
                Timer::Queues => self.sweep_queues(now, out),
            }
        }
    }

    /// A reload took the listener away: 5.0 Clients are told 0x98; wills are published by the
    /// rules.
    fn close_listener<O: Output>(&mut self, listener: ListenerId, now: Instant, out: &mut O) {
        for index in 0..self.connections.len() {
            let connection = ConnectionKey(index as u32);
            let Some(key) = self.session_of(connection) else { continue };
            if self.sessions[key].listener == listener {
                let ending = Ending::Server(ReasonCode::AdministrativeAction);
                self.end_connection(connection, ending, now, out);
            }
        }
    }

    /// The broker stops: 5.0 Clients are told 0x8B; wills are published by the rules.
    fn shut_down<O: Output>(&mut self, now: Instant, out: &mut O) {
        for index in 0..self.connections.len() {
            let ending = Ending::Server(ReasonCode::ServerShuttingDown);
            self.end_connection(ConnectionKey(index as u32), ending, now, out);
        }
        self.note_flights(out);
    }

    /// At a clean stop the identifiers of QoS 1 messages in flight are kept too, so that they are
    /// sent again as what they are [MQTT-4.4.0-1]. While the broker runs that is not worth a record
    /// for each: after a crash they are sent under new identifiers, which QoS 1 allows for.
    fn note_flights<O: Output>(&mut self, out: &mut O) {
        for session in self.sessions.iter_mut() {
            let noted = |id| session.records.as_ref().is_some_and(|r| r.sent.contains_key(&id));
            let flights: Vec<_> = session
                .sender
                .iter()
                .filter(|flight| !noted(flight.id))
                .filter_map(|flight| {
                    let kept = flight.message?.kept.as_ref()?;
                    Some((flight.id, (kept.stored?, kept.how.entry())))
                })
                .collect();
            for (packet_id, stored) in flights {
                self.journal.sent(&mut session.records, session.uid, packet_id, stored, out);
            }
        }
    }

    /// Other shards of this broker.
    pub(crate) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let here = self.id;
        (0..self.shards).map(ShardId).filter(move |shard| *shard != here)
    }

    /// What is announced to Clients, and the Server's own send window.
    pub(crate) fn receive_maximum(&self) -> u16 {
        match self.settings.inflight_messages_max {
            0 => u16::MAX,
            max => max,
        }
    }

    pub(crate) fn hash(&self, text: &str) -> u64 {
        self.hash.hash_one(text.as_bytes())
    }

    /// Hashes for [`crate::subscriptions::Subscriptions`].
    pub(crate) fn filter_hasher(&self) -> impl Hasher + Copy + use<> {
        let hash = self.hash;
        move |filter| hash.hash_one(filter)
    }

    // === Tables ===

    #[inline]
    pub(crate) fn session_of(&self, connection: ConnectionKey) -> Option<SessionKey> {
        *self.connections.get(connection.0 as usize)?
    }

    pub(crate) fn set_connection(&mut self, connection: ConnectionKey, key: SessionKey) {
        let index = connection.0 as usize;
        if self.connections.len() <= index {
            self.connections.resize(index.saturating_add(1), None);
        }
        if let Some(place) = self.connections.get_mut(index) {
            *place = Some(key);
        }
    }

    pub(crate) fn take_connection(&mut self, connection: ConnectionKey) -> Option<SessionKey> {
        self.connections.get_mut(connection.0 as usize)?.take()
    }

    pub(crate) fn find_session(&self, client_id: &str) -> Option<SessionKey> {
        let same = |key: &SessionKey| *self.sessions[*key].client_id == *client_id;
        self.by_client_id.find(self.hash(client_id), same).copied()
    }

    pub(crate) fn insert_session(&mut self, session: Session) -> SessionKey {
        let hash = self.hash(&session.client_id);
        let key = self.sessions.insert(session);
        let (sessions, hasher) = (&self.sessions, self.hash);
        self.by_client_id
            .insert_unique(hash, key, |key| hasher.hash_one(sessions[*key].client_id.as_bytes()));
        key
    }

    pub(crate) fn remove_session(&mut self, key: SessionKey) -> Option<Session> {
        let hash = self.hash(&self.sessions[key].client_id);
        if let Ok(entry) = self.by_client_id.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        self.sessions.remove(key)
    }
}
