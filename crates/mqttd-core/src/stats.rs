//! Counters of one shard, behind `$SYS`.

use crate::drops::DropReason;
use mqtt_proto::count::Count;

/// Counted since the shard was made, except where "now" is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Control Packets received.
    pub packets_received: u64,
    /// Control Packets sent.
    pub packets_sent: u64,
    /// PUBLISH packets received.
    pub publish_received: u64,
    /// PUBLISH packets sent.
    pub publish_sent: u64,
    /// Payload bytes of PUBLISH packets received.
    pub publish_bytes_received: u64,
    /// Payload bytes of PUBLISH packets sent.
    pub publish_bytes_sent: u64,
    /// Messages dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::COUNT],
    /// Sessions now, connected or not.
    pub sessions: u64,
    /// Connected sessions now.
    pub connected: u64,
    /// Sessions that reached their Session Expiry Interval.
    pub expired_sessions: u64,
    /// Subscriptions now, shared ones included.
    pub subscriptions: u64,
    /// Shared subscriptions now.
    pub shared_subscriptions: u64,
    /// Retained messages kept by this shard now.
    pub retained: u64,
    /// Their bytes: topics, properties and payloads.
    pub retained_bytes: u64,
    /// Messages waiting for sessions now, behind those in flight; counted once for each session.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
}

impl Stats {
    /// Messages dropped for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Counts a drop. For one that is to be remembered: `Shard::note_drop`.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            count.up(1);
        }
    }

    /// Adds another shard's counters.
    pub fn add(&mut self, other: &Self) {
        self.packets_received.up(other.packets_received);
        self.packets_sent.up(other.packets_sent);
        self.publish_received.up(other.publish_received);
        self.publish_sent.up(other.publish_sent);
        self.publish_bytes_received.up(other.publish_bytes_received);
        self.publish_bytes_sent.up(other.publish_bytes_sent);
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            mine.up(theirs);
        }
        self.sessions.up(other.sessions);
        self.connected.up(other.connected);
        self.expired_sessions.up(other.expired_sessions);
        self.subscriptions.up(other.subscriptions);
        self.shared_subscriptions.up(other.shared_subscriptions);
        self.retained.up(other.retained);
        self.retained_bytes.up(other.retained_bytes);
        self.queued.up(other.queued);
        self.queued_bytes.up(other.queued_bytes);
    }
}
