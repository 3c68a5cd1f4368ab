//! The address of the other side of a connection, as it stands in logs and in `$SYS`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is on the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// An IP address and port. An IPv4 address that arrived on an IPv6 socket is stored as IPv4.
    Ip(SocketAddr),
    /// A Unix socket; the other side has no name.
    Unix,
}

impl PeerAddress {
    /// The IP address, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddress::Ip(address) => Some(address.ip()),
            PeerAddress::Unix => None,
        }
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            PeerAddress::Ip(address) => Some(address.port()),
            PeerAddress::Unix => None,
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        PeerAddress::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for PeerAddress {
    /// `127.0.0.1:51234`, `::1:51234`, or `unix`: without brackets, as in Mosquitto's log, which
    /// other programs read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => write!(f, "{}:{}", address.ip(), address.port()),
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
    }
}
