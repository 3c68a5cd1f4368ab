//! WebSocket against an independent implementation (tungstenite) and against bytes made by hand.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use mqtt_net::Stream;
use mqtt_net::http::MAX_HEAD;
use mqtt_net::tcp::ListenOptions;
use mqtt_net::websocket::{
    AcceptOptions, ClientHandshake, FrameError, WebSocketRefused, accept_websocket,
    connect_websocket,
};
use support::{LIMIT, byte_at, tcp_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::coding::CloseCode;

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

fn options() -> AcceptOptions<'static> {
    AcceptOptions { allowed_origins: &[], max_message: LIMIT }
}

/// A listener, and the client's thread that connects to it.
async fn served<T: Send + 'static>(
    client: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Stream, thread::JoinHandle<T>) {
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = mqtt_net::tcp::listen(any, &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client(socket)
    });
    (listener.accept().await.unwrap().0.into(), thread)
}

/// Sends the request and `frames`, and returns everything the server says until it closes.
async fn by_hand(frames: Vec<u8>) -> (Vec<u8>, std::io::Result<Vec<u8>>) {
    let (stream, client) = served(move |mut socket| {
        socket.write_all(REQUEST.as_bytes()).unwrap();
        socket.write_all(&frames).unwrap();
        let mut said = Vec::new();
        socket.read_to_end(&mut said).unwrap();
        let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        said.split_off(end)
    })
    .await;
    let mut stream = accept_websocket(stream, options()).await.unwrap();
    let mut got = Vec::new();
    let result = stream.read_to_end(&mut got).await;
    let _ = stream.shutdown().await;
    drop(stream);
    (client.join().unwrap(), result.map(|_| got))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    assert!(payload.len() < 126);
    let mut bytes = vec![first, 0x80 | payload.len() as u8];
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    bytes
}

#[tokio::test]
async fn tungstenites_client_talks_to_us() {
    let (stream, client) = served(|socket| {
        let mut request = "ws://localhost/any/path".into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let (mut socket, answer) = tungstenite::client(request, socket).unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
        socket.send(Message::Ping(b"are you there"[..].into())).unwrap();
        // A large message, then small ones.
        let large: Vec<u8> = (0..1_000_000).map(byte_at).collect();
        socket.send(Message::Binary(large.into())).unwrap();
        for position in 1_000_000..1_000_100 {
            socket.send(Message::Binary(vec![byte_at(position)].into())).unwrap();
        }
        assert_eq!(socket.read().unwrap(), Message::Pong(b"are you there"[..].into()));
        let mut got = Vec::new();
        while got.len() < 500_000 {
            let Message::Binary(part) = socket.read().unwrap() else { panic!("not binary") };
            got.extend_from_slice(&part);
        }
        socket.close(None).unwrap();
        while let Ok(message) = socket.read() {
            assert!(message.is_close(), "{message:?}");
        }
        got
    })
    .await;
    let mut stream = accept_websocket(stream, options()).await.unwrap();
    let mut got = vec![0; 1_000_100];
    stream.read_exact(&mut got).await.unwrap();
    assert!(got.iter().enumerate().all(|(at, byte)| *byte == byte_at(at)));
    let answer: Vec<u8> = (0..500_000).map(|at| byte_at(at + 9)).collect();
    stream.write_all(&answer).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    drop(stream);
    assert!(client.join().unwrap() == answer);
}

#[tokio::test]
async fn we_talk_to_tungstenites_server() {
    let (client, server) = tcp_pair().await;
    let Stream::Tcp(server) = server else { panic!("not TCP") };
    let server = server.into_std().unwrap();
    server.set_nonblocking(false).unwrap();
    let server = thread::spawn(move || {
        #[allow(clippy::result_large_err, reason = "tungstenite's signature")]
        let choose = |request: &Request, mut answer: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], "mqtt");
            assert_eq!(request.headers()["x-token"], "secret");
            assert_eq!(request.uri().path(), "/mqtt");
            answer.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
            Ok(answer)
        };
        let mut socket = tungstenite::accept_hdr(server, choose).unwrap();
        let mut got = Vec::new();
        while got.len() < 300_000 {
            let Message::Binary(part) = socket.read().unwrap() else { panic!("not binary") };
            got.extend_from_slice(&part);
        }
        assert!(got.iter().enumerate().all(|(at, byte)| *byte == byte_at(at)));
        socket.send(Message::Ping(b"well?"[..].into())).unwrap();
        socket.send(Message::Binary(b"done"[..].into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(b"well?"[..].into()));
        let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("no close") };
        assert_eq!(close.code, CloseCode::Normal);
    });
    let handshake = ClientHandshake {
        host: "localhost",
        path: "/mqtt",
        headers: &[("X-Token".into(), "secret".into())],
        max_message: LIMIT,
    };
    let mut stream = connect_websocket(client, handshake).await.unwrap();
    let bytes: Vec<u8> = (0..300_000).map(byte_at).collect();
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"done");
    stream.shutdown().await.unwrap();
    server.join().unwrap();
}

#[tokio::test]
async fn one_write_is_one_frame() {
    let (stream, client) = served(|socket| {
        let mut request = "ws://localhost/".into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let (mut socket, _) = tungstenite::client(request, socket).unwrap();
        socket.read().unwrap().len()
    })
    .await;
    let mut stream = accept_websocket(stream, options()).await.unwrap();
    // Larger than what the sockets hold, so that the frame goes out in many writes.
    stream.write_all(&vec![7; 8 << 20]).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(client.join().unwrap(), 8 << 20);
}

#[tokio::test]
async fn fragments_and_pings_between_them_are_one_stream() {
    let frames = [
        frame(0x02, b"ab"),
        frame(0x89, b"p1"),
        frame(0x00, b""),
        frame(0x8A, b"unasked pong"),
        frame(0x80, b"cd"),
        frame(0x82, b"ef"),
        frame(0x88, &[3, 232]),
        frame(0x82, b"too late"),
    ]
    .concat();
    let (said, got) = by_hand(frames).await;
    assert_eq!(got.unwrap(), b"abcdef");
    assert!(said.ends_with(&[0x88, 2, 3, 232]), "{said:?}");
}

#[tokio::test]
async fn offences_get_a_close_frame_with_the_code() {
    let too_large = [&[0x82, 0xFF][..], &(LIMIT + 1).to_be_bytes(), &[0; 4]].concat();
    for (bytes, error, code) in [
        (frame(0x81, b"text"), FrameError::Text, 1003_u16),
        (too_large, FrameError::TooLarge { limit: LIMIT }, 1009),
        (vec![0x82, 0x00], FrameError::NotMasked, 1002),
    ] {
        let (said, got) = by_hand([frame(0x82, b"fine"), bytes].concat()).await;
        let got = got.unwrap_err();
        assert_eq!(got.kind(), std::io::ErrorKind::InvalidData);
        let inner = got.get_ref().unwrap().downcast_ref::<FrameError>();
        assert_eq!(inner, Some(&error));
        let [high, low] = code.to_be_bytes();
        assert_eq!(said, [0x88, 2, high, low]);
    }
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_without_growing() {
    let mut frames = Vec::new();
    for number in 0..20_000_u32 {
        frames.extend(frame(0x89, &number.to_be_bytes()));
    }
    frames.extend(frame(0x82, b"still here"));
    frames.extend(frame(0x88, b""));
    let (said, got) = by_hand(frames).await;
    assert_eq!(got.unwrap(), b"still here");
    assert_eq!(said[0], 0x8A);
    assert!(said.ends_with(&[0x88, 0]), "a close without a code gets one without a code");
}

#[tokio::test]
async fn a_refused_client_is_told() {
    for (from, to, status) in [
        ("Sec-WebSocket-Protocol: mqtt\r\n", "", "400"),
        ("Upgrade: websocket\r\n", "", "400"),
        ("Version: 13", "Version: 8", "426"),
    ] {
        let (stream, client) = served(move |mut socket| {
            socket.write_all(REQUEST.replace(from, to).as_bytes()).unwrap();
            let mut said = String::new();
            socket.read_to_string(&mut said).unwrap();
            said
        })
        .await;
        accept_websocket(stream, options()).await.unwrap_err();
        let said = client.join().unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        assert!(said.contains("MQTT over WebSocket"), "{said}");
    }
}

#[tokio::test]
async fn the_handshake_is_bounded() {
    let fill = |total: usize| {
        let padding = total - REQUEST.len() - "X: \r\n".len();
        REQUEST.replace("Host", &format!("X: {}\r\nHost", "p".repeat(padding)))
    };
    let answer = |request: String| async move {
        let (mut client, server) = tcp_pair().await;
        client.write_all(request.as_bytes()).await.unwrap();
        accept_websocket(server, options()).await.map(|_| ())
    };
    assert_eq!(fill(MAX_HEAD).len(), MAX_HEAD);
    answer(fill(MAX_HEAD)).await.unwrap();
    assert!(matches!(answer(fill(MAX_HEAD + 1)).await, Err(WebSocketRefused::TooLarge)));
    let connect = "\x10\x0e\0\x04MQTT".to_owned();
    assert!(matches!(answer(connect).await, Err(WebSocketRefused::NotHttp)));
    let lines = REQUEST.replace("Host", &format!("{}Host", "X: y\r\n".repeat(65)));
    assert!(matches!(answer(lines).await, Err(WebSocketRefused::TooLarge)));

    // Never-ending headers end at the bound.
    let (mut client, server) = tcp_pair().await;
    let endless = tokio::spawn(async move {
        let mut sent = 0_usize;
        while client.write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok() {
            sent += 33;
        }
        sent
    });
    let refused = accept_websocket(server, options()).await.unwrap_err();
    assert!(matches!(refused, WebSocketRefused::TooLarge), "{refused}");
    endless.await.unwrap();

    // Byte by byte it works, and a silent one is the caller's deadline's business.
    let (mut client, server) = tcp_pair().await;
    let slow = tokio::spawn(async move {
        for byte in REQUEST.bytes() {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    });
    accept_websocket(server, options()).await.unwrap();
    slow.await.unwrap();
    let (_silent, server) = tcp_pair().await;
    let deadline = Duration::from_millis(50);
    assert!(tokio::time::timeout(deadline, accept_websocket(server, options())).await.is_err());
}

#[tokio::test]
async fn frames_behind_the_answer_are_kept() {
    let (client, mut server) = tcp_pair().await;
    let handshake = ClientHandshake { host: "h", path: "/", headers: &[], max_message: 100 };
    let serve = async {
        let mut request = vec![0; 4096];
        let read = server.read(&mut request).await.unwrap();
        let request = String::from_utf8(request[..read].to_vec()).unwrap();
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        let with_frame = [answer.as_bytes(), &[0x82, 5], b"hello"].concat();
        server.write_all(&with_frame).await.unwrap();
    };
    let (stream, ()) = tokio::join!(connect_websocket(client, handshake), serve);
    // The kept bytes travel along.
    let mut stream = stream.unwrap().detach().unwrap().attach().unwrap();
    for expected in b"hello" {
        assert_eq!(stream.read_u8().await.unwrap(), *expected);
    }
    let refused = |status: &'static str| async move {
        let (client, mut server) = tcp_pair().await;
        server.write_all(status.as_bytes()).await.unwrap();
        connect_websocket(client, handshake).await.unwrap_err().to_string()
    };
    assert!(refused("HTTP/1.1 404 Not Found\r\n\r\n").await.contains("404"));
    assert!(refused("\x20\x02\0\0").await.contains("not a WebSocket"));
}
