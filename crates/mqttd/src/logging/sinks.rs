//! Where lines go: standard output and error, files, the system's log. A sink that fails loses
//! lines and says so; it never ends the broker, and it holds it up for at most
//! [`WAIT_PER_SECOND_MAX`].

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mqttd_conf::LogType;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::LogError;
use super::journald::Journald;
use super::syslog::Syslog;

/// How long, in every second, the broker waits for a full pipe or a stopped terminal. A reader that
/// is only a little late loses nothing; one that has stopped costs the broker 5 % at most.
const WAIT_PER_SECOND_MAX: Duration = Duration::from_millis(50);

/// Seconds between two complaints on standard error about one sink that fails again and again.
const REPORT_PAUSE_SECONDS: i64 = 60;

/// New log files are for the owner and the group's eyes only: they name clients and users.
const FILE_MODE: u32 = 0o640;

/// One line, ready for every kind of sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Its type.
    pub(super) log_type: LogType,
    /// When it was written, seconds since 1970.
    pub(super) second: i64,
    /// The words behind the time.
    pub(super) words: &'a str,
    /// Time and words.
    pub(super) whole: &'a str,
    /// The time as syslog wants it; empty unless one of the sinks is the system's log.
    pub(super) syslog_time: &'a str,
}

/// One destination and how it fares.
#[derive(Debug)]
pub(super) struct Sink {
    target: Target,
    /// Lines lost since the last one that got through.
    lost: u64,
    /// When standard error was last told.
    reported: Option<i64>,
    patience: Patience,
}

#[derive(Debug)]
enum Target {
    Console { stream: Stream, journal: bool },
    File { path: PathBuf, file: File, torn: bool },
    Syslog(Syslog),
    Journald(Journald),
}

/// The process's own two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Sink {
    /// Standard output or error.
    pub(super) fn console(stream: Stream) -> Sink {
        Sink::to(Target::Console { stream, journal: leads_to_journal(stream) })
    }

    /// Appends to a file, which is created if need be.
    pub(super) fn file(path: &Path) -> Result<Sink, LogError> {
        let file = open(path)?;
        Ok(Sink::to(Target::File { path: path.to_owned(), file, torn: false }))
    }

    /// The system's log.
    pub(super) fn syslog(syslog: Syslog) -> Sink {
        Sink::to(Target::Syslog(syslog))
    }

    /// systemd's journal.
    pub(super) fn journald(journal: Journald) -> Sink {
        Sink::to(Target::Journald(journal))
    }

    fn to(target: Target) -> Sink {
        Sink { target, lost: 0, reported: None, patience: Patience::default() }
    }

    /// The sink wants [`Entry::syslog_time`].
    pub(super) fn is_syslog(&self) -> bool {
        matches!(self.target, Target::Syslog(_))
    }

    /// Opens a file anew under its name, for a rotation that moved the old one away. On an error
    /// the old one stays in use. Does nothing for other sinks.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        if let Target::File { path, file, torn } = &mut self.target {
            *file = open(path)?;
            *torn = false;
        }
        Ok(())
    }

    /// Writes one line. Returns how many lines are lost by it: 0 or 1.
    pub(super) fn put(&mut self, entry: Entry<'_>) -> u64 {
        match self.try_put(entry) {
            Ok(()) => 0,
            Err(error) => {
                let due = |at| entry.second.saturating_sub(at) >= REPORT_PAUSE_SECONDS;
                if self.lost == 0 && self.reported.is_none_or(due) {
                    self.reported = Some(entry.second);
                    self.report(entry, &error);
                }
                self.lost += 1;
                1
            }
        }
    }

    fn try_put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        if self.lost > 0 {
            // The report is the trial whether the sink works again.
            let words = format!("Warning: {} log lines could not be written here.", self.lost);
            let time = entry.whole.strip_suffix(entry.words).unwrap_or_default();
            let whole = format!("{time}{words}");
            let log_type = LogType::Warning;
            self.write(Entry { log_type, words: &words, whole: &whole, ..entry })?;
            self.lost = 0;
        }
        self.write(entry)
    }

    fn write(&mut self, entry: Entry<'_>) -> io::Result<()> {
        match &mut self.target {
            Target::Console { stream, journal } => {
                let line = match journal {
                    true => format!("<{}>{}\n", severity(entry.log_type), entry.whole),
                    false => format!("{}\n", entry.whole),
                };
                // Whoever has failed already is not waited for.
                let may_wait = self.lost == 0;
                write_console(*stream, &line, may_wait, &mut self.patience, entry.second)
            }
            Target::File { file, torn, .. } => {
                // Half a line may stand there from when the disk was full.
                let line = format!("{}{}\n", if *torn { "\n" } else { "" }, entry.whole);
                match file.write(line.as_bytes())? {
                    len if len == line.len() => {
                        *torn = false;
                        Ok(())
                    }
                    len => {
                        *torn |= len > 0;
                        Err(io::ErrorKind::WriteZero.into())
                    }
                }
            }
            Target::Syslog(syslog) => {
                syslog.send(severity(entry.log_type), entry.syslog_time, entry.words)
            }
            Target::Journald(journal) => journal.send(severity(entry.log_type), entry.words),
        }
    }

    /// Says on standard error that lines are being lost.
    fn report(&mut self, entry: Entry<'_>, error: &io::Error) {
        let name = match &self.target {
            Target::Console { stream: Stream::Stdout, .. } => "standard output".to_owned(),
            // There is nowhere left to say it; the count stays.
            Target::Console { stream: Stream::Stderr, .. } => return,
            Target::File { path, .. } => path.display().to_string(),
            Target::Syslog(_) => "syslog".to_owned(),
            Target::Journald(_) => {
                "the journal (without systemd: log_dest stderr or syslog)".to_owned()
            }
        };
        let line = format!("Error: Log lines cannot be written to {name} and are lost: {error}.\n");
        let stderr = Stream::Stderr;
        let _ = write_console(stderr, &line, false, &mut self.patience, entry.second);
    }
}

/// Waits for a console within the budget of the current second.
#[derive(Debug, Default)]
struct Patience {
    second: i64,
    used: Duration,
}

impl Patience {
    fn left(&mut self, second: i64) -> Duration {
        if self.second != second {
            *self = Patience { second, used: Duration::ZERO };
        }
        WAIT_PER_SECOND_MAX.saturating_sub(self.used)
    }
}

fn write_console(
    stream: Stream,
    line: &str,
    may_wait: bool,
    patience: &mut Patience,
    second: i64,
) -> io::Result<()> {
    fn write(to: &mut (impl Write + AsFd), line: &str, wait: Duration) -> io::Result<()> {
        // A pipe that is ready takes PIPE_BUF (4,096) bytes without waiting, more than any line.
        if !is_ready(to.as_fd(), wait)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        to.write_all(line.as_bytes())?;
        to.flush()
    }
    let wait = if may_wait { patience.left(second) } else { Duration::ZERO };
    let begin = Instant::now();
    let result = match stream {
        Stream::Stdout => write(&mut io::stdout().lock(), line, wait),
        Stream::Stderr => write(&mut io::stderr().lock(), line, wait),
    };
    patience.used += begin.elapsed();
    result
}

/// A write would not block, at the latest after `wait`.
fn is_ready(fd: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    let ready = match poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) if !wait.is_zero() => {
            poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO))
        }
        result => result,
    };
    match ready {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Never waits: a named pipe without a reader fails at once, a full one loses the line.
fn open(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| LogError { path: path.to_owned(), error })
}

/// systemd has connected this very stream to its journal, as `JOURNAL_STREAM` says (a child whose
/// output goes elsewhere inherits the variable, hence the comparison).
fn leads_to_journal(stream: Stream) -> bool {
    let fd = match stream {
        Stream::Stdout => io::stdout().as_fd().try_clone_to_owned(),
        Stream::Stderr => io::stderr().as_fd().try_clone_to_owned(),
    };
    let value = std::env::var("JOURNAL_STREAM").ok();
    fd.and_then(|fd| File::from(fd).metadata())
        .is_ok_and(|file| names_journal(value.as_deref(), file.dev(), file.ino()))
}

fn names_journal(value: Option<&str>, device: u64, inode: u64) -> bool {
    value
        .and_then(|value| value.split_once(':'))
        .is_some_and(|(left, right)| left.parse() == Ok(device) && right.parse() == Ok(inode))
}

/// syslog's severity of a line: 3 error to 7 debug.
fn severity(log_type: LogType) -> u8 {
    match log_type {
        LogType::Error => 3,
        LogType::Warning => 4,
        LogType::Notice | LogType::Subscribe | LogType::Unsubscribe => 5,
        LogType::Information => 6,
        LogType::Debug | LogType::Websockets | LogType::Internal => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn entry(words: &str) -> Entry<'_> {
        let log_type = LogType::Notice;
        Entry { log_type, second: 7, words, whole: words, syslog_time: "" }
    }

    #[test]
    fn files_are_appended_to_and_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqttd.log");
        std::fs::write(&path, "before\n").unwrap();
        let mut sink = Sink::file(&path).unwrap();
        assert_eq!(sink.put(entry("one")), 0);
        let moved = folder.path().join("mqttd.log.1");
        std::fs::rename(&path, &moved).unwrap();
        assert_eq!(sink.put(entry("two")), 0);
        sink.reopen().unwrap();
        assert_eq!(sink.put(entry("three")), 0);
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\none\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        // The umask may take more away, never add.
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !FILE_MODE, 0);
        assert_eq!(mode & 0o600, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_reopened_stays_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let mut sink = Sink::file(&inner.join("log")).unwrap();
        let moved = folder.path().join("moved");
        std::fs::rename(&inner, &moved).unwrap();
        assert!(sink.reopen().is_err());
        assert_eq!(sink.put(entry("still here")), 0);
        assert_eq!(std::fs::read_to_string(moved.join("log")).unwrap(), "still here\n");
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_how_many() {
        let mut sink = Sink::file(Path::new("/dev/full")).unwrap();
        assert_eq!((sink.put(entry("a")), sink.put(entry("b"))), (1, 1));
        assert_eq!(sink.lost, 2);
        // Room again.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = open(&path).unwrap();
        sink.target = Target::File { path: path.clone(), file, torn: true };
        let timed = Entry { whole: "17: c", ..entry("c") };
        assert_eq!(sink.put(timed), 0);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "\n17: Warning: 2 log lines could not be written here.\n17: c\n");
        assert_eq!(sink.put(entry("d")), 0);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("c\nd\n"));
    }

    #[test]
    fn a_named_pipe_nobody_reads_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Sink::file(&path).is_err());
        let reader =
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
        let mut sink = Sink::file(&path).unwrap();
        let line = "x".repeat(1000);
        let lost: u64 = (0..1000).map(|_| sink.put(entry(&line))).sum();
        assert!(lost > 0 && lost < 1000, "{lost}");
        drop(reader);
    }

    #[test]
    fn a_full_pipe_is_waited_for_within_the_budget() {
        let (_reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        assert!(is_ready(writer.as_fd(), Duration::ZERO).unwrap());
        while writer.write(&[b'x'; 4096]).is_ok() {}
        let begin = Instant::now();
        assert!(!is_ready(writer.as_fd(), Duration::from_millis(20)).unwrap());
        assert!(begin.elapsed() >= Duration::from_millis(20));

        let mut patience = Patience::default();
        assert_eq!(patience.left(1), WAIT_PER_SECOND_MAX);
        patience.used += WAIT_PER_SECOND_MAX * 2;
        assert_eq!(patience.left(1), Duration::ZERO);
        assert_eq!(patience.left(2), WAIT_PER_SECOND_MAX);
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names_journal(Some("8:1234"), 8, 1234));
        assert!(!names_journal(Some("8:1234"), 8, 1235));
        assert!(!names_journal(Some("9:1234"), 8, 1234));
        assert!(!names_journal(Some("8"), 8, 1234));
        assert!(!names_journal(None, 8, 1234));
    }
}
