//! Issue 2, point 3: `mqttd -c FILE` with `mosquitto.conf` syntax, the lines of the articles, the
//! messages for mistakes, the flags, and the start without a config file.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::notation::{Pattern, show};
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{self, TempDir, broker_is_peer, broker_under_test};
use mqttd_tests::process::{self, Finished};
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_broker};

fn hello(broker: &Broker) {
    let mut sub = Tools::UnderTest.subscribe(broker, &["-t", "mqtt", "-v"]);
    publish(broker, &["-t", "mqtt", "-m", "Hello MQTT"]);
    sub.expect_line("mqtt Hello MQTT");
}

/// A password file with alice/secret.
fn alice() -> String {
    let dir = TempDir::new();
    let file = dir.file("pwfile");
    Tools::Mosquitto.run("passwd", &["-c", "-b", &file, "alice", "secret"]).ok();
    fs::read_to_string(file).unwrap()
}

/// Runs the broker on a config it must refuse; returns all it said.
#[track_caller]
fn refused(lines: &str) -> Finished {
    let broker = Broker::prepared(broker_under_test(), lines);
    let said = broker.run_to_end(&[]);
    assert_ne!(said.code(), 0, "{said}");
    said
}

#[test]
fn every_directive_of_the_walkthrough_is_taken() {
    let text = "\
# comment in the first column

pid_file {dir}/mosquitto.pid
persistence true
persistence_location {dir}/
persistence_file my.db
autosave_interval 1800
log_dest file {dir}/mosquitto.log
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages true
log_timestamp true
retain_available true
persistent_client_expiration 2w
sys_interval 10
max_inflight_messages 20
max_queued_messages 1000
max_packet_size 1000000
max_keepalive 65535
allow_anonymous true
include_dir {dir}/conf.d
port {port}
bind_address 127.0.0.1

listener {ws} 127.0.0.1
protocol websockets
max_connections 100
";
    let broker = Broker::prepared(broker_under_test(), text);
    fs::create_dir(broker.file("conf.d")).unwrap();
    let mut broker = broker.started();
    hello(&broker);
    Peer::joined(&broker, Carrier::WebSocket, Level::V311, "ws").expect_nothing();
    let pid = fs::read_to_string(broker.file("mosquitto.pid")).unwrap();
    assert_eq!(pid.trim(), broker.id().to_string());
    broker.stop();
    assert!(!fs::exists(broker.file("mosquitto.pid")).unwrap(), "removed at the end");
}

/// Windows line ends and white space at the end of a line.
#[test]
fn crlf_and_trailing_blanks_are_tolerated() {
    let text = "listener {port} 127.0.0.1\r\nallow_anonymous true  \r\n\r\n# end\r\n";
    hello(&Broker::config(text));
}

/// The article's line as it stands: the tail is not part of a boolean.
#[test]
fn a_comment_behind_a_boolean() {
    let text = "listener {port} 127.0.0.1\nallow_anonymous false       #不允许匿名使用\n";
    let broker = Broker::config(text);
    Tools::UnderTest.publish(&broker, &["-t", "t", "-m", "x"]).exits(5);
}

/// The article's whole file.
const ARTICLE: &str = "\
# 监听端口
listener {port} 127.0.0.1       # 端口
allow_anonymous false       #不允许匿名使用
password_file {dir}/pwfile  #账号密码文件
";

#[test]
fn the_articles_own_lines() {
    only_our_broker!("mosquitto takes a comment behind a path as part of the path");
    let broker = Broker::prepared(broker_under_test(), ARTICLE);
    broker.write("pwfile", &alice());
    let broker = broker.started();
    Tools::UnderTest.publish(&broker, &["-t", "t", "-m", "x"]).exits(5);
    publish(&broker, &["-t", "t", "-m", "x", "-u", "alice", "-P", "secret"]);
    // The warning names the line of the file (one later when root's `user` line was put first).
    let line = 4 + usize::from(place::is_root());
    let place = format!("mosquitto.conf:{line}");
    let log = broker.log();
    assert!(log.contains(&place) && log.contains("password_file"), "no warning for {place}\n{log}");
}

/// Unless a file of the literal name exists: then Mosquitto's reading is the right one.
#[test]
fn a_file_whose_name_holds_a_hash() {
    let text = "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {dir}/pw  #1\n";
    let broker = Broker::prepared(broker_under_test(), text);
    broker.write("pw  #1", &alice());
    let broker = broker.started();
    publish(&broker, &["-t", "t", "-m", "x", "-u", "alice", "-P", "secret"]);
}

#[test]
fn an_unknown_directive_names_file_line_and_neighbour() {
    // The line that `Broker::prepared` puts first for root counts.
    let line = 3 + usize::from(place::is_root());
    let said = refused("# one\nlistener {port} 127.0.0.1\nallow_anonymus true\n").exits(3);
    let all = said.out() + &said.err();
    assert!(all.contains("allow_anonymus"), "{all}");
    assert!(all.contains(&format!("mosquitto.conf:{line}")), "{all}");
    if !broker_is_peer() {
        assert!(all.replace("allow_anonymus", "").contains("allow_anonymous"), "{all}");
    }
}

#[test]
fn mistakes_are_refused_with_file_and_line() {
    let line = 2 + usize::from(place::is_root());
    let mistakes = [
        "allow_anonymous perhaps",
        "allow_anonymous",
        "listener",
        "listener many",
        "listener 70000",
        "max_queued_messages few",
        "password_file",
        "persistent_client_expiration soon",
        "log_dest nowhere",
        "log_type gossip",
        "protocol carrier-pigeon",
    ];
    for mistake in mistakes {
        if broker_is_peer() && mistake == "max_queued_messages few" {
            continue; // read as 0 by 2.0.11
        }
        let said = refused(&format!("listener {{port}} 127.0.0.1\n{mistake}\n"));
        let all = said.out() + &said.err();
        assert_eq!(said.code(), 3, "{mistake}: {all}");
        let word = mistake.split(' ').next().unwrap();
        assert!(all.contains(&format!("mosquitto.conf:{line}")), "{mistake}: {all}");
        // 2.0.11 says "port" for the port of a listener.
        assert!(broker_is_peer() || all.contains(word), "{mistake}: {all}");
    }
}

#[test]
fn a_directive_given_twice_is_refused() {
    let said = refused("listener {port} 127.0.0.1\npid_file {dir}/a\npid_file {dir}/b\n");
    assert!((said.out() + &said.err()).contains("pid_file"), "{said}");
    said.exits(3);
}

#[test]
fn a_config_file_that_is_not_there() {
    let mut command = Command::new(broker_under_test());
    command.args(["-c", "/nonexistent/mosquitto.conf"]);
    let said = process::run(command, b"").exits(3);
    assert!((said.out() + &said.err()).contains("/nonexistent/mosquitto.conf"), "{said}");
}

#[test]
fn a_password_or_acl_file_that_is_not_there() {
    for directive in ["password_file", "acl_file"] {
        let said = refused(&format!("listener {{port}} 127.0.0.1\n{directive} {{dir}}/missing\n"));
        let all = said.out() + &said.err();
        assert!(all.contains("missing"), "{all}");
        if !broker_is_peer() {
            assert_eq!(said.code(), 13, "as Mosquitto 2.1: {all}");
        }
    }
}

#[test]
fn a_port_in_use_is_said() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let said = refused(&format!("listener {port} 127.0.0.1\n")).exits(1);
    assert!((said.out() + &said.err()).to_lowercase().contains("in use"), "{said}");
}

#[test]
fn test_config_checks_and_ends() {
    only_our_broker!("--test-config came with Mosquitto 2.1");
    let good = Broker::prepared(broker_under_test(), "listener {port} 127.0.0.1\n");
    good.run_to_end(&["--test-config"]).ok();
    let bad = Broker::prepared(broker_under_test(), "listner {port}\n");
    let said = bad.run_to_end(&["--test-config"]).exits(3);
    assert!((said.out() + &said.err()).contains("listener"), "{said}");
    // The check must not need the port, nor take it.
    let _other = TcpListener::bind(("127.0.0.1", good.port())).unwrap();
    good.run_to_end(&["--test-config"]).ok();
}

#[test]
fn include_dir_reads_conf_files_in_order() {
    let text = format!("include_dir {{dir}}/conf.d\n{LISTENERS}");
    let broker = Broker::prepared(broker_under_test(), &text);
    fs::create_dir(broker.file("conf.d")).unwrap();
    broker.write("conf.d/10-users.conf", &format!("password_file {}\n", broker.file("pwfile")));
    broker.write("conf.d/20-closed.conf", "allow_anonymous false\n");
    broker.write("conf.d/ignored.txt", "this is no config\n");
    broker.write("pwfile", &alice());
    let broker = broker.started();
    Tools::UnderTest.publish(&broker, &["-t", "t", "-m", "x"]).exits(5);
    publish(&broker, &["-t", "t", "-m", "x", "-u", "alice", "-P", "secret"]);
}

#[test]
fn a_mistake_in_an_included_file_names_that_file() {
    let broker = Broker::prepared(broker_under_test(), "include_dir {dir}/conf.d\n");
    fs::create_dir(broker.file("conf.d")).unwrap();
    broker.write("conf.d/wrong.conf", "# fine\nnonsense 1\n");
    let said = broker.run_to_end(&[]).exits(3);
    let all = said.out() + &said.err();
    assert!(all.contains("wrong.conf:2") && all.contains("nonsense"), "{all}");
}

/// Several listeners in one file; options behind one belong to it.
#[test]
fn listeners_and_their_options() {
    let text = "\
allow_anonymous true
listener {port} 127.0.0.1
max_connections 2
listener {ws} 127.0.0.1
protocol websockets
";
    let broker = Broker::config(text);
    // Mosquitto 2.0.11 lets one more in than it says.
    let limit = if broker_is_peer() { 3 } else { 2 };
    let mut inside = Vec::new();
    for number in 0..limit {
        let id = number.to_string();
        inside.push(Peer::joined(&broker, Carrier::Tcp, Level::V311, &id));
    }
    let mut beyond = Peer::tcp(&broker);
    beyond.send_unless_closed("10 [ <MQTT> 04 02 003c <beyond> ]");
    assert!(!beyond.everything().starts_with(&[0x20, 2, 0, 0]), "beyond max_connections");
    // A place that is given back can be taken again, once the broker has seen the socket close.
    inside.pop().unwrap().leave();
    let is_free = process::until(|| {
        let arguments = ["-t", "t", "-m", "x"];
        (Tools::UnderTest.publish(&broker, &arguments).code() == 0).then_some(())
    });
    assert!(is_free.is_some(), "{}", broker.log());
    let _web = Peer::joined(&broker, Carrier::WebSocket, Level::V311, "4");
}

#[test]
fn log_dest_file_and_connection_messages() {
    for shown in [true, false] {
        let text = format!(
            "log_dest file {{dir}}/own.log\nconnection_messages {shown}\nallow_anonymous true\n\
             {LISTENERS}"
        );
        let mut broker = Broker::config(&text);
        Peer::joined(&broker, Carrier::Tcp, Level::V311, "somebody").leave();
        broker.stop();
        let log = fs::read_to_string(broker.file("own.log")).unwrap();
        assert_eq!(log.contains("somebody"), shown, "{log}");
        assert!(log.contains("starting"), "{log}");
    }
}

#[test]
fn log_type_none_of_the_loud_ones() {
    let text = format!("log_type error\nallow_anonymous true\n{LISTENERS}");
    let mut broker = Broker::config(&text);
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "somebody").leave();
    broker.stop();
    assert!(!broker.log().contains("somebody"), "{}", broker.log());
}

#[test]
fn retain_available_false_refuses_retained_messages() {
    let broker = Broker::with("retain_available false");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.send("31 [ <t> 'x' ]");
    peer.expect_closed();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "c");
    peer.send("31 [ <t> [ ] 'x' ]");
    peer.expect_disconnect(0x9a);
}

#[test]
fn max_keepalive_is_told_in_5_0_and_refuses_the_older_ones() {
    let broker = Broker::with("max_keepalive 100");
    if !broker_is_peer() {
        // As Mosquitto 2.1; 2.0.11 lets them in.
        let mut peer = Peer::tcp(&broker);
        peer.send("10 [ <MQTT> 04 02 00c8 <c> ]");
        peer.expect("20 02 00 02");
    }
    let mut peer = Peer::tcp(&broker);
    peer.send("10 [ <MQTT> 05 02 00c8 [ ] <c> ]");
    let answer = peer.packet("CONNACK");
    let keep_alive = Pattern::parse("13 0064").bytes();
    assert!(answer.windows(3).any(|it| it == keep_alive), "{}", show(&answer));
}

#[test]
fn max_qos_is_told_in_5_0() {
    let text = "allow_anonymous true\nlistener {port} 127.0.0.1\nmax_qos 1\n";
    let broker = Broker::config(text);
    let mut peer = Peer::tcp(&broker);
    peer.speaks(Level::V5);
    peer.send("10 [ <MQTT> 05 02 003c [ ] <c> ]");
    let answer = peer.packet("CONNACK");
    assert!(answer.windows(2).any(|it| it == [0x24, 1]), "{}", show(&answer));
    peer.send("82 [ 0001 [ ] <t> 02 ]");
    peer.expect("90 [ 0001 [ ] 01 ]");
    peer.send("34 [ <t> 0001 [ ] 'x' ]");
    peer.expect_disconnect(0x9b);
}

/// Without a config file Mosquitto 2 lets in whoever is on this machine, and nobody else.
#[test]
fn without_a_config_file_local_and_anonymous() {
    let broker = Broker::with_arguments(&["-p", "{port}"]);
    hello(&broker);
    if let Some(address) = outer_address() {
        let far =
            TcpStream::connect_timeout(&(address, broker.port()).into(), Duration::from_secs(2));
        assert!(far.is_err(), "listens on {address}");
    } else {
        place::say_skipped(module_path!(), "this machine has no address but loopback");
    }
}

#[test]
fn without_a_config_file_ipv6_loopback_too() {
    let broker = Broker::with_arguments(&["-p", "{port}"]);
    if TcpListener::bind("[::1]:0").is_err() {
        place::say_skipped(module_path!(), "no IPv6 here");
        return;
    }
    let mut socket = TcpStream::connect(("::1", broker.port())).unwrap();
    socket.set_read_timeout(Some(process::PATIENCE)).unwrap();
    socket.write_all(&Pattern::parse("10 [ <MQTT> 04 02 003c <c> ]").bytes()).unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

/// The standard port, when nobody on this machine has it.
#[test]
fn without_arguments_the_port_is_1883() {
    let lock = UdpSocket::bind("127.0.0.1:1883");
    if lock.is_err() || TcpListener::bind("127.0.0.1:1883").is_err() {
        place::say_skipped(module_path!(), "port 1883 is in use");
        return;
    }
    let dir = TempDir::new();
    let mut command = Command::new(broker_under_test());
    command.current_dir(dir.path());
    let mut broker = process::Running::spawn(command, b"");
    let arguments = ["-t", "t", "-m", "x"];
    let done = process::until(|| {
        assert!(broker.wait(Duration::ZERO).is_none(), "{}", broker.said());
        (Tools::UnderTest.run("pub", &arguments).code() == 0).then_some(())
    });
    assert!(done.is_some(), "nobody on 1883: {}", broker.said());
    // Root's broker becomes another user; an end by SIGTERM must work all the same.
    broker.signal("TERM");
    assert!(broker.wait(process::PATIENCE).is_some_and(|it| it.success()), "{}", broker.said());
}

/// This machine's own address on a network, found without sending anything.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

#[test]
fn verbose_and_quiet() {
    let broker = Broker::with_arguments(&["-p", "{port}", "-v"]);
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "somebody").expect_nothing();
    let seen = process::until(|| broker.log().contains("PINGREQ").then_some(()));
    assert!(seen.is_some(), "-v shows each packet\n{}", broker.log());
    if broker_is_peer() {
        return; // -q came with 2.1
    }
    let mut broker = Broker::with_arguments(&["-p", "{port}", "-q"]);
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "somebody").expect_nothing();
    broker.stop();
    assert_eq!(broker.log(), "");
}

#[test]
fn daemon_goes_to_the_background() {
    let text = format!("pid_file {{dir}}/pid\nlog_dest none\nallow_anonymous true\n{LISTENERS}");
    let broker = Broker::prepared(broker_under_test(), &text);
    broker.run_to_end(&["-d"]).ok();
    let pid = process::until(|| {
        let text = fs::read_to_string(broker.file("pid")).ok()?;
        text.trim().parse::<u32>().ok()
    });
    let pid = pid.expect("the daemon writes its pid file");
    let alive = process::until(|| {
        (Tools::UnderTest.publish(&broker, &["-t", "t", "-m", "x"]).code() == 0).then_some(())
    });
    process::signal(pid, "TERM");
    assert!(alive.is_some(), "the daemon does not answer");
    let gone = process::until(|| (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
    assert!(gone.is_some() || is_zombie(pid), "the daemon does not end");
}

/// In a container nobody may collect the daemon's end.
fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|it| it.contains(") Z "))
}

#[test]
fn an_unknown_flag_is_refused() {
    let mut command = Command::new(broker_under_test());
    command.arg("--no-such-flag");
    let said = process::run(command, b"").exits(3);
    assert!((said.out() + &said.err()).contains("--no-such-flag"), "{said}");
}
