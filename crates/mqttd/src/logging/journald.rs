//! systemd's journal, in its own protocol: one datagram of `NAME=value` lines for each entry. A
//! line of ours holds no line feed (`line.rs`), so no value needs the form with a length.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where the journal listens.
pub(super) const JOURNAL_PATH: &str = "/run/systemd/journal/socket";

/// Sends lines to the journal. Never waits for it.
#[derive(Debug)]
pub(super) struct Journald {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journald {
    /// Nothing is opened before the first line.
    pub(super) fn new(path: PathBuf) -> Journald {
        Journald { path, socket: None }
    }

    /// Sends one line of this severity (0 to 7).
    ///
    /// # Errors
    /// Nobody listens, or the journal does not keep up.
    pub(super) fn send(&mut self, severity: u8, text: &str) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            self.socket = Some(socket);
        }
        let Some(socket) = &self.socket else { return Ok(()) };
        let text = format!("PRIORITY={severity}\nSYSLOG_IDENTIFIER=mqttd\nMESSAGE={text}\n");
        // By path each time: a journal that was restarted has a new socket at the old place.
        socket.send_to(text.as_bytes(), &self.path).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_arrive_also_after_a_restart_of_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut journal = Journald::new(path.clone());
        assert!(journal.send(5, "nobody there").is_err());
        for text in ["one", "two = 2"] {
            let listener = UnixDatagram::bind(&path).unwrap();
            journal.send(4, text).unwrap();
            let mut buffer = [0; 200];
            let len = listener.recv(&mut buffer).unwrap();
            let expected = format!("PRIORITY=4\nSYSLOG_IDENTIFIER=mqttd\nMESSAGE={text}\n");
            assert_eq!(String::from_utf8_lossy(&buffer[..len]), expected);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
