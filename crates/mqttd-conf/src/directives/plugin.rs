//! Rows of plugins: known by name, refused with what to do instead.

use crate::directive::{Directive, Meaning::Global, Status, Value::Ignored};

const NO_PLUGIN: Status = Status::Refused(
    "C plugins cannot be loaded: use password_file and acl_file for users and rights, and \
     persistence true for storage",
);
const NOTHING_LOADED: Status = Status::Unnecessary("no plugin is loaded");

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "plugin",
        Global(Ignored),
        "",
        "plugin /usr/lib/mosquitto_dynamic_security.so",
        "In Mosquitto, loads a plugin.",
    )
    .aliases(&["auth_plugin"])
    .repeats()
    .status(NO_PLUGIN),
    Directive::new(
        "global_plugin",
        Global(Ignored),
        "",
        "global_plugin /usr/lib/plugin.so",
        "In Mosquitto, loads a plugin for every listener.",
    )
    .repeats()
    .status(NO_PLUGIN),
    Directive::new(
        "plugin_load",
        Global(Ignored),
        "",
        "plugin_load name /usr/lib/plugin.so",
        "In Mosquitto, loads a plugin under a name.",
    )
    .repeats()
    .status(NO_PLUGIN),
    Directive::new(
        "plugin_use",
        Global(Ignored),
        "",
        "plugin_use name",
        "In Mosquitto, gives a loaded plugin to the listener above.",
    )
    .repeats()
    .status(NO_PLUGIN),
    Directive::new(
        "plugin_opt_KEY",
        Global(Ignored),
        "",
        "plugin_opt_config_file /etc/mosquitto/dynsec.json",
        "In Mosquitto, an option of the plugin above.",
    )
    .aliases(&["auth_opt_KEY"])
    .repeats()
    .status(NOTHING_LOADED),
    Directive::new(
        "auth_plugin_deny_special_chars",
        Global(Ignored),
        "",
        "auth_plugin_deny_special_chars true",
        "In Mosquitto, keeps names with `+`, `#` and `/` away from plugins.",
    )
    .repeats()
    .status(NOTHING_LOADED),
];

/// What to do instead of a plugin that comes with Mosquitto, by a word of its path.
const INSTEAD: [(&str, &str); 4] = [
    (
        "dynamic_security",
        "dynamic security is not built yet: give its clients a password_file (mqtt-passwd) and \
         what its roles allow an acl_file",
    ),
    (
        "persist_",
        "persistence true keeps retained messages, sessions and queues; leave out this line and \
         its options",
    ),
    ("password_file", "write password_file PATH, with the path of plugin_opt_password_file"),
    ("acl_file", "write acl_file PATH, with the path of plugin_opt_acl_file"),
];

/// What to do instead of this plugin, if it is one that is known.
pub(super) fn instead_of(path: &str) -> Option<&'static str> {
    let path = path.replace('-', "_");
    INSTEAD.iter().find(|(word, _)| path.contains(word)).map(|(_, cure)| *cure)
}
