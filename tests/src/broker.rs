//! [`Broker`]: one real broker process with a config text, a folder and ports of its own.
//!
//! In a config text `{port}` stands for the MQTT port, `{ws}` for the WebSocket port and `{dir}`
//! for the broker's folder. The same text starts `mqttd` or Debian's mosquitto.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::listening;
use crate::place::{self, Port, TempDir};
use crate::process::{self, Finished, PATIENCE};

/// A running broker; killed when the value goes out of scope, its log printed if the test failed.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    dir: TempDir,
    port: Port,
    ws_port: Port,
    listens_ws: bool,
}

impl Broker {
    /// The broker under test with both listeners open to everybody.
    #[track_caller]
    pub fn open() -> Broker {
        Broker::with("")
    }

    /// [`Broker::open`] with more global lines (they stand before the listeners).
    #[track_caller]
    pub fn with(lines: &str) -> Broker {
        Broker::config(&format!("allow_anonymous true\n{lines}\n{LISTENERS}"))
    }

    /// The broker under test with users and, if not empty, an ACL file. Files are `pwfile` and
    /// `acl` in its folder. `passwords` is the content of the password file.
    #[track_caller]
    pub fn guarded(passwords: &str, acl: &str) -> Broker {
        let mut lines = String::from("allow_anonymous false\npassword_file {dir}/pwfile\n");
        if !acl.is_empty() {
            lines.push_str("acl_file {dir}/acl\n");
        }
        let broker = Broker::prepared(place::broker_under_test(), &format!("{lines}{LISTENERS}"));
        broker.write("pwfile", passwords);
        broker.write("acl", acl);
        broker.started()
    }

    /// The broker under test with exactly this config.
    #[track_caller]
    pub fn config(text: &str) -> Broker {
        Broker::prepared(place::broker_under_test(), text).started()
    }

    /// Debian's mosquitto, whatever the broker under test is, open to everybody.
    #[track_caller]
    pub fn mosquitto(lines: &str) -> Broker {
        let text = format!("allow_anonymous true\n{lines}\n{LISTENERS}");
        Broker::prepared(place::peer_binary("mosquitto"), &text).started()
    }

    /// A broker that has its folder and config, but does not run yet: for tests that put files
    /// beside the config first, or expect the start to fail.
    pub fn prepared(program: PathBuf, text: &str) -> Broker {
        let (dir, port, ws_port) = (TempDir::new(), Port::take(), Port::take());
        // Without this, a broker started by root becomes another user, who cannot enter `dir`.
        let user = if place::is_root() && !text.contains("user ") { "user root\n" } else { "" };
        let text = format!("{user}{text}")
            .replace("{port}", &port.number.to_string())
            .replace("{ws}", &ws_port.number.to_string())
            .replace("{dir}", dir.path().to_str().expect("we chose the name"));
        let listens_ws = text.contains(&ws_port.number.to_string());
        let config = dir.write("mosquitto.conf", text);
        let arguments = vec!["-c".to_string(), config];
        let environment = Vec::new();
        Broker { program, arguments, environment, child: None, dir, port, ws_port, listens_ws }
    }

    /// The broker under test without a config file, only with these arguments (`{port}` in them
    /// as in a config).
    #[track_caller]
    pub fn with_arguments(arguments: &[&str]) -> Broker {
        let mut broker = Broker::prepared(place::broker_under_test(), "");
        let port = broker.port().to_string();
        broker.arguments = arguments.iter().map(|it| it.replace("{port}", &port)).collect();
        broker.started()
    }

    /// A variable in the environment of a prepared broker.
    pub fn in_environment(mut self, name: &str, value: &str) -> Broker {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts a prepared broker and waits until its ports accept.
    #[track_caller]
    pub fn started(mut self) -> Broker {
        self.start();
        self
    }

    /// Starts a stopped broker on its old ports and folder.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "already running");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.child = Some(child);
        self.wait_for(self.port());
        if self.listens_ws {
            self.wait_for(self.ws_port());
        }
        self.wait_for_others();
    }

    /// Runs a prepared broker to its end: for configs it must refuse. More arguments may follow
    /// the config.
    #[track_caller]
    pub fn run_to_end(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments);
        command.current_dir(self.dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        process::run(command, b"")
    }

    #[track_caller]
    fn wait_for(&mut self, port: u16) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let child = self.child.as_mut().expect("started above");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the broker ended at its start: {status}\n{}", self.log());
            }
            assert!(Instant::now() < end, "port {port} does not accept\n{}", self.log());
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// The listeners of the config that `wait_for` has not asked: a broker opens one after the
    /// other. Only looks, so that no test finds a connection in the log that it did not make.
    #[track_caller]
    fn wait_for_others(&mut self) {
        let config = fs::read_to_string(self.file("mosquitto.conf")).unwrap_or_default();
        for place in config.lines().filter_map(|line| line.strip_prefix("listener ")) {
            let listens = || listening::is_there(self.id(), place).then_some(());
            let seen = process::until(listens);
            assert!(seen.is_some(), "'listener {place}' does not listen\n{}", self.log());
        }
    }

    /// The MQTT port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The WebSocket port on 127.0.0.1.
    pub fn ws_port(&self) -> u16 {
        self.ws_port.number
    }

    /// The broker's own folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Path of a file in the broker's folder.
    pub fn file(&self, name: &str) -> String {
        self.dir.file(name)
    }

    /// Writes a file into the broker's folder, readable by its owner only.
    pub fn write(&self, name: &str, content: &str) -> String {
        self.dir.write(name, content)
    }

    /// All it has logged since the first start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    fn log_path(&self) -> String {
        self.dir.file("broker.log")
    }

    /// Process id of the running broker.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// Is the process still there?
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// SIGTERM, then waits for the end, which must be a success.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end_by("TERM");
    }

    /// Sends SIGTERM or SIGINT by name and waits for the end, which must be a success.
    #[track_caller]
    pub fn end_by(&mut self, name: &str) {
        self.signal(name);
        let status = self.wait();
        assert!(status.success(), "after SIG{name}: {status}\n{}", self.log());
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the broker runs");
        let status = process::until(|| child.try_wait().unwrap());
        let status = status.unwrap_or_else(|| panic!("the broker does not end\n{}", self.log()));
        self.child = None;
        status
    }

    /// SIGKILL: as if the machine had lost the process.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGHUP, then waits for one more line of the log with these words.
    #[track_caller]
    pub fn reload(&self, line: &str) {
        let before = self.log().matches(line).count();
        self.hup();
        let seen = process::until(|| (self.log().matches(line).count() > before).then_some(()));
        assert!(seen.is_some(), "no '{line}'\n{}", self.log());
    }

    /// SIGHUP: read password and ACL files again. Returns at once.
    pub fn hup(&self) {
        self.signal("HUP");
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        process::signal(self.id(), name);
    }

    /// A clean stop and a new start.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Largest amount of memory the process has held so far, in bytes (`VmHWM`).
    pub fn memory_peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }
}

/// The two listeners most tests use.
pub const LISTENERS: &str =
    "listener {port} 127.0.0.1\nlistener {ws} 127.0.0.1\nprotocol websockets\n";

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("--- log of {}\n{}", self.program.display(), self.log());
        }
    }
}
