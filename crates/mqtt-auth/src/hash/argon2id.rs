//! `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`: the PHC string of Argon2id, fields in unpadded base64.
//! Written by Mosquitto 2.1 when it was built with argon2, and by the `argon2` command.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{HashError, NoMemory, Scheme, check_salt, is_equal, parse_cost};

/// Most memory one check may use, in KiB (256 MiB): more than five times Mosquitto's 46 MiB, and
/// still a quarter of a small Raspberry Pi.
pub const ARGON2ID_MEMORY_KIB_MAX: u32 = 262_144;
/// Most passes over the memory: with the most memory, some ten seconds.
pub const ARGON2ID_PASSES_MAX: u32 = 32;
/// Most lanes. They are computed one after the other here, so more bring nothing.
pub const ARGON2ID_LANES_MAX: u32 = 16;
/// Shortest salt that Argon2 allows (RFC 9106 section 3.1), in bytes.
pub const ARGON2ID_SALT_BYTES_MIN: usize = 8;
/// Shortest hash taken, in bytes: 128 bits, below which guessing the hash beats the password.
pub const ARGON2ID_HASH_BYTES_MIN: usize = 16;
/// Longest hash taken, in bytes: twice what Mosquitto writes.
pub const ARGON2ID_HASH_BYTES_MAX: usize = 128;

/// Length of a new hash, in bytes; the one Mosquitto 2.1 writes.
const HASH_BYTES: usize = 64;
/// Argon2 needs eight blocks of 1 KiB per lane (RFC 9106 section 3.1).
const MEMORY_KIB_PER_LANE: u32 = 8;

/// A cost whose parts are within their bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2idHash {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Cost {
    pub(super) fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, HashError> {
        check_cost(lanes, "p", 1, ARGON2ID_LANES_MAX)?;
        check_cost(passes, "t", 1, ARGON2ID_PASSES_MAX)?;
        let memory_kib_min = MEMORY_KIB_PER_LANE.saturating_mul(lanes);
        check_cost(memory_kib, "m", memory_kib_min, ARGON2ID_MEMORY_KIB_MAX)?;
        Ok(Self { memory_kib, passes, lanes })
    }

    /// `m=…,t=…,p=…` in this order, as the PHC format fixes it.
    fn parse(text: &str) -> Result<Self, HashError> {
        let mut parts = text.split(',');
        let mut next = |name: &'static str| {
            let part = parts.next().ok_or(HashError::FieldCount)?;
            let value = part.strip_prefix(name).and_then(|s| s.strip_prefix('='));
            parse_cost(value.ok_or(HashError::FieldCount)?, name, 1, u32::MAX)
        };
        let (memory_kib, passes, lanes) = (next("m")?, next("t")?, next("p")?);
        match parts.next() {
            None => Self::new(memory_kib, passes, lanes),
            Some(_) => Err(HashError::FieldCount),
        }
    }
}

impl Argon2idHash {
    pub(super) fn parse(fields: &str) -> Result<Self, HashError> {
        let mut parts = fields.split('$');
        let mut next = || parts.next().ok_or(HashError::FieldCount);
        if next()? != "v=19" {
            return Err(HashError::Argon2Version);
        }
        let cost = Cost::parse(next()?)?;
        let salt = STANDARD_NO_PAD.decode(next()?).map_err(|_| HashError::Base64("salt"))?;
        check_salt(&salt, ARGON2ID_SALT_BYTES_MIN)?;
        let hash = STANDARD_NO_PAD.decode(next()?).map_err(|_| HashError::Base64("hash"))?;
        if !(ARGON2ID_HASH_BYTES_MIN..=ARGON2ID_HASH_BYTES_MAX).contains(&hash.len()) {
            let bytes = hash.len();
            return Err(HashError::HashLength { bytes });
        }
        match parts.next() {
            None => Ok(Self { cost, salt, hash }),
            Some(_) => Err(HashError::FieldCount),
        }
    }

    pub(super) fn create(cost: Cost, password: &[u8], salt: &[u8]) -> Result<Self, HashError> {
        check_salt(salt, ARGON2ID_SALT_BYTES_MIN)?;
        let hash = derive(cost, password, salt, HASH_BYTES).map_err(|_| HashError::NoMemory)?;
        let salt = salt.to_vec();
        Ok(Self { cost, salt, hash })
    }

    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, NoMemory> {
        let computed = derive(self.cost, password, &self.salt, self.hash.len())?;
        Ok(is_equal(&computed, &self.hash))
    }

    pub(super) fn scheme(&self) -> Scheme {
        Scheme::Argon2id {
            memory_kib: self.cost.memory_kib,
            passes: self.cost.passes,
            lanes: self.cost.lanes,
        }
    }
}

impl fmt::Display for Argon2idHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let salt = STANDARD_NO_PAD.encode(&self.salt);
        let hash = STANDARD_NO_PAD.encode(&self.hash);
        write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }
}

#[allow(clippy::expect_used, reason = "lengths and cost were checked against tighter bounds")]
fn derive(cost: Cost, password: &[u8], salt: &[u8], bytes: usize) -> Result<Vec<u8>, NoMemory> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(bytes))
        .expect("Cost and the hash length were checked against tighter bounds than Argon2's");
    // Reserved by hand because the crate's own allocation aborts the process when it fails.
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(params.block_count()).map_err(|_| NoMemory)?;
    memory.resize(params.block_count(), Block::default());
    let mut hash = vec![0; bytes];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut hash, &mut memory)
        .expect("salt, password and hash lengths are within Argon2's bounds");
    Ok(hash)
}

fn check_cost(value: u32, name: &'static str, min: u32, max: u32) -> Result<(), HashError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(HashError::Cost { name, min, max }) }
}

#[cfg(test)]
mod tests {
    use super::super::PasswordHash;
    use super::*;

    /// From the test vectors of the reference implementation (`test.c` of phc-winner-argon2).
    const REFERENCE: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ\
        $nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn verifies_the_reference_vector() {
        let hash = PasswordHash::parse(REFERENCE).unwrap();
        assert!(hash.verify(b"password"));
        assert!(!hash.verify(b"differentpassword"));
        assert_eq!(hash.to_string(), REFERENCE);
    }

    #[test]
    fn every_bound_holds_on_both_sides() {
        let tail = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for (cost, is_taken) in [
            ("m=8,t=1,p=1", true),
            ("m=7,t=1,p=1", false),
            ("m=262144,t=1,p=1", true),
            ("m=262145,t=1,p=1", false),
            ("m=4294967295,t=1,p=1", false),
            ("m=8,t=0,p=1", false),
            ("m=8,t=32,p=1", true),
            ("m=8,t=33,p=1", false),
            ("m=8,t=1,p=0", false),
            ("m=128,t=1,p=16", true),
            ("m=127,t=1,p=16", false),
            ("m=136,t=1,p=17", false),
            ("t=1,m=8,p=1", false),
            ("m=8,t=1", false),
            ("m=8,t=1,p=1,keyid=a", false),
            ("m=8,t=1,p=", false),
            ("", false),
        ] {
            let parsed = PasswordHash::parse(&format!("$argon2id$v=19${cost}${tail}"));
            assert_eq!(parsed.is_ok(), is_taken, "{cost}: {parsed:?}");
        }
        for version in ["v=16", "v=", ""] {
            let parsed = PasswordHash::parse(&format!("$argon2id${version}$m=8,t=1,p=1${tail}"));
            assert_eq!(parsed, Err(HashError::Argon2Version), "{version}");
        }
    }

    #[test]
    fn salt_and_hash_lengths_are_bounded_on_both_sides() {
        let text = |salt: usize, hash: usize| {
            let (salt, hash) = (vec![1; salt], vec![2; hash]);
            let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
            format!("$argon2id$v=19$m=8,t=1,p=1${salt}${hash}")
        };
        for (salt, hash, is_taken) in [
            (7, 32, false),
            (8, 32, true),
            (256, 32, true),
            (257, 32, false),
            (16, 15, false),
            (16, 16, true),
            (16, 128, true),
            (16, 129, false),
        ] {
            let parsed = PasswordHash::parse(&text(salt, hash));
            assert_eq!(parsed.is_ok(), is_taken, "{salt} {hash}");
            assert!(!parsed.is_ok_and(|hash| hash.verify(b"pw")));
        }
        let padded = text(8, 32) + "=";
        assert_eq!(
            PasswordHash::parse(&padded),
            Err(HashError::Base64("hash")),
            "Argon2id base64 is unpadded"
        );
        assert!(PasswordHash::parse(&(text(8, 32) + "$")).is_err());
    }
}
