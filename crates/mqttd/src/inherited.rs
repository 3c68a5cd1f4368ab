//! Sockets that the service manager has opened (systemd's socket activation: LISTEN_FDS,
//! LISTEN_PID, LISTEN_FDNAMES). They wait here until a listener asks for their address. Since they
//! stay open while the broker is restarted, no Client is refused meanwhile.

use anyhow::{Context, bail};
use listenfd::ListenFd;
use mqtt_net::tcp;

use crate::listen::{At, Socket};

/// See the file's head.
#[derive(Default)]
pub(crate) struct Inherited {
    waiting: Vec<Waiting>,
}

struct Waiting {
    /// `FileDescriptorName` of the .socket unit, for messages.
    name: String,
    /// Every address it serves.
    at: Vec<At>,
    socket: Socket,
}

impl Inherited {
    /// Takes what the environment names. To be called before threads are started: it clears the
    /// variables, so that no child takes them for its own.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
            inherited.add(&mut passed, index, name).with_context(|| {
                format!("socket {index} ({name}) of the service manager (LISTEN_FDS)")
            })?;
        }
        Ok(inherited)
    }

    /// Whether the environment holds sockets for this process.
    pub(crate) fn is_announced() -> bool {
        let own = std::process::id().to_string();
        std::env::var("LISTEN_FDS").is_ok() && std::env::var("LISTEN_PID").is_ok_and(|it| it == own)
    }

    fn add(&mut self, passed: &mut ListenFd, index: usize, name: &str) -> anyhow::Result<()> {
        let (at, socket) = match passed.take_tcp_listener(index) {
            Ok(Some(socket)) => {
                let address = socket.local_addr()?;
                let mut at = vec![At::Tcp(address)];
                if tcp::serves_both_families(&socket) {
                    at.push(At::Tcp((std::net::Ipv4Addr::UNSPECIFIED, address.port()).into()));
                }
                socket.set_nonblocking(true)?;
                (at, Socket::Tcp(socket))
            }
            _ => match passed.take_unix_listener(index) {
                Ok(Some(socket)) => {
                    let address = socket.local_addr()?;
                    let Some(path) = address.as_pathname() else {
                        bail!("a Unix socket without a path; write ListenStream=/PATH");
                    };
                    let at = vec![At::Unix(path.to_owned())];
                    socket.set_nonblocking(true)?;
                    (at, Socket::Unix(socket))
                }
                _ => bail!("neither a TCP nor a Unix stream socket; write ListenStream="),
            },
        };
        self.waiting.push(Waiting { name: name.to_owned(), at, socket });
        Ok(())
    }

    /// The socket with this address, and every address it serves.
    pub(crate) fn take(&mut self, at: &At) -> Option<(Vec<At>, Socket)> {
        let index = self.waiting.iter().position(|waiting| waiting.at.contains(at))?;
        let Waiting { at, socket, .. } = self.waiting.swap_remove(index);
        Some((at, socket))
    }

    /// A socket on the same port with another address: a listener that opens this one itself can't
    /// succeed. Returns it in words.
    pub(crate) fn in_the_way(&self, wanted: &At) -> Option<String> {
        let mut waiting = self.waiting.iter();
        let found = waiting.find(|waiting| waiting.at.iter().any(|at| at.has_port_of(wanted)))?;
        Some(format!("{} ({})", found.at[0], found.name))
    }

    /// Closes what nobody has asked for, and says what it was.
    pub(crate) fn drain(&mut self) -> Vec<String> {
        let say = |waiting: Waiting| format!("{} ({})", waiting.at[0], waiting.name);
        self.waiting.drain(..).map(say).collect()
    }
}
