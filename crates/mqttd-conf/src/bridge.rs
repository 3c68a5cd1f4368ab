//! What one bridge means: the remote brokers, the topics carried, and how the connection is kept.
//! Parsing of its lines stands with the rows in `directives/bridge.rs`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::line::Place;
use crate::listener::TlsVersion;

/// One `connection` and the options below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// `connection NAME`; unique.
    pub name: String,
    /// `address`: remote brokers, the first is the primary one. Never empty after the check.
    pub addresses: Vec<RemoteAddress>,
    /// `topic` lines in order. Never empty after the check.
    pub topics: Vec<BridgeTopic>,
    /// How the bridge presents itself to the remote broker.
    pub remote: BridgeLogin,
    /// How the bridge presents itself here.
    pub local: BridgeLogin,
    /// Protocol, keep alive and limits of the connection.
    pub session: BridgeSession,
    /// When the connection is made, given up and made again.
    pub start: BridgeStart,
    /// Where the state of the connection is published.
    pub notifications: Notifications,
    /// The socket below.
    pub socket: BridgeSocket,
    /// TLS towards the remote broker.
    pub tls: BridgeTls,
    /// Where the `connection` line stands.
    pub place: Option<Place>,
}

impl Bridge {
    /// A bridge with every default, of this name.
    #[must_use]
    pub fn new(name: String) -> Bridge {
        Bridge {
            name,
            addresses: Vec::new(),
            topics: Vec::new(),
            remote: BridgeLogin::default(),
            local: BridgeLogin::default(),
            session: BridgeSession::default(),
            start: BridgeStart::default(),
            notifications: Notifications::default(),
            socket: BridgeSocket::default(),
            tls: BridgeTls::default(),
            place: None,
        }
    }
}

/// A remote broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteAddress {
    /// Host name or address.
    pub host: String,
    /// Port, 1883 when not written.
    pub port: u16,
}

/// One `topic` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// The Topic Filter without prefixes; empty = the prefixes are whole topics.
    pub pattern: String,
    /// Which way messages go.
    pub direction: Direction,
    /// Highest QoS used: 0, 1 or 2.
    pub qos: u8,
    /// In front of the pattern here.
    pub local_prefix: String,
    /// In front of the pattern at the remote broker.
    pub remote_prefix: String,
}

/// Which way a bridge carries a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From here to the remote broker.
    Out,
    /// From the remote broker to here.
    In,
    /// Both ways.
    Both,
}

/// A name at one end of the bridge. Its `Debug` form does not show the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BridgeLogin {
    /// Client Identifier; `None` = made from host and bridge name.
    pub client_id: Option<String>,
    /// User Name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
}

impl fmt::Debug for BridgeLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeLogin")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}

/// The MQTT version a bridge speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BridgeVersion {
    /// 3.1
    V31,
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

/// Protocol, keep alive and limits of a bridge's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSession {
    /// `bridge_protocol_version`.
    pub version: BridgeVersion,
    /// `try_private`: announce a bridge with bit 7 of the protocol level.
    pub try_private: bool,
    /// `cleansession`: no session at the remote broker.
    pub clean_session: bool,
    /// `local_cleansession`: no queue here while disconnected; `None` = as `cleansession`.
    pub local_clean_session: Option<bool>,
    /// `keepalive_interval`.
    pub keep_alive: Duration,
    /// `bridge_session_expiry_interval`, in seconds.
    pub session_expiry_interval: u32,
    /// `bridge_receive_maximum`; `None` = not sent.
    pub receive_maximum: Option<u16>,
    /// `bridge_max_packet_size`: bytes; `None` = no bound.
    pub max_packet_size: Option<u32>,
    /// `bridge_max_topic_alias`.
    pub max_topic_alias: u16,
    /// `bridge_outgoing_retain`: false takes the retain flag off towards the remote broker.
    pub outgoing_retain: bool,
    /// `bridge_attempt_unsubscribe`: UNSUBSCRIBE from out-only topics on connect.
    pub attempt_unsubscribe: bool,
}

impl Default for BridgeSession {
    fn default() -> BridgeSession {
        BridgeSession {
            version: BridgeVersion::V311,
            try_private: true,
            clean_session: false,
            local_clean_session: None,
            keep_alive: Duration::from_secs(60),
            session_expiry_interval: 0,
            receive_maximum: None,
            max_packet_size: None,
            max_topic_alias: 10,
            outgoing_retain: true,
            attempt_unsubscribe: true,
        }
    }
}

/// When a bridge connects by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StartType {
    /// At start, and again whenever the connection is lost.
    #[default]
    Automatic,
    /// When enough messages wait; see `threshold` and `idle_timeout`.
    Lazy,
    /// Once, at start.
    Once,
}

/// When a bridge's connection is made, given up and made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeStart {
    /// `start_type`.
    pub start_type: StartType,
    /// `restart_timeout`.
    pub restart: Restart,
    /// `round_robin`: take the addresses in turn, else go back to the first.
    pub round_robin: bool,
    /// `threshold`: waiting messages that wake a lazy bridge.
    pub threshold: u32,
    /// `idle_timeout`: idle time after which a lazy bridge disconnects.
    pub idle_timeout: Duration,
    /// `bridge_reload_type immediate`: changed options reconnect at once.
    pub reloads_immediately: bool,
}

impl Default for BridgeStart {
    fn default() -> BridgeStart {
        BridgeStart {
            start_type: StartType::Automatic,
            restart: Restart::DEFAULT,
            round_robin: false,
            threshold: 10,
            idle_timeout: Duration::from_secs(60),
            reloads_immediately: false,
        }
    }
}

/// How long a bridge waits before it connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always this long.
    Constant(Duration),
    /// A random time that grows from `base` to `cap`.
    Backoff {
        /// The first wait.
        base: Duration,
        /// The longest wait.
        cap: Duration,
        /// A connection that lived this long sets the wait back to `base`.
        stable: Duration,
    },
}

impl Restart {
    /// Without `restart_timeout`: 5 to 30 seconds.
    pub const DEFAULT: Restart = Restart::Backoff {
        base: Duration::from_secs(5),
        cap: Duration::from_secs(30),
        stable: Duration::ZERO,
    };
}

/// Where the state of a bridge is published: 1 connected, 0 not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notifications {
    /// `notifications`.
    pub enabled: bool,
    /// `notifications_local_only`: not at the remote broker.
    pub local_only: bool,
    /// `notification_topic`; `None` = `$SYS/broker/connection/CLIENTID/state`.
    pub topic: Option<String>,
}

impl Default for Notifications {
    fn default() -> Notifications {
        Notifications { enabled: true, local_only: false, topic: None }
    }
}

/// The socket of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeSocket {
    /// `bridge_bind_address`: the local address.
    pub bind_address: Option<String>,
    /// `bridge_tcp_keepalive`; `None` = the system's default.
    pub keepalive: Option<TcpKeepalive>,
    /// `bridge_tcp_user_timeout`; `None` = the system's default.
    pub user_timeout: Option<Duration>,
}

/// TCP keepalive probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes that end the connection.
    pub count: u32,
}

/// TLS of a bridge; on when any authority, certificate or key is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTls {
    /// `bridge_cafile`.
    pub cafile: Option<PathBuf>,
    /// `bridge_capath`.
    pub capath: Option<PathBuf>,
    /// `bridge_certfile`.
    pub certfile: Option<PathBuf>,
    /// `bridge_keyfile`.
    pub keyfile: Option<PathBuf>,
    /// `bridge_tls_use_os_certs`: the system's authorities.
    pub use_os_certs: bool,
    /// `bridge_insecure`: do not compare the certificate with the host name.
    pub insecure: bool,
    /// `bridge_require_ocsp`: demand a stapled OCSP answer.
    pub require_ocsp: bool,
    /// `bridge_alpn`.
    pub alpn: Option<String>,
    /// `bridge_tls_version`: the lowest version.
    pub version_min: TlsVersion,
    /// `bridge_ciphers`: OpenSSL cipher list up to TLS 1.2.
    pub ciphers: Option<String>,
    /// `bridge_ciphers_tls1.3`.
    pub ciphers_tls13: Option<String>,
    /// `bridge_identity` and `bridge_psk` (hex digits).
    pub psk: BridgePsk,
}

/// A pre-shared key of a bridge; both or neither. Its `Debug` form does not show the key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BridgePsk {
    /// `bridge_identity`.
    pub identity: Option<String>,
    /// `bridge_psk`, hexadecimal.
    pub key: Option<String>,
}

impl fmt::Debug for BridgePsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgePsk")
            .field("identity", &self.identity)
            .field("key", &self.key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl BridgeTls {
    /// Whether the bridge uses certificates.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.cafile.is_some() || self.capath.is_some() || self.use_os_certs
    }
}
