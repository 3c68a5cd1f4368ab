//! The text of one log line: the time in front, what a stranger wrote made harmless, the length
//! bounded. Where lines go is in `sinks.rs`.

use std::fmt::{self, Write};

use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;

/// Most bytes of a line, time included, line feed not: Mosquitto's.
pub(crate) const LINE_BYTES_MAX: usize = 1000;

/// Collects a line, shows control characters as escapes and stops at [`LINE_BYTES_MAX`].
///
/// Client identifiers and topics may hold line feeds and terminal escapes; written as they are they
/// could forge lines or act on the terminal of whoever reads the log.
#[derive(Debug)]
pub(super) struct LineText {
    text: String,
    full: bool,
}

impl LineText {
    /// An empty line.
    pub(super) fn new() -> LineText {
        LineText { text: String::with_capacity(160), full: false }
    }

    /// A line with these words.
    pub(super) fn of(words: fmt::Arguments<'_>) -> LineText {
        let mut line = LineText::new();
        // An error only means that the line is full.
        let _ = line.write_fmt(words);
        line
    }

    /// The text so far.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Puts `prefix` in front and cuts the end off again where the line gets too long.
    pub(super) fn with_prefix(self, prefix: &str) -> String {
        let mut line = String::with_capacity(prefix.len() + self.text.len() + 1);
        line.push_str(prefix);
        line.push_str(&self.text);
        line.truncate(floor_boundary(&line, LINE_BYTES_MAX));
        line
    }

    fn push(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() <= LINE_BYTES_MAX {
            self.text.push_str(part);
            return Ok(());
        }
        let room = LINE_BYTES_MAX - self.text.len();
        self.text.push_str(&part[..floor_boundary(part, room)]);
        self.full = true;
        Err(fmt::Error)
    }
}

impl Write for LineText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        let mut clean_from = 0;
        for (at, c) in part.char_indices() {
            // The filters listed under a SUBSCRIBE begin with a tab of ours.
            let is_indent = c == '\t' && at == 0 && self.text.is_empty();
            if is_hidden(c) && !is_indent {
                self.push(&part[clean_from..at])?;
                for escaped in c.escape_default() {
                    self.push(escaped.encode_utf8(&mut [0; 4]))?;
                }
                clean_from = at + c.len_utf8();
            }
        }
        self.push(&part[clean_from..])
    }
}

/// Characters that end lines, steer terminals or turn the direction of the text around.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The last character boundary of `text` at or below `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut at = index.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What stands in front of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Nothing (`log_timestamp false`).
    Nothing,
    /// Seconds since 1970.
    Epoch,
    /// Local time in this strftime format (`log_timestamp_format`).
    Format(String),
}

/// The rules of this machine's time zone.
const LOCAL_ZONE: &str = "/etc/localtime";

/// Words the time, once for each second.
#[derive(Debug)]
pub(super) struct Clock {
    stamp: Stamp,
    zone: TimeZone,
    second: Option<i64>,
    text: String,
}

impl Clock {
    /// Words times so, in the machine's time zone.
    pub(super) fn new(stamp: Stamp) -> Clock {
        Clock { stamp, zone: local_zone(), second: None, text: String::new() }
    }

    /// What stands in front of a line of this second since 1970: the time, a colon and a space.
    pub(super) fn prefix(&mut self, second: i64) -> &str {
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = match &self.stamp {
                Stamp::Nothing => String::new(),
                Stamp::Epoch => format!("{second}: "),
                Stamp::Format(format) => {
                    let text = local_time(format, second, &self.zone);
                    let text = text.as_deref().unwrap_or("Time error");
                    format!("{}: ", LineText::of(format_args!("{text}")).as_str())
                }
            };
        }
        &self.text
    }

    /// Month, day and time as RFC 3164 wants them, in local time.
    pub(super) fn syslog(&self, second: i64) -> String {
        local_time("%b %e %H:%M:%S", second, &self.zone)
            .unwrap_or_else(|| "Jan  1 00:00:00".to_owned())
    }
}

/// This machine's time zone. Where no variable names another, its rules are read from their file:
/// to find its name the library would list every zone of the world, 600 files and 0.1 MB.
fn local_zone() -> TimeZone {
    let file = std::env::var_os("TZ").is_none().then(|| std::fs::read(LOCAL_ZONE));
    let rules = file.and_then(Result::ok);
    let zone = rules.and_then(|rules| TimeZone::tzif("localtime", &rules).ok());
    zone.unwrap_or_else(TimeZone::system)
}

/// The C library's strftime in the POSIX locale; conversions it does not know stay as they are.
/// `None` for seconds beyond the calendar.
fn local_time(format: &str, second: i64, zone: &TimeZone) -> Option<String> {
    let time = jiff::Timestamp::from_second(second).ok()?.to_zoned(zone.clone());
    let config = Config::new().custom(PosixCustom::new()).lenient(true);
    BrokenDownTime::from(&time).to_string_with_config(&config, format).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &str) -> String {
        LineText::of(format_args!("{words}")).as_str().to_owned()
    }

    #[test]
    fn strangers_cannot_forge_lines_or_steer_terminals() {
        assert_eq!(text("a\n1700000000: Client x"), "a\\n1700000000: Client x");
        assert_eq!(text("\r\u{1b}[2J\u{7f}"), "\\r\\u{1b}[2J\\u{7f}");
        assert_eq!(text("\u{85}\u{9b}\u{2028}\u{202e}"), "\\u{85}\\u{9b}\\u{2028}\\u{202e}");
        assert_eq!(text("Grüße, 世界 🙂 \\ '"), "Grüße, 世界 🙂 \\ '");
    }

    #[test]
    fn only_a_tab_in_front_stays() {
        assert_eq!(text("\tt/# (QoS 2)"), "\tt/# (QoS 2)");
        assert_eq!(text("\t\tx\ty"), "\t\\tx\\ty");
        let line = LineText::of(format_args!("{}{}", "x", "\ty"));
        assert_eq!(line.as_str(), "x\\ty");
    }

    #[test]
    fn a_line_is_cut_at_a_character() {
        assert_eq!(text(&"x".repeat(1000)).len(), 1000);
        assert_eq!(text(&"x".repeat(1001)).len(), 1000);
        // 333 characters of three bytes are 999 bytes; the next one does not fit.
        assert_eq!(text(&"世".repeat(400)), "世".repeat(333));
        let line = LineText::of(format_args!("{}", "é".repeat(500)));
        let whole = line.with_prefix("17: ");
        assert_eq!(whole, format!("17: {}", "é".repeat(498)));
        assert_eq!(LineText::of(format_args!("ab")).with_prefix("17: "), "17: ab");
    }

    #[test]
    fn nothing_follows_once_the_line_is_full() {
        let mut line = LineText::new();
        assert!(line.write_str(&"世".repeat(400)).is_err());
        // One byte would still fit.
        assert!(line.write_str("x").is_err());
        assert_eq!(line.as_str(), "世".repeat(333));
    }

    fn in_berlin(stamp: Stamp) -> Clock {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Clock { zone, ..Clock::new(stamp) }
    }

    #[test]
    fn times_as_mosquitto_writes_them() {
        assert_eq!(Clock::new(Stamp::Nothing).prefix(5), "");
        assert_eq!(Clock::new(Stamp::Epoch).prefix(1_700_000_000), "1700000000: ");
        let mut clock = in_berlin(Stamp::Format("%Y-%m-%dT%H:%M:%S".to_owned()));
        assert_eq!(clock.prefix(1_700_000_000), "2023-11-14T23:13:20: ");
        assert_eq!(clock.prefix(1_700_000_001), "2023-11-14T23:13:21: ");
        assert_eq!(clock.prefix(1_690_000_000), "2023-07-22T06:26:40: ");
        assert_eq!(clock.syslog(1_690_000_000), "Jul 22 06:26:40");
        assert_eq!(clock.syslog(1_688_508_000), "Jul  5 00:00:00");
    }

    #[test]
    fn the_machines_zone_is_the_one_the_library_finds_by_its_name() {
        let system = TimeZone::system();
        for second in [0, 1_690_000_000, 1_700_000_000, 2_000_000_000] {
            for format in ["%Y-%m-%dT%H:%M:%S %z", "%Z"] {
                let ours = local_time(format, second, &local_zone());
                assert_eq!(ours, local_time(format, second, &system));
            }
        }
    }

    #[test]
    fn strftime_is_the_c_librarys() {
        let say = |format: &str| {
            in_berlin(Stamp::Format(format.to_owned())).prefix(1_700_000_000).to_owned()
        };
        assert_eq!(say("%c"), "Tue Nov 14 23:13:20 2023: ");
        assert_eq!(say("%x %X %r"), "11/14/23 23:13:20 11:13:20 PM: ");
        assert_eq!(
            say("[%d/%b/%Y:%T %z %Z] %j %s %%"),
            "[14/Nov/2023:23:13:20 +0100 CET] 318 1700000000 %: "
        );
        // Unknown conversions and a format that forges lines.
        assert_eq!(say("%!%"), "%!%: ");
        assert_eq!(say("a%nb"), "a\\nb: ");
    }
}
