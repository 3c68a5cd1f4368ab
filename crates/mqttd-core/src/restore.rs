//! Records → state at start. The state must equal the one that wrote the records.
//!
//! Records come in any order between kinds; what refers to something else is put together at the
//! end.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::qos::SenderState;
use mqtt_proto::{PacketIdentifier, QoS};

use crate::deliver::GrantExtra;
use crate::expiry::Timer;
use crate::ids::{ListenerId, RecordId, SessionKey, SessionUid};
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::{MessageRecord, Record, UnreadableRecord};
use crate::session::{Flight, Kept, NEVER_EXPIRES, Session};
use crate::shard::Shard;
use crate::time::Instant;
use crate::will::Will;

/// Collects a shard's records, then becomes its state.
#[derive(Default)]
pub struct Restore {
    sessions: Vec<(SessionUid, OwnedSession)>,
    subscriptions: Vec<(RecordId, SessionUid, Box<str>, SubscriptionOptions, u32)>,
    messages: Vec<(RecordId, Arc<Message>, Vec<OwnedEntry>)>,
    done: Vec<(RecordId, RecordId, SessionUid)>,
    exchanges: Vec<(RecordId, SessionUid, u16, Exchange)>,
    retained: Vec<(RecordId, Arc<Message>)>,
    wills: Vec<(RecordId, SessionUid, Instant, Arc<Message>)>,
    highest: Vec<RecordId>,
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
    qos: QoS,
    retain: bool,
    extra: Option<Arc<GrantExtra>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    Sent(RecordId),
    Released,
    Received,
}

impl Restore {
    /// Takes one live record of the log.
    ///
    /// # Errors
    /// A record this version can't read; nothing of it is used.
    pub fn record(&mut self, id: RecordId, bytes: &[u8]) -> Result<(), UnreadableRecord> {
        self.highest.push(id);
        if self.highest.len() > 1024 {
            let highest = self.highest.iter().copied().max();
            self.highest = highest.into_iter().collect();
        }
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
            Record::Subscription { session, filter, options, identifier } => {
                self.subscriptions.push((id, session, filter.into(), options, identifier));
            }
            Record::Message { message, entries } => {
                let entries = Record::entries(entries).map(|entry| {
                    let share = (!entry.share.is_empty()).then_some(entry.share);
                    let extra = GrantExtra::from_encoded(entry.identifiers.to_vec(), share);
                    OwnedEntry {
                        session: entry.session,
                        qos: entry.qos,
                        retain: entry.retain,
                        extra: extra.map(Arc::new),
                    }
                });
                self.messages.push((id, owned_message(message), entries.collect()));
            }
            Record::Done { message, session } => self.done.push((id, message, session)),
            Record::Sent { session, packet_id, message } => {
                self.exchanges.push((id, session, packet_id, Exchange::Sent(message)));
            }
            Record::Released { session, packet_id } => {
                self.exchanges.push((id, session, packet_id, Exchange::Released));
            }
            Record::Received { session, packet_id } => {
                self.exchanges.push((id, session, packet_id, Exchange::Received));
            }
            Record::Retained(message) => self.retained.push((id, owned_message(message))),
            Record::Will { session, due, message } => {
                self.wills.push((id, session, due, owned_message(message)));
            }
        }
        Ok(())
    }

    /// Puts everything into a new shard. Other shards are told of its subscriptions through `out`.
    pub fn finish<O: Output>(self, shard: &mut Shard, now: Instant, out: &mut O) -> Restored {
        let mut found = Restored::default();
        self.highest.iter().for_each(|id| shard.journal.seen_id(*id));
        let mut keys = HashMap::with_hasher(FixedState::with_seed(0));
        for (uid, owned) in self.sessions {
            shard.journal.seen_id(RecordId(uid.0));
            let key = shard.restore_session(uid, owned, now);
            keys.insert(uid, key);
            found.sessions += 1;
        }
        for (record, uid, filter, options, identifier) in self.subscriptions {
            if let Some(&key) = keys.get(&uid) {
                shard.add_subscription(key, &filter, options, identifier, Some(record), out);
                found.subscriptions += 1;
            } else {
                shard.journal.kill(record, out);
            }
        }
        for (record, message) in self.retained {
            shard.insert_retained(message, Some(record));
            found.retained += 1;
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
        let mut done: HashMap<RecordId, Vec<(RecordId, SessionUid)>, FixedState> =
            HashMap::with_hasher(FixedState::with_seed(0));
        for (id, message, session) in self.done {
            done.entry(message).or_default().push((id, session));
        }
        let mut sent = HashMap::with_hasher(FixedState::with_seed(0));
        for &(id, uid, packet_id, exchange) in &self.exchanges {
            match (keys.get(&uid), exchange) {
                (Some(_), Exchange::Sent(message)) => {
                    sent.insert((uid, message), (id, packet_id));
                }
                (Some(&key), exchange) => shard.restore_exchange(key, id, packet_id, exchange),
                (None, _) => shard.journal.kill(id, out),
            }
        }
        for (record, message, entries) in self.messages {
            let done = done.remove(&record).unwrap_or_default();
            let waiting: Vec<_> = entries
                .into_iter()
                .filter(|entry| done.iter().all(|(_, session)| *session != entry.session))
                .filter_map(|entry| Some((*keys.get(&entry.session)?, entry)))
                .collect();
            let done: Vec<_> = done.into_iter().map(|(id, _)| id).collect();
            if waiting.is_empty() {
                done.into_iter().chain([record]).for_each(|id| shard.journal.kill(id, out));
                continue;
            }
            found.messages += 1;
            found.queued += waiting.len();
            let stored = shard.journal.restore_message(record, waiting.len() as u32, done);
            for (key, entry) in waiting {
                let kept = Kept {
                    message: Arc::clone(&message),
                    extra: entry.extra,
                    stored: Some(stored),
                    qos: entry.qos,
                    retain: entry.retain,
                };
                shard.restore_entry(key, kept, sent.remove(&(entry.session, record)));
            }
        }
        // What is left was sent and acknowledged in the same breath.
        sent.into_values().for_each(|(id, _)| shard.journal.kill(id, out));
        found
    }
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
        let due = session.offline_since.plus_seconds(session.expiry_seconds);
        let expires = session.expiry_seconds != NEVER_EXPIRES;
        let key = self.insert_session(session);
        if expires {
            self.timers.set(due, Timer::Session(key, uid));
        }
        key
    }

    fn restore_exchange(
        &mut self,
        key: SessionKey,
        record: RecordId,
        packet_id: u16,
        exchange: Exchange,
    ) {
        let Some(packet_id) = PacketIdentifier::new(packet_id) else { return };
        let session = &mut self.sessions[key.0 as usize];
        let records = session.records.get_or_insert_default();
        if exchange == Exchange::Received {
            session.receiver.restore(packet_id);
            records.received.insert(packet_id, record);
        } else if session.sender.restore(packet_id, SenderState::AwaitPubcomp, None).is_ok() {
            records.sent.insert(packet_id, record);
        }
    }

    fn restore_entry(&mut self, key: SessionKey, kept: Kept, sent: Option<(RecordId, u16)>) {
        let size = kept.message.payload().len() as u32;
        let session = &mut self.sessions[key.0 as usize];
        if let Some((record, packet_id)) = sent {
            if let Some(packet_id) = PacketIdentifier::new(packet_id) {
                let flight = Flight { kept: Some(kept), size };
                let state = SenderState::AwaitPubrec;
                if session.sender.restore(packet_id, state, Some(flight)).is_ok() {
                    session.records.get_or_insert_default().sent.insert(packet_id, record);
                }
                return;
            }
        }
        self.stats.queued += 1;
        self.stats.queued_bytes += kept.message.size() as u64;
        self.sessions[key.0 as usize].queue.push(kept);
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
