//! `$scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY`: what a server keeps for SCRAM-SHA-256 (RFC
//! 5802 section 3, RFC 7677), fields in padded base64. It also verifies a plain password, so one
//! entry serves both kinds of login. The exchange itself is `scram/`.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::{HashError, check_salt, encode, is_equal, parse_cost};

/// Fewest iterations taken, from a file or from a server: the least that RFC 7677 allows.
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;

/// Iterations that `mqtt-passwd` writes: as dear to guess as the `$7$` default. A login by SCRAM
/// costs them the client only; a microcontroller is taken to need a second for them.
pub const SCRAM_ITERATIONS_DEFAULT: u32 = 20_000;

/// Most iterations taken: seconds on any machine. A server that asks a client for more wants to
/// stall it.
pub const SCRAM_ITERATIONS_MAX: u32 = 10_000_000;

/// Bytes of a SHA-256 digest, and of every key and proof here.
pub(crate) const SHA256_BYTES: usize = 32;

/// A SHA-256 digest or a key of its size.
pub(crate) type Key = [u8; SHA256_BYTES];

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramSha256Hash {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    /// Hash of the key that a client proves to have.
    pub(crate) stored_key: Key,
    /// What the server proves its own knowledge with.
    pub(crate) server_key: Key,
}

impl ScramSha256Hash {
    pub(super) fn parse(fields: &str) -> Result<Self, HashError> {
        let mut parts = fields.split('$');
        let mut next = || parts.next().ok_or(HashError::FieldCount);
        let (min, max) = (SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX);
        let iterations = parse_cost(next()?, "iterations", min, max)?;
        let salt = STANDARD.decode(next()?).map_err(|_| HashError::Base64("salt"))?;
        check_salt(&salt, 1)?;
        let stored_key = decode_key(next()?, "stored key")?;
        let server_key = decode_key(next()?, "server key")?;
        match parts.next() {
            None => Ok(Self { iterations, salt, stored_key, server_key }),
            Some(_) => Err(HashError::FieldCount),
        }
    }

    pub(super) fn create(iterations: u32, password: &[u8], salt: &[u8]) -> Result<Self, HashError> {
        let (min, max) = (SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX);
        if !(min..=max).contains(&iterations) {
            return Err(HashError::Cost { name: "iterations", min, max });
        }
        check_salt(salt, 1)?;
        let prepared = prepare_bytes(password).ok_or(HashError::PasswordNotPreparable)?;
        let salted = salted_password(&prepared, salt, iterations);
        let (stored_key, server_key) = (sha256(&client_key(&salted)), server_key(&salted));
        Ok(Self { iterations, salt: salt.to_vec(), stored_key, server_key })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        // What can't be prepared can't have been stored; it costs the same all the same.
        let prepared = prepare_bytes(password);
        let password = prepared.as_deref().unwrap_or_default();
        let salted = salted_password(password, &self.salt, self.iterations);
        is_equal(&sha256(&client_key(&salted)), &self.stored_key) && prepared.is_some()
    }
}

impl fmt::Display for ScramSha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iterations, salt) = (self.iterations, encode(&self.salt));
        let (stored, server) = (encode(&self.stored_key), encode(&self.server_key));
        write!(f, "$scram-sha-256${iterations}${salt}${stored}${server}")
    }
}

/// SASLprep (RFC 4013) of a name or a password: `None` when it holds what no login may hold, such
/// as control characters or an unassigned code point.
pub(crate) fn prepare(text: &str) -> Option<Cow<'_, str>> {
    stringprep::saslprep(text).ok()
}

fn prepare_bytes(password: &[u8]) -> Option<Vec<u8>> {
    let prepared = prepare(core::str::from_utf8(password).ok()?)?;
    Some(prepared.into_owned().into_bytes())
}

/// `Hi` of RFC 5802. Takes as long as the iterations ask for.
pub(crate) fn salted_password(prepared: &[u8], salt: &[u8], iterations: u32) -> Key {
    let mut key = Key::default();
    pbkdf2::pbkdf2_hmac::<Sha256>(prepared, salt, iterations, &mut key);
    key
}

pub(crate) fn client_key(salted_password: &Key) -> Key {
    hmac(salted_password, &[b"Client Key"])
}

pub(crate) fn server_key(salted_password: &Key) -> Key {
    hmac(salted_password, &[b"Server Key"])
}

pub(crate) fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

/// HMAC-SHA-256 over the parts in a row.
#[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
pub(crate) fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn decode_key(text: &str, name: &'static str) -> Result<Key, HashError> {
    let bytes = STANDARD.decode(text).map_err(|_| HashError::Base64(name))?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| HashError::HashLength { bytes: found })
}

#[cfg(test)]
mod tests {
    use super::super::{PasswordHash, Scheme};
    use super::*;

    /// The keys of RFC 7677 section 3 (user `user`, password `pencil`), as PostgreSQL would store
    /// them; computed with Python's hashlib and hmac.
    const RFC_7677: &str = "$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn creates_the_keys_of_the_rfc_and_verifies_its_password() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let scheme = Scheme::ScramSha256 { iterations: 4096 };
        let hash = PasswordHash::create(scheme, b"pencil", &salt).unwrap();
        assert_eq!(hash.to_string(), RFC_7677);
        let read = PasswordHash::parse(RFC_7677).unwrap();
        assert_eq!((read.scheme(), read == hash), (scheme, true));
        assert!(read.verify(b"pencil"));
        assert!(!read.verify(b"Pencil") && !read.verify(b"") && !read.verify(b"\xff"));
    }

    #[test]
    fn passwords_are_prepared_before_they_are_hashed() {
        let scheme = Scheme::ScramSha256 { iterations: 4096 };
        let create = |password: &str| PasswordHash::create(scheme, password.as_bytes(), b"salt");
        // RFC 4013 section 3: a soft hyphen is mapped to nothing, ª and Ⅸ are normalised.
        for (typed, stored) in [("I\u{ad}X", "IX"), ("\u{aa}", "a"), ("\u{2168}", "IX")] {
            assert_eq!(create(typed).unwrap(), create(stored).unwrap());
            assert!(create(stored).unwrap().verify(typed.as_bytes()));
        }
        assert!(create("pässwörd").unwrap().verify("pa\u{308}sswörd".as_bytes()));
        for refused in ["\u{7}", "\u{627}1"] {
            assert_eq!(create(refused), Err(HashError::PasswordNotPreparable), "{refused:?}");
        }
        let bytes = PasswordHash::create(scheme, b"\xff", b"salt");
        assert_eq!(bytes, Err(HashError::PasswordNotPreparable));
    }

    #[test]
    fn every_bound_holds_on_both_sides() {
        let tail = RFC_7677.strip_prefix("$scram-sha-256$4096").unwrap();
        for (count, is_taken) in
            [("4095", false), ("4096", true), ("10000000", true), ("10000001", false), ("", false)]
        {
            let parsed = PasswordHash::parse(&alloc::format!("$scram-sha-256${count}{tail}"));
            assert_eq!(parsed.is_ok(), is_taken, "{count}");
        }
        for iterations in [SCRAM_ITERATIONS_MIN - 1, SCRAM_ITERATIONS_MAX + 1] {
            let scheme = Scheme::ScramSha256 { iterations };
            assert!(PasswordHash::create(scheme, b"pw", b"salt").is_err(), "{iterations}");
        }
        let key = |bytes: usize| encode(&alloc::vec![1; bytes]);
        for (stored, server, is_taken) in [(32, 32, true), (31, 32, false), (32, 33, false)] {
            let fields = alloc::format!("{}${}", key(stored), key(server));
            let parsed = PasswordHash::parse(&alloc::format!("$scram-sha-256$4096$AAAA${fields}"));
            assert_eq!(parsed.is_ok(), is_taken, "{stored} {server}");
        }
        for cut in ["$scram-sha-256$4096$AAAA", &(RFC_7677.to_owned() + "$"), "$scram-sha-256$"] {
            assert!(PasswordHash::parse(cut).is_err(), "{cut}");
        }
    }
}
