//! Each example runs, against Debian's broker. They are beside this test's own program when cargo
//! has built them, as `cargo test -p mqtt-client` does.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn find(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// A broker with TCP, WebSocket and TLS; `None` with a loud word when there is none.
struct World {
    folder: TempDir,
    broker: Child,
    tcp: u16,
    websocket: u16,
    tls: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl World {
    fn new() -> Option<Self> {
        let Some(program) = find("mosquitto") else {
            let is_wanted = env::var_os("MQTTD_TESTS_REQUIRE_PEERS").is_some();
            assert!(!is_wanted, "not installed: mosquitto (apt install mosquitto)");
            eprintln!("SKIPPED: mosquitto not installed (apt install mosquitto)");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let at = folder.path().display();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(folder.path().join("crt"), certificate.pem()).unwrap();
        fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
        let (tcp, websocket, tls) = (free_port(), free_port(), free_port());
        let is_root = fs::metadata("/root").is_ok() && fs::read_dir("/root").is_ok();
        let user = if is_root { "user root\n" } else { "" };
        let text = format!(
            "{user}allow_anonymous true\nlistener {tcp} 127.0.0.1\nlistener {websocket} 127.0.0.1\n\
             protocol websockets\nlistener {tls} 127.0.0.1\ncertfile {at}/crt\nkeyfile {at}/key\n"
        );
        fs::write(folder.path().join("conf"), text).unwrap();
        let broker = start(&program, folder.path());
        let world = Self { folder, broker, tcp, websocket, tls };
        world.wait_until_up();
        Some(world)
    }

    fn wait_until_up(&self) {
        let start = Instant::now();
        for port in [self.tcp, self.websocket, self.tls] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(start.elapsed() < PATIENCE, "the broker does not start");
                sleep(Duration::from_millis(20));
            }
        }
    }

    fn restart(&mut self) {
        self.broker.kill().unwrap();
        self.broker.wait().unwrap();
        self.broker = start(&find("mosquitto").unwrap(), self.folder.path());
        self.wait_until_up();
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.tcp)
    }
}

fn start(program: &Path, folder: &Path) -> Child {
    let mut command = Command::new(program);
    command.arg("-c").arg(folder.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

fn example(name: &str) -> Command {
    let own = env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo test -p mqtt-client", path.display());
    Command::new(path)
}

/// What an example prints when all goes well.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn publish() {
    let Some(world) = World::new() else { return };
    let out = printed(example("publish").args([&world.url(), "a/b", "hello"]));
    assert_eq!(out.lines().count(), 3);
    assert!(out.contains("QoS 2: "), "{out}");
}

#[test]
fn subscribe() {
    let Some(world) = World::new() else { return };
    let mut child =
        example("subscribe").args([&world.url(), "a/#"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    // It keeps its Session; until it is there, messages go to nobody, so they are sent again.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(out.next().unwrap().unwrap()));
    let start = Instant::now();
    let line = loop {
        printed(example("publish").args([&world.url(), "a/b", "hello"]));
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => break line,
            Err(_) => assert!(start.elapsed() < PATIENCE, "nothing is printed"),
        }
    };
    assert_eq!(line, "a/b hello");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn request_response() {
    let Some(world) = World::new() else { return };
    assert_eq!(printed(example("request_response").arg(world.url())), "the lamp is on\n");
}

#[test]
fn persistent_session() {
    let Some(world) = World::new() else { return };
    let out = printed(example("persistent_session").arg(world.url()));
    assert_eq!(out, "session: true\nfirst\nsecond\n");
}

#[test]
fn websocket() {
    let Some(world) = World::new() else { return };
    let url = format!("ws://127.0.0.1:{}/mqtt", world.websocket);
    assert_eq!(printed(example("websocket").arg(url)), "over WebSocket\n");
}

#[test]
fn tls() {
    let Some(world) = World::new() else { return };
    let url = format!("mqtts://localhost:{}", world.tls);
    let ca = world.folder.path().join("crt");
    assert_eq!(printed(example("tls").arg(&url).arg(ca)), "arrived\n");
    // Nobody vouches for this certificate.
    assert!(!example("tls").arg(&url).stderr(Stdio::null()).status().unwrap().success());
}

#[test]
fn reconnect() {
    let Some(mut world) = World::new() else { return };
    let mut child =
        example("reconnect").args([&world.url(), "20"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(out.next().unwrap(), "connected");
    world.restart();
    let rest: Vec<String> = out.collect();
    assert!(rest.iter().any(|line| line.contains(": in ")), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "20 readings have arrived");
    assert!(child.wait().unwrap().success());
}
