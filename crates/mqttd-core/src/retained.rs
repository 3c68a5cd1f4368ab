//! Retained messages (MQTT 3.3.1.3). Each topic belongs to one shard, chosen by its hash; the
//! others send it what is to be kept.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::hash::BuildHasher;
use mqtt_proto::count::Count;

use foldhash::fast::FixedState;
use mqtt_proto::QoS;
use mqtt_proto::topic::NameTree;

use crate::acknowledge::Wait;
use crate::envelope::{Envelope, Token};
use crate::expiry::Timer;
use crate::ids::{RecordId, SessionKey, ShardId};
use crate::journal::message_record;
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::Record;
use crate::shard::Shard;
use crate::source::Source;
use crate::time::Instant;

/// A topic's retained message.
pub(crate) struct Retained {
    pub(crate) message: Arc<Message>,
    pub(crate) source: Option<Arc<Source>>,
    record: Option<RecordId>,
    number: u64,
}

/// This shard's part of the retained messages.
pub(crate) struct RetainedMessages {
    pub(crate) tree: NameTree<Retained>,
    owner: FixedState,
    /// Those that expire, by when and [`Retained::number`].
    expiring: BTreeMap<(Instant, u64), Arc<Message>>,
    made: u64,
    /// When the timer that counts is due.
    pub(crate) timer_at: Instant,
}

impl RetainedMessages {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            tree: NameTree::new(seed),
            // The same in every shard and every run: records stay with their shard.
            owner: FixedState::with_seed(0),
            expiring: BTreeMap::new(),
            made: 0,
            timer_at: Instant::NEVER,
        }
    }

    /// The shard that keeps the topic's retained message.
    pub(crate) fn owner(&self, topic: &str, shards: u8) -> ShardId {
        if shards == 1 {
            return ShardId(0);
        }
        let hash = self.owner.hash_one(topic.as_bytes());
        ShardId(hash.checked_rem(u64::from(shards)).unwrap_or_default() as u8)
    }
}

impl Shard {
    /// Keeps a message published with RETAIN, or clears its topic when the payload is empty
    /// [MQTT-3.3.1-6]. `from` is the publisher's session. Returns what the publisher's answer has
    /// to wait for.
    pub(crate) fn retain<O: Output>(
        &mut self,
        message: &mut Passing<'_>,
        from: Option<SessionKey>,
        token: Option<Token>,
        now: Instant,
        out: &mut O,
    ) -> Wait {
        let owner = self.retained.owner(message.topic, self.shards);
        let message = message.keep();
        let source = from.map(|key| self.source(key));
        if owner == self.id {
            return self.set_retained(message, source, now, out);
        }
        out.to_shard(owner, Envelope::Retain { message, source, confirm: token });
        Wait { confirms: u16::from(token.is_some()), ..Wait::default() }
    }

    /// The message is retained, and by another shard.
    pub(crate) fn is_retained_elsewhere(&self, message: &Passing<'_>) -> bool {
        message.retain
            && self.settings.retain_available
            && self.retained.owner(message.topic, self.shards) != self.id
    }

    /// Keeps or clears a topic of this shard's own. Returns what the answer waits for.
    pub(crate) fn set_retained<O: Output>(
        &mut self,
        message: Arc<Message>,
        source: Option<Arc<Source>>,
        now: Instant,
        out: &mut O,
    ) -> Wait {
        let before = self.journal.appended();
        let (topic, is_answered) = (message.topic(), message.qos > QoS::AtMostOnce);
        let old = self.retained.tree.get(topic).and_then(|retained| retained.record);
        if message.payload().is_empty() {
            self.remove_retained(topic, out);
        } else {
            let message = self.with_retain_expiry(message, now);
            // What the Server says about itself is said anew after a restart.
            let record = if message.topic().starts_with("$SYS/") {
                None
            } else {
                let id = old.unwrap_or_else(|| self.journal.new_id());
                let from = source.as_deref().map(Source::record);
                self.journal.put_as(id, &Record::Retained(message_record(&message), from), out);
                self.journal.is_on().then_some(id)
            };
            self.insert_retained(message, source, record);
        }
        let appended = self.journal.appended();
        if appended > before {
            Wait::for_log(appended)
        } else if is_answered {
            // Cleared before: the log may have refused it.
            self.journal.as_it_is()
        } else {
            Wait::default()
        }
    }

    pub(crate) fn insert_retained(
        &mut self,
        message: Arc<Message>,
        source: Option<Arc<Source>>,
        record: Option<RecordId>,
    ) {
        let expires_at = message.expires_at;
        self.retained.made.up(1);
        let number = self.retained.made;
        if expires_at < Instant::NEVER {
            self.retained.expiring.insert((expires_at, number), Arc::clone(&message));
        }
        let retained = Retained { message: Arc::clone(&message), source, record, number };
        self.stats.retained_bytes.up(message.size() as u64);
        if let Some(old) = self.retained.tree.insert(message.topic(), retained) {
            self.stats.retained_bytes.down(old.message.size() as u64);
            self.retained.expiring.remove(&(old.message.expires_at, old.number));
        }
        self.stats.retained = self.retained.tree.len() as u64;
        self.set_retained_timer();
    }

    fn remove_retained<O: Output>(&mut self, topic: &str, out: &mut O) {
        let Some(old) = self.retained.tree.remove(topic) else { return };
        self.stats.retained_bytes.down(old.message.size() as u64);
        self.retained.expiring.remove(&(old.message.expires_at, old.number));
        if let Some(record) = old.record {
            self.journal.kill(record, out);
        }
        self.stats.retained = self.retained.tree.len() as u64;
    }

    /// One timer for the first expiry; those it replaces find nothing to do.
    fn set_retained_timer(&mut self) {
        let Some((&(first, _), _)) = self.retained.expiring.first_key_value() else { return };
        if first < self.retained.timer_at {
            self.retained.timer_at = first;
            self.timers.set(first, Timer::Retained);
            self.prune_timers();
        }
    }

    fn with_retain_expiry(&self, message: Arc<Message>, now: Instant) -> Arc<Message> {
        match self.settings.retain_expiry_seconds {
            Some(seconds) if message.expires_at == Instant::NEVER => {
                let expires_at = now.plus_millis(seconds.saturating_mul(1000));
                let mut passing = Passing::from_message(&message).forget_kept();
                passing.expires_at = expires_at;
                passing.keep()
            }
            _ => message,
        }
    }

    /// Clears what has expired, and sets the timer for the next.
    pub(crate) fn expire_retained<O: Output>(&mut self, now: Instant, out: &mut O) {
        if self.retained.timer_at > now {
            return;
        }
        while let Some(first) = self.retained.expiring.first_entry() {
            if first.key().0 > now {
                break;
            }
            let message = first.remove();
            self.remove_retained(message.topic(), out);
        }
        self.retained.timer_at = Instant::NEVER;
        self.set_retained_timer();
    }
}
