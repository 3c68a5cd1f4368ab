//! Streams of messages: rates, windows, recordings with their timing, statistics, the screen, lost
//! brokers, signals.

mod world;

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use world::terminal::Terminal;
use world::{World, finish, run, said};

fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Feeds lines to a tool and waits for its end.
fn fed(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = piped(command.stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    said(&finish(child))
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Our subscriber, once it has printed the word that was kept for it.
fn subscribed(world: &World, args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    world.retain(&["-t", "ready", "-m", "READY"]);
    let mut child = piped(world.ours("sub").args(["-t", "ready"]).args(args));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "READY\n");
    (child, out)
}

/// Reads one short packet, or `None` at the end.
fn read_packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut packet = head.to_vec();
    packet.resize(2 + usize::from(head[1]), 0);
    stream.read_exact(&mut packet[2..]).ok()?;
    Some(packet)
}

/// Accepts a client, which has said CONNECT.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    read_packet(&mut stream).unwrap();
    stream.write_all(&[0x20, 2, 0, 0]).unwrap();
    stream
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_rate_is_not_exceeded() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for args in [&["--rate", "10", "-l"][..], &["--rate", "600/m", "-m", "x", "--repeat", "6"]] {
        let start = Instant::now();
        let published = fed(world.ours("pub").args(["-t", "r"]).args(args), &lines(6));
        assert_eq!(published, (0, String::new(), String::new()));
        // Five distances of a tenth of a second.
        assert!(start.elapsed() >= Duration::from_millis(500), "{args:?}: {:?}", start.elapsed());
    }
}

#[test]
fn message_rates_add_up() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for number in 0..30 {
        world.retain(&["-t", &format!("m/{number}"), "-m", "x"]);
    }
    let args = ["-t", "m/#", "--message-rate", "-W", "3"];
    let (code, out, _) = said(&run(world.ours("sub").args(args)));
    let rates: Vec<u64> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((code, rates.iter().sum::<u64>()), (27, 30), "{out}");
    assert!(rates.len() >= 2, "one number a second: {out}");
}

#[test]
fn statistics_end_with_the_times_between_messages() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for number in 0..20 {
        world.retain(&["-t", &format!("s/{number}"), "-m", "x"]);
    }
    let args = ["-t", "s/#", "--stats", "--count", "20", "-W", "15"];
    let (code, out, err) = said(&run(world.ours("sub").args(args)));
    assert_eq!((code, out.lines().count()), (0, 20));
    let last = err.lines().last().unwrap();
    for part in ["20 messages in", "messages/s", "p50", "p90", "p99"] {
        assert!(last.contains(part), "{part}: {last}");
    }
}

#[test]
fn the_screen_has_one_line_for_each_topic() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "w/a", "-m", "old"]);
    world.retain(&["-t", "w/b", "-m", "bell\u{7}"]);
    let watching = piped(world.ours("sub").args(["-t", "w/#", "-w", "-W", "3"]));
    // Until it is there: it clears the message when it has seen it.
    thread::sleep(Duration::from_millis(500));
    world.retain(&["-t", "w/a", "-m", "new"]);
    let (code, out, _) = said(&finish(watching));
    let screen = out.rsplit("\u{1b}[H").next().unwrap();
    assert_eq!(screen, "w/a new\u{1b}[K\nw/b bell\u{b7}\u{1b}[K\n\u{1b}[J");
    assert_eq!(code, 27);
}

#[test]
fn latency_is_a_time_in_seconds() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let args = ["-t", "echo", "-e", "echo", "-m", "ping", "--latency", "-W", "15"];
    let (code, out, _) = said(&run(world.ours("rr").args(args)));
    let (payload, seconds) = out.trim_end().split_once('\n').unwrap();
    assert_eq!((code, payload), (0, "ping"));
    let seconds: f64 = seconds.parse().unwrap();
    assert!(seconds > 0.0 && seconds < 15.0, "{seconds}");
}

#[test]
fn a_random_filter_prints_about_its_share() {
    let Some(()) = world::peers() else { return };
    let world = World::with("allow_anonymous true\nmax_queued_messages 0\n");
    let share = |percent: &str| {
        let args = ["-t", "f", "-q", "1", "-C", "400", "--random-filter", percent, "-W", "15"];
        let mut child = piped(world.ours("sub").arg("-d").args(args));
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(out.any(|line| line.starts_with("Subscribed")));
        let published = fed(world.ours("pub").args(["-t", "f", "-l", "-q", "1"]), &lines(400));
        assert_eq!(published.0, 0, "{published:?}");
        let printed = out.filter(|line| line.parse::<u32>().is_ok()).count();
        assert_eq!(said(&finish(child)).0, 0);
        printed
    };
    // Ten standard deviations to either side.
    let half = share("50");
    assert!((100..=300).contains(&half), "{half} of 400");
    assert_eq!(share("100"), 400);
}

/// An hour between two messages.
const RECORDING: &str = r#"{"time":1000000000000000000,"topic":"p","payload":"first"}
{"time":1000003600000000000,"topic":"p","payload":"second"}
"#;

#[test]
fn a_recording_keeps_its_distances_times_the_speed() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let path = world.folder.path().join("recording");
    fs::write(&path, RECORDING).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let replay = |speed: &str| {
        let start = Instant::now();
        let args = ["--replay", &path, "--speed", speed, "-q", "1"];
        let (subscriber, mut out) = subscribed(&world, &["-t", "p", "-C", "3", "-W", "15"]);
        let replayed = said(&run(world.ours("pub").args(args)));
        assert_eq!(replayed, (0, String::new(), String::new()));
        let mut printed = String::new();
        out.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, "first\nsecond\n");
        finish(subscriber);
        start.elapsed()
    };
    // That it ends at all shows that it did not wait.
    replay("max");
    let took = replay("3600x");
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_loop_goes_on_until_it_is_told_to_end() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let path = world.folder.path().join("recording");
    fs::write(&path, RECORDING).unwrap();
    let (subscriber, mut out) = subscribed(&world, &["-t", "p", "-C", "8", "-W", "15"]);
    let args = ["--replay", path.to_str().unwrap(), "--speed", "max", "--loop", "--rate", "50"];
    let looping = piped(world.ours("pub").args(args));
    let mut printed = String::new();
    out.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "first\nsecond\n".repeat(4)[..printed.len()]);
    assert_eq!(printed.lines().count(), 7);
    finish(subscriber);
    signal(&looping, "-INT");
    assert_eq!(said(&finish(looping)), (0, String::new(), String::new()));
}

#[test]
fn no_more_messages_are_in_flight_than_allowed() {
    let (listener, port) = listener();
    let broker = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut arrived = Vec::new();
        while arrived.len() < 3 {
            arrived.push(read_packet(&mut stream).unwrap());
        }
        // A fourth would come within this time.
        stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        assert!(read_packet(&mut stream).is_none(), "more than three in flight");
        stream.set_read_timeout(None).unwrap();
        let mut acked = 0;
        while acked < 10 {
            while let Some(packet) = arrived.pop() {
                stream.write_all(&[0x40, 2, packet[5], packet[6]]).unwrap();
                acked += 1;
            }
            if acked < 10 {
                arrived.push(read_packet(&mut stream).unwrap());
            }
        }
        while read_packet(&mut stream).is_some_and(|packet| packet[0] != 0xE0) {}
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-pub"));
    command.args(["-p", &port, "-t", "t", "-l", "-q", "1", "-M", "3"]);
    assert_eq!(fed(&mut command, &lines(10)), (0, String::new(), String::new()));
    broker.join().unwrap();
}

#[test]
fn what_was_not_acknowledged_is_counted() {
    let (listener, port) = listener();
    let broker = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut arrived = 0;
        while let Some(packet) = read_packet(&mut stream).filter(|packet| packet[0] >> 4 == 3) {
            arrived += 1;
            if arrived <= 3 {
                stream.write_all(&[0x40, 2, packet[5], packet[6]]).unwrap();
            }
            if arrived == 10 {
                break;
            }
        }
        stream
    });
    let mut child = piped(
        Command::new(env!("CARGO_BIN_EXE_mqtt-pub"))
            .args(["-p", &port, "-t", "t", "-l", "-q", "1"])
            .stdin(Stdio::piped()),
    );
    child.stdin.take().unwrap().write_all(lines(10).as_bytes()).unwrap();
    let stream = broker.join().unwrap();
    // All ten are there and three of them acknowledged; the tool may have read that or not yet.
    thread::sleep(Duration::from_millis(300));
    signal(&child, "-TERM");
    let (code, _, err) = said(&finish(child));
    assert_eq!((code, err.as_str()), (1, "Error: 7 of 10 messages were not acknowledged.\n"));
    drop(stream);
}

/// The broker is stopped and started again while lines come in; each is a topic that is kept.
#[test]
fn no_line_is_lost_when_the_broker_restarts() {
    let Some(()) = world::peers() else { return };
    let mut world = World::open();
    // Never without a place: it would be the folder the tests run in.
    let place = world.folder.path().display().to_string();
    world.append(&format!("persistence true\npersistence_location {place}/\n"));
    world.restart();
    let mut publisher = piped(
        world
            .ours("pub")
            .args(["-l", "--topic-sep", " ", "-r", "-q", "1", "-i", "liner", "-c"])
            .stdin(Stdio::piped()),
    );
    let mut stdin = publisher.stdin.take().unwrap();
    let mut written = 0;
    for _ in 0..3 {
        for _ in 0..50 {
            writeln!(stdin, "k/{written} {written}").unwrap();
            written += 1;
        }
        if written == 50 {
            // The first connection has to work; only later ones are made again.
            let first = run(world.theirs("mosquitto_sub").args(["-t", "k/0", "-C", "1"]));
            assert_eq!(said(&first).1, "0\n");
        }
        world.restart();
    }
    drop(stdin);
    let (code, _, err) = said(&finish(publisher));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("trying again in"), "it should say so: {err}");
    let args = ["-t", "k/#", "-C", "150", "-W", "15"];
    let (code, out, _) = said(&run(world.ours("sub").args(args)));
    let mut kept: Vec<usize> = out.lines().map(|line| line.parse().unwrap()).collect();
    kept.sort_unstable();
    assert_eq!((code, kept), (0, (0..150).collect()));
}

/// More messages than there are Packet Identifiers: the end is told by what was published, not by
/// an identifier, which is somebody else's by then.
#[test]
fn all_lines_arrive_when_identifiers_begin_again() {
    const LINES: usize = 70_000;
    let (listener, port) = listener();
    let broker = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut packets = BufReader::new(stream.try_clone().unwrap());
        let mut acks = Vec::new();
        let mut payloads = Vec::new();
        let mut head = [0; 2];
        while packets.read_exact(&mut head).is_ok() && head[0] == 0x32 {
            let mut body = vec![0; usize::from(head[1])];
            packets.read_exact(&mut body).unwrap();
            acks.extend_from_slice(&[0x40, 2, body[3], body[4]]);
            payloads.push(String::from_utf8(body.split_off(5)).unwrap());
            // The window is full, or the client waits for the last ones.
            if packets.buffer().is_empty() {
                stream.write_all(&acks).unwrap();
                acks.clear();
            }
        }
        payloads
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-pub"));
    command.args(["-p", &port, "-V", "311", "-t", "t", "-q", "1", "-l"]);
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    assert_eq!(fed(&mut command, &lines(LINES)), (0, String::new(), String::new()));
    let payloads = broker.join().unwrap();
    assert_eq!(payloads.join("\n") + "\n", lines(LINES));
}

#[test]
fn signals_end_a_subscriber_in_order() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for name in ["-INT", "-TERM"] {
        let (child, _out) = subscribed(&world, &[]);
        signal(&child, name);
        let (code, _, err) = said(&finish(child));
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
    }
}

#[test]
fn a_pipe_that_wants_one_line_ends_quietly() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let script = format!(
        "{} -p {} -t ready -t 'h/#' -W 15 | head -1; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_mqtt-sub"),
        world.port
    );
    world.retain(&["-t", "ready", "-m", "READY"]);
    let mut child = piped(Command::new("bash").args(["-c", &script]).stdin(Stdio::null()));
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"READY\n");
    // The next line finds that head has gone.
    let published = fed(world.ours("pub").args(["-t", "h/x", "-l", "--rate", "20"]), &lines(40));
    assert_eq!(published.0, 0);
    assert_eq!(said(&finish(child)), (0, "0\n".to_owned(), String::new()));
}

#[test]
fn colours_show_on_a_terminal_unless_no_color_is_set() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "c", "-m", "x"]);
    let shown = |set: Option<&str>| {
        let mut command = world.ours("sub");
        command.args(["-t", "c", "-v", "-C", "1", "-W", "15"]).env_remove("NO_COLOR");
        command.envs(set.map(|value| ("NO_COLOR", value)));
        Terminal::start(&command).ends()
    };
    assert_eq!(shown(None), (0, "\u{1b}[36mc\u{1b}[0m x\r\n".to_owned()));
    assert_eq!(shown(Some("1")), (0, "c x\r\n".to_owned()));
    // An empty one counts as not set (no-color.org).
    assert!(shown(Some("")).1.contains("\u{1b}[36m"));
}

/// As many messages as fit, to both tools in one run; judged by the processor time they take.
#[test]
fn a_flood_is_read_in_less_time_than_mosquittos_tool_takes() {
    let Some(()) = world::peers() else { return };
    const MESSAGES: usize = 200_000;
    let (listener, port) = listener();
    let broker = thread::spawn(move || {
        let message = b"\x30\x2d\0\x0bbench/topicxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".repeat(1000);
        for _ in 0..2 {
            let mut stream = accept(&listener);
            let subscribe = read_packet(&mut stream).unwrap();
            stream.write_all(&[0x90, 3, subscribe[2], subscribe[3], 0]).unwrap();
            for _ in 0..MESSAGES / 1000 {
                stream.write_all(&message).unwrap();
            }
            while read_packet(&mut stream).is_some() {}
        }
    });
    let seconds = |tool: &str| -> f64 {
        let script =
            format!("TIMEFORMAT='%U %S'; time {tool} -p {port} -t '#' -v -C {MESSAGES} >/dev/null");
        let output = run(Command::new("bash").args(["-c", &script]).stdin(Stdio::null()));
        let (code, _, err) = said(&output);
        assert_eq!(code, 0, "{err}");
        err.split_whitespace().map(|part| part.parse::<f64>().unwrap()).sum()
    };
    let (ours, theirs) = (seconds(env!("CARGO_BIN_EXE_mqtt-sub")), seconds("mosquitto_sub"));
    println!("{MESSAGES} messages: mqtt-sub {ours} s, mosquitto_sub {theirs} s of processor time");
    // Also without optimisation; a release build takes a tenth.
    assert!(ours < theirs, "{ours} s beside {theirs} s");
    broker.join().unwrap();
}
