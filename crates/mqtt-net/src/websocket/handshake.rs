//! The opening handshake of WebSocket (RFC 6455 section 4) for both sides, with the subprotocol
//! `mqtt`.
//!
//! What a stranger may send before the upgrade is bounded by [`MAX_HEAD`]; the deadline is the
//! caller's.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::AsyncWriteExt;

use super::WebSocket;
use super::frame::Role;
use crate::http::{HttpError, MAX_HEAD, MAX_HEADERS, Request, parsed, read_head};
use crate::stream::Stream;

/// The subprotocols we answer: that of the standard (MQTT-6.0.0-3) and the one older clients ask
/// for.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What every WebSocket key is hashed with (RFC 6455 section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a server asks of its WebSocket clients.
#[derive(Debug, Clone, Copy)]
pub struct AcceptOptions<'a> {
    /// The `Origin` headers that are let in, compared without regard to case; empty lets all in. A
    /// request without the header is refused when this is not empty. This keeps foreign web pages
    /// out, not programs: those write what they like.
    pub allowed_origins: &'a [String],
    /// The most bytes of one message, over all of its fragments.
    pub max_message: u64,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct ClientHandshake<'a> {
    /// The `Host` header, with the port unless it is the usual one: `broker.example:9001`.
    pub host: &'a str,
    /// The path, usually `/mqtt`.
    pub path: &'a str,
    /// More headers, for example `Authorization`.
    pub headers: &'a [(String, String)],
    /// The most bytes of one message, over all of its fragments.
    pub max_message: u64,
}

/// Makes a server's WebSocket of `stream`: reads the request and answers it.
///
/// # Errors
/// See [`WebSocketRefused`]; the stream is closed then, and the client has been told why.
pub async fn accept_websocket(
    mut stream: Stream,
    options: AcceptOptions<'_>,
) -> Result<Stream, WebSocketRefused> {
    match Request::read(&mut stream).await {
        Ok(request) => upgrade(stream, request, options).await,
        Err(error) => refuse(stream, error.into()).await,
    }
}

/// Makes a server's WebSocket of a stream whose request has been read.
///
/// # Errors
/// As [`accept_websocket`].
pub async fn upgrade(
    mut stream: Stream,
    request: Request,
    options: AcceptOptions<'_>,
) -> Result<Stream, WebSocketRefused> {
    match judge_request(&request, options) {
        Ok(answer) => {
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            let socket = WebSocket::new(stream, Role::Server, options.max_message, request.tail);
            Ok(Stream::WebSocket(Box::new(socket)))
        }
        Err(refused) => refuse(stream, refused).await,
    }
}

/// Tells the client why there is no WebSocket.
///
/// # Errors
/// Always `refused`, unless the connection breaks first.
pub async fn refuse(
    mut stream: Stream,
    refused: WebSocketRefused,
) -> Result<Stream, WebSocketRefused> {
    if let Some(answer) = refused.answer() {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
    }
    Err(refused)
}

/// Makes a client's WebSocket of `stream`.
///
/// # Errors
/// See [`WebSocketRefused`]; the stream is closed then.
pub async fn connect_websocket(
    mut stream: Stream,
    handshake: ClientHandshake<'_>,
) -> Result<Stream, WebSocketRefused> {
    let mut nonce = [0; 16];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let key = BASE64.encode(nonce);
    stream.write_all(request(handshake, &key)?.as_bytes()).await?;
    stream.flush().await?;
    let (head, tail) = read_head(&mut stream).await?;
    judge_answer(&head, &key)?;
    let socket = WebSocket::new(stream, Role::Client, handshake.max_message, tail);
    Ok(Stream::WebSocket(Box::new(socket)))
}

/// Why there is no WebSocket.
#[derive(Debug)]
#[non_exhaustive]
pub enum WebSocketRefused {
    /// The connection failed or ended before the handshake was whole.
    Io(io::Error),
    /// More than [`MAX_HEAD`] bytes or [`MAX_HEADERS`] header lines.
    TooLarge,
    /// Not HTTP, or HTTP that is broken.
    NotHttp,
    /// HTTP, but no request for a WebSocket; the text says what is missing.
    NotUpgrade(&'static str),
    /// Another version of WebSocket than 13.
    Version,
    /// The client did not ask for the subprotocol `mqtt` (MQTT-6.0.0-3).
    Subprotocol,
    /// The `Origin` header is not among the allowed ones.
    Origin(String),
    /// The server answered with another status than 101.
    Status(u16),
    /// The server's answer breaks the rules; the text says how.
    Answer(&'static str),
    /// Host, path or a header of ours holds a line break or another character that does not belong
    /// there.
    BadRequest(&'static str),
}

impl WebSocketRefused {
    /// What the refused client is told; `None` when there is nobody to tell.
    fn answer(&self) -> Option<String> {
        let status = match self {
            WebSocketRefused::TooLarge => "431 Request Header Fields Too Large",
            WebSocketRefused::Origin(_) => "403 Forbidden",
            WebSocketRefused::Version => "426 Upgrade Required\r\nSec-WebSocket-Version: 13",
            WebSocketRefused::NotHttp
            | WebSocketRefused::NotUpgrade(_)
            | WebSocketRefused::Subprotocol => "400 Bad Request",
            _ => return None,
        };
        let body = "This port speaks MQTT over WebSocket, subprotocol mqtt.\n";
        let length = body.len();
        Some(format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

impl fmt::Display for WebSocketRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebSocketRefused::Io(error) => write!(f, "WebSocket handshake failed: {error}"),
            WebSocketRefused::TooLarge => write!(
                f,
                "WebSocket handshake is larger than {MAX_HEAD} bytes or {MAX_HEADERS} headers"
            ),
            WebSocketRefused::NotHttp => {
                f.write_str("not a WebSocket handshake (plain MQTT on a WebSocket port?)")
            }
            WebSocketRefused::NotUpgrade(what) => {
                write!(f, "HTTP request without a WebSocket handshake: {what}")
            }
            WebSocketRefused::Version => f.write_str("WebSocket version is not 13"),
            WebSocketRefused::Subprotocol => {
                f.write_str("WebSocket client does not ask for the subprotocol `mqtt`")
            }
            WebSocketRefused::Origin(origin) if origin.is_empty() => {
                f.write_str("WebSocket client names no origin (see websockets_origin)")
            }
            WebSocketRefused::Origin(origin) => {
                write!(f, "WebSocket origin {origin:?} is not allowed (see websockets_origin)")
            }
            WebSocketRefused::Status(status) => write!(
                f,
                "the server answered the WebSocket handshake with HTTP status {status} \
                 (is the path right?)"
            ),
            WebSocketRefused::Answer(what) => {
                write!(f, "the server's WebSocket answer is wrong: {what}")
            }
            WebSocketRefused::BadRequest(what) => {
                write!(f, "the WebSocket {what} holds a character that does not belong there")
            }
        }
    }
}

impl std::error::Error for WebSocketRefused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WebSocketRefused::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HttpError> for WebSocketRefused {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Io(error) => WebSocketRefused::Io(error),
            HttpError::TooLarge => WebSocketRefused::TooLarge,
            HttpError::NotHttp => WebSocketRefused::NotHttp,
        }
    }
}

impl From<io::Error> for WebSocketRefused {
    fn from(error: io::Error) -> Self {
        WebSocketRefused::Io(error)
    }
}

/// The answer that accepts the request in `head`.
fn judge_request(
    request: &Request,
    options: AcceptOptions<'_>,
) -> Result<String, WebSocketRefused> {
    if request.method() != "GET" || !request.is_http_1_1() {
        return Err(WebSocketRefused::NotUpgrade("it is not a GET of HTTP/1.1"));
    }
    if !request.has_token("upgrade", "websocket") {
        return Err(WebSocketRefused::NotUpgrade("no `Upgrade: websocket`"));
    }
    if !request.has_token("connection", "upgrade") {
        return Err(WebSocketRefused::NotUpgrade("no `Connection: Upgrade`"));
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err(WebSocketRefused::Version);
    }
    let key = request
        .header("sec-websocket-key")
        .filter(|key| BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16))
        .ok_or(WebSocketRefused::NotUpgrade("no valid `Sec-WebSocket-Key`"))?;
    let origin = request.header("origin").unwrap_or_default();
    let mut allowed = options.allowed_origins.iter();
    if !options.allowed_origins.is_empty() && !allowed.any(|one| one.eq_ignore_ascii_case(origin)) {
        return Err(WebSocketRefused::Origin(origin.to_owned()));
    }
    let subprotocol = SUBPROTOCOLS
        .into_iter()
        .find(|name| request.has_token("sec-websocket-protocol", name))
        .ok_or(WebSocketRefused::Subprotocol)?;
    // Mosquitto's order of headers.
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n",
        accept_key(key)
    ))
}

fn request(handshake: ClientHandshake<'_>, key: &str) -> Result<String, WebSocketRefused> {
    let ClientHandshake { host, path, headers, .. } = handshake;
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WebSocketRefused::BadRequest("host"));
    }
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WebSocketRefused::BadRequest("path"));
    }
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
    );
    for (name, value) in headers {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) || value.contains(char::is_control) {
            return Err(WebSocketRefused::BadRequest("header"));
        }
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    Ok(request)
}

fn judge_answer(head: &[u8], key: &str) -> Result<(), WebSocketRefused> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut lines);
    parsed(answer.parse(head))?;
    let headers = &*answer.headers;
    match answer.code {
        Some(101) => {}
        code => return Err(WebSocketRefused::Status(code.unwrap_or(0))),
    }
    if !has_token(headers, "upgrade", "websocket") || !has_token(headers, "connection", "upgrade") {
        return Err(WebSocketRefused::Answer("no upgrade"));
    }
    if header(headers, "sec-websocket-accept") != Some(accept_key(key).as_str()) {
        return Err(WebSocketRefused::Answer("wrong `Sec-WebSocket-Accept`"));
    }
    if header(headers, "sec-websocket-extensions").is_some() {
        return Err(WebSocketRefused::Answer("an extension nobody asked for"));
    }
    match header(headers, "sec-websocket-protocol") {
        Some("mqtt") => Ok(()),
        _ => Err(WebSocketRefused::Answer("the subprotocol is not `mqtt`")),
    }
}

/// The value of the only header of this name; two of them count as none.
fn header<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h str> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let value = values.next()?.value;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value).ok().map(str::trim)
}

/// Whether one of the comma-separated words of these headers is `token`.
fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

fn accept_key(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_SUFFIX}").as_bytes());
    BASE64.encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /any HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: foo, mqtt\r\n\
        Origin: http://a.example\r\n\r\n";

    fn judge(request: &str, origins: &[&str]) -> Result<String, WebSocketRefused> {
        let allowed: Vec<String> = origins.iter().map(|one| (*one).to_owned()).collect();
        let options = AcceptOptions { allowed_origins: &allowed, max_message: 1 };
        judge_request(&Request::parse(request.as_bytes())?, options)
    }

    #[test]
    fn the_answer_is_mosquittos_byte_for_byte() {
        // Key and answer are those of RFC 6455 section 1.3.
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        assert_eq!(judge(REQUEST, &[]).unwrap(), expected);
        assert_eq!(judge(REQUEST, &["x", "HTTP://a.example"]).unwrap(), expected);
        let old = judge(&REQUEST.replace("foo, mqtt", "mqttv3.1"), &[]).unwrap();
        assert!(old.ends_with("Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n"));
    }

    #[test]
    fn each_missing_piece_is_refused_by_name() {
        let refusal = |from: &str, to: &str, origins: &[&str]| {
            assert!(REQUEST.contains(from), "{from}");
            let refused = judge(&REQUEST.replace(from, to), origins).unwrap_err();
            let answer = refused.answer().unwrap();
            (refused.to_string(), answer[9..12].to_owned())
        };
        let cases = [
            ("foo, mqtt", "foo", "subprotocol `mqtt`", "400"),
            ("Version: 13", "Version: 12", "version is not 13", "426"),
            ("GET", "POST", "GET of HTTP/1.1", "400"),
            ("HTTP/1.1", "HTTP/1.0", "GET of HTTP/1.1", "400"),
            ("Upgrade: websocket", "Upgrade: h2c", "Upgrade: websocket", "400"),
            ("keep-alive, Upgrade", "close", "Connection: Upgrade", "400"),
            ("dGhl", "", "Sec-WebSocket-Key", "400"),
            ("Host: x", "Host x", "not a WebSocket handshake", "400"),
            ("Host: x", &"a: b\r\n".repeat(64)[..382], "64 headers", "431"),
        ];
        for (from, to, text, status) in cases {
            let (said, answered) = refusal(from, to, &[]);
            assert!(said.contains(text), "{from} -> {to:.20}: {said}");
            assert_eq!(answered, status, "{from}");
        }
        let (said, answered) = refusal("a.example", "evil.example", &["http://a.example"]);
        assert!(said.contains("evil.example") && answered == "403", "{said}");
        let (said, answered) = refusal("Origin", "X-Origin", &["http://a.example"]);
        assert!(said.contains("names no origin") && answered == "403", "{said}");
    }

    #[test]
    fn a_request_cannot_smuggle_lines() {
        let handshake =
            ClientHandshake { host: "h:9001", path: "/mqtt", headers: &[], max_message: 1 };
        assert!(
            request(handshake, "k").unwrap().starts_with("GET /mqtt HTTP/1.1\r\nHost: h:9001\r\n")
        );
        let bad = [
            ClientHandshake { host: "h\r\nX: y", ..handshake },
            ClientHandshake { path: "/a b", ..handshake },
            ClientHandshake { path: "mqtt", ..handshake },
            ClientHandshake { headers: &[("A".into(), "b\r\nC: d".into())], ..handshake },
            ClientHandshake { headers: &[("A:".into(), "b".into())], ..handshake },
        ];
        for handshake in bad {
            assert!(matches!(request(handshake, "k"), Err(WebSocketRefused::BadRequest(_))));
        }
    }

    #[test]
    fn a_wrong_answer_is_refused() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = judge(REQUEST, &[]).unwrap();
        judge_answer(good.as_bytes(), key).unwrap();
        for (from, to) in [
            ("101 Switching", "200 OK"),
            ("s3pP", "s3pQ"),
            ("Protocol: mqtt", "Protocol: chat"),
            ("Upgrade: WebSocket", "Upgrade: x"),
            ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        ] {
            assert!(judge_answer(good.replace(from, to).as_bytes(), key).is_err(), "{from}");
        }
    }
}
