//! Offences against the standard: which clause, which Reason Code, and whether the packet was
//! malformed or broke the protocol (MQTT 5.0 section 4.13).

use core::fmt;

use crate::reason::ReasonCode;
use crate::topic::TopicError;

macro_rules! offences {
    ($($name:ident, $reason:ident, $clause:literal, $text:literal;)*) => {
        /// What a peer did wrong on the wire. Each value knows the clause it breaks, the Reason
        /// Code the peer is told, and how to say it in a log line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Offence {
            $(#[doc = concat!($text, " (", $clause, ")")] $name,)*
            /// A Topic Name or Topic Filter the standard does not allow.
            Topic(TopicError),
        }

        impl Offence {
            /// The clause of the standard that is broken.
            pub fn clause(self) -> &'static str {
                match self {
                    $(Self::$name => $clause,)*
                    Self::Topic(error) => error.clause(),
                }
            }

            /// What the peer is told in a CONNACK or DISCONNECT.
            pub const fn reason(self) -> ReasonCode {
                match self {
                    $(Self::$name => ReasonCode::$reason,)*
                    Self::Topic(_) => ReasonCode::MalformedPacket,
                }
            }
        }

        impl fmt::Display for Offence {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Topic(error) => error.fmt(f),
                }
            }
        }
    };
}

offences! {
    // Frames and primitive types
    RemainingLengthTooLong, MalformedPacket, "MQTT-1.5.5-1", "variable byte integer is longer than it may be";
    PacketTooLarge, PacketTooLarge, "MQTT-3.2.2-15", "packet is larger than the maximum packet size";
    BodyTooShort, MalformedPacket, "MQTT 2.1.4", "packet ends before its last field";
    BodyTooLong, MalformedPacket, "MQTT 2.1.4", "packet has bytes behind its last field";
    ReservedPacketType, MalformedPacket, "MQTT 2.1.2", "packet type is reserved";
    ReservedFlags, MalformedPacket, "MQTT-2.1.3-1", "fixed header flags are not the reserved value";
    NotUtf8, MalformedPacket, "MQTT-1.5.4-1", "string is not well-formed UTF-8";
    NulCharacter, MalformedPacket, "MQTT-1.5.4-2", "string contains U+0000";
    PacketIdentifierZero, ProtocolError, "MQTT-2.2.1-3", "packet identifier is zero";
    UnknownReasonCode, MalformedPacket, "MQTT 2.4", "reason code is not one this packet may carry";
    // Properties
    UnknownProperty, MalformedPacket, "MQTT 2.2.2.2", "property identifier is unknown";
    PropertyNotAllowed, MalformedPacket, "MQTT 2.2.2.2", "property does not belong into this packet";
    DuplicateProperty, ProtocolError, "MQTT 2.2.2.2", "property occurs more than once";
    PropertyValueOutOfRange, ProtocolError, "MQTT 2.2.2.2", "property has a value that is not allowed";
    TopicAliasZero, TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias is zero";
    AuthenticationDataWithoutMethod, ProtocolError, "MQTT 3.1.2.11.10", "authentication data without an authentication method";
    // CONNECT and CONNACK
    ProtocolNameUnknown, UnsupportedProtocolVersion, "MQTT-3.1.2-1", "protocol name is not MQTT or MQIsdp";
    ProtocolVersionUnsupported, UnsupportedProtocolVersion, "MQTT-3.1.2-2", "protocol version is not 3, 4 or 5";
    ConnectFlagsReserved, MalformedPacket, "MQTT-3.1.2-3", "reserved connect flag is set";
    WillFlagsWithoutWill, MalformedPacket, "MQTT-3.1.2-11", "will QoS or will retain is set without a will";
    WillQoSInvalid, MalformedPacket, "MQTT-3.1.2-12", "will QoS is 3";
    PasswordWithoutUserName, MalformedPacket, "MQTT-3.1.2-22", "password without a user name";
    ConnackFlagsReserved, MalformedPacket, "MQTT-3.2.2-1", "reserved bit of the connect acknowledge flags is set";
    SessionPresentOnRefusal, ProtocolError, "MQTT-3.2.2-6", "session present together with a refusal";
    SessionPresentUnwanted, ProtocolError, "MQTT-3.2.2-4", "an unwanted session is present";
    // PUBLISH
    QoSInvalid, MalformedPacket, "MQTT-3.3.1-4", "QoS is 3";
    DupOnQoS0, MalformedPacket, "MQTT-3.3.1-2", "DUP is set on a QoS 0 message";
    TopicMissing, ProtocolError, "MQTT 3.3.2.1", "topic name is empty and no topic alias stands for it";
    TopicAliasUnknown, ProtocolError, "MQTT 3.3.2.3.4", "topic alias has not been set on this connection";
    TopicAliasTooLarge, TopicAliasInvalid, "MQTT-3.3.2-9", "topic alias is larger than the topic alias maximum";
    SubscriptionIdentifierFromClient, ProtocolError, "MQTT-3.3.4-6", "client sent a subscription identifier in PUBLISH";
    ReceiveMaximumExceeded, ReceiveMaximumExceeded, "MQTT-3.3.4-7", "more QoS 1 and 2 messages in flight than the receive maximum";
    QoSNotSupported, QoSNotSupported, "MQTT-3.2.2-11", "QoS is above the maximum QoS";
    RetainNotSupported, RetainNotSupported, "MQTT-3.2.2-14", "retained messages are not available";
    PayloadFormatInvalid, PayloadFormatInvalid, "MQTT 3.3.2.3.2", "payload is not the UTF-8 its format indicator promises";
    // SUBSCRIBE, UNSUBSCRIBE and their answers
    NoTopicFilter, ProtocolError, "MQTT-3.8.3-2", "packet has no topic filter";
    SubscriptionOptionsReserved, MalformedPacket, "MQTT-3.8.3-5", "reserved bits of the subscription options are set";
    SubscriptionQoSInvalid, ProtocolError, "MQTT 3.8.3.1", "requested QoS is 3";
    RetainHandlingInvalid, ProtocolError, "MQTT 3.8.3.1", "retain handling is 3";
    NoLocalOnSharedSubscription, ProtocolError, "MQTT-3.8.3-4", "no local on a shared subscription";
    NoReasonCode, MalformedPacket, "MQTT-3.9.3-1", "acknowledgement has no reason code";
    // Order of packets on a connection
    FirstPacketNotConnect, ProtocolError, "MQTT-3.1.0-1", "first packet is not CONNECT";
    SecondConnect, ProtocolError, "MQTT-3.1.0-2", "second CONNECT on one connection";
    PacketFromWrongRole, ProtocolError, "MQTT 2.1.2", "packet of this type is only sent by the other side";
    UnexpectedAuth, ProtocolError, "MQTT 4.12", "AUTH without an authentication method in CONNECT";
    AuthenticationMethodChanged, ProtocolError, "MQTT-4.12.0-5", "authentication method differs from the one in CONNECT";
    AuthenticationMethodMissing, ProtocolError, "MQTT 3.15.2.2.2",
        "AUTH does not name its authentication method";
    UnexpectedAuthStep, ProtocolError, "MQTT 3.15.2.1",
        "reason code of AUTH does not fit the exchange";
    PacketDuringAuthentication, ProtocolError, "MQTT-3.1.2-30",
        "client sent a packet other than AUTH or DISCONNECT before CONNACK";
    PacketBeforeConnack, ProtocolError, "MQTT-3.2.0-1", "server sent another packet before CONNACK";
    PacketIdentifierUnknown, ProtocolError, "MQTT 4.3", "acknowledgement for a packet identifier that is not in use";
    KeepAliveTimeout, KeepAliveTimeout, "MQTT-3.1.2-22", "nothing received within one and a half times the keep alive";
    SessionExpiryFromZero, ProtocolError, "MQTT 3.14.2.2.2", "DISCONNECT sets a session expiry interval that was zero in CONNECT";
}

impl Offence {
    /// The packet could not be parsed by the standard's rules, as opposed to a well-formed packet
    /// that broke the protocol (MQTT 1.2 and 4.13).
    pub const fn is_malformed(self) -> bool {
        matches!(self.reason(), ReasonCode::MalformedPacket)
    }
}

impl From<TopicError> for Offence {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl core::error::Error for Offence {}

/// A packet that can't be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncodeError {
    /// A string or binary field is longer than 65,535 bytes (MQTT 1.5.4, 1.5.6).
    FieldTooLong,
    /// The packet would be longer than a Remaining Length can say: 268,435,455 bytes (MQTT 2.1.4).
    PacketTooLarge,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FieldTooLong => "a field is longer than 65,535 bytes",
            Self::PacketTooLarge => "the packet is larger than 268,435,455 bytes",
        })
    }
}

impl core::error::Error for EncodeError {}
