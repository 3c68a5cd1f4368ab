//! `TopicName`: the topic a message is published to. No wildcards here.

use super::{LEVELS_MAX, TopicError, check_text};
use core::fmt;

/// A valid topic name (MQTT 4.7): 1 to 65,535 bytes, no U+0000, no wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    #[inline]
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        let bytes = text.as_bytes();
        // Nearly every name of nearly every PUBLISH: too short for too many levels, and without any
        // byte that a rule is about.
        if !bytes.is_empty() && bytes.len() < LEVELS_MAX && !holds_special(bytes) {
            return Ok(Self(text));
        }
        Self::new_by_rules(text)
    }

    fn new_by_rules(text: &'a str) -> Result<Self, TopicError> {
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

/// Whether a byte is U+0000, `+` or `#`; eight at a time.
#[inline]
fn holds_special(bytes: &[u8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // `+` and `#` differ in one bit only.
    const DIFFERENCE: u64 = (b'+' ^ b'#') as u64 * EACH;
    const WILDCARD: u64 = (b'+' | b'#') as u64 * EACH;
    let has_zero_byte = |word: u64| word.wrapping_sub(EACH) & !word & (EACH << 7) != 0;
    let is_special = |chunk: [u8; 8]| {
        let word = u64::from_ne_bytes(chunk);
        has_zero_byte(word) | has_zero_byte((word | DIFFERENCE) ^ WILDCARD)
    };
    // The last eight overlap the others rather than being looked at one by one.
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'));
    };
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        if is_special(*chunk) {
            return true;
        }
        rest = behind;
    }
    is_special(*last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of short and of longer texts, between bytes that borrow or carry.
    #[test]
    fn special_bytes_are_seen_wherever_they_stand() {
        for wildcard in [b'+', b'#'] {
            assert_eq!(wildcard | (b'+' ^ b'#'), b'+' | b'#');
        }
        for filling in [1, b'a', b'"', b'*', b',', b'$', 0x80, 0xFF] {
            for len in 1..=33 {
                assert!(!holds_special(&vec![filling; len]), "{filling} {len}");
                for place in 0..len {
                    for byte in 0..=255 {
                        let mut bytes = vec![filling; len];
                        bytes[place] = byte;
                        let expected = matches!(byte, 0 | b'+' | b'#');
                        assert_eq!(holds_special(&bytes), expected, "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_short_way_and_the_rules_agree_around_the_bound() {
        for len in [1, 7, 8, LEVELS_MAX - 1, LEVELS_MAX, LEVELS_MAX + 1] {
            for text in ["/".repeat(len), "x".repeat(len), "x".repeat(len - 1) + "#"] {
                assert_eq!(TopicName::new(&text), TopicName::new_by_rules(&text), "{text}");
            }
        }
    }

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
