//! What a configuration means: typed, with every default filled in. Nothing here knows how it was
//! written; `load.rs` fills it from the rows, `check.rs` settles what depends on several options.
//! Off and unlimited are `None`, times are `Duration`s, paths are as written (not made absolute).

use std::path::PathBuf;
use std::time::Duration;

pub use crate::bridge::*;
pub use crate::listener::*;

/// The whole configuration of one broker. `Config::default()` is Mosquitto 2 without a file:
/// listeners on 127.0.0.1 and ::1, port 1883, anonymous clients let in, nothing kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The process and its service.
    pub general: General,
    /// How messages are kept and passed on.
    pub messages: Messages,
    /// Bounds that apply to the broker or to every client.
    pub limits: Limits,
    /// What is kept on disk, and when it counts as kept.
    pub persistence: Persistence,
    /// Where log lines go and which.
    pub logging: Logging,
    /// Who may connect; what a listener really applies stands in [`Listener::auth`].
    pub security: Security,
    /// Every listener to open, in the order of the file; never empty after a load.
    pub listeners: Vec<Listener>,
    /// Every bridge, in the order of the file.
    pub bridges: Vec<Bridge>,
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config::without_listeners();
        config.open_local_only(&[]);
        config
    }
}

/// The process: its threads, its user, its service files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// `threads`: operating system threads for shards; `None` = as many as cores.
    pub threads: Option<u16>,
    /// `shards`: parts the sessions are divided into; `None` = one per core.
    pub shards: Option<u16>,
    /// `user`: who to become when started as root; `None` = `mqttd` where there is one.
    pub user: Option<String>,
    /// `pid_file`: written at start, removed at exit.
    pub pid_file: Option<PathBuf>,
    /// `sys_interval`: time between `$SYS` updates; `None` = no `$SYS` topics.
    pub sys_interval: Option<Duration>,
    /// `per_listener_settings`: the authentication options belong to listeners.
    pub per_listener_settings: bool,
    /// `enable_control_api`: the built-in `$CONTROL/broker/v1`.
    pub enable_control_api: bool,
    /// No listener was configured: only this machine can connect.
    pub is_local_only: bool,
}

impl Default for General {
    fn default() -> General {
        General {
            threads: None,
            shards: None,
            user: None,
            pid_file: None,
            sys_interval: Some(Duration::from_secs(10)),
            per_listener_settings: false,
            enable_control_api: false,
            is_local_only: false,
        }
    }
}

/// How messages are kept and passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// `retain_available`: false refuses retained publishes and says so in CONNACK.
    pub retain_available: bool,
    /// `retain_expiry_interval`: age at which retained messages go; `None` = never.
    pub retain_expiry_interval: Option<Duration>,
    /// `check_retain_source`: recheck the publisher's rights before a retained delivery.
    pub check_retain_source: bool,
    /// `check_payload_format`: refuse payloads that are not the UTF-8 they are said to be.
    pub check_payload_format: bool,
    /// `response_information`: where Clients may expect replies, `%c` and `%u` not yet replaced.
    pub response_information: Option<String>,
    /// `queue_qos0_messages`: queue QoS 0 for persistent sessions that are offline.
    pub queue_qos0_messages: bool,
    /// `upgrade_outgoing_qos`: deliver at the subscription's QoS, not the lower of the two.
    pub upgrade_outgoing_qos: bool,
    /// `persistent_client_expiration`: idle time after which a session is dropped.
    pub persistent_client_expiration: Option<Duration>,
}

impl Default for Messages {
    fn default() -> Messages {
        Messages {
            retain_available: true,
            retain_expiry_interval: None,
            check_retain_source: true,
            check_payload_format: false,
            response_information: None,
            queue_qos0_messages: false,
            upgrade_outgoing_qos: false,
            persistent_client_expiration: None,
        }
    }
}

/// Bounds of the broker and of each client; `None` = no bound. Per listener: [`Listener`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `global_max_connections`: connections over all listeners.
    pub global_max_connections: Option<u32>,
    /// `global_max_clients`: sessions, those offline included.
    pub global_max_clients: Option<u32>,
    /// `max_inflight_messages`: send window and announced Receive Maximum.
    pub max_inflight_messages: Option<u16>,
    /// `max_inflight_bytes`: payload bytes in flight to a client.
    pub max_inflight_bytes: Option<u64>,
    /// `max_queued_messages`: messages queued for a client beyond those in flight.
    pub max_queued_messages: Option<u32>,
    /// `max_queued_bytes`: bytes queued for a client beyond those in flight.
    pub max_queued_bytes: Option<u64>,
    /// `max_packet_size`: bytes of the largest packet accepted; announced in a 5.0 CONNACK.
    pub max_packet_size: u32,
    /// `message_size_limit`: bytes of the largest payload passed on.
    pub message_size_limit: Option<u32>,
    /// `max_keepalive`: the longest Keep Alive in seconds a client may ask for.
    pub max_keepalive: Option<u16>,
    /// `memory_limit`: bytes that clients may make the broker hold.
    pub memory_limit: Option<u64>,
    /// `max_subscriptions`: subscriptions of one client.
    pub max_subscriptions: Option<u32>,
    /// `max_topic_levels`: levels of a topic or filter.
    pub max_topic_levels: Option<u16>,
    /// `max_message_rate`: messages a second from one client.
    pub max_message_rate: Option<u32>,
    /// `max_byte_rate`: bytes a second from one client.
    pub max_byte_rate: Option<u32>,
    /// `rate_excess disconnect`: who sends more is disconnected instead of being read more slowly.
    pub disconnect_on_rate: bool,
    /// `max_subscribe_rate`: subscriptions a second of one client.
    pub max_subscribe_rate: Option<u32>,
    /// `max_connect_rate`: connections a second from one address.
    pub max_connect_rate: Option<u32>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            global_max_connections: None,
            global_max_clients: None,
            max_inflight_messages: Some(20),
            max_inflight_bytes: None,
            max_queued_messages: Some(1000),
            max_queued_bytes: None,
            max_packet_size: 2_000_000,
            message_size_limit: None,
            max_keepalive: None,
            memory_limit: None,
            max_subscriptions: None,
            max_topic_levels: None,
            max_message_rate: None,
            max_byte_rate: None,
            disconnect_on_rate: false,
            max_subscribe_rate: None,
            max_connect_rate: None,
        }
    }
}

/// What is kept on disk, and when it counts as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// `persistence`: keep sessions, queues and retained messages on disk.
    pub enabled: bool,
    /// `persistence_location`: the folder; the working directory by default.
    pub location: PathBuf,
    /// `persistence_file`: what Mosquitto calls its database in that folder. Only `mqttd store`
    /// asks.
    pub mosquitto_file: PathBuf,
    /// `durability` lines, in the order of the file.
    pub durability: Vec<DurabilityRule>,
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence {
            enabled: false,
            location: PathBuf::from("."),
            mosquitto_file: PathBuf::from("mosquitto.db"),
            durability: Vec::new(),
        }
    }
}

impl Persistence {
    /// The level of everything no `durability LEVEL FILTER` line names: the line without a filter,
    /// else `process` with persistence and `none` without.
    #[must_use]
    pub fn default_durability(&self) -> Durability {
        let plain = self.durability.iter().find(|rule| rule.filter.is_none());
        let unsaid = if self.enabled { Durability::Process } else { Durability::None };
        plain.map_or(unsaid, |rule| rule.level)
    }
}

/// When an acknowledgement may leave; ordered from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// At once; nothing is promised beyond a clean stop.
    None,
    /// After the operating system has the record; survives a crash of the broker.
    Process,
    /// After the device has the record; survives a power cut.
    Sync,
}

/// One `durability` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurabilityRule {
    /// The level promised.
    pub level: Durability,
    /// The Topic Filter it is for; `None` = everything. The strongest matching rule wins.
    pub filter: Option<String>,
}

/// Where log lines go and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `log_dest`, in order; empty = log nothing.
    pub destinations: Vec<LogDestination>,
    /// `log_type`.
    pub types: LogTypes,
    /// `log_timestamp`: a time in front of each line.
    pub timestamp: bool,
    /// `log_timestamp_format`: a strftime format; `None` = seconds since 1970.
    pub timestamp_format: Option<String>,
    /// `log_facility`: syslog's local0 to local7; `None` = daemon.
    pub facility: Option<u8>,
    /// `log_format json`: one JSON object for each line.
    pub is_json: bool,
    /// `connection_messages`: log connects and disconnects.
    pub connection_messages: bool,
}

impl Default for Logging {
    fn default() -> Logging {
        Logging {
            destinations: vec![LogDestination::Stderr],
            types: LogTypes::DEFAULT,
            timestamp: true,
            timestamp_format: None,
            facility: None,
            is_json: false,
            connection_messages: true,
        }
    }
}

/// One place that log lines go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The system's log.
    Syslog,
    /// systemd's journal.
    Journald,
    /// The `$SYS/broker/log/…` topics.
    Topic,
    /// A file that lines are appended to.
    File(PathBuf),
}

/// One kind of log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogType {
    /// Something failed.
    Error,
    /// Something looks wrong.
    Warning,
    /// Connections, disconnections, refusals.
    Notice,
    /// Start, stop, reload.
    Information,
    /// Every packet.
    Debug,
    /// Every subscription made.
    Subscribe,
    /// Every subscription removed.
    Unsubscribe,
    /// WebSocket details.
    Websockets,
    /// Internal details.
    Internal,
}

impl LogType {
    /// Every kind, with its word in the configuration.
    pub const WORDS: [(&'static str, LogType); 9] = [
        ("error", LogType::Error),
        ("warning", LogType::Warning),
        ("notice", LogType::Notice),
        ("information", LogType::Information),
        ("debug", LogType::Debug),
        ("subscribe", LogType::Subscribe),
        ("unsubscribe", LogType::Unsubscribe),
        ("websockets", LogType::Websockets),
        ("internal", LogType::Internal),
    ];
}

/// A set of [`LogType`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogTypes(u16);

impl LogTypes {
    /// No line at all.
    pub const NONE: LogTypes = LogTypes(0);
    /// Every line (`log_type all`, `-v`).
    pub const ALL: LogTypes = LogTypes(0x1ff);
    /// Error, warning, notice and information.
    pub const DEFAULT: LogTypes = LogTypes(0x0f);

    /// Whether lines of this kind are wanted.
    #[must_use]
    pub const fn contains(self, kind: LogType) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// Adds a kind.
    pub fn insert(&mut self, kind: LogType) {
        self.0 |= 1 << kind as u16;
    }
}

impl std::fmt::Debug for LogTypes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = LogType::WORDS.iter().filter(|(_, kind)| self.contains(*kind));
        f.debug_set().entries(words.map(|(word, _)| format_args!("{word}").to_string())).finish()
    }
}

/// Who may connect, as far as it is not a listener's own business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The options as written outside any listener; see [`Listener::auth`] for what applies.
    pub auth: Auth,
    /// Dynamic security, where a plugin line asks for it; see [`Auth::dynamic`].
    pub dynamic: Option<DynamicSecurity>,
    /// `clientid_prefixes`: only Client Identifiers that begin so may connect.
    pub clientid_prefixes: Option<String>,
    /// What failed logins lead to.
    pub logins: Logins,
}

/// Mosquitto's plugin of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicSecurity {
    /// `plugin_opt_config_file`: clients, groups and roles; made when it does not exist.
    pub config_file: PathBuf,
    /// `plugin_opt_password_init_file`: the first password, for a file that is made.
    pub password_init_file: Option<PathBuf>,
}

/// What failed logins lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logins {
    /// `max_login_failures`: failures of one address that lead to a ban.
    pub max_failures: Option<u32>,
    /// `max_login_failures_user`: failures with one User Name that lead to a ban of the name.
    pub max_failures_user: Option<u32>,
    /// `login_ban_time`: how long a ban lasts, and how long a failure counts.
    pub ban_time: Duration,
    /// `login_failure_delay`: how long a refusal waits after the first failure; twice as long after
    /// each further one.
    pub failure_delay: Option<Duration>,
}

impl Default for Logins {
    fn default() -> Logins {
        Logins {
            max_failures: None,
            max_failures_user: None,
            ban_time: Duration::from_secs(300),
            failure_delay: None,
        }
    }
}

/// The authentication options of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `allow_anonymous`: let clients in that give no User Name.
    pub allow_anonymous: bool,
    /// `password_file`.
    pub password_file: Option<PathBuf>,
    /// `acl_file`.
    pub acl_file: Option<PathBuf>,
    /// `psk_file`.
    pub psk_file: Option<PathBuf>,
    /// Dynamic security is asked before the two files.
    pub dynamic: bool,
    /// `allow_zero_length_clientid`: 3.1.1 and 5.0 clients may leave the identifier to us.
    pub allow_zero_length_clientid: bool,
    /// `auto_id_prefix`: how identifiers made by us begin.
    pub auto_id_prefix: String,
}

impl Default for Auth {
    fn default() -> Auth {
        Auth {
            allow_anonymous: false,
            password_file: None,
            acl_file: None,
            psk_file: None,
            dynamic: false,
            allow_zero_length_clientid: true,
            auto_id_prefix: "auto-".to_owned(),
        }
    }
}

impl Config {
    /// Every default, and no listener yet.
    #[must_use]
    pub(crate) fn without_listeners() -> Config {
        Config {
            general: General::default(),
            messages: Messages::default(),
            limits: Limits::default(),
            persistence: Persistence::default(),
            logging: Logging::default(),
            security: Security::default(),
            listeners: Vec::new(),
            bridges: Vec::new(),
        }
    }

    /// What `mqttd -p PORT …` without any configured listener means: local-only listeners on
    /// these ports (on 1883 when `ports` is empty) and all other defaults.
    #[must_use]
    pub fn with_ports(ports: &[u16]) -> Config {
        let mut config = Config::without_listeners();
        config.open_local_only(ports);
        config
    }

    /// Applies the `-p` flags to a loaded configuration: they replace the ports of the local-only
    /// listeners. Returns false, and changes nothing, when the file has listeners of its own;
    /// the flags are then without effect, as in Mosquitto.
    pub fn set_ports(&mut self, ports: &[u16]) -> bool {
        if !self.general.is_local_only {
            return false;
        }
        self.open_local_only(ports);
        true
    }

    /// Replaces the listeners by one on 127.0.0.1 and one on ::1 for every port.
    pub(crate) fn open_local_only(&mut self, ports: &[u16]) {
        self.general.is_local_only = true;
        if self.listeners.is_empty() {
            self.security.auth.allow_anonymous = true;
        }
        let model = self.listeners.drain(..).next().unwrap_or_else(|| {
            let auth = self.security.auth.clone();
            Listener { auth, ..Listener::default() }
        });
        for &port in if ports.is_empty() { &[DEFAULT_PORT] } else { ports } {
            for host in ["127.0.0.1", "::1"] {
                let address = Address::Tcp { host: Some(host.to_owned()), port };
                self.listeners.push(Listener { address, ..model.clone() });
            }
        }
    }
}
