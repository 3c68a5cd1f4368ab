//! What was written: the values of each section as the rows put them there, together with the
//! line of every option, before options are weighed against each other in `check.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Bridge, Config, Listener, LogDestination, LogTypes, Tls};
use crate::line::Place;
use crate::plugin::PluginsDraft;

/// Where each option of a section stands (its last line), by row name.
pub(crate) type Lines = BTreeMap<&'static str, Place>;

/// A whole configuration as written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The options that stand on their own; its listeners and bridges stay empty here.
    pub config: Config,
    /// Authentication options outside listeners.
    pub auth: AuthDraft,
    /// `log_dest` lines; `None` = not written.
    pub destinations: Option<Vec<LogDestination>>,
    /// `log_type` lines; `None` = not written.
    pub types: Option<LogTypes>,
    /// The listener of `port`, `bind_address` and options above the first `listener`.
    pub default_listener: ListenerDraft,
    /// Every `listener`.
    pub listeners: Vec<ListenerDraft>,
    /// Every `connection`, with the lines of its options.
    pub bridges: Vec<BridgeDraft>,
    /// Lines about plugins.
    pub plugins: PluginsDraft,
    pub(crate) lines: Lines,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            config: Config::without_listeners(),
            auth: AuthDraft::default(),
            destinations: None,
            types: None,
            default_listener: ListenerDraft::default(),
            listeners: Vec::new(),
            bridges: Vec::new(),
            plugins: PluginsDraft::default(),
            lines: Lines::new(),
        }
    }
}

/// One listener as written.
#[derive(Clone, Debug, Default)]
pub struct ListenerDraft {
    /// The options that stand on their own.
    pub listener: Listener,
    /// Certificate options; paths are empty when not written.
    pub tls: Tls,
    /// `enable_proxy_protocol`.
    pub proxy_version: Option<u8>,
    /// `proxy_protocol_v2_require_tls`.
    pub proxy_requires_tls: bool,
    /// Authentication options below this listener.
    pub auth: AuthDraft,
    /// `listener_allow_anonymous`.
    pub listener_allow_anonymous: Option<bool>,
    /// `listener_auto_id_prefix`.
    pub listener_auto_id_prefix: Option<String>,
    pub(crate) lines: Lines,
}

impl ListenerDraft {
    /// Whether everything written is what would be so without it. A port or an address that was
    /// written is something else even when it is the usual one.
    pub(crate) fn is_default(&self) -> bool {
        let names_address =
            ["port", "bind_address"].iter().any(|name| self.lines.contains_key(name));
        !names_address
            && self.listener == Listener::default()
            && self.tls == Tls::default()
            && self.proxy_version.is_none()
            && !self.proxy_requires_tls
            && self.listener_allow_anonymous.is_none()
            && self.listener_auto_id_prefix.is_none()
    }
}

/// One bridge as written.
#[derive(Clone, Debug)]
pub struct BridgeDraft {
    /// Its options.
    pub bridge: Bridge,
    pub(crate) lines: Lines,
}

impl BridgeDraft {
    pub(crate) fn new(name: String) -> BridgeDraft {
        BridgeDraft { bridge: Bridge::new(name), lines: Lines::new() }
    }
}

/// The authentication options of one section; `None` = not written there.
#[derive(Clone, Debug, Default)]
pub struct AuthDraft {
    /// `allow_anonymous`
    pub allow_anonymous: Option<bool>,
    /// `password_file`
    pub password_file: Option<PathBuf>,
    /// `acl_file`
    pub acl_file: Option<PathBuf>,
    /// `psk_file`
    pub psk_file: Option<PathBuf>,
    /// `allow_zero_length_clientid`
    pub allow_zero_length_clientid: Option<bool>,
    /// `auto_id_prefix`
    pub auto_id_prefix: Option<String>,
}
