//! Enhanced authentication on an open connection (MQTT 5.0 section 4.12): whose turn it is, and
//! what the Client is told. What is proved and how is the body's business; before CONNACK it is all
//! the body's.
//!
//! ```text
//!            AUTH 0x19                  Continue: AUTH 0x18
//!   Idle ─────────────▶ ServersTurn ─────────────────────────▶ ClientsTurn
//!    ▲                   │  │  ▲                                  │
//!    └───────────────────┘  │  └──────────────────────────────────┘
//!     Accepted: AUTH 0x00   │              AUTH 0x18
//!                           └─▶ Refused: DISCONNECT, the end
//! ```
//! Meanwhile every other packet flows as before, with the rights the connection has.

use alloc::boxed::Box;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_proto::packet::Auth;
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{Offence, PropertiesBuf, ReasonCode};

use crate::ids::{ConnectionKey, ListenerId, SessionKey};
use crate::notice::{Ending, Notice, SentPacket};
use crate::output::Output;
use crate::shard::Shard;
use crate::time::Instant;

/// How a Client has authenticated before its CONNACK.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated<'a> {
    /// Authentication Method.
    pub method: &'a str,
    /// Authentication Data for the CONNACK; empty: none.
    pub data: &'a [u8],
}

/// A step of a Client that authenticates again.
#[derive(Clone, Copy, Debug)]
pub struct Reauthentication<'a> {
    /// The user the connection belongs to, who must stay the same.
    pub username: Option<&'a str>,
    /// Where the connection came in.
    pub listener: ListenerId,
    /// A new exchange begins (AUTH 0x19).
    pub is_first: bool,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
}

/// What the body makes of a step. Data may be empty: none.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The Client is to go on.
    Continue(&'a [u8]),
    /// It has proved who it is.
    Accepted(&'a [u8]),
    /// It has not; the connection ends.
    Refused(ReasonCode),
}

/// The Authentication Method of a connection and whose turn it is.
pub(crate) struct Authentication {
    method: Box<str>,
    turn: Turn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Idle,
    Client,
    Server,
}

impl Authentication {
    pub(crate) fn of(authenticated: &Authenticated<'_>) -> Self {
        Self { method: authenticated.method.into(), turn: Turn::Idle }
    }
}

impl Authenticated<'_> {
    /// Both properties, the method being in every CONNACK and AUTH [MQTT-4.12.0-5].
    #[allow(clippy::expect_used, reason = "both are shorter than a property may be")]
    pub(crate) fn push_to(&self, properties: &mut PropertiesBuf) {
        let method = properties.push(PropertyId::AuthenticationMethod, Value::Text(self.method));
        method.expect("the method came in a property, so it fits into one");
        if !self.data.is_empty() {
            let data = Value::Binary(self.data);
            properties
                .push(PropertyId::AuthenticationData, data)
                .expect("the body's answers are shorter than 65,535 bytes");
        }
    }
}

impl Shard {
    pub(crate) fn receive_auth<O: Output>(
        &mut self,
        key: SessionKey,
        connection: ConnectionKey,
        auth: &Auth<'_>,
        out: &mut O,
    ) -> Result<(), Offence> {
        let session = &mut self.sessions[key];
        let online = session.online.as_mut();
        let rare = online.and_then(|online| online.rare.as_mut());
        let authentication = rare.and_then(|rare| rare.authentication.as_mut());
        // [MQTT-4.12.0-7]
        let authentication = authentication.ok_or(Offence::UnexpectedAuth)?;
        match auth.properties.text(PropertyId::AuthenticationMethod) {
            Some(method) if *method == *authentication.method => {}
            Some(_) => return Err(Offence::AuthenticationMethodChanged),
            None => return Err(Offence::AuthenticationMethodMissing),
        }
        let is_first = match (authentication.turn, auth.reason) {
            (Turn::Idle, ReasonCode::ReAuthenticate) => true,
            (Turn::Client, ReasonCode::ContinueAuthentication) => false,
            _ => return Err(Offence::UnexpectedAuthStep),
        };
        authentication.turn = Turn::Server;
        let request = Reauthentication {
            username: session.username.as_deref(),
            listener: session.listener,
            is_first,
            data: auth.properties.binary(PropertyId::AuthenticationData),
        };
        out.authenticate(connection, request);
        Ok(())
    }

    /// The body has looked at a step.
    pub(crate) fn authenticated<O: Output>(
        &mut self,
        connection: ConnectionKey,
        outcome: &Outcome<'_>,
        now: Instant,
        out: &mut O,
    ) {
        let Some(key) = self.session_of(connection) else { return };
        let session = &mut self.sessions[key];
        let Some(online) = session.online.as_mut() else { return };
        let rare = online.rare.as_mut();
        let Some(authentication) = rare.and_then(|rare| rare.authentication.as_mut()) else {
            return;
        };
        let (turn, reason, data) = match *outcome {
            Outcome::Continue(data) => (Turn::Client, ReasonCode::ContinueAuthentication, data),
            Outcome::Accepted(data) => (Turn::Idle, ReasonCode::Success, data),
            Outcome::Refused(reason) => {
                return self.end_connection(connection, Ending::Server(reason), now, out);
            }
        };
        authentication.turn = turn;
        let mut properties = PropertiesBuf::new();
        Authenticated { method: &authentication.method, data }.push_to(&mut properties);
        let mut packet = Vec::new();
        #[allow(clippy::expect_used, reason = "two properties fit into a packet")]
        Auth { reason, properties: properties.as_properties() }
            .encode(&mut packet)
            .expect("an AUTH with two properties fits");
        if packet.len() > online.packet_bytes_max as usize {
            // Without this packet there is no going on [MQTT-3.1.2-24].
            let ending = Ending::Server(ReasonCode::PacketTooLarge);
            return self.end_connection(connection, ending, now, out);
        }
        out.wire(connection).bytes_mut().extend_from_slice(&packet);
        self.stats.packets_sent.up(1);
        if self.settings.debug {
            let client_id = &self.sessions[key].client_id;
            let packet = SentPacket::Other(mqtt_proto::packet::PacketType::Auth);
            out.notice(Notice::Sending { client_id, packet });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use mqtt_proto::codec::Frame;
    use mqtt_proto::packet::Connect;
    use mqtt_proto::{Packet, Properties, Version};

    use crate::control::ControlRequest;
    use crate::envelope::Envelope;
    use crate::event::{Admission, Event, Proof};
    use crate::ids::{RecordId, ShardId};
    use crate::settings::Settings;
    use crate::wire::WireBuffer;

    const ANN: ConnectionKey = ConnectionKey(0);

    /// A body with one connection.
    #[derive(Default)]
    struct Body {
        wire: WireBuffer,
        requests: Vec<(bool, Option<Vec<u8>>)>,
        endings: Vec<Ending>,
    }

    impl Output for Body {
        fn wire(&mut self, _: ConnectionKey) -> &mut WireBuffer {
            &mut self.wire
        }

        fn flush(&mut self, _: ConnectionKey) -> usize {
            0
        }

        fn pause(&mut self, _: ConnectionKey) {}

        fn resume(&mut self, _: ConnectionKey) {}

        fn close(&mut self, _: ConnectionKey) {}

        fn authenticate(&mut self, connection: ConnectionKey, request: Reauthentication<'_>) {
            assert_eq!((connection, request.username), (ANN, Some("ann")));
            self.requests.push((request.is_first, request.data.map(<[u8]>::to_vec)));
        }

        fn control(&mut self, _: ConnectionKey, request: ControlRequest<'_>) {
            panic!("nobody here publishes: {request:?}");
        }

        fn to_shard(&mut self, _: ShardId, _: Envelope) {}

        fn put(&mut self, _: RecordId, _: &[u8]) {}

        fn kill(&mut self, _: RecordId) {}

        fn is_held_back(&self, _: RecordId) -> bool {
            false
        }

        fn is_in_log(&self, _: RecordId) -> bool {
            false
        }

        fn notice(&mut self, notice: Notice<'_>) {
            if let Notice::Disconnected { ending, .. } = notice {
                self.endings.push(ending);
            }
        }
    }

    struct Scene {
        shard: Shard,
        body: Body,
    }

    impl Scene {
        /// Ann is connected; `None`: without a method.
        fn joined(method: Option<&str>, packet_bytes_max: u32) -> Self {
            let shard = Shard::new(ShardId(0), 1, Arc::new(Settings::default()), 1);
            let mut scene = Self { shard, body: Body::default() };
            let mut asked = PropertiesBuf::new();
            asked.push(PropertyId::MaximumPacketSize, Value::U32(packet_bytes_max)).unwrap();
            let connect = Connect {
                version: Version::V5,
                is_bridge: false,
                clean_start: true,
                keep_alive_seconds: 0,
                client_id: "ann",
                will: None,
                username: None,
                password: None,
                properties: asked.as_properties(),
            };
            scene.handle(Event::Connect(Admission {
                connection: ANN,
                connect,
                client_id: "ann",
                username: Some("ann"),
                listener: ListenerId(0),
                sessions_elsewhere: 0,
                proof: Proof::None,
                proved_under: None,
                authenticated: method.map(|method| Authenticated { method, data: b"v=1" }),
            }));
            scene
        }

        fn handle(&mut self, event: Event<'_>) {
            self.shard.handle(event, Instant(1), &mut self.body);
        }

        fn auth(&mut self, reason: ReasonCode, method: Option<&str>, data: Option<&[u8]>) {
            let mut properties = PropertiesBuf::new();
            if let Some(method) = method {
                properties.push(PropertyId::AuthenticationMethod, Value::Text(method)).unwrap();
            }
            if let Some(data) = data {
                properties.push(PropertyId::AuthenticationData, Value::Binary(data)).unwrap();
            }
            let auth = Auth { reason, properties: properties.as_properties() };
            self.handle(Event::Packet(ANN, Packet::Auth(auth)));
        }

        /// The one packet that was sent, as type byte, code and the two properties.
        fn heard(&mut self) -> (u8, u8, Option<String>, Option<Vec<u8>>) {
            let bytes = self.body.wire.chunks().collect::<Vec<_>>().concat();
            self.body.wire.consume(bytes.len());
            let frame = Frame::peek(&bytes, usize::MAX).unwrap().unwrap();
            assert_eq!(frame.len, bytes.len(), "one packet");
            let (code, properties) = match Packet::decode(Version::V5, frame, &bytes).unwrap() {
                Packet::Connack(connack) => (connack.code, connack.properties),
                Packet::Auth(auth) => (auth.reason.value(), auth.properties),
                Packet::Disconnect(packet) => (packet.reason.value(), packet.properties),
                Packet::Pingresp => (0, Properties::EMPTY),
                packet => panic!("{packet:?}"),
            };
            let method = properties.text(PropertyId::AuthenticationMethod).map(String::from);
            let data = properties.binary(PropertyId::AuthenticationData).map(<[u8]>::to_vec);
            (bytes[0], code, method, data)
        }
    }

    fn m() -> Option<String> {
        Some("M".to_owned())
    }

    #[test]
    fn an_exchange_goes_back_and_forth_while_others_flow() {
        let mut scene = Scene::joined(Some("M"), 1000);
        assert_eq!(scene.heard(), (0x20, 0, m(), Some(b"v=1".to_vec())));
        for round in 0..2 {
            scene.auth(ReasonCode::ReAuthenticate, Some("M"), Some(b"first"));
            scene.handle(Event::Packet(ANN, Packet::Pingreq));
            assert_eq!(scene.heard().0, 0xD0, "round {round}");
            scene.handle(Event::Authenticated(ANN, Outcome::Continue(b"challenge")));
            assert_eq!(scene.heard(), (0xF0, 0x18, m(), Some(b"challenge".to_vec())));
            scene.auth(ReasonCode::ContinueAuthentication, Some("M"), None);
            scene.handle(Event::Authenticated(ANN, Outcome::Accepted(b"")));
            assert_eq!(scene.heard(), (0xF0, 0x00, m(), None));
        }
        let asked = [(true, Some(b"first".to_vec())), (false, None)];
        assert_eq!(scene.body.requests, [asked.clone(), asked].concat());
        assert!(scene.body.endings.is_empty());
    }

    #[test]
    fn a_refusal_ends_the_connection() {
        let mut scene = Scene::joined(Some("M"), 1000);
        scene.heard();
        scene.auth(ReasonCode::ReAuthenticate, Some("M"), None);
        scene.handle(Event::Authenticated(ANN, Outcome::Refused(ReasonCode::NotAuthorized)));
        assert_eq!(scene.heard(), (0xE0, 0x87, None, None));
        assert_eq!(scene.body.endings, [Ending::Server(ReasonCode::NotAuthorized)]);
        // What comes too late means nothing.
        scene.handle(Event::Authenticated(ANN, Outcome::Accepted(b"")));
        assert!(scene.body.wire.is_empty());
    }

    /// Every reason at every turn, with the right method, another, none, and without a method in
    /// CONNECT.
    #[test]
    fn whatever_is_out_of_turn_is_an_offence() {
        use Offence::*;
        use ReasonCode::{ContinueAuthentication, ReAuthenticate, Success};
        for turn in 0..3 {
            for reason in [Success, ContinueAuthentication, ReAuthenticate] {
                for (ours, theirs, offence) in [
                    (None, Some("M"), Some(UnexpectedAuth)),
                    (Some("M"), Some("m"), Some(AuthenticationMethodChanged)),
                    (Some("M"), None, Some(AuthenticationMethodMissing)),
                    (Some("M"), Some("M"), None),
                ] {
                    if ours.is_none() && turn > 0 {
                        continue;
                    }
                    let mut scene = Scene::joined(ours, 1000);
                    if turn > 0 {
                        scene.auth(ReAuthenticate, Some("M"), None);
                    }
                    if turn > 1 {
                        scene.handle(Event::Authenticated(ANN, Outcome::Continue(b"x")));
                    }
                    scene.auth(reason, theirs, None);
                    let fits = (turn == 0 && reason == ReAuthenticate)
                        || (turn == 2 && reason == ContinueAuthentication);
                    let expected = offence.or((!fits).then_some(UnexpectedAuthStep));
                    let expected: Vec<_> = expected.into_iter().map(Ending::Offence).collect();
                    assert_eq!(scene.body.endings, expected, "{turn} {reason} {ours:?} {theirs:?}");
                }
            }
        }
    }

    #[test]
    fn an_answer_larger_than_the_client_takes_is_never_sent() {
        // Type, length, code, property length, two properties with "M" and forty bytes.
        for (packet_bytes_max, is_sent) in [(51, true), (50, false)] {
            let mut scene = Scene::joined(Some("M"), packet_bytes_max);
            scene.body.wire = WireBuffer::default();
            scene.auth(ReasonCode::ReAuthenticate, Some("M"), None);
            scene.handle(Event::Authenticated(ANN, Outcome::Continue(&[7; 40])));
            let heard = scene.heard();
            let expected = if is_sent { (0xF0, 0x18) } else { (0xE0, 0x95) };
            assert_eq!((heard.0, heard.1), expected, "{packet_bytes_max}");
        }
    }
}
