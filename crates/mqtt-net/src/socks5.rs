//! Connecting through a SOCKS5 proxy (RFC 1928), with user and password where it wants them (RFC
//! 1929).
//!
//! The host name is sent to the proxy, which looks it up (`socks5h`).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stream::Stream;

/// The longest host name, user name or password: each has a one-byte length.
pub const MAX_FIELD: usize = 255;

/// User and password for the proxy.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The user, 1 to [`MAX_FIELD`] bytes.
    pub user: &'a str,
    /// The password, 1 to [`MAX_FIELD`] bytes.
    pub password: &'a str,
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Asks the proxy at the other end of `stream` for a connection to `host`:`port`; the deadline is
/// the caller's.
///
/// # Errors
/// See [`Socks5Error`]; the stream is closed then.
pub async fn connect_through(
    mut stream: Stream,
    host: &str,
    port: u16,
    login: Option<Login<'_>>,
) -> Result<Stream, Socks5Error> {
    let request = request(host, port)?;
    let credentials = login.map(credentials).transpose()?;

    let greeting: &[u8] = if credentials.is_some() {
        &[VERSION, 2, NO_LOGIN, PASSWORD]
    } else {
        &[VERSION, 1, NO_LOGIN]
    };
    stream.write_all(greeting).await?;
    stream.flush().await?;
    let [version, method] = read(&mut stream).await?;
    if version != VERSION {
        return Err(Socks5Error::NotSocks);
    }
    match (method, credentials) {
        (NO_LOGIN, _) => {}
        (PASSWORD, Some(credentials)) => {
            stream.write_all(&credentials).await?;
            stream.flush().await?;
            let [_, status] = read(&mut stream).await?;
            if status != 0 {
                return Err(Socks5Error::LoginRefused);
            }
        }
        _ => return Err(Socks5Error::LoginNeeded),
    }

    stream.write_all(&request).await?;
    stream.flush().await?;
    let [version, code, _, kind] = read(&mut stream).await?;
    if version != VERSION {
        return Err(Socks5Error::NotSocks);
    }
    if code != 0 {
        return Err(Socks5Error::Refused(code));
    }
    skip_bound_address(&mut stream, kind).await?;
    Ok(stream)
}

/// Why the proxy made no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Socks5Error {
    /// The connection to the proxy failed or ended.
    Io(io::Error),
    /// The other side is no SOCKS5 proxy.
    NotSocks,
    /// The proxy wants a way to log in that we were not given or do not have.
    LoginNeeded,
    /// User or password is wrong.
    LoginRefused,
    /// The proxy could not connect; the code is that of RFC 1928 section 6.
    Refused(u8),
    /// Host, user or password is empty or longer than [`MAX_FIELD`] bytes.
    FieldLength(&'static str),
}

impl fmt::Display for Socks5Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Socks5Error::Io(error) => write!(f, "connection to the SOCKS5 proxy failed: {error}"),
            Socks5Error::NotSocks => f.write_str("the proxy does not speak SOCKS5"),
            Socks5Error::LoginNeeded => {
                f.write_str("the SOCKS5 proxy wants a login (give user and password)")
            }
            Socks5Error::LoginRefused => {
                f.write_str("the SOCKS5 proxy refuses this user and password")
            }
            Socks5Error::Refused(code) => {
                let reason = match code {
                    1 => "general failure",
                    2 => "not allowed by its rules",
                    3 => "network unreachable",
                    4 => "host unreachable",
                    5 => "connection refused",
                    6 => "time to live expired",
                    7 => "command not supported",
                    8 => "address type not supported",
                    _ => return write!(f, "the SOCKS5 proxy cannot connect: code {code}"),
                };
                write!(f, "the SOCKS5 proxy cannot connect: {reason}")
            }
            Socks5Error::FieldLength(what) => {
                write!(f, "the {what} for the SOCKS5 proxy must have 1 to {MAX_FIELD} bytes")
            }
        }
    }
}

impl std::error::Error for Socks5Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Socks5Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Socks5Error {
    fn from(error: io::Error) -> Self {
        Socks5Error::Io(error)
    }
}

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const HOST_NAME: u8 = 3;
const IPV6: u8 = 4;

fn request(host: &str, port: u16) -> Result<Vec<u8>, Socks5Error> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let mut bytes = vec![VERSION, CONNECT, 0];
    match bare.parse() {
        Ok(IpAddr::V4(ip)) => {
            bytes.push(IPV4);
            bytes.extend(Ipv4Addr::octets(&ip));
        }
        Ok(IpAddr::V6(ip)) => {
            bytes.push(IPV6);
            bytes.extend(Ipv6Addr::octets(&ip));
        }
        Err(_) => {
            bytes.push(HOST_NAME);
            push_field(&mut bytes, bare, "host name")?;
        }
    }
    bytes.extend(port.to_be_bytes());
    Ok(bytes)
}

fn credentials(login: Login<'_>) -> Result<Vec<u8>, Socks5Error> {
    let mut bytes = vec![1];
    push_field(&mut bytes, login.user, "user")?;
    push_field(&mut bytes, login.password, "password")?;
    Ok(bytes)
}

fn push_field(bytes: &mut Vec<u8>, text: &str, what: &'static str) -> Result<(), Socks5Error> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length > 0);
    bytes.push(length.ok_or(Socks5Error::FieldLength(what))?);
    bytes.extend(text.as_bytes());
    Ok(())
}

async fn read<const N: usize>(stream: &mut Stream) -> Result<[u8; N], Socks5Error> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn skip_bound_address(stream: &mut Stream, kind: u8) -> Result<(), Socks5Error> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        HOST_NAME => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(Socks5Error::NotSocks),
    };
    let mut address = [0; MAX_FIELD + 2];
    stream.read_exact(&mut address[..length + 2]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    /// A proxy that checks what it is told, step by step, and answers from a script; then echoes a
    /// word.
    async fn play(
        host: &str,
        login: Option<Login<'_>>,
        script: &[(&[u8], &[u8])],
    ) -> Result<Stream, Socks5Error> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let proxy = async {
            for (expected, answer) in script {
                let mut got = vec![0; expected.len()];
                theirs.read_exact(&mut got).await.unwrap();
                assert_eq!(got, *expected);
                theirs.write_all(answer).await.unwrap();
            }
            theirs.write_all(b"hello").await.unwrap();
        };
        let (result, ()) = tokio::join!(connect_through(ours.into(), host, 1883, login), proxy);
        result
    }

    #[tokio::test]
    async fn names_and_addresses_reach_the_proxy_and_nothing_is_read_too_far() {
        let by_name: &[u8] = b"\x05\x01\0\x03\x06broker\x07\x5b";
        let by_v4: &[u8] = b"\x05\x01\0\x01\x0a\0\0\x07\x07\x5b";
        let by_v6: &[u8] = b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x07\x5b";
        let bound_v6 = [b"\x05\0\0\x04".as_slice(), &[0; 18]].concat();
        let bound_name: &[u8] = b"\x05\0\0\x03\x02ab\0\0";
        let bound_v4: &[u8] = b"\x05\0\0\x01\0\0\0\0\0\0";
        for (host, request, answer) in [
            ("broker", by_name, bound_v4),
            ("10.0.0.7", by_v4, bound_name),
            ("[::1]", by_v6, bound_v6.as_slice()),
        ] {
            let script: &[(&[u8], &[u8])] = &[(b"\x05\x01\0", b"\x05\0"), (request, answer)];
            let mut stream = play(host, None, script).await.unwrap();
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"hello");
        }
    }

    #[tokio::test]
    async fn login_and_refusals() {
        let login = Some(Login { user: "me", password: "pw" });
        let greeting: (&[u8], &[u8]) = (b"\x05\x02\0\x02", b"\x05\x02");
        let request: &[u8] = b"\x05\x01\0\x03\x01h\x07\x5b";
        let good: &[(&[u8], &[u8])] =
            &[greeting, (b"\x01\x02me\x02pw", b"\x01\0"), (request, b"\x05\0\0\x01\0\0\0\0\0\0")];
        play("h", login, good).await.unwrap();
        let wrong: &[(&[u8], &[u8])] = &[greeting, (b"\x01\x02me\x02pw", b"\x01\x01")];
        assert!(matches!(play("h", login, wrong).await, Err(Socks5Error::LoginRefused)));
        let needed: &[(&[u8], &[u8])] = &[(b"\x05\x01\0", b"\x05\xff")];
        assert!(matches!(play("h", None, needed).await, Err(Socks5Error::LoginNeeded)));
        let http: &[(&[u8], &[u8])] = &[(b"\x05\x01\0", b"HTTP/1.1")];
        assert!(matches!(play("h", None, http).await, Err(Socks5Error::NotSocks)));
        let refused: &[(&[u8], &[u8])] =
            &[(b"\x05\x01\0", b"\x05\0"), (request, b"\x05\x05\0\x01\0\0\0\0\0\0")];
        let error = play("h", None, refused).await.unwrap_err();
        assert_eq!(error.to_string(), "the SOCKS5 proxy cannot connect: connection refused");
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(request(&"h".repeat(MAX_FIELD), 1).is_ok());
        assert!(matches!(request(&"h".repeat(256), 1), Err(Socks5Error::FieldLength("host name"))));
        assert!(request("", 1).is_err());
        let login = Login { user: "u", password: "" };
        assert!(matches!(credentials(login), Err(Socks5Error::FieldLength("password"))));
        assert!(!format!("{:?}", Login { user: "u", password: "secret" }).contains("secret"));
    }
}
