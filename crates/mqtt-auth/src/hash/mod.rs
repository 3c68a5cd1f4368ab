//! One password hash as it stands behind the `:` of a password file, whatever its scheme.
//!
//! The schemes live in their own files; here are the choice between them, the error that all of
//! them share, and the base64 and comparison they have in common. Nothing here knows users or
//! lines.

pub(crate) mod argon2id;
pub(crate) mod pbkdf2_sha512;
pub(crate) mod scram_sha256;
pub(crate) mod sha512;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use argon2id::Argon2idHash;
use pbkdf2_sha512::Pbkdf2Sha512Hash;
use scram_sha256::ScramSha256Hash;
use sha512::Sha512Hash;

/// Longest salt accepted, in bytes. Mosquitto writes 12 (2.0) or 64 (2.1); four times the longer
/// one leaves room for other tools and still bounds the work before the first hash round.
pub const SALT_BYTES_MAX: usize = 256;

/// Bytes of a SHA-512 digest, and of every hash in `$6$` and `$7$` entries.
pub(crate) const SHA512_BYTES: usize = 64;

/// How a password is hashed, with what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `$6$`: one salted SHA-512. Kept for files of Mosquitto 1.x; too cheap for new ones.
    Sha512,
    /// `$7$`: PBKDF2-HMAC-SHA512, read by every Mosquitto since 2.0.
    Pbkdf2Sha512 {
        /// Rounds, 1 to [`PBKDF2_ITERATIONS_MAX`](crate::PBKDF2_ITERATIONS_MAX).
        iterations: u32,
    },
    /// `$argon2id$`: read by Mosquitto 2.1 when it was built with argon2.
    Argon2id {
        /// Memory in KiB (`m`), from 8 per lane to
        /// [`ARGON2ID_MEMORY_KIB_MAX`](crate::ARGON2ID_MEMORY_KIB_MAX).
        memory_kib: u32,
        /// Passes over the memory (`t`).
        passes: u32,
        /// Lanes (`p`).
        lanes: u32,
    },
    /// `$scram-sha-256$`: keys for SCRAM-SHA-256, of PBKDF2-HMAC-SHA256. Only mqttd reads it.
    ScramSha256 {
        /// Rounds, [`SCRAM_ITERATIONS_MIN`](crate::SCRAM_ITERATIONS_MIN) to
        /// [`SCRAM_ITERATIONS_MAX`](crate::SCRAM_ITERATIONS_MAX).
        iterations: u32,
    },
}

impl Scheme {
    /// What `mqtt-passwd` writes unless told otherwise: `$7$` with
    /// [`PBKDF2_ITERATIONS_DEFAULT`](crate::PBKDF2_ITERATIONS_DEFAULT), because Mosquitto 2.0
    /// verifies it too.
    pub const DEFAULT: Self =
        Self::Pbkdf2Sha512 { iterations: pbkdf2_sha512::PBKDF2_ITERATIONS_DEFAULT };

    /// Argon2id with the cost that Mosquitto 2.1 writes: 46 MiB, one pass, one lane.
    pub const ARGON2ID_DEFAULT: Self = Self::Argon2id { memory_kib: 47_104, passes: 1, lanes: 1 };

    /// SCRAM-SHA-256 with [`SCRAM_ITERATIONS_DEFAULT`](crate::SCRAM_ITERATIONS_DEFAULT).
    pub const SCRAM_SHA256_DEFAULT: Self =
        Self::ScramSha256 { iterations: scram_sha256::SCRAM_ITERATIONS_DEFAULT };

    /// Salt length in bytes that Mosquitto itself writes for this scheme, so that its own parser
    /// takes the entry: 12 for `$6$` and `$7$`, since 2.0.11 was measured to refuse logins with 64;
    /// 64 for Argon2id, as 2.1 writes. For SCRAM, which Mosquitto does not read, 16.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::Sha512 | Self::Pbkdf2Sha512 { .. } => 12,
            Self::Argon2id { .. } => 64,
            Self::ScramSha256 { .. } => 16,
        }
    }
}

/// A decoded password hash. Its `Display` is the text that stands in a password file.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Sha512(Sha512Hash),
    Pbkdf2Sha512(Pbkdf2Sha512Hash),
    Argon2id(Argon2idHash),
    ScramSha256(ScramSha256Hash),
}

impl PasswordHash {
    /// Decodes `$6$…`, `$7$…`, `$argon2id$…` or `$scram-sha-256$…`.
    ///
    /// # Errors
    /// [`HashError`] names the field that is wrong. It never holds the text itself, which may be a
    /// password in the clear.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let body = text.strip_prefix('$').ok_or(HashError::NotAHash)?;
        let (scheme, fields) = body.split_once('$').ok_or(HashError::NotAHash)?;
        let kind = match scheme {
            "6" => Kind::Sha512(Sha512Hash::parse(fields)?),
            "7" => Kind::Pbkdf2Sha512(Pbkdf2Sha512Hash::parse(fields)?),
            "argon2id" => Kind::Argon2id(Argon2idHash::parse(fields)?),
            "scram-sha-256" => Kind::ScramSha256(ScramSha256Hash::parse(fields)?),
            _ => return Err(HashError::UnknownScheme),
        };
        Ok(Self(kind))
    }

    /// True when the text claims to be a hash of a known scheme, well formed or not. Tells a
    /// damaged hash from a password in the clear.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        let prefixes = ["$6$", "$7$", "$argon2id$", "$scram-sha-256$"];
        prefixes.iter().any(|prefix| text.starts_with(prefix))
    }

    /// Hashes a password. The salt must be fresh random bytes; [`Scheme::salt_bytes`] says how many
    /// Mosquitto understands.
    ///
    /// # Errors
    /// [`HashError`] when the salt or a cost is outside its bounds, or memory is missing.
    pub fn create(scheme: Scheme, password: &[u8], salt: &[u8]) -> Result<Self, HashError> {
        let kind = match scheme {
            Scheme::Sha512 => Kind::Sha512(Sha512Hash::create(password, salt)?),
            Scheme::Pbkdf2Sha512 { iterations } => {
                Kind::Pbkdf2Sha512(Pbkdf2Sha512Hash::create(iterations, password, salt)?)
            }
            Scheme::Argon2id { memory_kib, passes, lanes } => {
                let cost = argon2id::Cost::new(memory_kib, passes, lanes)?;
                Kind::Argon2id(Argon2idHash::create(cost, password, salt)?)
            }
            Scheme::ScramSha256 { iterations } => {
                Kind::ScramSha256(ScramSha256Hash::create(iterations, password, salt)?)
            }
        };
        Ok(Self(kind))
    }

    /// True when the password is the hashed one. Compared in constant time. False also when the
    /// memory for Argon2id could not be had; [`try_verify`](Self::try_verify) tells the two apart.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        self.try_verify(password).unwrap_or(false)
    }

    /// Like [`verify`](Self::verify), and says when it could not compute.
    ///
    /// # Errors
    /// [`NoMemory`] when the memory that Argon2id asks for could not be allocated.
    pub fn try_verify(&self, password: &[u8]) -> Result<bool, NoMemory> {
        match &self.0 {
            Kind::Sha512(hash) => Ok(hash.verify(password)),
            Kind::Pbkdf2Sha512(hash) => Ok(hash.verify(password)),
            Kind::Argon2id(hash) => hash.verify(password),
            Kind::ScramSha256(hash) => Ok(hash.verify(password)),
        }
    }

    /// The scheme and cost of this hash.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match &self.0 {
            Kind::Sha512(_) => Scheme::Sha512,
            Kind::Pbkdf2Sha512(hash) => Scheme::Pbkdf2Sha512 { iterations: hash.iterations() },
            Kind::Argon2id(hash) => hash.scheme(),
            Kind::ScramSha256(hash) => Scheme::ScramSha256 { iterations: hash.iterations },
        }
    }

    /// The keys for SCRAM, when this entry has them.
    pub(crate) fn scram(&self) -> Option<&ScramSha256Hash> {
        match &self.0 {
            Kind::ScramSha256(hash) => Some(hash),
            _ => None,
        }
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Sha512(hash) => hash.fmt(f),
            Kind::Pbkdf2Sha512(hash) => hash.fmt(f),
            Kind::Argon2id(hash) => hash.fmt(f),
            Kind::ScramSha256(hash) => hash.fmt(f),
        }
    }
}

/// Shows the scheme only: a hash does not belong in a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PasswordHash").field(&self.scheme()).finish()
    }
}

/// The memory for one Argon2id computation could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not enough memory to compute an Argon2id hash")
    }
}

impl core::error::Error for NoMemory {}

/// Why a text is no password hash that can be verified, or a hash could not be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashError {
    /// The text does not have the form `$scheme$…`: perhaps a password in the clear.
    NotAHash,
    /// `$scheme$` is none of `$6$`, `$7$`, `$argon2id$`, `$scram-sha-256$`.
    UnknownScheme,
    /// Too few or too many `$` fields for the scheme.
    FieldCount,
    /// The named field is not base64 of the kind the scheme uses.
    Base64(&'static str),
    /// The salt's length in bytes is outside its bounds.
    SaltLength {
        /// Bytes found.
        bytes: usize,
        /// Shortest salt this scheme takes.
        min: usize,
    },
    /// The hash has the wrong length in bytes.
    HashLength {
        /// Bytes found.
        bytes: usize,
    },
    /// A cost is no decimal number or outside its bounds.
    Cost {
        /// Its name as the file writes it: `iterations`, `m`, `t`, `p`.
        name: &'static str,
        /// Smallest value taken.
        min: u32,
        /// Largest value taken.
        max: u32,
    },
    /// The Argon2 version is not `v=19`.
    Argon2Version,
    /// Not enough memory to compute a new hash.
    NoMemory,
    /// The password is no UTF-8, or SASLprep (RFC 4013) forbids a character of it.
    PasswordNotPreparable,
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAHash => f.write_str(
                "this is no password hash; if the file holds plain passwords, hash them with \
                 mqtt-passwd -U FILE",
            ),
            Self::UnknownScheme => f.write_str(
                "unknown hash scheme; $6$, $7$, $argon2id$ and $scram-sha-256$ are known, set the \
                 password again with mqtt-passwd FILE USER",
            ),
            Self::FieldCount => f.write_str(
                "the hash is cut short or has fields too many; set the password again with \
                 mqtt-passwd FILE USER",
            ),
            Self::Base64(field) => write!(
                f,
                "the {field} is not valid base64; set the password again with mqtt-passwd FILE USER"
            ),
            Self::SaltLength { bytes, min } => write!(
                f,
                "the salt has {bytes} bytes, {min} to {SALT_BYTES_MAX} are accepted; set the \
                 password again with mqtt-passwd FILE USER"
            ),
            Self::HashLength { bytes } => write!(
                f,
                "the hash has {bytes} bytes, which its scheme does not allow; set the password \
                 again with mqtt-passwd FILE USER"
            ),
            Self::Cost { name, min, max } => {
                write!(f, "{name} must be a number from {min} to {max}")
            }
            Self::Argon2Version => f.write_str(
                "only Argon2 version v=19 is known; set the password again with \
                 mqtt-passwd FILE USER",
            ),
            Self::NoMemory => NoMemory.fmt(f),
            Self::PasswordNotPreparable => f.write_str(
                "SCRAM takes passwords of printable characters in UTF-8 only; choose another one",
            ),
        }
    }
}

impl core::error::Error for HashError {}

/// Splits `SALT$HASH` and decodes both (`$6$` and `$7$`: padded base64).
fn decode_salt_and_sha512(fields: &str) -> Result<(Vec<u8>, [u8; SHA512_BYTES]), HashError> {
    let (salt, hash) = fields.split_once('$').ok_or(HashError::FieldCount)?;
    if hash.contains('$') {
        return Err(HashError::FieldCount);
    }
    let salt = STANDARD.decode(salt).map_err(|_| HashError::Base64("salt"))?;
    check_salt(&salt, 1)?;
    let hash = STANDARD.decode(hash).map_err(|_| HashError::Base64("hash"))?;
    let bytes = hash.len();
    let hash = hash.try_into().map_err(|_| HashError::HashLength { bytes })?;
    Ok((salt, hash))
}

fn check_salt(salt: &[u8], min: usize) -> Result<(), HashError> {
    if (min..=SALT_BYTES_MAX).contains(&salt.len()) {
        Ok(())
    } else {
        let bytes = salt.len();
        Err(HashError::SaltLength { bytes, min })
    }
}

/// A decimal cost within its bounds. Signs and blanks are refused, as Mosquitto never writes them.
fn parse_cost(text: &str, name: &'static str, min: u32, max: u32) -> Result<u32, HashError> {
    let wrong = HashError::Cost { name, min, max };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong);
    }
    match text.parse() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(wrong),
    }
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Equal content, in a time that depends on the lengths only.
pub(crate) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_round_trips_through_its_text() {
        let salt = [7u8; 64];
        for scheme in [
            Scheme::Sha512,
            Scheme::Pbkdf2Sha512 { iterations: 3 },
            Scheme::Argon2id { memory_kib: 64, passes: 2, lanes: 2 },
            Scheme::ScramSha256 { iterations: 4096 },
        ] {
            let hash = PasswordHash::create(scheme, "pässword".as_bytes(), &salt).unwrap();
            let text = hash.to_string();
            let again = PasswordHash::parse(&text).unwrap();
            assert_eq!(again.to_string(), text);
            assert_eq!(again.scheme(), scheme);
            assert!(again.verify("pässword".as_bytes()), "{text}");
            assert!(!again.verify(b"password"), "{text}");
            assert!(!again.verify(b""), "{text}");
            assert!(PasswordHash::looks_like(&text));
        }
    }

    #[test]
    fn every_single_changed_character_is_refused_or_no_longer_verifies() {
        for scheme in [
            Scheme::Sha512,
            Scheme::Pbkdf2Sha512 { iterations: 2 },
            Scheme::Argon2id { memory_kib: 16, passes: 1, lanes: 1 },
        ] {
            let text = PasswordHash::create(scheme, b"pw", &[9; 12]).unwrap().to_string();
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
                let changed = String::from_utf8(bytes).unwrap();
                if let Ok(hash) = PasswordHash::parse(&changed) {
                    assert!(!hash.verify(b"pw"), "{changed}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_hash_is_named() {
        for (text, error) in [
            ("", HashError::NotAHash),
            ("secret", HashError::NotAHash),
            ("$", HashError::NotAHash),
            ("$6", HashError::NotAHash),
            ("$1$abc$def", HashError::UnknownScheme),
            ("$argon2i$v=19$m=8,t=1,p=1$a$b", HashError::UnknownScheme),
            ("$6$", HashError::FieldCount),
            ("$6$AAAA", HashError::FieldCount),
            ("$6$AAAA$AAAA$AAAA", HashError::FieldCount),
            ("$6$!$AAAA", HashError::Base64("salt")),
            ("$6$AAAA$!", HashError::Base64("hash")),
            ("$6$AAAA$AAAA", HashError::HashLength { bytes: 3 }),
            ("$6$$AAAA", HashError::SaltLength { bytes: 0, min: 1 }),
        ] {
            assert_eq!(PasswordHash::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn salts_are_bounded_on_both_sides() {
        for (bytes, is_taken) in [
            (0, false),
            (1, true),
            (12, true),
            (64, true),
            (SALT_BYTES_MAX, true),
            (SALT_BYTES_MAX + 1, false),
        ] {
            let salt = vec![1; bytes];
            let hash = PasswordHash::create(Scheme::Sha512, b"pw", &salt);
            assert_eq!(hash.is_ok(), is_taken, "{bytes}");
            let text = format!("$6${}${}", encode(&salt), encode(&[0; 64]));
            assert_eq!(PasswordHash::parse(&text).is_ok(), is_taken, "{bytes}");
        }
    }

    #[test]
    fn debug_hides_the_hash() {
        let hash = PasswordHash::create(Scheme::Sha512, b"pw", b"salt").unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(Sha512)");
    }
}
