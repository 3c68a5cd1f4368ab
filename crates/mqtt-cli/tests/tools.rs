//! What our tools do beyond Debian's, and whole runs: streams of lines, recordings, secrets, exit
//! codes when the broker goes away.

mod world;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use world::terminal::Terminal;
use world::{World, finish, run, said};

/// Feeds `input` to `mqtt-pub`.
fn publish(world: &World, args: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = world
        .ours("pub")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A tool that stops early closes the pipe; what it said is what counts.
    thread::spawn(move || stdin.write_all(&input));
    said(&finish(child))
}

/// What Debian's subscriber sees, without the first word that shows it is there.
fn seen(child: std::process::Child) -> String {
    let (code, out, _) = said(&finish(child));
    assert_eq!(code, 0);
    // collect() has taken the first byte of what it printed for its own word.
    let (_, rest) = out.split_once("ready/").unwrap();
    rest.split_once('.').unwrap().1.to_owned()
}

const SHOW: &str = "%p|%q %t.";

#[test]
fn every_way_to_give_a_payload_arrives() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let file = world.folder.path().join("payload");
    fs::write(&file, b"from\0file\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    for (args, input, payload) in [
        (&["-m", "-1"][..], &b""[..], &b"-1"[..]),
        (&["-f", &file], b"", b"from\0file\n"),
        (&["-s"], b"all of\nit\n", b"all of\nit\n"),
        (&["-s"], b"", b""),
        (&["-n"], b"", b""),
    ] {
        let collecting = world.collect("t", "%x|%t.", 1);
        let all: Vec<&str> =
            ["-t", "t", "-q", "2"].into_iter().chain(args.iter().copied()).collect();
        assert_eq!(publish(&world, &all, input), (0, String::new(), String::new()), "{args:?}");
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(seen(collecting), format!("{hex}|t."), "{args:?}");
    }
}

#[test]
fn lines_of_any_length_and_a_last_one_without_its_newline() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let collecting = world.collect("t", "%l|%t.", 4);
    let long = "x".repeat(300_000);
    let input = format!("one\n\n{long}\nlast");
    let published = publish(&world, &["-t", "t", "-l", "-q", "1"], input.as_bytes());
    assert_eq!(published, (0, String::new(), String::new()));
    assert_eq!(seen(collecting), "3|t.0|t.300000|t.4|t.");
    // An empty input is no error.
    assert_eq!(publish(&world, &["-t", "t", "-l"], b"").0, 0);
}

#[test]
fn topics_and_objects_on_lines() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let collecting = world.collect("l/#", SHOW, 4);
    let published = publish(&world, &["-l", "--topic-sep", " ", "-q", "1"], b"l/a 1 2\nl/b\n");
    assert_eq!(published.0, 0, "{published:?}");
    let objects = br#"{"topic":"l/c","payload":{"a":1},"qos":2}
{"payload":"text"}
"#;
    let published = publish(&world, &["-l", "--json-lines", "-t", "l/d", "-q", "2"], objects);
    assert_eq!(published.0, 0, "{published:?}");
    assert_eq!(seen(collecting), "1 2|1 l/a.|1 l/b.{\"a\":1}|2 l/c.text|2 l/d.");
    let wrong = publish(&world, &["-l", "--json-lines"], b"{\"topic\":\"a\"}\n{}\n");
    assert_eq!(wrong.0, 1);
    assert!(wrong.2.contains("line 2") && wrong.2.contains("-t"), "{wrong:?}");
    let wrong = publish(&world, &["-l", "--topic-sep", " "], b"a/# x\n");
    assert!(wrong.0 == 1 && wrong.2.contains("line 1"), "{wrong:?}");
}

#[test]
fn ten_thousand_acknowledged_lines_arrive_in_order() {
    let Some(()) = world::peers() else { return };
    // On a busy machine more than 1000 wait for the subscriber, which is the default bound.
    let world = World::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut subscriber = world
        .ours("sub")
        .args(["-t", "many", "-t", "ready", "-q", "2", "-C", "10001"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    world.retain(&["-t", "ready", "-m", "R"]);
    let mut first = [0; 2];
    // A message that is alone is seen at once, also through a pipe.
    subscriber.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"R\n");
    let input: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    let published = publish(&world, &["-t", "many", "-l", "-q", "2"], input.as_bytes());
    assert_eq!(published, (0, String::new(), String::new()));
    assert_eq!(said(&finish(subscriber)).1, input);
}

#[test]
fn a_recording_is_replayed_byte_for_byte() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    #[rustfmt::skip]
    world.retain(&[
        "-t", "r/props", "-m", "p", "-V", "5", "-q", "1",
        "-D", "publish", "content-type", "t/x", "-D", "publish", "user-property", "k", "v",
    ]);
    world.retain(&["-t", "r/text", "-m", "say \"hi\"\n\u{1}ü"]);
    let binary = world.folder.path().join("binary");
    fs::write(&binary, (0..=255).collect::<Vec<u8>>()).unwrap();
    world.retain(&["-t", "r/binary", "-f", binary.to_str().unwrap()]);
    let record = |name: &str| {
        let path = world.folder.path().join(name).to_str().unwrap().to_owned();
        #[rustfmt::skip]
        let args = ["-V", "5", "-q", "1", "-t", "r/#", "-C", "3", "-W", "10", "--record", &path];
        let recorded = said(&run(world.ours("sub").args(args)));
        assert_eq!(recorded.0, 0, "{recorded:?}");
        path
    };
    // A recorded line without its time.
    let lines = |path: &str| {
        let text = fs::read_to_string(path).unwrap();
        let mut lines: Vec<String> =
            text.lines().map(|line| line.split_once(',').unwrap().1.to_owned()).collect();
        lines.sort();
        lines
    };
    let first = record("first");
    for topic in ["r/props", "r/text", "r/binary"] {
        let cleared = run(world.theirs("mosquitto_pub").args(["-t", topic, "-n", "-r"]));
        assert!(cleared.status.success());
    }
    let replayed = run(world.ours("pub").args(["-V", "5", "--replay", &first, "--speed", "max"]));
    assert_eq!(said(&replayed), (0, String::new(), String::new()));
    let second = record("second");
    let without = run(world.ours("pub").args(["--replay", &first, "--speed", "max"]));
    assert!(said(&without).2.contains("-V 5"), "{without:?}");
    assert_eq!(lines(&first), lines(&second));
    assert_eq!(lines(&first).len(), 3);
}

#[test]
fn json_and_csv_lines_are_unambiguous() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "j", "-m", "a,\"b\"\nc"]);
    let args = ["-t", "j", "-C", "1", "-W", "10"];
    let (_, json, _) = said(&run(world.ours("sub").args(args).arg("--json")));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["payload"], "a,\"b\"\nc");
    assert_eq!((&value["qos"], &value["retain"]), (&0.into(), &true.into()));
    let (_, csv, _) = said(&run(world.ours("sub").args(args).arg("--csv")));
    assert!(csv.ends_with(",j,0,1,\"a,\"\"b\"\"\nc\"\n"), "{csv}");
    let (_, zero, _) = said(&run(world.ours("sub").args(args).args(["-v", "-0"])));
    assert_eq!(zero, "j a,\"b\"\nc\0");
}

#[test]
fn retained_messages_are_cleared() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for topic in ["c/1", "c/2", "keep/1"] {
        world.retain(&["-t", topic, "-m", "x"]);
    }
    let args = ["-t", "#", "-T", "keep/#", "--remove-retained", "-C", "2", "-W", "10", "-v"];
    let (code, out, _) = said(&run(world.ours("sub").args(args)));
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!((code, lines), (0, vec!["c/1 x", "c/2 x"]));
    let left = said(&run(world.theirs("mosquitto_sub").args(["-t", "#", "-W", "1", "-v"])));
    assert_eq!(left.1, "keep/1 x\n");
}

#[test]
fn until_stops_at_the_text() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "u", "-m", "all is DONE now"]);
    let found = said(&run(world.ours("sub").args(["-t", "u", "--until", "DONE", "-W", "10"])));
    assert_eq!(found, (0, "all is DONE now\n".to_owned(), String::new()));
}

#[test]
fn secrets_come_from_where_nobody_looks() {
    let Some(()) = world::peers() else { return };
    let world = World::closed();
    let file = world.folder.path().join("mqtt-password");
    fs::write(&file, "secret\n").unwrap();
    let base = ["-u", "alice", "-t", "a", "-m", "x", "-q", "1"];
    let publish = |prepare: &dyn Fn(&mut Command)| {
        let mut command = world.ours("pub");
        command.args(base);
        prepare(&mut command);
        said(&run(&mut command)).0
    };
    assert_eq!(publish(&|_| {}), 5);
    assert_eq!(
        publish(&|command| {
            command.env("MQTT_PASSWORD", "secret");
        }),
        0
    );
    assert_eq!(
        publish(&|command| {
            command.env("MQTT_PASSWORD", "wrong");
        }),
        5
    );
    assert_eq!(
        publish(&|command| {
            command.arg("--password-file").arg(&file);
        }),
        0
    );
    let folder = world.folder.path().to_owned();
    assert_eq!(
        publish(&|command| {
            command.env("CREDENTIALS_DIRECTORY", &folder);
        }),
        0
    );
    // Nobody to ask.
    assert_eq!(
        publish(&|command| {
            command.arg("--ask-password");
        }),
        1
    );
    let url = format!("mqtt://alice:secre%74@127.0.0.1:{}/a", world.port);
    let by_url = run(world.ours("pub").args(["-L", &url, "-m", "x", "-q", "1"]));
    assert_eq!(said(&by_url), (0, String::new(), String::new()));
}

#[test]
fn a_prompt_on_a_terminal_does_not_echo() {
    let Some(()) = world::peers() else { return };
    let world = World::closed();
    let mut command = world.ours("pub");
    command.args(["-u", "alice", "--ask-password", "-t", "a", "-m", "x", "-q", "1"]);
    let mut terminal = Terminal::start(&command);
    terminal.shows("Password: ");
    terminal.types("secret:secret");
    let (code, shown) = terminal.ends();
    assert!(code == 0 && !shown.contains("secret"), "{code}: {shown}");
}

#[test]
fn a_progress_bar_shows_on_a_terminal_and_nowhere_else() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let args = ["-t", "a", "-m", "x", "--repeat", "4", "--repeat-delay", "0.3"];
    let (code, shown) = Terminal::start(world.ours("pub").args(args)).ends();
    assert!(code == 0 && shown.contains("/4"), "{code}: {shown}");
    let silent = run(world.ours("pub").args(args));
    assert_eq!(said(&silent), (0, String::new(), String::new()));
}

#[test]
fn a_message_that_is_not_acknowledged_is_no_success() {
    // A broker that says CONNACK, takes the message and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 1000];
            let _ = stream.read(&mut bytes).unwrap();
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            let _ = stream.read(&mut bytes).unwrap();
        }
    });
    for qos in ["1", "2"] {
        let output = run(Command::new(env!("CARGO_BIN_EXE_mqtt-pub"))
            .args(["-p", &port, "-t", "a", "-m", "x", "-q", qos])
            .stdin(Stdio::null()));
        let (code, _, error) = said(&output);
        assert!(error.starts_with("Error: The connection was lost"), "QoS {qos}: {error}");
        assert_eq!(code, 7, "QoS {qos}");
    }
    broker.join().unwrap();
}

#[test]
fn default_options_come_from_files_and_lose_against_the_line() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let config = world.folder.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("mosquitto_pub"), "# mine\n-t from/file\n-q 1\n").unwrap();
    fs::write(config.join("mqtt-profiles"), "[a]\n-q 0\n[b]\n-q 2\n-t from/profile\n").unwrap();
    let collecting = world.collect("from/#", SHOW, 3);
    for args in [
        &["-m", "1"][..],
        &["-m", "2", "-t", "from/line"],
        &["-m", "3", "--profile", "b", "-q", "1"],
    ] {
        let output = run(world.ours("pub").env("XDG_CONFIG_HOME", &config).args(args));
        assert_eq!(said(&output), (0, String::new(), String::new()));
    }
    let unknown =
        run(world.ours("pub").env("XDG_CONFIG_HOME", &config).args(["-m", "x", "--profile", "c"]));
    let (code, _, error) = said(&unknown);
    assert!(code == 1 && error.contains("it has: a, b"), "{error}");
    assert_eq!(seen(collecting), "1|1 from/file.2|1 from/line.3|1 from/profile.");
}

#[test]
fn requests_are_answered() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let mut responder = world
        .theirs("mosquitto_sub")
        .args(["-V", "5", "-t", "ready", "-t", "ask", "-C", "2", "-F", "%R %p"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    world.retain(&["-t", "ready", "-m", "R"]);
    let mut out = responder.stdout.take().unwrap();
    let mut first = [0; 3];
    out.read_exact(&mut first).unwrap();
    let asking = world
        .ours("rr")
        .args(["-t", "ask", "-e", "answer/1", "-m", "what", "-v", "-W", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut request = String::new();
    out.read_to_string(&mut request).unwrap();
    assert_eq!(request, "answer/1 what\n");
    responder.wait().unwrap();
    world.retain(&["-t", "answer/1", "-m", "that"]);
    assert_eq!(said(&finish(asking)), (0, "answer/1 that\n".to_owned(), String::new()));
}

#[test]
fn unsupported_tls_flags_are_refused_by_name() {
    for args in [
        #[cfg(not(feature = "psk"))]
        &["--psk", "12", "--psk-identity", "i"][..],
        &["--tls-engine", "e"][..],
        &["--keyform", "engine", "--key", "k", "--cert", "c"],
        &["--tls-version", "tlsv1.1"],
    ] {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_mqtt-pub"));
        let (code, _, error) = said(&run(command.args(["-t", "a", "-m", "b"]).args(args)));
        assert!(code == 1 && error.contains(args[0]), "{args:?}: {error}");
        let why = ["rustls", "RFC 8996", "OpenSSL"].iter().any(|word| error.contains(word));
        assert!(why, "why? {error}");
    }
}

/// Reads one short packet, or `None` at the end.
fn read_packet(stream: &mut std::net::TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut packet = head.to_vec();
    packet.resize(2 + usize::from(head[1]), 0);
    stream.read_exact(&mut packet[2..]).ok()?;
    Some(packet)
}

#[test]
fn no_line_is_lost_when_the_connection_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = thread::spawn(move || {
        let mut payloads = Vec::new();
        for round in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            read_packet(&mut stream).unwrap();
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            // Each connection but the last one ends with messages that were not acknowledged.
            let mut left = if round < 2 { 30 } else { usize::MAX };
            while let Some(packet) = read_packet(&mut stream) {
                if packet[0] >> 4 != 3 {
                    break;
                }
                left -= 1;
                if left == 0 {
                    break;
                }
                if left > 5 {
                    stream.write_all(&[0x40, 2, packet[5], packet[6]]).unwrap();
                    payloads.push(String::from_utf8(packet[7..].to_vec()).unwrap());
                }
            }
        }
        payloads
    });
    let lines: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mqtt-pub"))
        .args(["-p", &port, "-t", "t", "-l", "-q", "1", "-i", "liner", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let (code, _, error) = said(&finish(child));
    assert_eq!(code, 0, "{error}");
    assert_eq!(error.matches("trying again").count(), 2, "{error}");
    // An acknowledgement that was lost with its connection brings the line again, as QoS 1 does.
    let mut arrived = Vec::new();
    for payload in broker.join().unwrap() {
        if !arrived.contains(&payload) {
            arrived.push(payload);
        }
    }
    assert_eq!(arrived, lines);
}

#[test]
fn a_subscriber_says_that_it_was_away_and_ends_quietly_with_its_reader() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = thread::spawn(move || {
        for round in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            read_packet(&mut stream).unwrap();
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            let subscribe = read_packet(&mut stream).unwrap();
            stream.write_all(&[0x90, 3, subscribe[2], subscribe[3], 0]).unwrap();
            if round == 1 {
                stream.write_all(b"\x30\x04\0\x01tx").unwrap();
                while read_packet(&mut stream).is_some_and(|packet| packet[0] != 0xE0) {}
            }
        }
    });
    let output = run(Command::new(env!("CARGO_BIN_EXE_mqtt-sub"))
        .args(["-p", &port, "-t", "t", "-v", "-C", "1", "-W", "15"])
        .env("NO_COLOR", "")
        .stdin(Stdio::null()));
    let (code, out, error) = said(&output);
    assert_eq!((code, out.as_str()), (0, "t x\n"));
    assert!(
        error.contains("trying again in 0.1 s") && error.contains("connected again"),
        "{error}"
    );
    broker.join().unwrap();
}

#[test]
fn colours_are_only_there_when_they_are_wanted() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "c", "-m", "x"]);
    let args = ["-t", "c", "-C", "1", "-W", "10", "-v"];
    let shown = |extra: &[&str]| said(&run(world.ours("sub").args(args).args(extra))).1;
    assert_eq!(shown(&[]), "c x\n");
    assert_eq!(shown(&["--color", "never"]), "c x\n");
    assert_eq!(shown(&["--color", "always"]), "\u{1b}[36mc\u{1b}[0m x\n");
    let as_mosquitto = run(world.ours_as("mosquitto_sub").args(args).args(["--color", "always"]));
    assert_eq!(said(&as_mosquitto).1, "c x\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for number in 0..20 {
        world.retain(&["-t", &format!("e/{number}"), "-m", "x"]);
    }
    let mut child = world
        .ours("sub")
        .args(["-t", "e/#", "-W", "15"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 2];
    out.read_exact(&mut first).unwrap();
    drop(out);
    world.retain(&["-t", "e/more", "-m", "x"]);
    let (code, _, error) = said(&finish(child));
    assert_eq!((code, error.as_str()), (0, ""));
}
