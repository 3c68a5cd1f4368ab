//! Processes with their output collected: run to the end ([`Finished`]) or in the background
//! ([`Running`]). Nothing here knows MQTT.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once. Long, because it is only ever
/// used up by a failure, and two cores may be shared by many.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a process that ended said.
#[derive(Debug)]
pub struct Finished {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit status.
    pub status: ExitStatus,
    command: String,
}

impl Finished {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Exit code; a process killed by a signal fails the test.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self}: ended by a signal"))
    }

    /// Fails the test unless the process succeeded.
    #[track_caller]
    pub fn ok(self) -> Finished {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Fails the test unless the process ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Finished {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Fails the test unless standard error holds `text` (in any case of letters).
    #[track_caller]
    pub fn complains(self, text: &str) -> Finished {
        let found = self.err().to_lowercase().contains(&text.to_lowercase());
        assert!(found, "'{text}' is not in the error output: {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} → {}", self.command, self.status)?;
        writeln!(f, "--- stdout\n{}", self.out())?;
        write!(f, "--- stderr\n{}", self.err())
    }
}

/// Runs a command to its end, feeding it `input`; one that has not ended after [`PATIENCE`] is
/// killed and fails the test.
#[track_caller]
pub fn run(command: Command, input: &[u8]) -> Finished {
    run_within(command, input, PATIENCE)
}

/// [`run`] with a deadline of its own.
#[track_caller]
pub fn run_within(command: Command, input: &[u8], patience: Duration) -> Finished {
    let mut running = Running::spawn(command, input);
    match running.wait(patience) {
        Some(status) => running.finish(status),
        None => panic!("{} did not end within {patience:?}\n{}", running.command, running.said()),
    }
}

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    is_closed: bool,
}

/// One output of a process, read by a thread of its own as it comes.
#[derive(Debug, Clone, Default)]
struct Pipe(Arc<(Mutex<Collected>, Condvar)>);

impl Pipe {
    fn collect(mut from: impl Read + Send + 'static) -> Pipe {
        let pipe = Pipe::default();
        let to = pipe.clone();
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut collected = to.0.0.lock().unwrap();
                collected.bytes.extend_from_slice(&buffer[..count]);
                collected.is_closed = count == 0;
                to.0.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        pipe
    }

    /// Waits until `ready` says so for what has come so far, or the pipe is closed, or time is up.
    fn wait<T>(&self, until: Instant, mut ready: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let mut collected = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = ready(&collected.bytes) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if collected.is_closed || left.is_zero() {
                return None;
            }
            collected = self.0.1.wait_timeout(collected, left).unwrap().0;
        }
    }

    fn all(&self) -> Vec<u8> {
        self.0.0.lock().unwrap().bytes.clone()
    }
}

/// A process in the background. Killed when the value goes out of scope.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    stdout: Pipe,
    stderr: Pipe,
    /// How much of standard output `expect_line` has taken.
    taken: usize,
}

impl Running {
    /// Starts a command whose standard input is `input` and then ends.
    pub fn spawn(mut command: Command, input: &[u8]) -> Running {
        let text = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut stdin = child.stdin.take().expect("piped above");
        let input = input.to_vec();
        // A thread, because the process may fill its output before it reads on. A process that
        // leaves early closes the pipe: not this side's failure.
        thread::spawn(move || stdin.write_all(&input));
        let stdout = Pipe::collect(child.stdout.take().expect("piped above"));
        let stderr = Pipe::collect(child.stderr.take().expect("piped above"));
        Running { child, command: text, stdout, stderr, taken: 0 }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output, or `None` when the process closed it or time is up.
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        let taken = self.taken;
        let end = self.stdout.wait(Instant::now() + patience, |bytes| {
            bytes[taken..].iter().position(|byte| *byte == b'\n').map(|at| taken + at)
        })?;
        let line = String::from_utf8_lossy(&self.stdout.all()[taken..end]).into_owned();
        self.taken = end + 1;
        Some(line)
    }

    /// Fails the test unless the next line of standard output is this one.
    #[track_caller]
    pub fn expect_line(&mut self, expected: &str) {
        match self.line(PATIENCE) {
            Some(line) => assert_eq!(line, expected, "{}", self.said()),
            None => panic!("no line '{expected}' within {PATIENCE:?}\n{}", self.said()),
        }
    }

    /// Waits for a line of standard error that holds `text`.
    #[track_caller]
    pub fn expect_complaint(&self, text: &str) {
        let found = self.stderr.wait(Instant::now() + PATIENCE, |bytes| {
            String::from_utf8_lossy(bytes).contains(text).then_some(())
        });
        assert!(found.is_some(), "no '{text}' on standard error\n{}", self.said());
    }

    /// Everything standard output has given so far.
    pub fn stdout_so_far(&self) -> Vec<u8> {
        self.stdout.all()
    }

    /// Waits for the end; `None` when it does not come in time.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end and returns all that was said.
    #[track_caller]
    pub fn ends(mut self) -> Finished {
        match self.wait(PATIENCE) {
            Some(status) => self.finish(status),
            None => panic!("did not end within {PATIENCE:?}\n{}", self.said()),
        }
    }

    /// Sends a signal by name (`TERM`, `INT`, `HUP`, `KILL`).
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    fn finish(mut self, status: ExitStatus) -> Finished {
        let until = Instant::now() + PATIENCE;
        // The pipes close with the process; what it wrote last may still be on its way.
        self.stdout.wait(until, |_| None::<()>);
        self.stderr.wait(until, |_| None::<()>);
        Finished {
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            status,
            command: std::mem::take(&mut self.command),
        }
    }

    /// For messages of failure.
    pub fn said(&self) -> String {
        format!(
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            String::from_utf8_lossy(&self.stdout.all()),
            String::from_utf8_lossy(&self.stderr.all())
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name. The shell's own `kill` is the one that is always there.
pub fn signal(process: u32, name: &str) {
    let line = format!("kill -{name} {process}");
    let status = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// Waits until `ready` gives something, asking again every few milliseconds; `None` when
/// [`PATIENCE`] is used up.
pub fn until<T>(mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
