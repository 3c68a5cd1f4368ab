//! Broker URLs: `mqtt://user:password@host:port/rest`, with `mqtts`, `ws`, `wss` and their aliases.
//!
//! | scheme | transport | port |
//! |---|---|---|
//! | `mqtt`, `tcp` | TCP | 1883 |
//! | `mqtts`, `ssl`, `tls` | TLS | 8883 |
//! | `ws` | WebSocket | 80 |
//! | `wss` | WebSocket over TLS | 443 |
//! | `unix` | Unix socket, `unix:///path` | – |
//!
//! What the path means differs: for [`Options::from_url`] it is the path of a WebSocket request;
//! the command-line tools take it for a topic, as Mosquitto's do.

use std::fmt;

use bytes::Bytes;

use crate::options::{Options, Transport, WebSocket};
use mqtt_net::tls::TlsError;

use crate::tls::Tls;

/// How to speak to the Server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the schemes'")]
pub enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Unix,
}

impl Scheme {
    /// The port when the URL has none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt | Self::Unix => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether TLS is spoken.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether WebSocket is spoken.
    pub const fn has_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// A URL taken apart; nothing in it is decoded yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Url<'a> {
    /// What stands before `://`.
    pub scheme: Scheme,
    /// What stands before the first `:` of the login.
    pub username: Option<&'a str>,
    /// What stands behind it.
    pub password: Option<&'a str>,
    /// The host, IPv6 addresses without brackets. Empty for a Unix socket.
    pub host: &'a str,
    /// The port, if there is one.
    pub port: Option<u16>,
    /// What stands behind the host, without the first `/`; with it for a Unix socket.
    pub path: &'a str,
}

/// Why a text is not a URL we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `://`.
    NoScheme,
    /// The scheme is none of those in the table.
    UnknownScheme,
    /// There is no host.
    NoHost,
    /// The port is not a number from 1 to 65535.
    Port,
    /// A `[` without `]`.
    Bracket,
    /// `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
    Encoding,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "the URL has no scheme, write for example mqtt://host",
            Self::UnknownScheme => "unsupported URL scheme",
            Self::NoHost => "the URL has no host",
            Self::Port => "the URL's port is not a number from 1 to 65535",
            Self::Bracket => "the URL's IPv6 address has no closing bracket",
            Self::Encoding => "the URL's percent encoding is broken",
        })
    }
}

impl std::error::Error for UrlError {}

impl<'a> Url<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &'a str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => Scheme::Mqtt,
            "mqtts" | "ssl" | "tls" => Scheme::Mqtts,
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            "unix" => Scheme::Unix,
            _ => return Err(UrlError::UnknownScheme),
        };
        if scheme == Scheme::Unix {
            let empty =
                Url { scheme, username: None, password: None, host: "", port: None, path: rest };
            return if rest.is_empty() { Err(UrlError::NoHost) } else { Ok(empty) };
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (username, password) = match login.map(|login| login.split_once(':')) {
            Some(Some((username, password))) => (Some(username), Some(password)),
            Some(None) => (login, None),
            None => (None, None),
        };
        let (host, port) = split_address(address)?;
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        Ok(Self { scheme, username, password, host, port, path })
    }

    /// The port, or the scheme's.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }
}

impl fmt::Debug for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url")
            .field("scheme", &self.scheme)
            .field("username", &self.username)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn split_address(address: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(UrlError::Bracket)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(UrlError::Port),
            }
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = port.map(|port| match port.parse() {
        Ok(0) | Err(_) => Err(UrlError::Port),
        Ok(port) => Ok(port),
    });
    Ok((host, port.transpose()?))
}

/// Replaces `%41` and the like.
///
/// # Errors
/// [`UrlError::Encoding`].
pub fn percent_decode(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.split_at_checked(2).ok_or(UrlError::Encoding)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(UrlError::Encoding);
        bytes.push((digit(digits.0[0])? * 16 + digit(digits.0[1])?) as u8);
        rest = digits.1;
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Encoding)
}

/// Why [`Options::from_url`] failed.
#[derive(Debug)]
pub enum FromUrlError {
    /// The URL is not understood.
    Url(UrlError),
    /// The system's CA certificates can't be used.
    Tls(TlsError),
}

impl fmt::Display for FromUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FromUrlError {}

impl From<UrlError> for FromUrlError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<TlsError> for FromUrlError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl Options {
    /// Options for a URL; user and password are percent-decoded, TLS trusts the system's CAs, a
    /// path is that of a WebSocket request.
    ///
    /// # Errors
    /// See [`FromUrlError`].
    pub fn from_url(text: &str) -> Result<Self, FromUrlError> {
        let url = Url::parse(text)?;
        let mut transport = match url.scheme {
            Scheme::Unix => Transport::unix(url.path),
            _ => Transport::tcp(url.host, url.port_or_default()),
        };
        if url.scheme.has_tls() {
            transport.tls = Some(Tls::system()?);
        }
        if url.scheme.has_websocket() {
            let mut websocket = WebSocket::default();
            if !url.path.is_empty() {
                websocket.path = format!("/{}", url.path);
            }
            transport.websocket = Some(websocket);
        }
        let username = url.username.map(percent_decode).transpose()?;
        let password = url.password.map(percent_decode).transpose()?.map(Bytes::from);
        Ok(Self { transport, username, password, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Endpoint;

    #[test]
    fn a_whole_url_is_taken_apart() {
        let url = Url::parse("mqtts://al:p@ss@host.example:99/a/b").unwrap();
        assert_eq!(url.scheme, Scheme::Mqtts);
        assert_eq!((url.username, url.password), (Some("al"), Some("p@ss")));
        assert_eq!((url.host, url.port, url.path), ("host.example", Some(99), "a/b"));
    }

    #[test]
    fn parts_may_be_missing() {
        let url = Url::parse("ws://h").unwrap();
        assert_eq!((url.username, url.password, url.port, url.path), (None, None, None, ""));
        assert_eq!(url.port_or_default(), 80);
        assert_eq!(Url::parse("mqtt://u@h").unwrap().username, Some("u"));
        assert_eq!(Url::parse("mqtt://[::1]:18").unwrap().host, "::1");
        assert_eq!(Url::parse("unix:///run/x").unwrap().path, "/run/x");
    }

    #[test]
    fn broken_urls_say_what_is_wrong() {
        for (text, error) in [
            ("host", UrlError::NoScheme),
            ("http://h", UrlError::UnknownScheme),
            ("mqtt://", UrlError::NoHost),
            ("mqtt://:1883/t", UrlError::NoHost),
            ("mqtt://h:0", UrlError::Port),
            ("mqtt://h:65536", UrlError::Port),
            ("mqtt://h:x", UrlError::Port),
            ("mqtt://[::1", UrlError::Bracket),
            ("mqtt://[::1]x", UrlError::Port),
            ("unix://", UrlError::NoHost),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn percent_encoding_is_decoded_or_refused() {
        assert_eq!(percent_decode("a%40b%c3%A4").unwrap(), "a@bä");
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(broken), Err(UrlError::Encoding), "{broken}");
        }
    }

    #[test]
    fn options_follow_the_url() {
        let options = Options::from_url("ws://a%3A:b%20c@h:9001/path").unwrap();
        assert_eq!(options.username.as_deref(), Some("a:"));
        assert_eq!(options.password.as_deref(), Some(&b"b c"[..]));
        assert_eq!(options.transport.endpoint, Endpoint::Tcp { host: "h".to_owned(), port: 9001 });
        assert_eq!(options.transport.websocket.unwrap().path, "/path");
        let unix = Options::from_url("unix:///run/mqtt.sock").unwrap();
        assert_eq!(unix.transport.endpoint, Endpoint::Unix("/run/mqtt.sock".into()));
    }
}
