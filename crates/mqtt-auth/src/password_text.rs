//! The lines of a password file as text: which are entries, which are not, and edits that leave
//! every other line as it was. Values are not decoded here: a file of plain passwords is text too.
//! Verifying passwords is `password_file.rs`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Longest user name in bytes: what a UTF-8 string on the wire can hold (MQTT 1.5.4).
pub const USERNAME_BYTES_MAX: usize = 65_535;
/// Longest password in bytes: what binary data on the wire can hold (MQTT 1.5.6).
pub const PASSWORD_BYTES_MAX: usize = 65_535;

/// A password file cut into lines. `Display` gives the text back, byte for byte until edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordText {
    lines: Vec<Line>,
}

/// One `user:value` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Line number, from 1.
    pub line: u32,
    /// User name, without surrounding white space.
    pub user: &'a str,
    /// What follows the first `:`, without surrounding white space. Never empty.
    pub value: &'a str,
}

/// What [`PasswordText::set`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user is new; the line stands at the end.
    Added,
    /// The user's line was replaced where it stood.
    Updated,
}

/// A line that is no entry although it looks as if it should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line number, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub kind: WarningKind,
}

/// Why a line was skipped. Comments and blank lines are skipped without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// No `:` in the line.
    NoColon,
    /// Nothing before the `:`.
    NoUser,
    /// Nothing after the `:`: a user without a password, who cannot log in.
    NoValue,
    /// The user name is longer than a CONNECT packet can carry.
    LongUser,
}

/// Why a name cannot stand in a password file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsernameError {
    /// The name is empty.
    Empty,
    /// The name holds a `:`, which ends a name in the file.
    Colon,
    /// The name holds a control character, such as a line end.
    ControlCharacter,
    /// The name begins with `#`, which makes the line a comment.
    Comment,
    /// The name begins or ends with white space, which the file's readers take away.
    OuterSpace,
    /// The name is longer than [`USERNAME_BYTES_MAX`].
    TooLong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// With its line end.
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Comment or blank.
    Silent,
    Skipped(WarningKind),
    /// Where in the text the trimmed name and value stand.
    Entry {
        user: Range<usize>,
        value: Range<usize>,
    },
}

impl PasswordText {
    /// Cuts a text into lines. Every text is accepted; [`warnings`](Self::warnings) names the lines
    /// that are no entries.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.split_inclusive('\n').map(|line| Line::new(line.to_string())).collect();
        Self { lines }
    }

    /// The entries in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (1..).zip(&self.lines).filter_map(|(number, line)| {
            let (user, value) = line.entry()?;
            Some(Entry { line: number, user, value })
        })
    }

    /// The lines that were skipped although they are neither comments nor blank.
    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        (1..).zip(&self.lines).filter_map(|(line, text)| match text.kind {
            Kind::Skipped(kind) => Some(Warning { line, kind }),
            _ => None,
        })
    }

    /// True when the user has an entry.
    #[must_use]
    pub fn contains(&self, user: &str) -> bool {
        self.lines.iter().any(|line| line.is_for(user))
    }

    /// Gives the user this value. An existing entry is replaced in place and further ones of the
    /// same user are taken away; a new one goes to the end.
    ///
    /// # Errors
    /// [`UsernameError`] when the name cannot be written so that it is read back the same.
    pub fn set(&mut self, user: &str, value: &str) -> Result<Change, UsernameError> {
        check_username(user)?;
        let new = Line::new(alloc::format!("{user}:{value}\n"));
        if let Some(first) = self.lines.iter().position(|line| line.is_for(user)) {
            let mut places = 0..;
            self.lines.retain(|line| {
                places.next().is_some_and(|place| place <= first) || !line.is_for(user)
            });
            if let Some(line) = self.lines.get_mut(first) {
                *line = new;
            }
            return Ok(Change::Updated);
        }
        if let Some(last) = self.lines.last_mut() {
            if !last.text.ends_with('\n') {
                last.text.push('\n');
            }
        }
        self.lines.push(new);
        Ok(Change::Added)
    }

    /// Takes the user's entries away. False when there was none.
    pub fn remove(&mut self, user: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !line.is_for(user));
        self.lines.len() < before
    }
}

impl fmt::Display for PasswordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(&line.text))
    }
}

/// Says whether a name can stand in a password file.
///
/// # Errors
/// [`UsernameError`] says why not.
pub fn check_username(user: &str) -> Result<(), UsernameError> {
    let error = if user.is_empty() {
        UsernameError::Empty
    } else if user.contains(':') {
        UsernameError::Colon
    } else if user.chars().any(char::is_control) {
        UsernameError::ControlCharacter
    } else if user.starts_with(['#', BYTE_ORDER_MARK]) {
        UsernameError::Comment
    } else if user.trim_matches(is_space) != user {
        UsernameError::OuterSpace
    } else if user.len() > USERNAME_BYTES_MAX {
        UsernameError::TooLong
    } else {
        return Ok(());
    };
    Err(error)
}

/// Editors on Windows put it at the start of a file; it is no part of the first user's name.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// White space as C's `isspace` has it, which is what Mosquitto trims.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

impl Line {
    fn new(text: String) -> Self {
        let kind = Kind::of(&text);
        Self { text, kind }
    }

    /// User and value.
    fn entry(&self) -> Option<(&str, &str)> {
        let Kind::Entry { user, value } = &self.kind else { return None };
        Some((self.text.get(user.clone())?, self.text.get(value.clone())?))
    }

    fn is_for(&self, name: &str) -> bool {
        self.entry().is_some_and(|(user, _)| user == name)
    }
}

impl Kind {
    fn of(line: &str) -> Self {
        let content = line.trim_start_matches(BYTE_ORDER_MARK);
        if content.starts_with('#') || content.trim_matches(is_space).is_empty() {
            return Self::Silent;
        }
        let Some((user, value)) = content.split_once(':') else {
            return Self::Skipped(WarningKind::NoColon);
        };
        let start = line.len().saturating_sub(content.len());
        let user = trimmed_range(user, start);
        let value = trimmed_range(value, line.len().saturating_sub(value.len()));
        if user.is_empty() {
            Self::Skipped(WarningKind::NoUser)
        } else if user.len() > USERNAME_BYTES_MAX {
            Self::Skipped(WarningKind::LongUser)
        } else if value.is_empty() {
            Self::Skipped(WarningKind::NoValue)
        } else {
            Self::Entry { user, value }
        }
    }
}

/// Where the trimmed part of `text` stands when `text` itself begins at `start`.
fn trimmed_range(text: &str, start: usize) -> Range<usize> {
    let left = text.len().saturating_sub(text.trim_start_matches(is_space).len());
    let trimmed = text.trim_matches(is_space);
    // An all-blank text trims to nothing; its range is empty wherever it stands.
    let begin = start.saturating_add(left);
    begin..begin.saturating_add(trimmed.len())
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            WarningKind::NoColon => {
                "no ':' in it; write user:hash, or begin the line with # if it is a comment"
            }
            WarningKind::NoUser => "nothing before the ':'; write user:hash",
            WarningKind::NoValue => {
                "no hash after the ':', so this user cannot log in; set a password with \
                 mqtt-passwd FILE USER"
            }
            WarningKind::LongUser => "the user name is longer than 65535 bytes",
        };
        write!(f, "line {}: skipped, {what}", self.line)
    }
}

impl fmt::Display for UsernameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the user name is empty",
            Self::Colon => {
                "the user name must not contain ':', which ends the name in a password file"
            }
            Self::ControlCharacter => {
                "the user name must not contain control characters such as line ends or tabs"
            }
            Self::Comment => {
                "the user name must not begin with '#', which makes the line a comment"
            }
            Self::OuterSpace => {
                "the user name must not begin or end with a blank, which readers of the file drop"
            }
            Self::TooLong => "the user name is longer than 65535 bytes, the most MQTT can carry",
        })
    }
}

impl core::error::Error for UsernameError {}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# users\r\nann:$7$x\r\n\r\nnoise\n bob : $6$y \n:z\ncarl:\nann:again";

    #[test]
    fn finds_entries_and_names_the_rest() {
        let text = PasswordText::parse(FILE);
        let entries: Vec<_> = text.entries().map(|e| (e.line, e.user, e.value)).collect();
        assert_eq!(entries, [(2, "ann", "$7$x"), (5, "bob", "$6$y"), (8, "ann", "again")]);
        let warnings: Vec<_> = text.warnings().map(|w| (w.line, w.kind)).collect();
        assert_eq!(
            warnings,
            [(4, WarningKind::NoColon), (6, WarningKind::NoUser), (7, WarningKind::NoValue)]
        );
        assert_eq!(text.to_string(), FILE);
    }

    #[test]
    fn edits_leave_other_lines_alone() {
        let mut text = PasswordText::parse(FILE);
        assert_eq!(text.set("ann", "new"), Ok(Change::Updated));
        assert_eq!(text.to_string(), "# users\r\nann:new\n\r\nnoise\n bob : $6$y \n:z\ncarl:\n");
        assert!(text.remove("bob"));
        assert!(!text.remove("bob"));
        assert_eq!(text.set("dora", "v"), Ok(Change::Added));
        assert_eq!(text.to_string(), "# users\r\nann:new\n\r\nnoise\n:z\ncarl:\ndora:v\n");
        assert!(text.contains("dora") && !text.contains("bob"));
    }

    #[test]
    fn a_missing_last_line_end_is_added_before_a_new_user() {
        let mut text = PasswordText::parse("ann:x");
        text.set("bob", "y").unwrap();
        assert_eq!(text.to_string(), "ann:x\nbob:y\n");
        let mut empty = PasswordText::parse("");
        empty.set("bob", "y").unwrap();
        assert_eq!(empty.to_string(), "bob:y\n");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_name() {
        let text = PasswordText::parse("\u{feff}ann:x\n");
        assert_eq!(text.entries().next().unwrap().user, "ann");
        assert!(PasswordText::parse("\u{feff}#ann:x\n").entries().next().is_none());
    }

    #[test]
    fn a_value_is_trimmed_and_may_hold_colons() {
        let text = PasswordText::parse("ann: a:b c \r\n");
        assert_eq!(text.entries().next().unwrap().value, "a:b c");
    }

    #[test]
    fn names_that_would_not_be_read_back_are_refused() {
        for (name, error) in [
            ("", UsernameError::Empty),
            ("a:b", UsernameError::Colon),
            ("a\nb", UsernameError::ControlCharacter),
            ("a\u{85}b", UsernameError::ControlCharacter),
            ("#a", UsernameError::Comment),
            (" a", UsernameError::OuterSpace),
            ("a ", UsernameError::OuterSpace),
        ] {
            assert_eq!(check_username(name), Err(error), "{name:?}");
            assert_eq!(PasswordText::default().set(name, "v"), Err(error));
        }
        assert_eq!(check_username(&"a".repeat(USERNAME_BYTES_MAX)), Ok(()));
        let long = "a".repeat(USERNAME_BYTES_MAX + 1);
        assert_eq!(check_username(&long), Err(UsernameError::TooLong));
    }

    /// Whatever name is accepted is found again in the written text, among random other lines.
    #[test]
    fn accepted_names_are_read_back() {
        let seed = 0x5eed_0001_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let alphabet = ['a', ':', '#', ' ', '\n', '\r', 'é', '\u{feff}', '$', '\t', '0'];
        for round in 0..5_000 {
            let mut word = |most: usize| -> String {
                let length = random.usize(..most);
                (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
            };
            let (file, user) = (word(40), word(6));
            let mut text = PasswordText::parse(&file);
            assert_eq!(text.to_string(), file, "seed {seed:#x} round {round}");
            if text.set(&user, "value").is_ok() {
                let again = PasswordText::parse(&text.to_string());
                assert_eq!(again, text, "seed {seed:#x} round {round}");
                let found = again.entries().filter(|e| e.user == user);
                let values: Vec<_> = found.map(|e| e.value).collect();
                assert_eq!(values, ["value"], "seed {seed:#x} round {round} {file:?} {user:?}");
            }
        }
    }
}
