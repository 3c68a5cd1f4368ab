//! The grammar of an ACL file: `user NAME`, `topic [ACCESS] FILTER`, `pattern [ACCESS] FILTER`,
//! comments with `#` in the first column. What the lines mean is `acl.rs`.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use mqtt_proto::topic::{TopicError, TopicFilter};

use crate::acl::{Access, AclTable, Rule};
use crate::filter::Filter;
use crate::password_text::{BYTE_ORDER_MARK, is_space};

impl AclTable {
    /// Parses the contents of an ACL file.
    ///
    /// # Errors
    /// [`AclFileError`] for the first line that is wrong. One bad line refuses the whole file: half
    /// an access list protects nobody.
    pub fn parse(contents: &str) -> Result<Self, AclFileError> {
        let mut table = Self::default();
        let mut user: Option<&str> = None;
        let contents = contents.trim_start_matches(BYTE_ORDER_MARK);
        for (line, text) in (1..).zip(contents.split('\n')) {
            let parsed = Line::parse(text).map_err(|error| AclFileError { line, error })?;
            match parsed {
                Line::Silent => {}
                Line::User(name) => user = Some(name),
                Line::Topic(access, text) => {
                    let filter = Filter::fixed(text);
                    let rule = Rule { access, filter, line };
                    table.add_topic(user, rule);
                }
                Line::Pattern(access, text) => {
                    let filter = Filter::pattern(text);
                    table.add_pattern(Rule { access, filter, line });
                }
            }
        }
        Ok(table)
    }
}

/// A line of an ACL file that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclFileError {
    /// Line number, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub error: AclLineError,
}

/// What is wrong with a line of an ACL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclLineError {
    /// The first word is none of `user`, `topic`, `pattern`.
    UnknownKeyword(Box<str>),
    /// A comment that does not begin in the first column.
    IndentedComment,
    /// `user` without a name.
    NoUsername,
    /// `topic` or `pattern` without a filter.
    NoFilter,
    /// The word before the filter is no access. A filter with blanks needs an access before it.
    UnknownAccess(Box<str>),
    /// The filter breaks a rule of MQTT 4.7.
    BadFilter {
        /// What the line gives as a filter.
        filter: Box<str>,
        /// The rule it breaks.
        error: TopicError,
    },
}

enum Line<'a> {
    Silent,
    User(&'a str),
    Topic(Access, &'a str),
    Pattern(Access, &'a str),
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Result<Self, AclLineError> {
        let trimmed = text.trim_matches(is_space);
        if text.starts_with('#') || trimmed.is_empty() {
            return Ok(Self::Silent);
        }
        let (keyword, rest) = split_word(trimmed);
        match keyword {
            "user" if rest.is_empty() => Err(AclLineError::NoUsername),
            "user" => Ok(Self::User(rest)),
            "topic" => parse_access(rest).map(|(access, filter)| Self::Topic(access, filter)),
            "pattern" => parse_access(rest).map(|(access, filter)| Self::Pattern(access, filter)),
            _ if keyword.starts_with('#') => Err(AclLineError::IndentedComment),
            _ => Err(AclLineError::UnknownKeyword(keyword.into())),
        }
    }
}

/// `[ACCESS] FILTER`. A single word is a filter, even when it reads like an access.
fn parse_access(text: &str) -> Result<(Access, &str), AclLineError> {
    let (word, rest) = split_word(text);
    let (access, filter) = match (word, rest) {
        ("", _) => return Err(AclLineError::NoFilter),
        (filter, "") => (Access::READ_WRITE, filter),
        ("read", filter) => (Access::READ, filter),
        ("write", filter) => (Access::WRITE, filter),
        ("readwrite", filter) => (Access::READ_WRITE, filter),
        ("deny", filter) => (Access::DENY, filter),
        _ => return Err(AclLineError::UnknownAccess(word.into())),
    };
    match TopicFilter::new(filter) {
        Ok(_) => Ok((access, filter)),
        Err(error) => Err(AclLineError::BadFilter { filter: filter.into(), error }),
    }
}

/// The first word and what follows the white space behind it.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(is_space) {
        Some((word, rest)) => (word, rest.trim_start_matches(is_space)),
        None => (text, ""),
    }
}

impl fmt::Display for AclFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.error)
    }
}

impl fmt::Display for AclLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKeyword(word) => write!(
                f,
                "unknown word {:?}; a line begins with user, topic, pattern or #",
                shortened(word)
            ),
            Self::IndentedComment => {
                f.write_str("a comment begins in the first column; move the # there")
            }
            Self::NoUsername => f.write_str("no name behind user; write: user NAME"),
            Self::NoFilter => {
                f.write_str("no topic filter; write: topic [read|write|readwrite|deny] FILTER")
            }
            Self::UnknownAccess(word) => write!(
                f,
                "unknown access {:?}; write read, write, readwrite or deny before the filter \
                 (required when the filter holds a blank)",
                shortened(word)
            ),
            Self::BadFilter { filter, .. } if filter.contains(" #") => write!(
                f,
                "{:?} is no topic filter; a comment needs a line of its own",
                shortened(filter)
            ),
            Self::BadFilter { filter, error } => {
                write!(f, "{:?} is no topic filter: {error}", shortened(filter))
            }
        }
    }
}

impl core::error::Error for AclFileError {}

/// At most this many characters of a wrong word are shown.
const SHOWN_CHARS_MAX: usize = 60;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_string(),
        Some(_) => text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Who};

    #[test]
    fn errors_name_line_and_cure() {
        for (line, cure) in [
            ("tpoic a", "unknown word \"tpoic\"; a line begins with user, topic"),
            (" # note", "a comment begins in the first column"),
            ("user", "no name behind user; write: user NAME"),
            ("user   ", "no name behind user"),
            ("topic", "no topic filter; write: topic [read|write"),
            ("pattern ", "no topic filter"),
            ("topic a b", "unknown access \"a\"; write read, write"),
            ("topic Read a", "unknown access \"Read\""),
            ("topic read a/#/b", "\"a/#/b\" is no topic filter: '#' must be the last"),
            ("topic read a # all", "\"a # all\" is no topic filter; a comment needs"),
            ("pattern a+", "\"a+\" is no topic filter: '+' must be alone"),
            ("topic read a\0b", "\"a\\0b\" is no topic filter: the topic contains U+0000"),
        ] {
            let error = AclTable::parse(&format!("# file\n\n{line}\ntopic a\n")).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(&format!("line 3: {cure}")), "{text}");
        }
    }

    #[test]
    fn long_rubbish_is_shown_in_part() {
        let error = AclTable::parse(&"é".repeat(10_000)).unwrap_err().to_string();
        assert!(error.len() < 300, "{}", error.len());
    }

    #[test]
    fn filters_and_names_may_hold_blanks_and_lines_may_end_as_windows_ends_them() {
        let file = "\u{feff}user  ann lee \r\ntopic  read  a b/ c \r\n\r\n#topic x\r\ntopic read";
        let table = AclTable::parse(file).unwrap();
        let ann = Who { username: Some("ann lee"), client_id: "id" };
        let allows = |action, topic| table.check(&ann, action, topic).line();
        assert_eq!(allows(Action::Deliver, "a b/ c"), Some(2));
        assert_eq!(allows(Action::Publish, "a b/ c"), None);
        assert_eq!(allows(Action::Publish, "read"), Some(5));
        assert_eq!(allows(Action::Publish, "x"), None);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn hostile_contents_never_panic() {
        let seed = 0xac1_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let words = [
            "topic", "pattern", "user", "read", "deny", " ", "\n", "#", "+", "/", "%", "%c", "%u",
            "é", "\r\n", "\t", "\0", "$",
        ];
        let mut accepted = 0;
        for _ in 0..20_000 {
            let count = random.usize(..12);
            let file: String = (0..count).map(|_| words[random.usize(..words.len())]).collect();
            if let Ok(table) = AclTable::parse(&file) {
                accepted += 1;
                let who = Who { username: Some("é"), client_id: "%c" };
                let _ = table.check(&who, Action::Publish, "$a/é%c");
                let _ = table.check(&who, Action::Deliver, "");
            }
        }
        assert!(accepted > 1_000, "seed {seed:#x}: {accepted}");
    }
}
