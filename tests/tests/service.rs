//! Issue 7: the broker as a service: sockets of the service manager, `mqttd reload`, signals, the
//! clean stop. What the service manager is told is in `reload.rs`.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mqttd_tests::broker::LISTENERS;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{self, Port, broker_under_test, our_binary};
use mqttd_tests::process::{self, Finished, Running};
use mqttd_tests::script::python_program;
use mqttd_tests::{Broker, only_our_broker};

/// A broker in a process that holds these sockets and runs it so many times.
fn activated(broker: &Broker, runs: u32, addresses: &[String]) -> Running {
    let mut command = python_program("python3", "hold_sockets.py");
    command.arg(runs.to_string()).args(addresses).arg("--").arg(broker_under_test());
    command.args(["-c", &broker.file("mosquitto.conf")]);
    Running::spawn(command, b"")
}

/// The process number of the next run.
fn next_run(running: &mut Running) -> u32 {
    let line = running.line(process::PATIENCE).unwrap_or_else(|| panic!("{}", running.said()));
    line.strip_prefix("run ").and_then(|pid| pid.parse().ok()).expect("a process number")
}

/// CONNECT and its answer.
fn connack(mut stream: impl std::io::Read + std::io::Write) -> Option<[u8; 4]> {
    let mut answer = [0; 4];
    stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c").ok()?;
    stream.read_exact(&mut answer).ok().map(|()| answer)
}

const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

/// Four restarts while Clients connect all the time: none of them is refused a connection, and the
/// broker that comes serves whom the one that went has left waiting.
#[test]
fn the_service_managers_sockets_survive_restarts_and_nobody_is_refused() {
    only_our_broker!("2.0.11 knows no socket activation");
    let text = format!("allow_anonymous true\n{LISTENERS}listener 0 {{dir}}/s.sock\n");
    let broker = Broker::prepared(broker_under_test(), &text);
    let path = broker.file("s.sock");
    let addresses =
        [format!("127.0.0.1:{}", broker.port()), format!("127.0.0.1:{}", broker.ws_port()), path];
    let mut running = activated(&broker, 5, &addresses);
    let (is_over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut pid = next_run(&mut running);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (broker, is_over, served) = (&broker, &is_over, &served);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
                    stream.set_read_timeout(Some(process::PATIENCE)).unwrap();
                    if connack(stream) == Some(ACCEPTED) {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..4 {
            let before = served.load(Ordering::Relaxed);
            let more = || (served.load(Ordering::Relaxed) > before + 5).then_some(());
            assert!(process::until(more).is_some(), "{}", running.said());
            process::signal(pid, "TERM");
            pid = next_run(&mut running);
        }
        let stream = UnixStream::connect(&addresses[2]).expect("the file of the socket stays");
        assert_eq!(connack(stream), Some(ACCEPTED));
        is_over.store(true, Ordering::Relaxed);
    });
    running.expect_complaint("Using the service manager's socket for port");
    assert!(!running.said().contains("Opening ipv4"), "{}", running.said());
    process::signal(pid, "TERM");
    running.ends().ok();
}

/// `ListenStream=1883` makes one socket for IPv4 and IPv6; `listener 1883` wants two.
#[test]
fn one_socket_may_serve_both_families() {
    only_our_broker!("2.0.11 knows no socket activation");
    let port = Port::take();
    let text = format!("allow_anonymous true\nlistener {}\n", port.number);
    let broker = Broker::prepared(broker_under_test(), &text);
    let mut running = activated(&broker, 1, &[format!("[::]:{}", port.number)]);
    let pid = next_run(&mut running);
    running.expect_complaint(" running");
    for address in ["127.0.0.1", "::1"] {
        let stream = TcpStream::connect((address, port.number)).unwrap();
        assert_eq!(connack(stream), Some(ACCEPTED), "{address}");
    }
    process::signal(pid, "TERM");
    running.ends().ok();
}

#[test]
fn sockets_that_do_not_agree_with_the_listeners_are_named() {
    only_our_broker!("2.0.11 knows no socket activation");
    let (port, other) = (Port::take().number, Port::take().number);
    // The same port on another address: neither can be opened beside the other.
    let text = format!("allow_anonymous true\nlistener {port}\nsocket_domain ipv4\n");
    let broker = Broker::prepared(broker_under_test(), &text);
    let said = activated(&broker, 1, &[format!("127.0.0.1:{port}")]).ends().exits(1);
    for words in ["make the .socket unit and the listener lines agree", "socket0"] {
        assert!(said.err().contains(words), "{words}: {said}");
    }
    // Another port: the broker opens its own, and says what it does not use.
    let mut running = activated(&broker, 1, &[format!("127.0.0.1:{other}")]);
    let pid = next_run(&mut running);
    running.expect_complaint("no listener of the configuration has this address");
    let stream = process::until(|| TcpStream::connect(("127.0.0.1", port)).ok()).unwrap();
    assert_eq!(connack(stream), Some(ACCEPTED));
    process::signal(pid, "TERM");
    running.ends().ok();
}

#[test]
fn going_to_the_background_with_sockets_is_refused() {
    only_our_broker!("2.0.11 knows no socket activation");
    let broker = Broker::prepared(broker_under_test(), LISTENERS);
    let mut command = python_program("python3", "hold_sockets.py");
    command.args(["1", &format!("127.0.0.1:{}", broker.port()), "--"]).arg(broker_under_test());
    command.args(["-d", "-c", &broker.file("mosquitto.conf")]);
    process::run(command, b"").exits(3).complains("leave -d out, with Type=notify");
}

/// `mqttd reload` with these arguments.
fn reload(arguments: &[&str]) -> Finished {
    let mut command = Command::new(our_binary("mqttd"));
    command.arg("reload").args(arguments);
    process::run(command, b"")
}

#[test]
fn mqttd_reload_finds_the_broker_and_checks_first() {
    only_our_broker!("it is ours");
    let text = format!("allow_anonymous true\npid_file {{dir}}/pid\nmax_keepalive 60\n{LISTENERS}");
    let mut broker = Broker::config(&text);
    let config = broker.file("mosquitto.conf");
    let lines = |broker: &Broker, text: &str| broker.log().matches(text).count();
    let reloaded = |count: usize| {
        process::until(|| (lines(&broker, "Config reloaded.") == count).then_some(()))
    };
    let said = reload(&["-c", &config]).ok();
    assert_eq!(
        said.out(),
        format!("Process {} has been told; its log says how it went.\n", broker.id())
    );
    assert!(reloaded(1).is_some(), "{}", broker.log());
    reload(&["--pid", &broker.id().to_string()]).ok();
    assert!(reloaded(2).is_some(), "{}", broker.log());
    // Mistakes are found here, and the broker is not disturbed.
    let right = fs::read_to_string(&config).unwrap();
    broker.write("mosquitto.conf", &right.replace("max_keepalive 60", "max_keepalive soon"));
    let said = reload(&["-c", &config]).exits(3);
    assert!(
        said.err().contains("mosquitto.conf:") && said.err().contains("not been told"),
        "{said}"
    );
    assert_eq!(lines(&broker, "Reloading config."), 2, "{}", broker.log());
    broker.write("mosquitto.conf", &right);
    // Nobody to tell, or somebody else.
    reload(&[]).exits(1).complains("--pid N");
    reload(&["--pid", &std::process::id().to_string()]).exits(1).complains("not mqttd");
    broker.write("pid", "x\n");
    reload(&["-c", &config]).exits(1).complains("holds no process number");
    broker.stop();
    let said = reload(&["-c", &config]).exits(1);
    assert!(said.err().contains("does the broker run?"), "{said}");
}

#[test]
fn sigusr2_prints_the_subscriptions() {
    only_our_broker!("2.0.11 prints a tree");
    let broker = Broker::open();
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V5, "ann");
    ann.subscribe("a/+", 1);
    let mut bob = Peer::joined(&broker, Carrier::Tcp, Level::V311, "bob");
    bob.subscribe("$share/g/b/#", 2);
    bob.subscribe("a/+", 0);
    broker.signal("USR2");
    let wanted = "$share/g/b/# 2 bob\na/+ 0 bob\na/+ 1 ann\n";
    let seen = process::until(|| broker.log().contains(wanted).then_some(()));
    assert!(seen.is_some(), "{}", broker.log());
}

/// SIGUSR1 syncs, SIGRTMIN opens the log anew; neither disturbs anybody.
#[test]
fn sigusr1_and_sigrtmin_are_heard() {
    only_our_broker!("2.0.11 saves its database and has no SIGRTMIN");
    let broker = Broker::with(
        "persistence true\npersistence_location {dir}/\nsys_interval 1\nlog_dest file {dir}/log",
    );
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V311, "ann");
    ann.subscribe("$SYS/broker/store/syncs", 0);
    ann.receive();
    let log = broker.file("log");
    fs::rename(&log, broker.file("log.1")).unwrap();
    broker.signal("34");
    assert!(process::until(|| fs::exists(&log).unwrap().then_some(())).is_some());
    Peer::joined(&broker, Carrier::Tcp, Level::V311, "bob").leave();
    let seen = process::until(|| fs::read_to_string(&log).unwrap().contains("bob").then_some(()));
    assert!(seen.is_some(), "lines go to the new file");
    ann.publish_qos1(1, "t", "x");
    broker.signal("USR1");
    ann.send("c0 00");
    ann.expect_among_publishes("d0 00");
}

/// Who does not read does not keep the broker from ending.
#[test]
fn a_stop_is_bounded_whoever_is_connected() {
    only_our_broker!("measured of ours");
    let mut broker = Broker::open();
    let mut asleep = Peer::joined(&broker, Carrier::Tcp, Level::V5, "asleep");
    asleep.subscribe("flood", 0);
    let mut loud = Peer::joined(&broker, Carrier::Tcp, Level::V311, "loud");
    let payload = "x".repeat(100_000);
    for _ in 0..300 {
        loud.publish("flood", &payload);
    }
    let mut silent = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V5, "ann");
    let begun = Instant::now();
    broker.stop();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "the stop took {took:?}");
    ann.expect_disconnect(0x8b);
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
}

/// The pages of `--generate` come from the same table as `--help`.
#[test]
fn the_manual_and_completions_know_every_option_and_command() {
    only_our_broker!("it is ours");
    let generate = |what: &str| {
        let mut command = Command::new(our_binary("mqttd"));
        command.args(["--generate", what]);
        process::run(command, b"").ok().out()
    };
    let man = generate("man");
    for words in [
        ".TH mqttd 8",
        "config\\-file",
        "mqttd reload",
        "mqttd store import\\-mosquitto",
        "mqttd migrate",
        "SIGRTMIN",
        "LISTEN_FDS",
        "/etc/mqttd/mqttd.conf",
        "13 a password or ACL file",
        "mqttd.conf(5)",
    ] {
        assert!(man.contains(words), "{words}\n{man}");
    }
    assert!(!man.contains("in\\-background"), "{man}");
    for shell in ["bash", "zsh", "fish"] {
        let script = generate(shell);
        for word in ["test-config", "reload", "import-mosquitto"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    let mut bash = Command::new("bash");
    bash.args(["-n", "/dev/stdin"]);
    process::run(bash, generate("bash").as_bytes()).ok();
}

/// A port that only root may open.
fn low_port() -> u16 {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (600..1000).find(is_free).expect("a free port below 1024")
}

/// Started as root, the broker opens what only root may open and is somebody else from then on.
#[test]
fn root_is_given_up_once_the_ports_are_open() {
    only_our_broker!("2.0.11 does the same in another order");
    if !place::is_root() {
        place::say_skipped(module_path!(), "only root can become somebody else");
        return;
    }
    let (first, second) = (low_port(), low_port() - 1);
    let text = format!(
        "user nobody\npid_file {{dir}}/pid\nallow_anonymous true\nlistener {{port}} 127.0.0.1\n\
         listener {first} 127.0.0.1\nlistener 0 {{dir}}/s.sock\n"
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    fs::set_permissions(broker.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let config = broker.file("mosquitto.conf");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let mut broker = broker.started();
    let stream = TcpStream::connect(("127.0.0.1", first)).unwrap();
    assert_eq!(connack(stream), Some(ACCEPTED));
    let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
    for name in ["Uid:", "Gid:", "Groups:"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(!line.split_whitespace().skip(1).any(|id| id == "0"), "{line}");
    }
    let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    // What the new user can't open keeps everything as it is, and the log says why.
    let limit = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if limit.trim() == "1024" {
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}listener {second} 127.0.0.1\n")).unwrap();
        broker.hup();
        let told = "ports below 1024 are open to root and CAP_NET_BIND_SERVICE only";
        let seen = process::until(|| broker.log().contains(told).then_some(()));
        assert!(seen.is_some(), "{}", broker.log());
        let stream = TcpStream::connect(("127.0.0.1", first)).unwrap();
        assert_eq!(connack(stream), Some(ACCEPTED));
    }
    broker.stop();
    for name in ["pid", "s.sock"] {
        assert!(!fs::exists(broker.file(name)).unwrap(), "{name} is left behind");
    }
}

#[test]
fn a_user_that_is_not_there_ends_the_start() {
    only_our_broker!("2.0.11 has other words");
    if !place::is_root() {
        place::say_skipped(module_path!(), "only root can become somebody else");
        return;
    }
    let broker = Broker::prepared(broker_under_test(), "user no-such-user\nlistener {port}\n");
    let said = broker.run_to_end(&[]).exits(3);
    assert!(said.err().contains("user 'no-such-user' does not exist"), "{said}");
}
