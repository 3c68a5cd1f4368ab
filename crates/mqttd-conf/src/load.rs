//! Reads a main file and what it includes, line by line, each through its row. All mistakes are
//! collected; values go into a `Draft`, which `check.rs` turns into a [`Config`].

use std::path::{Path, PathBuf};

use crate::check;
use crate::config::{Address, Config};
use crate::directive::{Directive, Meaning, Section, Status, Tail, Value};
use crate::directives::{find, nearest};
use crate::error::{ConfError, ErrorKind, Warning, WarningKind};
use crate::line::{Line, LineFault, Place, lines, split_comment, split_comment_outside_quotes};
use crate::plugin::{PluginLine, PluginValue, Reach};
use crate::raw::{BridgeDraft, Draft, Lines, ListenerDraft};
use crate::source::Source;

impl Config {
    /// Reads and checks the configuration in the file `path`.
    ///
    /// # Errors
    /// Every mistake in the file and in the files it includes, in the order they were found.
    pub fn load(
        source: &(impl Source + ?Sized),
        path: &Path,
    ) -> Result<(Config, Vec<Warning>), Vec<ConfError>> {
        let mut reader = Reader::new(source);
        reader.read_file(path, true);
        let Reader { draft, mut report, .. } = reader;
        let config = check::settle(draft, &mut report);
        if report.errors.is_empty() { Ok((config, report.warnings)) } else { Err(report.errors) }
    }
}

/// Every line with its name and value, in the order of reading, and what a load says of them.
pub(crate) fn read_all(
    source: &(impl Source + ?Sized),
    path: &Path,
) -> (Vec<(Place, String, String)>, Report) {
    let mut reader = Reader { seen: Some(Vec::new()), ..Reader::new(source) };
    reader.read_file(path, true);
    let Reader { draft, mut report, seen, .. } = reader;
    check::settle(draft, &mut report);
    (seen.unwrap_or_default(), report)
}

/// What was found on the way.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) errors: Vec<ConfError>,
    pub(crate) warnings: Vec<Warning>,
}

impl Report {
    pub(crate) fn error(&mut self, place: &Place, kind: ErrorKind, cure: Option<&str>) {
        let cure = cure.map(str::to_owned);
        self.errors.push(ConfError { place: place.clone(), column: None, kind, cure });
    }

    pub(crate) fn conflict(&mut self, place: &Place, what: impl Into<String>, cure: &str) {
        self.error(place, ErrorKind::Conflict(what.into()), Some(cure));
    }

    pub(crate) fn warn(&mut self, place: &Place, kind: WarningKind) {
        self.warnings.push(Warning { place: place.clone(), kind });
    }

    pub(crate) fn note(&mut self, place: &Place, text: impl Into<String>) {
        self.warn(place, WarningKind::Note(text.into()));
    }
}

struct Reader<'a, S: ?Sized> {
    source: &'a S,
    draft: Draft,
    report: Report,
    /// Every line that was read, when somebody wants them.
    seen: Option<Vec<(Place, String, String)>>,
}

/// Where the options of the lines that follow belong. Each file begins without either.
#[derive(Clone, Copy, Default)]
struct Cursor {
    is_main: bool,
    /// Index of the listener above; `None` = the default listener.
    listener: Option<usize>,
    /// Index of the bridge above.
    bridge: Option<usize>,
}

/// One line with all that is needed to judge its value.
struct Entry<'a> {
    row: &'static Directive,
    line: Line<'a>,
    place: Place,
    exists: &'a dyn Fn(&str) -> bool,
}

impl<'a, S: Source + ?Sized> Reader<'a, S> {
    fn new(source: &'a S) -> Self {
        Reader { source, draft: Draft::default(), report: Report::default(), seen: None }
    }

    fn read_file(&mut self, path: &Path, is_main: bool) {
        let bytes = match self.source.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let kind = ErrorKind::Unreadable { reason: error.to_string() };
                return self.report.error(&Place::new(path, 0), kind, None);
            }
        };
        let mut cursor = Cursor { is_main, ..Cursor::default() };
        let file = Place::new(path, 0).file;
        for line in lines(&bytes) {
            match line {
                Ok(line) => {
                    let place = Place { file: file.clone(), line: line.number };
                    if let Some(seen) = &mut self.seen {
                        let (name, value) = (line.name.to_owned(), line.value.to_owned());
                        seen.push((place.clone(), name, value));
                    }
                    self.read_line(line, place, &mut cursor);
                }
                Err((number, fault)) => {
                    let place = Place { file: file.clone(), line: number };
                    let (kind, column) = match fault {
                        LineFault::NotUtf8(column) => (ErrorKind::NotUtf8, Some(column)),
                        LineFault::TooLong => (ErrorKind::LineTooLong, None),
                    };
                    self.report.errors.push(ConfError { place, column, kind, cure: None });
                }
            }
        }
    }

    fn read_line(&mut self, line: Line<'_>, place: Place, cursor: &mut Cursor) {
        let Some(row) = find(line.name) else {
            let kind =
                ErrorKind::Unknown { name: line.name.to_owned(), nearest: nearest(line.name) };
            return self.report.error(&place, kind, None);
        };
        let name = || line.name.to_owned();
        // Who writes down the default asks for nothing.
        let is_default = line.value.split(char::is_whitespace).next() == Some(row.default)
            && !row.default.is_empty();
        match row.status {
            Status::Refused(_) | Status::Planned if is_default => {}
            Status::Refused(cure) => {
                return self.report.error(&place, ErrorKind::Refused { name: name() }, Some(cure));
            }
            Status::Unnecessary(why) => {
                return self.report.warn(&place, WarningKind::Unnecessary { name: name(), why });
            }
            Status::Planned => self.report.warn(&place, WarningKind::Planned { name: name() }),
            Status::Works => {}
        }
        let source = self.source;
        let exists = |path: &str| source.exists(Path::new(path));
        let entry = Entry { row, line, place, exists: &exists };
        match &row.meaning {
            Meaning::Section(section, form) => self.open(*section, form, &entry, cursor),
            Meaning::Global(value) => {
                if row.name == "per_listener_settings" {
                    self.check_comes_first(&entry);
                }
                let mut lines = std::mem::take(&mut self.draft.lines);
                entry.set(value, &mut self.draft, &mut lines, &mut self.report);
                self.draft.lines = lines;
            }
            Meaning::Listener(value) => {
                let listener = self.listener(*cursor);
                set_in_listener(&entry, value, listener.0, listener.1);
            }
            Meaning::DefaultListener(value) => {
                set_in_listener(&entry, value, &mut self.draft.default_listener, &mut self.report);
            }
            Meaning::Auth(value) if self.draft.config.general.per_listener_settings => {
                let (listener, report) = self.listener(*cursor);
                entry.set(value, &mut listener.auth, &mut listener.lines, report);
            }
            Meaning::Auth(value) => {
                let Draft { auth, lines, .. } = &mut self.draft;
                entry.set(value, auth, lines, &mut self.report);
            }
            Meaning::Plugin(line) => self.read_plugin(*line, &entry, *cursor),
            Meaning::Bridge(value) => match cursor.bridge {
                Some(at) => {
                    let BridgeDraft { bridge, lines } = &mut self.draft.bridges[at];
                    entry.set(value, bridge, lines, &mut self.report);
                }
                None => entry.misplaced("below a connection line", &mut self.report),
            },
        }
    }

    fn read_plugin(&mut self, line: PluginLine, entry: &Entry<'_>, cursor: Cursor) {
        let value = match line {
            PluginLine::Use => entry.line.value.split(char::is_whitespace).next(),
            _ if entry.line.value.is_empty() => None,
            _ => entry.value(Tail::Path, entry.line.value, &mut self.report),
        };
        let reach = match self.draft.config.general.per_listener_settings {
            true => Reach::Listener(cursor.listener),
            false => Reach::All,
        };
        let (place, name) = (&entry.place, entry.line.name);
        let value = PluginValue { place, name, value: value.unwrap_or_default(), reach };
        self.draft.plugins.read(line, &value, &mut self.report);
    }

    fn listener(&mut self, cursor: Cursor) -> (&mut ListenerDraft, &mut Report) {
        let listener = match cursor.listener {
            Some(at) => &mut self.draft.listeners[at],
            None => &mut self.draft.default_listener,
        };
        (listener, &mut self.report)
    }

    /// Options above the line went to the broker already and cannot be moved to a listener.
    fn check_comes_first(&mut self, entry: &Entry<'_>) {
        let has_auth = self
            .draft
            .lines
            .keys()
            .any(|name| find(name).is_some_and(|row| matches!(row.meaning, Meaning::Auth(_))));
        if has_auth || !self.draft.listeners.is_empty() {
            let wanted = "above every listener and every option it applies to";
            entry.misplaced(wanted, &mut self.report);
        }
    }

    fn open(
        &mut self,
        section: Section,
        form: &'static str,
        entry: &Entry<'_>,
        cursor: &mut Cursor,
    ) {
        if section == Section::Include && !cursor.is_main {
            return entry.misplaced("in the main file", &mut self.report);
        }
        let tail = if section == Section::Bridge { Tail::Comment } else { Tail::Path };
        let literal = match section {
            Section::Listener => after_word(entry.line.value),
            _ => entry.line.value,
        };
        let Some(value) = entry.value(tail, literal, &mut self.report) else { return };
        match section {
            Section::Include => self.include(value, &entry.place),
            Section::Listener => match parse_listener(value) {
                Some(address) => {
                    let mut draft = ListenerDraft::default();
                    draft.listener.address = address;
                    draft.listener.place = Some(entry.place.clone());
                    self.draft.listeners.push(draft);
                    cursor.listener = Some(self.draft.listeners.len() - 1);
                }
                None => {
                    entry.bad(form, value, &mut self.report);
                    // The options below still get checked, against a listener of their own.
                    self.draft.listeners.push(ListenerDraft::default());
                    cursor.listener = Some(self.draft.listeners.len() - 1);
                }
            },
            Section::Bridge => {
                let mut draft = BridgeDraft::new(value.to_owned());
                draft.bridge.place = Some(entry.place.clone());
                self.draft.bridges.push(draft);
                cursor.bridge = Some(self.draft.bridges.len() - 1);
            }
        }
    }

    fn include(&mut self, folder: &str, place: &Place) {
        let mut files: Vec<PathBuf> = match self.source.list_dir(Path::new(folder)) {
            Ok(entries) => entries.into_iter().filter(|path| is_conf(path)).collect(),
            Err(error) => {
                let what = format!("the folder '{folder}' cannot be read: {error}");
                return self.report.error(place, ErrorKind::Conflict(what), None);
            }
        };
        files.sort_by_cached_key(|path| alphabetical(path));
        for file in files {
            self.read_file(&file, false);
        }
    }
}

/// Mosquitto's order of included files: by letter, upper case before lower case of the same one.
fn alphabetical(path: &Path) -> Vec<(u8, u8)> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.iter().map(|byte| (byte.to_ascii_lowercase(), *byte)).collect()
}

fn is_conf(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() > ".conf".len() && name.ends_with(".conf")
}

fn set_in_listener(
    entry: &Entry<'_>,
    value: &Value<ListenerDraft>,
    listener: &mut ListenerDraft,
    report: &mut Report,
) {
    let mut lines = std::mem::take(&mut listener.lines);
    entry.set(value, listener, &mut lines, report);
    listener.lines = lines;
}

impl Entry<'_> {
    /// Reads the value as its row says and puts it into `target`.
    fn set<T>(&self, kind: &Value<T>, target: &mut T, lines: &mut Lines, report: &mut Report) {
        let is_one_word = matches!(kind, Value::Flag(_) | Value::Integer(..));
        if !self.check_repeated(is_one_word, lines, report) {
            return;
        }
        let whole = self.line.value;
        match kind {
            Value::Ignored => {}
            Value::Flag(set) => {
                let Some(word) = self.one_word(report) else { return };
                match word {
                    "true" | "1" => set(target, true),
                    "false" | "0" => set(target, false),
                    _ => self.bad(&kind.form(), word, report),
                }
            }
            Value::Integer(min, max, set) => {
                let Some(word) = self.one_word(report) else { return };
                match parse_integer(word).filter(|n| (min..=max).contains(&n)) {
                    Some(number) => set(target, number),
                    None => self.bad(&kind.form(), word, report),
                }
            }
            Value::Text(set) => {
                let Some(text) = self.value(Tail::Comment, whole, report) else { return };
                set(target, text.to_owned());
            }
            Value::Path(set) => {
                let Some(path) = self.value(Tail::Path, whole, report) else { return };
                if path.starts_with('#') && !(self.exists)(path) {
                    let name = self.line.name.to_owned();
                    return report.error(&self.place, ErrorKind::MissingValue { name }, None);
                }
                set(target, PathBuf::from(path));
            }
            Value::Parsed(_, tail, set) => {
                let Some(text) = self.value(*tail, after_word(whole), report) else { return };
                if let Err(expected) = set(target, text) {
                    self.bad(&expected, text, report);
                }
            }
        }
    }

    /// Notes the line of the option. A flag or number given again counts, as in Mosquitto, with
    /// a warning; anything else given again is a mistake and the answer is false.
    fn check_repeated(&self, is_one_word: bool, lines: &mut Lines, report: &mut Report) -> bool {
        let before = lines.insert(self.row.name, self.place.clone());
        let (Some(first), false) = (before, self.row.repeats) else { return true };
        let name = self.line.name.to_owned();
        if is_one_word {
            report.warn(&self.place, WarningKind::Repeated { name, first });
            return true;
        }
        lines.insert(self.row.name, first.clone());
        let cure = Some("remove one of the two lines");
        report.error(&self.place, ErrorKind::Repeated { name, first }, cure);
        false
    }

    /// The first word; what follows is a comment or, as in Mosquitto, ignored; both with a warning.
    fn one_word(&self, report: &mut Report) -> Option<&str> {
        let name = || self.line.name.to_owned();
        let mut words = self.line.value.splitn(2, char::is_whitespace);
        let Some(word) = words.next().filter(|word| !word.is_empty()) else {
            report.error(&self.place, ErrorKind::MissingValue { name: name() }, None);
            return None;
        };
        let rest = words.next().unwrap_or_default().trim();
        if rest.starts_with('#') {
            report.warn(&self.place, WarningKind::Comment { name: name() });
        } else if !rest.is_empty() {
            let rest = rest.to_owned();
            report.warn(&self.place, WarningKind::Ignored { name: name(), rest });
        }
        Some(word)
    }

    /// The value without a comment behind it. `literal` is the part that may name a file.
    fn value(&self, tail: Tail, literal: &str, report: &mut Report) -> Option<&str> {
        let value = self.line.value;
        let name = || self.line.name.to_owned();
        if value.is_empty() {
            report.error(&self.place, ErrorKind::MissingValue { name: name() }, None);
            return None;
        }
        let split = match tail {
            Tail::Comment => split_comment(value),
            Tail::Path => split_comment(value).filter(|_| !(self.exists)(literal)),
            Tail::Quoted => split_comment_outside_quotes(value),
        };
        let Some((kept, _)) = split else { return Some(value) };
        report.warn(&self.place, WarningKind::Comment { name: name() });
        Some(kept)
    }

    fn bad(&self, expected: &str, found: &str, report: &mut Report) {
        let (name, expected) = (self.line.name.to_owned(), expected.to_owned());
        let found = if self.row.is_secret { "***" } else { found }.to_owned();
        report.error(&self.place, ErrorKind::BadValue { name, expected, found }, None);
    }

    fn misplaced(&self, wanted: &'static str, report: &mut Report) {
        let name = self.line.name.to_owned();
        report.error(&self.place, ErrorKind::Misplaced { name, wanted }, None);
    }
}

/// What follows the first word.
fn after_word(text: &str) -> &str {
    text.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim())
}

/// `PORT [ADDRESS]` or `0 PATH`.
fn parse_listener(value: &str) -> Option<Address> {
    let word = value.split(char::is_whitespace).next()?;
    let rest = after_word(value);
    match u16::try_from(parse_integer(word)?).ok()? {
        0 if rest.is_empty() => None,
        0 => Some(Address::Unix { path: PathBuf::from(rest) }),
        _ if rest.contains(char::is_whitespace) => None,
        port => {
            let host = Some(rest.to_owned()).filter(|host| !host.is_empty());
            Some(Address::Tcp { host, port })
        }
    }
}

/// A whole number as C reads it: `0x` is hexadecimal, a leading `0` octal, a sign may stand first.
fn parse_integer(word: &str) -> Option<i64> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, base) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(digits, base).ok().map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_in_c() {
        for (word, wanted) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0x10", Some(16)),
            ("0Xff", Some(255)),
            ("010", Some(8)),
            ("-0x2", Some(-2)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("09", None),
            ("0x", None),
            ("--1", None),
            ("0x-1", None),
            ("5k", None),
            ("", None),
        ] {
            assert_eq!(parse_integer(word), wanted, "{word}");
        }
    }

    #[test]
    fn included_files_come_in_the_order_of_mosquitto() {
        let mut names = ["b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf"];
        names.sort_by_key(|name| alphabetical(Path::new(name)));
        assert_eq!(names, ["00.conf", "01.conf", "A.conf", "a.conf", "B.conf", "b.conf"]);
        assert!(is_conf(Path::new("/d/a.conf")));
        assert!(!is_conf(Path::new("/d/.conf")));
    }

    #[test]
    fn listeners() {
        let tcp = |host: Option<&str>, port| Address::Tcp { host: host.map(str::to_owned), port };
        assert_eq!(parse_listener("1883"), Some(tcp(None, 1883)));
        assert_eq!(parse_listener("65535 \t::1"), Some(tcp(Some("::1"), 65535)));
        let path = PathBuf::from("/run/my socket");
        assert_eq!(parse_listener("0 /run/my socket"), Some(Address::Unix { path }));
        for wrong in ["0", "65536", "-1", "mqtt", "1883 a b"] {
            assert_eq!(parse_listener(wrong), None, "{wrong}");
        }
    }
}
