//! Retained messages (MQTT 3.3.1.3). Each topic belongs to one shard, chosen by its hash; the
//! others send it what is to be kept.

use alloc::sync::Arc;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use mqtt_proto::topic::NameTree;

use crate::acknowledge::Wait;
use crate::envelope::{Envelope, Token};
use crate::expiry::Timer;
use crate::ids::{Lsn, RecordId, ShardId};
use crate::journal::message_record;
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::Record;
use crate::shard::Shard;
use crate::time::Instant;

/// A topic's retained message.
pub(crate) struct Retained {
    pub(crate) message: Arc<Message>,
    record: Option<RecordId>,
}

/// This shard's part of the retained messages.
pub(crate) struct RetainedMessages {
    pub(crate) tree: NameTree<Retained>,
    owner: FixedState,
    /// The earliest expiry a timer is set for.
    sweep_at: Instant,
}

impl RetainedMessages {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            tree: NameTree::new(seed),
            // The same in every shard and every run: records stay with their shard.
            owner: FixedState::with_seed(0),
            sweep_at: Instant::NEVER,
        }
    }

    /// The shard that keeps the topic's retained message.
    pub(crate) fn owner(&self, topic: &str, shards: u8) -> ShardId {
        if shards == 1 {
            return ShardId(0);
        }
        ShardId((self.owner.hash_one(topic.as_bytes()) % u64::from(shards)) as u8)
    }
}

impl Shard {
    /// Keeps a message published with RETAIN, or clears its topic when the payload is empty
    /// [MQTT-3.3.1-6]. Returns what the publisher's answer has to wait for.
    pub(crate) fn retain<O: Output>(
        &mut self,
        message: &mut Passing<'_>,
        token: Option<Token>,
        now: Instant,
        out: &mut O,
    ) -> Wait {
        let owner = self.retained.owner(message.topic, self.shards);
        let message = message.keep();
        if owner == self.id {
            return Wait { need: self.set_retained(message, now, out), confirms: 0 };
        }
        out.to_shard(owner, Envelope::Retain { message, confirm: token });
        Wait { need: Lsn::default(), confirms: u16::from(token.is_some()) }
    }

    /// Keeps or clears a topic of this shard's own.
    pub(crate) fn set_retained<O: Output>(
        &mut self,
        message: Arc<Message>,
        now: Instant,
        out: &mut O,
    ) -> Lsn {
        let before = self.journal.appended();
        let topic = message.topic();
        let old = self.retained.tree.get(topic).and_then(|retained| retained.record);
        if message.payload().is_empty() {
            self.retained.tree.remove(topic);
            if let Some(record) = old {
                self.journal.kill(record, out);
            }
        } else {
            let message = self.with_retain_expiry(message, now);
            // What the Server says about itself is said anew after a restart.
            let record = if message.topic().starts_with("$SYS/") {
                None
            } else {
                let id = old.unwrap_or_else(|| self.journal.new_id());
                self.journal.put_as(id, &Record::Retained(message_record(&message)), out);
                self.journal.is_on().then_some(id)
            };
            self.insert_retained(message, record);
        }
        self.stats.retained = self.retained.tree.len() as u64;
        let appended = self.journal.appended();
        if appended > before { appended } else { Lsn::default() }
    }

    pub(crate) fn insert_retained(&mut self, message: Arc<Message>, record: Option<RecordId>) {
        if message.expires_at < self.retained.sweep_at {
            self.retained.sweep_at = message.expires_at;
            self.timers.set(message.expires_at, Timer::Retained);
        }
        let retained = Retained { message: Arc::clone(&message), record };
        self.retained.tree.insert(message.topic(), retained);
        self.stats.retained = self.retained.tree.len() as u64;
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
        let mut next = Instant::NEVER;
        let mut expired = alloc::vec::Vec::new();
        self.retained.tree.for_each(|topic, retained| {
            if retained.message.expires_at <= now {
                expired.push(alloc::string::String::from(topic));
            } else {
                next = next.min(retained.message.expires_at);
            }
        });
        for topic in expired {
            if let Some(Retained { record: Some(record), .. }) = self.retained.tree.remove(&topic) {
                self.journal.kill(record, out);
            }
        }
        self.stats.retained = self.retained.tree.len() as u64;
        self.retained.sweep_at = next;
        // Not more than one sweep a second, however the expiries are spread.
        self.timers
            .set(next.max(now.plus_millis(1000)).min(next.plus_millis(1000)), Timer::Retained);
    }
}
