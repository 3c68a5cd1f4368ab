//! The protocol versions and every difference in behaviour between them, as named predicates.
//!
//! Outside encoding and decoding this is the only file that compares versions.

use core::fmt;

/// A version of the protocol, as the CONNECT packet names it (MQTT 3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`, level 3.
    V31 = 3,
    /// MQTT 3.1.1, protocol name `MQTT`, level 4.
    V311 = 4,
    /// MQTT 5.0, protocol name `MQTT`, level 5.
    V5 = 5,
}

impl Version {
    /// The protocol level byte of CONNECT.
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The protocol name of CONNECT.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Packets carry property blocks and acknowledgements carry reason codes.
    #[inline]
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }

    /// PUBREL, SUBSCRIBE and UNSUBSCRIBE carry DUP and QoS as PUBLISH does, and a receiver reads
    /// past them (3.1, section 2.1: a repeated PUBREL has DUP set); since 3.1.1 those flags have
    /// one value only.
    pub const fn requests_carry_dup(self) -> bool {
        matches!(self, Self::V31)
    }

    /// The Server may tell why it ends a connection (DISCONNECT from the Server, 5.0 only).
    pub const fn server_may_send_disconnect(self) -> bool {
        matches!(self, Self::V5)
    }

    /// A zero-length Client Identifier asks the Server for one (3.1.1 and 5.0).
    pub const fn allows_empty_client_id(self) -> bool {
        !matches!(self, Self::V31)
    }

    /// In 3.1.1 an empty identifier is only allowed with Clean Session [MQTT-3.1.3-7].
    pub const fn empty_client_id_needs_clean_start(self) -> bool {
        matches!(self, Self::V311)
    }

    /// The longest Client Identifier in UTF-8 characters: 23 in 3.1, unlimited since.
    ///
    /// Mosquitto accepts longer ones from 3.1 clients, and so do we; the tools keep the limit
    /// when they generate one.
    pub const fn client_id_characters_max(self) -> Option<usize> {
        match self {
            Self::V31 => Some(23),
            Self::V311 | Self::V5 => None,
        }
    }

    /// Without a Session Expiry Interval, a session with Clean Session 0 lives on after its
    /// connection (3.x); in 5.0 it ends with it.
    pub const fn session_outlives_connection_by_default(self) -> bool {
        !matches!(self, Self::V5)
    }

    /// 3.1.1 forbids a password without a user name [MQTT-3.1.2-22]; 5.0 allows it.
    pub const fn password_needs_username(self) -> bool {
        !matches!(self, Self::V5)
    }

    /// SUBACK can tell a refusal from a grant: 0x80 since 3.1.1, reason codes in 5.0. In 3.1 only
    /// granted QoS levels exist.
    pub const fn suback_can_refuse(self) -> bool {
        !matches!(self, Self::V31)
    }

    /// CONNACK carries Session Present (since 3.1.1).
    pub const fn has_session_present(self) -> bool {
        !matches!(self, Self::V31)
    }

    /// Each matching subscription of a Client gets its own copy unless the Server chooses
    /// otherwise;
    /// 5.0 tells them apart by Subscription Identifier.
    pub const fn has_subscription_options(self) -> bool {
        matches!(self, Self::V5)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}
