//! Topic names and topic filters: their rules (MQTT 4.7, 4.8.2) and two compact trees over
//! their levels.
//!
//! [`FilterTrie`] answers "which filters match this name" (subscriptions), [`NameTree`] answers
//! "which names match this filter" (retained messages). [`FilterPrints`] answers the first question
//! in little memory, with "perhaps". [`TopicFilter::matches`] is the plain matcher all are tested
//! against. What a subscription or a retained message *is* lives elsewhere.

use crate::count::Count;
use core::fmt;

mod filter;
mod level;
mod name;
mod nodes;
mod prints;
mod share;
mod tree;
mod trie;

pub use filter::TopicFilter;
pub use name::TopicName;
pub use prints::FilterPrints;
pub use share::{ShareName, SharedFilter};
pub use tree::{Cursor, NameTree};
pub use trie::{FilterId, FilterTrie};

/// Most bytes of a topic name or filter: what a UTF-8 string of the protocol can carry
/// \[MQTT-4.7.3-3\].
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Most levels of a topic name or filter. The standard sets no limit; this one keeps the depth of
/// the trees bounded and is Mosquitto's: 200 separators.
pub const LEVELS_MAX: usize = 201;

/// Why a text is not a topic name, a topic filter or a shared subscription's filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicError {
    /// No character at all.
    Empty,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// Contains U+0000.
    NulCharacter,
    /// More than [`LEVELS_MAX`] levels.
    TooManyLevels,
    /// A topic name contains `+` or `#`.
    WildcardInName,
    /// `#` stands for a level that is not the last one.
    HashNotLast,
    /// `#` shares its level with other characters.
    HashNotAlone,
    /// `+` shares its level with other characters.
    PlusNotAlone,
    /// `$share/` is not followed by a share name.
    ShareNameEmpty,
    /// The share name contains `+` or `#`.
    ShareNameWildcard,
    /// The share name is not followed by `/` and a topic filter.
    ShareFilterMissing,
}

impl TopicError {
    /// The clause of MQTT 5.0 that is broken. [`TopicError::TooManyLevels`] breaks none; it is
    /// a limit of ours, and the section it narrows is named.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Empty => "MQTT-4.7.3-1",
            Self::NulCharacter => "MQTT-4.7.3-2",
            Self::TooLong => "MQTT-4.7.3-3",
            Self::TooManyLevels => "MQTT-4.7.3",
            Self::WildcardInName => "MQTT-4.7.0-1",
            Self::HashNotLast | Self::HashNotAlone => "MQTT-4.7.1-1",
            Self::PlusNotAlone => "MQTT-4.7.1-2",
            Self::ShareNameEmpty => "MQTT-4.8.2-1",
            Self::ShareNameWildcard | Self::ShareFilterMissing => "MQTT-4.8.2-2",
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the topic is empty")?,
            Self::TooLong => write!(f, "the topic is longer than {TOPIC_BYTES_MAX} bytes")?,
            Self::NulCharacter => f.write_str("the topic contains U+0000")?,
            Self::TooManyLevels => write!(f, "the topic has more than {LEVELS_MAX} levels")?,
            Self::WildcardInName => f.write_str("a topic name must not contain '+' or '#'")?,
            Self::HashNotLast => f.write_str("'#' must be the last level of a topic filter")?,
            Self::HashNotAlone => f.write_str("'#' must be alone in its level")?,
            Self::PlusNotAlone => f.write_str("'+' must be alone in its level")?,
            Self::ShareNameEmpty => f.write_str("'$share/' must be followed by a share name")?,
            Self::ShareNameWildcard => f.write_str("a share name must not contain '+' or '#'")?,
            Self::ShareFilterMissing => {
                f.write_str("the share name must be followed by '/' and a topic filter")?;
            }
        }
        write!(f, " ({})", self.clause())
    }
}

impl core::error::Error for TopicError {}

/// The rules that names and filters share.
fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    let mut separators = 0;
    for byte in text.bytes() {
        match byte {
            0 => return Err(TopicError::NulCharacter),
            b'/' => separators.up(1),
            _ => {}
        }
    }
    if separators >= LEVELS_MAX {
        return Err(TopicError::TooManyLevels);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_rules_from_both_sides() {
        assert_eq!(check_text(""), Err(TopicError::Empty));
        assert_eq!(check_text("a\0"), Err(TopicError::NulCharacter));
        assert_eq!(check_text(&"x".repeat(TOPIC_BYTES_MAX)), Ok(()));
        assert_eq!(check_text(&"x".repeat(TOPIC_BYTES_MAX + 1)), Err(TopicError::TooLong));
        assert_eq!(check_text(&"/".repeat(LEVELS_MAX - 1)), Ok(()));
        assert_eq!(check_text(&"/".repeat(LEVELS_MAX)), Err(TopicError::TooManyLevels));
    }

    #[test]
    fn display_ends_with_the_clause() {
        assert_eq!(TopicError::Empty.to_string(), "the topic is empty (MQTT-4.7.3-1)");
        assert!(TopicError::ShareFilterMissing.to_string().ends_with("(MQTT-4.8.2-2)"));
    }
}
