//! `$7$ITERATIONS$SALT$HASH`: PBKDF2-HMAC-SHA512 with 64 bytes of output, fields in padded base64.
//! The default of Mosquitto 2: 101 iterations in 2.0, 1000 in 2.1; both verify any count.

use alloc::vec::Vec;
use core::fmt;

use sha2::Sha512;

use super::{
    HashError, SHA512_BYTES, check_salt, decode_salt_and_sha512, encode, is_equal, parse_cost,
};

/// Iterations that `mqtt-passwd` writes. One check was measured at 10 ms on a server core (2026,
/// optimised build); a Raspberry Pi 4 is taken to be four to five times slower, so that a house
/// full of devices can still reconnect at once. Guessing is 200 times dearer than with Mosquitto
/// 2.0's 101. Where people choose their passwords themselves and few of them connect,
/// `mqtt-passwd -I 210000` is the figure OWASP recommends.
pub const PBKDF2_ITERATIONS_DEFAULT: u32 = 20_000;

/// Most iterations accepted: seconds per check on any machine. More is a typing error or
/// a file made to stall the broker.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pbkdf2Sha512Hash {
    iterations: u32,
    salt: Vec<u8>,
    hash: [u8; SHA512_BYTES],
}

impl Pbkdf2Sha512Hash {
    pub(super) fn parse(fields: &str) -> Result<Self, HashError> {
        let (iterations, rest) = fields.split_once('$').ok_or(HashError::FieldCount)?;
        let iterations = parse_cost(iterations, "iterations", 1, PBKDF2_ITERATIONS_MAX)?;
        let (salt, hash) = decode_salt_and_sha512(rest)?;
        Ok(Self { iterations, salt, hash })
    }

    pub(super) fn create(iterations: u32, password: &[u8], salt: &[u8]) -> Result<Self, HashError> {
        if !(1..=PBKDF2_ITERATIONS_MAX).contains(&iterations) {
            return Err(HashError::Cost { name: "iterations", min: 1, max: PBKDF2_ITERATIONS_MAX });
        }
        check_salt(salt, 1)?;
        Ok(Self { iterations, salt: salt.to_vec(), hash: derive(password, salt, iterations) })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        is_equal(&derive(password, &self.salt, self.iterations), &self.hash)
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }
}

impl fmt::Display for Pbkdf2Sha512Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iterations, salt) = (self.iterations, encode(&self.salt));
        write!(f, "$7${iterations}${salt}${}", encode(&self.hash))
    }
}

fn derive(password: &[u8], salt: &[u8], iterations: u32) -> [u8; SHA512_BYTES] {
    let mut hash = [0; SHA512_BYTES];
    pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut hash);
    hash
}

#[cfg(test)]
mod tests {
    use super::super::{HashError, PasswordHash, Scheme};
    use super::*;

    /// Written by Debian's `mosquitto_passwd` 2.0.11: user a, password `b`.
    const BY_MOSQUITTO_20: &str = "$7$101$9HFneJtZN70rpNCr$X8BzwnvUvVHdWGYA+4ApYRLm6yiQF/Nu1cwm7pg\
        7C86Dtyoy4aK/pED+/yBpghY++gD32P+B773/KAjOYvD+HA==";
    /// The same tool with `-I 1000`, password `f`.
    const BY_MOSQUITTO_1000: &str = "$7$1000$Xya/gVxJZfY8ZIVO$drzq3ArXVzBbKhM0P9RTPT/+M4F2bnc5Bxa\
        AUhgeWsb7x38Q6zBGE989fR9J9JvAZcSZEf2deeryMKgCbQlQVA==";

    #[test]
    fn verifies_what_mosquitto_wrote() {
        for (text, password) in [(BY_MOSQUITTO_20, b"b"), (BY_MOSQUITTO_1000, b"f")] {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.verify(password));
            assert!(!hash.verify(b"wrong"));
            assert_eq!(hash.to_string(), text);
        }
    }

    /// PBKDF2-HMAC-SHA512 of `password`/`salt`, as Python's `hashlib.pbkdf2_hmac` computes it.
    #[test]
    fn agrees_with_an_independent_implementation() {
        for (iterations, head) in [
            (1, [0x86, 0x7f, 0x70, 0xcf, 0x1a, 0xde, 0x02, 0xcf]),
            (2, [0xe1, 0xd9, 0xc1, 0x6a, 0xa6, 0x81, 0x70, 0x8a]),
            (4096, [0xd1, 0x97, 0xb1, 0xb3, 0x3d, 0xb0, 0x14, 0x3e]),
        ] {
            assert_eq!(derive(b"password", b"salt", iterations)[..8], head);
        }
    }

    #[test]
    fn the_iteration_count_is_bounded_on_both_sides() {
        let rest = &BY_MOSQUITTO_20["$7$101".len()..];
        for (count, is_taken) in [
            ("0", false),
            ("1", true),
            ("10000000", true),
            ("10000001", false),
            ("4294967296", false),
            ("99999999999999999999", false),
            ("", false),
            ("+5", false),
            ("-5", false),
            (" 5", false),
            ("5x", false),
        ] {
            let parsed = PasswordHash::parse(&format!("$7${count}{rest}"));
            assert_eq!(parsed.is_ok(), is_taken, "{count:?}");
        }
        for iterations in [0, PBKDF2_ITERATIONS_MAX + 1] {
            let error = PasswordHash::create(Scheme::Pbkdf2Sha512 { iterations }, b"pw", b"salt")
                .unwrap_err();
            assert_eq!(error.to_string(), "iterations must be a number from 1 to 10000000");
            assert!(matches!(error, HashError::Cost { .. }));
        }
    }
}
