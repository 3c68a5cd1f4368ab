//! What changed between two configurations, and what of it a reload can apply. The option's row
//! decides; listeners and bridges are matched by address and by name.

use crate::config::{
    Address, Auth, Bridge, Config, General, Limits, Listener, Logging, Logins, Messages,
    Persistence, Security,
};
use crate::directive::Reload;
use crate::directives::find;

/// What a reload has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Options outside listeners and bridges that change and take effect now.
    pub applied: Vec<&'static str>,
    /// Options that change and take effect at the next start only.
    pub needs_restart: Vec<&'static str>,
    /// Listeners that appear, go, or have other options.
    pub listeners: Vec<ListenerChange>,
    /// Bridges that appear, go, or have other options.
    pub bridges: Vec<BridgeChange>,
}

/// One listener's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerChange {
    /// To be opened.
    Added(Listener),
    /// To be closed.
    Removed(Address),
    /// Same address, other options. The socket can stay when `is_rebound` is false.
    Changed {
        /// The new options.
        listener: Listener,
        /// The transport below MQTT changed: open connections keep the old one.
        is_rebound: bool,
    },
}

/// One bridge's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeChange {
    /// To be started.
    Added(Bridge),
    /// To be stopped, by name.
    Removed(String),
    /// Same name, other options.
    Changed(Bridge),
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }

    fn note(&mut self, name: &'static str) {
        match find(name).map(|row| row.reload) {
            Some(Reload::Live) => self.applied.push(name),
            // A name without a row would be a mistake below; a restart is the safe answer.
            Some(Reload::Restart) | None => self.needs_restart.push(name),
        }
    }
}

/// Compares field by field. Naming every field makes a new one without a line here an error.
macro_rules! compare {
    ($diff:ident, $old:expr, $new:expr, $type:ident { $($field:ident: $name:expr),* $(,)? }) => {
        let $type { $($field),* } = $old;
        $(if *$field != $new.$field {
            $diff.note($name);
        })*
    };
}

/// Compares the running configuration with a newly read one.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    // `is_local_only` is no option: it shows in the listeners.
    let General { is_local_only: _, .. } = old.general;
    let new_general = General { is_local_only: old.general.is_local_only, ..new.general.clone() };
    compare!(
        diff,
        &old.general,
        new_general,
        General {
            threads: "threads",
            shards: "shards",
            user: "user",
            pid_file: "pid_file",
            sys_interval: "sys_interval",
            per_listener_settings: "per_listener_settings",
            enable_control_api: "enable_control_api",
            is_local_only: "listener",
        }
    );
    compare!(
        diff,
        &old.messages,
        new.messages,
        Messages {
            retain_available: "retain_available",
            retain_expiry_interval: "retain_expiry_interval",
            check_retain_source: "check_retain_source",
            check_payload_format: "check_payload_format",
            response_information: "response_information",
            queue_qos0_messages: "queue_qos0_messages",
            upgrade_outgoing_qos: "upgrade_outgoing_qos",
            persistent_client_expiration: "persistent_client_expiration",
        }
    );
    compare!(
        diff,
        &old.limits,
        new.limits,
        Limits {
            global_max_connections: "global_max_connections",
            global_max_clients: "global_max_clients",
            max_inflight_messages: "max_inflight_messages",
            max_inflight_bytes: "max_inflight_bytes",
            max_queued_messages: "max_queued_messages",
            max_queued_bytes: "max_queued_bytes",
            max_packet_size: "max_packet_size",
            message_size_limit: "message_size_limit",
            max_keepalive: "max_keepalive",
            memory_limit: "memory_limit",
            max_subscriptions: "max_subscriptions",
            max_topic_levels: "max_topic_levels",
            max_message_rate: "max_message_rate",
            max_byte_rate: "max_byte_rate",
            disconnect_on_rate: "rate_excess",
            max_subscribe_rate: "max_subscribe_rate",
            max_connect_rate: "max_connect_rate",
        }
    );
    compare!(
        diff,
        &old.persistence,
        new.persistence,
        Persistence {
            enabled: "persistence",
            location: "persistence_location",
            mosquitto_file: "persistence_file",
            durability: "durability",
        }
    );
    compare!(
        diff,
        &old.logging,
        new.logging,
        Logging {
            destinations: "log_dest",
            types: "log_type",
            timestamp: "log_timestamp",
            timestamp_format: "log_timestamp_format",
            facility: "log_facility",
            is_json: "log_format",
            connection_messages: "connection_messages",
        }
    );
    let Security { auth, dynamic, clientid_prefixes, logins } = &old.security;
    if *dynamic != new.security.dynamic {
        diff.note("plugin");
    }
    if *clientid_prefixes != new.security.clientid_prefixes {
        diff.note("clientid_prefixes");
    }
    compare!(
        diff,
        logins,
        new.security.logins,
        Logins {
            max_failures: "max_login_failures",
            max_failures_user: "max_login_failures_user",
            ban_time: "login_ban_time",
            failure_delay: "login_failure_delay",
        }
    );
    compare!(
        diff,
        auth,
        new.security.auth,
        Auth {
            allow_anonymous: "allow_anonymous",
            password_file: "password_file",
            acl_file: "acl_file",
            psk_file: "psk_file",
            dynamic: "plugin",
            allow_zero_length_clientid: "allow_zero_length_clientid",
            auto_id_prefix: "auto_id_prefix",
        }
    );
    diff.listeners = listener_changes(&old.listeners, &new.listeners);
    diff.bridges = bridge_changes(&old.bridges, &new.bridges);
    diff
}

fn listener_changes(old: &[Listener], new: &[Listener]) -> Vec<ListenerChange> {
    let find = |all: &[Listener], one: &Listener| -> Option<Listener> {
        all.iter().find(|other| is_same_socket(one, other)).cloned()
    };
    let gone = old.iter().filter(|listener| find(new, listener).is_none());
    let gone = gone.map(|listener| ListenerChange::Removed(listener.address.clone()));
    let rest = new.iter().filter_map(|listener| match find(old, listener) {
        None => Some(ListenerChange::Added(listener.clone())),
        Some(before) => {
            let unmoved = Listener { place: listener.place.clone(), ..before.clone() };
            (unmoved != *listener).then(|| ListenerChange::Changed {
                is_rebound: is_rebound(&before, listener),
                listener: listener.clone(),
            })
        }
    });
    gone.chain(rest).collect()
}

fn is_same_socket(one: &Listener, other: &Listener) -> bool {
    one.address == other.address && one.socket_domain == other.socket_domain
}

fn is_rebound(old: &Listener, new: &Listener) -> bool {
    old.protocol != new.protocol
        || old.bind_interface != new.bind_interface
        || old.tls.is_some() != new.tls.is_some()
        || old.psk.is_some() != new.psk.is_some()
}

fn bridge_changes(old: &[Bridge], new: &[Bridge]) -> Vec<BridgeChange> {
    let find = |all: &[Bridge], name: &str| -> Option<Bridge> {
        all.iter().find(|bridge| bridge.name == name).cloned()
    };
    let gone = old.iter().filter(|bridge| find(new, &bridge.name).is_none());
    let gone = gone.map(|bridge| BridgeChange::Removed(bridge.name.clone()));
    let rest = new.iter().filter_map(|bridge| match find(old, &bridge.name) {
        None => Some(BridgeChange::Added(bridge.clone())),
        Some(before) => (Bridge { place: bridge.place.clone(), ..before } != *bridge)
            .then(|| BridgeChange::Changed(bridge.clone())),
    });
    gone.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Memory;
    use std::path::Path;

    fn load(text: &str) -> Config {
        let source = Memory::default().with("/a.conf", text);
        let loaded = Config::load(&source, Path::new("/a.conf"));
        loaded.unwrap_or_else(|errors| panic!("{text}: {errors:?}")).0
    }

    fn check(old: &str, new: &str) -> Diff {
        diff(&load(old), &load(new))
    }

    #[test]
    fn rows_decide_what_applies() {
        let found = check("max_keepalive 5\nthreads 1", "threads 2\nmax_keepalive 6\nuser a");
        assert_eq!(found.applied, ["max_keepalive"]);
        assert_eq!(found.needs_restart, ["threads", "user"]);
        assert!(found.listeners.is_empty());
    }

    #[test]
    fn a_moved_line_is_no_change() {
        assert!(
            check(
                "listener 1\nconnection a\naddress b\ntopic c",
                "# x\n\nlistener 1\nconnection a\naddress b\ntopic c"
            )
            .is_empty()
        );
    }

    #[test]
    fn listeners_come_go_and_change() {
        let found = check(
            "listener 1\nlistener 2\nlistener 3",
            "listener 2\nmax_qos 1\nlistener 3\n\
            protocol websockets\nlistener 4",
        );
        let [
            ListenerChange::Removed(gone),
            ListenerChange::Changed { is_rebound: false, listener: second },
            ListenerChange::Changed { is_rebound: true, listener: third },
            ListenerChange::Added(fourth),
        ] = &found.listeners[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!(gone.to_string(), "port 1");
        assert_eq!(second.limits.max_qos, 1);
        assert_eq!(third.address.to_string(), "port 3");
        assert_eq!(fourth.address.to_string(), "port 4");
    }

    #[test]
    fn leaving_local_only_mode_replaces_the_listeners() {
        let found = check("", "listener 1883");
        assert_eq!(found.applied, ["allow_anonymous"]);
        assert_eq!(found.listeners.len(), 3, "{found:?}");
    }

    #[test]
    fn bridges_come_go_and_change() {
        let bridge = |name: &str, qos| format!("connection {name}\naddress h\ntopic t out {qos}\n");
        let found = check(&(bridge("a", 0) + &bridge("b", 0)), &(bridge("b", 1) + &bridge("c", 0)));
        let [BridgeChange::Removed(a), BridgeChange::Changed(b), BridgeChange::Added(c)] =
            &found.bridges[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((a.as_str(), b.name.as_str(), c.name.as_str()), ("a", "b", "c"));
        assert_eq!(b.topics[0].qos, 1);
    }
}
