//! What a shard tells a person: connects, disconnects, drops. The body words the log lines.

use mqtt_proto::packet::PacketType;
use mqtt_proto::{Offence, QoS, ReasonCode, Version};

use crate::drops::DropReason;
use crate::ids::ConnectionKey;

/// One thing worth a log line or a counter of the body's.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum Notice<'a> {
    /// A Client has connected.
    Connected {
        connection: ConnectionKey,
        client_id: &'a str,
        username: Option<&'a str>,
        version: Version,
        clean_start: bool,
        keep_alive_seconds: u16,
        is_bridge: bool,
    },
    /// A CONNECT was refused by the shard.
    Refused { connection: ConnectionKey, client_id: &'a str, reason: ReasonCode },
    /// A connection has ended.
    Disconnected {
        connection: ConnectionKey,
        client_id: &'a str,
        ending: Ending,
        messages: Messages,
    },
    /// A session has reached its Session Expiry Interval.
    SessionExpired { client_id: &'a str },
    /// A subscription was made.
    Subscribed { client_id: &'a str, filter: &'a str, qos: QoS },
    /// A subscription was given up.
    Unsubscribed { client_id: &'a str, filter: &'a str },
    /// Messages for this Client begin to be dropped; said once until one gets through again.
    Dropping { client_id: &'a str, reason: DropReason },
    /// A publish was refused by the access rights.
    PublishDenied { client_id: &'a str, topic: &'a str },
    /// A packet is on its way to a Client (only with `Settings::debug`).
    Sending { client_id: &'a str, packet: SentPacket<'a> },
}

/// PUBLISH packets of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the directions, as the Server sees them")]
pub struct Messages {
    pub received: u64,
    pub sent: u64,
}

/// A packet the shard has sent, for the debug log.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are named after the packet's")]
pub enum SentPacket<'a> {
    Connack { session_present: bool, code: u8 },
    Publish { dup: bool, qos: QoS, retain: bool, packet_id: u16, topic: &'a str, bytes: usize },
    Ack { packet_type: PacketType, packet_id: u16, reason: ReasonCode },
    Other(PacketType),
}

/// Why a connection has ended. Decides about the Will and about what the Client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// DISCONNECT from the Client: the Will is discarded [MQTT-3.14.4-3].
    Disconnected,
    /// DISCONNECT with Reason Code 0x04 or an error: the Will is published.
    DisconnectedWithWill(ReasonCode),
    /// The Client closed the socket or it broke.
    ConnectionLost,
    /// Nothing came within one and a half times the Keep Alive.
    KeepAliveTimeout,
    /// Another connection with the same Client Identifier took the session over.
    TakenOver,
    /// The Client broke the protocol.
    Offence(Offence),
    /// The Server ends the connection for this reason.
    Server(ReasonCode),
}

impl Ending {
    /// What a 5.0 Client is told in a DISCONNECT; `None` when there is nobody to tell.
    pub fn disconnect_reason(self) -> Option<ReasonCode> {
        match self {
            Self::Disconnected | Self::DisconnectedWithWill(_) | Self::ConnectionLost => None,
            Self::KeepAliveTimeout => Some(ReasonCode::KeepAliveTimeout),
            Self::TakenOver => Some(ReasonCode::SessionTakenOver),
            Self::Offence(offence) => Some(match offence.reason() {
                // Not a DISCONNECT reason (table 3-10); only CONNECT can earn it.
                ReasonCode::UnsupportedProtocolVersion => ReasonCode::ProtocolError,
                reason => reason,
            }),
            Self::Server(reason) => Some(reason),
        }
    }

    /// The Will is published (3.1.2.5): in every case but a normal DISCONNECT.
    pub fn publishes_will(self) -> bool {
        !matches!(self, Self::Disconnected)
    }
}
