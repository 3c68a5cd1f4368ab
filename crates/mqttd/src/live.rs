//! The configuration in force, with the contents of the files it names. Built whole or not at all;
//! a reload swaps it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use mqtt_auth::{AclTable, DynamicRights, PasswordFile};
use mqtt_proto::QoS;
use mqttd_conf::{Config, Listener};
use mqttd_core::ids::ListenerId;
use mqttd_core::limits::SUBSCRIPTIONS_PER_SESSION_MAX;
use mqttd_core::memory::Memory;
use mqttd_core::pace::Rates;
use mqttd_core::settings::{ListenerSettings, Settings};

use mqttd_conf::LogType;

use crate::certificates::Certificates;
use crate::logging::{Logger, Verbosity};
use crate::permit::Places;
use crate::psk::PreSharedKeys;

/// See the file's head.
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) settings: Arc<Settings>,
    /// By [`ListenerId`]; `None` where a reload took the listener away.
    pub(crate) doors: Vec<Option<Arc<Door>>>,
}

/// What one listener asks of those who come in.
pub(crate) struct Door {
    pub(crate) conf: Listener,
    /// Its connections, counted over reloads.
    pub(crate) places: Arc<Places>,
    pub(crate) passwords: Option<Arc<PasswordFile>>,
    pub(crate) tls: Option<Certificates>,
    pub(crate) psk: Option<PreSharedKeys>,
}

/// A file named in the configuration that can't be opened; ends the start with its own exit code.
#[derive(Debug)]
pub(crate) struct FileUnusable;

impl std::fmt::Display for FileUnusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the file must be readable by the user the broker runs as")
    }
}

impl std::error::Error for FileUnusable {}

impl Live {
    /// The rights of dynamic security for who comes in here, if it is used here.
    pub(crate) fn dynamic(&self, listener: ListenerId) -> Option<&Arc<DynamicRights>> {
        self.settings.listeners.get(usize::from(listener.0))?.dynamic.as_ref()
    }

    /// The listener's door, unless a reload took it away.
    pub(crate) fn door(&self, listener: ListenerId) -> Option<&Arc<Door>> {
        self.doors.get(usize::from(listener.0))?.as_ref()
    }

    /// The listeners there are, with their numbers.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (ListenerId, &Listener)> + Clone {
        let doors = self.doors.iter().enumerate();
        doors.filter_map(|(id, door)| Some((ListenerId(id as u16), &door.as_ref()?.conf)))
    }

    /// Reads every file the configuration names. `before` is what is in force now: its listeners
    /// keep their numbers, and numbers are not used again, since sessions remember theirs.
    pub(crate) fn load(
        config: Config,
        before: Option<&Live>,
        verbosity: Verbosity,
        logger: &Logger,
    ) -> anyhow::Result<Self> {
        let mut files = Files::default();
        let dynamic = before.map_or(Ok(None), |before| before.kept_dynamic(&config))?;
        let mut doors = vec![None; before.map_or(0, |before| before.doors.len())];
        let mut listeners = before.map_or_else(Vec::new, |live| live.settings.listeners.clone());
        for listener in &config.listeners {
            let passwords = match &listener.auth.password_file {
                Some(path) => Some(files.passwords(path, logger)?),
                None => None,
            };
            let acl = match &listener.auth.acl_file {
                Some(path) => Some(files.acl(path)?),
                None => None,
            };
            let tls = Certificates::load(listener, logger)
                .with_context(|| format!("certificates of the listener on {}", listener.address))?;
            let psk = PreSharedKeys::load(listener, logger)
                .with_context(|| format!("keys of the listener on {}", listener.address))?;
            let old = before.and_then(|before| before.predecessor(listener));
            let id = old.map_or(doors.len(), |(id, _)| id);
            if id > usize::from(u16::MAX) {
                bail!("too many listeners were changed by reloads: restart the broker");
            }
            if id == doors.len() {
                doors.push(None);
                listeners.push(ListenerSettings::default());
            }
            let places = old.map(|(_, door)| Arc::clone(&door.places)).unwrap_or_default();
            let conf = listener.clone();
            let users = passwords.clone();
            doors[id] = Some(Arc::new(Door { conf, places, passwords: users, tls, psk }));
            listeners[id] = ListenerSettings {
                topic_aliases_max: listener.limits.max_topic_alias,
                server_topic_aliases_max: listener.limits.max_topic_alias_broker,
                qos_max: QoS::from_u8(listener.limits.max_qos).unwrap_or(QoS::ExactlyOnce),
                acl,
                dynamic: dynamic.clone().filter(|_| listener.auth.dynamic),
                allow_anonymous: listener.auth.allow_anonymous,
                passwords,
                mount_point: listener.mount_point.as_deref().map(Arc::from),
            };
        }
        let debug = match verbosity {
            Verbosity::Quiet => false,
            Verbosity::Verbose => true,
            Verbosity::Configured => config.logging.types.contains(LogType::Debug),
        };
        if !config.general.per_listener_settings {
            // Sessions of a listener that is gone have the rights that everyone has.
            if let Some(first) = doors.iter().position(Option::is_some) {
                let (acl, dynamic) = (listeners[first].acl.clone(), dynamic);
                for listener in &mut listeners {
                    listener.acl.clone_from(&acl);
                    listener.dynamic.clone_from(&dynamic);
                }
            }
        }
        let memory = memory(&config, before);
        let generation = before.map_or(0, |before| before.settings.generation + 1);
        let settings = Arc::new(settings(&config, generation, memory, listeners, debug));
        Ok(Self { config, settings, doors })
    }

    /// The same with new certificates for one listener, unless that is not what it was any more.
    pub(crate) fn with_certificates(&self, door: &Arc<Door>, tls: Certificates) -> Option<Live> {
        let id = self
            .doors
            .iter()
            .position(|other| other.as_ref().is_some_and(|other| Arc::ptr_eq(other, door)))?;
        let mut doors = self.doors.clone();
        doors[id] = Some(Arc::new(Door {
            conf: door.conf.clone(),
            places: Arc::clone(&door.places),
            passwords: door.passwords.clone(),
            tls: Some(tls),
            psk: None,
        }));
        Some(Live { config: self.config.clone(), settings: Arc::clone(&self.settings), doors })
    }

    /// What a reload keeps of dynamic security: its file is the broker's once it runs, as in
    /// Mosquitto, and it comes and goes with a restart only.
    fn kept_dynamic(&self, new: &Config) -> anyhow::Result<Option<Arc<DynamicRights>>> {
        if self.config.security.dynamic != new.security.dynamic {
            bail!("the lines of dynamic security have changed: restart the broker");
        }
        let mut listeners = self.settings.listeners.iter();
        Ok(listeners.find_map(|listener| listener.dynamic.clone()))
    }

    /// The same with other rights of dynamic security.
    pub(crate) fn with_dynamic(&self, rights: &Arc<DynamicRights>) -> Live {
        let mut settings = (*self.settings).clone();
        settings.generation += 1;
        for (id, listener) in settings.listeners.iter_mut().enumerate() {
            let door = self.door(ListenerId(id as u16));
            if listener.dynamic.is_some() || door.is_some_and(|door| door.conf.auth.dynamic) {
                listener.dynamic = Some(Arc::clone(rights));
            }
        }
        let (config, doors) = (self.config.clone(), self.doors.clone());
        Live { config, settings: Arc::new(settings), doors }
    }

    /// The listener whose connections and number the changed one keeps: the same address, and what
    /// is spoken there is the same.
    fn predecessor(&self, listener: &Listener) -> Option<(usize, &Arc<Door>)> {
        let doors = self.doors.iter().enumerate();
        let mut doors = doors.filter_map(|(id, door)| Some((id, door.as_ref()?)));
        doors.find(|(_, door)| {
            let old = &door.conf;
            old.address == listener.address
                && old.socket_domain == listener.socket_domain
                && old.protocol == listener.protocol
                && old.tls.is_some() == listener.tls.is_some()
                && old.psk.is_some() == listener.psk.is_some()
        })
    }
}

fn memory(config: &Config, before: Option<&Live>) -> Option<Arc<Memory>> {
    config.limits.memory_limit.map(|limit| {
        // What is held already stays counted; its limit changes when the reload has succeeded.
        match before.and_then(|before| before.settings.memory.as_ref()) {
            Some(memory) => Arc::clone(memory),
            None => Arc::new(Memory::new(limit)),
        }
    })
}

fn settings(
    config: &Config,
    generation: u64,
    memory: Option<Arc<Memory>>,
    listeners: Vec<ListenerSettings>,
    debug: bool,
) -> Settings {
    let (limits, messages) = (&config.limits, &config.messages);
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Settings {
        generation,
        persistence: config.persistence.enabled,
        inflight_messages_max: limits.max_inflight_messages.unwrap_or(u16::MAX),
        inflight_bytes_max: limits.max_inflight_bytes,
        queued_messages_max: limits.max_queued_messages,
        queued_bytes_max: limits.max_queued_bytes,
        packet_bytes_max: match limits.max_packet_size {
            0 => mqtt_proto::codec::REMAINING_LENGTH_MAX + 5,
            max => max,
        },
        payload_bytes_max: limits.message_size_limit,
        check_payload_format: messages.check_payload_format,
        response_information: messages.response_information.as_deref().map(Box::from),
        topic_levels_max: limits.max_topic_levels,
        subscriptions_max: limits.max_subscriptions.map_or(SUBSCRIPTIONS_PER_SESSION_MAX, |max| {
            SUBSCRIPTIONS_PER_SESSION_MAX.min(max as usize)
        }),
        subscribe_rate: limits.max_subscribe_rate.map(u64::from),
        rates: Rates {
            messages: limits.max_message_rate.map(u64::from),
            bytes: limits.max_byte_rate.map(u64::from),
            disconnects: limits.disconnect_on_rate,
        },
        memory,
        // The largest number there is bounds nothing; Mosquitto 2.0 wrote it down as its default.
        keep_alive_seconds_max: limits.max_keepalive.filter(|max| *max < u16::MAX),
        retain_available: messages.retain_available,
        check_retain_source: messages.check_retain_source,
        retain_expiry_seconds: messages.retain_expiry_interval.map(|time| time.as_secs()),
        session_expiry_seconds_max: messages.persistent_client_expiration.map(seconds),
        queue_qos0: messages.queue_qos0_messages,
        upgrade_outgoing_qos: messages.upgrade_outgoing_qos,
        // One copy for each Session is what Mosquitto sends whatever the option says.
        duplicate_overlaps: false,
        sessions_max: limits.global_max_clients,
        debug,
        listeners,
    }
}

/// Files that several listeners share are read once.
#[derive(Default)]
struct Files {
    passwords: Vec<(PathBuf, Arc<PasswordFile>)>,
    acls: Vec<(PathBuf, Arc<AclTable>)>,
}

impl Files {
    fn passwords(&mut self, path: &Path, logger: &Logger) -> anyhow::Result<Arc<PasswordFile>> {
        if let Some((_, found)) = self.passwords.iter().find(|(known, _)| known == path) {
            return Ok(Arc::clone(found));
        }
        let text = read_text(path, "password_file")?;
        let (file, warnings) = PasswordFile::parse(&text)
            .with_context(|| format!("password_file {}", path.display()))?;
        for warning in warnings {
            logger.line(
                LogType::Warning,
                format_args!("Warning: password_file {}: {warning}", path.display()),
            );
        }
        let file = Arc::new(file);
        self.passwords.push((path.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    fn acl(&mut self, path: &Path) -> anyhow::Result<Arc<AclTable>> {
        if let Some((_, found)) = self.acls.iter().find(|(known, _)| known == path) {
            return Ok(Arc::clone(found));
        }
        let text = read_text(path, "acl_file")?;
        let table =
            AclTable::parse(&text).with_context(|| format!("acl_file {}", path.display()))?;
        let table = Arc::new(table);
        self.acls.push((path.to_owned(), Arc::clone(&table)));
        Ok(table)
    }
}

/// The contents of a text file named by this directive.
pub(crate) fn read_text(path: &Path, directive: &str) -> anyhow::Result<String> {
    let unusable = || format!("{directive} {} can't be opened", path.display());
    let bytes = std::fs::read(path)
        .map_err(|error| anyhow::Error::new(FileUnusable).context(error))
        .with_context(unusable)?;
    String::from_utf8(bytes)
        .map_err(|_| anyhow::anyhow!("{directive} {} is not UTF-8 text", path.display()))
}
