//! Issue 2, points 2 and 5: what the tools print and how they exit, side by side with Debian's
//! where both do the same.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::tools_are_peer;
use mqttd_tests::process::Finished;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, only_our_tools};

const BOTH: [Tools; 2] = [Tools::UnderTest, Tools::Mosquitto];

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// Wrong usage: exit 1, nothing on standard output, and the words on standard error. Ours says it
/// in one line (and perhaps one more that points to the help).
#[track_caller]
fn wrong_usage(word: &str, arguments: &[&str], says: &[&str]) -> Finished {
    let said = Tools::UnderTest.run(word, arguments).exits(1);
    for text in says {
        assert!(said.err().to_lowercase().contains(&text.to_lowercase()), "'{text}': {said}");
    }
    said
}

#[test]
fn a_publish_without_topic_says_what_is_missing() {
    let said = wrong_usage("pub", &["-m", "Hello MQTT"], &["topic"]);
    only_our_tools!("mosquitto_pub prints its whole help after it");
    assert_eq!(said.err().lines().filter(|it| !it.trim().is_empty()).count(), 1, "{said}");
    assert!(said.err().contains("-t "), "shows how to write it: {said}");
    assert!(said.out().is_empty(), "{said}");
}

#[test]
fn wrong_usage_exits_1_and_names_it() {
    wrong_usage("pub", &["-t", "t"], &["message"]);
    wrong_usage("sub", &[], &["topic"]);
    wrong_usage("sub", &["--no-such"], &["--no-such"]);
    wrong_usage("pub", &["--no-such"], &["--no-such"]);
    wrong_usage("pub", &["-t", "a/#", "-m", "x"], &["a/#"]);
    wrong_usage("sub", &["-t", "a/#/b"], &["a/#/b"]);
    wrong_usage("pub", &["-t", "t", "-m", "x", "-q", "3"], &["qos", "3"]);
    wrong_usage("sub", &["-t", "t", "-q", "3"], &["qos", "3"]);
    wrong_usage("sub", &["-t", "t", "-V", "9"], &["version"]);
    wrong_usage("pub", &["-t", "t", "-f", "/nonexistent/file"], &["/nonexistent/file"]);
    wrong_usage("sub", &["-c", "-t", "t"], &["id"]);
    wrong_usage("sub", &["-t", "t", "-F", "%z"], &["format", "z"]);
    wrong_usage("pub", &["-t", "t", "-m", "x", "-p", "70000"], &["port"]);
    wrong_usage("pub", &["-t", "t", "-m", "x", "-n"], &["one"]);
}

#[test]
fn help_prints_usage() {
    for word in ["pub", "sub", "passwd"] {
        let said = Tools::UnderTest.run(word, &["--help"]);
        let all = said.out() + &said.err();
        assert!(all.contains("sage"), "{all}");
        // Mosquitto's exit with 1 after --help, and scripts have seen both.
        assert!([0, 1].contains(&said.code()), "{all}");
    }
}

#[test]
fn nobody_listens() {
    let port = free_port();
    for arguments in [&["-t", "t", "-m", "x", "-p", &port][..], &["-t", "t", "-p", &port]] {
        let word = if arguments.contains(&"-m") { "pub" } else { "sub" };
        wrong_usage(word, arguments, &["refused"]);
    }
}

#[test]
fn a_host_that_does_not_exist() {
    let said = wrong_usage("pub", &["-t", "t", "-m", "x", "-h", "no-such-host.invalid"], &[]);
    assert!(!said.err().trim().is_empty(), "{said}");
}

#[test]
fn quiet_says_nothing_on_errors() {
    let port = free_port();
    let said = Tools::UnderTest.run("pub", &["--quiet", "-t", "t", "-m", "x", "-p", &port]);
    assert_eq!((said.err(), said.code()), (String::new(), 1));
}

#[test]
fn c_counts_messages() {
    let broker = Broker::open();
    for number in 1..=5 {
        publish(&broker, &["-r", "-t", &format!("t/{number}"), "-m", "x"]);
    }
    for tools in BOTH {
        let got = tools.receive(&broker, &["-t", "t/+", "-C", "3"]).ok();
        assert_eq!(got.out(), "x\nx\nx\n", "{tools:?}");
    }
}

#[test]
fn w_gives_up_with_27() {
    let broker = Broker::open();
    for tools in BOTH {
        let start = Instant::now();
        let said = tools.receive(&broker, &["-t", "t", "-W", "1"]).exits(27);
        assert!(start.elapsed() >= Duration::from_millis(900), "{said}");
        assert!(said.err().contains("Timed out"), "{said}");
        assert!(said.out().is_empty(), "{said}");
    }
}

#[test]
fn e_ends_when_subscribed() {
    let broker = Broker::open();
    for tools in BOTH {
        let said = tools.receive(&broker, &["-t", "t", "-t", "u", "-E"]).ok();
        assert!(said.out().is_empty(), "{said}");
    }
}

#[test]
fn n_prints_no_newline() {
    let broker = Broker::open();
    for topic in ["t/1", "t/2"] {
        publish(&broker, &["-r", "-t", topic, "-m", "x"]);
    }
    for tools in BOTH {
        assert_eq!(tools.receive(&broker, &["-t", "t/+", "-N", "-C", "2"]).ok().out(), "xx");
    }
}

#[test]
fn r_leaves_retained_messages_out() {
    let broker = Broker::open();
    publish(&broker, &["-r", "-t", "t", "-m", "old"]);
    for tools in BOTH {
        let mut sub = tools.subscribe(&broker, &["-t", "t", "-R"]);
        publish(&broker, &["-t", "t", "-m", "new"]);
        sub.expect_line("new");
    }
}

#[test]
fn retained_only_and_remove_retained() {
    let broker = Broker::open();
    for tools in BOTH {
        for topic in ["t/1", "t/2"] {
            publish(&broker, &["-r", "-q", "1", "-t", topic, "-m", "x"]);
        }
        let mut ended = tools.start_sub(&broker, &["-t", "t/#", "-t", "live", "--retained-only"]);
        ended.expect_line("x");
        ended.expect_line("x");
        publish(&broker, &["-t", "live", "-m", "end"]);
        assert_eq!(ended.ends().ok().out(), "x\nx\n", "{tools:?}");
        // -W and not -C: mosquitto_sub 2.0.11 with -C does not end after removing.
        let arguments = ["-t", "t/#", "-W", "1", "--remove-retained"];
        assert_eq!(tools.receive(&broker, &arguments).exits(27).out(), "x\nx\n");
        let left = tools.receive(&broker, &["-t", "t/#", "-W", "1"]).exits(27);
        assert!(left.out().is_empty(), "{left}");
    }
}

#[test]
fn t_filters_topics_out() {
    let broker = Broker::open();
    for tools in BOTH {
        let mut sub = tools.subscribe(&broker, &["-t", "a/#", "-T", "a/b/#", "-T", "+/c", "-v"]);
        for topic in ["a/b", "a/b/c", "a/c", "a/d"] {
            publish(&broker, &["-t", topic, "-m", "x"]);
        }
        sub.expect_line("a/d x");
    }
}

#[test]
fn v_shows_an_empty_payload_as_null() {
    let broker = Broker::open();
    for tools in BOTH {
        let mut verbose = tools.subscribe(&broker, &["-t", "t", "-v"]);
        let mut plain = tools.subscribe(&broker, &["-t", "t"]);
        publish(&broker, &["-t", "t", "-n"]);
        publish(&broker, &["-t", "t", "-m", "x"]);
        verbose.expect_lines(&["t (null)", "t x"]);
        // Not even an empty line for an empty payload.
        plain.expect_line("x");
    }
}

#[test]
fn pub_reads_lines_stdin_and_files() {
    let broker = Broker::open();
    let file = broker.write("payload", "from a file");
    for tools in BOTH {
        let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "t", "-F", "[%p]"]);
        tools.publish_from(&broker, &["-t", "t", "-l"], b"one\ntwo\n\nfour\n").ok();
        sub.expect_lines(&["[one]", "[two]", "[]", "[four]"]);
        tools.publish_from(&broker, &["-t", "t", "-s"], b"a b c").ok();
        sub.expect_line("[a b c]");
        tools.publish(&broker, &["-t", "t", "-f", &file]).ok();
        sub.expect_line("[from a file]");
        tools.publish(&broker, &["-t", "t", "-n"]).ok();
        sub.expect_line("[]");
    }
}

#[test]
fn pub_sends_every_line_of_a_long_input_at_every_qos() {
    let broker = Broker::open();
    let lines: Vec<String> = (1..=500).map(|number| number.to_string()).collect();
    let input = lines.join("\n") + "\n";
    let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "t", "-q", "2"]);
    for qos in ["0", "1", "2"] {
        let arguments = ["-t", "t", "-l", "-q", qos];
        Tools::UnderTest.publish_from(&broker, &arguments, input.as_bytes()).ok();
        sub.expect_lines(&lines);
    }
}

#[test]
fn repeat_and_repeat_delay() {
    let broker = Broker::open();
    for tools in BOTH {
        let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "t"]);
        let start = Instant::now();
        let arguments = ["-t", "t", "-m", "x", "--repeat", "3", "--repeat-delay", "0.2"];
        tools.publish(&broker, &arguments).ok();
        assert!(start.elapsed() >= Duration::from_millis(390), "{tools:?}");
        publish(&broker, &["-t", "t", "-m", "end"]);
        sub.expect_lines(&["x", "x", "x", "end"]);
    }
}

#[test]
fn u_unsubscribes() {
    let broker = Broker::open();
    for tools in BOTH {
        let session = ["-c", "-i", "u", "-q", "1"];
        tools.receive(&broker, &[&session[..], &["-t", "old", "-E"]].concat()).ok();
        let mut peer =
            tools.subscribe(&broker, &[&session[..], &["-U", "old", "-t", "n"]].concat());
        publish(&broker, &["-t", "old", "-q", "1", "-m", "no"]);
        publish(&broker, &["-t", "n", "-q", "1", "-m", "yes"]);
        peer.expect_line("yes");
        drop(peer);
        Peer::joined(&broker, Carrier::Tcp, Level::V311, "u").leave();
    }
}

#[test]
fn l_takes_a_url() {
    let broker = Broker::open();
    for tools in BOTH {
        let url = format!("mqtt://127.0.0.1:{}/deep/topic", broker.port());
        tools.run("pub", &["-L", &url, "-r", "-m", "by url"]).ok();
        let got = tools.run("sub", &["-L", &url, "-C", "1", "-v"]).ok();
        assert_eq!(got.out(), "deep/topic by url\n", "{tools:?}");
    }
}

#[test]
fn sigint_ends_sub_with_success() {
    let broker = Broker::open();
    for tools in BOTH {
        let mut sub = tools.subscribe(&broker, &["-t", "t"]);
        sub.running().signal("INT");
        let status = sub.running().wait(Duration::from_secs(10)).expect("it ends");
        assert_eq!(status.code(), Some(0), "{tools:?}");
    }
}

#[test]
fn sub_comes_back_after_the_broker_was_away() {
    let mut broker = Broker::open();
    let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", "t"]);
    broker.restart();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "p");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        peer.publish("t", "again");
        match sub.line(Duration::from_millis(100)) {
            Some(line) => {
                assert_eq!(line, "again");
                return;
            }
            None => assert!(Instant::now() < end, "{}", sub.running().said()),
        }
    }
}

/// Each format, both tools, the same message: the same line.
#[test]
fn formats_agree_with_mosquitto_sub() {
    let broker = Broker::open();
    // Mosquitto's publisher, so that a mistake of ours cannot cancel itself out.
    let publisher = Tools::Mosquitto;
    publisher.publish(&broker, &["-r", "-q", "2", "-t", "room/1", "-m", "21.5"]).ok();
    publisher.publish_from(&broker, &["-r", "-t", "bytes", "-s"], b"\x00\x01\xfe\xff a\tb").ok();
    publisher.publish(&broker, &["-r", "-t", "json", "-m", r#"{"a":[1,2.5,"x"],"b":null}"#]).ok();
    publisher.publish_from(&broker, &["-r", "-t", "float", "-s"], &1.5_f32.to_le_bytes()).ok();
    publisher.publish_from(&broker, &["-r", "-t", "double", "-s"], &(-2.25_f64).to_le_bytes()).ok();
    let formats: &[(&str, &str)] = &[
        ("room/1", "%t %p"),
        ("room/1", "%l bytes at %q, retained %r"),
        ("room/1", "%x"),
        ("room/1", "%X"),
        ("room/1", "[%10t]"),
        ("room/1", "[%-10t]"),
        ("room/1", "[%.2t]"),
        ("room/1", "[%10.3t]"),
        ("room/1", "[%010l]"),
        ("room/1", "[%5l] [%-5l] [%05l]"),
        ("room/1", "[%10p] [%-10p]"),
        ("room/1", "%%p 100%% @@"),
        ("room/1", "a\\tb\\nc\\\\d"),
        ("room/1", "@Y-@m-@d"),
        ("room/1", "%t"),
        ("room/1", "no field"),
        ("room/1", ""),
        ("bytes", "%x"),
        ("bytes", "%X"),
        ("bytes", "%l"),
        ("bytes", "%:x"),
        ("bytes", "%:X"),
        ("bytes", "%p"),
        ("json", "%p"),
        ("float", "%f"),
        ("float", "%8.2f"),
        ("double", "%d"),
        ("double", "%8.2d"),
        ("double", "%.1d"),
    ];
    let mut wrong = Vec::new();
    for (topic, format) in formats {
        for version in ["311", "5"] {
            let arguments = ["-V", version, "-t", topic, "-q", "2", "-C", "1", "-F", format];
            let theirs = Tools::Mosquitto.receive(&broker, &arguments);
            let ours = Tools::UnderTest.receive(&broker, &arguments);
            if theirs.code() != 0 {
                continue; // 2.0.11 does not know it; 2.1 does
            }
            if (&theirs.stdout, theirs.code()) != (&ours.stdout, ours.code()) {
                wrong.push(format!(
                    "-V {version} -F '{format}' on {topic}\n  theirs {:?}\n  ours   {:?} {}",
                    theirs.out(),
                    ours.out(),
                    ours.err()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn property_formats_agree_with_mosquitto_sub() {
    let broker = Broker::open();
    let mut arguments = vec!["-V", "5", "-r", "-t", "p", "-m", "x"];
    for words in [
        ["content-type", "text/plain"],
        ["response-topic", "reply/to"],
        ["correlation-data", "ref"],
        ["payload-format-indicator", "1"],
    ] {
        arguments.extend(["-D", "publish", words[0], words[1]]);
    }
    arguments.extend(["-D", "publish", "user-property", "k1", "v1"]);
    arguments.extend(["-D", "publish", "user-property", "k2", "v 2"]);
    Tools::Mosquitto.publish(&broker, &arguments).ok();
    for format in ["%C", "%R", "%D", "%F", "%P", "%S", "%A", "%E", "[%C|%R|%D|%F|%P|%S|%A|%E]"] {
        let subscriptions: [&[&str]; 2] =
            [&[], &["-D", "subscribe", "subscription-identifier", "7"]];
        for subscription in subscriptions {
            let arguments =
                [&["-V", "5", "-t", "p", "-C", "1", "-F", format], subscription].concat();
            let theirs = Tools::Mosquitto.receive(&broker, &arguments).ok();
            let ours = Tools::UnderTest.receive(&broker, &arguments).ok();
            assert_eq!(ours.out(), theirs.out(), "{format} {subscription:?}");
        }
    }
}

/// `%j`: the keys in Mosquitto's order; the time stamp is cut out, the retain flag is a boolean
/// since 2.1.
#[test]
fn json_has_mosquittos_shape() {
    let broker = Broker::open();
    let publish = |arguments: &[&str]| {
        Tools::Mosquitto.publish(&broker, arguments).ok();
    };
    publish(&["-r", "-q", "1", "-t", "a/b", "-m", "hi \"you\"\n\tthere é"]);
    publish(&["-r", "-t", "empty", "-m", "x"]);
    publish(&["-r", "-t", "json", "-m", r#"{"a":[1,2.5,"x"],"b":null}"#]);
    let strip = |text: String| {
        let text = text.replace("\"retain\":1", "\"retain\":true");
        let start = text.find("\"tst\":\"").expect("a time stamp");
        let end = start + 7 + text[start + 7..].find('"').expect("its end");
        let stamp = text[start + 7..end].to_string();
        (stamp, format!("{}{}", &text[..start], &text[end + 1..]))
    };
    for (topic, format) in [("a/b", "%j"), ("empty", "%j"), ("json", "%j"), ("json", "%J")] {
        let arguments = ["-t", topic, "-q", "2", "-C", "1", "-F", format];
        let (_, theirs) = strip(Tools::Mosquitto.receive(&broker, &arguments).ok().out());
        let (stamp, ours) = strip(Tools::UnderTest.receive(&broker, &arguments).ok().out());
        assert_eq!(ours, theirs, "{format} of {topic}");
        if !tools_are_peer() {
            // 2026-11-21T01:23:52.021938+0000
            assert_eq!(stamp.len(), 31, "{stamp}");
            assert!(stamp[10..].starts_with('T') && stamp.ends_with("+0000"), "{stamp}");
        }
    }
}

#[test]
fn time_formats_have_mosquittos_shape() {
    let broker = Broker::open();
    publish(&broker, &["-r", "-t", "t", "-m", "x"]);
    for (format, shape) in
        [("%I", "9999-99-99T99:99:99+9999"), ("%U", "9999999999.999999999"), ("@s", "9999999999")]
    {
        for tools in BOTH {
            let got = tools.receive(&broker, &["-t", "t", "-C", "1", "-F", format]).ok().out();
            let digits: String = got
                .trim_end()
                .chars()
                .map(|it| if it.is_ascii_digit() { '9' } else { it })
                .collect();
            assert_eq!(digits, shape, "{format} by {tools:?}");
        }
    }
}

/// `-I` adds the process id to a prefix, `-i` is taken as it is.
#[test]
fn client_identifiers_are_as_asked() {
    let mut broker = Broker::with("log_type all");
    for tools in BOTH {
        tools.publish(&broker, &["-t", "t", "-m", "x", "-i", "exactly-this"]).ok();
        tools.publish(&broker, &["-t", "t", "-m", "x", "-I", "prefix-"]).ok();
    }
    broker.stop();
    let log = broker.log();
    assert!(log.contains("as exactly-this "), "{log}");
    assert!(log.contains("as prefix-"), "{log}");
}

/// Mosquitto's tool only warns. Ours ends with 0 only if every message has arrived, as far as the
/// version has words for a refusal.
#[test]
fn a_publish_denied_by_the_acl() {
    let text = "allow_anonymous true\nacl_file {dir}/acl\nlistener {port} 127.0.0.1\n";
    let broker = Broker::prepared(mqttd_tests::place::broker_under_test(), text);
    broker.write("acl", "topic read allowed\n");
    let broker = broker.started();
    for tools in BOTH {
        for version in ["311", "5"] {
            let arguments = ["-V", version, "-q", "1", "-t", "denied", "-m", "x"];
            let ours = tools == Tools::UnderTest && !tools_are_peer();
            let code = i32::from(ours && version == "5");
            let said = tools.publish(&broker, &arguments).exits(code);
            assert_eq!(said.err().trim().is_empty(), version == "311", "{said}");
        }
    }
}

/// Said at once, not waited for.
#[test]
fn a_broker_without_dynamic_security_is_told_apart() {
    mqttd_tests::only_our_broker!("Mosquitto is asked in mqtt-cli/tests/ctrl.rs");
    only_our_tools!("mosquitto_ctrl waits for ten seconds and says nothing");
    let broker = Broker::open();
    let port = broker.port().to_string();
    for (module, command) in [("dynsec", "listRoles"), ("broker", "listListeners")] {
        let start = Instant::now();
        let said = Tools::UnderTest.run("ctrl", &["-p", &port, module, command]).exits(1);
        assert!(said.err().contains("endpoint not available"), "{said}");
        assert!(start.elapsed() < Duration::from_secs(9), "waited for an answer");
    }
}
