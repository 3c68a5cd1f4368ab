//! The address of the other side of a connection, as it stands in logs and in `$SYS`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is on the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// An IP address and port. An IPv4 address that arrived on an IPv6 socket is stored as IPv4.
    /// Not a [`SocketAddr`], which is larger: each connection of a broker remembers one of these.
    Ip(IpAddr, u16),
    /// A Unix socket; the other side has no name.
    Unix,
}

impl PeerAddress {
    /// The IP address, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddress::Ip(address, _) => Some(*address),
            PeerAddress::Unix => None,
        }
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            PeerAddress::Ip(_, port) => Some(*port),
            PeerAddress::Unix => None,
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        PeerAddress::Ip(address.ip().to_canonical(), address.port())
    }
}

impl fmt::Display for PeerAddress {
    /// `127.0.0.1:51234`, `::1:51234`, or `unix`: without brackets, as in Mosquitto's log, which
    /// other programs read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address, port) => write!(f, "{address}:{port}"),
            PeerAddress::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_address_and_the_port() {
        let show = |text: &str| PeerAddress::from(text.parse::<SocketAddr>().unwrap()).to_string();
        assert_eq!(show("127.0.0.1:51234"), "127.0.0.1:51234");
        assert_eq!(show("[::1]:51234"), "::1:51234");
        assert_eq!(show("[::ffff:10.0.0.7]:1"), "10.0.0.7:1");
        assert_eq!(PeerAddress::Unix.to_string(), "unix");
        assert!(size_of::<PeerAddress>() <= 20, "{} bytes", size_of::<PeerAddress>());
    }
}
