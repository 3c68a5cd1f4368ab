//! What one listener means: its address, transport, limits and the authentication options that
//! apply to its clients. Global options have already been merged in here by `check.rs`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::Auth;
use crate::line::Place;

/// The port of a listener that names none.
pub const DEFAULT_PORT: u16 = 1883;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: Address,
    /// What is spoken.
    pub protocol: Protocol,
    /// `socket_domain`: only this address family; `None` = both.
    pub socket_domain: Option<SocketDomain>,
    /// `bind_interface`: only the addresses of this network interface.
    pub bind_interface: Option<String>,
    /// `unix_socket_mode`: permissions of the socket file; `None`: the umask decides.
    pub socket_mode: Option<u32>,
    /// Bounds of this listener and its clients.
    pub limits: ListenerLimits,
    /// `mount_point`: put in front of, and taken off, every topic.
    pub mount_point: Option<String>,
    /// `accept_protocol_versions`: the MQTT versions let in.
    pub versions: ProtocolVersions,
    /// `enable_proxy_protocol`: version of the PROXY header every connection must begin with.
    pub proxy: Option<ProxyHeader>,
    /// Certificates; `None` = plain text.
    pub tls: Option<Tls>,
    /// Pre-shared keys instead; never beside certificates.
    pub psk: Option<Psk>,
    /// Where the User Name and Client Identifier come from besides CONNECT.
    pub identity: Identity,
    /// Options of `protocol websockets` and `protocol http_api`.
    pub web: Web,
    /// The authentication options that apply here, global ones merged in.
    pub auth: Auth,
    /// Where the listener was written; `None` = not in a file.
    pub place: Option<Place>,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            address: Address::Tcp { host: None, port: DEFAULT_PORT },
            protocol: Protocol::Mqtt,
            socket_domain: None,
            bind_interface: None,
            socket_mode: None,
            limits: ListenerLimits::default(),
            mount_point: None,
            versions: ProtocolVersions::default(),
            proxy: None,
            tls: None,
            psk: None,
            identity: Identity::default(),
            web: Web::default(),
            auth: Auth::default(),
            place: None,
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// Host name or address; `None` = every interface.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host: None, port } => write!(f, "port {port}"),
            Address::Tcp { host: Some(host), port } => write!(f, "port {port} on {host}"),
            Address::Unix { path } => write!(f, "path {}", path.display()),
        }
    }
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MQTT straight on the stream.
    Mqtt,
    /// MQTT in WebSocket frames.
    Websockets,
    /// Read-only HTTP.
    HttpApi,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketDomain {
    /// Only IPv4.
    Ipv4,
    /// Only IPv6.
    Ipv6,
}

/// A version of the PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    /// 1 (text) or 2 (binary).
    pub version: u8,
    /// `proxy_protocol_v2_require_tls`: drop connections whose header shows no TLS.
    pub requires_tls: bool,
}

/// The MQTT versions a listener lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProtocolVersions {
    /// 3.1
    pub v31: bool,
    /// 3.1.1
    pub v311: bool,
    /// 5.0
    pub v5: bool,
}

impl Default for ProtocolVersions {
    fn default() -> ProtocolVersions {
        ProtocolVersions { v31: true, v311: true, v5: true }
    }
}

/// Bounds of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `max_connections`: connections at one time; `None` = no bound.
    pub max_connections: Option<u32>,
    /// `max_qos`: 0, 1 or 2.
    pub max_qos: u8,
    /// `max_topic_alias`: aliases a 5.0 client may use towards us.
    pub max_topic_alias: u16,
    /// `max_topic_alias_broker`: aliases we use towards a 5.0 client at most.
    pub max_topic_alias_broker: u16,
}

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            max_connections: None,
            max_qos: 2,
            max_topic_alias: 10,
            max_topic_alias_broker: 10,
        }
    }
}

/// Certificates and what is asked of a client's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `certfile`: the server's certificate chain, PEM. Never empty in a checked configuration.
    pub certfile: PathBuf,
    /// `keyfile`: its private key, PEM. Never empty in a checked configuration.
    pub keyfile: PathBuf,
    /// `cafile`: authorities of client certificates, PEM.
    pub cafile: Option<PathBuf>,
    /// `capath`: a folder of such files.
    pub capath: Option<PathBuf>,
    /// `crlfile`: revoked client certificates, PEM.
    pub crlfile: Option<PathBuf>,
    /// `require_certificate`: a connection without a valid client certificate is refused.
    pub require_certificate: bool,
    /// `disable_client_cert_date_checks`: accept expired client certificates.
    pub ignores_certificate_dates: bool,
    /// `tls_version`: the lowest version accepted.
    pub version_min: TlsVersion,
    /// `ciphers`: OpenSSL cipher list up to TLS 1.2.
    pub ciphers: Option<String>,
    /// `ciphers_tls1.3`: OpenSSL cipher suites of TLS 1.3.
    pub ciphers_tls13: Option<String>,
    /// `psk_hint`: turns pre-shared keys on; moves to [`Psk`] in a checked configuration.
    pub psk_hint: Option<String>,
}

/// TLS with pre-shared keys; they are in `psk_file` of [`Auth`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Psk {
    /// `psk_hint`: for people; it is not sent.
    pub hint: String,
    /// `tls_version`: the lowest version accepted.
    pub version_min: TlsVersion,
    /// `ciphers`: OpenSSL cipher list up to TLS 1.2.
    pub ciphers: Option<String>,
    /// `ciphers_tls1.3`: OpenSSL cipher suites of TLS 1.3.
    pub ciphers_tls13: Option<String>,
}

/// A version of TLS; ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    V12,
    /// TLS 1.3
    V13,
}

/// Where the User Name and Client Identifier come from besides CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `use_identity_as_username`: the certificate's common name or the PSK identity.
    pub use_identity_as_username: bool,
    /// `use_subject_as_username`: the certificate's whole subject.
    pub use_subject_as_username: bool,
    /// `use_username_as_clientid`: the Client Identifier is the User Name.
    pub use_username_as_clientid: bool,
}

/// Options of WebSocket and HTTP listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Web {
    /// `websockets_origin`: allowed Origin headers; empty = any.
    pub origins: Vec<String>,
    /// `http_dir`: folder of static files.
    pub http_dir: Option<PathBuf>,
    /// `trusted_proxy`: whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
}

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            Some(bits) => Some(bits).filter(is_number)?.parse().ok()?,
            None => bits_max,
        };
        (bits <= bits_max).then_some(Network { address, bits })
    }

    /// Whether the address belongs to it. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let begin = |address: u128, width: u32| {
            address.checked_shr(width - u32::from(self.bits)).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                begin(own.to_bits().into(), 32) == begin(other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                begin(own.to_bits(), 128) == begin(other.to_bits(), 128)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_begins_alike() {
        for (network, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.0.0.1", "::ffff:10.0.0.1", "::1"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "6.6.6.6", "::1"),
            ("::/0", "::1", "6.6.6.6"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for wrong in ["", "a", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
