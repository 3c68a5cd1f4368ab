//! Opens the listeners and accepts connections; nothing else.

use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs,
};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mqtt_net::{PeerAddress, Stream, tcp, unix};
use mqttd_conf::{Address, Listener, Protocol, SocketDomain};
use mqttd_core::ids::ListenerId;
use tokio::net::{TcpListener, UnixListener};

use crate::lobby;
use mqttd_conf::LogType;

use crate::logging::Logger;
use crate::panics;
use crate::permit::{Permit, Places};
use crate::run::Broker;
use crate::wording;

/// Time between two log lines about failed accepts: one says what is to be done.
const ACCEPT_SAY_PAUSE: Duration = Duration::from_secs(10);

/// Rest after an accept that failed for lack of file descriptors: trying again at once would only
/// burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An open socket of a listener.
pub(crate) struct Socket {
    pub(crate) listener: ListenerId,
    kind: Kind,
}

enum Kind {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// Opens every listener's sockets.
pub(crate) fn open(listeners: &[Listener], logger: &Logger) -> anyhow::Result<Vec<Socket>> {
    // mqtt-net's listeners register with a runtime; this one lives only as long as they are opened.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _guard = runtime.enter();
    let mut sockets = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let id = ListenerId(index as u16);
        if listener.protocol == Protocol::HttpApi {
            logger.line(
                LogType::Warning,
                format_args!("Warning: protocol http_api is not served yet: {}.", listener.address),
            );
            continue;
        }
        match &listener.address {
            Address::Unix { path } => {
                let socket = unix::listen(path, None)
                    .with_context(|| format!("opening the unix socket {}", path.display()))?;
                logger.line(
                    LogType::Information,
                    format_args!("Opening unix listen socket on path {}.", path.display()),
                );
                sockets.push(Socket { listener: id, kind: Kind::Unix(socket.into_std()?) });
            }
            Address::Tcp { host, port } => {
                for socket in open_tcp(host.as_deref(), *port, listener, logger)? {
                    sockets.push(Socket { listener: id, kind: Kind::Tcp(socket) });
                }
            }
        }
    }
    Ok(sockets)
}

fn open_tcp(
    host: Option<&str>,
    port: u16,
    listener: &Listener,
    logger: &Logger,
) -> anyhow::Result<Vec<StdTcpListener>> {
    let addresses = addresses(host, port, listener)?;
    let mut sockets = Vec::new();
    let mut failure = None;
    for address in &addresses {
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        let kind = if listener.protocol == Protocol::Websockets { "websockets " } else { "" };
        match tcp::listen(*address, &tcp::ListenOptions::default()) {
            Ok(socket) => {
                logger.line(
                    LogType::Information,
                    format_args!("Opening {family} {kind}listen socket on port {port}."),
                );
                sockets.push(socket.into_std()?);
            }
            Err(error) => {
                logger.line(LogType::Debug, format_args!("{address}: {error}"));
                failure = Some((*address, error));
            }
        }
    }
    // One family may be missing on this machine; none may be missing for a port that is in use.
    match failure {
        Some((address, error))
            if sockets.is_empty() || error.kind() == std::io::ErrorKind::AddrInUse =>
        {
            Err(error).with_context(|| {
                format!("opening port {port} on {}: is another broker running?", address.ip())
            })
        }
        _ => Ok(sockets),
    }
}

fn addresses(
    host: Option<&str>,
    port: u16,
    listener: &Listener,
) -> anyhow::Result<Vec<SocketAddr>> {
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
    found.dedup();
    if found.is_empty() {
        bail!("the listener on {} has no address of the wanted family", listener.address);
    }
    Ok(found)
}

/// Accepts on one socket until the broker stops.
pub(crate) async fn accept(
    broker: Arc<Broker>,
    worker: usize,
    socket: Socket,
    places: Arc<Places>,
) -> anyhow::Result<()> {
    let mut door = Door { broker, worker, listener: socket.listener, places, said: None };
    match socket.kind {
        Kind::Tcp(socket) => {
            let socket = TcpListener::from_std(socket)?;
            loop {
                let accepted = socket.accept().await.map(|(stream, _)| Stream::from(stream));
                door.open(accepted).await;
            }
        }
        Kind::Unix(socket) => {
            let socket = UnixListener::from_std(socket)?;
            loop {
                let accepted = socket.accept().await.map(|(stream, _)| Stream::from(stream));
                door.open(accepted).await;
            }
        }
    }
}

/// One listening socket's way into the lobby.
struct Door {
    broker: Arc<Broker>,
    worker: usize,
    listener: ListenerId,
    places: Arc<Places>,
    /// When the log last heard that accepting fails.
    said: Option<Instant>,
}

impl Door {
    async fn open(&mut self, accepted: std::io::Result<Stream>) {
        match accepted {
            Ok(stream) => self.welcome(stream),
            // The other side left before it was accepted.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
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
        let Some(conf) = live.config.listeners.get(usize::from(self.listener.0)) else { return };
        // Without an address the socket is broken already.
        let Ok(peer) = stream.peer_address() else { return };
        let of_listener = (&self.places, conf.limits.max_connections);
        let of_broker = (&broker.places, live.config.limits.global_max_connections);
        let Some(permit) = Permit::take(of_listener, of_broker) else {
            let peer = peer.to_string();
            let text = wording::too_many_connections(&peer);
            broker.logger.line(LogType::Notice, format_args!("{text}"));
            return;
        };
        // Always: a broker that batches its writes gains nothing from waiting for more.
        let _ = stream.set_nodelay(true);
        let sent_away = broker.seats.seat(peer, |seat| {
            let received =
                lobby::receive(Arc::clone(broker), self.worker, self.listener, stream, permit);
            let visit = async move {
                let _seat = seat;
                received.await;
            };
            tokio::spawn(panics::contained(broker.logger.clone(), visit)).abort_handle()
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
