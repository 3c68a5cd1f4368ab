//! Dynamic security: the same configuration, file and commands for Debian's mosquitto with its
//! plugin and for mqttd, where it is built in; and Mosquitto's own `mosquitto_ctrl`.

use std::path::Path;

use mqttd_tests::notation::variable_length;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::{broker_under_test, peer_binary};
use mqttd_tests::process::until;
use mqttd_tests::tool::Tools;
use mqttd_tests::{Broker, only_our_broker};
use serde_json::{Value, json};

const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";
const TOPIC: &str = "$CONTROL/dynamic-security/v1";
const BOTH: [Tools; 2] = [Tools::UnderTest, Tools::Mosquitto];

fn config(more: &str) -> String {
    format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous true\nplugin {PLUGIN}\n\
         plugin_opt_config_file {{dir}}/ds.json\n{more}"
    )
}

/// The broker with a file that `dynsec init` has made, and what else `prepare` puts there.
fn with_admin(program: &Path, more: &str, prepare: impl FnOnce(&Broker)) -> Broker {
    let broker = Broker::prepared(program.to_owned(), &config(more));
    Tools::Mosquitto.run("ctrl", &["dynsec", "init", &broker.file("ds.json"), "admin", "pw"]).ok();
    prepare(&broker);
    broker.started()
}

/// The broker under test and Debian's, furnished alike. One of them, where there is only one kind.
fn brokers(more: &str, prepare: impl Fn(&Broker)) -> Vec<Broker> {
    let mut programs = vec![peer_binary("mosquitto"), broker_under_test()];
    programs.dedup();
    programs.iter().map(|program| with_admin(program, more, &prepare)).collect()
}

fn ours(more: &str) -> Broker {
    with_admin(&broker_under_test(), more, |_| {})
}

/// CONNECT of a 5.0 client with these credentials; the connection and the reason code.
fn connect(broker: &Broker, id: &str, login: Option<(&str, &str)>) -> (Peer, u8) {
    let mut peer = Peer::on(broker, Carrier::Tcp);
    peer.speaks(Level::V5);
    let (flags, rest) = match login {
        Some((user, password)) => ("c2", format!("<{user}> <{password}>")),
        None => ("02", String::new()),
    };
    peer.send(&format!("10 [ <MQTT> 05 {flags} 0000 [ ] <{id}> {rest} ]"));
    let code = peer.packet("CONNACK")[3];
    (peer, code)
}

fn joined(broker: &Broker, id: &str, user: &str, password: &str) -> Peer {
    let (peer, code) = connect(broker, id, Some((user, password)));
    assert_eq!(code, 0, "{id} as {user}");
    peer
}

/// The reason code of a PUBLISH with QoS 1.
fn publish(peer: &mut Peer, topic: &str, payload: &[u8]) -> u8 {
    let length = topic.len() as u16;
    let body = [&length.to_be_bytes(), topic.as_bytes(), &[0, 1, 0], payload].concat();
    peer.send_bytes(&[&[0x32][..], &variable_length(body.len()), &body].concat());
    let mut kept = Vec::new();
    loop {
        let packet = peer.packet("PUBACK");
        if packet[0] == 0x40 {
            return packet.get(4).copied().unwrap_or(0);
        }
        kept.push(packet);
        assert!(kept.len() < 100, "no PUBACK");
    }
}

/// The reason code of a subscription.
fn subscribe(peer: &mut Peer, filter: &str) -> u8 {
    peer.send(&format!("82 [ 0001 [ ] <{filter}> 00 ]"));
    let packet = peer.packet("SUBACK");
    assert_eq!(packet[0], 0x90);
    packet[packet.len() - 1]
}

fn unsubscribe(peer: &mut Peer, filter: &str) -> u8 {
    peer.send(&format!("a2 [ 0001 [ ] <{filter}> ]"));
    let packet = peer.packet("UNSUBACK");
    packet[packet.len() - 1]
}

/// Somebody who sends commands.
struct Admin(Peer);

impl Admin {
    fn of(broker: &Broker) -> Self {
        let mut peer = joined(broker, "the-admin", "admin", "pw");
        assert_eq!(subscribe(&mut peer, &format!("{TOPIC}/response")), 0);
        Self(peer)
    }

    /// The answer to a payload. QoS 0: nothing comes but the answer.
    fn send(&mut self, payload: &str) -> Value {
        let length = TOPIC.len() as u16;
        let head = [&length.to_be_bytes(), TOPIC.as_bytes(), &[0]].concat();
        let body = [&head, payload.as_bytes()].concat();
        self.0.send_bytes(&[&[0x30][..], &variable_length(body.len()), &body].concat());
        let got = self.0.delivered();
        assert_eq!((got.topic.as_str(), got.qos), (&*format!("{TOPIC}/response"), 0));
        let mut answer = serde_json::from_slice(&got.payload).unwrap();
        forget_wildcards(&mut answer);
        answer
    }

    fn ask(&mut self, commands: Value) -> Value {
        self.send(&json!({ "commands": commands }).to_string())
    }

    /// Commands that must succeed.
    fn order(&mut self, commands: Value) {
        let answer = self.ask(commands);
        assert!(!answer.to_string().contains("\"error\""), "{answer}");
    }
}

/// 2.1 shows `allowwildcardsubs`, and so do we; 2.0.11 does not know it.
fn forget_wildcards(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(forget_wildcards),
        Value::Object(members) => {
            members.remove("allowwildcardsubs");
            members.values_mut().for_each(forget_wildcards);
        }
        _ => {}
    }
}

fn acl(kind: &str, topic: &str, allow: bool) -> Value {
    json!({"acltype": kind, "topic": topic, "allow": allow})
}

/// Requests that Debian's mosquitto answers in a way that is worth having.
fn requests() -> Vec<String> {
    let one = |command: Value| json!({ "commands": [command] }).to_string();
    let mut all: Vec<String> = [
        "nonsense",
        "",
        "{}",
        "[]",
        r#"{"commands":{}}"#,
        r#"{"commands":[1]}"#,
        r#"{"commands":[{}]}"#,
        r#"{"commands":[{"command":5}]}"#,
        r#"{"commands":[]}"#,
        r#"{"commands":[{"command":"nothing","correlationData":"z"}]}"#,
        r#"{"commands":[{"command":"getDefaultACLAccess","correlationData":5}]}"#,
        r#"{"Commands":[{"Command":"GETDEFAULTaclACCESS","correlationData":"z"}]} trailing"#,
    ]
    .map(str::to_owned)
    .into();
    let commands: Value = serde_json::from_str(include_str!("dynsec.json")).unwrap();
    all.extend(commands.as_array().unwrap().iter().map(|command| one(command.clone())));
    all
}

/// The file without what is chance or is not in 2.0.11's.
fn file_of(broker: &Broker) -> Value {
    let text = std::fs::read_to_string(broker.file("ds.json")).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    forget_wildcards(&mut file);
    file.as_object_mut().unwrap().remove("changeIndex");
    for client in file["clients"].as_array_mut().unwrap() {
        let client = client.as_object_mut().unwrap();
        let members = ["password", "salt", "iterations"];
        let given = members.iter().filter(|member| client.remove(**member).is_some()).count();
        client.insert("has_password".into(), json!(given == 3));
    }
    file
}

#[test]
fn answers_and_file_are_mosquittos() {
    let brokers = brokers("", |_| {});
    let mut admins: Vec<Admin> = brokers.iter().map(Admin::of).collect();
    for request in requests() {
        let answers: Vec<Value> = admins.iter_mut().map(|admin| admin.send(&request)).collect();
        for other in &answers {
            assert_eq!(other, &answers[0], "{request}");
        }
    }
    let files: Vec<Value> = brokers.iter().map(file_of).collect();
    for file in &files {
        assert_eq!(file, &files[0]);
    }
}

/// Each broker goes on with the other's file.
#[test]
fn files_are_exchanged() {
    let listing = json!([{"command": "listClients", "verbose": true},
        {"command": "listGroups", "verbose": true}, {"command": "listRoles", "verbose": true}]);
    for broker in brokers("", |_| {}) {
        let mut admin = Admin::of(&broker);
        for request in requests() {
            admin.send(&request);
        }
        let said = admin.ask(listing.clone());
        let text = std::fs::read_to_string(broker.file("ds.json")).unwrap();
        for other in brokers("", |other| drop(other.write("ds.json", &text))) {
            assert_eq!(Admin::of(&other).ask(listing.clone()), said);
            let (_, code) = connect(&other, "any", Some(("v", "q")));
            assert_eq!(code, 0, "the password that was set there");
        }
    }
}

fn furnish(admin: &mut Admin) {
    admin.order(json!([
        {"command": "createRole", "rolename": "r", "acls": [
            acl("publishClientSend", "#", true), acl("subscribePattern", "#", true),
            acl("unsubscribePattern", "b", false)]},
        {"command": "createRole", "rolename": "s", "acls": [
            acl("publishClientSend", "q/+", true), acl("subscribePattern", "$share/g/#", true),
            {"acltype": "publishClientSend", "topic": "q/no", "allow": false, "priority": 5},
            acl("subscribePattern", "a/#", true), acl("subscribePattern", "b/+/c", true),
            acl("subscribeLiteral", "l/+", true), acl("subscribeLiteral", "a/never", false)]},
        {"command": "createGroup", "groupname": "g", "roles": [{"rolename": "s"}]},
        {"command": "createClient", "username": "u", "password": "p",
         "roles": [{"rolename": "r"}]},
        {"command": "createClient", "username": "v", "password": "p", "groups":
         [{"groupname": "g"}]},
        {"command": "createClient", "username": "bound", "password": "p", "clientid": "own"},
        {"command": "createClient", "username": "off", "password": "p"},
        {"command": "disableClient", "username": "off"},
        {"command": "createClient", "username": "no-password"},
    ]));
}

#[test]
fn logins_and_rights_are_mosquittos() {
    let all: Vec<Vec<(String, u8)>> = brokers("", |_| {}).iter().map(verdicts).collect();
    for other in &all {
        assert_eq!(other, &all[0]);
    }
    let codes: Vec<u8> = all[0].iter().map(|(_, code)| *code).collect();
    assert!(codes.contains(&0) && codes.contains(&0x87), "{codes:?}");
}

fn verdicts(broker: &Broker) -> Vec<(String, u8)> {
    let mut admin = Admin::of(broker);
    furnish(&mut admin);
    let mut found = Vec::new();
    for (id, login) in [
        ("a", Some(("u", "p"))),
        ("a", Some(("u", "wrong"))),
        ("a", Some(("u", ""))),
        ("a", Some(("nobody", "p"))),
        ("own", Some(("bound", "p"))),
        ("other", Some(("bound", "p"))),
        ("a", Some(("off", "p"))),
        ("a", Some(("no-password", "p"))),
        ("a", Some(("no-password", ""))),
        ("a", None),
    ] {
        found.push((format!("{id} {login:?}"), connect(broker, id, login).1));
    }
    for user in ["u", "v"] {
        let mut peer = joined(broker, &format!("id-{user}"), user, "p");
        for filter in [
            "$share/g/x",
            "$share/g/a/1",
            "#",
            "+",
            "a",
            "a/#",
            "a/+",
            "a/never",
            "b/+/c",
            "b/#",
            "b/x/c",
            "l/+",
            "l/x",
        ] {
            // 2.0.11 lets # match what begins with $, which 2.1 does not.
            if user == "v" || !filter.starts_with('$') {
                found.push((format!("{user} sub {filter}"), subscribe(&mut peer, filter)));
            }
        }
        for filter in ["a", "b"] {
            found.push((format!("{user} unsub {filter}"), unsubscribe(&mut peer, filter) & 0x80));
        }
        for topic in ["q/1", "q/no", "q/1/2", "$foo/x", "$SYS/x", TOPIC] {
            let code = publish(&mut peer, topic, b"{}") & 0x80;
            found.push((format!("{user} pub {topic}"), code));
        }
    }
    let (mut nobody, _) = connect(broker, "nobody", None);
    found.push(("anonymous".into(), publish(&mut nobody, "x", b"")));
    admin.order(json!([{"command": "setDefaultACLAccess", "acls": [
        {"acltype": "publishClientSend", "allow": true},
        {"acltype": "subscribe", "allow": true}]}]));
    for topic in ["x", "$foo/x", "$CONTROL/x/v1"] {
        found.push((format!("by default {topic}"), publish(&mut nobody, topic, b"") & 0x80));
        found.push((format!("by default {topic}"), subscribe(&mut nobody, topic)));
    }
    found
}

/// What dynamic security does not know or forbid, the files decide.
#[test]
fn files_beside_it_are_asked_second() {
    let line = |user: &str, password: &str| {
        let folder = mqttd_tests::place::TempDir::new();
        let path = folder.write("pw", "");
        Tools::Mosquitto.run("passwd", &["-b", &path, user, password]).ok();
        std::fs::read_to_string(path).unwrap()
    };
    let users = line("filed", "f") + &line("u", "filed") + &line("admin", "filed");
    let brokers = brokers("password_file {dir}/pw\nacl_file {dir}/acl\n", |broker| {
        broker.write("pw", &users);
        broker.write("acl", "topic readwrite anon\nuser filed\ntopic f/#\nuser v\ntopic q/no\n");
    });
    let all: Vec<Vec<u8>> = brokers
        .iter()
        .map(|broker| {
            furnish(&mut Admin::of(broker));
            let login = |user, password| connect(broker, "x", Some((user, password))).1;
            let mut codes = vec![
                login("filed", "f"),
                login("filed", "p"),
                login("u", "filed"),
                login("u", "p"),
                login("admin", "filed"),
                login("nobody", "p"),
            ];
            let mut filed = joined(broker, "y", "filed", "f");
            let mut v = joined(broker, "z", "v", "p");
            let (mut nobody, _) = connect(broker, "n", None);
            for (peer, topics) in [
                (&mut filed, ["f/1", "x"]),
                (&mut v, ["q/no", "q/1"]),
                (&mut nobody, ["anon", "x"]),
            ] {
                codes.push(subscribe(peer, "anything"));
                codes.extend(topics.map(|topic| publish(peer, topic, b"") & 0x80));
            }
            codes
        })
        .collect();
    for codes in &all {
        assert_eq!(codes, &all[0]);
    }
    let expected = [0, 0x87, 0x87, 0, 0x87, 0x87, 0, 0, 0x80, 0, 0x80, 0, 0, 0, 0x80];
    assert_eq!(all[0], expected);
}

/// Whether a connection was ended; the client is told 0x98.
fn is_gone(peer: &mut Peer) -> bool {
    peer.send_unless_closed("c0 00");
    let packet = peer.packet("PINGRESP or DISCONNECT");
    match packet[0] {
        0xd0 => false,
        0xe0 => {
            assert_eq!(packet[2], 0x98, "administrative action");
            true
        }
        other => panic!("{other:x}"),
    }
}

#[test]
fn changes_disconnect_the_same_clients() {
    let commands = json!([
        {"command": "setClientPassword", "username": "u", "password": "p"},
        {"command": "setClientId", "username": "u"},
        {"command": "addClientRole", "username": "u", "rolename": "s"},
        {"command": "modifyRole", "rolename": "s", "textname": "x"},
        {"command": "addRoleACL", "rolename": "s", "acltype": "publishClientSend", "topic": "z"},
        {"command": "removeClientRole", "username": "u", "rolename": "s"},
        {"command": "modifyGroup", "groupname": "g", "textname": "x"},
        {"command": "removeGroupClient", "username": "v", "groupname": "g"},
        {"command": "setAnonymousGroup", "groupname": "g"},
        {"command": "removeRoleACL", "rolename": "s", "acltype": "publishClientSend", "topic": "z"},
        {"command": "setDefaultACLAccess", "acls": [{"acltype": "subscribe", "allow": true}]},
        {"command": "enableClient", "username": "u"},
        {"command": "modifyClient", "username": "u", "textname": "x"},
        {"command": "disableClient", "username": "v"},
        {"command": "deleteClient", "username": "u"},
    ]);
    let all: Vec<Vec<String>> = brokers("", |_| {})
        .iter()
        .map(|broker| {
            let mut admin = Admin::of(broker);
            furnish(&mut admin);
            let mut gone = Vec::new();
            let enter = |who: &str| match who {
                "anonymous" => connect(broker, "anonymous", None),
                user => connect(broker, user, Some((user, "p"))),
            };
            let mut there: Vec<(&str, Peer)> =
                ["u", "v", "anonymous"].map(|who| (who, enter(who).0)).into();
            for command in commands.as_array().unwrap() {
                admin.order(json!([command]));
                there.retain_mut(|(who, peer)| {
                    if !is_gone(peer) {
                        return true;
                    }
                    let command = command["command"].as_str().unwrap();
                    gone.push(format!("{command} {who}"));
                    let (back, code) = enter(who);
                    *peer = back;
                    code == 0
                });
            }
            gone
        })
        .collect();
    // A change of a role concerns the clients of its groups too, which 2.0.11 forgets.
    let by_group = ["addRoleACL v", "removeRoleACL anonymous"];
    let is_known = |gone: &&String| !by_group.contains(&gone.as_str());
    let shared: Vec<Vec<&String>> =
        all.iter().map(|gone| gone.iter().filter(is_known).collect()).collect();
    assert!(shared.iter().all(|gone| *gone == shared[0]), "{all:?}");
    assert_eq!(shared[0].len(), 11, "{all:?}");
    if !mqttd_tests::place::broker_is_peer() {
        assert_eq!(all[1].len(), 13, "{all:?}");
    }
}

/// The admin's own connection ends only behind the answer.
#[test]
fn who_changes_itself_is_answered_first() {
    let broker = ours("");
    let mut admin = Admin::of(&broker);
    admin.order(json!([{"command": "setClientPassword", "username": "admin", "password": "new"}]));
    if !mqttd_tests::place::broker_is_peer() {
        assert!(is_gone(&mut admin.0));
    }
    assert_eq!(connect(&broker, "a", Some(("admin", "pw"))).1, 0x87);
    assert_eq!(connect(&broker, "a", Some(("admin", "new"))).1, 0);
}

/// Both tools, on the broker under test.
#[test]
fn the_tools_administer_the_broker() {
    for tools in BOTH {
        let broker = ours("");
        let port = broker.port().to_string();
        let ctrl = |words: &[&str]| {
            let login = ["-p", &port, "-u", "admin", "-P", "pw", "dynsec"];
            tools.run("ctrl", &[&login[..], words].concat())
        };
        for words in [
            &["createRole", "sensor"][..],
            &["addRoleACL", "sensor", "publishClientSend", "room/#", "allow", "5"],
            &["addRoleACL", "sensor", "subscribePattern", "room/#", "allow"],
            &["createGroup", "sensors"],
            &["addGroupRole", "sensors", "sensor"],
            &["createClient", "s1", "-p", "pw1"],
            &["addGroupClient", "sensors", "s1"],
            &["setDefaultACLAccess", "publishClientReceive", "allow"],
        ] {
            ctrl(words).ok();
        }
        let shown = ctrl(&["getRole", "sensor"]).ok();
        assert!(shown.out().contains("room/# (priority: 5)"), "{shown}");
        assert!(ctrl(&["listClients"]).ok().out().contains("s1"));
        let failed = ctrl(&["getClient", "absent"]);
        assert!(failed.err().contains("Client not found"), "{failed}");
        let login = ["-u", "s1", "-P", "pw1", "-i", "s1", "-V", "5"];
        let mut peer = joined(&broker, "reader", "s1", "pw1");
        assert_eq!(subscribe(&mut peer, "room/+"), 0);
        let said = [&login[..], &["-t", "room/1", "-m", "warm", "-q", "1"]].concat();
        Tools::Mosquitto.publish(&broker, &said).ok();
        peer.expect_message("room/1", "warm", 0);
        ctrl(&["disableClient", "s1"]).ok();
        assert!(is_gone(&mut peer));
        Tools::Mosquitto.publish(&broker, &said).exits(0x87);
    }
}

#[test]
fn a_missing_file_is_made() {
    only_our_broker!("only Mosquitto 2.1 makes a file");
    let broker = Broker::prepared(broker_under_test(), &config(""));
    broker.run_to_end(&["--test-config"]).ok();
    assert!(!Path::new(&broker.file("ds.json")).exists());
    let mut broker = broker.started();
    // The port is open a moment before.
    let passwords = || std::fs::read_to_string(broker.file("ds.json.pw")).ok();
    let text = until(|| passwords().filter(|text| text.lines().count() == 2)).unwrap();
    let password = |user: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(name, _)| *name == user).unwrap().1
    };
    let mut demo = joined(&broker, "demo", "democlient", password("democlient"));
    assert_eq!((subscribe(&mut demo, "#"), publish(&mut demo, TOPIC, b"{}")), (0, 0x87));
    let login = ["-u", "admin", "-P", password("admin"), "dynsec", "getClient", "admin"];
    let port = broker.port().to_string();
    let shown = Tools::Mosquitto.run("ctrl", &[&["-p", &port][..], &login].concat()).ok();
    assert!(shown.out().contains("super-admin"), "{shown}");
    assert!(!broker.log().contains(password("admin")));
    broker.restart();
    assert_eq!(connect(&broker, "a", Some(("admin", password("admin")))).1, 0);

    let variable = "MOSQUITTO_DYNSEC_PASSWORD";
    let with = |password| {
        Broker::prepared(broker_under_test(), &config("")).in_environment(variable, password)
    };
    let short = with("eleven-char");
    short.run_to_end(&[]).complains("must have 12 characters or more");
    assert!(!Path::new(&short.file("ds.json")).exists());
    let other = with("twelve-chars").started();
    assert_eq!(connect(&other, "a", Some(("admin", "twelve-chars"))).1, 0);
    assert!(!Path::new(&other.file("ds.json.pw")).exists());
}

#[test]
fn a_restart_keeps_what_was_changed_and_a_reload_too() {
    only_our_broker!("on Mosquitto a plugin line that changes is passed over");
    let mut broker = ours("shards 2\n");
    furnish(&mut Admin::of(&broker));
    let mut v = joined(&broker, "v", "v", "p");
    broker.reload("Config reloaded.");
    assert!(!is_gone(&mut v));
    assert_eq!(publish(&mut v, "q/1", b"") & 0x80, 0);
    // The file is the broker's while it runs.
    broker.write("ds.json", "{}");
    broker.reload("Config reloaded.");
    assert!(!is_gone(&mut v));
    let mut admin = Admin::of(&broker);
    admin.order(json!([{"command": "enableClient", "username": "v"}]));
    broker.restart();
    assert_eq!(connect(&broker, "v", Some(("v", "p"))).1, 0);
    let text = std::fs::read_to_string(broker.file("mosquitto.conf")).unwrap();
    broker.write("mosquitto.conf", &text.replace("ds.json", "other.json"));
    broker.reload("The old configuration stays in force");
    assert!(broker.log().contains("the lines of dynamic security have changed"));
    assert_eq!(connect(&broker, "v", Some(("v", "p"))).1, 0);
}

/// Rights change on every shard before the answer comes.
#[test]
fn all_shards_know_a_change() {
    only_our_broker!("Mosquitto has no shards");
    let broker = ours("shards 4\nthreads 2\n");
    let mut admin = Admin::of(&broker);
    furnish(&mut admin);
    let mut peers: Vec<Peer> =
        (0..12).map(|n| joined(&broker, &format!("n{n}"), "v", "p")).collect();
    admin.order(json!([{"command": "removeGroupRole", "groupname": "g", "rolename": "s"}]));
    assert!(peers.iter_mut().all(is_gone));
    for n in 0..12 {
        let mut peer = joined(&broker, &format!("n{n}"), "v", "p");
        assert_eq!(publish(&mut peer, "q/1", b""), 0x87);
    }
}

/// A client may connect as what was made by the request whose PUBACK it has seen.
#[test]
fn an_acknowledged_request_is_in_force() {
    let broker = ours("");
    let mut admin = joined(&broker, "a", "admin", "pw");
    for n in 0..5 {
        let command =
            json!({"command": "createClient", "username": n.to_string(), "password": "p"});
        let payload = json!({ "commands": [command] }).to_string();
        assert_eq!(publish(&mut admin, TOPIC, payload.as_bytes()) & 0x80, 0);
        assert_eq!(connect(&broker, "x", Some((&n.to_string(), "p"))).1, 0);
    }
}

#[test]
fn one_listener_may_have_it_and_another_not() {
    only_our_broker!("plugin_load is of Mosquitto 2.1");
    let text = format!(
        "per_listener_settings true\nplugin_load ds {PLUGIN}\n\
         plugin_opt_config_file {{dir}}/ds.json\nlistener {{port}} 127.0.0.1\nplugin_use ds\n\
         listener {{ws}} 127.0.0.1\nallow_anonymous true\n"
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    Tools::Mosquitto.run("ctrl", &["dynsec", "init", &broker.file("ds.json"), "admin", "pw"]).ok();
    let broker = broker.started();
    assert_eq!(connect(&broker, "x", None).1, 0x87);
    let mut admin = Admin::of(&broker);
    admin.order(json!([{"command": "getDetails"}]));
    let mut open = Peer::at(broker.ws_port(), Carrier::Tcp);
    open.join(Level::V5, "02", "", "open");
    assert_eq!(subscribe(&mut open, "$CONTROL/#"), 0);
    open.publish(TOPIC, "{\"commands\":[{\"command\":\"listClients\"}]}");
    open.expect_message(&format!("{TOPIC}/response"), r#"{"error": "endpoint not available"}"#, 0);
}

/// What is published below `$CONTROL/` is for the broker, whether anybody there listens or not.
#[test]
fn requests_reach_no_subscriber() {
    let broker = Broker::open();
    let mut bob = Peer::joined(&broker, Carrier::Tcp, Level::V5, "bob");
    bob.subscribe("$CONTROL/#", 1);
    let mut ann = Peer::joined(&broker, Carrier::Tcp, Level::V5, "ann");
    ann.publish("$CONTROL/x/v1", "0");
    ann.publish_qos1(1, "$CONTROL/x/v1", "1");
    ann.publish_qos2(2, "$CONTROL/x/v1", "2");
    if !mqttd_tests::place::broker_is_peer() {
        for _ in 0..3 {
            let none = r#"{"error": "endpoint not available"}"#;
            bob.expect_message("$CONTROL/x/v1/response", none, 0);
        }
    }
    bob.expect_nothing();
}

/// A flood of requests is worked off one by one, and others are served meanwhile.
#[test]
fn requests_wait_for_their_turn() {
    only_our_broker!("Mosquitto hashes where it serves everybody");
    let broker = ours("");
    let mut admin = Admin::of(&broker);
    furnish(&mut admin);
    let body = |n: u32| {
        let command =
            json!({"command": "createClient", "username": format!("f{n}"), "password": "p"});
        let payload = json!({ "commands": [command] }).to_string();
        let head = [&(TOPIC.len() as u16).to_be_bytes(), TOPIC.as_bytes(), &[0]].concat();
        let body = [&head, payload.as_bytes()].concat();
        [&[0x30][..], &variable_length(body.len()), &body].concat()
    };
    let flood: Vec<u8> = (0..60).flat_map(body).collect();
    admin.0.send_bytes(&flood);
    let mut v = joined(&broker, "v", "v", "p");
    v.expect_nothing();
    for _ in 0..60 {
        assert!(!String::from_utf8(admin.0.delivered().payload).unwrap().contains("error"));
    }
    assert_eq!(connect(&broker, "f", Some(("f59", "p"))).1, 0);
    let saved = until(|| {
        let file = std::fs::read_to_string(broker.file("ds.json")).unwrap();
        file.contains("f59").then_some(())
    });
    assert!(saved.is_some());
}

/// `$CONTROL/broker/v1` of Mosquitto 2.1.
#[test]
fn the_broker_tells_what_it_has() {
    only_our_broker!("Mosquitto has it from 2.1 on");
    let broker = ours(
        "enable_control_api true\nlistener 0 {dir}/s\n\
         listener {ws} 127.0.0.1\nprotocol websockets\n",
    );
    let mut admin = Admin::of(&broker);
    admin.order(json!([{"command": "modifyRole", "rolename": "admin", "acls": [
        acl("publishClientSend", "$CONTROL/#", true),
        acl("publishClientReceive", "$CONTROL/#", true),
        acl("subscribePattern", "$CONTROL/#", true)]}]));
    let port = broker.port().to_string();
    let ctrl = |tools: Tools, words: &[&str]| {
        tools.run("ctrl", &[&["-p", &port, "-u", "admin", "-P", "pw"][..], words].concat())
    };
    let shown = ctrl(Tools::UnderTest, &["broker", "listPlugins"]).ok().out();
    assert!(shown.contains("dynamic-security") && shown.contains(TOPIC), "{shown}");
    let shown = ctrl(Tools::UnderTest, &["broker", "listListeners"]).ok().out();
    let ws = broker.ws_port().to_string();
    for text in [&*port, "127.0.0.1", "mqtt+websockets", &ws, &broker.file("s")] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let mut peer = joined(&broker, "x", "admin", "pw");
    assert_eq!(subscribe(&mut peer, "$CONTROL/broker/v1/response"), 0);
    for (payload, answer) in [
        ("x", r#"{"responses":[{"command":"Unknown command","error":"Payload not valid JSON"}]}"#),
        (
            r#"{"commands":[{"command":"nothing","correlationData":"z"}]}"#,
            concat!(
                r#"{"responses":[{"command":"nothing","error":"Unknown command","#,
                r#""correlationData":"z"}]}"#
            ),
        ),
    ] {
        peer.publish("$CONTROL/broker/v1", payload);
        peer.expect_message("$CONTROL/broker/v1/response", answer, 0);
    }
}
