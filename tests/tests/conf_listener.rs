//! Issue 7: what the directives of listeners do: addresses, who is let in, names, aliases. TLS is
//! in `tls.rs`, messages and limits in `conf_messages.rs`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::notation::{Pattern, show};
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{Port, TempDir, broker_under_test};
use mqttd_tests::process::{self, PATIENCE};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

/// What CONNECT of 3.1.1 brings on a port: the return code, or `None` for an end without CONNACK.
fn connack(port: u16, before: &[u8], connect: &str) -> Option<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // The broker may have closed before all is written: then there is no answer, as wanted.
    let _ = socket.write_all(&[before, &Pattern::parse(connect).bytes()].concat());
    let mut answer = [0; 4];
    match socket.read_exact(&mut answer) {
        Ok(()) => {
            assert_eq!(answer[..2], [0x20, 2], "no CONNACK: {}", show(&answer));
            Some(answer[3])
        }
        Err(error) => {
            let kind = error.kind();
            assert_ne!(kind, std::io::ErrorKind::WouldBlock, "neither an answer nor an end");
            None
        }
    }
}

const HELLO: &str = "10 [ <MQTT> 04 02 003c <c> ]";

/// Does somebody accept at this address?
fn accepts(address: &str, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok()
}

fn alice() -> String {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    Tools::Mosquitto.run("passwd", &["-c", "-b", &file, "alice", "secret"]).ok();
    fs::read_to_string(file).unwrap()
}

#[test]
fn bind_interface_listens_on_its_addresses_only() {
    only_our_broker!("2.0.11 wants CAP_NET_RAW for it");
    let broker = Broker::config("allow_anonymous true\nlistener {port}\nbind_interface lo\n");
    publish(&broker, &["-t", "t", "-m", "x"]);
    // Only an address of another interface can show that it is closed there.
    let outer = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Some(outer) = outer.ok().filter(|it| !it.ip().is_loopback()) {
        assert!(!accepts(&outer.ip().to_string(), broker.port()), "listens on {outer}");
    }
    let wrong = "listener {port}\nbind_interface nosuch0\n";
    let said = Broker::prepared(broker_under_test(), wrong).run_to_end(&[]).exits(1);
    assert!((said.out() + &said.err()).contains("nosuch0"), "{said}");
}

#[test]
fn socket_domain_leaves_the_other_family_out() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        mqttd_tests::place::say_skipped(module_path!(), "no IPv6 here");
        return;
    }
    let other = Port::take();
    let text = format!(
        "allow_anonymous true\nlistener {{port}}\nsocket_domain ipv4\nlistener {}\n\
         socket_domain ipv6\n",
        other.number
    );
    let broker = Broker::config(&text);
    assert!(accepts("127.0.0.1", broker.port()) && !accepts("::1", broker.port()));
    assert!(accepts("::1", other.number) && !accepts("127.0.0.1", other.number));
}

#[test]
fn a_unix_socket_carries_mqtt() {
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener 0 {dir}/mqtt.sock\n";
    let mut broker = Broker::config(text);
    let path = broker.file("mqtt.sock");
    let mut socket = UnixStream::connect(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&Pattern::parse(HELLO).bytes()).unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    // Subscribe, and hear from a client on the other listener.
    socket.write_all(&Pattern::parse("82 [ 0001 <t> 00 ]").bytes()).unwrap();
    let mut answer = [0; 5];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x90, 3, 0, 1, 0]);
    publish(&broker, &["-t", "t", "-m", "x"]);
    let mut message = [0; 6];
    socket.read_exact(&mut message).unwrap();
    assert_eq!(message, *b"\x30\x04\x00\x01tx");
    // The file that a killed broker leaves is no obstacle.
    broker.kill();
    assert!(fs::exists(&path).unwrap());
    broker.start();
    // The TCP port, which the start waits for, is opened a moment before.
    assert!(process::until(|| UnixStream::connect(&path).ok()).is_some(), "{}", broker.log());
}

#[test]
fn global_max_connections_counts_all_listeners() {
    only_our_broker!("came with 2.1");
    let broker = Broker::with("global_max_connections 2");
    let one = Peer::joined(&broker, Carrier::Tcp, Level::V311, "1");
    let _two = Peer::joined(&broker, Carrier::WebSocket, Level::V311, "2");
    assert_eq!(connack(broker.port(), b"", HELLO), None, "a third one");
    one.leave();
    let free = process::until(|| (connack(broker.port(), b"", HELLO) == Some(0)).then_some(()));
    assert!(free.is_some(), "the place is not given back");
}

#[test]
fn accept_protocol_versions_refuses_the_others() {
    only_our_broker!("came with 2.1");
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\naccept_protocol_versions 4\n";
    let broker = Broker::config(text);
    assert_eq!(connack(broker.port(), b"", HELLO), Some(0));
    assert_eq!(connack(broker.port(), b"", "10 [ <MQIsdp> 03 02 003c <c> ]"), Some(1));
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 003c [ ] <c> ]");
    let answer = peer.packet("CONNACK");
    assert_eq!((answer[0], answer[3]), (0x20, 0x84), "{}", show(&answer));
}

/// Announced in CONNACK (property 0x22), and held to in both directions.
#[test]
fn max_topic_alias_bounds_the_aliases_of_the_client() {
    for (max, announced) in [(2, Some(2u8)), (0, None)] {
        let text =
            format!("allow_anonymous true\nlistener {{port}} 127.0.0.1\nmax_topic_alias {max}\n");
        let broker = Broker::config(&text);
        let mut peer = Peer::tcp(&broker);
        peer.speaks(Level::V5);
        peer.send("10 [ <MQTT> 05 02 003c [ ] <c> ]");
        let answer = peer.packet("CONNACK");
        let found = answer.windows(3).find(|it| it[..2] == [0x22, 0]).map(|it| it[2]);
        assert_eq!(found, announced, "{}", show(&answer));
        if max > 0 {
            peer.send("32 [ <t> 0001 [ 23 0002 ] 'x' ]");
            peer.expect_acknowledgement(0x40, 1);
        }
        peer.send(&format!("30 [ <t> [ 23 {:04x} ] 'x' ]", max + 1));
        peer.expect_disconnect(0x94);
    }
}

#[test]
fn max_topic_alias_broker_bounds_the_aliases_of_the_broker() {
    only_our_broker!("came with 2.1");
    for (max, wanted) in [(1, [true, false]), (0, [false, false])] {
        let text = format!(
            "allow_anonymous true\nlistener {{port}} 127.0.0.1\nmax_topic_alias_broker {max}\n"
        );
        let broker = Broker::config(&text);
        let mut peer = Peer::tcp(&broker);
        peer.speaks(Level::V5);
        // The client would take ten.
        peer.send("10 [ <MQTT> 05 02 003c [ 22 000a ] <c> ]");
        peer.packet("CONNACK");
        peer.subscribe("long/#", 0);
        for (topic, has_alias) in ["long/topic/one", "long/topic/two"].iter().zip(wanted) {
            peer.publish_from_another(&broker, topic, "x");
            peer.publish_from_another(&broker, topic, "x");
            let both = [peer.delivered(), peer.delivered()];
            let uses_alias = both.iter().any(|it| it.properties.contains(&0x23));
            assert_eq!(uses_alias, has_alias, "max {max}: {both:?}");
        }
    }
}

/// Clients behind a mount point see only what is below it, and write only there.
#[test]
fn mount_point_is_put_on_and_taken_off() {
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {ws} 127.0.0.1\n\
                protocol websockets\nmount_point house/\n";
    let broker = Broker::config(text);
    let mut outside = Peer::joined(&broker, Carrier::Tcp, Level::V311, "outside");
    outside.subscribe("#", 0);
    let mut inside = Peer::joined(&broker, Carrier::WebSocket, Level::V311, "inside");
    inside.subscribe("#", 0);
    inside.publish("lamp", "on");
    outside.expect_message("house/lamp", "on", 0);
    inside.expect_message("lamp", "on", 0);
    outside.publish("garden/lamp", "off");
    outside.expect_message("garden/lamp", "off", 0);
    outside.publish("house/door", "open");
    inside.expect_message("door", "open", 0);
    // A will too, and what is retained.
    let mut dying = Peer::on(&broker, Carrier::WebSocket);
    dying.join_with(Level::V311, "26", "", "dying", "<last> <words>");
    outside.expect_message("house/door", "open", 0);
    dying.vanish();
    outside.expect_message("house/last", "words", 0);
    inside.expect_message("last", "words", 0);
}

#[test]
fn use_username_as_clientid_takes_over_by_user() {
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\nuse_username_as_clientid true\n";
    let broker = Broker::config(text);
    let mut first = Peer::tcp(&broker);
    first.join_with(Level::V5, "82", "", "one", "<alice>");
    let mut second = Peer::tcp(&broker);
    second.join_with(Level::V5, "82", "", "two", "<bob>");
    second.expect_nothing();
    // Another client identifier, the same user: the same Session.
    let mut third = Peer::tcp(&broker);
    third.join_with(Level::V5, "82", "", "three", "<alice>");
    first.expect_disconnect(0x8e);
    only_our_broker!("2.0.11 closes without a code");
    assert_eq!(connack(broker.port(), b"", HELLO), Some(5), "without a user name");
}

#[test]
fn clientid_prefixes_keep_others_out() {
    let broker = Broker::with("clientid_prefixes sensor-");
    assert_eq!(connack(broker.port(), b"", "10 [ <MQTT> 04 02 003c <sensor-1> ]"), Some(0));
    for other in ["sensor", "Sensor-1", "x-sensor-"] {
        let connect = format!("10 [ <MQTT> 04 02 003c <{other}> ]");
        assert_eq!(connack(broker.port(), b"", &connect), Some(5), "{other}");
    }
}

#[test]
fn allow_zero_length_clientid_and_auto_id_prefix() {
    let nameless = "10 [ <MQTT> 04 02 003c <> ]";
    let broker = Broker::with("allow_zero_length_clientid false");
    assert_eq!(connack(broker.port(), b"", nameless), Some(2));
    assert_eq!(connack(broker.port(), b"", HELLO), Some(0));
    let broker = Broker::with("auto_id_prefix device-");
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 003c [ ] <> ]");
    let answer = peer.packet("CONNACK");
    let assigned = answer.windows(7).position(|it| it == b"device-");
    // 0x12 Assigned Client Identifier: two bytes of length, then the text.
    assert!(assigned.is_some_and(|at| answer[at - 3] == 0x12), "{}", show(&answer));
}

/// The global option, and the listener's own that stands above it.
#[test]
fn listener_allow_anonymous_and_listener_auto_id_prefix_are_the_listeners_own() {
    only_our_broker!("came with 2.1");
    let other = Port::take();
    let text = format!(
        "password_file {{dir}}/pwfile\nallow_anonymous false\nauto_id_prefix all-\n\
         listener {{port}} 127.0.0.1\nlistener_allow_anonymous true\n\
         listener_auto_id_prefix door-\nlistener {} 127.0.0.1\n",
        other.number
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    broker.write("pwfile", &alice());
    let broker = broker.started();
    assert_eq!(connack(broker.port(), b"", HELLO), Some(0));
    assert_eq!(connack(other.number, b"", HELLO), Some(5));
    let user = "10 [ <MQTT> 04 c2 003c <c> <alice> <secret> ]";
    assert_eq!(connack(other.number, b"", user), Some(0));
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 003c [ ] <> ]");
    let answer = peer.packet("CONNACK");
    assert!(answer.windows(5).any(|it| it == b"door-"), "{}", show(&answer));
}

#[test]
fn per_listener_settings_gives_each_listener_its_own_users_and_rights() {
    let other = Port::take();
    let text = format!(
        "per_listener_settings true\nlistener {{port}} 127.0.0.1\nallow_anonymous true\n\
         acl_file {{dir}}/acl\nlistener {} 127.0.0.1\nallow_anonymous false\n\
         password_file {{dir}}/pwfile\n",
        other.number
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    broker.write("pwfile", &alice());
    broker.write("acl", "topic readwrite open/#\n");
    let broker = broker.started();
    assert_eq!(connack(broker.port(), b"", HELLO), Some(0));
    assert_eq!(connack(other.number, b"", HELLO), Some(5));
    let user = "10 [ <MQTT> 04 c2 003c <c> <alice> <secret> ]";
    assert_eq!(connack(other.number, b"", user), Some(0));
    // The rights of the first listener bind its clients only.
    let mut bound = Peer::joined(&broker, Carrier::Tcp, Level::V311, "bound");
    bound.subscribe("#", 0);
    let port = other.number.to_string();
    let login = ["-h", "127.0.0.1", "-p", &port, "-u", "alice", "-P", "secret", "-m", "x"];
    for topic in ["closed/a", "open/a"] {
        Tools::UnderTest.run("pub", &[&login[..], &["-t", topic]].concat()).ok();
    }
    bound.expect_message("open/a", "x", 0);
}

/// With `false`, the same lines below one listener bind all of them.
#[test]
fn without_per_listener_settings_options_bind_all_listeners() {
    let other = Port::take();
    let text = format!(
        "listener {{port}} 127.0.0.1\nlistener {} 127.0.0.1\nallow_anonymous false\n\
         password_file {{dir}}/pwfile\n",
        other.number
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    broker.write("pwfile", &alice());
    let broker = broker.started();
    for port in [broker.port(), other.number] {
        assert_eq!(connack(port, b"", HELLO), Some(5));
        let user = "10 [ <MQTT> 04 c2 003c <c> <alice> <secret> ]";
        assert_eq!(connack(port, b"", user), Some(0));
    }
}

#[test]
fn websockets_origin_keeps_other_pages_out() {
    only_our_broker!("came with 2.1");
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {ws} 127.0.0.1\n\
                protocol websockets\nwebsockets_origin https://a.example\n\
                websockets_origin https://b.example:8443\n";
    let broker = Broker::config(text);
    let answer = |origin: &str| {
        let mut socket = TcpStream::connect(("127.0.0.1", broker.ws_port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n{origin}Sec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).unwrap();
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    assert_eq!(answer("Origin: https://a.example\r\n"), "101");
    assert_eq!(answer("Origin: https://b.example:8443\r\n"), "101");
    assert_eq!(answer("Origin: https://c.example\r\n"), "403");
    assert_eq!(answer("Origin: https://a.example.evil\r\n"), "403");
    assert_eq!(answer(""), "403");
}

/// The address of the header is the client's from then on; a connection without one is closed.
#[test]
fn enable_proxy_protocol_takes_the_clients_address() {
    only_our_broker!("came with 2.1");
    let v1 = b"PROXY TCP4 192.0.2.7 192.0.2.9 54321 1883\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([192, 0, 2, 7, 192, 0, 2, 9, 0xd4, 0x31, 0x07, 0x5b]);
    for (version, header, other) in [(1, &v1, &v2), (2, &v2, &v1)] {
        let text = format!(
            "allow_anonymous true\nlistener {{port}} 127.0.0.1\nenable_proxy_protocol {version}\n"
        );
        let broker = Broker::config(&text);
        assert_eq!(connack(broker.port(), header, HELLO), Some(0), "version {version}");
        let log = broker.log();
        assert!(log.contains("192.0.2.7:54321 as c"), "version {version}: {log}");
        assert_eq!(connack(broker.port(), other, HELLO), None, "version {version}");
        // Longer than a signature, so that the broker need not wait for more.
        let bare = "10 [ <MQTT> 04 02 003c <a-long-client-id> ]";
        assert_eq!(connack(broker.port(), b"", bare), None, "version {version}");
    }
}

/// The old way to name the listener.
#[test]
fn port_and_bind_address_open_the_default_listener() {
    let broker = Broker::config("port {port}\nbind_address 127.0.0.1\nallow_anonymous true\n");
    assert_eq!(connack(broker.port(), b"", HELLO), Some(0));
    let broker = Broker::config(&format!("allow_anonymous true\n{LISTENERS}"));
    assert!(!accepts("127.0.0.2", broker.port()), "an address that was not named");
}

/// A PROXY header of version 2 from 192.0.2.7, with what the proxy says of the client's TLS.
fn proxy_v2(tls: Option<(u8, &str)>) -> Vec<u8> {
    let mut body = vec![192, 0, 2, 7, 192, 0, 2, 9, 0xd4, 0x31, 0x07, 0x5b];
    if let Some((client, common_name)) = tls {
        // PP2_TYPE_SSL: client flags, verify (0: the certificate is good), then the name.
        let mut field = vec![client, 0, 0, 0, 0, 0x22, 0, common_name.len() as u8];
        field.extend_from_slice(common_name.as_bytes());
        body.extend_from_slice(&[0x20, 0, field.len() as u8]);
        body.extend(field);
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec();
    header.push(body.len() as u8);
    header.extend(body);
    header
}

#[test]
fn proxy_protocol_v2_require_tls_wants_tls_before_the_proxy() {
    only_our_broker!("enable_proxy_protocol came with 2.1");
    let broker = Broker::prepared(
        broker_under_test(),
        "allow_anonymous true\nlistener {port} 127.0.0.1\nenable_proxy_protocol 2\n\
         proxy_protocol_v2_require_tls true\nuse_identity_as_username true\n",
    )
    .started();
    let ask = |tls| connack(broker.port(), &proxy_v2(tls), HELLO);
    assert_eq!(ask(None), None);
    assert_eq!(ask(Some((0, "pump"))), None, "a field that says: no TLS");
    assert_eq!(ask(Some((0x07, "pump"))), Some(0));
    let log = broker.log();
    assert!(log.contains("the PROXY header shows no TLS"), "{log}");
    assert!(log.contains("from 192.0.2.7:54321") && log.contains("u'pump'"), "{log}");
    // Without the version that can say it, there is nothing to look at.
    let text = "listener {port}\nenable_proxy_protocol 1\nproxy_protocol_v2_require_tls true\n";
    let said = Broker::prepared(broker_under_test(), text).run_to_end(&["--test-config"]).exits(3);
    assert!(said.err().contains("add enable_proxy_protocol 2"), "{said}");
}
