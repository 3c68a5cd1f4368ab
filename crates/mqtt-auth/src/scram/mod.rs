//! SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding, as two small machines: messages in,
//! messages out. The server's side is `server.rs`, the client's `client.rs`; here is what both read
//! and write. Random bytes come from the caller, and so does MQTT.
//!
//! ```text
//!   client                                        server
//!   n,,n=USER,r=CN              ───────────▶
//!                               ◀───────────      r=CNSN,s=SALT,i=ITERATIONS
//!   c=biws,r=CNSN,p=PROOF       ───────────▶
//!                               ◀───────────      v=SIGNATURE
//! ```

mod client;
mod server;

pub use client::{ScramClient, ScramProof};
pub use server::{ScramIdentity, ScramServer};

use alloc::string::String;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::scram_sha256::Key;

/// The name of the method, as MQTT's Authentication Method and SASL have it.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// Fresh random bytes that each side brings to an exchange; no two exchanges may share them.
pub type ScramNonce = [u8; 18];

/// Why an exchange has failed. A server tells its peer none of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// The message is not what RFC 5802 section 7 describes; names the part.
    Malformed(&'static str),
    /// The client insists on channel binding, which `SCRAM-SHA-256` (without `-PLUS`) has not.
    ChannelBinding,
    /// An extension is mandatory (`m=`) and nobody here knows it.
    Extension,
    /// The client wants to act as somebody else (`a=`).
    AuthorizationIdentity,
    /// SASLprep (RFC 4013) forbids a character of the name or password.
    NotPreparable,
    /// The nonce is not the one of this exchange.
    Nonce,
    /// The iterations a server asks for are outside
    /// [`SCRAM_ITERATIONS_MIN`](crate::SCRAM_ITERATIONS_MIN) to
    /// [`SCRAM_ITERATIONS_MAX`](crate::SCRAM_ITERATIONS_MAX).
    Iterations,
    /// The client does not know this user's password.
    WrongPassword(String),
    /// There is no such user.
    UnknownUser(String),
    /// The user's entry is of another scheme and can't serve SCRAM.
    NoScramEntry(String),
    /// The server does not know the user's keys: it is not who it claims to be.
    ServerSignature,
    /// The server has ended the exchange with `e=`.
    ByServer,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(part) => write!(f, "malformed SCRAM message: {part}"),
            Self::ChannelBinding => f.write_str("channel binding is not supported"),
            Self::Extension => f.write_str("unknown mandatory SCRAM extension"),
            Self::AuthorizationIdentity => f.write_str("a user may not act as another one"),
            Self::NotPreparable => {
                f.write_str("user name or password with characters that SASLprep forbids")
            }
            Self::Nonce => f.write_str("the nonce is not the one of this exchange"),
            Self::Iterations => f.write_str("the server asks for too few or too many iterations"),
            Self::WrongPassword(user) => write!(f, "wrong password for user {user:?}"),
            Self::UnknownUser(user) => write!(f, "unknown user {user:?}"),
            Self::NoScramEntry(user) => write!(
                f,
                "the password of user {user:?} is stored in a form that can't serve SCRAM; store \
                 it again with mqtt-passwd -H scram-sha-256 FILE USER"
            ),
            Self::ServerSignature => f.write_str("the server does not know the password"),
            Self::ByServer => f.write_str("the server has refused the proof"),
        }
    }
}

impl core::error::Error for ScramError {}

fn text_of(message: &[u8]) -> Result<&str, ScramError> {
    core::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

/// The value of the next attribute, which must have this name (`"r="`).
fn value<'a>(part: Option<&'a str>, name: &'static str) -> Result<&'a str, ScramError> {
    part.and_then(|part| part.strip_prefix(name)).ok_or(ScramError::Malformed(name))
}

/// Takes a nonce that has at least one character, all of them printable ASCII.
fn check_nonce(nonce: &str) -> Result<&str, ScramError> {
    let is_printable = nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b',');
    if nonce.is_empty() || !is_printable {
        return Err(ScramError::Malformed("nonce"));
    }
    Ok(nonce)
}

/// `=2C` and `=3D` stand for the comma and the equals sign in a name.
fn decode_name(encoded: &str) -> Result<String, ScramError> {
    let mut parts = encoded.split('=');
    let mut name = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(ScramError::Malformed("user name")),
        };
        name.push(sign);
        name.push_str(rest);
    }
    if name.is_empty() { Err(ScramError::Malformed("user name")) } else { Ok(name) }
}

fn encode_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn decode_key(text: &str, part: &'static str) -> Result<Key, ScramError> {
    let bytes = STANDARD.decode(text).map_err(|_| ScramError::Malformed(part))?;
    bytes.try_into().map_err(|_| ScramError::Malformed(part))
}

fn xor(mut a: Key, b: &Key) -> Key {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PasswordFile, PasswordHash, Scheme};

    fn file() -> PasswordFile {
        let hash = |scheme, password: &str| {
            PasswordHash::create(scheme, password.as_bytes(), b"sixteen bytes ok").unwrap()
        };
        let scram = Scheme::ScramSha256 { iterations: 4096 };
        let contents = format!(
            "ann:{}\nb,o=b:{}\nold:{}\nmüller:{}\n",
            hash(scram, "pw of ann"),
            hash(scram, "ï"),
            hash(Scheme::Sha512, "old"),
            hash(scram, "m"),
        );
        PasswordFile::parse(&contents).unwrap().0
    }

    fn login(user: &str, password: &str) -> Result<ScramIdentity, ScramError> {
        let (client, first) = ScramClient::start(user, password.as_bytes(), [1; 18])?;
        let (server, challenge) = ScramServer::start(&file(), &first, [2; 18])?;
        let (proof, last) = client.answer(&challenge)?;
        let (identity, answer) = server.finish(&last)?;
        proof.finish(&answer)?;
        Ok(identity)
    }

    #[test]
    fn both_machines_agree_on_who_may_come_in() {
        let who = |user, password| login(user, password).map(|identity| identity.username);
        assert_eq!(who("ann", "pw of ann").unwrap(), "ann");
        assert_eq!(who("b,o=b", "ï").unwrap(), "b,o=b");
        assert_eq!(who("b,o=b", "i\u{308}").unwrap(), "b,o=b", "prepared alike");
        assert_eq!(who("mu\u{308}ller", "m").unwrap(), "müller", "names too");
        assert_eq!(who("ann", "pw of Ann"), Err(ScramError::WrongPassword("ann".into())));
        assert_eq!(who("eve", "pw of ann"), Err(ScramError::UnknownUser("eve".into())));
        let error = who("old", "old").unwrap_err();
        assert_eq!(error, ScramError::NoScramEntry("old".into()));
        assert!(error.to_string().contains("mqtt-passwd -H scram-sha-256"), "{error}");
        assert_eq!(who("ann", "\u{7}"), Err(ScramError::NotPreparable));
    }

    #[test]
    fn names_survive_their_encoding() {
        for name in ["a", "a,b", "a=b", "=2C", ",=,=", "é"] {
            assert_eq!(decode_name(&encode_name(name)).unwrap(), name);
        }
        for wrong in ["", "a=", "a=2", "a=2c", "a=41"] {
            assert_eq!(decode_name(wrong), Err(ScramError::Malformed("user name")), "{wrong}");
        }
    }

    /// Whatever is changed in whichever message, nobody comes in and nothing panics.
    #[test]
    fn a_changed_message_never_ends_in_a_login() {
        let seed = 0x5c4a_0256_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let file = file();
        for round in 0..600 {
            let which = round % 4;
            let mut change = |number: u64, message: &mut Vec<u8>| {
                if number == which {
                    let at = random.usize(..message.len());
                    let byte = b"=,anry\xff\0Z"[random.usize(..9)];
                    match random.u8(..3) {
                        0 if message[at] != byte => message[at] = byte,
                        1 => message.truncate(at),
                        _ => message.insert(at, byte),
                    }
                }
            };
            let mut exchange = || -> Result<ScramIdentity, ScramError> {
                let (client, mut first) = ScramClient::start("ann", b"pw of ann", [1; 18])?;
                change(0, &mut first);
                let (server, mut challenge) = ScramServer::start(&file, &first, [2; 18])?;
                change(1, &mut challenge);
                let (proof, mut last) = client.answer(&challenge)?;
                change(2, &mut last);
                let (identity, mut answer) = server.finish(&last)?;
                change(3, &mut answer);
                proof.finish(&answer)?;
                Ok(identity)
            };
            let end = exchange();
            assert!(end.is_err(), "seed {seed:#x} round {round}: {end:?}");
        }
    }
}
