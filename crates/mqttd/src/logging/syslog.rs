//! The system's log: datagrams to `/dev/log` in the local form of RFC 3164 (no host name).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where the system's log listens.
pub(super) const SYSLOG_PATH: &str = "/dev/log";

/// `daemon`, the facility unless `log_facility` names one.
const FACILITY_DAEMON: u8 = 3;
/// `local0`; local1 to local7 follow.
const FACILITY_LOCAL0: u8 = 16;

/// Sends lines to the system's log. Never waits for it.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    facility: u8,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// `local` is the value of `log_facility`. Nothing is opened before the first line.
    pub(super) fn new(path: PathBuf, local: Option<u8>) -> Syslog {
        let facility = local.map_or(FACILITY_DAEMON, |number| FACILITY_LOCAL0 + (number & 7));
        Syslog { path, facility, socket: None }
    }

    /// Sends one line of this severity (0 to 7); `time` as [`super::line::Clock::syslog`] words it.
    ///
    /// # Errors
    /// Nobody listens, or the listener does not keep up.
    pub(super) fn send(&mut self, severity: u8, time: &str, text: &str) -> io::Result<()> {
        let priority = self.facility << 3 | severity;
        let pid = std::process::id();
        let datagram = format!("<{priority}>{time} mqttd[{pid}]: {text}");
        // A log daemon that was restarted has a new socket at the old place.
        if let Some(socket) = &self.socket {
            match socket.send(datagram.as_bytes()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        socket.send(datagram.as_bytes())?;
        self.socket = Some(socket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2000];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn lines_arrive_also_after_a_restart_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog::new(path.clone(), None);
        assert!(syslog.send(5, "Jul  5 00:00:00", "nobody there").is_err());
        let pid = std::process::id();

        let listener = UnixDatagram::bind(&path).unwrap();
        syslog.send(5, "Jul  5 00:00:00", "one").unwrap();
        assert_eq!(receive(&listener), format!("<29>Jul  5 00:00:00 mqttd[{pid}]: one"));
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixDatagram::bind(&path).unwrap();
        syslog.send(3, "Jul  5 00:00:01", "two").unwrap();
        assert_eq!(receive(&listener), format!("<27>Jul  5 00:00:01 mqttd[{pid}]: two"));
    }

    #[test]
    fn facilities_and_severities() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let listener = UnixDatagram::bind(&path).unwrap();
        for (local, severity, priority) in [(None, 7, 31), (Some(0), 3, 131), (Some(7), 6, 190)] {
            Syslog::new(path.clone(), local).send(severity, "T", "x").unwrap();
            assert!(receive(&listener).starts_with(&format!("<{priority}>T ")));
        }
    }

    #[test]
    fn a_log_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path, None);
        let line = "x".repeat(1000);
        let error = (0..100_000).find_map(|_| syslog.send(6, "T", &line).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
        receive(&listener);
    }
}
