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

use crate::count::Count;
use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::connection::keepalive::{Due, KeepAlive};
use crate::connection::refused::SendRefused;
use crate::connection::terms::{Opening, ServerLimits};
use crate::error::Offence;
use crate::packet::{Ack, Auth, Connack, Disconnect, Packet, Publish, Suback, Unsuback};
use crate::property::PropertyId;
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
    /// What the Server's Topic Aliases stand for; index 0 is alias 1. Grows to the highest one
    /// used.
    aliases: Vec<Option<Box<str>>>,
    /// QoS 1 and 2 messages of the Server that we have not acknowledged on this connection.
    unacknowledged: u16,
    /// QoS 1 and 2 messages of ours the Server has not acknowledged on this connection.
    in_flight: u16,
    authentication: Turn,
}

/// Whose turn it is in an exchange of enhanced authentication (4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is no exchange.
    Nobody,
    Client,
    Server,
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
            // CONNECT has begun the exchange.
            authentication: match opening.has_authentication_method {
                true => Turn::Server,
                false => Turn::Nobody,
            },
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
            Packet::Auth(auth) => self.may_authenticate(auth),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Err(SendRefused::WrongRole)
            }
            _ => Ok(()),
        }
    }

    fn may_authenticate(&self, auth: &Auth<'_>) -> Result<(), SendRefused> {
        if !self.opening.has_authentication_method {
            return Err(SendRefused::WrongRole);
        }
        match (auth.reason, self.authentication, self.phase) {
            (ReasonCode::ContinueAuthentication, Turn::Client, _)
            | (ReasonCode::ReAuthenticate, Turn::Nobody, Phase::Connected) => Ok(()),
            _ => Err(SendRefused::AuthenticationTurn),
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
            Packet::Auth(_) => self.authentication = Turn::Server,
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
                if connack.session_present && self.opening.clean_start {
                    return Err(Offence::SessionPresentUnwanted);
                }
                self.authentication = Turn::Nobody;
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

    fn receive_auth<'a>(&mut self, auth: Auth<'a>) -> Result<Received<'a>, Offence> {
        if !self.opening.has_authentication_method {
            return Err(Offence::UnexpectedAuth);
        }
        self.authentication = match (self.authentication, auth.reason, self.phase) {
            (Turn::Server, ReasonCode::ContinueAuthentication, _) => Turn::Client,
            (Turn::Server, ReasonCode::Success, Phase::Connected) => Turn::Nobody,
            // Only a Client asks for re-authentication (3.15.2.1).
            _ => return Err(Offence::UnexpectedAuthStep),
        };
        Ok(Received::Auth(auth))
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
            self.unacknowledged.up(1);
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
            self.aliases.resize(usize::from(alias), None);
        }
        if let Some(place) = self.aliases.get_mut(index) {
            *place = Some(topic.into());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PropertiesBuf;
    use crate::packet::{
        Connect, PacketType, Subscribe, SubscribeFilters, Unsubscribe, UnsubscribeFilters,
    };
    use crate::packet_id::PacketIdentifier;
    use crate::property::{Properties, Value};

    const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    fn id(number: u16) -> PacketIdentifier {
        PacketIdentifier::new(number).unwrap()
    }

    fn opening(version: Version) -> Opening {
        Opening {
            version,
            clean_start: true,
            keep_alive_seconds: 10,
            has_authentication_method: false,
            receive_maximum: 2,
            topic_alias_maximum: 2,
        }
    }

    fn connack(properties: Properties<'_>) -> Packet<'_> {
        Packet::Connack(Connack { session_present: false, code: 0, properties })
    }

    fn connected(opening: Opening) -> ClientConnection {
        let mut connection = ClientConnection::new(opening, 0);
        connection.on_received(connack(Properties::EMPTY), 0).unwrap();
        connection
    }

    fn closing(opening: Opening) -> ClientConnection {
        let mut connection = connected(opening);
        connection.on_sent(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)), 0);
        assert_eq!(connection.phase(), Phase::Closing);
        connection
    }

    fn publish(qos: QoS, topic: &'static str) -> Publish<'static> {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: (qos > QoS::AtMostOnce).then(|| id(1)),
            properties: Properties::EMPTY,
            payload: b"x",
        }
    }

    /// One packet of each type.
    fn every_packet() -> Vec<Packet<'static>> {
        let ack = Ack::success(id(1));
        let properties = Properties::EMPTY;
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive_seconds: 0,
            client_id: "",
            will: None,
            username: None,
            password: None,
            properties,
        };
        let filters = SubscribeFilters::from_pushed(b"\0\x01a\0");
        let unfilters = UnsubscribeFilters::from_pushed(b"\0\x01a");
        vec![
            Packet::Connect(connect),
            connack(properties),
            Packet::Publish(publish(QoS::AtLeastOnce, "t")),
            Packet::Puback(ack),
            Packet::Pubrec(ack),
            Packet::Pubrel(ack),
            Packet::Pubcomp(ack),
            Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }),
            Packet::Suback(Suback { packet_id: id(1), properties, reason_codes: &[0] }),
            Packet::Unsubscribe(Unsubscribe { packet_id: id(1), properties, filters: unfilters }),
            Packet::Unsuback(Unsuback { packet_id: id(1), properties, reason_codes: &[0] }),
            Packet::Pingreq,
            Packet::Pingresp,
            Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
            Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties }),
        ]
    }

    /// What the standard says about a packet from the Server, as a table of its own.
    fn expected(
        phase: Phase,
        version: Version,
        authenticates: bool,
        packet_type: PacketType,
    ) -> Result<(), Offence> {
        use PacketType::*;
        if phase == Phase::Closing {
            return Ok(());
        }
        match packet_type {
            Connect | Subscribe | Unsubscribe | Pingreq => Err(Offence::PacketFromWrongRole),
            Auth if authenticates && phase == Phase::Opening => Ok(()),
            // Nobody has asked for a new exchange.
            Auth if authenticates => Err(Offence::UnexpectedAuthStep),
            Auth => Err(Offence::UnexpectedAuth),
            Connack if phase == Phase::Opening => Ok(()),
            _ if phase == Phase::Opening => Err(Offence::PacketBeforeConnack),
            Connack => Err(Offence::PacketFromWrongRole),
            Disconnect if version != Version::V5 => Err(Offence::PacketFromWrongRole),
            _ => Ok(()),
        }
    }

    #[test]
    fn every_packet_in_every_phase_and_version() {
        for version in VERSIONS {
            for authenticates in [false, true] {
                let opening =
                    Opening { has_authentication_method: authenticates, ..opening(version) };
                for packet in every_packet() {
                    let machines = [
                        (Phase::Opening, ClientConnection::new(opening, 0)),
                        (Phase::Connected, connected(opening)),
                        (Phase::Closing, closing(opening)),
                    ];
                    for (phase, mut machine) in machines {
                        let packet_type = packet.packet_type();
                        let expected = expected(phase, version, authenticates, packet_type);
                        let got = machine.on_received(packet, 0);
                        assert_eq!(
                            got.as_ref().map(|_| ()).map_err(|offence| *offence),
                            expected,
                            "{packet_type:?} in {phase:?}, {version}, {authenticates}"
                        );
                        let is_ignored = matches!(got, Ok(Received::Ignored));
                        assert_eq!(is_ignored, phase == Phase::Closing);
                    }
                }
            }
        }
    }

    #[test]
    fn every_packet_a_client_may_send_in_every_phase() {
        use PacketType::*;
        for authenticates in [false, true] {
            let opening =
                Opening { has_authentication_method: authenticates, ..opening(Version::V5) };
            for packet in every_packet() {
                let packet_type = packet.packet_type();
                let early = ClientConnection::new(opening, 0).may_send(&packet, 1);
                let late = closing(opening).may_send(&packet, 1);
                let now = connected(opening).may_send(&packet, 1);
                // Before CONNACK AUTH alone may go out, and that only when it is asked for.
                let is_early = packet_type == Auth && authenticates;
                let turn = Err(SendRefused::AuthenticationTurn);
                let early_end = if is_early { turn } else { early };
                assert_eq!((early.is_err(), early), (true, early_end), "{packet_type:?}");
                assert!(late.is_err(), "{packet_type:?}");
                let is_ours =
                    !matches!(packet_type, Connect | Connack | Suback | Unsuback | Pingresp | Auth);
                assert_eq!(now.is_ok(), is_ours, "{packet_type:?}");
            }
        }
    }

    /// Every AUTH of either side at every turn, before and after CONNACK.
    #[test]
    fn authentication_goes_by_turns() {
        use ReasonCode::{ContinueAuthentication, ReAuthenticate, Success};
        let opening = Opening { has_authentication_method: true, ..opening(Version::V5) };
        let auth = |reason| Packet::Auth(Auth { reason, properties: Properties::EMPTY });
        let machine = |phase, turn| {
            let mut machine = match phase {
                Phase::Opening => ClientConnection::new(opening, 0),
                _ => connected(opening),
            };
            match (phase, turn) {
                (_, Turn::Nobody) => {}
                (Phase::Opening, _) => {}
                _ => machine.on_sent(&auth(ReAuthenticate), 0),
            }
            if turn == Turn::Client {
                machine.on_received(auth(ContinueAuthentication), 0).unwrap();
            }
            assert_eq!((machine.phase(), machine.authentication), (phase, turn));
            machine
        };
        for (phase, turn) in [
            (Phase::Opening, Turn::Server),
            (Phase::Opening, Turn::Client),
            (Phase::Connected, Turn::Nobody),
            (Phase::Connected, Turn::Server),
            (Phase::Connected, Turn::Client),
        ] {
            for reason in [Success, ContinueAuthentication, ReAuthenticate] {
                let may_send = machine(phase, turn).may_send(&auth(reason), 1).is_ok();
                let expected = (turn == Turn::Client && reason == ContinueAuthentication)
                    || (turn == Turn::Nobody && reason == ReAuthenticate);
                assert_eq!(may_send, expected, "sends {reason} in {phase:?}, {turn:?}");
                let received = machine(phase, turn).on_received(auth(reason), 0);
                let is_allowed = turn == Turn::Server
                    && (reason == ContinueAuthentication
                        || (reason == Success && phase == Phase::Connected));
                let expected = match is_allowed {
                    true => Ok(()),
                    false => Err(Offence::UnexpectedAuthStep),
                };
                assert_eq!(received.map(|_| ()), expected, "gets {reason} in {phase:?}, {turn:?}");
            }
        }
        let mut machine = machine(Phase::Connected, Turn::Client);
        machine.on_sent(&auth(ContinueAuthentication), 0);
        machine.on_received(auth(Success), 0).unwrap();
        assert_eq!(machine.authentication, Turn::Nobody);
    }

    #[test]
    fn a_session_nobody_asked_for_ends_the_connection() {
        for version in [Version::V311, Version::V5] {
            let properties = Properties::EMPTY;
            let present = Packet::Connack(Connack { session_present: true, code: 0, properties });
            let mut connection = ClientConnection::new(opening(version), 0);
            let offence = connection.on_received(present, 0);
            assert_eq!(offence, Err(Offence::SessionPresentUnwanted));
            assert_eq!(connection.phase(), Phase::Closing);
            let resuming = Opening { clean_start: false, ..opening(version) };
            let mut connection = ClientConnection::new(resuming, 0);
            assert!(connection.on_received(present, 0).is_ok());
            assert_eq!(connection.phase(), Phase::Connected);
        }
    }

    #[test]
    fn a_refusal_and_a_disconnect_end_the_connection() {
        let mut connection = ClientConnection::new(opening(Version::V311), 0);
        let refusal = Connack { session_present: false, code: 5, properties: Properties::EMPTY };
        connection.on_received(Packet::Connack(refusal), 0).unwrap();
        assert_eq!(connection.phase(), Phase::Closing);

        let mut connection = connected(opening(Version::V5));
        let goodbye = Disconnect::new(ReasonCode::ServerShuttingDown);
        connection.on_received(Packet::Disconnect(goodbye), 0).unwrap();
        assert_eq!(connection.phase(), Phase::Closing);
    }

    #[test]
    fn the_server_keeps_to_our_receive_maximum() {
        let mut connection = connected(opening(Version::V5));
        for _ in 0..2 {
            let one = publish(QoS::AtLeastOnce, "t");
            connection.on_received(Packet::Publish(one), 0).unwrap();
        }
        let third = Packet::Publish(publish(QoS::ExactlyOnce, "t"));
        assert!(connection.on_received(Packet::Publish(publish(QoS::AtMostOnce, "t")), 0).is_ok());
        assert_eq!(connection.on_received(third, 0), Err(Offence::ReceiveMaximumExceeded));
        // PUBREC of success frees nothing, PUBACK does.
        connection.on_sent(&Packet::Pubrec(Ack::success(id(1))), 0);
        assert!(connection.on_received(third, 0).is_err());
        connection.on_sent(&Packet::Puback(Ack::success(id(1))), 0);
        assert!(connection.on_received(third, 0).is_ok());
        let refused = Ack::new(id(1), ReasonCode::QuotaExceeded);
        connection.on_sent(&Packet::Pubrec(refused), 0);
        assert!(connection.on_received(third, 0).is_ok());
        connection.on_sent(&Packet::Pubcomp(Ack::success(id(1))), 0);
        assert!(connection.on_received(third, 0).is_ok());

        // 3.x knows no Receive Maximum.
        let mut connection = connected(opening(Version::V311));
        for _ in 0..10 {
            assert!(connection.on_received(third, 0).is_ok());
        }
    }

    #[test]
    fn we_keep_to_what_the_server_takes() {
        let mut properties = PropertiesBuf::new();
        for (id, value) in [
            (PropertyId::ReceiveMaximum, Value::U16(1)),
            (PropertyId::MaximumQoS, Value::Byte(1)),
            (PropertyId::RetainAvailable, Value::Byte(0)),
            (PropertyId::MaximumPacketSize, Value::U32(100)),
            (PropertyId::TopicAliasMaximum, Value::U16(3)),
            (PropertyId::ServerKeepAlive, Value::U16(2)),
            (PropertyId::SharedSubscriptionAvailable, Value::Byte(0)),
        ] {
            properties.push(id, value).unwrap();
        }
        let mut connection = ClientConnection::new(opening(Version::V5), 0);
        connection.on_received(connack(properties.as_properties()), 0).unwrap();
        assert!(!connection.server().shared_subscription_available);
        assert!(connection.server().wildcard_subscription_available);
        assert_eq!(connection.due(0), Due::At(2_000));

        let may = |connection: &ClientConnection, publish: Publish<'_>, len| {
            connection.may_send(&Packet::Publish(publish), len)
        };
        let zero = publish(QoS::AtMostOnce, "t");
        assert_eq!(may(&connection, zero, 100), Ok(()));
        let too_large = SendRefused::PacketTooLarge { len: 101, limit: 100 };
        assert_eq!(may(&connection, zero, 101), Err(too_large));
        let two = publish(QoS::ExactlyOnce, "t");
        assert_eq!(may(&connection, two, 1), Err(SendRefused::QoS(QoS::ExactlyOnce)));
        let retained = Publish { retain: true, ..zero };
        assert_eq!(may(&connection, retained, 1), Err(SendRefused::Retain));
        for (alias, allowed) in [(3, true), (4, false)] {
            let mut properties = PropertiesBuf::new();
            properties.push(PropertyId::TopicAlias, Value::U16(alias)).unwrap();
            let aliased = Publish { properties: properties.as_properties(), ..zero };
            assert_eq!(may(&connection, aliased, 1).is_ok(), allowed, "alias {alias}");
        }
        let one = publish(QoS::AtLeastOnce, "t");
        assert_eq!(may(&connection, one, 1), Ok(()));
        connection.on_sent(&Packet::Publish(one), 0);
        assert_eq!(may(&connection, one, 1), Err(SendRefused::ReceiveMaximum));
        assert_eq!(may(&connection, zero, 1), Ok(()));
        connection.on_received(Packet::Puback(Ack::success(id(1))), 0).unwrap();
        assert_eq!(may(&connection, one, 1), Ok(()));
    }

    fn aliased<'a>(topic: &'a str, properties: &'a mut PropertiesBuf, alias: u16) -> Publish<'a> {
        *properties = PropertiesBuf::new();
        properties.push(PropertyId::TopicAlias, Value::U16(alias)).unwrap();
        let properties = properties.as_properties();
        Publish { topic, properties, ..publish(QoS::AtMostOnce, "t") }
    }

    #[test]
    fn topic_aliases_stand_for_what_was_said_last() {
        let mut connection = connected(opening(Version::V5));
        let mut buf = PropertiesBuf::new();
        let mut receive = |topic, alias| {
            let publish = aliased(topic, &mut buf, alias);
            let received = connection.on_received(Packet::Publish(publish), 0);
            received.map(|_| connection.topic_of(&publish).to_owned())
        };
        assert_eq!(receive("", 2), Err(Offence::TopicAliasUnknown));
        assert_eq!(receive("a/b", 2).as_deref(), Ok("a/b"));
        assert_eq!(receive("", 2).as_deref(), Ok("a/b"));
        assert_eq!(receive("", 1), Err(Offence::TopicAliasUnknown));
        assert_eq!(receive("c", 2).as_deref(), Ok("c"));
        assert_eq!(receive("", 2).as_deref(), Ok("c"));
        assert_eq!(receive("x", 3), Err(Offence::TopicAliasTooLarge));
        assert_eq!(receive("x", 0), Err(Offence::TopicAliasZero));
        let bare = Packet::Publish(publish(QoS::AtMostOnce, ""));
        assert_eq!(connection.on_received(bare, 0), Err(Offence::TopicMissing));
    }

    #[test]
    fn keep_alive_runs_only_while_connected_and_pauses_with_the_reader() {
        let mut connection = ClientConnection::new(opening(Version::V311), 0);
        assert_eq!(connection.due(1_000_000), Due::Never);
        connection.on_received(connack(Properties::EMPTY), 0).unwrap();
        assert_eq!(connection.due(10_000), Due::Pingreq);
        connection.on_sent(&Packet::Pingreq, 10_000);
        assert_eq!(connection.due(20_000), Due::ServerGone);
        connection.on_reading_paused(19_000);
        assert_eq!(connection.due(19_999), Due::At(20_000));
        connection.on_sent(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)), 20_000);
        assert_eq!(connection.due(99_000), Due::Never);
    }
}
