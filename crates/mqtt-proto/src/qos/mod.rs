//! Quality of service: the three levels and both halves of the QoS 1 and 2 exchanges
//! (MQTT 4.3, 4.4, 4.9).
//!
//! The machines know Packet Identifiers and states; packets are read and written elsewhere, and
//! so is the choice of what to send next.

use core::fmt;

mod receiver;
mod ring;
mod sender;
mod slots;

pub use receiver::{ReceiveMaximumExceeded, Received, Receiver};
pub use sender::{
    InFlight, PubrecOutcome, Resend, RestoreError, Sender, SenderOffence, SenderState,
};

/// How surely a message arrives (MQTT 4.3). Ordered by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Not acknowledged: may be lost.
    AtMostOnce = 0,
    /// PUBLISH, PUBACK: may arrive twice.
    AtLeastOnce = 1,
    /// PUBLISH, PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level with this number; `None` for 3 and above \[MQTT-3.3.1-4\].
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number on the wire.
    #[inline]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The weaker of two: a message goes out at the least of the QoS it was published with and the
    /// one that was granted \[MQTT-3.8.4-8\].
    #[inline]
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if (self as u8) < (other as u8) { self } else { other }
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_order() {
        for number in 0..=2 {
            assert_eq!(QoS::from_u8(number).map(QoS::as_u8), Some(number));
        }
        assert_eq!(QoS::from_u8(3), None);
        assert_eq!(QoS::AtLeastOnce.min(QoS::ExactlyOnce), QoS::AtLeastOnce);
        assert_eq!(QoS::AtLeastOnce.min(QoS::AtMostOnce), QoS::AtMostOnce);
        assert!(QoS::AtMostOnce < QoS::ExactlyOnce);
    }
}
