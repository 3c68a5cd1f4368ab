//! The lines of a file: where each stands and what name and value it holds. Comments, line ends
//! and encoding are settled here; what a value means is not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file, for messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: u32,
}

impl Place {
    /// A place in a file.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, line: u32) -> Place {
        Place { file: Arc::from(file.into()), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Bytes of the longest line: the longest text MQTT has a length for, which a value may be.
pub const LINE_BYTES_MAX: usize = 65535;

/// One line that holds a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// The first word.
    pub(crate) name: &'a str,
    /// The rest without white space around it; may be empty.
    pub(crate) value: &'a str,
}

/// What keeps a line from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFault {
    /// Not UTF-8, from this byte on (from 1).
    NotUtf8(u32),
    /// More than [`LINE_BYTES_MAX`] bytes.
    TooLong,
}

const BLANK: [char; 2] = [' ', '\t'];

/// The lines of a file that hold a directive; empty lines and comments are left out.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, (u32, LineFault)>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    (1u32..).zip(bytes.split(|byte| *byte == b'\n')).filter_map(|(number, line)| {
        match read_line(number, line) {
            Ok(line) => line.map(Ok),
            Err(fault) => Some(Err((number, fault))),
        }
    })
}

fn read_line(number: u32, bytes: &[u8]) -> Result<Option<Line<'_>>, LineFault> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(LineFault::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        LineFault::NotUtf8(u32::try_from(error.valid_up_to() + 1).unwrap_or(u32::MAX))
    })?;
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = text.split_once(BLANK).unwrap_or((text, ""));
    Ok(Some(Line { number, name, value: value.trim() }))
}

/// Splits a value before the first white space that is followed by `#`.
pub(crate) fn split_comment(value: &str) -> Option<(&str, &str)> {
    split_comment_where(value, false)
}

/// The same outside double quotes, and only when more follows than the `#` alone.
pub(crate) fn split_comment_outside_quotes(value: &str) -> Option<(&str, &str)> {
    split_comment_where(value, true).filter(|(_, comment)| comment.len() > 1)
}

fn split_comment_where(value: &str, quotes: bool) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let mut is_after_blank = false;
    for (at, letter) in value.char_indices() {
        match letter {
            '"' if quotes => is_quoted = !is_quoted,
            '#' if is_after_blank && !is_quoted => {
                return Some((value[..at].trim_end(), &value[at..]));
            }
            _ => {}
        }
        is_after_blank = letter.is_whitespace();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_the_rest() {
        let text = "\u{feff}# first\r\n\r\n  port\t 1883 \r\n  # indented\nuser\nlog_dest file a b";
        let read: Vec<_> = lines(text.as_bytes()).collect();
        let wanted = [(3, "port", "1883"), (5, "user", ""), (6, "log_dest", "file a b")];
        let wanted = wanted.map(|(number, name, value)| Ok(Line { number, name, value }));
        assert_eq!(read, wanted);
    }

    #[test]
    fn bad_lines_do_not_hide_the_others() {
        let mut bytes = b"user caf\xe9\nport 1\n#".to_vec();
        bytes.resize(bytes.len() + LINE_BYTES_MAX - 1, b'x');
        let read: Vec<_> = lines(&bytes).collect();
        assert_eq!(read.len(), 2, "a comment of the longest length is one");
        assert_eq!(read[0], Err((1, LineFault::NotUtf8(9))));
        bytes.push(b'x');
        assert_eq!(lines(&bytes).last(), Some(Err((3, LineFault::TooLong))));
    }

    #[test]
    fn comments_behind_values() {
        assert_eq!(split_comment("false       #不允许"), Some(("false", "#不允许")));
        assert_eq!(split_comment("a\t# b # c"), Some(("a", "# b # c")));
        assert_eq!(split_comment("#a"), None);
        assert_eq!(split_comment("a#b/#"), None);
        assert_eq!(split_comment_outside_quotes("sync #"), None);
        assert_eq!(split_comment_outside_quotes("sync # x"), Some(("sync", "# x")));
        assert_eq!(
            split_comment_outside_quotes("\"a # b\" out # c"),
            Some(("\"a # b\" out", "# c"))
        );
    }
}
