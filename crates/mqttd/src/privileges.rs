//! `user`: when started as root, the broker becomes someone else once its ports are open.

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};
use std::ffi::CString;

use mqttd_conf::LogType;

use crate::logging::Logger;

/// Who the broker becomes when the configuration does not say; the package makes this user.
const DEFAULT_USER: &str = "mqttd";

/// Drops root if the broker has it. `user root` keeps it.
pub(crate) fn drop_root(user: Option<&str>, logger: &Logger) -> anyhow::Result<()> {
    if !Uid::effective().is_root() || user == Some("root") {
        return Ok(());
    }
    if let (Ok(uid), gid) = (std::env::var("PUID"), std::env::var("PGID")) {
        let uid = uid.parse().context("PUID must be a number")?;
        let gid = gid.unwrap_or(uid_text(uid)).parse().context("PGID must be a number")?;
        return become_user(Uid::from_raw(uid), Gid::from_raw(gid), None);
    }
    let found = match user {
        Some(name) => match local_user(name).map_or_else(|| named_user(name), |it| Ok(Some(it)))? {
            Some(found) => found,
            None => bail!("user '{name}' does not exist; create it or name another with `user`"),
        },
        None => match local_user(DEFAULT_USER) {
            Some(found) => found,
            None => {
                logger.line(
                    LogType::Warning,
                    format_args!(
                        "Warning: running as root; name a user to become with `user`, or write \
                         `user root` if that is meant."
                    ),
                );
                return Ok(());
            }
        },
    };
    become_user(found.uid, found.gid, Some(&found.name))?;
    logger.line(
        LogType::Information,
        format_args!("Started as root; running as user {} from here on.", found.name),
    );
    Ok(())
}

/// Someone to become.
struct Found {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// A user of this machine. Asking for one by way of the C library loads every name service of the
/// machine, which then stays in memory (0.6 MB with systemd's).
fn local_user(name: &str) -> Option<Found> {
    in_passwd(&std::fs::read_to_string("/etc/passwd").ok()?, name)
}

/// passwd(5): `name:password:uid:gid:…`.
fn in_passwd(passwd: &str, name: &str) -> Option<Found> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Found { name: name.to_owned(), uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
    })
}

/// A user from wherever this machine knows users from.
fn named_user(name: &str) -> anyhow::Result<Option<Found>> {
    let found = User::from_name(name)?;
    Ok(found.map(|User { name, uid, gid, .. }| Found { name, uid, gid }))
}

fn uid_text(uid: u32) -> String {
    uid.to_string()
}

fn become_user(uid: Uid, gid: Gid, name: Option<&str>) -> anyhow::Result<()> {
    match name {
        Some(name) => initgroups(&CString::new(name)?, gid).context("setting the groups")?,
        None => nix::unistd::setgroups(&[gid]).context("setting the groups")?,
    }
    setgid(gid).context("setting the group")?;
    setuid(uid).context("setting the user")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nmqttd2:x:1:1::/:/bin/sh\n\
                      mqttd:x:990:980:broker:/var/lib/mqttd:/usr/sbin/nologin\nbroken:x:y\n";
        let found = in_passwd(passwd, "mqttd").unwrap();
        assert_eq!((found.uid, found.gid), (Uid::from_raw(990), Gid::from_raw(980)));
        assert!(in_passwd(passwd, "mqtt").is_none());
        assert!(in_passwd(passwd, "broken").is_none());
        assert!(in_passwd(passwd, "").is_none());
    }
}
