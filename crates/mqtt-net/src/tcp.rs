//! TCP: listening sockets with their options, and connecting to every address a name has.
//!
//! Deadlines over the whole of a connect belong to the caller; only the time one address may take
//! is bounded here, so that a dead first address does not eat the time of a living second one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};

use crate::stream::Stream;

/// How many connections the system keeps waiting for `accept`, unless [`ListenOptions::backlog`]
/// says otherwise. A reconnect storm after a power cut brings hundreds at once; the system cuts the
/// number at `net.core.somaxconn`.
pub const DEFAULT_BACKLOG: u32 = 1024;

/// How long one address may take to answer before the next is tried, unless
/// [`ConnectOptions::attempt`] says otherwise.
pub const DEFAULT_ATTEMPT: Duration = Duration::from_secs(10);

/// Options of a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections waiting for `accept`, [`DEFAULT_BACKLOG`] by default.
    pub backlog: u32,
    /// Several sockets may listen on this address and the system shares the connections out
    /// (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// An IPv6 socket takes IPv6 only, so that an IPv4 socket may have the same port. On by
    /// default.
    pub v6_only: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: DEFAULT_BACKLOG, reuse_port: false, v6_only: true }
    }
}

/// Options of an outgoing connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The local address to connect from; addresses of the other family are then left out.
    pub local: Option<IpAddr>,
    /// Sends small writes at once. On by default.
    pub nodelay: bool,
    /// How long one address may take, [`DEFAULT_ATTEMPT`] by default.
    pub attempt: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions { local: None, nodelay: true, attempt: DEFAULT_ATTEMPT }
    }
}

/// Opens a listening socket on the current runtime. Port 0 lets the system choose a port.
///
/// # Errors
/// The system refuses, for example because the address is in use or belongs to no interface.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(options.v6_only)?;
    }
    // Without this a restarted broker waits for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Whether a listening socket on all IPv6 addresses serves IPv4 too, as systemd makes them.
pub fn serves_both_families(socket: &std::net::TcpListener) -> bool {
    let is_any = |address: SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
    socket.local_addr().is_ok_and(is_any)
        && socket2::SockRef::from(socket).only_v6().is_ok_and(|only| !only)
}

/// The addresses of a network interface (`bind_interface eth0`) with `port`, for use with
/// [`listen`].
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is no such interface or it has no address; what the
/// system says otherwise.
pub fn interface_addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        if interface.name != name {
            continue;
        }
        let scope = interface.index.unwrap_or(0);
        addresses.push(match interface.ip() {
            IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), port),
            // A link-local address means nothing without the interface it belongs to.
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
            }
            IpAddr::V6(ip) => SocketAddr::new(IpAddr::V6(ip), port),
        });
    }
    if addresses.is_empty() {
        let message = format!("no interface `{name}` with an address (see `ip addr`)");
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    Ok(addresses)
}

/// Connects to `host` (a name or an address; IPv6 with or without brackets), trying its addresses
/// in the resolver's order until one answers. `localhost` means `::1` and `127.0.0.1` even where
/// the resolver knows only one of them.
///
/// # Errors
/// See [`ConnectError`]; it carries what happened at each address.
pub async fn connect(
    host: &str,
    port: u16,
    options: &ConnectOptions,
) -> Result<Stream, ConnectError> {
    let mut attempts = Vec::new();
    for address in resolve(host, port).await? {
        if options.local.is_some_and(|local| local.is_ipv4() != address.is_ipv4()) {
            continue;
        }
        let attempt = tokio::time::timeout(options.attempt, connect_one(address, options)).await;
        match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) => attempts.push((address, error)),
        }
    }
    if attempts.is_empty() {
        return Err(ConnectError::NoAddress { host: host.to_owned(), local: options.local });
    }
    Err(ConnectError::Refused { host: host.to_owned(), attempts })
}

/// Why [`connect`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name could not be looked up.
    Resolve {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The name has no address of the family of the local address.
    NoAddress {
        /// The name that was asked for.
        host: String,
        /// The local address that was wanted.
        local: Option<IpAddr>,
    },
    /// No address answered.
    Refused {
        /// The name that was asked for.
        host: String,
        /// What happened at each address, in the order tried; never empty.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
}

impl ConnectError {
    /// What the system said last, for messages and exit codes that depend on its kind.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            ConnectError::Resolve { source, .. } => Some(source),
            ConnectError::NoAddress { .. } => None,
            ConnectError::Refused { attempts, .. } => attempts.last().map(|(_, error)| error),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Resolve { host, source } => {
                write!(f, "cannot look up the host name `{host}`: {source}")
            }
            ConnectError::NoAddress { host, local: None } => {
                write!(f, "the host name `{host}` has no address")
            }
            ConnectError::NoAddress { host, local: Some(local) } => {
                let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(f, "`{host}` has no {family} address to reach from {local}")
            }
            ConnectError::Refused { host, attempts } => {
                write!(f, "cannot connect to `{host}`: ")?;
                for (index, (address, error)) in attempts.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{address}: {error}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().map(|error| error as _)
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_localhost = bare.eq_ignore_ascii_case("localhost");
    let mut addresses: Vec<SocketAddr> = Vec::new();
    match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => {
            for address in found {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Err(_) if is_localhost => {}
        Err(source) => return Err(ConnectError::Resolve { host: host.to_owned(), source }),
    }
    if is_localhost {
        let loopbacks = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        for address in loopbacks.map(|ip| SocketAddr::new(ip, port)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

async fn connect_one(address: SocketAddr, options: &ConnectOptions) -> io::Result<Stream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = options.local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(options.nodelay)?;
    Ok(Stream::Tcp(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerAddress;

    fn any_port(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 0)
    }

    #[tokio::test]
    async fn localhost_reaches_a_listener_of_either_family() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(listener) = listen(any_port(ip), &ListenOptions::default()) else {
                // A container may have no IPv6 at all; IPv4 must be there.
                assert_eq!(ip, "::1");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let stream = connect("localhost", port, &ConnectOptions::default()).await.unwrap();
            let peer = stream.peer_address().unwrap();
            assert_eq!(peer, PeerAddress::from(listener.local_addr().unwrap()));
            let Stream::Tcp(socket) = &stream else { panic!("not TCP") };
            assert!(socket.nodelay().unwrap());
        }
    }

    #[tokio::test]
    async fn a_refused_connect_names_every_address() {
        let port = {
            let listener = listen(any_port("127.0.0.1"), &ListenOptions::default()).unwrap();
            listener.local_addr().unwrap().port()
        };
        let error = connect("localhost", port, &ConnectOptions::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1:{port}: ")), "{text}");
        assert!(text.contains(&format!("[::1]:{port}: ")), "{text}");
        assert!(error.io_error().is_some());
    }

    #[tokio::test]
    async fn an_unknown_name_is_named() {
        let error = connect("nowhere.invalid", 1883, &ConnectOptions::default()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
        assert!(error.to_string().contains("`nowhere.invalid`"), "{error}");
    }

    #[tokio::test]
    async fn the_local_address_is_used() {
        let listener = listen(any_port("127.0.0.1"), &ListenOptions::default()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut options =
            ConnectOptions { local: Some("127.0.0.2".parse().unwrap()), ..Default::default() };
        let _client = connect("localhost", port, &options).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.2");

        options.local = Some("::1".parse().unwrap());
        let error = connect("127.0.0.1", port, &options).await.unwrap_err();
        assert_eq!(error.to_string(), "`127.0.0.1` has no IPv6 address to reach from ::1");
    }

    #[tokio::test]
    async fn a_port_is_taken_once_unless_shared() {
        let alone = ListenOptions::default();
        let listener = listen(any_port("127.0.0.1"), &alone).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(listen(address, &alone).unwrap_err().kind(), io::ErrorKind::AddrInUse);

        let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        let first = listen(any_port("127.0.0.1"), &shared).unwrap();
        listen(first.local_addr().unwrap(), &shared).unwrap();
    }

    #[test]
    fn interfaces_are_found_by_name() {
        let addresses = interface_addresses("lo", 1883).unwrap();
        assert!(addresses.contains(&"127.0.0.1:1883".parse().unwrap()), "{addresses:?}");
        let error = interface_addresses("none0", 1883).unwrap_err();
        assert!(error.to_string().contains("`none0`"), "{error}");
    }
}
