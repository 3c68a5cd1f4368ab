//! The Client's side of one Network Connection: which packet may come and go when, and within
//! which limits.
//!
//! ```text
//!            CONNACK 0                   DISCONNECT sent or received
//!  Opening ────────────▶ Connected ─────────────────────────────────▶ Closing
//!     │ CONNACK ≥ 1                                                     ▲
//!     └─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The Session (what is in flight, what is subscribed) is not here; neither are bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::connection::keepalive::{Due, KeepAlive};
use crate::error::Offence;
use crate::packet::{Ack, Auth, Connack, Connect, Disconnect, Packet, Publish, Suback, Unsuback};
use crate::property::{Properties, PropertyId};
use crate::qos::QoS;
use crate::reason::ReasonCode;
use crate::version::Version;

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// CONNECT was sent, CONNACK has not come.
    Opening,
    /// CONNACK has accepted the connection.
    Connected,
    /// Refused, or a DISCONNECT went either way. Whatever still arrives is of no account.
    Closing,
}

/// What the Client has asked for in its CONNECT, as far as the rules of the connection depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The version of the connection.
    pub version: Version,
    /// Seconds.
    pub keep_alive_seconds: u16,
    /// An Authentication Method was named, so AUTH may come (4.12).
    pub has_authentication_method: bool,
    /// Our Receive Maximum; 65,535 when none was sent.
    pub receive_maximum: u16,
    /// Our Topic Alias Maximum; 0 when none was sent.
    pub topic_alias_maximum: u16,
}

impl Opening {
    /// Reads it from the CONNECT that is sent.
    pub fn of(connect: &Connect<'_>) -> Self {
        let properties = connect.properties;
        Self {
            version: connect.version,
            keep_alive_seconds: connect.keep_alive_seconds,
            has_authentication_method: properties.get(PropertyId::AuthenticationMethod).is_some(),
            receive_maximum: properties.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            topic_alias_maximum: properties.u16(PropertyId::TopicAliasMaximum).unwrap_or(0),
        }
    }
}

/// What the Server has said in CONNACK that it takes (3.2.2.3). The defaults are those of the
/// standard, which also hold for 3.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// QoS 1 and 2 messages that may be in flight towards the Server.
    pub receive_maximum: u16,
    /// The highest QoS of a PUBLISH.
    pub maximum_qos: QoS,
    /// Retained messages are kept.
    pub retain_available: bool,
    /// Bytes of the largest packet, or `None` for no limit but the protocol's.
    pub maximum_packet_size: Option<u32>,
    /// Topic Aliases the Server accepts: 1 to this number.
    pub topic_alias_maximum: u16,
    /// `+` and `#` may be used in subscriptions.
    pub wildcard_subscription_available: bool,
    /// Subscription Identifiers may be used.
    pub subscription_identifier_available: bool,
    /// `$share/…` may be used.
    pub shared_subscription_available: bool,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self::of(Properties::EMPTY)
    }
}

impl ServerLimits {
    /// Reads them from the properties of a CONNACK.
    pub fn of(connack: Properties<'_>) -> Self {
        let is_available = |id| connack.byte(id) != Some(0);
        Self {
            receive_maximum: connack.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            maximum_qos: connack
                .byte(PropertyId::MaximumQoS)
                .and_then(QoS::from_u8)
                .unwrap_or(QoS::ExactlyOnce),
            retain_available: is_available(PropertyId::RetainAvailable),
            maximum_packet_size: connack.u32(PropertyId::MaximumPacketSize),
            topic_alias_maximum: connack.u16(PropertyId::TopicAliasMaximum).unwrap_or(0),
            wildcard_subscription_available: is_available(
                PropertyId::WildcardSubscriptionAvailable,
            ),
            subscription_identifier_available: is_available(
                PropertyId::SubscriptionIdentifierAvailable,
            ),
            shared_subscription_available: is_available(PropertyId::SharedSubscriptionAvailable),
        }
    }
}

/// A packet the Server was allowed to send, checked against the state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Received<'a> {
    Connack(Connack<'a>),
    /// Ask [`ClientConnection::topic_of`] for its topic: a known Topic Alias may stand for it.
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Suback(Suback<'a>),
    Unsuback(Unsuback<'a>),
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
    /// The connection is closing; the packet means nothing any more.
    Ignored,
}

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
        }
    }
}

impl core::error::Error for SendRefused {}

/// The Client's end of one Network Connection.
///
/// Ask [`ClientConnection::may_send`] before a packet is encoded, tell
/// [`ClientConnection::on_sent`] after it; give every packet that was read to
/// [`ClientConnection::on_received`].
#[derive(Debug)]
pub struct ClientConnection {
    opening: Opening,
    phase: Phase,
    keep_alive: KeepAlive,
    server: ServerLimits,
    /// What the Server's Topic Aliases stand for; index 0 is alias 1. Grows to the highest one used.
    aliases: Vec<Option<Box<str>>>,
    /// QoS 1 and 2 messages of the Server that we have not acknowledged on this connection.
    unacknowledged: u16,
    /// QoS 1 and 2 messages of ours the Server has not acknowledged on this connection.
    in_flight: u16,
}

impl ClientConnection {
    /// CONNECT has just been sent; `now` in milliseconds.
    pub fn new(opening: Opening, now: u64) -> Self {
        Self {
            opening,
            phase: Phase::Opening,
            keep_alive: KeepAlive::new(opening.keep_alive_seconds, now),
            server: ServerLimits::default(),
            aliases: Vec::new(),
            unacknowledged: 0,
            in_flight: 0,
        }
    }

    /// Where the connection stands.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The version of the connection.
    pub const fn version(&self) -> Version {
        self.opening.version
    }

    /// What the Server takes; the standard's defaults before CONNACK.
    pub const fn server(&self) -> &ServerLimits {
        &self.server
    }

    /// What the Keep Alive asks for at `now`. Only means something in [`Phase::Connected`].
    #[inline]
    pub fn due(&self, now: u64) -> Due {
        match self.phase {
            Phase::Connected => self.keep_alive.due(now),
            Phase::Opening | Phase::Closing => Due::Never,
        }
    }

    /// May this packet go out now? `len` is its size in bytes.
    ///
    /// # Errors
    /// The rule it would break.
    pub fn may_send(&self, packet: &Packet<'_>, len: usize) -> Result<(), SendRefused> {
        match (self.phase, packet) {
            (_, Packet::Connect(_)) => return Err(SendRefused::WrongRole),
            (Phase::Opening, Packet::Auth(_)) if self.opening.has_authentication_method => {}
            (Phase::Connected, _) => {}
            (phase, _) => return Err(SendRefused::WrongPhase(phase)),
        }
        if let Some(limit) = self.server.maximum_packet_size {
            if len > limit as usize {
                return Err(SendRefused::PacketTooLarge { len, limit });
            }
        }
        match packet {
            Packet::Publish(publish) => self.may_publish(publish),
            Packet::Auth(_) if !self.opening.has_authentication_method => {
                Err(SendRefused::WrongRole)
            }
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Err(SendRefused::WrongRole)
            }
            _ => Ok(()),
        }
    }

    fn may_publish(&self, publish: &Publish<'_>) -> Result<(), SendRefused> {
        if publish.qos > self.server.maximum_qos {
            return Err(SendRefused::QoS(publish.qos));
        }
        if publish.retain && !self.server.retain_available {
            return Err(SendRefused::Retain);
        }
        if publish.qos > QoS::AtMostOnce && self.in_flight >= self.server.receive_maximum {
            return Err(SendRefused::ReceiveMaximum);
        }
        match publish.properties.u16(PropertyId::TopicAlias) {
            Some(alias) if alias > self.server.topic_alias_maximum => Err(SendRefused::TopicAlias),
            _ => Ok(()),
        }
    }

    /// The packet goes out at `now` (milliseconds).
    #[inline]
    pub fn on_sent(&mut self, packet: &Packet<'_>, now: u64) {
        self.keep_alive.on_sent(now);
        match packet {
            Packet::Publish(publish) if publish.qos > QoS::AtMostOnce => {
                self.in_flight = self.in_flight.saturating_add(1);
            }
            Packet::Puback(_) | Packet::Pubcomp(_) => self.acknowledged_one(),
            Packet::Pubrec(ack) if ack.reason.is_error() => self.acknowledged_one(),
            Packet::Pingreq => self.keep_alive.on_pingreq(now),
            Packet::Disconnect(_) => self.phase = Phase::Closing,
            _ => {}
        }
    }

    /// We have not read for a while, of our own will (back-pressure): the Server's silence until
    /// `now` proves nothing.
    pub fn on_reading_paused(&mut self, now: u64) {
        self.keep_alive.on_received(now);
    }

    fn acknowledged_one(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// A packet has arrived at `now` (milliseconds).
    ///
    /// # Errors
    /// The Server broke a rule; close the connection, in 5.0 with a DISCONNECT that carries
    /// [`Offence::reason`].
    #[inline]
    pub fn on_received<'p>(
        &mut self,
        packet: Packet<'p>,
        now: u64,
    ) -> Result<Received<'p>, Offence> {
        self.keep_alive.on_received(now);
        match self.phase {
            Phase::Connected => self.receive_connected(packet),
            Phase::Opening => self.receive_opening(packet),
            Phase::Closing => Ok(Received::Ignored),
        }
    }

    fn receive_opening<'a>(&mut self, packet: Packet<'a>) -> Result<Received<'a>, Offence> {
        match packet {
            Packet::Connack(connack) => {
                self.phase = Phase::Closing;
                if connack.is_accepted() {
                    self.phase = Phase::Connected;
                    self.server = ServerLimits::of(connack.properties);
                    if let Some(seconds) = connack.properties.u16(PropertyId::ServerKeepAlive) {
                        self.keep_alive.set_seconds(seconds);
                    }
                }
                Ok(Received::Connack(connack))
            }
            Packet::Auth(auth) => self.receive_auth(auth),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq => Err(Offence::PacketFromWrongRole),
            _ => Err(Offence::PacketBeforeConnack),
        }
    }

    #[inline]
    fn receive_connected<'p>(&mut self, packet: Packet<'p>) -> Result<Received<'p>, Offence> {
        Ok(match packet {
            Packet::Publish(publish) => {
                self.receive_publish(&publish)?;
                Received::Publish(publish)
            }
            Packet::Puback(ack) => {
                self.freed_one();
                Received::Puback(ack)
            }
            Packet::Pubrec(ack) => {
                if ack.reason.is_error() {
                    self.freed_one();
                }
                Received::Pubrec(ack)
            }
            Packet::Pubrel(ack) => Received::Pubrel(ack),
            Packet::Pubcomp(ack) => {
                self.freed_one();
                Received::Pubcomp(ack)
            }
            Packet::Suback(suback) => Received::Suback(suback),
            Packet::Unsuback(unsuback) => Received::Unsuback(unsuback),
            Packet::Pingresp => Received::Pingresp,
            Packet::Disconnect(disconnect) if self.version().server_may_send_disconnect() => {
                self.phase = Phase::Closing;
                Received::Disconnect(disconnect)
            }
            Packet::Auth(auth) => return self.receive_auth(auth),
            // A second CONNACK breaks MQTT-3.2.0-2; it is out of place like the others.
            Packet::Connack(_)
            | Packet::Disconnect(_)
            | Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq => return Err(Offence::PacketFromWrongRole),
        })
    }

    fn receive_auth<'a>(&self, auth: Auth<'a>) -> Result<Received<'a>, Offence> {
        // Only a Client asks for re-authentication (3.15.2.1).
        let is_allowed = self.opening.has_authentication_method
            && auth.reason != ReasonCode::ReAuthenticate
            && (auth.reason == ReasonCode::ContinueAuthentication
                || self.phase == Phase::Connected);
        if is_allowed { Ok(Received::Auth(auth)) } else { Err(Offence::UnexpectedAuth) }
    }

    fn freed_one(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    #[inline]
    fn receive_publish(&mut self, publish: &Publish<'_>) -> Result<(), Offence> {
        if publish.qos > QoS::AtMostOnce && self.version().has_properties() {
            // A repetition on the same connection is not allowed in 5.0, so each one counts.
            if self.unacknowledged >= self.opening.receive_maximum {
                return Err(Offence::ReceiveMaximumExceeded);
            }
            self.unacknowledged += 1;
        }
        match publish.properties.u16(PropertyId::TopicAlias) {
            Some(alias) => self.receive_alias(alias, publish.topic),
            None if publish.topic.is_empty() => Err(Offence::TopicMissing),
            None => Ok(()),
        }
    }

    fn receive_alias(&mut self, alias: u16, topic: &str) -> Result<(), Offence> {
        if alias > self.opening.topic_alias_maximum {
            return Err(Offence::TopicAliasTooLarge);
        }
        let index = usize::from(alias).checked_sub(1).ok_or(Offence::TopicAliasZero)?;
        if topic.is_empty() {
            let is_known = matches!(self.aliases.get(index), Some(Some(_)));
            return if is_known { Ok(()) } else { Err(Offence::TopicAliasUnknown) };
        }
        if self.aliases.len() <= index {
            self.aliases.resize(index + 1, None);
        }
        self.aliases[index] = Some(topic.into());
        Ok(())
    }

    /// The topic of a PUBLISH that [`ClientConnection::on_received`] has just let in; empty for any
    /// other PUBLISH with an alias that is not known.
    #[inline]
    pub fn topic_of<'a>(&'a self, publish: &Publish<'a>) -> &'a str {
        if !publish.topic.is_empty() {
            return publish.topic;
        }
        let alias = publish.properties.u16(PropertyId::TopicAlias).unwrap_or(0);
        let index = usize::from(alias).wrapping_sub(1);
        self.aliases.get(index).and_then(Option::as_deref).unwrap_or("")
    }
}
