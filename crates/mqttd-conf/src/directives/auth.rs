//! Rows about who may connect and what they may do.

use std::time::Duration;

use super::positive;
use crate::directive::Tail;
use crate::directive::{
    Directive,
    Meaning::{Auth, Global, Listener},
    Value::{Flag, Integer, Parsed, Path, Text},
};
use crate::raw::{AuthDraft, ListenerDraft};

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "allow_anonymous",
        Auth(Flag(|auth, on| auth.allow_anonymous = Some(on))),
        "true without a listener, else false",
        "allow_anonymous false",
        "Lets clients in that give no user name.",
    ),
    Directive::new(
        "password_file",
        Auth(Path(|auth, path| auth.password_file = Some(path))),
        "",
        "password_file /etc/mqttd/pwfile",
        "User names and password hashes; `mqtt-passwd` writes it, Mosquitto's files are read.",
    ),
    Directive::new(
        "acl_file",
        Auth(Path(|auth, path| auth.acl_file = Some(path))),
        "",
        "acl_file /etc/mqttd/aclfile",
        "Who may read and write which topics. Without it everything is allowed.",
    ),
    Directive::new(
        "psk_file",
        Auth(Path(|auth, path| auth.psk_file = Some(path))),
        "",
        "psk_file /etc/mqttd/pskfile",
        "Identities and pre-shared keys, `identity:hexadecimal`, for listeners with `psk_hint`.",
    ),
    Directive::new(
        "allow_zero_length_clientid",
        Auth(Flag(|auth, on| auth.allow_zero_length_clientid = Some(on))),
        "true",
        "allow_zero_length_clientid false",
        "Lets MQTT 3.1.1 and 5.0 clients leave their Client Identifier to the broker.",
    ),
    Directive::new(
        "auto_id_prefix",
        Auth(Parsed(PREFIX, Tail::Comment, |auth: &mut AuthDraft, text| {
            auth.auto_id_prefix = Some(id_prefix(text)?);
            Ok(())
        })),
        "auto-",
        "auto_id_prefix device-",
        "How Client Identifiers begin that the broker makes.",
    ),
    Directive::new(
        "listener_allow_anonymous",
        Listener(Flag(|draft, on| draft.listener_allow_anonymous = Some(on))),
        "as allow_anonymous",
        "listener_allow_anonymous true",
        "`allow_anonymous` for this listener alone.",
    ),
    Directive::new(
        "listener_auto_id_prefix",
        Listener(Parsed(PREFIX, Tail::Comment, |draft: &mut ListenerDraft, text| {
            draft.listener_auto_id_prefix = Some(id_prefix(text)?);
            Ok(())
        })),
        "as auto_id_prefix",
        "listener_auto_id_prefix door-",
        "`auto_id_prefix` for this listener alone.",
    ),
    Directive::new(
        "clientid_prefixes",
        Global(Text(|draft, text| draft.config.security.clientid_prefixes = Some(text))),
        "",
        "clientid_prefixes sensor-",
        "Only clients whose Client Identifier begins so may connect.",
    ),
    Directive::new(
        "max_login_failures",
        Global(Integer(0, 1_000_000, |draft, n| {
            draft.config.security.logins.max_failures = positive(n);
        })),
        "0",
        "max_login_failures 10",
        "Failed logins from one address (IPv6: from one /64 network) within `login_ban_time` after \
         which it is refused for as long (0x8A). 0: never. Not in Mosquitto.",
    ),
    Directive::new(
        "max_login_failures_user",
        Global(Integer(0, 1_000_000, |draft, n| {
            draft.config.security.logins.max_failures_user = positive(n);
        })),
        "0",
        "max_login_failures_user 20",
        "Failed logins with one user name, likewise, from whatever address. It lets strangers keep \
         a user out on purpose, which `max_login_failures` does not. 0: never. Not in Mosquitto.",
    ),
    Directive::new(
        "login_ban_time",
        Global(Integer(1, 31_536_000, |draft, n| {
            let seconds = u64::try_from(n).unwrap_or(1);
            draft.config.security.logins.ban_time = Duration::from_secs(seconds);
        })),
        "300",
        "login_ban_time 3600",
        "Seconds that a ban lasts, and that a failed login counts towards one. Not in Mosquitto.",
    ),
    Directive::new(
        "login_failure_delay",
        Global(Integer(0, 10_000, |draft, n| {
            let millis = u64::try_from(n).ok().filter(|n| *n > 0);
            draft.config.security.logins.failure_delay = millis.map(Duration::from_millis);
        })),
        "0",
        "login_failure_delay 500",
        "Milliseconds that the refusal of a failed login waits; twice as long after each further \
         failure of the address, up to 10 s. Not in Mosquitto.",
    ),
];

/// Mosquitto's bound; a Client Identifier stays readable with a UUID behind it.
const PREFIX_CHARS_MAX: usize = 50;
const PREFIX: &str = "text of at most 50 characters";

fn id_prefix(text: &str) -> Result<String, String> {
    if text.chars().count() > PREFIX_CHARS_MAX {
        return Err(PREFIX.to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_fifty_characters_at_most() {
        assert_eq!(id_prefix(&"ü".repeat(50)), Ok("ü".repeat(50)));
        assert!(id_prefix(&"ü".repeat(51)).is_err());
    }
}
