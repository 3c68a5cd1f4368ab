//! Records → state at start. The state must equal the one that wrote the records.
//!
//! Records come in any order between kinds; what refers to something else is put together at the
//! end.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use mqtt_proto::count::Count;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mqtt_proto::PacketIdentifier;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::qos::SenderState;

use crate::begun::Cut;
use crate::exchange::Begun;
use crate::expiry::Timer;
use crate::grant::GrantExtra;
use crate::ids::{ListenerId, RecordId, SessionKey, SessionUid};
use crate::matching::ShardSet;
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::{MessageRecord, Origin, Reached, Record, UnreadableRecord};
use crate::session::{Flight, How, Kept, Session};
use crate::shard::Shard;
use crate::source::Source;
use crate::time::Instant;
use crate::will::Will;

/// Collects a shard's records, then becomes its state.
#[derive(Default)]
pub struct Restore {
    sessions: Vec<(SessionUid, OwnedSession)>,
    subscriptions: Vec<(RecordId, SessionUid, Box<str>, SubscriptionOptions, u32, bool)>,
    pub(crate) messages: Vec<OwnedMessage>,
    /// Record, message, entry.
    done: Vec<(RecordId, RecordId, u32)>,
    exchanges: Vec<(RecordId, SessionUid, u16, Exchange)>,
    retained: Vec<(RecordId, Arc<Message>, Option<Arc<Source>>)>,
    wills: Vec<(RecordId, SessionUid, Instant, Arc<Message>)>,
    /// Record, exchange, and whether the record says nothing else.
    newest: Vec<(RecordId, RecordId, bool)>,
    begun: Vec<OwnedBegun>,
    /// Records that others in `begun` replace.
    superseded: Vec<RecordId>,
    /// Origins up to here have become part of `begun`.
    settled: Option<RecordId>,
    /// The highest number seen for each shard that gave out numbers.
    highest: BTreeMap<u8, RecordId>,
}

/// What a restore found, for the log line at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what they count")]
pub struct Restored {
    pub sessions: usize,
    pub subscriptions: usize,
    pub messages: usize,
    pub queued: usize,
    pub retained: usize,
}

struct OwnedSession {
    client_id: String,
    username: Option<String>,
    listener: u16,
    expiry_seconds: u32,
    offline_since: Instant,
}

/// A message with everyone it waits for.
pub(crate) struct OwnedMessage {
    record: RecordId,
    pub(crate) message: Arc<Message>,
    pub(crate) origin: Option<Origin>,
    entries: Vec<OwnedEntry>,
}

struct OwnedBegun {
    /// As it stands in the log.
    record: Option<RecordId>,
    session: SessionUid,
    packet_id: u16,
    content: u64,
    reached: Reached,
}

struct OwnedEntry {
    session: SessionUid,
    how: How,
    extra: Option<Arc<GrantExtra>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// Message and entry.
    Sent(RecordId, u32),
    Released,
    Received,
}

impl Restore {
    /// Takes one live record of the log.
    ///
    /// # Errors
    /// A record this version can't read; nothing of it is used.
    pub fn record(&mut self, id: RecordId, bytes: &[u8]) -> Result<(), UnreadableRecord> {
        self.saw(id);
        match Record::decode(bytes)? {
            Record::Session(session) => {
                let owned = OwnedSession {
                    client_id: session.client_id.into(),
                    username: session.username.map(Into::into),
                    listener: session.listener,
                    expiry_seconds: session.expiry_seconds,
                    offline_since: session.offline_since,
                };
                self.sessions.push((SessionUid(id.0), owned));
            }
            Record::Subscription { session, filter, options, identifier, replays } => {
                let filter = filter.into();
                self.subscriptions.push((id, session, filter, options, identifier, replays));
            }
            Record::Message { message, origin, entries } => {
                origin.into_iter().for_each(|origin| self.saw(origin.exchange));
                let entries = (0..).zip(Record::entries(entries)).map(|(number, entry)| {
                    let share = (!entry.share.is_empty()).then_some(entry.share);
                    let extra = GrantExtra::from_encoded(entry.identifiers.to_vec(), share);
                    OwnedEntry {
                        session: entry.session,
                        how: How::new(entry.qos, entry.retain, number),
                        extra: extra.map(Arc::new),
                    }
                });
                self.messages.push(OwnedMessage {
                    record: id,
                    message: owned_message(message),
                    origin,
                    entries: entries.collect(),
                });
            }
            Record::Done { message, entry } => self.done.push((id, message, entry)),
            Record::Sent { session, packet_id, message, entry } => {
                self.exchanges.push((id, session, packet_id, Exchange::Sent(message, entry)));
            }
            Record::Released { session, packet_id } => {
                self.exchanges.push((id, session, packet_id, Exchange::Released));
            }
            Record::Received { session, packet_id, exchange } => {
                self.exchanges.push((id, session, packet_id, Exchange::Received));
                self.newest.extend(exchange.map(|exchange| (id, exchange, false)));
                exchange.into_iter().for_each(|exchange| self.saw(exchange));
            }
            Record::Settled { exchange } => {
                self.newest.push((id, exchange, true));
                self.saw(exchange);
            }
            Record::Begun { session, packet_id, content, reached } => {
                let reached = Reached::decode(reached).ok_or(UnreadableRecord)?;
                let record = Some(id);
                self.begun.push(OwnedBegun { record, session, packet_id, content, reached });
            }
            Record::Retained(message, source) => {
                // Its publisher may be younger than the record, which each new value keeps.
                message.publisher.into_iter().for_each(|publisher| self.saw(RecordId(publisher.0)));
                let source = source.map(|source| Arc::new(Source::from(source)));
                self.retained.push((id, owned_message(message), source));
            }
            Record::Will { session, due, message } => {
                self.wills.push((id, session, due, owned_message(message)));
            }
        }
        Ok(())
    }

    /// A number that must not be given out again.
    fn saw(&mut self, id: RecordId) {
        let highest = self.highest.entry((id.0 >> 56) as u8).or_insert(id);
        *highest = id.max(*highest);
    }

    /// The newest exchange of which the log says that it is over for other shards.
    pub(crate) fn newest_exchange(&self) -> Option<RecordId> {
        self.newest.iter().map(|(_, exchange, _)| *exchange).max()
    }

    pub(crate) fn session_uids(&self) -> impl Iterator<Item = SessionUid> {
        self.sessions.iter().map(|(uid, _)| *uid)
    }

    /// QoS 2 messages from Clients between PUBLISH and PUBREL.
    pub(crate) fn received(&self) -> impl Iterator<Item = (SessionUid, u16)> {
        let received = self.exchanges.iter().filter(|(.., what)| *what == Exchange::Received);
        received.map(|(_, session, packet_id, _)| (*session, *packet_id))
    }

    /// Messages whose origin is open.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = Cut> {
        self.messages.iter().filter_map(|message| {
            let mut reached = Reached::default();
            for entry in &message.entries {
                match entry.extra.as_ref().and_then(|extra| extra.share.as_deref()) {
                    Some(share) => reached.shares.insert(share.into()),
                    None => reached.sessions.insert(entry.session),
                };
            }
            Some(Cut {
                publisher: message.message.publisher?,
                origin: message.origin?,
                content: Passing::from_message(&message.message).content(),
                reached,
            })
        })
    }

    /// An exchange of one of this shard's sessions was cut.
    pub(crate) fn begin(&mut self, cut: Cut) {
        let packet_id = cut.origin.packet_id.get();
        let (session, content, mut reached) = (cut.publisher, cut.content, cut.reached);
        let same = |begun: &OwnedBegun| begun.session == session && begun.packet_id == packet_id;
        let old = self.begun.iter().position(same).map(|place| self.begun.swap_remove(place));
        if let Some(old) = old {
            // It was cut before, and its repetition was cut again; else the other one is past.
            if old.content == content {
                reached.sessions.extend(old.reached.sessions);
                reached.shares.extend(old.reached.shares);
            }
            self.superseded.extend(old.record);
        }
        self.begun.push(OwnedBegun { record: None, session, packet_id, content, reached });
    }

    /// Everything that the messages of other shards say of exchanges up to this one is known here.
    pub(crate) fn settle_up_to(&mut self, exchange: RecordId) {
        self.settled = Some(exchange);
        self.saw(exchange);
    }

    fn count_memory(&mut self, shard: &Shard) {
        let Some(memory) = &shard.settings.memory else { return };
        let queued = self.messages.iter_mut().map(|owned| &mut owned.message);
        let retained = self.retained.iter_mut().map(|(_, message, _)| message);
        let wills = self.wills.iter_mut().map(|(.., message)| message);
        for message in queued.chain(retained).chain(wills) {
            if let Some(message) = Arc::get_mut(message) {
                message.count(memory);
            }
        }
    }

    /// Puts everything into a new shard, after [`crate::begun::settle_exchanges`]. Other shards are
    /// told of its subscriptions through `out`.
    pub fn finish<O: Output>(mut self, shard: &mut Shard, now: Instant, out: &mut O) -> Restored {
        // Numbers rise with time: this is the order in which everything came about.
        self.messages.sort_unstable_by_key(|message| message.record);
        self.exchanges.sort_unstable_by_key(|(record, ..)| *record);
        self.count_memory(shard);
        let mut found = Restored::default();
        self.highest.values().for_each(|id| shard.journal.seen_id(*id));
        let mut keys = HashMap::with_hasher(FixedState::with_seed(0));
        self.sessions.sort_unstable_by_key(|(uid, _)| core::cmp::Reverse(*uid));
        for (uid, owned) in self.sessions {
            if shard.find_session(&owned.client_id).is_some() {
                // Damage has taken the death of a session whose Client has a younger one.
                shard.journal.kill(RecordId(uid.0), out);
                continue;
            }
            let key = shard.restore_session(uid, owned, now);
            keys.insert(uid, key);
            found.sessions.up(1);
        }
        let mut replays = Vec::new();
        for (record, uid, filter, options, identifier, is_replayed) in self.subscriptions {
            if let Some(&key) = keys.get(&uid) {
                shard.add_subscription(key, &filter, options, identifier, Some(record), out);
                found.subscriptions.up(1);
                if is_replayed {
                    replays.push((key, filter));
                }
            } else {
                shard.journal.kill(record, out);
            }
        }
        for (record, message, source) in self.retained {
            shard.insert_retained(message, source, Some(record));
            found.retained.up(1);
        }
        for (key, filter) in replays {
            shard.restore_replay(key, &filter, out);
        }
        for (record, uid, due, message) in self.wills {
            if let Some(&key) = keys.get(&uid) {
                let will = Will::restored(message, due, record);
                shard.sessions[key].will = Some(Box::new(will));
                shard.timers.set(due, Timer::Will(key, uid));
            } else {
                shard.journal.kill(record, out);
            }
        }
        for begun in self.begun {
            shard.restore_begun(&keys, begun, out);
        }
        self.superseded.into_iter().for_each(|record| shard.journal.kill(record, out));
        let (messages, queued) =
            restore_messages(shard, &keys, self.messages, self.done, self.exchanges, out);
        found.messages = messages;
        found.queued = queued;
        self.newest.into_iter().for_each(|newest| shard.journal.restore_newest(newest, out));
        if let Some(exchange) = self.settled {
            shard.restore_settled(exchange, out);
        }
        keys.into_values().for_each(|key| shard.begin_elsewhere(key));
        found
    }
}

type Keys = HashMap<SessionUid, SessionKey, FixedState>;

/// Messages back into queues and windows, exchanges back into their machines. Returns how many
/// messages there are and how many sessions they wait for in all.
fn restore_messages<O: Output>(
    shard: &mut Shard,
    keys: &Keys,
    messages: Vec<OwnedMessage>,
    done: Vec<(RecordId, RecordId, u32)>,
    exchanges: Vec<(RecordId, SessionUid, u16, Exchange)>,
    out: &mut O,
) -> (usize, usize) {
    let mut done_of: HashMap<RecordId, Vec<(RecordId, u32)>, FixedState> =
        HashMap::with_hasher(FixedState::with_seed(0));
    for (id, message, entry) in done {
        done_of.entry(message).or_default().push((id, entry));
    }
    let mut sent = BTreeMap::new();
    for (id, uid, packet_id, exchange) in exchanges {
        match (keys.get(&uid), exchange) {
            (Some(_), Exchange::Sent(message, entry)) => {
                sent.insert((message, entry), (id, packet_id));
            }
            (Some(&key), exchange) => shard.restore_exchange(key, id, packet_id, exchange, out),
            (None, _) => shard.journal.kill(id, out),
        }
    }
    let mut found = (0_usize, 0_usize);
    for OwnedMessage { record, message, origin, entries } in messages {
        let done = done_of.remove(&record).unwrap_or_default();
        let waiting: Vec<_> = entries
            .into_iter()
            .filter(|entry| done.iter().all(|(_, number)| *number != entry.how.entry()))
            .filter_map(|entry| Some((*keys.get(&entry.session)?, entry)))
            .collect();
        let done: Vec<_> = done.into_iter().map(|(id, _)| id).collect();
        if waiting.is_empty() && origin.is_none() {
            done.into_iter().chain([record]).for_each(|id| shard.journal.kill(id, out));
            continue;
        }
        found.0.up(usize::from(!waiting.is_empty()));
        found.1.up(waiting.len());
        let stored = shard.journal.restore_message(record, origin, waiting.len() as u32, done);
        for (key, entry) in waiting {
            let (how, extra) = (entry.how, entry.extra);
            let kept = Kept { message: Arc::clone(&message), extra, stored: Some(stored), how };
            let exchange = sent.remove(&(record, how.entry()));
            shard.restore_entry(key, kept, exchange, out);
        }
    }
    // What speaks of messages that are gone was superseded in the same breath.
    sent.into_values().for_each(|(id, _)| shard.journal.kill(id, out));
    done_of.into_values().flatten().for_each(|(id, _)| shard.journal.kill(id, out));
    found
}

impl Shard {
    fn restore_session(
        &mut self,
        uid: SessionUid,
        owned: OwnedSession,
        now: Instant,
    ) -> SessionKey {
        let mut session = Session::new(uid, &owned.client_id);
        session.username = owned.username.map(String::into_boxed_str);
        session.listener = ListenerId(owned.listener);
        session.expiry_seconds = owned.expiry_seconds;
        // Connected when the broker went down: absent from now on.
        session.offline_since = owned.offline_since.min(now);
        session.is_recorded = true;
        let key = self.insert_session(session);
        self.set_session_timer(key);
        key
    }

    /// What the other shards' messages said of exchanges up to this one is in the records now, and
    /// they are told once those are kept.
    fn restore_settled<O: Output>(&mut self, exchange: RecordId, out: &mut O) {
        self.journal.settle_restored(exchange, out);
        self.exchanges.restored(self.journal.appended(), exchange);
        let mut everywhere = ShardSet::default();
        self.others().for_each(|shard| everywhere.insert(shard));
        self.exchanges.sent_up_to(exchange, everywhere);
    }

    fn restore_begun<O: Output>(&mut self, keys: &Keys, begun: OwnedBegun, out: &mut O) {
        let packet_id = PacketIdentifier::new(begun.packet_id);
        let Some((&key, packet_id)) = keys.get(&begun.session).zip(packet_id) else {
            begun.record.into_iter().for_each(|record| self.journal.kill(record, out));
            return;
        };
        let record = begun.record.or_else(|| {
            let mut reached = Vec::new();
            begun.reached.encode(&mut reached);
            let record = Record::Begun {
                session: begun.session,
                packet_id: packet_id.get(),
                content: begun.content,
                reached: &reached,
            };
            self.journal.put(&record, out)
        });
        let Some(record) = record else { return };
        let (content, reached) = (begun.content, Arc::new(begun.reached));
        let records = self.sessions[key].records.get_or_insert_default();
        records.begun.insert(packet_id, Begun { record, content, reached });
    }

    /// The last identifiers before a power cut may be on no disk, but a Client that was sent QoS 2
    /// messages under them keeps them until PUBREL. So the session goes on somewhere else.
    fn begin_elsewhere(&mut self, key: SessionKey) {
        let hash = self.hash(&self.sessions[key].client_id);
        const IDENTIFIERS: u64 = u16::MAX as u64;
        let place = ((hash % IDENTIFIERS) as u16).saturating_add(1);
        if let Some(id) = PacketIdentifier::new(place) {
            self.sessions[key].sender.begin_at(id);
        }
    }

    fn restore_exchange<O: Output>(
        &mut self,
        key: SessionKey,
        record: RecordId,
        packet_id: u16,
        exchange: Exchange,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        if let Some(packet_id) = PacketIdentifier::new(packet_id) {
            let records = session.records.get_or_insert_default();
            let state = SenderState::AwaitPubcomp;
            if exchange == Exchange::Received && !session.receiver.contains(packet_id) {
                session.receiver.restore(packet_id);
                records.received.insert(packet_id, record);
                records.found.insert(packet_id);
                return;
            }
            if exchange == Exchange::Released
                && session.sender.restore(packet_id, state, None).is_ok()
            {
                records.sent.insert(packet_id, record);
                return;
            }
        }
        self.journal.kill(record, out);
    }

    /// A message that was sent with QoS 2 is in flight still; all others wait in the queue, those
    /// that were in flight too: it may pass its bound by a window, for they are acknowledged.
    fn restore_entry<O: Output>(
        &mut self,
        key: SessionKey,
        kept: Kept,
        sent: Option<(RecordId, u16)>,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        if let Some((record, packet_id)) = sent {
            let is_free = |id: &PacketIdentifier| session.sender.iter().all(|f| f.id != *id);
            if let Some(packet_id) = PacketIdentifier::new(packet_id).filter(is_free) {
                let size = kept.message.payload().len() as u32;
                let state = match kept.how.qos() {
                    mqtt_proto::QoS::ExactlyOnce => SenderState::AwaitPubrec,
                    _ => SenderState::AwaitPuback,
                };
                let flight = Flight { kept: Some(kept), size };
                if session.sender.restore(packet_id, state, Some(flight)).is_ok() {
                    session.records.get_or_insert_default().sent.insert(packet_id, record);
                }
                return;
            }
            self.journal.kill(record, out);
        }
        self.stats.queued.up(1);
        self.stats.queued_bytes.up(kept.message.size() as u64);
        let expires = kept.message.expires_at < Instant::NEVER;
        self.sessions[key].queue.push(kept);
        if expires {
            self.start_queue_sweep(Instant(0));
        }
    }
}

fn owned_message(record: MessageRecord<'_>) -> Arc<Message> {
    Passing {
        properties: record.properties,
        expires_at: record.expires_at,
        publisher: record.publisher,
        ..Passing::internal(record.topic, record.payload, record.qos, record.retain)
    }
    .keep()
}

/// The shard that a record of another shard layout belongs to, when it can be told from the record
/// alone: sessions by their Client Identifier, retained messages by their topic.
pub fn owner_hash(text: &str) -> u64 {
    FixedState::with_seed(0).hash_one(text.as_bytes())
}
