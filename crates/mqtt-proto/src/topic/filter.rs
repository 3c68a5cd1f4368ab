//! `TopicFilter`: what a subscription asks for, and the plain level-by-level matcher that
//! serves as the oracle of the trees.

use super::{TopicError, TopicName, check_text};
use core::fmt;

/// A valid topic filter (MQTT 4.7.1): `+` and `#` alone in their level, `#` only last.
///
/// `$share/...` is an ordinary filter here; [`super::SharedFilter::parse`] takes it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level == "#" {
                if levels.peek().is_some() {
                    return Err(TopicError::HashNotLast);
                }
            } else if level.contains('#') {
                return Err(TopicError::HashNotAlone);
            } else if level.len() > 1 && level.contains('+') {
                return Err(TopicError::PlusNotAlone);
            }
        }
        Ok(Self(text))
    }

    /// The filter as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels from left to right, wildcards included; empty levels count.
    pub fn levels(self) -> core::str::Split<'a, char> {
        self.0.split('/')
    }

    /// True when the filter's first character is `$`.
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    /// True when the filter contains `+` or `#`, so that it can match more than one name.
    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Does `name` match? `a/#` matches `a` too (4.7.1.2); a leading wildcard does not match
    /// a name that starts with `$` \[MQTT-4.7.2-1\].
    pub fn matches(self, name: TopicName<'_>) -> bool {
        if name.is_dollar() && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = name.levels();
        for wanted in self.levels() {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl AsRef<str> for TopicFilter<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for good in ["a", "/", "+", "#", "+/+", "/+", "a/#", "+/a/#", "//#", "$share/n/a", "$"] {
            assert_eq!(TopicFilter::new(good).map(TopicFilter::as_str), Ok(good));
        }
        for (bad, why) in [
            ("", TopicError::Empty),
            ("a\0b", TopicError::NulCharacter),
            ("#/", TopicError::HashNotLast),
            ("a/#/b", TopicError::HashNotLast),
            ("a#", TopicError::HashNotAlone),
            ("a/b#/c", TopicError::HashNotAlone),
            ("##", TopicError::HashNotAlone),
            ("+#", TopicError::HashNotAlone),
            ("a+", TopicError::PlusNotAlone),
            ("++/b", TopicError::PlusNotAlone),
        ] {
            assert_eq!(TopicFilter::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn matching_as_the_standard_shows_it() {
        for (filter, name, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a/b", "a/b/", false),
            ("A", "a", false),
            ("#", "/", true),
            ("+/#", "a", true),
            ("a/#", "ab", false),
        ] {
            let matches = TopicFilter::new(filter).unwrap().matches(TopicName::new(name).unwrap());
            assert_eq!(matches, expected, "{filter} against {name}");
        }
    }
}
