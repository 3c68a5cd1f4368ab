//! Pre-shared keys for TLS: `identity:hexkey` lines, one identity each. Keys are not hashed, since
//! both sides need them. Comments, blank lines and skipped lines are as in a password file.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use hashbrown::HashMap;

use crate::password_text::{PasswordText, Warning};

/// Longest key in bytes; what OpenSSL, and so Mosquitto and its tools, can hold.
pub const PSK_BYTES_MAX: usize = 256;

/// The keys of a PSK file.
#[derive(Clone, Default)]
pub struct PskTable {
    keys: HashMap<Box<str>, Box<[u8]>>,
}

impl PskTable {
    /// Parses the contents of a PSK file. The warnings name the lines that were skipped.
    ///
    /// # Errors
    /// [`PskFileError`]: an identity stands twice, or a key is not hexadecimal or too long.
    pub fn parse(contents: &str) -> Result<(Self, Vec<Warning>), PskFileError> {
        let text = PasswordText::parse(contents);
        let mut keys = HashMap::new();
        for entry in text.entries() {
            let line = entry.line;
            let identity = || Box::from(entry.user);
            let key = decode_psk(entry.value)
                .ok_or_else(|| PskFileError::NotHex { line, identity: identity() })?;
            if key.len() > PSK_BYTES_MAX {
                let (identity, bytes) = (identity(), key.len());
                return Err(PskFileError::LongKey { line, identity, bytes });
            }
            if keys.insert(identity(), key).is_some() {
                let identity = identity();
                return Err(PskFileError::DuplicateIdentity { line, identity });
            }
        }
        Ok((Self { keys }, text.warnings().collect()))
    }

    /// The key of an identity.
    #[must_use]
    pub fn key(&self, identity: &str) -> Option<&[u8]> {
        self.keys.get(identity).map(AsRef::as_ref)
    }

    /// Number of identities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when there is no identity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Shows the number of identities only: keys do not belong in a log.
impl fmt::Debug for PskTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PskTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Why a PSK file as a whole is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PskFileError {
    /// An identity stands on two lines.
    DuplicateIdentity {
        /// The second line.
        line: u32,
        /// The identity.
        identity: Box<str>,
    },
    /// The key holds something else than hexadecimal digits.
    NotHex {
        /// The line.
        line: u32,
        /// The identity.
        identity: Box<str>,
    },
    /// The key is longer than [`PSK_BYTES_MAX`].
    LongKey {
        /// The line.
        line: u32,
        /// The identity.
        identity: Box<str>,
        /// Bytes of the key.
        bytes: usize,
    },
}

impl fmt::Display for PskFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateIdentity { line, identity } => write!(
                f,
                "line {line}: identity {identity:?} stands in the file already; delete one of the \
                 two lines"
            ),
            Self::NotHex { line, identity } => write!(
                f,
                "line {line}: the key of {identity:?} is not hexadecimal; write 0-9 and a-f \
                 without 0x or blanks"
            ),
            Self::LongKey { line, identity, bytes } => write!(
                f,
                "line {line}: the key of {identity:?} has {bytes} bytes; use at most \
                 {PSK_BYTES_MAX}"
            ),
        }
    }
}

impl core::error::Error for PskFileError {}

/// Reads a key in hexadecimal digits, as it stands in the file. An odd number of digits has a zero
/// in front, as OpenSSL reads it. `None`: something else than a digit.
#[must_use]
pub fn decode_psk(text: &str) -> Option<Box<[u8]>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let whole_byte = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    let bytes = odd.iter().copied().chain(pairs.chunks(2).map(whole_byte));
    bytes.map(|byte| u8::try_from(byte).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_and_skips_the_rest_aloud() {
        let (table, warnings) = PskTable::parse("# keys\nann:00fF10\nbob: abc \nnoise\n").unwrap();
        assert_eq!(table.key("ann"), Some(&[0x00, 0xff, 0x10][..]));
        assert_eq!(table.key("bob"), Some(&[0x0a, 0xbc][..]));
        assert_eq!(table.key("carl"), None);
        assert_eq!((table.len(), warnings.len()), (2, 1));
        assert_eq!(format!("{table:?}"), "PskTable { len: 2, .. }");
    }

    #[test]
    fn errors_name_line_and_cure_but_no_key() {
        for (file, cure) in [
            ("ann:00\nann:11", "line 2: identity \"ann\" stands in the file already"),
            ("ann:0x12", "line 1: the key of \"ann\" is not hexadecimal; write 0-9"),
            ("\nann:12 34", "line 2: the key of \"ann\" is not hexadecimal"),
        ] {
            let error = PskTable::parse(file).unwrap_err();
            assert!(error.to_string().starts_with(cure), "{error}");
            assert!(!format!("{error} {error:?}").contains("12"), "{error}");
        }
    }

    #[test]
    fn the_length_of_a_key_is_bounded_on_both_sides() {
        let file = |bytes| format!("ann:{}", "ab".repeat(bytes));
        let (table, _) = PskTable::parse(&file(PSK_BYTES_MAX)).unwrap();
        assert_eq!(table.key("ann").map(<[u8]>::len), Some(PSK_BYTES_MAX));
        let error = PskTable::parse(&file(PSK_BYTES_MAX + 1)).unwrap_err();
        assert!(matches!(error, PskFileError::LongKey { bytes: 257, .. }));
    }
}
