//! Why a Client may not send a packet now, in words.

use core::fmt;

use crate::connection::client::Phase;
use crate::qos::QoS;

/// Why a packet must not be sent to this Server now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRefused {
    /// Only CONNECT and AUTH go out before CONNACK, and nothing after DISCONNECT.
    WrongPhase(Phase),
    /// A Client does not send packets of this type, or 3.x does not know it.
    WrongRole,
    /// The packet is larger than the Server's Maximum Packet Size \[MQTT-3.2.2-15\].
    PacketTooLarge {
        /// Bytes of the packet.
        len: usize,
        /// The Server's limit.
        limit: u32,
    },
    /// The Server's Receive Maximum is used up \[MQTT-3.3.4-7\].
    ReceiveMaximum,
    /// The Server does not take this QoS \[MQTT-3.2.2-11\].
    QoS(QoS),
    /// The Server keeps no retained messages \[MQTT-3.2.2-14\].
    Retain,
    /// The Topic Alias is above the Server's Topic Alias Maximum \[MQTT-3.3.2-9\].
    TopicAlias,
    /// It is not the Client's turn to send this AUTH (4.12).
    AuthenticationTurn,
}

impl fmt::Display for SendRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPhase(Phase::Opening) => f.write_str("the connection is not accepted yet"),
            Self::WrongPhase(_) => f.write_str("the connection is closing"),
            Self::WrongRole => f.write_str("a client does not send this packet"),
            Self::PacketTooLarge { len, limit } => {
                write!(f, "the packet has {len} bytes, the server takes at most {limit}")
            }
            Self::ReceiveMaximum => f.write_str("the server's receive maximum is used up"),
            Self::QoS(qos) => write!(f, "the server does not support QoS {}", *qos as u8),
            Self::Retain => f.write_str("the server does not support retained messages"),
            Self::TopicAlias => f.write_str("the topic alias is above the server's maximum"),
            Self::AuthenticationTurn => f.write_str("it is not the client's turn to authenticate"),
        }
    }
}

impl core::error::Error for SendRefused {}
