//! Read-only HTTP: the pages of a listener with `protocol http_api`, and the files of `http_dir`
//! for it and for WebSocket listeners. One request a connection; nothing here is on the way of a
//! message.

mod api;
mod files;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mqtt_auth::{Action, PasswordFile, Who};
use mqtt_net::http::Request;
use mqtt_net::{PeerAddress, Stream};
use mqttd_conf::Protocol;
use mqttd_core::ids::ListenerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::live::{Door, Live};
use crate::login::{Stranger, passwords_of};
use crate::run::Broker;

pub(crate) use self::api::Numbers;

/// How long a write may wait for a client that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The Client Identifier that access rights see, as in Mosquitto.
const CLIENT_ID: &str = "http-api";

/// A client's request, with the listener it came to.
pub(crate) struct Visit<'v> {
    pub(crate) broker: &'v Arc<Broker>,
    pub(crate) live: &'v Live,
    pub(crate) door: &'v Door,
    pub(crate) listener: ListenerId,
    pub(crate) peer: PeerAddress,
    pub(crate) request: Request,
    /// Whom the certificate names, where the listener goes by that.
    pub(crate) certificate_user: Option<String>,
}

/// An answer; its body is whole or comes from a file.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    /// More header lines, each with its line end.
    more: String,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    File(std::fs::File, u64),
}

impl Answer {
    fn text(status: &'static str, text: &str) -> Self {
        let body = Body::Bytes(format!("{text}\n").into_bytes());
        Self { status, content_type: "text/plain; charset=utf-8", more: String::new(), body }
    }

    fn not_found() -> Self {
        Self::text("404 Not Found", "Not found.")
    }

    /// What an API says must not be kept, and may be read by any page.
    fn api(content_type: &'static str, body: String) -> Self {
        let more = "Cache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n".to_owned();
        Self { status: "200 OK", content_type, more, body: Body::Bytes(body.into_bytes()) }
    }
}

impl Visit<'_> {
    /// Answers and closes. Returns what the log says when a login fails.
    pub(crate) async fn serve(self, mut stream: Stream) -> Result<(), String> {
        let (answer, said) = match self.answer().await {
            Ok(answer) => (answer, Ok(())),
            Err((answer, said)) => (answer, Err(said)),
        };
        let is_head = self.request.method() == "HEAD";
        // Who went away meanwhile has no use for the rest.
        if send(&mut stream, answer, is_head).await.is_ok() {
            let _ = stream.shutdown().await;
            // Closing with unread input would reset the connection and lose the answer.
            let mut scratch = [0; 512];
            let drain = async { while let Ok(1..) = stream.read(&mut scratch).await {} };
            let _ = tokio::time::timeout(Duration::from_millis(200), drain).await;
        }
        said
    }

    async fn answer(&self) -> Result<Answer, (Answer, String)> {
        if !matches!(self.request.method(), "GET" | "HEAD") {
            let mut answer = Answer::text("405 Method Not Allowed", "Invalid HTTP Method");
            answer.more = "Allow: GET, HEAD\r\n".to_owned();
            return Ok(answer);
        }
        let Some(path) = files::decode(self.request.target()) else {
            return Ok(Answer::text("400 Bad Request", "Bad request."));
        };
        if self.door.conf.protocol == Protocol::HttpApi {
            // Nobody asks a program that looks whether the broker lives for a password.
            if matches!(path.as_str(), "/health" | "/api/v1/health") {
                return Ok(api::health(self.broker).await);
            }
            self.authorise(&path).await?;
            if let Some(answer) = api::answer(self.broker, self.live, &path).await {
                return Ok(answer);
            }
        }
        match &self.door.conf.web.http_dir {
            Some(folder) => Ok(files::answer(folder.clone(), path).await),
            None => Ok(Answer::not_found()),
        }
    }

    /// The listener's users and access rights: the path is a topic to read.
    async fn authorise(&self, path: &str) -> Result<(), (Answer, String)> {
        let refused = |text: &str| {
            let mut answer = Answer::text("401 Unauthorized", "Not authorised");
            answer.more = "WWW-Authenticate: Basic realm=\"Mosquitto API\"\r\n".to_owned();
            Err((answer, text.to_owned()))
        };
        let login = self.request.header("authorization").map(credentials);
        let (dynamic, file) = (self.live.dynamic(self.listener), self.door.passwords.as_ref());
        let found = login.clone().flatten().and_then(|(user, password)| {
            let (passwords, _) = passwords_of(&user, dynamic, file)?;
            Some((user, password, Arc::clone(passwords)))
        });
        let username = match (login, found) {
            _ if self.certificate_user.is_some() => self.certificate_user.clone(),
            (_, Some((user, password, passwords))) => {
                match self.log_in(&user, password, passwords).await {
                    Ok(()) => Some(user),
                    Err(text) => return refused(text),
                }
            }
            (Some(None), _) => return refused("not authorised (malformed Authorization header)"),
            _ if self.door.conf.auth.allow_anonymous => None,
            _ => return refused("not authorised"),
        };
        let settings = self.live.settings.listeners.get(usize::from(self.listener.0));
        let who = Who { username: username.as_deref(), client_id: CLIENT_ID };
        let admits = |user| dynamic.is_none_or(|dynamic| dynamic.admits(user, CLIENT_ID));
        let is_allowed = who.username.is_none_or(admits)
            && settings.is_none_or(|it| it.allows(&who, Action::Deliver, path));
        if is_allowed { Ok(()) } else { refused("not authorised (access rights to the path)") }
    }

    /// Checks a password; the text says what the log says of the refusal.
    async fn log_in(
        &self,
        user: &str,
        password: Vec<u8>,
        passwords: Arc<PasswordFile>,
    ) -> Result<(), &'static str> {
        let (broker, live, peer) = (&**self.broker, self.live, &self.peer);
        let stranger = Stranger { broker, live, peer };
        if stranger.refuses_user(user) {
            return Err("client banned");
        }
        let verdict = self.broker.verifier.verify(passwords, user.to_owned(), password).await;
        if verdict.is_accepted() {
            return Ok(());
        }
        stranger.login_failed(Some(user)).await;
        Err("not authorised")
    }
}

/// User and password of HTTP's basic authentication.
fn credentials(header: &str) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = BASE64.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    scheme.eq_ignore_ascii_case("basic").then(|| (user, decoded[colon + 1..].to_vec()))
}

async fn send(stream: &mut Stream, answer: Answer, is_head: bool) -> std::io::Result<()> {
    let length = match &answer.body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::File(_, length) => *length,
    };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         X-Content-Type-Options: nosniff\r\n{}\r\n",
        answer.status, answer.content_type, answer.more
    );
    write(stream, head.as_bytes()).await?;
    match answer.body {
        _ if is_head => {}
        Body::Bytes(bytes) => write(stream, &bytes).await?,
        Body::File(file, length) => {
            let mut pieces = files::Pieces::new(file, length);
            while let Some(piece) = pieces.next().await? {
                write(stream, &piece).await?;
            }
        }
    }
    stream.flush().await
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await;
    written.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::credentials;

    #[test]
    fn basic_authentication() {
        // alice:secret, alice:se:cr, no colon, no base64.
        let found = |header: &str| {
            credentials(header).map(|(user, pw)| (user, String::from_utf8(pw).unwrap()))
        };
        let alice = |password: &str| Some(("alice".to_owned(), password.to_owned()));
        assert_eq!(found("Basic YWxpY2U6c2VjcmV0"), alice("secret"));
        assert_eq!(found("basic YWxpY2U6c2U6Y3I="), alice("se:cr"));
        for wrong in ["Basic YWxpY2U=", "Basic !", "Bearer YWxpY2U6c2VjcmV0", "Basic", ""] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
