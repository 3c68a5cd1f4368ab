//! What can be wrong with a configuration, and what is only worth a warning. Each message names
//! the file and line, says what is expected there, and where it can, what to write instead.

use std::fmt;

use crate::line::Place;

/// One mistake. A load reports all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfError {
    /// Where; line 0 stands for the file as a whole.
    pub place: Place,
    /// The byte of the line, from 1, when the mistake is at one byte.
    pub column: Option<u32>,
    /// What is wrong.
    pub kind: ErrorKind,
    /// What to do instead.
    pub cure: Option<String>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file or folder cannot be read.
    Unreadable {
        /// The reason the source gave.
        reason: String,
    },
    /// A line is not UTF-8.
    NotUtf8,
    /// A line is longer than [`LINE_BYTES_MAX`](crate::LINE_BYTES_MAX).
    LineTooLong,
    /// No row has this name.
    Unknown {
        /// The name as written.
        name: String,
        /// The nearest name there is.
        nearest: Option<&'static str>,
    },
    /// The directive stands alone.
    MissingValue {
        /// The directive.
        name: String,
    },
    /// The value is not one of those allowed.
    BadValue {
        /// The directive.
        name: String,
        /// What it must be, as the end of "NAME must be …".
        expected: String,
        /// The value as written.
        found: String,
    },
    /// A directive that takes one value stands twice.
    Repeated {
        /// The directive.
        name: String,
        /// Where it stood first.
        first: Place,
    },
    /// A bridge option without a bridge, an `include_dir` in an included file.
    Misplaced {
        /// The directive.
        name: String,
        /// Where it may stand, as the end of "NAME must stand …".
        wanted: &'static str,
    },
    /// The directive is known and not supported.
    Refused {
        /// The directive.
        name: String,
    },
    /// Options that do not go together.
    Conflict(String),
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line == 0 {
            write!(f, "{}: ", self.place.file.display())?;
        } else {
            write!(f, "{}:", self.place)?;
            match self.column {
                Some(column) => write!(f, "{column}: ")?,
                None => write!(f, " ")?,
            }
        }
        write!(f, "{}", self.kind)?;
        match &self.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfError {}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Unreadable { reason } => write!(f, "cannot be read: {reason}"),
            ErrorKind::NotUtf8 => write!(f, "the line is not valid UTF-8"),
            ErrorKind::LineTooLong => {
                write!(f, "the line is longer than {} bytes", crate::LINE_BYTES_MAX)
            }
            ErrorKind::Unknown { name, nearest: None } => {
                write!(f, "unknown directive '{}'", shown(name))
            }
            ErrorKind::Unknown { name, nearest: Some(nearest) } => {
                let name = shown(name);
                write!(f, "unknown directive '{name}'; did you mean '{nearest}'?")
            }
            ErrorKind::MissingValue { name } => write!(f, "{name} needs a value"),
            ErrorKind::BadValue { name, expected, found } => {
                write!(f, "{name} must be {expected}, not '{}'", shown(found))
            }
            ErrorKind::Repeated { name, first } => {
                write!(f, "{name} is already given at {first}")
            }
            ErrorKind::Misplaced { name, wanted } => write!(f, "{name} must stand {wanted}"),
            ErrorKind::Refused { name } => write!(f, "{name} is not supported"),
            ErrorKind::Conflict(what) => write!(f, "{what}"),
        }
    }
}

/// Something that works differently from how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: WarningKind,
}

/// What a warning is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// White space and `#` behind a value: the value was ended there.
    Comment {
        /// The directive.
        name: String,
    },
    /// More words behind a value that is one word.
    Ignored {
        /// The directive.
        name: String,
        /// The words.
        rest: String,
    },
    /// A flag or number given twice; the last one counts.
    Repeated {
        /// The directive.
        name: String,
        /// Where it stood before.
        first: Place,
    },
    /// The directive does nothing here, and nothing is lost by that.
    Unnecessary {
        /// The directive.
        name: String,
        /// Why it is not needed.
        why: &'static str,
    },
    /// The directive is checked, and has no effect yet.
    Planned {
        /// The directive.
        name: String,
    },
    /// Anything that needs a sentence of its own.
    Note(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        write!(f, "{}", self.kind)
    }
}

impl fmt::Display for WarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WarningKind::Comment { name } => {
                write!(f, "the text from '#' on is a comment, not part of the value of {name}")
            }
            WarningKind::Ignored { name, rest } => {
                write!(f, "{name} takes one word; '{}' is ignored", shown(rest))
            }
            WarningKind::Repeated { name, first } => {
                write!(f, "{name} is already given at {first}; this line counts")
            }
            WarningKind::Unnecessary { name, why } => write!(f, "{name} has no effect: {why}"),
            WarningKind::Planned { name } => write!(f, "{name} has no effect yet"),
            WarningKind::Note(text) => write!(f, "{text}"),
        }
    }
}

/// Letters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 80;

/// Text from a file as it may stand in a log or on a terminal: short, without control characters.
fn shown(text: &str) -> String {
    let mut letters = text.chars();
    let mut out = String::new();
    for letter in letters.by_ref().take(SHOWN_CHARS_MAX) {
        match letter {
            letter if letter.is_control() => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    if letters.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_short_and_harmless() {
        assert_eq!(shown("ü\u{1b}[2J\0"), "ü\\u{1b}[2J\\u{0}");
        assert_eq!(shown(&"x".repeat(80)), "x".repeat(80));
        assert_eq!(shown(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn an_error_names_file_line_and_cure() {
        let error = |line, column, cure: Option<&str>| ConfError {
            place: Place::new("/a", line),
            column,
            kind: ErrorKind::NotUtf8,
            cure: cure.map(str::to_owned),
        };
        let what = "the line is not valid UTF-8";
        assert_eq!(error(0, None, None).to_string(), format!("/a: {what}"));
        assert_eq!(error(7, None, Some("do b")).to_string(), format!("/a:7: {what}; do b"));
        assert_eq!(error(7, Some(3), None).to_string(), format!("/a:7:3: {what}"));
    }
}
