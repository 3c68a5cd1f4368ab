//! Issue 7: `protocol http_api` and the files of `http_dir`: what is answered, to whom, and what a
//! stranger can't do.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::thread;

use mqttd_tests::authority::Authority;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{Port, broker_under_test};
use mqttd_tests::process::{self, PATIENCE};
use mqttd_tests::{Broker, Tools, only_our_broker};

/// What came back.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends bytes and reads to the end.
#[track_caller]
fn send(port: u16, request: &[u8]) -> Reply {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.get(9..12).and_then(|it| it.parse().ok()).expect("a status");
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

#[track_caller]
fn get(port: u16, path: &str) -> Reply {
    send(port, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

/// A GET with `Authorization: Basic`.
#[track_caller]
fn get_as(port: u16, path: &str, encoded: &str) -> Reply {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {encoded}\r\n\r\n");
    send(port, request.as_bytes())
}

/// alice:secret and bob:secret.
const ALICE: &str = "YWxpY2U6c2VjcmV0";
const BOB: &str = "Ym9iOnNlY3JldA==";

/// An open MQTT listener and an HTTP listener, which is `{ws}`.
const HTTP: &str = "allow_anonymous true\nlistener {port} 127.0.0.1\n\
    listener {ws} 127.0.0.1\nprotocol http_api\n";

/// A broker with both and more lines for the second.
fn broker(more: &str) -> Broker {
    Broker::config(&format!("{HTTP}{more}"))
}

#[test]
fn mosquittos_pages_have_mosquittos_form() {
    only_our_broker!("http_api came with 2.1");
    let broker = broker("");
    let port = broker.ws_port();
    let version = get(port, "/api/v1/version");
    assert_eq!((version.status, version.body.as_str()), (200, env!("CARGO_PKG_VERSION")));
    let listeners = get(port, "/api/v1/listeners");
    assert_eq!(listeners.header("content-type"), Some("application/json"));
    assert_eq!(listeners.header("access-control-allow-origin"), Some("*"));
    for text in [
        format!("\"port\":{}", broker.port()),
        "\"protocol\":\"mqtt\"".to_owned(),
        "\"protocol\":\"httpapi\"".to_owned(),
        "\"tls\":false".to_owned(),
        "\"mtls\":false".to_owned(),
        "\"allow_anonymous\":true".to_owned(),
    ] {
        assert!(listeners.body.contains(&text), "{text}: {}", listeners.body);
    }
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V5, "ann");
    ann.publish_qos1(1, "t", "12345");
    let tree = process::until(|| {
        let tree = get(port, "/api/v1/systree").body;
        tree.contains("\"$SYS/broker/publish/bytes/received\":5").then_some(tree)
    });
    let tree = tree.expect("the counters are those of now");
    for text in [
        "\"$SYS/broker/clients/connected\":1",
        "\"$SYS/broker/load/messages/received/1min\":",
        "\"$SYS/broker/retained messages/count\":",
        "\"$SYS/broker/uptime\":",
    ] {
        assert!(tree.contains(text), "{text}: {tree}");
    }
    assert_eq!(get(port, "/").status, 404, "no http_dir");
    let post = send(port, b"POST /api/v1/version HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((post.status, post.body.as_str()), (405, "Invalid HTTP Method\n"));
    let head = send(port, b"HEAD /api/v1/version HTTP/1.0\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    // A line for each look would fill the log.
    let log = broker.log();
    let is_look = |line: &str| line.contains("New connection") && line.contains(&port.to_string());
    assert!(!log.lines().any(is_look), "{log}");
}

/// Every sample has its type, every name stands once, and the numbers are those of what happened.
#[test]
fn metrics_are_what_prometheus_reads() {
    only_our_broker!("2.1 has none");
    let broker =
        Broker::config(&format!("persistence true\npersistence_location {{dir}}/\n{HTTP}"));
    let port = broker.ws_port();
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V5, "ann");
    ann.subscribe("t/#", 1);
    for id in 1..=3 {
        ann.send(&format!("32 [ <t/x> {id:04x} [ ] 'xx' ]"));
        let mut others = 0;
        while others < 2 {
            ann.packet("PUBACK or PUBLISH");
            others += 1;
        }
    }
    let page = get(port, "/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut types = std::collections::HashMap::new();
    for line in page.body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = name.split('{').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let kind = types.get(name).unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        }
    }
    for line in [
        "mqttd_clients_connected 1",
        "mqttd_subscriptions 1",
        "mqttd_publish_received_total 3",
        "mqttd_publish_received_bytes_total 6",
        "mqttd_messages_dropped_total{reason=\"queue_full\"} 0",
        "mqttd_store_up 1",
        &format!(
            "mqttd_listener_connections{{listener=\"port {} on 127.0.0.1\"}} 1",
            broker.port()
        ),
    ] {
        assert!(page.body.lines().any(|it| it == line), "{line}\n{}", page.body);
    }
    assert!(types.contains_key("process_resident_memory_bytes"));
}

/// The listener's users; then the ACL, to which a path is a topic.
#[test]
fn users_and_rights_are_the_listeners() {
    only_our_broker!("http_api came with 2.1");
    let text = "password_file {dir}/pwfile\nacl_file {dir}/acl\nlistener {port} 127.0.0.1\n\
                listener {ws} 127.0.0.1\nprotocol http_api\n";
    let broker = Broker::prepared(broker_under_test(), text);
    let file = broker.file("pwfile");
    Tools::UnderTest.run("passwd", &["-c", "-b", &file, "alice", "secret"]).ok();
    Tools::UnderTest.run("passwd", &["-b", &file, "bob", "secret"]).ok();
    broker.write("acl", "user alice\ntopic read /metrics\n");
    let broker = broker.started();
    let port = broker.ws_port();
    let none = get(port, "/metrics");
    assert_eq!(none.status, 401);
    assert_eq!(none.header("www-authenticate"), Some("Basic realm=\"Mosquitto API\""));
    assert_eq!(get_as(port, "/metrics", ALICE).status, 200);
    assert_eq!(get_as(port, "/api/v1/systree", ALICE).status, 401, "not in the ACL");
    assert_eq!(get_as(port, "/metrics", BOB).status, 401, "not in the ACL");
    for wrong in ["YWxpY2U6d3Jvbmc=", "YWxpY2U=", "%%%", "bm9ib2R5OnNlY3JldA=="] {
        assert_eq!(get_as(port, "/metrics", wrong).status, 401, "{wrong}");
    }
    assert!(broker.log().contains("not authorised"), "{}", broker.log());
    // Whether it lives is told to everybody, and nothing else.
    for path in ["/health", "/api/v1/health"] {
        let health = get(port, path);
        assert_eq!((health.status, health.body.as_str()), (200, "{\"status\":\"ok\"}"));
    }
}

/// A password tried over HTTP counts like one tried over MQTT.
#[test]
fn failed_logins_lead_to_a_ban_here_too() {
    only_our_broker!("an option of ours");
    let text = "password_file {dir}/pwfile\nmax_login_failures_user 2\nlistener {port} 127.0.0.1\n\
                listener {ws} 127.0.0.1\nprotocol http_api\n";
    let broker = Broker::prepared(broker_under_test(), text);
    let file = broker.file("pwfile");
    Tools::UnderTest.run("passwd", &["-c", "-b", &file, "alice", "secret"]).ok();
    let broker = broker.started();
    let mqtt = |password: &str| {
        let login = ["-t", "t", "-m", "x", "-u", "alice", "-P", password];
        Tools::UnderTest.publish(&broker, &login).code()
    };
    assert_eq!(get_as(broker.ws_port(), "/metrics", "YWxpY2U6d3Jvbmc=").status, 401);
    assert_eq!((mqtt("secret"), mqtt("wrong")), (0, 5));
    assert_eq!(get_as(broker.ws_port(), "/metrics", ALICE).status, 401, "banned");
    assert_eq!(mqtt("secret"), 5, "banned");
    assert!(broker.log().contains("Banned user 'alice'"), "{}", broker.log());
}

/// What was dropped last, as in `$SYS/broker/drops/`.
#[test]
fn the_last_drops_can_be_asked_for() {
    only_our_broker!("a page of ours");
    let broker = Broker::config(&format!("max_queued_messages 1\n{HTTP}"));
    let mut away = Peer::tcp(&broker);
    away.send("10 [ <MQTT> 04 00 003c <away> ]");
    away.expect("20 02 00 00");
    away.subscribe("t", 1);
    away.leave();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    for id in 1..=3 {
        peer.publish_qos1(id, "t", "x");
    }
    let page = get(broker.ws_port(), "/api/v1/drops");
    assert_eq!(page.header("content-type"), Some("application/json"));
    assert_eq!(page.body.matches(r#""reason":"queue_full""#).count(), 2, "{}", page.body);
    assert!(page.body.contains(r#""clients":{"away":{"queue_full":2}}"#), "{}", page.body);
}

fn with_pages(text: &str) -> Broker {
    let broker = Broker::prepared(broker_under_test(), text);
    let www = broker.file("www");
    fs::create_dir_all(format!("{www}/sub")).unwrap();
    fs::write(format!("{www}/index.html"), "<p>first page").unwrap();
    fs::write(format!("{www}/sub/a b.js"), "x").unwrap();
    fs::write(format!("{www}/.htpasswd"), "hidden").unwrap();
    fs::write(format!("{www}/large"), vec![b'l'; 5_000_000]).unwrap();
    broker.write("secret", "outside");
    symlink("../secret", format!("{www}/link")).unwrap();
    symlink("/etc", format!("{www}/etc")).unwrap();
    broker.started()
}

const PAGES: &str = "allow_anonymous true\nlistener {port} 127.0.0.1\n\
    listener {ws} 127.0.0.1\nprotocol http_api\nhttp_dir {dir}/www\n";

#[test]
fn files_are_served_and_nothing_else_is() {
    only_our_broker!("http_dir of 2.0.11 is libwebsockets'");
    for protocol in ["http_api", "websockets"] {
        let mut broker = with_pages(&PAGES.replace("http_api", protocol));
        let port = broker.ws_port();
        let first = get(port, "/");
        assert_eq!((first.status, first.body.as_str()), (200, "<p>first page"));
        assert_eq!(first.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(first.header("x-content-type-options"), Some("nosniff"));
        let script = get(port, "/sub/a%20b.js?v=1");
        assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(get(port, "/large").body.len(), 5_000_000);
        let moved = get(port, "/sub");
        assert_eq!((moved.status, moved.header("location")), (301, Some("/sub/")));
        for path in [
            "/../secret",
            "/%2e%2e/secret",
            "/%2E%2E/secret",
            "/sub/../../secret",
            "/..%5csecret",
            "/./../secret",
            "//secret",
            "/link",
            "/etc/passwd",
            "/.htpasswd",
            "/sub/",
            "/index.html/",
            "/absent",
        ] {
            let reply = get(port, path);
            assert_eq!((reply.status, reply.body.as_str()), (404, "Not found.\n"), "{path}");
        }
        for path in ["/..%2fsecret", "/%2e%2e%2fsecret", "/%252e%00", "/%ff", "/a%0d%0aX:%20y", "*"]
        {
            assert_eq!(get(port, path).status, 400, "{path}");
        }
        // A path that would read `%2e%2e` after a second decoding is a file's name and no more.
        assert_eq!(get(port, "/%252e%252e/secret").status, 404);
        assert!(broker.is_running());
    }
}

/// Pages and MQTT on one port.
#[test]
fn a_websocket_listener_with_pages_still_speaks_mqtt() {
    only_our_broker!("http_dir of 2.0.11 is libwebsockets'");
    let broker = with_pages(&PAGES.replace("http_api", "websockets"));
    let mut ann = Peer::joined(&broker, Carrier::WebSocket, Level::V5, "ann");
    ann.subscribe("t", 0);
    assert_eq!(get(broker.ws_port(), "/").status, 200);
    // Not an API: that belongs to http_api.
    assert_eq!(get(broker.ws_port(), "/metrics").status, 404);
    ann.publish("t", "x");
    ann.expect_message("t", "x", 0);
}

#[test]
fn requests_that_are_none_end_quickly_and_cost_little() {
    only_our_broker!("http_api came with 2.1");
    let mut broker = broker("max_connections 20\n");
    let port = broker.ws_port();
    let closes = |bytes: &[u8]| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.write_all(bytes);
        let mut answer = Vec::new();
        // A reset is an end too.
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open"),
        }
        answer
    };
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(10_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for bytes in [&b"\x10\x0c\x00\x04MQTT"[..], b"GET\r\n\r\n", long.as_bytes(), many.as_bytes()] {
        assert!(closes(bytes).is_empty());
    }
    // As many as the listener takes wait in silence; one more is closed at once.
    let silent: Vec<_> =
        (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let full = process::until(|| closes(b"").is_empty().then_some(()));
    assert!(full.is_some());
    drop(silent);
    let again = process::until(|| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).ok().filter(|()| answer == *b"HTTP/1.1 200")
    });
    assert!(again.is_some(), "their places are free again");
    assert!(broker.is_running());
}

/// Many ask at once while messages flow.
#[test]
fn scrapes_do_not_disturb_the_clients() {
    only_our_broker!("2.1 has none");
    let broker = broker("");
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V5, "ann");
    ann.subscribe("t", 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..50).for_each(|_| assert_eq!(get(broker.ws_port(), "/metrics").status, 200))
            });
        }
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "bob");
        for id in 1..200u16 {
            peer.publish_qos1(id, "t", &id.to_string());
            assert_eq!(ann.receive().payload, id.to_string().as_bytes());
        }
    });
}

#[test]
fn http_over_tls_with_client_certificates() {
    only_our_broker!("http_api came with 2.1");
    let authority = Authority::new("Test-CA");
    authority.server("server");
    let port = Port::take().number;
    let text = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol http_api\n\
         certfile {{dir}}/server.crt\nkeyfile {{dir}}/server.key\n"
    );
    let broker = Broker::prepared(broker_under_test(), &(text + "listener {port} 127.0.0.1\n"));
    authority.install(&broker, "server");
    let broker = broker.started();
    let mut command = std::process::Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", &authority.ca()]);
    command.args(["-alpn", "http/1.1", "-connect", &format!("127.0.0.1:{port}")]);
    let said = process::run(command, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(said.out().starts_with("HTTP/1.1 200 OK\r\n"), "{said}\n{}", broker.log());
}

/// Who shows a certificate is its user, for HTTP as for MQTT.
#[test]
fn a_certificate_names_the_user_of_a_page() {
    only_our_broker!("http_api came with 2.1");
    let authority = Authority::new("Test-CA");
    authority.server("server");
    authority.client("alice");
    authority.client("bob");
    let port = Port::take().number;
    let text = format!(
        "acl_file {{dir}}/acl\nlistener {port} 127.0.0.1\nprotocol http_api\n\
         certfile {{dir}}/server.crt\nkeyfile {{dir}}/server.key\ncafile {}\n\
         require_certificate true\nuse_identity_as_username true\nlistener {{port}} 127.0.0.1\n",
        authority.ca()
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    authority.install(&broker, "server");
    broker.write("acl", "user alice\ntopic read /metrics\n");
    let broker = broker.started();
    for (name, status) in [("alice", "200 OK"), ("bob", "401 Unauthorized")] {
        let mut command = std::process::Command::new("openssl");
        command.args(["s_client", "-quiet", "-CAfile", &authority.ca()]);
        command.args(["-cert", &authority.file(&format!("{name}.crt"))]);
        command.args(["-key", &authority.file(&format!("{name}.key"))]);
        command.args(["-connect", &format!("127.0.0.1:{port}")]);
        let said = process::run(command, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let wanted = format!("HTTP/1.1 {status}\r\n");
        assert!(said.out().starts_with(&wanted), "{name}: {said}\n{}", broker.log());
    }
}

/// `X-Forwarded-For` counts from a trusted proxy only.
#[test]
fn forwarded_addresses_count_from_trusted_proxies() {
    only_our_broker!("2.0.11 has no such line");
    let broker = |line: &str| {
        Broker::config(&format!(
            "allow_anonymous true\nlistener {{port}} 127.0.0.1\nlistener {{ws}} 127.0.0.1\n\
             protocol websockets\n{line}"
        ))
    };
    let join = |broker: &Broker, header: &str| {
        let mut socket = TcpStream::connect(("127.0.0.1", broker.ws_port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n{header}\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        // CONNECT in a frame masked with zeros.
        let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
        let mut frame = vec![0x82, 0x80 | connect.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(connect);
        socket.write_all(&frame).unwrap();
        let found = |log: &str| {
            let line = log.lines().rev().find(|line| line.contains("New client connected"))?;
            line.split("from ").nth(1)?.split(" as").next().map(str::to_owned)
        };
        process::until(|| found(&broker.log())).unwrap()
    };
    let forged = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n";
    let trusting = broker("trusted_proxy 127.0.0.0/8\n");
    assert_eq!(join(&trusting, forged), "192.0.2.1:0");
    let open = broker("");
    assert!(join(&open, forged).starts_with("127.0.0.1:"));
    let other = broker("trusted_proxy 10.0.0.0/8\n");
    assert!(join(&other, forged).starts_with("127.0.0.1:"));
}
