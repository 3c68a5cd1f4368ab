//! What systemd is told (sd_notify): ready, reloading, stopping, and that the shards still answer
//! (watchdog). Datagrams to the socket that NOTIFY_SOCKET names; without it nothing is sent.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};

/// The way to the service manager.
pub(crate) struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say. To be called before root is dropped.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self { socket: None, watchdog: None });
        };
        let socket = connect(&name)
            .with_context(|| format!("connecting to NOTIFY_SOCKET {}", name.to_string_lossy()))?;
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // Variables that were meant for a parent process are not for this one.
        let is_meant = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let interval = number("WATCHDOG_USEC").filter(|micros| is_meant && *micros > 0);
        Ok(Self { socket: Some(socket), watchdog: interval.map(Duration::from_micros) })
    }

    /// Connections are accepted; also the end of a reload.
    pub(crate) fn ready(&self) {
        self.send(&format!("READY=1\nMAINPID={}\n", std::process::id()));
    }

    /// A reload begins.
    pub(crate) fn reloading(&self) {
        // systemd tells this reload from an earlier one by the time.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let micros = now.unwrap_or_default().as_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The stop begins.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    /// How often [`Notify::alive`] is due: twice in the time after which systemd would act.
    pub(crate) fn alive_interval(&self) -> Option<Duration> {
        self.watchdog.map(|interval| interval / 2)
    }

    /// The broker works.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // Nobody there any more, or its queue is full: the broker goes on either way.
            let _ = socket.send(text.as_bytes());
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn connect(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(OsString::from(OsStr::from_bytes(path)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("mqttd-notify-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ];
        for (socket, name) in sockets {
            let notify = Notify { socket: Some(connect(&name).unwrap()), watchdog: None };
            notify.stopping();
            let mut buffer = [0; 64];
            let count = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"STOPPING=1\n");
        }
        assert!(connect(OsStr::new("/nonexistent/notify")).is_err());
    }
}
