//! From [`Transport`] to a connected byte stream: socket, proxy, TLS, WebSocket, in this order.

use mqtt_net::socks5::{self, Login};
use mqtt_net::tcp::{self, ConnectOptions};
use mqtt_net::websocket::{ClientHandshake, connect_websocket};
use mqtt_net::{Stream, unix};

use crate::error::ConnectError;
use crate::options::{Endpoint, Transport};

/// The largest WebSocket message taken from a Server: the largest MQTT packet. Servers put one
/// packet into a message, or some; longer messages than this have no use.
const WEBSOCKET_MESSAGE_MAX: u64 = 268_435_460;

/// Opens the way to the Server. The deadline is the caller's.
pub(crate) async fn open(transport: &Transport) -> Result<Stream, ConnectError> {
    let mut stream = open_socket(transport).await?;
    let (host, port) = match &transport.endpoint {
        Endpoint::Tcp { host, port } => (host.as_str(), Some(*port)),
        Endpoint::Unix(_) => ("localhost", None),
    };
    if let Some(tls) = &transport.tls {
        let attempt = || format!("TLS with {host}");
        stream = tls.connect(stream, host).await.map_err(failed(attempt))?;
    }
    if let Some(websocket) = &transport.websocket {
        let usual = if transport.tls.is_some() { 443 } else { 80 };
        let host = match port {
            Some(port) if port != usual => format!("{host}:{port}"),
            _ => host.to_owned(),
        };
        let handshake = ClientHandshake {
            host: &host,
            path: &websocket.path,
            headers: &websocket.headers,
            max_message: WEBSOCKET_MESSAGE_MAX,
        };
        let attempt = || format!("WebSocket with {host}");
        stream = connect_websocket(stream, handshake).await.map_err(failed(attempt))?;
    }
    Ok(stream)
}

async fn open_socket(transport: &Transport) -> Result<Stream, ConnectError> {
    let options = ConnectOptions { local: transport.bind, ..ConnectOptions::default() };
    match (&transport.endpoint, &transport.proxy) {
        (Endpoint::Unix(path), _) => unix::connect(path)
            .await
            .map_err(failed(|| format!("cannot connect to the socket {}", path.display()))),
        (Endpoint::Tcp { host, port }, None) => Ok(tcp::connect(host, *port, &options).await?),
        (Endpoint::Tcp { host, port }, Some(proxy)) => {
            let stream = tcp::connect(&proxy.host, proxy.port, &options).await?;
            let login = proxy.login.as_ref();
            let login = login.map(|(user, password)| Login { user, password });
            socks5::connect_through(stream, host, *port, login)
                .await
                .map_err(failed(|| format!("proxy {}:{}", proxy.host, proxy.port)))
        }
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(
    attempt: impl FnOnce() -> String,
) -> impl FnOnce(E) -> ConnectError {
    |error| ConnectError::Transport { attempt: attempt(), source: Box::new(error) }
}
