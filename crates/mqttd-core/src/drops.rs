//! Why a message did not reach a receiver. Nothing is dropped without one of these.

use alloc::string::String;
use alloc::vec::Vec;

use crate::time::Instant;

/// Drops that a shard remembers.
pub const RECENT_DROPS: usize = 100;

/// Bytes of a topic or Client Identifier that are remembered.
pub const DROP_TEXT_BYTES_MAX: usize = 256;

/// One drop, for whoever asks what was dropped last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// When.
    pub at: Instant,
    /// Why; `None` in a place that was never used.
    pub reason: Option<DropReason>,
    /// The Client concerned: the receiver, or the publisher of what was refused. May be cut.
    pub client_id: String,
    /// Where it was published. May be cut; empty when it is no longer known.
    pub topic: String,
}

/// The last drops of a shard, in a ring that is made at the first one. What the rules ask for and
/// happens all the time is counted but not remembered here: QoS 0 to the absent, and messages that
/// a receiver may not read.
#[derive(Default)]
pub(crate) struct RecentDrops {
    ring: Vec<Dropped>,
    next: usize,
}

impl RecentDrops {
    pub(crate) fn add(&mut self, at: Instant, reason: DropReason, client_id: &str, topic: &str) {
        if self.ring.len() < RECENT_DROPS {
            self.ring.push(Dropped::default());
        }
        let Some(place) = self.ring.get_mut(self.next) else { return };
        self.next = self.next.wrapping_add(1) % RECENT_DROPS;
        place.at = at;
        place.reason = Some(reason);
        set(&mut place.client_id, client_id);
        set(&mut place.topic, topic);
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Dropped> {
        let (newer, older) = self.ring.split_at(self.next.min(self.ring.len()));
        older.iter().chain(newer)
    }
}

/// Reuses the memory of what stood there.
fn set(place: &mut String, text: &str) {
    let end = text.len().min(DROP_TEXT_BYTES_MAX);
    let whole = (0..=end).rev().find_map(|end| text.get(..end));
    place.clear();
    place.push_str(whole.unwrap_or_default());
}

/// The named reasons; each has a counter in [`crate::stats::Stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The session's queue holds `max_queued_messages` or `max_queued_bytes`.
    QueueFull,
    /// QoS 0, and the receiver does not read fast enough.
    SlowReader,
    /// QoS 0 for a session that is not connected.
    Offline,
    /// The Message Expiry Interval has passed.
    Expired,
    /// Larger than the receiver's Maximum Packet Size [MQTT-3.1.2-24].
    PacketTooLarge,
    /// The receiver may not read the topic.
    NotAuthorized,
    /// Larger than `message_size_limit`.
    PayloadTooLarge,
    /// The session ended with the message still waiting.
    SessionEnded,
    /// The receiver answered with an error.
    RefusedByReceiver,
    /// Not the UTF-8 that its Payload Format Indicator promises (`check_payload_format`).
    PayloadFormatInvalid,
    /// A retained message whose publisher may not publish it any more.
    SourceNotAuthorized,
    /// More topic levels than `max_topic_levels`.
    TopicTooDeep,
    /// `memory_limit` is reached; the publisher was told.
    MemoryLimit,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 13;

    /// All of them, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::QueueFull,
        Self::SlowReader,
        Self::Offline,
        Self::Expired,
        Self::PacketTooLarge,
        Self::NotAuthorized,
        Self::PayloadTooLarge,
        Self::SessionEnded,
        Self::RefusedByReceiver,
        Self::PayloadFormatInvalid,
        Self::SourceNotAuthorized,
        Self::TopicTooDeep,
        Self::MemoryLimit,
    ];

    /// A short name for counters and log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SlowReader => "slow_reader",
            Self::Offline => "offline",
            Self::Expired => "expired",
            Self::PacketTooLarge => "packet_too_large",
            Self::NotAuthorized => "not_authorized",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SessionEnded => "session_ended",
            Self::RefusedByReceiver => "refused_by_receiver",
            Self::PayloadFormatInvalid => "payload_format_invalid",
            Self::SourceNotAuthorized => "source_not_authorized",
            Self::TopicTooDeep => "topic_too_deep",
            Self::MemoryLimit => "memory_limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_are_remembered_in_order_and_long_texts_are_cut() {
        let mut drops = RecentDrops::default();
        for number in 0..250_u64 {
            let topic = format!("{number}");
            drops.add(Instant(number), DropReason::Expired, "id", &topic);
            let first = number.saturating_sub(RECENT_DROPS as u64 - 1);
            assert!(drops.iter().map(|drop| drop.at.0).eq(first..=number));
        }
        drops.add(Instant(0), DropReason::QueueFull, &"ü".repeat(1000), "x");
        let last = drops.iter().last().unwrap();
        assert_eq!((last.client_id.len(), last.topic.as_str()), (DROP_TEXT_BYTES_MAX, "x"));
        assert_eq!(last.reason, Some(DropReason::QueueFull));
    }

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(DropReason::ALL.iter().filter(|r| r.name() == reason.name()).count(), 1);
        }
    }
}
