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
        Some(name) => match User::from_name(name)? {
            Some(found) => found,
            None => bail!("user '{name}' does not exist; create it or name another with `user`"),
        },
        None => match User::from_name(DEFAULT_USER)? {
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
