//! What `help` says in each place, and the commands there are.

use super::{Place, words};
use crate::ctrl::dynsec;

const HELP: (&str, &str) = ("help", "help [COMMAND]    what can be typed here");
const EXIT: (&str, &str) = ("exit", "exit    end, as Ctrl-D does");
const DISCONNECT: (&str, &str) = ("disconnect", "disconnect    from the broker");
const RETURN: (&str, &str) = ("return", "return    leave the module");

const OUTSIDE: &[(&str, &str)] = &[
    ("auth", "auth [USERNAME]    log in with a user; asks for the password"),
    ("connect", "connect [URL]    mqtt://, mqtts://, ws:// or wss://HOST[:PORT]; mqtt://localhost"),
    EXIT,
    HELP,
];
const CONNECTED: &[(&str, &str)] = &[
    ("broker", "broker    commands about the broker"),
    DISCONNECT,
    ("dynsec", "dynsec    commands about users, groups and roles"),
    EXIT,
    HELP,
];
const BROKER: &[(&str, &str)] = &[
    ("listListeners", "listListeners    ports, protocols and addresses"),
    ("listPlugins", "listPlugins    plugins and the topics they listen on"),
];
const LEAVING: &[(&str, &str)] = &[HELP, RETURN, DISCONNECT, EXIT];

/// How commands are written, by their name.
fn rows(place: Place) -> Vec<(&'static str, String)> {
    let owned = |rows: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        rows.iter().map(|&(name, usage)| (name, usage.to_owned())).collect()
    };
    let mut all = match place {
        Place::Outside => return owned(OUTSIDE),
        Place::Connected => return owned(CONNECTED),
        Place::Broker => owned(BROKER),
        Place::Dynsec => {
            let usage = |name: &'static str| match name {
                "createClient" => "createClient USERNAME [PASSWORD [CLIENTID]]".to_owned(),
                "addRoleACL" => {
                    "addRoleACL ROLENAME ACLTYPE allow|deny [PRIORITY] TOPIC".to_owned()
                }
                name => dynsec::usage(name).unwrap_or_default(),
            };
            let rows = dynsec::commands().map(|name| (name, usage(name)));
            rows.chain(owned(&words::MORE)).collect()
        }
    };
    all.extend(owned(LEAVING));
    all
}

/// The commands that can be typed.
pub(super) fn commands(place: Place) -> Vec<String> {
    rows(place).into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// The answer to `help` or `help COMMAND`.
pub(super) fn text(place: Place, command: &str) -> String {
    let wanted = |name: &str| command.is_empty() || name.eq_ignore_ascii_case(command);
    let rows = rows(place).into_iter().filter(|(name, _)| wanted(name));
    let lines: Vec<String> = rows.map(|(_, usage)| usage).collect();
    match lines.is_empty() {
        true => format!("Unknown command '{command}'"),
        false => lines.join("\n"),
    }
}
