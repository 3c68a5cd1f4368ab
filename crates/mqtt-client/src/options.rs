//! How to connect: everything a CONNECT packet says, the way there, and how the client behaves.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{EncodeError, Packet, PropertiesBuf, QoS, Version};

use crate::authentication::AuthenticationMethod;
use crate::backoff::Backoff;
use crate::tls::Tls;

/// Messages of QoS 1 and 2 in flight at a time, unless [`Options::max_in_flight`] says otherwise.
pub const DEFAULT_MAX_IN_FLIGHT: u16 = 20;

/// How long a connection may take to come about, unless [`Options::connect_timeout`] says
/// otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything about one client. Start with [`Options::default`], [`Options::new`] or
/// [`Options::from_url`](crate::url) and change what is to differ.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The way to the Server.
    pub transport: Transport,
    /// 3.1.1 by default.
    pub version: Version,
    /// Empty by default: the Server chooses one. 3.1 has no such thing, there one is made up.
    pub client_id: String,
    /// Begin without the old Session (Clean Session in 3.x). On by default.
    pub clean_start: bool,
    /// Seconds, 60 by default; 0 switches Keep Alive off.
    pub keep_alive_seconds: u16,
    /// User Name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
    /// Enhanced authentication (5.0), at CONNECT and by
    /// [`Client::reauthenticate`](crate::Client::reauthenticate).
    pub authentication: Option<Arc<dyn AuthenticationMethod>>,
    /// What the Server publishes when we vanish.
    pub will: Option<Will>,
    /// 5.0 properties of CONNECT: Session Expiry Interval, Receive Maximum, User Properties, …
    pub connect_properties: PropertiesBuf,
    /// How many QoS 1 and 2 messages of ours wait for their acknowledgement at a time;
    /// [`DEFAULT_MAX_IN_FLIGHT`], and never more than the Server's Receive Maximum.
    pub max_in_flight: u16,
    /// When messages of QoS 1 and 2 are acknowledged to the Server.
    pub acknowledge: Acknowledge,
    /// How to come back after a lost connection; `None` ends the client then.
    pub reconnect: Option<Backoff>,
    /// Subscribe again by itself when the Server has lost the Session. On by default.
    pub resubscribe: bool,
    /// [`DEFAULT_CONNECT_TIMEOUT`] by default; from name lookup to CONNACK.
    pub connect_timeout: Duration,
    /// The largest packet that is accepted, in bytes. The protocol's largest by default; in 5.0
    /// also send Maximum Packet Size in [`Options::connect_properties`], so that the Server knows.
    pub packet_bytes_max: usize,
    /// Sees every packet as it is sent and received.
    pub trace: Option<Trace>,
}

/// A function that sees every packet.
pub type Trace = Arc<dyn Fn(Direction, &Packet<'_>) + Send + Sync>;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the Server.
    Sent,
    /// From the Server.
    Received,
}

/// When a message of QoS 1 or 2 is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// When [`Incoming::next`](crate::Incoming::next) hands it out.
    #[default]
    Automatic,
    /// When [`Client::acknowledge`](crate::Client::acknowledge) is called.
    Manual,
}

/// The Will Message (MQTT 3.1.2.5).
#[derive(Clone, Debug)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// At most 65,535 bytes.
    pub payload: Bytes,
    /// Its QoS.
    pub qos: QoS,
    /// Whether it is kept.
    pub retain: bool,
    /// 5.0 properties: Will Delay Interval and those of a PUBLISH.
    pub properties: PropertiesBuf,
}

/// The way to the Server: a socket, and what lies upon it.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Where the socket leads.
    pub endpoint: Endpoint,
    /// Go through a SOCKS5 proxy.
    pub proxy: Option<Proxy>,
    /// Encrypt.
    pub tls: Option<Tls>,
    /// Speak WebSocket.
    pub websocket: Option<WebSocket>,
    /// The local address to connect from.
    pub bind: Option<IpAddr>,
}

/// Where a socket leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address.
    Tcp {
        /// IPv6 addresses with or without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// A SOCKS5 proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub host: String,
    /// Its port, usually 1080.
    pub port: u16,
    /// User and password, if it wants them.
    pub login: Option<(String, String)>,
}

/// What a WebSocket connection asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    /// The path of the request, `/mqtt` by default.
    pub path: String,
    /// Headers to add to the request.
    pub headers: Vec<(String, String)>,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self { path: "/mqtt".to_owned(), headers: Vec::new() }
    }
}

impl Transport {
    /// Plain TCP.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::to(Endpoint::Tcp { host: host.into(), port })
    }

    /// A Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::to(Endpoint::Unix(path.into()))
    }

    fn to(endpoint: Endpoint) -> Self {
        Self { endpoint, proxy: None, tls: None, websocket: None, bind: None }
    }
}

impl Default for Options {
    /// `localhost:1883`, MQTT 3.1.1, a Server-chosen id, clean start, Keep Alive 60 s,
    /// reconnecting.
    fn default() -> Self {
        Self {
            transport: Transport::tcp("localhost", 1883),
            version: Version::V311,
            client_id: String::new(),
            clean_start: true,
            keep_alive_seconds: 60,
            username: None,
            password: None,
            authentication: None,
            will: None,
            connect_properties: PropertiesBuf::new(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            acknowledge: Acknowledge::Automatic,
            reconnect: Some(Backoff::default()),
            resubscribe: true,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            packet_bytes_max: usize::MAX,
            trace: None,
        }
    }
}

impl Options {
    /// Plain TCP to `host` and `port`; all else as in [`Options::default`].
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { transport: Transport::tcp(host, port), ..Self::default() }
    }

    /// Adds a 5.0 property to CONNECT.
    ///
    /// # Errors
    /// The value is longer than 65,535 bytes.
    pub fn connect_property(
        &mut self,
        id: PropertyId,
        value: Value<'_>,
    ) -> Result<&mut Self, EncodeError> {
        self.connect_properties.push(id, value)?;
        Ok(self)
    }

    /// The Session Expiry Interval in [`Options::connect_properties`], in seconds.
    pub(crate) fn session_expiry(&self) -> u32 {
        let properties = self.connect_properties.as_properties();
        properties.u32(PropertyId::SessionExpiryInterval).unwrap_or(0)
    }

    /// The rules a CONNECT has to keep that the types don't.
    pub(crate) fn check(&self) -> Result<(), String> {
        let needs_clean_start = self.version.empty_client_id_needs_clean_start();
        if self.client_id.is_empty() && !self.clean_start && needs_clean_start {
            return Err("a session that is kept needs a client id (MQTT-3.1.3-7)".to_owned());
        }
        let is_lone = self.password.is_some() && self.username.is_none();
        if is_lone && self.version.password_needs_username() {
            return Err("a password needs a user name before MQTT 5.0 (MQTT-3.1.2-22)".to_owned());
        }
        if let Some(will) = &self.will {
            mqtt_proto::topic::TopicName::new(&will.topic)
                .map_err(|error| format!("the will's topic is not valid: {error}"))?;
        }
        if self.authentication.is_some() {
            if !self.version.has_properties() {
                return Err("an authentication method needs MQTT 5.0".to_owned());
            }
            let properties = self.connect_properties.as_properties();
            if properties.get(PropertyId::AuthenticationMethod).is_some() {
                return Err("two authentication methods for one connection".to_owned());
            }
        }
        if self.max_in_flight == 0 {
            return Err("max_in_flight must be at least 1".to_owned());
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("transport", &self.transport)
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_seconds", &self.keep_alive_seconds)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("authentication", &self.authentication.as_ref().map(|method| method.name()))
            .field("will", &self.will)
            .field("connect_properties", &self.connect_properties)
            .field("max_in_flight", &self.max_in_flight)
            .field("acknowledge", &self.acknowledge)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
