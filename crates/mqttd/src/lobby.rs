//! From an accepted socket to a verified CONNECT: PROXY header, TLS, WebSocket, the packet, the
//! password. Then the connection moves, once, to the shard that owns its Client Identifier.
//!
//! A stranger has a small fixed budget here: [`CONNECT_BYTES_MAX`] bytes and [`CONNECT_TIMEOUT`].

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use mqtt_auth::{ScramError, Verdict};
use mqtt_net::http::Request;
use mqtt_net::{PeerAddress, Stream};
use mqtt_proto::codec::Frame;
use mqtt_proto::packet::{Auth, Connack, Connect};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{Offence, Packet, Properties, PropertiesBuf, ReasonCode, Version};
use mqttd_conf::{Address, Listener, Protocol};
use mqttd_core::Shard;
use mqttd_core::event::Proof;
use mqttd_core::ids::ListenerId;
use mqttd_core::limits::CONNACK_BYTES_MIN;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::authenticate::{Exchange, Step};
use crate::http::Visit;
use crate::live::{Door, Live};
use mqttd_conf::LogType;

use crate::login::{Stranger, passwords_of};
use crate::mailbox::{Item, Newcomer, Transport};
use crate::permit::Permit;
use crate::run::Broker;
use crate::transport::{self, Spoken};
use crate::wording;

/// The largest CONNECT packet, as in Mosquitto: a client identifier, a will and credentials fit.
pub(crate) const CONNECT_BYTES_MAX: usize = 100_000;

/// Time from the accept to a verified CONNECT. Long enough for TLS over a bad mobile line.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Password checks at the same time, beside the shards; more wait for their turn.
pub(crate) const PASSWORD_CHECKS_MAX: usize = 2;

/// First read of a connection: most CONNECT packets are smaller.
const FIRST_READ: usize = 512;

/// Why a connection did not get past the lobby.
enum Turned {
    /// Nothing to say and nobody to say it to: the other side left or is not MQTT.
    Away(String),
    /// Refused with this code, in the Client's own version.
    Refused(Version, ReasonCode, String),
}

/// What has become of an accepted connection.
enum Arrived {
    AtItsShard,
    /// It speaks HTTP, which has deadlines of its own.
    Http(Stream, Request, Option<String>, Permit),
}

/// Who a Client has turned out to be.
struct Known {
    client_id: String,
    username: Option<String>,
    proof: Proof,
    /// Authentication Data for the CONNACK of enhanced authentication.
    authentication_data: Option<Vec<u8>>,
}

/// Brings one accepted connection to its shard, or ends it.
pub(crate) async fn receive(
    broker: Arc<Broker>,
    worker: usize,
    listener: ListenerId,
    stream: Stream,
    permit: Permit,
) {
    let Ok(peer) = stream.peer_address() else { return };
    let live = broker.live();
    let Some(door) = live.door(listener) else { return };
    let (client_id, unwelcome) = (None, None);
    let mut visitor = Visitor {
        broker: &broker,
        live: &live,
        door,
        worker,
        listener,
        peer,
        client_id,
        unwelcome,
    };
    visitor.log_new_connection();
    let arrival = tokio::time::timeout(CONNECT_TIMEOUT, visitor.receive(stream, permit)).await;
    let text = match arrival {
        Ok(Ok(Arrived::AtItsShard)) => return,
        Ok(Ok(Arrived::Http(stream, request, user, _permit))) => {
            match visitor.serve_http(stream, request, user).await {
                Ok(()) => return,
                Err(text) => text,
            }
        }
        Ok(Err(text)) => text,
        Err(_) => format!("no CONNECT within {} seconds, MQTT-3.1.4-1", CONNECT_TIMEOUT.as_secs()),
    };
    if broker.logger.is_on(LogType::Notice) && broker.logger.connection_messages() {
        let peer = &visitor.peer;
        let id = visitor.client_id.as_deref().unwrap_or(wording::NO_CLIENT_ID);
        let fields = || wording::refused_fields(id, &peer.to_string(), &text);
        broker.logger.line_with(
            LogType::Notice,
            format_args!("Client {id} [{peer}] disconnected: {text}."),
            fields,
        );
    }
}

struct Visitor<'b> {
    broker: &'b Arc<Broker>,
    live: &'b Live,
    door: &'b Door,
    worker: usize,
    listener: ListenerId,
    peer: PeerAddress,
    /// For the log, once CONNECT has come.
    client_id: Option<String>,
    /// The address is refused whatever it says.
    unwelcome: Option<ReasonCode>,
}

impl Visitor<'_> {
    fn conf(&self) -> &Listener {
        &self.door.conf
    }

    fn port(&self) -> u16 {
        match self.conf().address {
            Address::Tcp { port, .. } => port,
            Address::Unix { .. } => 0,
        }
    }

    fn log_new_connection(&self) {
        let logger = &self.broker.logger;
        // One line for each look at the metrics would be many.
        if self.conf().protocol == Protocol::HttpApi {
            return;
        }
        if logger.connection_messages() && logger.is_on(LogType::Notice) {
            let peer = self.peer.to_string();
            let text = wording::new_connection(&peer, self.port());
            logger.line(LogType::Notice, format_args!("{text}"));
        }
    }

    /// `Err` holds what the log says.
    async fn receive(&mut self, stream: Stream, permit: Permit) -> Result<Arrived, String> {
        let message_bytes_max = u64::from(self.live.settings.packet_bytes_max) * 2;
        let (broker, live, door) = (self.broker, self.live, self.door);
        let unwelcome = &mut self.unwelcome;
        let may_come = |peer: &PeerAddress| {
            *unwelcome = Stranger { broker, live, peer }.refuses_address();
            match *unwelcome {
                // Whoever speaks MQTT at once is told in its CONNACK.
                Some(_) if door.tls.is_none() && door.conf.protocol == Protocol::Mqtt => Ok(()),
                Some(reason) => Err(wording::reason_word(reason).to_owned()),
                None => Ok(()),
            }
        };
        let peer = &mut self.peer;
        let spoken = transport::open(door, message_bytes_max, peer, may_come, stream).await?;
        let (mut stream, certificate_user) = match spoken {
            Spoken::Mqtt(stream, certificate_user) => (stream, certificate_user),
            Spoken::Http(stream, request, user) => {
                return Ok(Arrived::Http(stream, request, user, permit));
            }
        };
        let mut bytes = Vec::new();
        let turned = match self.read_connect(&mut stream, &mut bytes).await {
            Ok(len) => {
                let mut rest = bytes.split_off(len);
                let known = self.verify(&bytes, certificate_user, &mut stream, &mut rest).await;
                match known {
                    Ok(known) => {
                        self.hand_over(stream, permit, bytes, rest, known);
                        return Ok(Arrived::AtItsShard);
                    }
                    Err(turned) => turned,
                }
            }
            Err(turned) => turned,
        };
        match turned {
            Turned::Away(text) => Err(text),
            Turned::Refused(version, reason, text) => {
                refuse(&mut stream, version, reason).await;
                Err(text)
            }
        }
    }

    async fn serve_http(
        &self,
        stream: Stream,
        request: Request,
        certificate_user: Option<String>,
    ) -> Result<(), String> {
        let (broker, live, door) = (self.broker, self.live, self.door);
        let listener = self.listener;
        let peer = self.peer;
        Visit { broker, live, door, listener, peer, request, certificate_user }.serve(stream).await
    }

    /// Reads until a whole CONNECT is at the front of `bytes`; returns its length.
    async fn read_connect(
        &self,
        stream: &mut Stream,
        bytes: &mut Vec<u8>,
    ) -> Result<usize, Turned> {
        loop {
            if bytes.first().is_some_and(|first| first >> 4 != 1) {
                let offence = Offence::FirstPacketNotConnect;
                return Err(Turned::Away(say(offence)));
            }
            let max = CONNECT_BYTES_MAX.min(self.live.settings.packet_bytes_max as usize);
            match Frame::peek(bytes, max) {
                Ok(Some(frame)) => return Ok(frame.len),
                Ok(None) => read_more(stream, bytes).await?,
                Err(offence) => return Err(Turned::Away(say(offence))),
            }
        }
    }

    /// Who the Client is, and whether it may come in. An exchange of AUTH packets goes over
    /// `stream`, `rest` being what has been read of it.
    async fn verify(
        &mut self,
        bytes: &[u8],
        certificate_user: Option<String>,
        stream: &mut Stream,
        rest: &mut Vec<u8>,
    ) -> Result<Known, Turned> {
        let connect = match decode(bytes) {
            Ok(connect) => connect,
            Err(Offence::ProtocolVersionUnsupported) => {
                // The level is unknown; 0x01 is what 3.x says, and 5.0 would not have come here.
                let version = if bytes.windows(4).any(|name| name == b"MQTT") {
                    Version::V311
                } else {
                    Version::V31
                };
                let offence = Offence::ProtocolVersionUnsupported;
                return Err(Turned::Refused(version, offence.reason(), say(offence)));
            }
            Err(offence) => {
                let version = if looks_like_v5(bytes) { Version::V5 } else { Version::V311 };
                return Err(Turned::Refused(version, offence.reason(), say(offence)));
            }
        };
        // Not even a refusal would be within what it takes.
        let max = connect.properties.u32(PropertyId::MaximumPacketSize);
        if max.is_some_and(|max| max < CONNACK_BYTES_MIN) {
            return Err(Turned::Away("maximum packet size below a CONNACK's".to_owned()));
        }
        let refuse = |reason: ReasonCode, text: &str| {
            Turned::Refused(connect.version, reason, text.to_owned())
        };
        if !connect.client_id.is_empty() {
            self.client_id = Some(connect.client_id.to_owned());
        }
        if let Some(reason) = self.unwelcome {
            return Err(refuse(reason, wording::reason_word(reason)));
        }
        let conf = self.conf();
        let allowed = match connect.version {
            Version::V31 => conf.versions.v31,
            Version::V311 => conf.versions.v311,
            Version::V5 => conf.versions.v5,
        };
        if !allowed {
            let text = "protocol error (version not allowed on this listener)";
            return Err(refuse(ReasonCode::UnsupportedProtocolVersion, text));
        }
        let used = bytes.len();
        let (username, proof, authentication_data) =
            self.identify(&connect, used, certificate_user, stream, rest).await?;
        let client_id = self.client_id(&connect, username.as_deref())?;
        self.check_dynamic(&connect, username.as_deref(), &client_id, proof).await?;
        Ok(Known { client_id, username, proof, authentication_data })
    }

    /// The user, how it has shown who it is, and Authentication Data for the CONNACK. `used` bytes
    /// were CONNECT's.
    async fn identify(
        &self,
        connect: &Connect<'_>,
        used: usize,
        certificate_user: Option<String>,
        stream: &mut Stream,
        rest: &mut Vec<u8>,
    ) -> Result<(Option<String>, Proof, Option<Vec<u8>>), Turned> {
        let refuse = |reason: ReasonCode, text: &str| {
            Turned::Refused(connect.version, reason, text.to_owned())
        };
        let method = connect.properties.text(PropertyId::AuthenticationMethod);
        Ok(match (method, certificate_user) {
            (Some(method), certificate_user) => {
                let passwords = self.door.passwords.as_ref();
                let Some(exchange) = Exchange::begin(method, passwords) else {
                    let text = "bad authentication method";
                    return Err(refuse(ReasonCode::BadAuthenticationMethod, text));
                };
                let budget = CONNECT_BYTES_MAX.saturating_sub(used);
                let login = Login { verifier: &self.broker.verifier, connect, method };
                let (name, data) = match login.run(exchange, stream, rest, budget).await {
                    Err(Turned::Refused(version, ReasonCode::NotAuthorized, text)) => {
                        self.stranger().login_failed(connect.username).await;
                        return Err(Turned::Refused(version, ReasonCode::NotAuthorized, text));
                    }
                    outcome => outcome?,
                };
                self.check_user_ban(connect, &name)?;
                // Who goes by several names must be the same under each of them.
                let others = [connect.username, certificate_user.as_deref()];
                if others.into_iter().flatten().any(|other| other != name) {
                    let text = "not authorised (another user name than the one authenticated)";
                    return Err(refuse(ReasonCode::NotAuthorized, text));
                }
                (Some(name), Proof::Password, Some(data))
            }
            (None, Some(name)) => (Some(name), Proof::Transport, None),
            (None, None) => {
                let proof = self.check_password(connect).await?;
                (connect.username.map(str::to_owned), proof, None)
            }
        })
    }

    /// Dynamic security may have disabled the user, bound it to another Client Identifier, or want
    /// a password of its own from it, however it has shown who it is.
    async fn check_dynamic(
        &self,
        connect: &Connect<'_>,
        username: Option<&str>,
        client_id: &str,
        proof: Proof,
    ) -> Result<(), Turned> {
        let (Some(dynamic), Some(user)) = (self.live.dynamic(self.listener), username) else {
            return Ok(());
        };
        let is_elsewhere = proof == Proof::Password && dynamic.knows(user);
        if dynamic.admits(user, client_id) && !is_elsewhere {
            return Ok(());
        }
        self.stranger().login_failed(username).await;
        let text = "not authorised".to_owned();
        Err(Turned::Refused(connect.version, ReasonCode::NotAuthorized, text))
    }

    async fn check_password(&self, connect: &Connect<'_>) -> Result<Proof, Turned> {
        let refused = || {
            let text = "not authorised".to_owned();
            Err(Turned::Refused(connect.version, ReasonCode::NotAuthorized, text))
        };
        let auth = &self.conf().auth;
        let dynamic = self.live.dynamic(self.listener);
        let found = connect.username.and_then(|user| {
            let (passwords, proof) = passwords_of(user, dynamic, self.door.passwords.as_ref())?;
            Some((user, passwords, proof))
        });
        match found {
            Some((user, passwords, proof)) => {
                self.check_user_ban(connect, user)?;
                let (passwords, user) = (Arc::clone(passwords), user.to_owned());
                // Nobody comes in without one, whatever the file says; mqtt-passwd writes no
                // empty password, and Mosquitto takes none.
                let has_password = connect.password.is_some_and(|password| !password.is_empty());
                let password = connect.password.unwrap_or_default().to_vec();
                match self.broker.verifier.verify(passwords, user, password).await {
                    Verdict::Accepted if has_password => Ok(proof),
                    Verdict::NoMemory => {
                        let text = "the password could not be checked: out of memory";
                        self.broker.logger.line(LogType::Error, format_args!("Error: {text}"));
                        let reason = ReasonCode::ServerUnavailable;
                        Err(Turned::Refused(connect.version, reason, text.to_owned()))
                    }
                    Verdict::Accepted | Verdict::WrongPassword | Verdict::UnknownUser => {
                        self.stranger().login_failed(connect.username).await;
                        refused()
                    }
                }
            }
            None if auth.allow_anonymous => Ok(Proof::None),
            None => {
                self.stranger().login_failed(connect.username).await;
                refused()
            }
        }
    }

    fn check_user_ban(&self, connect: &Connect<'_>, user: &str) -> Result<(), Turned> {
        if self.stranger().refuses_user(user) {
            let text = wording::reason_word(ReasonCode::Banned).to_owned();
            return Err(Turned::Refused(connect.version, ReasonCode::Banned, text));
        }
        Ok(())
    }

    fn stranger(&self) -> Stranger<'_> {
        Stranger { broker: self.broker, live: self.live, peer: &self.peer }
    }

    /// The Client Identifier to use: the Client's, its user name, or one made here.
    fn client_id(&self, connect: &Connect<'_>, username: Option<&str>) -> Result<String, Turned> {
        let conf = self.conf();
        let invalid = |text: &str| {
            let reason = ReasonCode::ClientIdentifierNotValid;
            Err(Turned::Refused(connect.version, reason, text.to_owned()))
        };
        if conf.identity.use_username_as_clientid {
            return match username {
                Some(username) => Ok(username.to_owned()),
                None => {
                    let text = "not authorised (no user name to use as client identifier)";
                    let reason = ReasonCode::NotAuthorized;
                    Err(Turned::Refused(connect.version, reason, text.to_owned()))
                }
            };
        }
        if connect.client_id.is_empty() {
            let version = connect.version;
            if !version.allows_empty_client_id()
                || !conf.auth.allow_zero_length_clientid
                || (version.empty_client_id_needs_clean_start() && !connect.clean_start)
            {
                return invalid("client identifier not valid");
            }
            return Ok(made_up_client_id(&conf.auth.auto_id_prefix));
        }
        if let Some(prefixes) = &self.live.config.security.clientid_prefixes {
            if !connect.client_id.starts_with(prefixes.as_str()) {
                let text = "not authorised (client identifier without the configured prefix)";
                let reason = ReasonCode::NotAuthorized;
                return Err(Turned::Refused(connect.version, reason, text.to_owned()));
            }
        }
        Ok(connect.client_id.to_owned())
    }

    fn hand_over(
        &self,
        stream: Stream,
        permit: Permit,
        connect: Vec<u8>,
        rest: Vec<u8>,
        known: Known,
    ) {
        let shards = self.broker.mailboxes.len() as u8;
        let shard = Shard::of_client(&known.client_id, shards);
        let mailbox = &self.broker.mailboxes[usize::from(shard.0)];
        let transport = if mailbox.worker() == self.worker {
            Transport::Here(stream)
        } else {
            match stream.detach() {
                Ok(detached) => Transport::Moved(detached),
                Err(_) => return, // the socket is broken
            }
        };
        mailbox.send(Item::Admit(Box::new(Newcomer {
            transport,
            worker: self.worker,
            peer: self.peer,
            listener: self.listener,
            permit,
            connect,
            rest,
            client_id: known.client_id,
            username: known.username,
            proof: known.proof,
            settings: Arc::clone(&self.live.settings),
            authentication_data: known.authentication_data,
        })));
    }
}

/// The exchange of AUTH packets between CONNECT and CONNACK (4.12).
struct Login<'a> {
    verifier: &'a Verifier,
    connect: &'a Connect<'a>,
    method: &'a str,
}

impl Login<'_> {
    /// Returns the user name and the Authentication Data for the CONNACK. The Client may use up
    /// `budget` more bytes.
    async fn run(
        &self,
        mut exchange: Exchange,
        stream: &mut Stream,
        rest: &mut Vec<u8>,
        mut budget: usize,
    ) -> Result<(String, Vec<u8>), Turned> {
        let data = self.connect.properties.binary(PropertyId::AuthenticationData);
        let mut data = data.map(<[u8]>::to_vec);
        loop {
            let said = match self.verifier.step(exchange, data).await {
                Step::Accepted(user, last) => return Ok((user, last)),
                Step::Refused(error) => {
                    let text = format!("not authorised ({error})");
                    return Err(Turned::Refused(Version::V5, ReasonCode::NotAuthorized, text));
                }
                Step::Continue(next, said) => {
                    exchange = next;
                    said
                }
            };
            self.send(stream, &said).await?;
            let len = loop {
                match Frame::peek(rest, budget) {
                    Ok(Some(frame)) => break frame.len,
                    Ok(None) => read_more(stream, rest).await?,
                    Err(offence) => return Err(offend(offence)),
                }
            };
            budget -= len;
            data = self.receive(&rest[..len])?;
            rest.drain(..len);
        }
    }

    /// AUTH 0x18 [MQTT-4.12.0-2].
    async fn send(&self, stream: &mut Stream, said: &[u8]) -> Result<(), Turned> {
        let mut properties = PropertiesBuf::new();
        let method = Value::Text(self.method);
        let mut result = properties.push(PropertyId::AuthenticationMethod, method).map(|_| ());
        if !said.is_empty() {
            let data = properties.push(PropertyId::AuthenticationData, Value::Binary(said));
            result = result.and(data.map(|_| ()));
        }
        let reason = ReasonCode::ContinueAuthentication;
        let mut packet = Vec::new();
        let auth = Auth { reason, properties: properties.as_properties() };
        let fits = result.and_then(|()| auth.encode(&mut packet)).is_ok();
        let max = self.connect.properties.u32(PropertyId::MaximumPacketSize);
        if !fits || max.is_some_and(|max| packet.len() > max as usize) {
            let text = "the answer is larger than the client's maximum packet size".to_owned();
            return Err(Turned::Refused(Version::V5, ReasonCode::PacketTooLarge, text));
        }
        let sent = async {
            stream.write_all(&packet).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| Turned::Away(format!("bad socket read/write: {error}")))
    }

    /// Takes the Client's AUTH 0x18 and returns its data.
    fn receive(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Turned> {
        let packet = Frame::peek(bytes, bytes.len())
            .and_then(|frame| frame.ok_or(Offence::BodyTooShort))
            .and_then(|frame| Packet::decode(Version::V5, frame, bytes));
        let auth = match packet.map_err(offend)? {
            Packet::Auth(auth) => auth,
            Packet::Disconnect(_) => return Err(Turned::Away("disconnected".into())),
            _ => return Err(offend(Offence::PacketDuringAuthentication)),
        };
        match auth.properties.text(PropertyId::AuthenticationMethod) {
            Some(method) if method == self.method => {}
            Some(_) => return Err(offend(Offence::AuthenticationMethodChanged)),
            None => return Err(offend(Offence::AuthenticationMethodMissing)),
        }
        if auth.reason != ReasonCode::ContinueAuthentication {
            return Err(offend(Offence::UnexpectedAuthStep));
        }
        Ok(auth.properties.binary(PropertyId::AuthenticationData).map(<[u8]>::to_vec))
    }
}

fn offend(offence: Offence) -> Turned {
    Turned::Refused(Version::V5, offence.reason(), say(offence))
}

async fn read_more(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), Turned> {
    bytes.reserve(FIRST_READ);
    match stream.read_buf(bytes).await {
        Ok(0) => Err(Turned::Away("connection closed by client".into())),
        Ok(_) => Ok(()),
        Err(error) => Err(Turned::Away(format!("bad socket read/write: {error}"))),
    }
}

fn decode(bytes: &[u8]) -> Result<Connect<'_>, Offence> {
    let frame = Frame::peek(bytes, bytes.len())?.ok_or(Offence::BodyTooShort)?;
    match Packet::decode(Version::V311, frame, bytes)? {
        Packet::Connect(connect) => Ok(connect),
        _ => Err(Offence::FirstPacketNotConnect),
    }
}

/// A malformed CONNECT that names 5.0 is answered in 5.0.
fn looks_like_v5(bytes: &[u8]) -> bool {
    bytes.windows(5).take(8).any(|window| window == b"MQTT\x05")
}

fn say(offence: Offence) -> String {
    let kind = if offence.reason() == ReasonCode::PacketTooLarge {
        "oversize packet"
    } else if offence.is_malformed() {
        "malformed packet"
    } else {
        "protocol error"
    };
    format!("{kind} ({offence}, {})", offence.clause())
}

/// Tells the Client why, in its version's words, and gives the bytes a moment to arrive.
async fn refuse(stream: &mut Stream, version: Version, reason: ReasonCode) {
    let code =
        if version.has_properties() { Some(reason.value()) } else { reason.connect_return_code() };
    let Some(code) = code else { return };
    let mut bytes = Vec::new();
    let connack = Connack { session_present: false, code, properties: Properties::EMPTY };
    if connack.encode(version, &mut bytes).is_ok() && stream.write_all(&bytes).await.is_ok() {
        // Closing with unread input would reset the connection and lose the answer.
        let _ = stream.shutdown().await;
        let drain = async {
            let mut scratch = [0; 512];
            let mut left = CONNECT_BYTES_MAX;
            while let Ok(count @ 1..) = stream.read(&mut scratch).await {
                left = left.saturating_sub(count);
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
    }
}

/// As Mosquitto makes them: the prefix and a random UUID.
fn made_up_client_id(prefix: &str) -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random bytes after start");
    random[6] = random[6] & 0x0F | 0x40;
    random[8] = random[8] & 0x3F | 0x80;
    let mut id = String::with_capacity(prefix.len() + 36);
    id.push_str(prefix);
    for (index, byte) in random.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02X}").expect("a String takes everything");
    }
    id
}

/// Checks passwords on the blocking pool, a bounded number at a time: a hash is meant to be slow.
pub(crate) struct Verifier {
    places: Arc<Semaphore>,
}

impl Verifier {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PASSWORD_CHECKS_MAX)) }
    }

    /// Checks a password.
    pub(crate) async fn verify(
        &self,
        passwords: Arc<mqtt_auth::PasswordFile>,
        user: String,
        password: Vec<u8>,
    ) -> Verdict {
        let check = self.work(move || passwords.verify(&user, &password));
        check.await.unwrap_or(Verdict::NoMemory)
    }

    /// Does work that hashes, as one of the checks; `None`: it has panicked.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let work = move || {
            // The place goes along: who leaves does not make room while a hash is computed.
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Takes a step of enhanced authentication.
    pub(crate) async fn step(&self, exchange: Exchange, data: Option<Vec<u8>>) -> Step {
        let broken = || Step::Refused(ScramError::Malformed("the step could not be taken"));
        let step = self.work(move || exchange.step(data.as_deref()));
        step.await.unwrap_or_else(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_identifiers_have_the_prefix_and_the_form_of_a_uuid() {
        let id = made_up_client_id("auto-");
        assert_eq!(id.len(), 5 + 36);
        assert!(id.starts_with("auto-") && id.as_bytes()[5 + 14] == b'4', "{id}");
        assert_ne!(id, made_up_client_id("auto-"));
    }

    #[test]
    fn a_malformed_connect_of_5_0_is_recognised() {
        assert!(looks_like_v5(b"\x10\x0d\x00\x04MQTT\x05\xff"));
        assert!(!looks_like_v5(b"\x10\x0d\x00\x04MQTT\x04\xff"));
    }
}
