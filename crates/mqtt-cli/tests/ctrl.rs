//! `mqtt-ctrl` beside Debian's `mosquitto_ctrl`, each against a broker of Debian's with the plugin
//! for dynamic security: the same output, the same exit codes, the same state in the end.

mod world;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use world::terminal::Terminal;
use world::{World, run, said};

const PLUGIN: &str = "mosquitto_dynamic_security.so";

/// Debian's plugin, or `None` with a loud word.
fn plugin() -> Option<String> {
    world::peers()?;
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let found = folders.iter().map(|folder| format!("{folder}/{PLUGIN}"));
    let found = found.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        assert!(
            std::env::var_os("MQTTD_TESTS_REQUIRE_PEERS").is_none(),
            "not installed: {PLUGIN} (apt install mosquitto)"
        );
        eprintln!("SKIPPED: {PLUGIN} not installed (apt install mosquitto)");
    }
    found
}

/// A broker with the plugin, whose file one of the two tools has made.
fn dynamic(plugin: &str, init: fn(&World) -> Command) -> World {
    let world = World::open();
    let file = world.folder.path().join("dynsec.json");
    let args = ["dynsec", "init", file.to_str().unwrap(), "admin", "secret"];
    let made = said(&run(init(&world).args(args)));
    assert_eq!((made.0, made.2.as_str()), (0, ""), "{made:?}");
    assert!(made.1.starts_with("The client 'admin' has been created in the file"), "{}", made.1);
    let lines = format!("plugin {plugin}\nplugin_opt_config_file {}\n", file.display());
    world.restarted_with(&lines)
}

fn ours(world: &World) -> Command {
    world.ours("ctrl")
}

fn theirs(world: &World) -> Command {
    world.theirs("mosquitto_ctrl")
}

/// Everything the plugin can be told, mistakes included.
const LINES: &[&str] = &[
    "getDefaultACLAccess",
    "createClient bob -p pw -c bobid",
    "createClient bob -p pw",
    "createClient ann -p other",
    "createClient",
    "createClient eve -c",
    "createClient eve -p",
    "getClient bob",
    "getClient admin",
    "getClient nobody",
    "getClient",
    "listClients",
    "listClients 1",
    "listClients 1 1",
    "listClients -1",
    "createRole r1",
    "createRole r1",
    "createRole",
    "createRole r2",
    "addRoleACL r1 publishClientSend a/# allow 5",
    "addRoleACL r1 subscribeLiteral b deny",
    "addRoleACL r1 foo",
    "setDefaultACLAccess subscribe maybe",
    "getRole r1",
    "getRole none",
    "listRoles",
    "removeRoleACL r1 subscribeLiteral b",
    "removeRoleACL r1 subscribeLiteral",
    "addClientRole bob r1 7",
    "addClientRole bob",
    "createGroup g1",
    "createGroup g2",
    "addGroupRole g1 r1 3",
    "addGroupClient g1 bob 9",
    "addGroupClient g2 bob",
    "addGroupClient g1",
    "getGroup g1",
    "getGroup g2",
    "listGroups",
    "getClient bob",
    "disableClient bob",
    "getClient bob",
    "enableClient bob",
    "setClientPassword bob newpw",
    "setClientId bob x",
    "setClientId bob",
    "setClientId",
    "setAnonymousGroup g2",
    "setAnonymousGroup",
    "getAnonymousGroup",
    "removeGroupClient g1 bob",
    "removeGroupRole g1 r1",
    "removeClientRole bob r1",
    "removeClientRole bob",
    "listclients",
    "modifyClient bob",
    "enableClient",
];

#[test]
fn commands_print_and_do_what_mosquittos_do() {
    let Some(plugin) = plugin() else { return };
    let (left, right) = (dynamic(&plugin, ours), dynamic(&plugin, theirs));
    let login = ["-u", "admin", "-P", "secret", "dynsec"];
    for line in LINES {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (code, out, err) = said(&run(theirs(&right).args(login).args(&words)));
        let named = said(&run(left.ours_as("mosquitto_ctrl").args(login).args(&words)));
        assert_eq!((named.0, &named.1), (code, &out), "{line}");
        // After a mistake in the words, ours goes on with what is wrong.
        assert!(named.2.starts_with(&err), "{line}: {} | {err}", named.2);
    }
    let state = |world: &World| -> Value {
        let text = fs::read_to_string(world.folder.path().join("dynsec.json")).unwrap();
        without_secrets(serde_json::from_str(&text).unwrap())
    };
    assert_eq!(state(&left), state(&right));
}

fn without_secrets(mut state: Value) -> Value {
    for client in state["clients"].as_array_mut().unwrap() {
        for secret in ["password", "salt", "iterations"] {
            client.as_object_mut().unwrap().remove(secret);
        }
    }
    state
}

#[test]
fn under_our_name_a_refused_command_is_no_success() {
    let Some(plugin) = plugin() else { return };
    let world = dynamic(&plugin, ours);
    let login = ["-u", "admin", "-P", "secret", "dynsec"];
    let refused = said(&run(ours(&world).args(login).args(["getClient", "nobody"])));
    assert_eq!(refused, (1, String::new(), "getClient: Error: Client not found\n".into()));
    let stranger = said(&run(ours(&world).args(["dynsec", "listRoles"])));
    assert_eq!(stranger, (1, String::new(), "Subscribe error: Not authorized\n".into()));
    let wrong = ["-u", "admin", "-P", "wrong", "dynsec", "listRoles"];
    let wrong = said(&run(ours(&world).args(wrong)));
    assert_eq!(wrong, (1, String::new(), "Connection error: Not authorized\n".into()));
    // What Debian's tool says has no effect (it writes "access" where the plugin reads "allow").
    let set = ["setDefaultACLAccess", "subscribe", "allow"];
    assert_eq!(said(&run(ours(&world).args(login).args(set))).0, 0);
    let shown = said(&run(ours(&world).args(login).arg("getDefaultACLAccess"))).1;
    assert!(shown.contains("subscribe            : allow\n"), "{shown}");
    // Every version of the protocol will do, and a login from the environment.
    for version in ["31", "311", "5"] {
        let mut command = ours(&world);
        command.args(["-V", version, "-u", "admin", "dynsec", "listRoles"]);
        let listed = said(&run(command.env("MQTT_PASSWORD", "secret")));
        assert_eq!(listed, (0, "admin\n".into(), String::new()), "-V {version}");
    }
    // Debian's tool lets the user in whom our file has made, and a password from stdin is taken.
    let theirs = run(theirs(&world).args(login).arg("listRoles"));
    assert_eq!(said(&theirs).1, "admin\n");
    let asked = fed(&mut ours(&world), &["-u", "admin", "dynsec", "listRoles"], b"secret\n");
    assert_eq!((asked.0, asked.1.as_str()), (0, "admin\n"));
    let made = run(ours(&world).args(login).args(["createClient", "bob", "-p", "old"]));
    assert_eq!(said(&made).0, 0);
    let asked = ["-u", "admin", "-P", "secret", "dynsec", "setClientPassword", "bob"];
    let differ = fed(&mut ours(&world), &asked, b"one\ntwo\n");
    assert!(differ.0 == 1 && differ.2.ends_with("Error: Passwords do not match.\n"), "{differ:?}");
    assert_eq!(fed(&mut ours(&world), &asked, b"one\none\n").0, 0);
    let login = ["-u", "bob", "-P", "one", "dynsec", "listRoles"];
    assert!(said(&run(ours(&world).args(login))).2.starts_with("Subscribe error"), "bob is in");
}

fn fed(command: &mut Command, args: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    said(&world::finish(child))
}

#[test]
fn the_first_file_is_mosquittos_but_for_the_secrets() {
    let Some(_) = plugin() else { return };
    let world = World::open();
    let path = |name: &str| world.folder.path().join(name).to_str().unwrap().to_owned();
    let (left, right) = (path("left"), path("right"));
    let init = |command: &mut Command, words: &[&str]| {
        let output = run(command.args(["dynsec", "init"]).args(words));
        let (code, out, err) = said(&output);
        (code, out.replace(&left, "F").replace(&right, "F"), err.replace(&left, "F"))
    };
    let named = || world.ours_as("mosquitto_ctrl");
    let made = init(&mut theirs(&world), &[&right, "root", "secret"]);
    assert_eq!(init(&mut named(), &[&left, "root", "secret"]), made);
    let text = |path: &str| fs::read_to_string(path).unwrap();
    let masked = |path: &str| {
        let mut text = text(path);
        for key in ["password", "salt", "iterations"] {
            let at = text.find(&format!("\"{key}\":")).unwrap();
            let end = at + text[at..].find('\n').unwrap();
            text.replace_range(at..end, key);
        }
        text
    };
    assert_eq!(masked(&left), masked(&right));
    assert_eq!(fs::metadata(&left).unwrap().permissions().mode() & 0o777, 0o600);
    // Mistakes: the same words; ours are no success under our name.
    for words in [&[&*left, "root", "x"][..], &["/nonexistent/f", "a", "b"], &["f"], &[], &["1"; 4]]
    {
        let words: Vec<&str> = words.to_vec();
        let theirs = init(&mut theirs(&world), &words);
        assert_eq!(init(&mut named(), &words), theirs, "{words:?}");
        assert_ne!(init(&mut ours(&world), &words).0, 0, "{words:?}");
    }
    let before = text(&left);
    init(&mut ours(&world), &[&left, "root", "other"]);
    assert_eq!(text(&left), before, "a file that exists is left alone");
}

#[test]
fn mistakes_and_exit_codes_are_mosquittos() {
    let Some(_) = plugin() else { return };
    let world = World::open();
    for line in
        ["dynsec foo", "foo bar", "-p 1 dynsec listRoles", "-h nosuch.invalid dynsec listRoles"]
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (code, out, err) = said(&run(theirs(&world).args(&words)));
        let named = said(&run(world.ours_as("mosquitto_ctrl").args(&words)));
        assert_eq!(named, (code, out, err), "{line}");
        assert_eq!(said(&run(ours(&world).args(&words))).0, code, "{line}");
    }
    // Without a module, the help.
    for words in [&[][..], &["dynsec"]] {
        let (code, out, _) = said(&run(ours(&world).args(words)));
        assert!(code == 1 && out.contains("dynsec init"), "{out}");
    }
    let (code, out, _) = said(&run(ours(&world).args(["dynsec", "help"])));
    assert!(code == 0 && out.contains("addRoleACL ROLENAME ACLTYPE TOPIC allow|deny"), "{out}");
}

#[test]
fn options_come_from_mosquittos_file_too() {
    let Some(plugin) = plugin() else { return };
    let world = dynamic(&plugin, ours);
    let config = world.folder.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("mosquitto_ctrl"), "-u admin\n-P secret\n").unwrap();
    let mut command = ours(&world);
    let listed = run(command.args(["dynsec", "listRoles"]).env("XDG_CONFIG_HOME", &config));
    assert_eq!(said(&listed), (0, "admin\n".into(), String::new()));
}

/// A broker without the plugin: said at once or, where the protocol has no words for it, soon.
#[test]
fn a_broker_without_dynamic_security_is_told_apart() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for (module, command, word) in
        [("dynsec", "listRoles", "dynamic security"), ("broker", "listListeners", "control API")]
    {
        let (code, out, err) = said(&run(ours(&world).args([module, command])));
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(word) || err.contains("Not authorized"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

/// In 3.1.1 nothing but silence says that nobody listens.
#[test]
fn silence_after_the_acknowledgement_is_not_waited_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 1000];
        for answer in [&b"\x20\x02\0\0"[..], b"\x90\x03\0\x01\x01", b"\x40\x02\0\x01"] {
            assert_ne!(stream.read(&mut bytes).unwrap(), 0);
            stream.write_all(answer).unwrap();
        }
        let acknowledged = Instant::now();
        // Until the tool goes.
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
        acknowledged.elapsed()
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-ctrl"));
    command.args(["-p", &port, "-V", "311", "dynsec", "listRoles"]).stdin(Stdio::null());
    let (code, _, err) = said(&run(command.env("XDG_CONFIG_HOME", "/nonexistent")));
    assert!(code == 1 && err.contains("it has no dynamic security"), "{err}");
    // Three seconds; ten without the acknowledgement.
    assert!(broker.join().unwrap() < Duration::from_secs(9));
}

#[test]
fn the_shell_logs_in_connects_completes_and_obeys() {
    let Some(plugin) = plugin() else { return };
    let world = dynamic(&plugin, ours);
    let url = format!("mqtt://127.0.0.1:{}", world.port);
    // No flags at all: those of `ours` say where to connect.
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-ctrl"));
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    let mut shell = Terminal::start(&command);
    shell.shows("> ");
    shell.types("help");
    shell.shows("connect [URL]");
    shell.types("auth");
    shell.shows("username: ");
    shell.types("admin");
    shell.shows("Password for admin: ");
    shell.types("secret:secret");
    shell.shows("> ");
    shell.types(&format!("connect {url}"));
    shell.shows(&format!("{url}> "));
    shell.types("listClients");
    shell.shows("Unknown command 'listClients'");
    shell.types("dynsec");
    shell.shows(&format!("{url}|dynsec> "));
    shell.types("createRole reader");
    shell.shows("OK");
    shell.types("addRoleACL reader subscribePattern allow 3 news/#");
    shell.shows("OK");
    shell.types("createClient zoe hidden");
    shell.shows("OK");
    // Names of users and roles are completed, also those that have just been made.
    shell.types("addcl\t");
    shell.shows("addClientRole");
    shell.types(" z\t");
    shell.shows("zoe");
    shell.types(" re\t");
    shell.shows("reader");
    shell.types("");
    shell.shows("OK");
    shell.types("getClient zoe");
    shell.shows("Roles:    reader (priority: -1)");
    shell.types("getRole reader");
    shell.shows("subscribePattern     : allow : news/# (priority: 3)");
    shell.types("getClient nobody");
    shell.shows("Error: Client not found");
    shell.types("setClientPassword zoe");
    shell.shows("New password for zoe: ");
    shell.types("secret:later");
    shell.shows("Reenter password for zoe: ");
    shell.types("secret:later");
    shell.shows("OK");
    shell.types("modifyClient zoe textName Zoe from next door");
    shell.shows("OK");
    shell.types("return");
    shell.shows(&format!("{url}> "));
    shell.types("disconnect");
    shell.shows("> ");
    shell.types("exit");
    let (code, shown) = shell.ends();
    assert!(code == 0 && !shown.contains("later"), "{code}: {shown}");
    let login = ["-u", "zoe", "-P", "later", "dynsec", "listRoles"];
    let refused = said(&run(ours(&world).args(login)));
    assert_eq!(refused.2, "Subscribe error: Not authorized\n", "zoe is in, with few rights");
}

#[test]
fn the_shell_reads_scripts_too() {
    let Some(plugin) = plugin() else { return };
    let world = dynamic(&plugin, ours);
    let login = ["-u", "admin", "-P", "secret"];
    let done = fed(&mut ours(&world), &login, b"# a group\ndynsec\ncreateGroup g\n\nlistGroups\n");
    assert_eq!(done, (0, "OK\ng\n".into(), String::new()));
    // The first mistake ends it.
    let failed = fed(&mut ours(&world), &login, b"dynsec\ngetGroup h\ndeleteGroup g\n");
    assert_eq!(failed, (1, String::new(), "getGroup: Error: Group not found\n".into()));
    let unknown = fed(&mut ours(&world), &login, b"nonsense\n");
    assert_eq!(unknown.0, 13, "{unknown:?}");
    let wrong = fed(&mut ours(&world), &["-u", "admin", "-P", "wrong"], b"dynsec\n");
    assert_eq!(wrong, (1, String::new(), "Connection error: Not authorized\n".into()));
}

#[test]
fn a_password_is_set_in_the_file_without_a_broker() {
    let Some(plugin) = plugin() else { return };
    let world = World::open();
    let path = world.folder.path().join("dynsec.json");
    let file = path.to_str().unwrap();
    let made = run(ours(&world).args(["dynsec", "init", file, "admin", "first"]));
    assert_eq!(said(&made).0, 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let set = |words: &[&str]| {
        let mut command = ours(&world);
        said(&run(command.args(["-f", file, "dynsec", "setClientPassword"]).args(words)))
    };
    assert_eq!(set(&["admin", "second", "-i", "77"]), (0, String::new(), String::new()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"iterations\":\t77") || text.contains("\"iterations\": 77"), "{text}");
    let asked = ["-f", file, "dynsec", "setClientPassword", "admin"];
    assert_eq!(fed(&mut ours(&world), &asked, b"third\nthird\n").0, 0);
    // A broker takes the file.
    let lines = format!("plugin {plugin}\nplugin_opt_config_file {file}\n");
    let world = world.restarted_with(&lines);
    let listed = |password: &str| {
        let login = ["-u", "admin", "-P", password, "dynsec", "listRoles"];
        said(&run(ours(&world).args(login))).0
    };
    assert_eq!((listed("third"), listed("second")), (0, 1));
    // The form of 2.1 stays what it is.
    let newer = world.folder.path().join("newer.json");
    fs::write(&newer, r#"{"clients":[{"username":"a","encoded_password":"x","roles":[]}]}"#)
        .unwrap();
    let newer = newer.to_str().unwrap();
    let words = ["-f", newer, "dynsec", "setClientPassword", "a", "pw"];
    assert_eq!(said(&run(ours(&world).args(words))).0, 0);
    let tree: Value = serde_json::from_str(&fs::read_to_string(newer).unwrap()).unwrap();
    let client = tree["clients"][0].as_object().unwrap();
    assert!(client["encoded_password"].as_str().unwrap().starts_with("$7$"), "{client:?}");
    assert_eq!(client.keys().collect::<Vec<_>>(), ["username", "encoded_password", "roles"]);
}

#[test]
fn a_file_that_is_none_of_dynamic_security_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let file = path.to_str().unwrap().to_owned();
    let set = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-ctrl"));
        command.args(["-f", &file]).args(words).env("XDG_CONFIG_HOME", "/nonexistent");
        let (code, _, err) = said(&run(command.stdin(Stdio::null())));
        (code, err)
    };
    let words = ["dynsec", "setClientPassword", "u", "pw"];
    assert_eq!(set(&words), (3, format!("Error: Unable to open {file}.\n")));
    for (contents, code, said) in [
        ("", 3, "is empty"),
        ("{", 3, "is not valid JSON"),
        ("{}", 3, "is not a valid dynamic-security config file"),
        (r#"{"clients":[]}"#, 1, "Client u not found"),
    ] {
        fs::write(&path, contents).unwrap();
        let (got, err) = set(&words);
        assert!(got == code && err.contains(said), "{contents}: {got} {err}");
        assert_eq!(fs::read_to_string(&path).unwrap(), contents);
    }
    for (words, text) in [
        (&["dynsec", "setClientPassword", "u", "pw", "-i"][..], "no iterations provided"),
        (&["dynsec", "setClientPassword", "u", "pw", "-i", "0"], "above 0"),
        (&["dynsec", "setClientPassword", "u", "pw", "x"], "Unknown argument: x"),
        (&["dynsec", "setClientPassword"], "USERNAME is missing"),
    ] {
        let (code, err) = set(words);
        assert!(code == 3 && err.contains(text), "{words:?}: {code} {err}");
    }
    let (code, err) = set(&["dynsec", "listRoles"]);
    assert!(code == 1 && err.contains("setClientPassword only"), "{code} {err}");
    // A symbolic link is not followed by surprise.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-ctrl"));
    let (code, _, err) = said(&run(command.arg("-f").arg(&link).args(words)));
    assert!(code == 1 && err.contains("symbolic link"), "{code} {err}");
}

/// A broker that says in its PUBACK that nobody listens, as mqttd does.
#[test]
fn no_matching_subscribers_means_no_dynamic_security() {
    let start = Instant::now();
    let (code, err) = scripted(&[b"\x40\x03\0\x01\x10"]);
    assert!(code == 1 && err.contains("it has no dynamic security"), "{err}");
    // Without a wait.
    assert!(start.elapsed() < Duration::from_secs(3));
    // The answer of 2.1 for an endpoint that it does not have.
    let topic = b"$CONTROL/dynamic-security/v1/response";
    let error = br#"{"error":"endpoint not available"}"#;
    let mut answer = vec![0x30, (2 + topic.len() + 1 + error.len()) as u8, 0, topic.len() as u8];
    answer.extend_from_slice(topic);
    answer.push(0);
    answer.extend_from_slice(error);
    let (code, err) = scripted(&[b"\x40\x02\0\x01", &answer]);
    assert_eq!((code, err.as_str()), (1, "Error: endpoint not available\n"));
}

/// What the tool makes of a broker that lets it in, subscribes it and then sends this.
fn scripted(packets: &[&[u8]]) -> (i32, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let packets = packets.concat();
    let broker = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 1000];
        for answer in [&b"\x20\x03\0\0\0"[..], b"\x90\x04\0\x01\0\x01", &packets] {
            assert_ne!(stream.read(&mut bytes).unwrap(), 0);
            stream.write_all(answer).unwrap();
        }
        // Until the tool goes.
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-ctrl"));
    command.args(["-p", &port, "dynsec", "listRoles"]).env("XDG_CONFIG_HOME", "/nonexistent");
    let (code, _, err) = said(&run(command.stdin(Stdio::null())));
    broker.join().unwrap();
    (code, err)
}
