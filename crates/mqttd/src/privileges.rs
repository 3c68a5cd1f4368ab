//! `user`: when started as root, the broker becomes someone else once its ports are open.

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};
use std::ffi::CString;

use mqttd_conf::LogType;

use crate::logging::Logger;

/// Who the broker becomes when the configuration does not say.
const DEFAULT_USERS: [&str; 3] = ["mqttd", "mosquitto", "nobody"];

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
        None => {
            let mut known = DEFAULT_USERS.iter().filter_map(|name| User::from_name(name).ok()?);
            known.next().context(
                "started as root without a user to become; name one with `user` (or `user root`)",
            )?
        }
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
