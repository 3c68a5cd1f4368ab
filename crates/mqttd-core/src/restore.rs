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

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mqtt_proto::PacketIdentifier;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::qos::SenderState;

use crate::expiry::Timer;
use crate::grant::GrantExtra;
use crate::ids::{ListenerId, RecordId, SessionKey, SessionUid};
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::{MessageRecord, Record, UnreadableRecord};
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
    messages: Vec<(RecordId, Arc<Message>, Vec<OwnedEntry>)>,
    /// Record, message, entry.
    done: Vec<(RecordId, RecordId, u32)>,
    exchanges: Vec<(RecordId, SessionUid, u16, Exchange)>,
    retained: Vec<(RecordId, Arc<Message>, Option<Arc<Source>>)>,
    wills: Vec<(RecordId, SessionUid, Instant, Arc<Message>)>,
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
            Record::Message { message, entries } => {
                let entries = (0..).zip(Record::entries(entries)).map(|(number, entry)| {
                    let share = (!entry.share.is_empty()).then_some(entry.share);
                    let extra = GrantExtra::from_encoded(entry.identifiers.to_vec(), share);
                    OwnedEntry {
                        session: entry.session,
                        how: How::new(entry.qos, entry.retain, number),
                        extra: extra.map(Arc::new),
                    }
                });
                self.messages.push((id, owned_message(message), entries.collect()));
            }
            Record::Done { message, entry } => self.done.push((id, message, entry)),
            Record::Sent { session, packet_id, message, entry } => {
                self.exchanges.push((id, session, packet_id, Exchange::Sent(message, entry)));
            }
            Record::Released { session, packet_id } => {
                self.exchanges.push((id, session, packet_id, Exchange::Released));
            }
            Record::Received { session, packet_id } => {
                self.exchanges.push((id, session, packet_id, Exchange::Received));
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

    /// Puts everything into a new shard. Other shards are told of its subscriptions through `out`.
    pub fn finish<O: Output>(mut self, shard: &mut Shard, now: Instant, out: &mut O) -> Restored {
        // Numbers rise with time: this is the order in which everything came about.
        self.messages.sort_unstable_by_key(|(record, ..)| *record);
        self.exchanges.sort_unstable_by_key(|(record, ..)| *record);
        let mut found = Restored::default();
        self.highest.values().for_each(|id| shard.journal.seen_id(*id));
        let mut keys = HashMap::with_hasher(FixedState::with_seed(0));
        for (uid, owned) in self.sessions {
            let key = shard.restore_session(uid, owned, now);
            keys.insert(uid, key);
            found.sessions += 1;
        }
        let mut replays = Vec::new();
        for (record, uid, filter, options, identifier, is_replayed) in self.subscriptions {
            if let Some(&key) = keys.get(&uid) {
                shard.add_subscription(key, &filter, options, identifier, Some(record), out);
                found.subscriptions += 1;
                if is_replayed {
                    replays.push((key, filter));
                }
            } else {
                shard.journal.kill(record, out);
            }
        }
        for (record, message, source) in self.retained {
            shard.insert_retained(message, source, Some(record));
            found.retained += 1;
        }
        for (key, filter) in replays {
            shard.restore_replay(key, &filter, out);
        }
        for (record, uid, due, message) in self.wills {
            if let Some(&key) = keys.get(&uid) {
                let will = Will::restored(message, due, record);
                shard.sessions[key.0 as usize].will = Some(Box::new(will));
                shard.timers.set(due, Timer::Will(key, uid));
            } else {
                shard.journal.kill(record, out);
            }
        }
        let (messages, queued) =
            restore_messages(shard, &keys, self.messages, self.done, self.exchanges, out);
        found.messages = messages;
        found.queued = queued;
        found
    }
}

type Keys = HashMap<SessionUid, SessionKey, FixedState>;

/// Messages back into queues and windows, exchanges back into their machines. Returns how many
/// messages there are and how many sessions they wait for in all.
fn restore_messages<O: Output>(
    shard: &mut Shard,
    keys: &Keys,
    messages: Vec<(RecordId, Arc<Message>, Vec<OwnedEntry>)>,
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
    let mut found = (0, 0);
    for (record, message, entries) in messages {
        let done = done_of.remove(&record).unwrap_or_default();
        let waiting: Vec<_> = entries
            .into_iter()
            .filter(|entry| done.iter().all(|(_, number)| *number != entry.how.entry()))
            .filter_map(|entry| Some((*keys.get(&entry.session)?, entry)))
            .collect();
        let done: Vec<_> = done.into_iter().map(|(id, _)| id).collect();
        if waiting.is_empty() {
            done.into_iter().chain([record]).for_each(|id| shard.journal.kill(id, out));
            continue;
        }
        found = (found.0 + 1, found.1 + waiting.len());
        let stored = shard.journal.restore_message(record, waiting.len() as u32, done);
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

    fn restore_exchange<O: Output>(
        &mut self,
        key: SessionKey,
        record: RecordId,
        packet_id: u16,
        exchange: Exchange,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key.0 as usize];
        if let Some(packet_id) = PacketIdentifier::new(packet_id) {
            let records = session.records.get_or_insert_default();
            let state = SenderState::AwaitPubcomp;
            if exchange == Exchange::Received && !session.receiver.contains(packet_id) {
                session.receiver.restore(packet_id);
                records.received.insert(packet_id, record);
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

    /// A message that was sent with QoS 2 is in flight still; all others wait in the queue.
    fn restore_entry<O: Output>(
        &mut self,
        key: SessionKey,
        kept: Kept,
        sent: Option<(RecordId, u16)>,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key.0 as usize];
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
        self.stats.queued += 1;
        self.stats.queued_bytes += kept.message.size() as u64;
        let expires = kept.message.expires_at < Instant::NEVER;
        self.sessions[key.0 as usize].queue.push(kept);
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
