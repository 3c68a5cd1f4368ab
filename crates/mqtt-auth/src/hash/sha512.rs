//! `$6$SALT$HASH`: SHA-512 over the password followed by the salt, both fields in padded base64.
//! Mosquitto 1.x wrote it; Mosquitto 2 still reads it and writes it with `-H sha512`.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha512};

use super::{HashError, SHA512_BYTES, check_salt, decode_salt_and_sha512, encode, is_equal};

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sha512Hash {
    salt: Vec<u8>,
    hash: [u8; SHA512_BYTES],
}

impl Sha512Hash {
    pub(super) fn parse(fields: &str) -> Result<Self, HashError> {
        let (salt, hash) = decode_salt_and_sha512(fields)?;
        Ok(Self { salt, hash })
    }

    pub(super) fn create(password: &[u8], salt: &[u8]) -> Result<Self, HashError> {
        check_salt(salt, 1)?;
        let hash = digest(password, salt);
        let salt = salt.to_vec();
        Ok(Self { salt, hash })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        is_equal(&digest(password, &self.salt), &self.hash)
    }
}

impl fmt::Display for Sha512Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$6${}${}", encode(&self.salt), encode(&self.hash))
    }
}

fn digest(password: &[u8], salt: &[u8]) -> [u8; SHA512_BYTES] {
    let mut sha = Sha512::new();
    sha.update(password);
    sha.update(salt);
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::PasswordHash;

    /// Written by Debian's `mosquitto_passwd` 2.0.11 with `-H sha512`, password `d`.
    const BY_MOSQUITTO: &str = "$6$T+hepMXsTTmRg/XN$i3pyf6mCcHqdu2c8fmReb6eVrd2Ej0fY3cqhnx7dpMFyMi\
        L5TEI58Y61kgZvLeEVtRA69kI1+XGno30vRyEckA==";

    #[test]
    fn verifies_what_mosquitto_wrote() {
        let hash = PasswordHash::parse(BY_MOSQUITTO).unwrap();
        assert!(hash.verify(b"d"));
        assert!(!hash.verify(b"e"));
        assert!(!hash.verify(b"d\0"));
        assert_eq!(hash.to_string(), BY_MOSQUITTO);
    }
}
