//! The command-line clients: ours or Mosquitto's, run to the end or in the background.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::broker::Broker;
use crate::notation::Pattern;
use crate::place;
use crate::process::{self, Finished, PATIENCE, Running};

/// Whose tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// `mqtt-pub`, `mqtt-sub`, `mqtt-passwd`, unless `MQTTD_TEST_TOOLS` says otherwise.
    UnderTest,
    /// Debian's `mosquitto_pub`, `mosquitto_sub`, `mosquitto_passwd`.
    Mosquitto,
}

impl Tools {
    /// A command for `pub`, `sub` or `passwd`, free of the user's own defaults files.
    pub fn command(self, word: &str) -> Command {
        let program = if self == Tools::Mosquitto || place::tools_are_peer() {
            place::peer_binary(&format!("mosquitto_{word}"))
        } else {
            place::our_binary(&format!("mqtt-{word}"))
        };
        let mut command = Command::new(program);
        command.env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME").env("TZ", "UTC");
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a tool to its end with the arguments as given (no broker is added).
    #[track_caller]
    pub fn run(self, word: &str, arguments: &[&str]) -> Finished {
        let mut command = self.command(word);
        command.args(arguments);
        process::run(command, b"")
    }

    /// Runs `pub` against a broker; the result is the caller's to judge.
    #[track_caller]
    pub fn publish(self, broker: &Broker, arguments: &[&str]) -> Finished {
        self.publish_from(broker, arguments, b"")
    }

    /// Runs `pub` with something on standard input.
    #[track_caller]
    pub fn publish_from(self, broker: &Broker, arguments: &[&str], input: &[u8]) -> Finished {
        process::run(self.client("pub", broker, arguments), input)
    }

    /// Runs `sub` to its end (with `-C`, `-E` or `-W`).
    #[track_caller]
    pub fn receive(self, broker: &Broker, arguments: &[&str]) -> Finished {
        process::run(self.client("sub", broker, arguments), b"")
    }

    /// Starts `sub` in the background and waits until its subscriptions are effective.
    #[track_caller]
    pub fn subscribe(self, broker: &Broker, arguments: &[&str]) -> Sub {
        Sub::start(self, broker, arguments)
    }

    /// Starts `sub` in the background and returns at once.
    pub fn start_sub(self, broker: &Broker, arguments: &[&str]) -> Running {
        Running::spawn(self.client("sub", broker, arguments), b"")
    }

    fn client(self, word: &str, broker: &Broker, arguments: &[&str]) -> Command {
        let mut command = self.command(word);
        command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string()]).args(arguments);
        command
    }
}

/// Publishes with the tool under test and expects success.
#[track_caller]
pub fn publish(broker: &Broker, arguments: &[&str]) {
    Tools::UnderTest.publish(broker, arguments).ok();
}

/// A `sub` in the background whose subscriptions are known to be effective.
///
/// How that is known: it also subscribes to a topic of its own, behind the others in the same
/// request, and the test publishes marks there until one arrives. Lines with a mark are not shown
/// to the test. So `-C`, `-N` and `-F` without `%p` do not go together with this.
#[derive(Debug)]
pub struct Sub {
    running: Running,
    mark: String,
    /// Lines that came before the first mark: retained messages.
    early: VecDeque<String>,
}

impl Sub {
    #[track_caller]
    fn start(tools: Tools, broker: &Broker, arguments: &[&str]) -> Sub {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("ready-{}-{count}", std::process::id());
        let topic = format!("probe/{mark}");
        let mut all = arguments.to_vec();
        all.extend(["-t", &topic]);
        let running = Running::spawn(tools.client("sub", broker, &all), b"");
        let login = [after(arguments, "-u"), after(arguments, "-P")];
        let mut sub = Sub { running, mark, early: VecDeque::new() };
        sub.wait_until_subscribed(broker, &topic, login);
        sub
    }

    #[track_caller]
    fn wait_until_subscribed(&mut self, broker: &Broker, topic: &str, login: [Option<&str>; 2]) {
        use std::io::{Read as _, Write as _};
        let connect = match login {
            [Some(user), Some(password)] => {
                format!("10 [ <MQTT> 04 c2 00 00 <> <{user}> <{password}> ]")
            }
            _ => "10 [ <MQTT> 04 02 00 00 <> ]".to_string(),
        };
        let mut socket = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&Pattern::parse(&connect).bytes()).unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0], "the probe's CONNECT was refused\n{}", broker.log());
        let probe = Pattern::parse(&format!("30 [ <{topic}> '{}' ]", self.mark)).bytes();
        let seen = process::until(|| {
            socket.write_all(&probe).expect("the broker keeps the probe's connection");
            match self.running.line(Duration::from_millis(20)) {
                Some(line) if line.contains(&self.mark) => Some(()),
                Some(line) => {
                    self.early.push_back(line);
                    None
                }
                None => self.running.wait(Duration::ZERO).map(|_| ()),
            }
        });
        let has_ended = self.running.wait(Duration::ZERO).is_some();
        assert!(seen.is_some() && !has_ended, "not subscribed\n{}", self.running.said());
    }

    /// The next line that is not a mark.
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        if let Some(line) = self.early.pop_front() {
            return Some(line);
        }
        loop {
            let line = self.running.line(patience)?;
            if !line.contains(&self.mark) {
                return Some(line);
            }
        }
    }

    /// Fails the test unless the next line is this one.
    #[track_caller]
    pub fn expect_line(&mut self, expected: &str) {
        match self.line(PATIENCE) {
            Some(line) => assert_eq!(line, expected, "{}", self.running.said()),
            None => panic!("no line '{expected}'\n{}", self.running.said()),
        }
    }

    /// Fails the test unless the next lines are these.
    #[track_caller]
    pub fn expect_lines<T: AsRef<str>>(&mut self, expected: &[T]) {
        for line in expected {
            self.expect_line(line.as_ref());
        }
    }

    /// The process behind it.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

fn after<'a>(arguments: &[&'a str], flag: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|it| *it == flag)?;
    arguments.get(at + 1).copied()
}
