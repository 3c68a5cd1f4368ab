//! Quality of Service (MQTT 4.3).

/// How sure delivery is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Fire and forget.
    AtMostOnce = 0,
    /// Acknowledged; may arrive twice.
    AtLeastOnce = 1,
    /// Acknowledged twice; arrives once.
    ExactlyOnce = 2,
}

impl QoS {
    /// `None` for 3 and above.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}
