//! The sockets of listeners: which addresses one wants, how a socket is opened, and accepting on
//! it. Which sockets are open at a time is known to `ports.rs`.

use std::fmt;
use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs,
};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mqtt_net::{PeerAddress, Stream, tcp, unix};
use mqttd_conf::{Address, Listener, LogType, Protocol, SocketDomain};
use mqttd_core::ids::ListenerId;
use tokio::net::{TcpListener, UnixListener};

use crate::lobby;
use crate::panics;
use crate::permit::Permit;
use crate::run::Broker;
use crate::wording;

/// Time between two log lines about failed accepts: one says what is to be done.
const ACCEPT_SAY_PAUSE: Duration = Duration::from_secs(10);

/// Rest after an accept that failed for lack of file descriptors: trying again at once would only
/// burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where one socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Tcp(address) => write!(f, "port {} on {}", address.port(), address.ip()),
            At::Unix(path) => write!(f, "path {}", path.display()),
        }
    }
}

impl At {
    /// Both are TCP addresses with one port.
    pub(crate) fn has_port_of(&self, other: &At) -> bool {
        matches!((self, other), (At::Tcp(one), At::Tcp(other)) if one.port() == other.port())
    }
}

/// An open socket. It belongs to no runtime yet.
pub(crate) enum Socket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// The addresses a listener is to listen on, at least one. The system may have to ask around for a
/// name, which is not for the threads that serve Clients.
pub(crate) async fn wanted(listener: &Listener) -> anyhow::Result<Vec<At>> {
    let listener = listener.clone();
    tokio::task::spawn_blocking(move || look_up(&listener)).await?
}

fn look_up(listener: &Listener) -> anyhow::Result<Vec<At>> {
    let (host, port) = match &listener.address {
        Address::Unix { path } => return Ok(vec![At::Unix(path.clone())]),
        Address::Tcp { host, port } => (host.as_deref(), *port),
    };
    let mut found: Vec<SocketAddr> = match (&listener.bind_interface, host) {
        (Some(interface), _) => tcp::interface_addresses(interface, port)
            .with_context(|| format!("addresses of the interface {interface}"))?,
        (None, Some(host)) => (host, port)
            .to_socket_addrs()
            .with_context(|| format!("looking up the listener's address '{host}'"))?
            .collect(),
        (None, None) => vec![
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        ],
    };
    match listener.socket_domain {
        Some(SocketDomain::Ipv4) => found.retain(SocketAddr::is_ipv4),
        Some(SocketDomain::Ipv6) => found.retain(SocketAddr::is_ipv6),
        None => {}
    }
    found.sort();
    found.dedup();
    if found.is_empty() {
        bail!("the listener on {} has no address of the wanted family", listener.address);
    }
    Ok(found.into_iter().map(At::Tcp).collect())
}

/// How long a connection above `max_connections` waits for a place before it is turned away, and
/// the time between two looks.
const PLACE_PATIENCE: Duration = Duration::from_millis(250);
const PLACE_LOOK: Duration = Duration::from_millis(10);

/// Opens one socket. To be called on a runtime's thread.
pub(crate) fn open(at: &At, listener: &Listener) -> io::Result<Socket> {
    Ok(match at {
        At::Tcp(address) => {
            Socket::Tcp(tcp::listen(*address, &tcp::ListenOptions::default())?.into_std()?)
        }
        At::Unix(path) => Socket::Unix(unix::listen(path, listener.socket_mode)?.into_std()?),
    })
}

/// What the log says of a socket that is opened.
pub(crate) fn opening_text(at: &At, protocol: Protocol) -> String {
    let kind = match protocol {
        Protocol::Mqtt => "",
        Protocol::Websockets => "websockets ",
        Protocol::HttpApi => "http api ",
    };
    match at {
        At::Tcp(address) => {
            let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            format!("Opening {family} {kind}listen socket on port {}.", address.port())
        }
        At::Unix(path) => {
            format!("Opening unix {kind}listen socket on path {}.", path.display())
        }
    }
}

/// Why a socket can't be opened, and what to do.
pub(crate) fn failure(at: &At, error: io::Error) -> anyhow::Error {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => ": is another broker running?",
        io::ErrorKind::AddrNotAvailable => ": no interface has this address",
        io::ErrorKind::PermissionDenied => match at {
            At::Tcp(_) => ": ports below 1024 are open to root and CAP_NET_BIND_SERVICE only",
            At::Unix(_) => ": the broker's user must be allowed to write to the folder",
        },
        _ => "",
    };
    anyhow::Error::new(error).context(format!("opening {at}{cure}"))
}

/// Accepts on one socket until the task is aborted. Its listener is looked up for each connection:
/// a reload may give the socket to another one.
pub(crate) async fn accept(
    broker: Arc<Broker>,
    worker: usize,
    socket: Socket,
    listener: Arc<AtomicU16>,
) -> anyhow::Result<()> {
    let mut way = Way { broker, worker, listener, said: None };
    match socket {
        Socket::Tcp(socket) => {
            let socket = TcpListener::from_std(socket)?;
            loop {
                let accepted = socket.accept().await.map(|(stream, _)| Stream::from(stream));
                way.open(accepted).await;
            }
        }
        Socket::Unix(socket) => {
            let socket = UnixListener::from_std(socket)?;
            loop {
                let accepted = socket.accept().await.map(|(stream, _)| Stream::from(stream));
                way.open(accepted).await;
            }
        }
    }
}

/// Looks for a place again and again for [`PLACE_PATIENCE`]: connections that their Clients have
/// closed before this one came may not have been looked at yet.
async fn wait_for_place(broker: &Broker, listener: ListenerId) -> Option<Permit> {
    let end = Instant::now() + PLACE_PATIENCE;
    while Instant::now() < end {
        tokio::time::sleep(PLACE_LOOK).await;
        let live = broker.live();
        let door = live.door(listener)?;
        let of_listener = (&door.places, door.conf.limits.max_connections);
        let of_broker = (&broker.places, live.config.limits.global_max_connections);
        if let Some(permit) = Permit::take(of_listener, of_broker) {
            return Some(permit);
        }
    }
    None
}

/// One listening socket's way into the lobby.
struct Way {
    broker: Arc<Broker>,
    worker: usize,
    listener: Arc<AtomicU16>,
    /// When the log last heard that accepting fails.
    said: Option<Instant>,
}

impl Way {
    async fn open(&mut self, accepted: io::Result<Stream>) {
        match accepted {
            Ok(stream) => self.welcome(stream),
            // The other side left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if self.said.is_none_or(|at| at.elapsed() >= ACCEPT_SAY_PAUSE) {
                    self.said = Some(Instant::now());
                    self.broker.logger.line(
                        LogType::Error,
                        format_args!(
                            "Error: a connection could not be accepted: {error}. \
                             Raise the limit of open files (ulimit -n) if it is that."
                        ),
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn welcome(&self, stream: Stream) {
        let broker = &self.broker;
        let live = broker.live();
        let listener = ListenerId(self.listener.load(Ordering::Relaxed));
        let Some(door) = live.door(listener) else { return };
        // Without an address the socket is broken already.
        let Ok(peer) = stream.peer_address() else { return };
        let of_listener = (&door.places, door.conf.limits.max_connections);
        let of_broker = (&broker.places, live.config.limits.global_max_connections);
        let permit = Permit::take(of_listener, of_broker);
        // Always: a broker that batches its writes gains nothing from waiting for more.
        let _ = stream.set_nodelay(true);
        let sent_away = broker.seats.seat(peer, |seat| {
            let (broker, worker, logger) = (Arc::clone(broker), self.worker, broker.logger.clone());
            let visit = async move {
                let _seat = seat;
                let permit = match permit {
                    Some(permit) => Some(permit),
                    None => wait_for_place(&broker, listener).await,
                };
                match permit {
                    Some(permit) => {
                        lobby::receive(broker, worker, listener, stream, permit).await;
                    }
                    None => {
                        let peer = peer.to_string();
                        let text = wording::too_many_connections(&peer);
                        broker.logger.line(LogType::Notice, format_args!("{text}"));
                    }
                }
            };
            tokio::spawn(panics::contained(logger, visit)).abort_handle()
        });
        if let Some(peer) = sent_away {
            self.say_sent_away(&peer);
        }
    }

    fn say_sent_away(&self, peer: &PeerAddress) {
        let logger = &self.broker.logger;
        if logger.connection_messages() {
            let id = wording::NO_CLIENT_ID;
            let text = "too many connections wait for their CONNECT";
            logger
                .line(LogType::Notice, format_args!("Client {id} [{peer}] disconnected: {text}."));
        }
    }
}
