//! A program on a pseudo-terminal, with a person at it.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::PATIENCE;

const SCRIPT: &str = include_str!("terminal.py");

pub(crate) struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
    /// Bytes of `seen` that were waited for already.
    read: usize,
}

impl Terminal {
    /// Starts the program that `command` would run.
    pub(crate) fn start(command: &Command) -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", SCRIPT]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => python.env(name, value),
                None => python.env_remove(name),
            };
        }
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = python.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 1000];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, output, seen: String::new(), read: 0 }
    }

    /// Waits until the screen shows `text`, behind what was waited for before.
    pub(crate) fn shows(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {text:?} on the terminal: {:?}", self.seen),
            }
        }
    }

    /// Types a line, or a part of one that ends in a tab. `secret:` in front waits until nothing is
    /// echoed.
    pub(crate) fn types(&mut self, text: &str) {
        let end = if text.ends_with('\t') { "" } else { "\n" };
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{text}{end}").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for the end: the exit code and all that was shown.
    pub(crate) fn ends(mut self) -> (i32, String) {
        let start = Instant::now();
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => panic!("it does not end: {:?}", self.seen),
                None => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        };
        (status.code().unwrap_or(-1), std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
