//! The log: which lines are wanted, and the way of a line to its destinations.
//!
//! `line.rs` makes the text (time, escapes, length), `sinks.rs` writes it to files and streams,
//! `syslog.rs` to the system's log. The words themselves are in `crate::wording` and beside the
//! events they report.

mod journald;
mod line;
mod repeats;
mod sinks;
mod syslog;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mqttd_conf::{LogDestination, LogType, Logging};
use tokio::sync::Notify;

use journald::{JOURNAL_PATH, Journald};
use line::{Clock, LineText, Stamp};
use repeats::{Judgement, Repeats};
use sinks::{Entry, Sink, Stream};
use syslog::{SYSLOG_PATH, Syslog};

/// What the command line says about the log; it outlives reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Nothing: the configuration decides.
    Configured,
    /// `-v`: lines of every type.
    Verbose,
    /// `-q`: no line at all. Wins over `-v`.
    Quiet,
}

/// A log file that cannot be opened.
#[derive(Debug)]
pub(crate) struct LogError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "Unable to open log file {path} for writing: {}.", self.error)
    }
}

impl std::error::Error for LogError {}

/// Writes log lines. Clones share everything; any thread may use one.
#[derive(Clone)]
pub(crate) struct Logger(Arc<Shared>);

struct Shared {
    verbosity: Verbosity,
    /// Bit `LogType as u16` is set when such lines go anywhere.
    types: AtomicU16,
    connection_messages: AtomicBool,
    lines_lost: AtomicU64,
    outlets: Mutex<Outlets>,
    topic: OnceLock<TopicOutlet>,
    held_back: Notify,
}

/// Publishes `(topic, text)`; see [`Logger::publish_with`].
type TopicOutlet = Box<dyn Fn(&str, &str) + Send + Sync>;

/// The destinations of one configuration.
struct Outlets {
    clock: Clock,
    sinks: Vec<Sink>,
    to_topic: bool,
    is_json: bool,
    repeats: Repeats,
}

/// Further members of a line of `log_format json`.
pub(crate) type Fields = serde_json::Map<String, serde_json::Value>;

impl Logger {
    /// Opens the destinations.
    ///
    /// # Errors
    /// A log file cannot be opened.
    pub(crate) fn new(logging: &Logging, verbosity: Verbosity) -> Result<Logger, LogError> {
        let outlets = Outlets::open(logging)?;
        Ok(Logger(Arc::new(Shared {
            verbosity,
            types: AtomicU16::new(mask(logging, verbosity)),
            connection_messages: AtomicBool::new(logging.connection_messages),
            lines_lost: AtomicU64::new(0),
            outlets: Mutex::new(outlets),
            topic: OnceLock::new(),
            held_back: Notify::new(),
        })))
    }

    /// Takes a new configuration; lines of other threads go whole to the old or to the new one.
    ///
    /// # Errors
    /// A log file cannot be opened; everything stays as it was.
    pub(crate) fn reconfigure(&self, logging: &Logging) -> Result<(), LogError> {
        let outlets = Outlets::open(logging)?;
        let mut current = self.outlets();
        *current = outlets;
        self.0.types.store(mask(logging, self.0.verbosity), Ordering::Relaxed);
        self.0.connection_messages.store(logging.connection_messages, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the log files anew, after a rotation moved them away.
    ///
    /// # Errors
    /// The first file that cannot be opened; it stays in use under its old name, and the others
    /// are reopened all the same.
    pub(crate) fn reopen(&self) -> Result<(), LogError> {
        let mut result = Ok(());
        for sink in &mut self.outlets().sinks {
            result = result.and(sink.reopen());
        }
        result
    }

    /// Sets what publishes the lines of `log_dest topic`: called with the topic and the text, from
    /// any thread, with no lock held. It must not wait. Lines before this call do not go to topics;
    /// a second call changes nothing.
    pub(crate) fn publish_with(&self, publish: impl Fn(&str, &str) + Send + Sync + 'static) {
        let _ = self.0.topic.set(Box::new(publish));
    }

    /// Lines of this type go somewhere. Costs one load.
    #[inline]
    pub(crate) fn is_on(&self, log_type: LogType) -> bool {
        self.0.types.load(Ordering::Relaxed) & bit(log_type) != 0
    }

    /// `connection_messages`: connects and disconnects are to be logged.
    #[inline]
    pub(crate) fn connection_messages(&self) -> bool {
        self.0.connection_messages.load(Ordering::Relaxed)
    }

    /// Lines that a destination did not take, since the start.
    #[cfg(test)]
    fn lines_lost(&self) -> u64 {
        self.0.lines_lost.load(Ordering::Relaxed)
    }

    /// Writes a line, if its type is on. Formats nothing otherwise.
    #[inline]
    pub(crate) fn line(&self, log_type: LogType, words: fmt::Arguments<'_>) {
        if self.is_on(log_type) {
            self.write(log_type, words, None::<fn() -> Fields>);
        }
    }

    /// A line about one event, with members for `log_format json`. It is written even when it is
    /// the same as the one before: intrusion filters count these.
    #[inline]
    pub(crate) fn line_with(
        &self,
        log_type: LogType,
        words: fmt::Arguments<'_>,
        fields: impl FnOnce() -> Fields,
    ) {
        if self.is_on(log_type) {
            self.write(log_type, words, Some(fields));
        }
    }

    /// Writes how often the last line has come again, once it has not for a while. To be called
    /// now and then.
    ///
    /// Returns whether some are still held back: then ask again.
    pub(crate) fn settle(&self) -> bool {
        let second = now();
        let mut outlets = self.outlets();
        let Some((log_type, words)) = outlets.repeats.settle(second) else {
            return outlets.repeats.holds_some();
        };
        let text = LineText::of(format_args!("{words}"));
        let line = outlets.write(log_type, second, text, Fields::new());
        self.finish(outlets, vec![(log_type, line)]);
        false
    }

    /// Until a line has been held back.
    pub(crate) async fn held_back(&self) {
        self.0.held_back.notified().await;
    }

    #[cold]
    fn write(
        &self,
        log_type: LogType,
        words: fmt::Arguments<'_>,
        fields: Option<impl FnOnce() -> Fields>,
    ) {
        let text = LineText::of(words);
        let second = now();
        let mut outlets = self.outlets();
        let repeats = &mut outlets.repeats;
        let judgement = match &fields {
            Some(_) => Judgement::Written(repeats.interrupt()),
            None => repeats.judge(log_type, text.as_str(), second),
        };
        let Judgement::Written(summary) = judgement else {
            self.0.held_back.notify_one();
            return;
        };
        let mut lines = Vec::with_capacity(2);
        if let Some((of, words)) = summary {
            let text = LineText::of(format_args!("{words}"));
            lines.push((of, outlets.write(of, second, text, Fields::new())));
        }
        let fields = fields.filter(|_| outlets.is_json).map(|fields| fields()).unwrap_or_default();
        lines.push((log_type, outlets.write(log_type, second, text, fields)));
        self.finish(outlets, lines);
    }

    /// Counts what was lost and publishes, with no lock held.
    fn finish(&self, outlets: MutexGuard<'_, Outlets>, lines: Vec<(LogType, (String, u64))>) {
        let to_topic = outlets.to_topic;
        drop(outlets);
        for (log_type, (whole, lost)) in lines {
            if lost > 0 {
                self.0.lines_lost.fetch_add(lost, Ordering::Relaxed);
            }
            if to_topic {
                if let (Some(topic), Some(publish)) = (topic_of(log_type), self.0.topic.get()) {
                    publish(topic, &whole);
                }
            }
        }
    }

    fn outlets(&self) -> MutexGuard<'_, Outlets> {
        // Whatever a panicking thread left behind is still a list of destinations.
        self.0.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlets {
    fn open(logging: &Logging) -> Result<Outlets, LogError> {
        let stamp = match (&logging.timestamp_format, logging.timestamp) {
            (_, false) => Stamp::Nothing,
            (None, true) => Stamp::Epoch,
            (Some(format), true) => Stamp::Format(format.clone()),
        };
        let mut sinks = Vec::new();
        let mut to_topic = false;
        for (index, destination) in logging.destinations.iter().enumerate() {
            if logging.destinations[..index].contains(destination) {
                continue;
            }
            match destination {
                LogDestination::Stdout => sinks.push(Sink::console(Stream::Stdout)),
                LogDestination::Stderr => sinks.push(Sink::console(Stream::Stderr)),
                LogDestination::Syslog => {
                    sinks.push(Sink::syslog(Syslog::new(SYSLOG_PATH.into(), logging.facility)));
                }
                LogDestination::Journald => {
                    sinks.push(Sink::journald(Journald::new(JOURNAL_PATH.into())));
                }
                LogDestination::Topic => to_topic = true,
                LogDestination::File(path) => sinks.push(Sink::file(path)?),
            }
        }
        let (is_json, repeats) = (logging.is_json, Repeats::default());
        Ok(Outlets { clock: Clock::new(stamp), sinks, to_topic, is_json, repeats })
    }

    /// Returns the line with its time, and how often it was lost.
    fn write(
        &mut self,
        log_type: LogType,
        second: i64,
        text: LineText,
        fields: Fields,
    ) -> (String, u64) {
        let syslog_time = match self.sinks.iter().any(Sink::is_syslog) {
            true => self.clock.syslog(second),
            false => String::new(),
        };
        let words = text.as_str().to_owned();
        let whole = match self.is_json {
            true => self.object(log_type, second, text, fields),
            false => text.with_prefix(self.clock.prefix(second)),
        };
        let entry =
            Entry { log_type, second, words: &words, whole: &whole, syslog_time: &syslog_time };
        let lost = self.sinks.iter_mut().map(|sink| sink.put(entry)).sum();
        (whole, lost)
    }
}

impl Outlets {
    /// A line of `log_format json`: the time as a number unless it has a format of its own.
    fn object(&mut self, log_type: LogType, second: i64, text: LineText, fields: Fields) -> String {
        use serde_json::Value;
        let mut object = Fields::new();
        if let Some(time) = self.clock.prefix(second).strip_suffix(": ") {
            let number = time.parse::<i64>().map(Value::from);
            object.insert("time".to_owned(), number.unwrap_or_else(|_| Value::from(time)));
        }
        let word = LogType::WORDS.iter().find(|(_, known)| *known == log_type);
        object.insert("type".to_owned(), Value::from(word.map_or("", |(word, _)| word)));
        object.insert("text".to_owned(), Value::from(text.as_str()));
        object.extend(fields);
        Value::Object(object).to_string()
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

const fn bit(log_type: LogType) -> u16 {
    1 << log_type as u16
}

/// The types that go anywhere.
fn mask(logging: &Logging, verbosity: Verbosity) -> u16 {
    let wanted = |log_type| match verbosity {
        Verbosity::Quiet => false,
        Verbosity::Verbose => true,
        Verbosity::Configured => logging.types.contains(log_type),
    };
    if logging.destinations.is_empty() {
        return 0;
    }
    let types = LogType::WORDS.iter().map(|(_, log_type)| *log_type);
    types.filter(|log_type| wanted(*log_type)).fold(0, |mask, log_type| mask | bit(log_type))
}

/// Where `log_dest topic` publishes. Debug lines would report their own delivery without end.
fn topic_of(log_type: LogType) -> Option<&'static str> {
    Some(match log_type {
        LogType::Error => "$SYS/broker/log/E",
        LogType::Warning => "$SYS/broker/log/W",
        LogType::Notice => "$SYS/broker/log/N",
        LogType::Information => "$SYS/broker/log/I",
        LogType::Subscribe => "$SYS/broker/log/M/subscribe",
        LogType::Unsubscribe => "$SYS/broker/log/M/unsubscribe",
        LogType::Websockets => "$SYS/broker/log/WS",
        LogType::Debug | LogType::Internal => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqttd_conf::LogTypes;
    use std::path::Path;

    fn to_file(path: &Path) -> Logging {
        Logging {
            destinations: vec![LogDestination::File(path.to_owned())],
            timestamp: false,
            ..Logging::default()
        }
    }

    struct Counted<'a>(&'a std::cell::Cell<u32>);

    impl fmt::Display for Counted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("counted")
        }
    }

    #[test]
    fn the_default_types_and_no_formatting_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logger = Logger::new(&to_file(&path), Verbosity::Configured).unwrap();
        let formatted = std::cell::Cell::new(0);
        for (word, log_type) in LogType::WORDS {
            let on = ["error", "warning", "notice", "information"].contains(&word);
            assert_eq!(logger.is_on(log_type), on, "{word}");
            logger.line(log_type, format_args!("{word} {}", Counted(&formatted)));
        }
        assert_eq!(formatted.get(), 4);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "error counted\nwarning counted\nnotice counted\ninformation counted\n");
        assert_eq!(logger.lines_lost(), 0);
    }

    #[test]
    fn the_command_line_wins_and_outlives_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let logging = to_file(&folder.path().join("log"));
        let none = Logging { types: LogTypes::NONE, ..logging.clone() };
        let nowhere = Logging { destinations: Vec::new(), ..logging.clone() };
        let all = Logging { types: LogTypes::ALL, ..logging.clone() };

        let quiet = Logger::new(&all, Verbosity::Quiet).unwrap();
        let verbose = Logger::new(&none, Verbosity::Verbose).unwrap();
        for _ in 0..2 {
            for (_, log_type) in LogType::WORDS {
                assert!(!quiet.is_on(log_type));
                assert!(verbose.is_on(log_type));
            }
            quiet.reconfigure(&all).unwrap();
            verbose.reconfigure(&none).unwrap();
        }
        verbose.reconfigure(&nowhere).unwrap();
        assert!(LogType::WORDS.iter().all(|(_, log_type)| !verbose.is_on(*log_type)));
    }

    #[test]
    fn a_reload_swaps_everything_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let logger = Logger::new(&to_file(&one), Verbosity::Configured).unwrap();
        let clone = logger.clone();
        clone.line(LogType::Notice, format_args!("first"));

        let bad = Logging { types: LogTypes::ALL, ..to_file(Path::new("/nowhere/at/all/log")) };
        let error = logger.reconfigure(&bad).unwrap_err().to_string();
        assert!(error.starts_with("Unable to open log file /nowhere/at/all/log for writing: "));
        assert!(!clone.is_on(LogType::Debug));
        clone.line(LogType::Notice, format_args!("second"));

        let good = Logging { types: LogTypes::ALL, connection_messages: false, ..to_file(&two) };
        assert!(clone.connection_messages());
        logger.reconfigure(&good).unwrap();
        assert!(!clone.connection_messages());
        clone.line(LogType::Debug, format_args!("third"));
        assert_eq!(std::fs::read_to_string(&one).unwrap(), "first\nsecond\n");
        assert_eq!(std::fs::read_to_string(&two).unwrap(), "third\n");
    }

    #[test]
    fn json_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logging = Logging { is_json: true, timestamp: true, ..to_file(&path) };
        let logger = Logger::new(&logging, Verbosity::Configured).unwrap();
        let fields = || Fields::from_iter([("client".to_owned(), "a\"b".into())]);
        logger.line_with(LogType::Notice, format_args!("x \"y\"\n"), fields);
        logger.reconfigure(&Logging { timestamp: false, ..logging }).unwrap();
        logger.line(LogType::Error, format_args!("z"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (first, second) = text.split_once('\n').unwrap();
        let first: Fields = serde_json::from_str(first).unwrap();
        assert!(first["time"].as_i64().unwrap() > 1_700_000_000);
        assert_eq!((&first["type"], &first["client"]), (&"notice".into(), &"a\"b".into()));
        assert_eq!(first["text"], "x \"y\"\\n");
        let second: Fields = serde_json::from_str(second).unwrap();
        assert_eq!((second.len(), &second["text"]), (2, &"z".into()));
    }

    #[test]
    fn a_line_that_comes_again_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logger = Logger::new(&to_file(&path), Verbosity::Configured).unwrap();
        // A second may pass between two of them, ten may not.
        for _ in 0..5 {
            logger.line(LogType::Error, format_args!("again"));
        }
        logger.line(LogType::Error, format_args!("other"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "again\nThe last line came 4 times more.\nother\n");
        // Events are each written.
        for _ in 0..2 {
            logger.line_with(LogType::Notice, format_args!("refused"), Fields::new);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("other\nrefused\nrefused\n"), "{text}");
    }

    #[test]
    fn rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logger = Logger::new(&to_file(&path), Verbosity::Configured).unwrap();
        logger.line(LogType::Error, format_args!("old"));
        std::fs::rename(&path, folder.path().join("log.1")).unwrap();
        logger.reopen().unwrap();
        logger.line(LogType::Error, format_args!("new"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    }

    #[test]
    fn the_time_stands_in_front() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logging = Logging { timestamp: true, ..to_file(&path) };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before = now();
        let logger = Logger::new(&logging, Verbosity::Configured).unwrap();
        logger.line(LogType::Notice, format_args!("x\ny"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (second, words) = text.split_once(": ").unwrap();
        assert_eq!(words, "x\\ny\n");
        assert!((before..=now()).contains(&second.parse().unwrap()), "{second}");
    }

    #[test]
    fn lines_go_to_topics_but_debug_does_not() {
        let logging = Logging {
            destinations: vec![LogDestination::Topic],
            types: LogTypes::ALL,
            timestamp: false,
            ..Logging::default()
        };
        let logger = Logger::new(&logging, Verbosity::Configured).unwrap();
        logger.line(LogType::Error, format_args!("nobody listens yet"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (sink, inner) = (seen.clone(), logger.clone());
        logger.publish_with(move |topic, text| {
            // The publisher may log itself: no lock is held.
            inner.line(LogType::Debug, format_args!("publishing"));
            sink.lock().unwrap().push(format!("{topic} {text}"));
        });
        for (word, log_type) in LogType::WORDS {
            logger.line(log_type, format_args!("{word}"));
        }
        let expected = [
            "$SYS/broker/log/E error",
            "$SYS/broker/log/W warning",
            "$SYS/broker/log/N notice",
            "$SYS/broker/log/I information",
            "$SYS/broker/log/M/subscribe subscribe",
            "$SYS/broker/log/M/unsubscribe unsubscribe",
            "$SYS/broker/log/WS websockets",
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn a_full_disk_is_counted_and_survived() {
        let logger = Logger::new(&to_file(Path::new("/dev/full")), Verbosity::Configured).unwrap();
        for number in 0..3 {
            logger.line(LogType::Error, format_args!("lost {number}"));
        }
        assert_eq!(logger.lines_lost(), 3);
    }

    #[test]
    fn the_same_destination_twice_gets_a_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut logging = to_file(&path);
        logging.destinations.push(LogDestination::File(path.clone()));
        let logger = Logger::new(&logging, Verbosity::Configured).unwrap();
        logger.line(LogType::Error, format_args!("once"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "once\n");
    }

    #[test]
    fn threads_do_not_mix_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logger = Logger::new(&to_file(&path), Verbosity::Configured).unwrap();
        std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let logger = logger.clone();
                scope.spawn(move || {
                    for number in 0..200 {
                        logger
                            .line(LogType::Error, format_args!("{number:03}{}", name.repeat(500)));
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(text.lines().filter(|line| line[3..] == name.repeat(500)).count(), 200);
        }
        assert_eq!(text.lines().count(), 600);
    }
}
