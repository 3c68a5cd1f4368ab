//! The client's side of SCRAM-SHA-256: name and password in, proofs out, and the server's own
//! proof checked. [`ScramClient::answer`] is the slow step, as slow as the server's iterations ask.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ScramError, ScramNonce, check_nonce, decode_key, encode_name, text_of, value, xor};
use crate::hash::scram_sha256::{
    Key, SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, client_key, hmac, prepare, salted_password,
    server_key, sha256,
};
use crate::hash::{SALT_BYTES_MAX, is_equal};

/// No channel binding, nobody else's rights.
const HEADER: &str = "n,,";

/// An exchange that waits for the server's challenge.
pub struct ScramClient {
    password: String,
    nonce: String,
    /// The first message without its header.
    bare: String,
}

/// An exchange that waits for the server's own proof.
pub struct ScramProof {
    server_signature: Key,
}

impl ScramClient {
    /// Begins an exchange and returns its first message.
    ///
    /// # Errors
    /// [`ScramError::NotPreparable`]: the password is no UTF-8, or name or password hold what
    /// SASLprep forbids.
    pub fn start(
        username: &str,
        password: &[u8],
        nonce: ScramNonce,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        Self::start_with(username, password, STANDARD.encode(nonce))
    }

    fn start_with(
        username: &str,
        password: &[u8],
        nonce: String,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let password = core::str::from_utf8(password).map_err(|_| ScramError::NotPreparable)?;
        let password = prepare(password).ok_or(ScramError::NotPreparable)?.into_owned();
        let username = prepare(username).ok_or(ScramError::NotPreparable)?;
        let bare = format!("n={},r={nonce}", encode_name(&username));
        let first = format!("{HEADER}{bare}").into_bytes();
        Ok((Self { password, nonce, bare }, first))
    }

    /// Takes the server's challenge and returns the last message. Slow: run it where it may
    /// take a second.
    ///
    /// # Errors
    /// The challenge is wrong, or asks for a cost outside its bounds.
    pub fn answer(self, challenge: &[u8]) -> Result<(ScramProof, Vec<u8>), ScramError> {
        let challenge = text_of(challenge)?;
        if challenge.starts_with("e=") {
            return Err(ScramError::ByServer);
        }
        if challenge.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let mut parts = challenge.split(',');
        let nonce = check_nonce(value(parts.next(), "r=")?)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = STANDARD.decode(value(parts.next(), "s=")?);
        let salt = salt.map_err(|_| ScramError::Malformed("s="))?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::Malformed("s="));
        }
        let iterations = value(parts.next(), "i=")?;
        let is_number = iterations.bytes().all(|byte| byte.is_ascii_digit());
        let iterations = iterations.parse().ok().filter(|_| is_number);
        let iterations: u32 = iterations.ok_or(ScramError::Malformed("i="))?;
        if !(SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Iterations);
        }
        let salted = salted_password(self.password.as_bytes(), &salt, iterations);
        let unproved = format!("c={},r={nonce}", STANDARD.encode(HEADER));
        let said = [self.bare.as_bytes(), b",", challenge.as_bytes(), b",", unproved.as_bytes()];
        let key = client_key(&salted);
        let proof = xor(key, &hmac(&sha256(&key), &said));
        let server_signature = hmac(&server_key(&salted), &said);
        let last = format!("{unproved},p={}", STANDARD.encode(proof)).into_bytes();
        Ok((ScramProof { server_signature }, last))
    }
}

impl ScramProof {
    /// Takes the server's last message, which proves that it knows the password's keys.
    ///
    /// # Errors
    /// It proves nothing: [`ScramError::ServerSignature`]; or the server has refused.
    pub fn finish(self, server_final: &[u8]) -> Result<(), ScramError> {
        let last = text_of(server_final)?;
        if last.starts_with("e=") {
            return Err(ScramError::ByServer);
        }
        let signature = decode_key(value(last.split(',').next(), "v=")?, "v=")?;
        if is_equal(&signature, &self.server_signature) {
            Ok(())
        } else {
            Err(ScramError::ServerSignature)
        }
    }
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramClient")
    }
}

impl fmt::Debug for ScramProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramProof")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const ANSWER: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn started() -> ScramClient {
        ScramClient::start_with("user", b"pencil", NONCE.to_owned()).unwrap().0
    }

    #[test]
    fn plays_the_exchange_of_the_rfc() {
        let (client, first) = ScramClient::start_with("user", b"pencil", NONCE.to_owned()).unwrap();
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proof, last) = client.answer(CHALLENGE.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(last).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.finish(ANSWER.as_bytes()), Ok(()));
    }

    #[test]
    fn a_server_that_knows_nothing_is_found_out() {
        let prove = || started().answer(CHALLENGE.as_bytes()).unwrap().0;
        let wrong = ANSWER.replace("6rri", "7rri");
        assert_eq!(prove().finish(wrong.as_bytes()), Err(ScramError::ServerSignature));
        assert_eq!(prove().finish(b"e=invalid-proof"), Err(ScramError::ByServer));
        for last in [&b""[..], b"v=", b"v=AAAA", b"\xff"] {
            assert!(prove().finish(last).is_err());
        }
    }

    #[test]
    fn challenges_are_checked_before_they_cost_anything() {
        let tail = "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        for (challenge, error) in [
            (format!("r={NONCE},{tail}"), ScramError::Nonce),
            (format!("r=other,{tail}"), ScramError::Nonce),
            (format!("m=x,r={NONCE}y,{tail}"), ScramError::Extension),
            ("e=unknown-user".to_owned(), ScramError::ByServer),
            (format!("r={NONCE}y,s=,i=4096"), ScramError::Malformed("s=")),
            (format!("r={NONCE}y,s=!,i=4096"), ScramError::Malformed("s=")),
            (format!("r={NONCE}y,s=AAAA,i=4095"), ScramError::Iterations),
            (format!("r={NONCE}y,s=AAAA,i=10000001"), ScramError::Iterations),
            (format!("r={NONCE}y,s=AAAA,i=+4096"), ScramError::Malformed("i=")),
            (format!("r={NONCE}y,s=AAAA,i=99999999999"), ScramError::Malformed("i=")),
            (format!("r={NONCE}y,s=AAAA"), ScramError::Malformed("i=")),
        ] {
            let end = started().answer(challenge.as_bytes()).map(|_| ());
            assert_eq!(end, Err(error), "{challenge}");
        }
        let long = format!("r={NONCE}y,s={},i=4096", STANDARD.encode([1; SALT_BYTES_MAX + 1]));
        assert!(started().answer(long.as_bytes()).is_err());
        let longest = format!("r={NONCE}y,s={},i=4096", STANDARD.encode([1; SALT_BYTES_MAX]));
        assert!(started().answer(longest.as_bytes()).is_ok());
    }
}
