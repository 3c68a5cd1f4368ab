//! Every transport moves bytes both ways, ends halfway, and moves between threads in the middle of
//! the stream.

mod support;

use std::io::IoSlice;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mqtt_net::{Detached, PeerAddress, Stream};
use support::{ALL, Kind, Random, byte_at, pair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const LARGE: usize = 10 << 20;

async fn send_all<S: AsyncWrite + Unpin>(stream: &mut S, from: usize, to: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut at = from;
    while at < to {
        let most = if random.below(4) == 0 { 300_000 } else { 3_000 };
        let end = (at + 1 + random.below(most)).min(to);
        let bytes: Vec<u8> = (at..end).map(byte_at).collect();
        if random.below(2) == 0 {
            stream.write_all(&bytes).await.unwrap();
        } else {
            let mut sent = 0;
            while sent < bytes.len() {
                let middle = sent + (bytes.len() - sent) / 2;
                let halves = [IoSlice::new(&bytes[sent..middle]), IoSlice::new(&bytes[middle..])];
                sent += stream.write_vectored(&halves).await.unwrap();
            }
        }
        at = end;
    }
    stream.flush().await.unwrap();
}

async fn receive_all<S: AsyncRead + Unpin>(stream: &mut S, from: usize, to: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut buffer = vec![0; 5_000];
    let mut at = from;
    while at < to {
        let room = (1 + random.below(buffer.len())).min(to - at);
        let read = stream.read(&mut buffer[..room]).await.unwrap();
        assert!(read > 0, "ended at {at} of {to}");
        for (offset, byte) in buffer[..read].iter().enumerate() {
            assert_eq!(*byte, byte_at(at + offset), "at {}", at + offset);
        }
        at += read;
    }
}

#[tokio::test]
async fn large_data_both_ways_at_once() {
    for kind in ALL {
        let (client, server) = pair(kind).await;
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let (mut server_read, mut server_write) = tokio::io::split(server);
        tokio::join!(
            send_all(&mut client_write, 0, LARGE, 1),
            receive_all(&mut server_read, 0, LARGE, 2),
            send_all(&mut server_write, 7, LARGE, 3),
            receive_all(&mut client_read, 7, LARGE, 4),
        );
    }
}

#[tokio::test]
async fn single_bytes_arrive() {
    for kind in ALL {
        let (mut client, mut server) = pair(kind).await;
        for position in 0..300 {
            client.write_all(&[byte_at(position)]).await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), byte_at(position), "{kind:?}");
            server.write_all(&[byte_at(position + 1)]).await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), byte_at(position + 1), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_side_that_has_said_all_still_listens() {
    for kind in ALL {
        let (mut client, mut server) = pair(kind).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question", "{kind:?}");
        // A WebSocket ends in both directions with the close frames (RFC 6455 section 7.1.2).
        let is_websocket = matches!(kind, Kind::WebSocket | Kind::WebSocketOverTls);
        if is_websocket {
            assert!(server.write_all(b"answer").await.is_err(), "{kind:?}");
        } else {
            server.write_all(b"answer").await.unwrap();
        }
        server.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, if is_websocket { &b""[..] } else { b"answer" }, "{kind:?}");
        assert!(client.write_all(b"more").await.is_err(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_cut_connection_reads_as_ended() {
    for kind in ALL {
        let (mut client, mut server) = pair(kind).await;
        // What lies unread in a socket turns its closing into a reset; so the client reads first.
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        client.read_u8().await.unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0, "{kind:?}");
    }
}

#[tokio::test]
async fn the_peer_and_nodelay_reach_the_socket() {
    for kind in ALL {
        let (client, server) = pair(kind).await;
        server.set_nodelay(true).unwrap();
        client.set_nodelay(true).unwrap();
        let (idle, interval) = (Duration::from_secs(61), Duration::from_secs(7));
        server.set_keepalive(idle, interval, 3).unwrap();
        if let Stream::Tcp(socket) = &server {
            let socket = socket2::SockRef::from(socket);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), idle);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), interval);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        }
        match server.peer_address().unwrap() {
            PeerAddress::Unix => assert_eq!(kind, Kind::Unix),
            PeerAddress::Ip(address, _) => assert_eq!(address.to_string(), "127.0.0.1"),
        }
        let has_tls = matches!(kind, Kind::Tls | Kind::WebSocketOverTls);
        assert_eq!(server.tls_summary().is_some(), has_tls);
        assert_eq!(client.peer_certificate().unwrap().is_some(), has_tls);
        assert!(server.peer_certificate().unwrap().is_none());
    }
}

/// Another thread with its own runtime: takes a stream, exchanges the next part, and gives it back.
fn visit(detached: Detached, from: usize, to: usize) -> Detached {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let detached = runtime.block_on(async {
            let mut stream = detached.attach().unwrap();
            receive_all(&mut stream, from, to, 11).await;
            send_all(&mut stream, from, to, 12).await;
            stream.detach().unwrap()
        });
        sender.send(detached).unwrap();
    });
    receiver.recv().unwrap()
}

#[test]
fn a_stream_moves_between_threads_in_the_middle() {
    const PART: usize = 100_000;
    for kind in ALL {
        let (client_end, client_begin) = mpsc::channel::<Detached>();
        // The client stays on a thread of its own, so that it goes on while the server's side
        // travels.
        let client = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let stream = client_begin.recv().unwrap().attach().unwrap();
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::join!(
                    send_all(&mut write, 0, 4 * PART, 21),
                    receive_all(&mut read, 0, 4 * PART, 22),
                );
            });
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut server = runtime.block_on(async {
            let (client, server) = pair(kind).await;
            client_end.send(client.detach().unwrap()).unwrap();
            server
        });
        let mut random = Random::new(kind as u64 + 5);
        let mut at = 0;
        for _ in 0..3 {
            // The cut falls anywhere: inside of a frame, inside of a record.
            let here = at + 1 + random.below(PART / 2);
            let there = here + 1 + random.below(PART / 2);
            server = runtime.block_on(async {
                receive_all(&mut server, at, here, 31).await;
                send_all(&mut server, at, here, 32).await;
                visit(server.detach().unwrap(), here, there).attach().unwrap()
            });
            at = there;
        }
        runtime.block_on(async {
            receive_all(&mut server, at, 4 * PART, 33).await;
            send_all(&mut server, at, 4 * PART, 34).await;
        });
        client.join().unwrap();
    }
}
