//! Reason Codes (MQTT 5.0 section 2.4) and the CONNACK return codes of 3.x.

use core::fmt;

macro_rules! reason_codes {
    ($($value:literal $name:ident $text:literal),* $(,)?) => {
        /// Why, in one byte. Values below 0x80 mean success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = concat!($text, " (", stringify!($value), ")")] $name = $value,)*
        }

        impl ReasonCode {
            /// Every Reason Code of the standard, in rising order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `None` when the standard does not know the value.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// What the code means, in a few lower-case words.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    0x00 Success "success",
    0x01 GrantedQoS1 "granted QoS 1",
    0x02 GrantedQoS2 "granted QoS 2",
    0x04 DisconnectWithWillMessage "disconnect with will message",
    0x10 NoMatchingSubscribers "no matching subscribers",
    0x11 NoSubscriptionExisted "no subscription existed",
    0x18 ContinueAuthentication "continue authentication",
    0x19 ReAuthenticate "re authenticate",
    0x80 UnspecifiedError "unspecified error",
    0x81 MalformedPacket "malformed packet",
    0x82 ProtocolError "protocol error",
    0x83 ImplementationSpecificError "implementation specific error",
    0x84 UnsupportedProtocolVersion "unsupported protocol version",
    0x85 ClientIdentifierNotValid "client identifier not valid",
    0x86 BadUserNameOrPassword "bad user name or password",
    0x87 NotAuthorized "not authorized",
    0x88 ServerUnavailable "server unavailable",
    0x89 ServerBusy "server busy",
    0x8A Banned "banned",
    0x8B ServerShuttingDown "server shutting down",
    0x8C BadAuthenticationMethod "bad authentication method",
    0x8D KeepAliveTimeout "keep alive timeout",
    0x8E SessionTakenOver "session taken over",
    0x8F TopicFilterInvalid "topic filter invalid",
    0x90 TopicNameInvalid "topic name invalid",
    0x91 PacketIdentifierInUse "packet identifier in use",
    0x92 PacketIdentifierNotFound "packet identifier not found",
    0x93 ReceiveMaximumExceeded "receive maximum exceeded",
    0x94 TopicAliasInvalid "topic alias invalid",
    0x95 PacketTooLarge "packet too large",
    0x96 MessageRateTooHigh "message rate too high",
    0x97 QuotaExceeded "quota exceeded",
    0x98 AdministrativeAction "administrative action",
    0x99 PayloadFormatInvalid "payload format invalid",
    0x9A RetainNotSupported "retain not supported",
    0x9B QoSNotSupported "QoS not supported",
    0x9C UseAnotherServer "use another server",
    0x9D ServerMoved "server moved",
    0x9E SharedSubscriptionsNotSupported "shared subscriptions not supported",
    0x9F ConnectionRateExceeded "connection rate exceeded",
    0xA0 MaximumConnectTime "maximum connect time",
    0xA1 SubscriptionIdentifiersNotSupported "subscription identifiers not supported",
    0xA2 WildcardSubscriptionsNotSupported "wildcard subscriptions not supported",
}

impl ReasonCode {
    /// QoS 0 granted (SUBACK); the same byte as [`ReasonCode::Success`].
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The byte on the wire.
    #[inline]
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The operation failed (0x80 and above).
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The CONNACK return code that tells a 3.1 or 3.1.1 Client the same (3.1.1 table 3.1).
    ///
    /// `None` where 3.x has no code and the Server closes the connection without CONNACK.
    pub const fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable | Self::ServerBusy | Self::ServerShuttingDown => Some(3),
            Self::QuotaExceeded | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword | Self::NotAuthorized | Self::Banned => Some(5),
            // Only a will can be too large for a 3.x Client's CONNECT; Mosquitto's word for it.
            Self::PacketTooLarge => Some(5),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a CONNACK return code of 3.1 and 3.1.1 means.
pub const fn connect_return_code_text(code: u8) -> &'static str {
    match code {
        0 => "connection accepted",
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorised",
        _ => "unknown return code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire_and_no_other_byte_is_one() {
        for value in 0..=255u8 {
            match ReasonCode::from_u8(value) {
                Some(code) => assert_eq!(code.value(), value),
                None => assert!(ReasonCode::ALL.iter().all(|code| code.value() != value)),
            }
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
    }

    #[test]
    fn a_refusal_has_a_3_1_1_code_only_where_the_standard_has_one() {
        assert_eq!(ReasonCode::NotAuthorized.connect_return_code(), Some(5));
        assert_eq!(ReasonCode::UnsupportedProtocolVersion.connect_return_code(), Some(1));
        assert_eq!(ReasonCode::MalformedPacket.connect_return_code(), None);
    }
}
