//! What the tests of the tools live in: Debian's broker on a port of its own, our binaries, and
//! Debian's beside them.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod terminal;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Debian's programs, or `None` with a loud word when they may be missing.
pub(crate) fn peers() -> Option<()> {
    let missing: Vec<_> = ["mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr"]
        .into_iter()
        .filter(|name| find(name).is_none())
        .collect();
    if missing.is_empty() {
        return Some(());
    }
    assert!(
        std::env::var_os("MQTTD_TESTS_REQUIRE_PEERS").is_none(),
        "not installed: {missing:?} (apt install mosquitto mosquitto-clients)"
    );
    eprintln!("SKIPPED: {missing:?} not installed (apt install mosquitto mosquitto-clients)");
    None
}

fn find(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// A broker and a folder; both go away with it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    broker: Child,
    collected: AtomicU32,
}

impl World {
    /// A broker that lets everybody in.
    pub(crate) fn open() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// A broker that knows alice with the password secret, and nobody else.
    pub(crate) fn closed() -> Self {
        let folder = TempDir::new().unwrap();
        let passwords = folder.path().join("passwords");
        fs::write(&passwords, "").unwrap();
        let made = Command::new(find("mosquitto_passwd").unwrap())
            .args(["-b", passwords.to_str().unwrap(), "alice", "secret"])
            .status();
        assert!(made.unwrap().success());
        let line = format!("password_file {}\n", passwords.display());
        Self::start(folder, &line)
    }

    /// A broker with these lines in its configuration.
    pub(crate) fn with(lines: &str) -> Self {
        Self::start(TempDir::new().unwrap(), lines)
    }

    fn start(folder: TempDir, lines: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let conf = folder.path().join("mosquitto.conf");
        // The broker gives up root for a user that could not read the folder.
        let user = if fs::metadata("/proc/self").is_ok_and(|meta| is_root(&meta)) {
            "user root\n"
        } else {
            ""
        };
        let text = format!("listener {port} 127.0.0.1\n{user}{lines}");
        fs::write(&conf, text).unwrap();
        let broker = broker(&conf);
        let world = Self { folder, port, broker, collected: AtomicU32::new(0) };
        world.wait_until_up();
        world
    }

    /// Until each TCP listener of the configuration is there; they open one after the other.
    fn wait_until_up(&self) {
        let conf = fs::read_to_string(self.folder.path().join("mosquitto.conf")).unwrap();
        let ports = conf.lines().filter_map(|line| {
            let port: u16 = line.strip_prefix("listener ")?.split(' ').next()?.parse().ok()?;
            (port != 0).then_some(port)
        });
        let start = Instant::now();
        for port in ports {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(start.elapsed() < PATIENCE, "the broker does not start");
                sleep(Duration::from_millis(20));
            }
        }
    }

    /// Adds lines to the configuration, for [`World::restart`].
    pub(crate) fn append(&self, lines: &str) {
        let conf = self.folder.path().join("mosquitto.conf");
        let old = fs::read_to_string(&conf).unwrap();
        fs::write(conf, old + lines).unwrap();
    }

    /// Ends the broker in order and starts it again.
    pub(crate) fn restart(&mut self) {
        let id = self.broker.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        self.broker.wait().unwrap();
        self.broker = broker(&self.folder.path().join("mosquitto.conf"));
        self.wait_until_up();
    }

    /// The same folder with a broker that has these lines.
    pub(crate) fn restarted_with(self, lines: &str) -> Self {
        let mut old = self;
        let _ = old.broker.kill();
        let _ = old.broker.wait();
        let folder = std::mem::replace(&mut old.folder, TempDir::new().unwrap());
        Self::start(folder, &format!("allow_anonymous true\n{lines}"))
    }

    /// Our tool under one of Mosquitto's names.
    pub(crate) fn ours_as(&self, name: &str) -> Command {
        let path = self.folder.path().join(name);
        if !path.exists() {
            symlink(ours_path(&name.replace("mosquitto_", "mqtt-")), &path).unwrap();
        }
        self.prepared(Command::new(path))
    }

    /// Our tool: `pub`, `sub` or `rr`.
    pub(crate) fn ours(&self, tool: &str) -> Command {
        self.prepared(Command::new(ours_path(&format!("mqtt-{tool}"))))
    }

    /// Debian's tool.
    pub(crate) fn theirs(&self, name: &str) -> Command {
        self.prepared(Command::new(find(name).unwrap()))
    }

    fn prepared(&self, mut command: Command) -> Command {
        command
            .args(["-p", &self.port.to_string()])
            .env("XDG_CONFIG_HOME", self.folder.path().join("no-config"))
            .env_remove("MQTT_PASSWORD")
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Publishes a retained message with Debian's tool.
    pub(crate) fn retain(&self, args: &[&str]) {
        let output = run(self.theirs("mosquitto_pub").args(["-r"]).args(args));
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts collecting messages of `filter` with Debian's tool, and returns once it is
    /// subscribed.
    pub(crate) fn collect(&self, filter: &str, format: &str, count: usize) -> Child {
        // A word of its own each time: an old one would be counted, too.
        let ready = format!("ready/{}", self.collected.fetch_add(1, Ordering::Relaxed));
        let mut child = self
            .theirs("mosquitto_sub")
            .args(["-V", "5", "-q", "2", "-t", &ready, "-t", filter, "-N"])
            .args(["-F", format, "-C", &(count + 1).to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The retained word comes once the subscription stands; it is read from the pipe.
        use std::io::Read;
        self.retain(&["-t", &ready, "-m", "READY"]);
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        child
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

fn broker(conf: &Path) -> Child {
    let mut command = Command::new(find("mosquitto").unwrap());
    command.arg("-c").arg(conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn is_root(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    meta.uid() == 0
}

fn ours_path(name: &str) -> &'static str {
    match name {
        "mqtt-pub" => env!("CARGO_BIN_EXE_mqtt-pub"),
        "mqtt-sub" => env!("CARGO_BIN_EXE_mqtt-sub"),
        "mqtt-rr" => env!("CARGO_BIN_EXE_mqtt-rr"),
        "mqtt-ctrl" => env!("CARGO_BIN_EXE_mqtt-ctrl"),
        other => panic!("no such tool: {other}"),
    }
}

/// Runs to the end, with patience.
pub(crate) fn run(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    finish(child)
}

/// Waits for the end, with patience.
pub(crate) fn finish(child: Child) -> Output {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = Command::new("kill").arg(id.to_string()).status();
            panic!("process {id} does not end");
        }
    }
}

/// Exit code, stdout and stderr as text.
pub(crate) fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
