//! The ways to a Server: Unix socket, WebSocket, TLS and SOCKS5, each with a message there and
//! back.

use std::future::Future;
use std::time::Duration;

use mqtt_client::{
    Client, ConnectError, Event, Options, Proxy, Publish, QoS, Tls, TlsSettings, Transport,
    WebSocket,
};
use mqtt_net::tls::{ClientCertificates, MinimumVersion, ServerTlsOptions};
use mqtt_net::websocket::{AcceptOptions, accept_websocket};
use mqtt_net::{Pem, ServerTls, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// Accepts any CONNECT, sends what is published back once, and returns when the client has gone.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = Vec::new();
    loop {
        while bytes.len() >= 2 && bytes.len() >= 2 + usize::from(bytes[1]) {
            // Packets here are short: one byte of Remaining Length.
            let packet: Vec<u8> = bytes.drain(..2 + usize::from(bytes[1])).collect();
            let answer: &[u8] = match packet[0] >> 4 {
                1 => &[0x20, 2, 0, 0],
                3 => &packet,
                _ => return,
            };
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

async fn there_and_back(options: Options, server: impl Future<Output = ()> + Send + 'static) {
    let server = tokio::spawn(server);
    let exchange = async {
        let (client, mut incoming) = Client::connect(options).await.unwrap();
        let publish = Publish::new("t", "hello").qos(QoS::AtMostOnce);
        client.publish(publish).await.unwrap().await.unwrap();
        loop {
            match incoming.next().await.unwrap() {
                Event::Message(message) => break assert_eq!(message.payload(), b"hello"),
                Event::Connected(_) => {}
                other => panic!("{other:?}"),
            }
        }
        client.disconnect().await;
    };
    timeout(PATIENCE, exchange).await.expect("no echo");
    server.await.unwrap();
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn accept_options() -> AcceptOptions<'static> {
    AcceptOptions { allowed_origins: &[], max_message: 1 << 20 }
}

#[tokio::test]
async fn over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut options = Options::default();
    options.transport = Transport::unix(&path);
    there_and_back(options, async move { echo(listener.accept().await.unwrap().0).await }).await;
}

#[tokio::test]
async fn over_websocket() {
    let (listener, port) = listen().await;
    let mut options = Options::new("127.0.0.1", port);
    options.transport.websocket = Some(WebSocket::default());
    there_and_back(options, async move {
        let socket = listener.accept().await.unwrap().0;
        echo(accept_websocket(Stream::from(socket), accept_options()).await.unwrap()).await;
    })
    .await;
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn server_tls(certificate: &str, key: &str) -> ServerTls {
    ServerTls::new(ServerTlsOptions {
        certificate: Pem { name: "server.pem", contents: certificate.as_bytes() },
        key: Pem { name: "server.key", contents: key.as_bytes() },
        client_ca: &[],
        client_certificates: ClientCertificates::default(),
        revocations: &[],
        minimum: MinimumVersion::default(),
        ciphers: None,
        ignores_dates: false,
        alpn: &[],
    })
    .unwrap()
}

fn trusting(certificate: &str) -> Tls {
    let authorities = vec![("ca.pem".to_owned(), certificate.as_bytes().to_vec())];
    Tls::new(&TlsSettings { authorities, ..TlsSettings::default() }).unwrap()
}

#[tokio::test]
async fn over_tls_and_over_websocket_on_tls() {
    let (certificate, key) = certificate();
    for has_websocket in [false, true] {
        let (listener, port) = listen().await;
        let mut options = Options::new("localhost", port);
        options.transport.tls = Some(trusting(&certificate));
        options.transport.websocket = has_websocket.then(WebSocket::default);
        let tls = server_tls(&certificate, &key);
        there_and_back(options, async move {
            let socket = listener.accept().await.unwrap().0;
            let mut stream = tls.accept(Stream::from(socket)).await.unwrap();
            if has_websocket {
                stream = accept_websocket(stream, accept_options()).await.unwrap();
            }
            echo(stream).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused() {
    let ((certificate, key), (other, _)) = (certificate(), certificate());
    let (listener, port) = listen().await;
    let mut options = Options::new("localhost", port);
    options.transport.tls = Some(trusting(&other));
    let tls = server_tls(&certificate, &key);
    let server = tokio::spawn(async move {
        let socket = listener.accept().await.unwrap().0;
        assert!(tls.accept(Stream::from(socket)).await.is_err());
    });
    let refused = timeout(PATIENCE, Client::connect(options)).await.unwrap();
    assert!(matches!(refused, Err(ConnectError::Transport { .. })), "{refused:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn through_a_socks5_proxy_with_a_login() {
    let (broker, broker_port) = listen().await;
    let (proxy, proxy_port) = listen().await;
    let mut options = Options::new("localhost", broker_port);
    options.transport.proxy = Some(Proxy {
        host: "127.0.0.1".to_owned(),
        port: proxy_port,
        login: Some(("user".to_owned(), "pass".to_owned())),
    });
    tokio::spawn(async move {
        let mut client = proxy.accept().await.unwrap().0;
        let mut greeting = [0; 4];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, [5, 2, 0, 2]);
        client.write_all(&[5, 2]).await.unwrap();
        let mut login = [0; 11];
        client.read_exact(&mut login).await.unwrap();
        assert_eq!(&login, b"\x01\x04user\x04pass");
        client.write_all(&[1, 0]).await.unwrap();
        let mut request = [0; 5 + 9 + 2];
        client.read_exact(&mut request).await.unwrap();
        assert_eq!(&request[..14], b"\x05\x01\0\x03\x09localhost");
        let port = u16::from_be_bytes([request[14], request[15]]);
        let mut there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut there).await;
    });
    there_and_back(options, async move { echo(broker.accept().await.unwrap().0).await }).await;
}
