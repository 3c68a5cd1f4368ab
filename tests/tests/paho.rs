//! Issue 2, point 6: the articles' programs (in our words, in `tests/python/`) under paho-mqtt
//! 1.6.1 and the newest 2.x, and MQTT.js beside them.

use std::process::Command;

use mqttd_tests::place::{project_root, say_skipped};
use mqttd_tests::process;
use mqttd_tests::tool::{Tools, publish};
use mqttd_tests::{Broker, Venv};

/// Every paho with every way of writing callbacks for it.
const APIS: [(Venv, &str); 3] = [(Venv::Paho1, "old"), (Venv::Paho2, "v1"), (Venv::Paho2, "v2")];

/// What `publisher.py` sends, as text.
const VALUES: [&str; 8] = ["0", "1", "2", "3.5", "{'id': 1, '温度': 21.5}", "", "hi", "end"];

/// Publisher and subscriber of one paho, one protocol, one transport, at every QoS.
#[track_caller]
fn conversation(venv: Venv, api: &str, protocol: &str, transport: &str) {
    let broker = Broker::open();
    let port = if transport == "tcp" { broker.port() } else { broker.ws_port() };
    for qos in ["0", "1", "2"] {
        let topic = format!("sensor/{qos}");
        let common = [api, protocol, transport, qos, &topic];
        let mut subscriber = venv.start_at("subscriber.py", port, &common);
        let said = venv.run("publisher.py", port, &[&common[..], &["False"]].concat()).ok();
        assert_eq!(said.out(), "published 8\n", "{said}");
        for value in VALUES {
            subscriber.expect_line(&format!("{topic} {qos} 0 {value}"));
        }
        subscriber.ends().ok();
    }
}

macro_rules! conversations {
    ($($name:ident: $protocol:literal over $transport:literal,)*) => {
        $(
            #[test]
            fn $name() {
                for (venv, api) in APIS {
                    conversation(venv, api, $protocol, $transport);
                }
            }
        )*
    };
}

conversations! {
    paho_3_1_over_tcp: "31" over "tcp",
    paho_3_1_1_over_tcp: "311" over "tcp",
    paho_5_0_over_tcp: "5" over "tcp",
    paho_3_1_over_websockets: "31" over "websockets",
    paho_3_1_1_over_websockets: "311" over "websockets",
    paho_5_0_over_websockets: "5" over "websockets",
}

/// `mqtt.Client()` and nothing else.
#[test]
fn a_client_without_arguments() {
    let broker = Broker::open();
    for (venv, api) in APIS {
        let said = venv.run("bare.py", broker.port(), &[api]).ok();
        assert_eq!(said.out(), "connected 0\nself/talk hello me\ndisconnected 0\n", "{said}");
    }
}

/// `retain=True`: the last one is there for who comes later.
#[test]
fn paho_publishes_retained() {
    for (venv, api) in APIS {
        for protocol in ["31", "311", "5"] {
            let broker = Broker::open();
            let arguments = [api, protocol, "tcp", "1", "lamp"];
            venv.run("publisher.py", broker.port(), &[&arguments[..], &["True"]].concat()).ok();
            let mut late = venv.start("subscriber.py", &broker, &arguments);
            late.expect_line("lamp 1 1 end");
            late.ends().ok();
        }
    }
}

/// `clean_session=False`, and Session Expiry Interval with `clean_start=False` in 5.0.
#[test]
fn paho_keeps_a_session() {
    for (venv, api) in APIS {
        for protocol in ["311", "5"] {
            let broker = Broker::open();
            venv.run("session.py", broker.port(), &[api, protocol, "first"]).ok();
            for number in 1..=6 {
                let topic = format!("t/{}", 2 - number % 2);
                let qos = (number % 3).to_string();
                publish(&broker, &["-t", &topic, "-q", &qos, "-m", &number.to_string()]);
            }
            let said = venv.run("session.py", broker.port(), &[api, protocol, "4"]).ok();
            // paho hands a QoS 2 message over at its PUBREL, so only within a QoS is there an
            // order.
            let mut lines: Vec<String> = said.out().lines().map(String::from).collect();
            lines.sort_by_key(|line| line.contains(" 2 "));
            assert_eq!(lines, ["session 1", "t/1 1 1", "t/2 1 4", "t/1 1 5", "t/2 2 2"], "{said}");
        }
    }
}

#[test]
fn paho_logs_in() {
    let dir = mqttd_tests::place::TempDir::new();
    let file = dir.file("pwfile");
    Tools::Mosquitto.run("passwd", &["-c", "-b", &file, "alice", "secret"]).ok();
    let broker = Broker::guarded(&std::fs::read_to_string(&file).unwrap(), "");
    for (venv, api) in APIS {
        for protocol in ["31", "311", "5"] {
            let port = broker.port();
            let said = venv.run("login.py", port, &[api, protocol, "alice", "secret"]).ok();
            assert_eq!(said.out(), "connected 0\n", "{said}");
            let said = venv.run("login.py", port, &[api, protocol, "alice", "wrong"]).ok();
            // VERSION2 speaks 5.0's codes for every protocol.
            let codes = ["connected 5\n", "connected 134\n", "connected 135\n"];
            assert!(codes.contains(&said.out().as_str()), "{said}");
        }
    }
}

#[test]
fn paho_leaves_a_will() {
    let broker = Broker::open();
    for (venv, api) in APIS {
        for protocol in ["31", "311", "5"] {
            let mut watcher = Tools::UnderTest.subscribe(&broker, &["-t", "will", "-v"]);
            venv.run("will.py", broker.port(), &[api, protocol]).ok();
            watcher.expect_line("will gone");
        }
    }
}

/// paho publishes, the command-line subscriber prints, and the other way round.
#[test]
fn paho_and_the_tools() {
    let broker = Broker::open();
    for (venv, api) in APIS {
        let topic = format!("mixed/{api}");
        let arguments = [api, "311", "tcp", "1", &topic];
        let mut sub = Tools::UnderTest.subscribe(&broker, &["-t", &topic, "-F", "%p"]);
        venv.run("publisher.py", broker.port(), &[&arguments[..], &["False"]].concat()).ok();
        sub.expect_lines(&VALUES);
        let mut subscriber = venv.start("subscriber.py", &broker, &arguments);
        publish(&broker, &["-t", &topic, "-q", "2", "-m", "from the shell"]);
        publish(&broker, &["-t", &topic, "-q", "0", "-m", "end"]);
        subscriber.expect_line(&format!("{topic} 1 0 from the shell"));
        subscriber.expect_line(&format!("{topic} 0 0 end"));
    }
}

#[test]
fn mqtt_js_over_websocket_and_tcp() {
    let module = project_root().join(".cache/mqttjs/node_modules/mqtt");
    if Command::new("node").arg("--version").output().is_err() {
        say_skipped(module_path!(), "node is not installed");
        return;
    }
    assert!(module.is_dir(), "{} is missing: run scripts/test-deps", module.display());
    let broker = Broker::open();
    let mut command = Command::new("node");
    command.arg(project_root().join("tests/javascript/browser.js"));
    command.args([broker.port().to_string(), broker.ws_port().to_string()]);
    command.env("MQTTJS", module);
    let said = process::run(command, b"").ok();
    let line = "js/0 0 from qos 0 é|js/1 1 from qos 1 é|js/2 2 from qos 2 é|js/2 2 end\n";
    assert_eq!(said.out(), line.repeat(4), "{said}");
}
