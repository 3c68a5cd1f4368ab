//! The head of an HTTP/1 request, read from a fresh connection: what WebSocket begins with, and all
//! that a server of small read-only pages needs.
//!
//! What a stranger may send is bounded by [`MAX_HEAD`] and [`MAX_HEADERS`]; the deadline is the
//! caller's.

use std::fmt;
use std::io;
use std::net::IpAddr;

use tokio::io::AsyncReadExt;

use crate::stream::Stream;

/// The most bytes of a head, both ways. Browsers send about 600; cookies may add some thousand.
pub const MAX_HEAD: usize = 8 * 1024;

/// The most header lines of a head. Browsers send about 15.
pub const MAX_HEADERS: usize = 64;

/// How many bytes one read asks for; the buffer grows with what arrives.
const READ_STEP: usize = 1024;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: String,
    target: String,
    /// Of HTTP/1.
    minor_version: u8,
    headers: Vec<(String, Vec<u8>)>,
    /// What came behind the head.
    pub(crate) tail: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// The connection failed or ended before the head was whole.
    Io(io::Error),
    /// More than [`MAX_HEAD`] bytes or [`MAX_HEADERS`] header lines.
    TooLarge,
    /// Not HTTP, or HTTP that is broken.
    NotHttp,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Io(error) => write!(f, "HTTP request failed: {error}"),
            HttpError::TooLarge => {
                write!(f, "HTTP request is larger than {MAX_HEAD} bytes or {MAX_HEADERS} headers")
            }
            HttpError::NotHttp => f.write_str("not an HTTP request"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HttpError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        HttpError::Io(error)
    }
}

impl Request {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// See [`HttpError`]; the stream should be closed.
    pub async fn read(stream: &mut Stream) -> Result<Self, HttpError> {
        let (head, tail) = read_head(stream).await?;
        Ok(Request { tail, ..Request::parse(&head)? })
    }

    /// Parses a whole head.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn parse(head: &[u8]) -> Result<Self, HttpError> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut lines);
        parsed(request.parse(head))?;
        let (Some(method), Some(target), Some(minor_version)) =
            (request.method, request.path, request.version)
        else {
            return Err(HttpError::NotHttp);
        };
        let headers = request.headers.iter();
        Ok(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            minor_version,
            headers: headers.map(|line| (line.name.to_owned(), line.value.to_vec())).collect(),
            tail: Vec::new(),
        })
    }

    /// `GET`, `HEAD`, …
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What is asked for, as it was sent: `/a%20b?c=d`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether it is HTTP/1.1, not 1.0.
    pub(crate) fn is_http_1_1(&self) -> bool {
        self.minor_version == 1
    }

    /// Whether the client wants a WebSocket, well-formed or not.
    pub fn wants_websocket(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }

    /// The value of the only header of this name; two of them count as none.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// Whether one of the comma-separated words of these headers is `token`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = move |line: &&(String, Vec<u8>)| line.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_slice())
    }

    /// The client's address by `X-Forwarded-For`, when the connection comes from a trusted proxy.
    ///
    /// Anybody can write the header, and each proxy adds whom it has heard from at the end. So the
    /// list is read from its end, over the trusted ones, to the first address that is not: what
    /// stands before that one is the client's own claim.
    pub fn forwarded_for(&self, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let lines: Vec<&[u8]> = self.values("x-forwarded-for").collect();
        let mut last = None;
        for line in lines.into_iter().rev() {
            let text = std::str::from_utf8(line).ok()?;
            for word in text.rsplit(',') {
                let Some(address) = address(word.trim()) else { return last };
                last = Some(address);
                if !is_trusted(address) {
                    return last;
                }
            }
        }
        last
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(ip, _)| ip);
    if let Ok(address) = bare.unwrap_or(word).parse() {
        return Some(address);
    }
    word.parse().ok().map(|address: std::net::SocketAddr| address.ip())
}

/// Reads up to the empty line; returns the head and what came behind it.
pub(crate) async fn read_head(stream: &mut Stream) -> Result<(Vec<u8>, Vec<u8>), HttpError> {
    let mut head = Vec::new();
    loop {
        let start = head.len();
        let room = READ_STEP.min(MAX_HEAD - start);
        if room == 0 {
            return Err(HttpError::TooLarge);
        }
        head.resize(start + room, 0);
        let read = stream.read(&mut head[start..]).await?;
        head.truncate(start + read);
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        // A request begins with a letter, so a CONNECT on the wrong port is told at once.
        if !head[0].is_ascii_uppercase() {
            return Err(HttpError::NotHttp);
        }
        let from = start.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            let tail = head.split_off(from + at + 4);
            return Ok((head, tail));
        }
    }
}

/// Whether httparse is content.
pub(crate) fn parsed<T>(result: httparse::Result<T>) -> Result<(), HttpError> {
    match result {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(HttpError::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => Err(HttpError::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &str) -> Request {
        Request::parse(format!("GET /a?b HTTP/1.1\r\n{headers}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_header_given_twice_is_none() {
        let one = request("Host: a\r\nX: 1, 2\r\n");
        assert_eq!((one.header("host"), one.target()), (Some("a"), "/a?b"));
        assert!(one.has_token("x", "2") && !one.has_token("x", "3"));
        assert_eq!(request("Host: a\r\nhost: b\r\n").header("host"), None);
    }

    #[test]
    fn forwarded_addresses_are_read_from_the_end() {
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        let found = |headers: &str| {
            request(headers).forwarded_for(trusted).map(|address| address.to_string())
        };
        for (headers, wanted) in [
            ("", None),
            ("X-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.3\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.2\r\n", Some("10.0.0.9")),
            ("X-Forwarded-For: [2001:db8::1]:4711\r\n", Some("2001:db8::1")),
            ("X-Forwarded-For: 192.0.2.1:80\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: unknown\r\n", None),
            ("X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n", Some("10.0.0.2")),
        ] {
            assert_eq!(found(headers).as_deref(), wanted, "{headers}");
        }
    }
}
