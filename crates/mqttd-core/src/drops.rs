//! Why a message did not reach a receiver. Nothing is dropped without one of these.

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
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 11;

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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(DropReason::ALL.iter().filter(|r| r.name() == reason.name()).count(), 1);
        }
    }
}
