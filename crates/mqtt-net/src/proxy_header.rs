//! The PROXY protocol, versions 1 and 2: the line or block in which a proxy names the client it
//! speaks for.
//!
//! [`parse`] is pure and never wants a byte more than the header has; [`read`] feeds it from a
//! stream.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest header of version 1, with its line end.
pub const MAX_V1: usize = 107;

/// The longest header of version 2 that is taken: addresses (at most 216 bytes) and a client
/// certificate's names.
pub const MAX_V2: usize = 2048;

/// The version that the listener expects; another one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The text form.
    V1,
    /// The binary form.
    V2,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyHeader {
    /// The client's address; `None` when the proxy speaks for itself (health checks) or does not
    /// know.
    pub source: Option<SocketAddr>,
    /// The address the client connected to.
    pub destination: Option<SocketAddr>,
    /// What the proxy says about the client's TLS (version 2 only).
    pub tls: Option<ProxyTls>,
    /// The name the client asked for in TLS (version 2 only).
    pub authority: Option<String>,
}

/// What the proxy says about the client's TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyTls {
    /// The client speaks TLS with the proxy.
    pub is_tls: bool,
    /// The client showed a certificate and the proxy verified it.
    pub is_verified: bool,
    /// The TLS version, for example `TLSv1.3`.
    pub version: Option<String>,
    /// The common name of the client's certificate.
    pub common_name: Option<String>,
    /// The cipher.
    pub cipher: Option<String>,
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many more bytes belong to the header.
    NeedMore(usize),
    /// The header, and how many bytes it took.
    Header(ProxyHeader, usize),
}

/// Why there is no header.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The connection failed or ended first.
    Io(io::Error),
    /// The bytes are no PROXY header of the expected version.
    NotProxy(Version),
    /// The header is longer than [`MAX_V1`] or [`MAX_V2`].
    TooLong(usize),
    /// The header is broken; the text says where.
    Broken(&'static str),
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyHeaderError::Io(error) => write!(f, "no PROXY header arrived: {error}"),
            ProxyHeaderError::NotProxy(version) => {
                let number = if *version == Version::V1 { 1 } else { 2 };
                write!(
                    f,
                    "no PROXY protocol header of version {number} (is the proxy set to send it?)"
                )
            }
            ProxyHeaderError::TooLong(limit) => {
                write!(f, "PROXY header is longer than {limit} bytes")
            }
            ProxyHeaderError::Broken(what) => write!(f, "PROXY header is broken: {what}"),
        }
    }
}

impl std::error::Error for ProxyHeaderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProxyHeaderError::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads the header from a fresh connection and not a byte more; the deadline is the caller's.
///
/// # Errors
/// See [`ProxyHeaderError`]; the connection should be closed.
pub async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    version: Version,
) -> Result<ProxyHeader, ProxyHeaderError> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes, version)? {
            Parsed::Header(header, _) => return Ok(header),
            Parsed::NeedMore(more) => {
                // `more` is at most MAX_V2, whatever the header claims.
                let start = bytes.len();
                bytes.resize(start + more, 0);
                stream.read_exact(&mut bytes[start..]).await.map_err(ProxyHeaderError::Io)?;
            }
        }
    }
}

/// Reads a header from the front of `bytes`.
///
/// # Errors
/// As soon as the bytes cannot become a header, whether or not it is whole.
pub fn parse(bytes: &[u8], version: Version) -> Result<Parsed, ProxyHeaderError> {
    match version {
        Version::V1 => parse_v1(bytes),
        Version::V2 => parse_v2(bytes),
    }
}

const V1_BEGIN: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` with its line end: no header is shorter.
const V1_SHORTEST: usize = 15;

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let known = bytes.len().min(V1_BEGIN.len());
    if bytes[..known] != V1_BEGIN[..known] {
        return Err(ProxyHeaderError::NotProxy(Version::V1));
    }
    if bytes.len() < V1_SHORTEST {
        return Ok(Parsed::NeedMore(V1_SHORTEST - bytes.len()));
    }
    let within = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        if bytes.len() >= MAX_V1 {
            return Err(ProxyHeaderError::TooLong(MAX_V1));
        }
        let half_end = bytes.last() == Some(&b'\r') || bytes.len() + 1 == MAX_V1;
        return Ok(Parsed::NeedMore(if half_end { 1 } else { 2 }));
    };
    let line = std::str::from_utf8(&bytes[V1_BEGIN.len()..end])
        .map_err(|_| ProxyHeaderError::Broken("not ASCII"))?;
    let header = parse_v1_line(line)?;
    Ok(Parsed::Header(header, end + 2))
}

fn parse_v1_line(line: &str) -> Result<ProxyHeader, ProxyHeaderError> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // Whatever follows has to be ignored.
        return Ok(ProxyHeader::default());
    }
    let mut word = || words.next().ok_or(ProxyHeaderError::Broken("a field is missing"));
    let ip = |text: &str| -> Result<IpAddr, ProxyHeaderError> {
        let parsed = match family {
            "TCP4" => text.parse().map(IpAddr::V4).ok(),
            "TCP6" => text.parse().map(IpAddr::V6).ok(),
            _ => return Err(ProxyHeaderError::Broken("unknown address family")),
        };
        parsed.ok_or(ProxyHeaderError::Broken("bad address"))
    };
    let port = |text: &str| -> Result<u16, ProxyHeaderError> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).ok_or(ProxyHeaderError::Broken("bad port"))
    };
    let (source, destination) = (ip(word()?)?, ip(word()?)?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(ProxyHeaderError::Broken("a field too many"));
    }
    Ok(ProxyHeader {
        source: Some(SocketAddr::new(source, source_port)),
        destination: Some(SocketAddr::new(destination, destination_port)),
        ..ProxyHeader::default()
    })
}

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

const TLV_AUTHORITY: u8 = 0x02;
const TLV_TLS: u8 = 0x20;
const TLV_TLS_VERSION: u8 = 0x21;
const TLV_TLS_COMMON_NAME: u8 = 0x22;
const TLV_TLS_CIPHER: u8 = 0x23;

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let known = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..known] != V2_SIGNATURE[..known] {
        return Err(ProxyHeaderError::NotProxy(Version::V2));
    }
    if bytes.len() < V2_FIXED {
        return Ok(Parsed::NeedMore(V2_FIXED - bytes.len()));
    }
    let is_proxied = match bytes[12] {
        0x20 => false,
        0x21 => true,
        _ => return Err(ProxyHeaderError::Broken("unknown version or command")),
    };
    let total = V2_FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if total > MAX_V2 {
        return Err(ProxyHeaderError::TooLong(MAX_V2));
    }
    if bytes.len() < total {
        return Ok(Parsed::NeedMore(total - bytes.len()));
    }
    let mut header = ProxyHeader::default();
    if is_proxied {
        let body = &bytes[V2_FIXED..total];
        let addresses = parse_v2_addresses(bytes[13], body, &mut header)?;
        parse_v2_fields(&body[addresses..], &mut header)?;
    }
    Ok(Parsed::Header(header, total))
}

/// Returns the length of the addresses.
fn parse_v2_addresses(
    family: u8,
    body: &[u8],
    header: &mut ProxyHeader,
) -> Result<usize, ProxyHeaderError> {
    let short = ProxyHeaderError::Broken("addresses are cut off");
    let length = match family >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Err(ProxyHeaderError::Broken("unknown address family")),
    };
    let Some(block) = body.get(..length) else { return Err(short) };
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let (source, destination) = match length {
        12 => {
            let ip = |at: usize| {
                IpAddr::V4(Ipv4Addr::new(block[at], block[at + 1], block[at + 2], block[at + 3]))
            };
            ((ip(0), port(8)), (ip(4), port(10)))
        }
        36 => {
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&block[at..at + 16]);
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            ((ip(0), port(32)), (ip(16), port(34)))
        }
        _ => return Ok(length),
    };
    header.source = Some(SocketAddr::from(source));
    header.destination = Some(SocketAddr::from(destination));
    Ok(length)
}

fn parse_v2_fields(bytes: &[u8], header: &mut ProxyHeader) -> Result<(), ProxyHeaderError> {
    each_field(bytes, |kind, value| {
        match kind {
            TLV_AUTHORITY => header.authority = Some(text(value)?),
            TLV_TLS => {
                let (Some(flags), Some(verdict)) = (value.first(), value.get(1..5)) else {
                    return Err(ProxyHeaderError::Broken("TLS field is cut off"));
                };
                let mut tls = ProxyTls { is_tls: flags & 0x01 != 0, ..ProxyTls::default() };
                // 0x02 and 0x04: a certificate was shown on this connection, or in this session.
                tls.is_verified = flags & 0x06 != 0 && verdict == [0; 4];
                each_field(&value[5..], |kind, value| {
                    match kind {
                        TLV_TLS_VERSION => tls.version = Some(text(value)?),
                        TLV_TLS_COMMON_NAME => tls.common_name = Some(text(value)?),
                        TLV_TLS_CIPHER => tls.cipher = Some(text(value)?),
                        _ => {}
                    }
                    Ok(())
                })?;
                header.tls = Some(tls);
            }
            _ => {}
        }
        Ok(())
    })
}

fn each_field(
    mut bytes: &[u8],
    mut take: impl FnMut(u8, &[u8]) -> Result<(), ProxyHeaderError>,
) -> Result<(), ProxyHeaderError> {
    while !bytes.is_empty() {
        let (Some(kind), Some(length)) = (bytes.first(), bytes.get(1..3)) else {
            return Err(ProxyHeaderError::Broken("a field is cut off"));
        };
        let end = 3 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some(value) = bytes.get(3..end) else {
            return Err(ProxyHeaderError::Broken("a field is cut off"));
        };
        take(*kind, value)?;
        bytes = &bytes[end..];
    }
    Ok(())
}

fn text(value: &[u8]) -> Result<String, ProxyHeaderError> {
    let text = std::str::from_utf8(value);
    text.map(str::to_owned).map_err(|_| ProxyHeaderError::Broken("a field is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
        bytes
    }

    const V4: [u8; 12] = [10, 0, 0, 7, 10, 0, 0, 1, 0xC8, 0x22, 0x07, 0x5B];

    fn samples() -> Vec<(Version, Vec<u8>, Option<&'static str>)> {
        let v6 = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 9, 0, 8]].concat();
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(MAX_V1 - 16));
        vec![
            (Version::V1, b"PROXY UNKNOWN\r\n".to_vec(), None),
            (Version::V1, long.into_bytes(), None),
            (
                Version::V1,
                b"PROXY TCP4 10.0.0.7 10.0.0.1 51234 1883\r\n".to_vec(),
                Some("10.0.0.7:51234"),
            ),
            (Version::V1, b"PROXY TCP6 ::1 ::2 9 8\r\n".to_vec(), Some("[::1]:9")),
            (Version::V2, v2(0x21, 0x11, &V4), Some("10.0.0.7:51234")),
            (Version::V2, v2(0x21, 0x21, &v6), Some("[::1]:9")),
            (Version::V2, v2(0x21, 0x31, &[0; 216]), None),
            (Version::V2, v2(0x20, 0x00, b"anything"), None),
            (
                Version::V2,
                v2(0x21, 0x11, &[&V4[..], &field(4, &[0; 99])].concat()),
                Some("10.0.0.7:51234"),
            ),
        ]
    }

    #[test]
    fn every_prefix_wants_more_but_never_too_much() {
        for (version, bytes, source) in samples() {
            for cut in 0..bytes.len() {
                match parse(&bytes[..cut], version).unwrap() {
                    Parsed::NeedMore(more) => {
                        assert!(more > 0 && cut + more <= bytes.len(), "{cut}+{more}");
                    }
                    other => panic!("{other:?} of {cut} bytes"),
                }
            }
            let with_more = [bytes.as_slice(), b"\x10\x0c\r\n"].concat();
            let Parsed::Header(header, length) = parse(&with_more, version).unwrap() else {
                panic!("whole, but wants more")
            };
            assert_eq!(length, bytes.len());
            assert_eq!(header.source.map(|address| address.to_string()).as_deref(), source);
        }
    }

    #[tokio::test]
    async fn reading_leaves_what_follows() {
        for (version, bytes, source) in samples() {
            let all = [bytes.as_slice(), b"rest"].concat();
            let mut stream = all.as_slice();
            let header = read(&mut stream, version).await.unwrap();
            assert_eq!(header.source.map(|address| address.to_string()).as_deref(), source);
            assert_eq!(stream, b"rest");
            let mut cut = &bytes[..bytes.len() - 1];
            assert!(matches!(read(&mut cut, version).await, Err(ProxyHeaderError::Io(_))));
        }
    }

    #[test]
    fn the_clients_tls_is_read() {
        let names = [field(0x21, b"TLSv1.3"), field(0x22, b"pump"), field(0x23, b"AES")].concat();
        let tls = [&[0x03, 0, 0, 0, 0][..], &names].concat();
        let body = [&V4[..], &field(0x20, &tls), &field(2, b"broker.example")].concat();
        let Parsed::Header(header, _) = parse(&v2(0x21, 0x11, &body), Version::V2).unwrap() else {
            panic!("not whole")
        };
        assert_eq!(header.authority.as_deref(), Some("broker.example"));
        let expected = ProxyTls {
            is_tls: true,
            is_verified: true,
            version: Some("TLSv1.3".into()),
            common_name: Some("pump".into()),
            cipher: Some("AES".into()),
        };
        assert_eq!(header.tls, Some(expected));

        for not_verified in [[0x01, 0, 0, 0, 0], [0x03, 0, 0, 0, 1]] {
            let body = [&V4[..], &field(0x20, &not_verified)].concat();
            let parsed = parse(&v2(0x21, 0x11, &body), Version::V2).unwrap();
            let Parsed::Header(header, _) = parsed else { panic!("not whole") };
            let tls = header.tls.unwrap();
            assert!(tls.is_tls && !tls.is_verified);
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        let refused = |bytes: &[u8], version| parse(bytes, version).unwrap_err().to_string();
        assert!(refused(b"\x10", Version::V1).contains("version 1"));
        assert!(refused(b"\x10", Version::V2).contains("version 2"));
        assert!(refused(b"PROXY", Version::V2).contains("version 2"));
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(MAX_V1 - 15));
        assert!(refused(long.as_bytes(), Version::V1).contains("107"));
        for line in [
            "TCP4 ::1 ::1 1 1",
            "TCP4 1.1.1.1 1.1.1.1 1",
            "TCP4 1.1.1.1 1.1.1.1 1 65536",
            "TCP4 1.1.1.1 1.1.1.1 +1 1",
            "TCP4 1.1.1.1 1.1.1.1 1 1 1",
            "UDP4 1.1.1.1 1.1.1.1 1 1",
            "TCP4  1.1.1.1 1.1.1.1 1 1",
        ] {
            let text = refused(format!("PROXY {line}\r\n").as_bytes(), Version::V1);
            assert!(text.contains("broken"), "{line}: {text}");
        }
        let fits = v2(0x20, 0, &vec![0; MAX_V2 - V2_FIXED]);
        assert!(parse(&fits, Version::V2).is_ok());
        let claimed = &v2(0x20, 0, &vec![0; MAX_V2 - V2_FIXED + 1])[..V2_FIXED];
        assert!(refused(claimed, Version::V2).contains("2048"));
        assert!(refused(&v2(0x31, 0x11, &V4), Version::V2).contains("version"));
        assert!(refused(&v2(0x21, 0x11, &V4[..11]), Version::V2).contains("cut off"));
        assert!(refused(&v2(0x21, 0x41, &V4), Version::V2).contains("family"));
        let cut = [&V4[..], &[0x20, 0, 4, 1, 0, 0, 0]].concat();
        assert!(refused(&v2(0x21, 0x11, &cut), Version::V2).contains("cut off"));
        let beyond = [&V4[..], &[4, 0, 9, 1]].concat();
        assert!(refused(&v2(0x21, 0x11, &beyond), Version::V2).contains("cut off"));
    }
}
