//! Rows of plugins. What three of them do is built in; others are refused with what to do instead.

use crate::directive::{Directive, Meaning::Global, Meaning::Plugin, Status, Value::Ignored};
use crate::plugin::PluginLine;

/// What to do instead of a plugin that nobody knows.
const NO_PLUGIN: &str = "C plugins cannot be loaded; dynamic security, password file and ACL file \
     are built in: use password_file and acl_file for users and rights, and persistence true for \
     storage";

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "plugin",
        Plugin(PluginLine::Here),
        "",
        "plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
        "Turns on what is built in; nothing is loaded from the path. With `dynamic_security` in \
         its last part: clients, groups and roles are in the file that `plugin_opt_config_file` \
         names, and change while the broker runs by `mqtt-ctrl dynsec` or `mosquitto_ctrl \
         dynsec`. What no role says an `acl_file` may still allow, and users it does not know a \
         `password_file` may let in. With `password_file` or `acl_file` in it: the same as the \
         directive of that name, with the path of `plugin_opt_password_file` or \
         `plugin_opt_acl_file`. Any other plugin is refused, with what to do instead.",
    )
    .aliases(&["auth_plugin"])
    .repeats()
    .at_start(),
    Directive::new(
        "global_plugin",
        Plugin(PluginLine::Everywhere),
        "",
        "global_plugin /usr/lib/mosquitto_dynamic_security.so",
        "The same for every listener, also with `per_listener_settings true`.",
    )
    .repeats()
    .at_start(),
    Directive::new(
        "plugin_load",
        Plugin(PluginLine::Named),
        "",
        "plugin_load dynsec /usr/lib/mosquitto_dynamic_security.so",
        "The same under a name, for the listeners with a `plugin_use` of that name.",
    )
    .repeats()
    .at_start(),
    Directive::new(
        "plugin_use",
        Plugin(PluginLine::Use),
        "",
        "plugin_use dynsec",
        "Gives the plugin of this name to the broker, or with `per_listener_settings true` to the \
         listener above.",
    )
    .repeats()
    .at_start(),
    Directive::new(
        "plugin_opt_KEY",
        Plugin(PluginLine::Option),
        "",
        "plugin_opt_config_file /var/lib/mqttd/dynamic-security.json",
        "An option of the plugin above. `plugin_opt_config_file` names the file of dynamic \
         security; Mosquitto's is read and written as it is. It is made when it does not exist: \
         the user `admin` gets the password in the file that `plugin_opt_password_init_file` \
         names, else the one in the environment as `MOSQUITTO_DYNSEC_PASSWORD`, else a random \
         one, which is written beside the file with the ending `.pw`. Other options but those \
         of `plugin` have no effect.",
    )
    .aliases(&["auth_opt_KEY"])
    .repeats()
    .at_start(),
    Directive::new(
        "auth_plugin_deny_special_chars",
        Global(Ignored),
        "",
        "auth_plugin_deny_special_chars true",
        "In Mosquitto, keeps names with `+`, `#` and `/` away from plugins of old.",
    )
    .repeats()
    .status(Status::Unnecessary("dynamic security never takes such a name for a wildcard")),
];

/// What to do instead of Mosquitto's plugins that store in a database.
const PERSISTENCE: &str = "persistence true keeps retained messages, sessions and queues; leave \
     out this line and its options";

/// What to do instead of this plugin.
pub(super) fn instead_of(path: &str) -> &'static str {
    let stores = path.replace('-', "_").contains("persist_");
    if stores { PERSISTENCE } else { NO_PLUGIN }
}
