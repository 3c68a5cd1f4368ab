//! Enhanced authentication of the client against a Server that follows a script and checks proofs
//! with `mqtt-auth`: at CONNECT, again on the open connection, and every way it fails.

use std::sync::Arc;
use std::time::Duration;

use mqtt_auth::{PasswordFile, PasswordHash, Scheme, ScramServer};
use mqtt_client::{
    Client, ConnectError, Event, Incoming, Lost, Options, Publish, QoS, RequestError, ScramSha256,
    Version,
};
use mqtt_proto::codec::Frame;
use mqtt_proto::packet::{Auth, Connack};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{Packet, Properties, PropertiesBuf, ReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const METHOD: &str = "SCRAM-SHA-256";

/// The Server's end of one connection.
struct Peer {
    stream: TcpStream,
    bytes: Vec<u8>,
    passwords: PasswordFile,
}

/// A packet of the Client: its type, Reason Code, method, data.
type Heard = (u8, u8, Option<String>, Option<Vec<u8>>);

impl Peer {
    async fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(frame) = Frame::peek(&self.bytes, usize::MAX).unwrap() {
                let bytes: Vec<u8> = self.bytes.drain(..frame.len).collect();
                let (code, properties) = match Packet::decode(Version::V5, frame, &bytes).unwrap() {
                    Packet::Connect(connect) => {
                        assert_eq!((connect.username, connect.password), (None, None));
                        (0, connect.properties)
                    }
                    Packet::Auth(auth) => (auth.reason.value(), auth.properties),
                    Packet::Disconnect(packet) => (packet.reason.value(), packet.properties),
                    Packet::Publish(_) => (0, Properties::EMPTY),
                    packet => panic!("{packet:?}"),
                };
                let method = properties.text(PropertyId::AuthenticationMethod).map(String::from);
                let data = properties.binary(PropertyId::AuthenticationData).map(<[u8]>::to_vec);
                return Some((bytes[0] >> 4, code, method, data));
            }
            if self.stream.read_buf(&mut self.bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The Client's data, in a packet of this type with this code.
    async fn data(&mut self, packet_type: u8, code: u8) -> Vec<u8> {
        let heard = self.hear().await.expect("a packet");
        let expected = (packet_type, code, Some(METHOD.to_owned()));
        assert_eq!((heard.0, heard.1, heard.2), expected);
        heard.3.expect("data")
    }

    async fn say(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn auth(&mut self, reason: ReasonCode, method: &str, data: &[u8]) {
        let properties = named(method, data);
        self.say(Packet::Auth(Auth { reason, properties: properties.as_properties() })).await;
    }

    async fn connack(&mut self, properties: &PropertiesBuf) {
        let properties = properties.as_properties();
        self.say(Packet::Connack(Connack { session_present: false, code: 0, properties })).await;
    }

    /// Plays an exchange up to the Server's last data.
    async fn exchange(&mut self, packet_type: u8, code: u8) -> Vec<u8> {
        let first = self.data(packet_type, code).await;
        let (server, challenge) = ScramServer::start(&self.passwords, &first, [7; 18]).unwrap();
        self.auth(ReasonCode::ContinueAuthentication, METHOD, &challenge).await;
        let last = self.data(15, 0x18).await;
        server.finish(&last).unwrap().1
    }
}

fn named(method: &str, data: &[u8]) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(PropertyId::AuthenticationMethod, Value::Text(method)).unwrap();
    properties.push(PropertyId::AuthenticationData, Value::Binary(data)).unwrap();
    properties
}

/// Starts a client, and gives the Server's end to the script.
async fn play<F: Future<Output = Peer>>(
    script: impl FnOnce(Peer) -> F,
) -> (Result<(Client, Incoming), ConnectError>, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = Options::new("127.0.0.1", listener.local_addr().unwrap().port());
    options.version = Version::V5;
    options.reconnect = None;
    options.connect_timeout = Duration::from_secs(10);
    options.authentication = Some(Arc::new(ScramSha256::new("ann", "pw")));
    let scheme = Scheme::ScramSha256 { iterations: 4096 };
    let hash = PasswordHash::create(scheme, b"pw", b"salt").unwrap();
    let (passwords, _) = PasswordFile::parse(&format!("ann:{hash}\n")).unwrap();
    let server = async {
        let stream = listener.accept().await.unwrap().0;
        script(Peer { stream, bytes: Vec::new(), passwords }).await
    };
    tokio::join!(Client::connect(options), server)
}

async fn joined() -> (Client, Incoming, Peer) {
    let (client, peer) = play(|mut peer| async {
        let last = peer.exchange(1, 0).await;
        peer.connack(&named(METHOD, &last)).await;
        peer
    })
    .await;
    let (client, mut incoming) = client.unwrap();
    assert!(matches!(incoming.next().await, Some(Event::Connected(_))));
    (client, incoming, peer)
}

#[tokio::test]
async fn logs_in_and_authenticates_again_while_messages_flow() {
    let (client, _incoming, mut peer) = joined().await;
    for _ in 0..2 {
        let server = async {
            let last = peer.exchange(15, 0x19).await;
            client.publish(Publish::new("t", "meanwhile").qos(QoS::AtMostOnce)).await.unwrap();
            assert_eq!(peer.hear().await.unwrap().0, 3, "a PUBLISH");
            let again = client.reauthenticate().await;
            assert!(matches!(again, Err(RequestError::Authentication(_))), "one at a time");
            peer.auth(ReasonCode::Success, METHOD, &last).await;
        };
        let (end, ()) = tokio::join!(client.reauthenticate(), server);
        assert_eq!(end, Ok(()));
    }
}

#[tokio::test]
async fn a_server_that_proves_nothing_is_not_believed() {
    let signature = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (end, _) = play(|mut peer| async {
        peer.exchange(1, 0).await;
        peer.connack(&named(METHOD, signature)).await;
        peer
    })
    .await;
    assert!(matches!(end, Err(ConnectError::Authentication(_))), "{end:?}");
    // One that lets everybody in without a question.
    let (end, _) = play(|mut peer| async {
        peer.data(1, 0).await;
        peer.connack(&named(METHOD, signature)).await;
        peer
    })
    .await;
    assert!(matches!(end, Err(ConnectError::Authentication(_))), "{end:?}");

    let (client, mut incoming, mut peer) = joined().await;
    let server = async {
        peer.exchange(15, 0x19).await;
        peer.auth(ReasonCode::Success, METHOD, signature).await;
        let goodbye = peer.hear().await.unwrap();
        assert_eq!((goodbye.0, goodbye.1), (14, 0x80), "DISCONNECT");
    };
    let (end, ()) = tokio::join!(client.reauthenticate(), server);
    assert!(matches!(end, Err(RequestError::Authentication(_))), "{end:?}");
    let lost = incoming.next().await;
    let is_told = matches!(lost, Some(Event::Disconnected { lost: Lost::Authentication(_), .. }));
    assert!(is_told, "{lost:?}");
}

#[tokio::test]
async fn a_server_that_breaks_the_rules_is_left() {
    for (reason, method) in [
        (ReasonCode::ContinueAuthentication, "SCRAM-SHA-1"),
        (ReasonCode::Success, METHOD),
        (ReasonCode::ReAuthenticate, METHOD),
    ] {
        let (end, _) = play(|mut peer| async {
            peer.data(1, 0).await;
            peer.auth(reason, method, b"x").await;
            peer
        })
        .await;
        assert!(matches!(end, Err(ConnectError::Protocol(_))), "{reason} {method}: {end:?}");
    }
    // A CONNACK that names no method [MQTT-4.12.0-5].
    let (end, _) = play(|mut peer| async {
        peer.exchange(1, 0).await;
        peer.connack(&PropertiesBuf::new()).await;
        peer
    })
    .await;
    assert!(matches!(end, Err(ConnectError::Protocol(_))), "{end:?}");
}

#[tokio::test]
async fn a_lost_connection_ends_the_exchange() {
    let (client, _incoming, mut peer) = joined().await;
    let server = async {
        peer.data(15, 0x19).await;
        drop(peer);
    };
    let (end, ()) = tokio::join!(client.reauthenticate(), server);
    assert!(matches!(end, Err(RequestError::Lost | RequestError::Closed)), "{end:?}");
}

#[tokio::test]
async fn what_can_not_work_is_refused_before_it_is_tried() {
    let mut options = Options::new("127.0.0.1", 1);
    options.authentication = Some(Arc::new(ScramSha256::new("ann", "pw")));
    let end = Client::connect(options.clone()).await.map(|_| ());
    assert!(matches!(end, Err(ConnectError::Options(_))), "3.1.1: {end:?}");
    options.version = Version::V5;
    options.connect_property(PropertyId::AuthenticationMethod, Value::Text("other")).unwrap();
    let end = Client::connect(options).await.map(|_| ());
    assert!(matches!(end, Err(ConnectError::Options(_))), "two methods: {end:?}");
}
