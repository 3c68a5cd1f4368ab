//! `TopicName`: the topic a message is published to. No wildcards here.

use super::{TopicError, check_text};
use core::fmt;

/// A valid topic name (MQTT 4.7): 1 to 65,535 bytes, no U+0000, no wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels from left to right; empty levels count.
    pub fn levels(self) -> core::str::Split<'a, char> {
        self.0.split('/')
    }

    /// True for `$SYS/...` and the like, which a leading wildcard does not match
    /// \[MQTT-4.7.2-1\].
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl AsRef<str> for TopicName<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "/", "a/b", "/a", "a//b/", "$SYS/x", "ä b", "$", "\u{feff}"] {
            assert_eq!(TopicName::new(good).map(TopicName::as_str), Ok(good));
        }
        for bad in ["+", "#", "a/+", "a/b#", "a+b"] {
            assert_eq!(TopicName::new(bad), Err(TopicError::WildcardInName), "{bad}");
        }
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("\0"), Err(TopicError::NulCharacter));
    }

    #[test]
    fn levels_and_dollar() {
        let name = TopicName::new("/a//b/").unwrap();
        assert_eq!(name.levels().collect::<Vec<_>>(), ["", "a", "", "b", ""]);
        assert!(!name.is_dollar());
        assert!(TopicName::new("$x").unwrap().is_dollar());
        assert!(!TopicName::new("a/$x").unwrap().is_dollar());
    }
}
