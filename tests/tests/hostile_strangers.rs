//! Hostile peers before their CONNECT is accepted (docs/security.md, cases 1, 2, 25 to 28, 30):
//! strangers who claim, stall, flood and pretend.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use mqttd_tests::lying_socket::{self, LyingSocket};
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::process;
use mqttd_tests::siege::{MIB, packet, string};
use mqttd_tests::websocket::{BINARY, CLOSE, PING, frame, open};
use mqttd_tests::{Broker, Siege, only_our_broker};

fn dial(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// Everything until the other side closes; a reset is a close too.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match socket.read_to_end(&mut all) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("still open after {all:02x?}")
        }
        _ => all,
    }
}

/// Case 1: a length of 256 MB is claimed by a thousand strangers, and no byte of it is sent. The
/// first five bytes are enough to refuse.
#[test]
fn lengths_claimed_before_connect() {
    only_our_broker!("2.0.11 has no bound below the protocol's");
    let mut siege = Siege::open();
    for _ in 0..1000 {
        let mut socket = dial(siege.broker.port());
        socket.write_all(&[0x10, 0xff, 0xff, 0xff, 0x7f]).unwrap();
        assert!(rest(&mut socket).is_empty());
    }
    siege.exchange();
    siege.expect_lines(1000, &["<unknown>", "disconnected: oversize packet"]);
    siege.survived(8 * MIB);
}

/// Case 1: lengths just inside the bound are believed, but memory follows the bytes that came.
#[test]
fn lengths_claimed_inside_the_bound_cost_nothing() {
    let mut siege = Siege::open();
    let (mut strangers, mut clients) = (Vec::new(), Vec::new());
    for number in 0..1000 {
        let mut socket = dial(siege.broker.port());
        // 99 000 bytes in CONNECT, then 2 MB less a little in PUBLISH: one byte of each comes.
        socket.write_all(&[0x10, 0xb8, 0x85, 0x06, 0]).unwrap();
        strangers.push(socket);
        if number % 2 == 0 {
            let mut peer = siege.attacker(Level::V311, "");
            peer.send("30 80 89 7a 00");
            clients.push(peer);
        }
    }
    siege.exchange();
    siege.survived(24 * MIB);
}

/// Case 2: more silent connections than the lobby has seats. Newcomers still get in, and every one
/// that had to leave has its line.
#[test]
fn thousands_of_half_open_connections() {
    only_our_broker!("2.0.11 has no such bound");
    let mut siege = Siege::open();
    let mut strangers = Vec::new();
    for number in 0..3000 {
        let mut socket = dial(siege.broker.port());
        if number % 3 == 0 {
            socket.write_all(b"\x10").unwrap();
        }
        strangers.push(socket);
        if number % 500 == 0 {
            siege.exchange();
        }
    }
    // LOBBY_SEATS_MAX of them stay.
    siege.expect_lines(3000 - 2048, &["<unknown>", "too many connections wait for their CONNECT"]);
    let mut joined = 0;
    for number in 0..20 {
        let mut newcomer = siege.attacker(Level::V5, &format!("newcomer-{number}"));
        newcomer.expect_nothing();
        joined += 1;
    }
    assert_eq!(joined, 20);
    siege.survived(48 * MIB);
}

/// Case 2: a CONNECT that comes a byte at a time, and a WebSocket request that does: both end
/// after `CONNECT_TIMEOUT`, from the accept on, whatever trickles in.
#[test]
fn one_byte_a_second() {
    only_our_broker!("2.0.11 waits for 90 seconds");
    let siege = Siege::open();
    let connect = packet(0x10, &[&string("MQTT"), &[4, 2, 0, 60], &string([b'x'; 100])]);
    let request = b"GET /mqtt HTTP/1.1\r\nHost: a-host-with-a-long-name\r\n";
    let begun = Instant::now();
    let mut slow =
        [(dial(siege.broker.port()), &connect[..]), (dial(siege.broker.ws_port()), &request[..])];
    for second in 0..26 {
        for (socket, bytes) in &mut slow {
            let _ = socket.write_all(&bytes[second..=second]);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for (socket, _) in &mut slow {
        assert!(rest(socket).is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(29));
    siege.expect_lines(2, &["<unknown>", "no CONNECT within 20 seconds"]);
    siege.survived(4 * MIB);
}

/// Case 2: the sending side shut at once: the broker does not wait for what can't come.
#[test]
fn half_closed_sockets() {
    let siege = Siege::open();
    for port in [siege.broker.port(), siege.broker.ws_port()] {
        let mut socket = dial(port);
        socket.shutdown(Shutdown::Write).unwrap();
        rest(&mut socket);
    }
    let mut socket = dial(siege.broker.port());
    let mut bytes = packet(0x10, &[&string("MQTT"), &[4, 2, 0, 0], &string("half")]);
    bytes.extend(packet(0x82, &[&[0, 1], &string("#"), &[0]]));
    socket.write_all(&bytes).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let answer = rest(&mut socket);
    assert!(answer.is_empty() || answer.starts_with(&[0x20, 2, 0, 0]), "{answer:02x?}");
    siege.survived(4 * MIB);
}

/// Case 25: many wrong passwords and unknown users at once. Hashing happens beside the shards; the
/// honest two, who are in, go on.
#[test]
fn passwords_by_the_hundred() {
    let file = mqttd_tests::place::TempDir::new();
    let path = file.write("pwfile", "");
    for user in ["good", "alice"] {
        let made = mqttd_tests::Tools::Mosquitto.run("passwd", &["-b", &path, user, "secret"]);
        made.ok();
    }
    let broker = Broker::guarded(&std::fs::read_to_string(path).unwrap(), "");
    let login = |client_id: &str, user: &str, password: &str| {
        let mut peer = Peer::tcp(&broker);
        let (user, password) = (string(user), string(password));
        let head: &[u8] = &[4, 0xc2, 0, 0];
        let id = string(client_id);
        peer.send_bytes(&packet(0x10, &[&string("MQTT"), head, &id, &user, &password]));
        peer
    };
    let mut honest = [login("p", "good", "secret"), login("s", "good", "secret")];
    honest.iter_mut().for_each(|peer| peer.expect("20 02 00 00"));
    let mut attackers = Vec::new();
    for number in 0..100 {
        let user = if number % 2 == 0 { "alice" } else { "nobody" };
        attackers.push(login("a", user, "wrong"));
    }
    // Names as long as CONNECT allows.
    attackers.push(login("a", &"u".repeat(45_000), &"p".repeat(45_000)));
    let [publisher, subscriber] = honest;
    let mut siege = Siege::between(broker, publisher, subscriber);
    for mut peer in attackers {
        peer.expect("20 02 00 05");
        peer.expect_closed();
    }
    siege.exchange();
    siege.survived(16 * MIB);
}

/// Case 26: everything a WebSocket client must not do. Each ends that connection alone.
#[test]
fn websocket_offences() {
    only_our_broker!("libwebsockets has its own ways");
    let mut siege = Siege::open();
    let port = siege.broker.ws_port();
    let mut unmasked = vec![0x82, 14];
    unmasked.extend(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00");
    let offences = [
        ("unmasked", unmasked),
        ("a ping of 126 bytes", frame(PING, true, &[0; 126])),
        ("a ping in two frames", frame(PING, false, b"x")),
        ("a continuation of nothing", frame(0, true, b"x")),
        (
            "a new message inside one",
            [frame(BINARY, false, b"\x10"), frame(BINARY, true, b"x")].concat(),
        ),
        ("reserved bits", vec![0xf2, 0x80, 0, 0, 0, 0]),
        ("a reserved opcode", frame(3, true, b"x")),
        ("a length of 2^63", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]),
        ("a length of 2^40", vec![0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]),
        ("close with half a code", frame(CLOSE, true, &[3])),
    ];
    for (what, bytes) in offences {
        let mut socket = dial(port);
        open(&mut socket, "/mqtt", "mqtt");
        socket.write_all(&bytes).unwrap();
        let answer = rest(&mut socket);
        assert!(answer.is_empty() || answer[0] == 0x80 | CLOSE, "{what}: {answer:02x?}");
        siege.exchange();
    }
    siege.survived(4 * MIB);
}

/// Case 26: a request head that never ends, headers by the thousand, pings by the hundred
/// thousand.
#[test]
fn websocket_floods() {
    only_our_broker!("libwebsockets has its own ways");
    let mut siege = Siege::open();
    let port = siege.broker.ws_port();
    let line = format!("X-Filler: {}\r\n", "f".repeat(1000));
    let heads = [line.repeat(1000), "X: y\r\n".repeat(1000), "f".repeat(1 << 20)];
    for head in heads {
        let mut socket = dial(port);
        let _ = socket.write_all(b"GET /mqtt HTTP/1.1\r\n");
        let _ = socket.write_all(head.as_bytes());
        let answer = rest(&mut socket);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:02x?}");
    }
    let mut socket = dial(port);
    open(&mut socket, "/mqtt", "mqtt");
    socket.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let pings = frame(PING, true, &[7; 125]).repeat(1000);
    for _ in 0..100 {
        // Nobody reads the pongs: the broker stops reading.
        if socket.write_all(&pings).is_err() {
            break;
        }
    }
    siege.exchange();
    siege.survived(8 * MIB);
}

/// Case 26: a page from elsewhere, where origins are named.
#[test]
fn a_foreign_origin() {
    only_our_broker!("2.0.11 knows no websockets_origin");
    let siege = Siege::of(Broker::config(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {ws} 127.0.0.1\n\
         protocol websockets\nwebsockets_origin https://good.example\n",
    ));
    for (origin, status) in [("https://good.example", "101"), ("https://evil.example", "403")] {
        let mut socket = dial(siege.broker.ws_port());
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
             Sec-WebSocket-Version: 13\r\nOrigin: {origin}\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        assert_eq!(String::from_utf8_lossy(&head), format!("HTTP/1.1 {status}"), "{origin}");
    }
    assert_eq!(siege.lines(&["10.0.0.1"]), 0, "X-Forwarded-For is nobody's address");
    siege.survived(4 * MIB);
}

/// Case 30: no file descriptors left. Accepting pauses, says so once, and goes on when some are
/// free; who is connected notices nothing.
#[test]
fn no_file_descriptors_left() {
    only_our_broker!("2.0.11 spins");
    let mut siege = Siege::open();
    let pid = siege.broker.id().to_string();
    Command::new("prlimit").args(["--pid", &pid, "--nofile=100:100"]).status().unwrap();
    let strangers: Vec<TcpStream> = (0..150).map(|_| dial(siege.broker.port())).collect();
    siege.expect_lines(1, &["could not be accepted", "ulimit -n"]);
    let before = cpu_ticks(&pid);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        siege.exchange();
        std::thread::sleep(Duration::from_millis(50));
    }
    let ticks = cpu_ticks(&pid) - before;
    assert!(ticks < 40, "accepting spins: {ticks} of 200 ticks");
    drop(strangers);
    let mut late = siege.attacker(Level::V311, "late");
    late.expect_nothing();
    assert_eq!(siege.lines(&["could not be accepted"]), 1);
    siege.survived(8 * MIB);
}

/// Processor time of a process, in hundredths of a second.
fn cpu_ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A stranger's CONNECT over which the broker panics.
fn panics_the_broker(broker: &Broker) {
    let mut stranger = Peer::tcp(broker);
    stranger.send(&format!("10 [ <MQTT> 04 02 001e <{}> ]", lying_socket::WORD));
    stranger.expect_closed();
}

/// Case 30: what serves one connection before its CONNECT panics. That connection ends, with one
/// line in the log, and its place is free; nobody else notices.
#[test]
fn a_panic_before_connect_ends_one_connection() {
    only_our_broker!("the panic is one of ours");
    let Some(sockets) = LyingSocket::new(module_path!()) else { return };
    let mut siege = Siege::of(sockets.broker("global_max_connections 3"));
    panics_the_broker(&siege.broker);
    let line = "Error: a connection before its CONNECT is closed: range end index";
    siege.expect_lines(1, &[line, "This is a bug."]);
    siege.exchange();
    for _ in 0..10 {
        panics_the_broker(&siege.broker);
        siege.exchange();
    }
    siege.attacker(Level::V311, "the third").expect_nothing();
    siege.exchange();
    assert!(siege.broker.is_running(), "{}", siege.broker.log());
}

/// Case 30: a shard panics over what a Client sends. Its state is not trusted any more: the process
/// ends at once, saying why, and the next start has everything that was acknowledged.
#[test]
fn a_panic_in_a_shard_ends_the_process_and_nothing_that_was_acknowledged() {
    only_our_broker!("the panic is one of ours");
    let Some(sockets) = LyingSocket::new(module_path!()) else { return };
    let mut broker = sockets.broker("persistence true\npersistence_location {dir}/");
    let mut away = Peer::tcp(&broker);
    away.join(Level::V311, "00", "", "away");
    away.subscribe("t", 1);
    away.leave();
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "publisher");
    publisher.publish_qos1(1, "t", "kept");
    publisher.send(&format!("30 [ <t> '{}' ]", lying_socket::WORD));
    publisher.expect_closed();
    let status = broker.wait();
    assert_eq!(status.signal(), Some(6), "SIGABRT: {status}");
    let log = broker.log();
    let said = log.lines().filter(|line| {
        line.contains("has panicked, the broker ends: range end index")
            && line.contains("This is a bug.")
    });
    assert_eq!(said.count(), 1, "{log}");
    broker.start();
    let mut away = Peer::tcp(&broker);
    assert!(away.join(Level::V311, "00", "", "away"), "the session is there");
    away.expect_message("t", "kept", 1);
}

/// Case 28: the PROXY header absent, doubled, of the wrong version, too long, cut short.
#[test]
fn proxy_headers() {
    only_our_broker!("2.0.11 knows no PROXY protocol");
    let broker = Broker::config(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {ws} 127.0.0.1\n\
         enable_proxy_protocol 2\n",
    );
    let mut siege = Siege::of(broker);
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let addresses = [127, 0, 0, 9, 127, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b];
    let good = [&signature[..], &[0x21, 0x11, 0, 12], &addresses].concat();
    let connect = packet(0x10, &[&string("MQTT"), &[4, 2, 0, 0], &string("proxied")]);
    let heads: [(&str, Vec<u8>, bool); 7] = [
        ("good", good.clone(), true),
        ("absent", vec![], false),
        ("doubled", good.repeat(2), false),
        ("version 1", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(), false),
        ("64 KB of TLV", [&signature[..], &[0x21, 0x11, 0xff, 0xff], &addresses].concat(), false),
        (
            "TLV past the end",
            [&signature[..], &[0x21, 0x11, 0, 15], &addresses, &[2, 0xff, 0xff]].concat(),
            false,
        ),
        ("addresses cut", [&signature[..], &[0x21, 0x11, 0, 3, 1, 2, 3]].concat(), false),
    ];
    for (what, head, is_good) in heads {
        let mut socket = dial(siege.broker.ws_port());
        let _ = socket.write_all(&[&head[..], &connect].concat());
        if is_good {
            let mut answer = [0; 4];
            socket.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [0x20, 2, 0, 0], "{what}");
            siege.expect_lines(1, &["127.0.0.9:12345", "proxied"]);
        } else {
            assert!(rest(&mut socket).is_empty(), "{what}");
        }
        siege.exchange();
    }
    siege.survived(4 * MIB);
}

/// Case 4: packets across frames and several in one frame; a length beyond the WebSocket message.
#[test]
fn packets_across_frames() {
    let siege = Siege::open();
    let mut peer = Peer::joined(&siege.broker, Carrier::WebSocket, Level::V311, "frames");
    peer.subscribe("t", 0);
    let publish = packet(0x30, &[&string("t"), b"in pieces"]);
    for byte in &publish {
        peer.send_bytes(&[*byte]);
    }
    peer.expect_message("t", "in pieces", 0);
    peer.send_bytes(&publish.repeat(3));
    for _ in 0..3 {
        peer.expect_message("t", "in pieces", 0);
    }
    peer.send("30 20 0001");
    peer.send("'t'");
    peer.vanish();
    let gone = process::until(|| (siege.lines(&["frames", "disconnected"]) > 0).then_some(()));
    gone.expect("the broker notices");
    siege.survived(4 * MIB);
}
