//! The server's side of SCRAM-SHA-256: the client's first message with a password file in, who it
//! is and the proof that we know them too out. It computes a few HMACs, no slow hash.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ScramError, ScramNonce, check_nonce, decode_key, decode_name, text_of, value, xor};
use crate::hash::is_equal;
use crate::hash::scram_sha256::{Key, hmac, prepare, sha256};
use crate::password_file::{PasswordFile, ScramStanding};

/// An exchange in which the client's proof is still to come.
pub struct ScramServer {
    username: String,
    standing: ScramStanding,
    stored_key: Key,
    server_key: Key,
    /// `n,,` or its like, which the client repeats in its last message.
    header: String,
    /// The client's nonce and ours.
    nonce: String,
    /// What is signed, up to the client's last message.
    said: String,
}

/// Who has proved to know a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramIdentity {
    /// The user name, prepared as the password file has it.
    pub username: String,
}

impl ScramServer {
    /// Takes the client's first message and returns the challenge. An unknown user gets one too,
    /// with a salt that stays the same from try to try, so that names can't be found out.
    ///
    /// # Errors
    /// The message is wrong, or asks for what is not supported.
    pub fn start(
        passwords: &PasswordFile,
        client_first: &[u8],
        nonce: ScramNonce,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        Self::start_with(passwords, client_first, &STANDARD.encode(nonce))
    }

    fn start_with(
        passwords: &PasswordFile,
        client_first: &[u8],
        nonce: &str,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let first = text_of(client_first)?;
        let (flag, rest) = first.split_once(',').ok_or(ScramError::Malformed("header"))?;
        match flag {
            // "y": the client could bind the channel and sees that we can't, which is true.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed("header")),
        }
        let (acts_as, bare) = rest.split_once(',').ok_or(ScramError::Malformed("header"))?;
        let mut parts = bare.split(',');
        let name = parts.next();
        if name.is_some_and(|part| part.starts_with("m=")) {
            return Err(ScramError::Extension);
        }
        let name = value(name, "n=")?;
        let client_nonce = check_nonce(value(parts.next(), "r=")?)?;
        if !acts_as.is_empty() && value(Some(acts_as), "a=")? != name {
            return Err(ScramError::AuthorizationIdentity);
        }
        let name = decode_name(name)?;
        let username = prepare(&name).ok_or(ScramError::NotPreparable)?.into_owned();
        let (keys, standing) = passwords.scram(&username);
        let nonce = format!("{client_nonce}{nonce}");
        let salt = STANDARD.encode(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}", keys.iterations);
        let server = Self {
            username,
            standing,
            stored_key: keys.stored_key,
            server_key: keys.server_key,
            header: first.strip_suffix(bare).unwrap_or_default().to_owned(),
            nonce,
            said: format!("{bare},{challenge}"),
        };
        Ok((server, challenge.into_bytes()))
    }

    /// The name the client goes by; nothing is proved yet.
    #[must_use]
    pub fn claimed_username(&self) -> &str {
        &self.username
    }

    /// Takes the client's last message and returns who it is with the last message to it.
    ///
    /// # Errors
    /// The message is wrong or proves nothing. The three kinds of refusal
    /// ([`ScramError::WrongPassword`], [`ScramError::UnknownUser`], [`ScramError::NoScramEntry`])
    /// must look the same to the client.
    pub fn finish(self, client_final: &[u8]) -> Result<(ScramIdentity, Vec<u8>), ScramError> {
        let last = text_of(client_final)?;
        let (unproved, proof) = last.rsplit_once(",p=").ok_or(ScramError::Malformed("p="))?;
        let mut parts = unproved.split(',');
        let header = STANDARD.decode(value(parts.next(), "c=")?);
        if header.as_deref() != Ok(self.header.as_bytes()) {
            return Err(ScramError::Malformed("c="));
        }
        if !is_equal(value(parts.next(), "r=")?.as_bytes(), self.nonce.as_bytes()) {
            return Err(ScramError::Nonce);
        }
        let proof = decode_key(proof, "p=")?;
        let said = [self.said.as_bytes(), b",", unproved.as_bytes()];
        let client_key = xor(proof, &hmac(&self.stored_key, &said));
        let is_proved = is_equal(&sha256(&client_key), &self.stored_key);
        match self.standing {
            ScramStanding::Known if is_proved => {
                let signature = STANDARD.encode(hmac(&self.server_key, &said));
                let identity = ScramIdentity { username: self.username };
                Ok((identity, format!("v={signature}").into_bytes()))
            }
            ScramStanding::Known => Err(ScramError::WrongPassword(self.username)),
            ScramStanding::Unknown => Err(ScramError::UnknownUser(self.username)),
            ScramStanding::OtherScheme => Err(ScramError::NoScramEntry(self.username)),
        }
    }
}

/// Shows the name only: keys do not belong in a log.
impl fmt::Debug for ScramServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramServer").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 section 3; the entry's keys stand in `hash/scram_sha256.rs`.
    const ENTRY: &str = "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OUR_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn start(first: &str) -> Result<(ScramServer, Vec<u8>), ScramError> {
        let (file, _) = PasswordFile::parse(ENTRY).unwrap();
        ScramServer::start_with(&file, first.as_bytes(), OUR_NONCE)
    }

    #[test]
    fn plays_the_exchange_of_the_rfc() {
        let (server, challenge) = start(FIRST).unwrap();
        assert_eq!(
            String::from_utf8(challenge).unwrap(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        assert_eq!(server.claimed_username(), "user");
        assert_eq!(format!("{server:?}"), "ScramServer { username: \"user\", .. }");
        let (identity, answer) = server.finish(LAST.as_bytes()).unwrap();
        assert_eq!(identity.username, "user");
        assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn first_messages_as_the_grammar_has_them() {
        use ScramError::{AuthorizationIdentity, ChannelBinding, Extension, Malformed};
        for (first, end) in [
            ("y,,n=user,r=x", Ok(())),
            ("n,a=user,n=user,r=x", Ok(())),
            ("n,,n=user,r=x,z=optional", Ok(())),
            ("n,a=root,n=user,r=x", Err(AuthorizationIdentity)),
            ("p=tls-unique,,n=user,r=x", Err(ChannelBinding)),
            ("n,,m=must,n=user,r=x", Err(Extension)),
            ("", Err(Malformed("header"))),
            ("n", Err(Malformed("header"))),
            ("n,", Err(Malformed("header"))),
            ("z,,n=user,r=x", Err(Malformed("header"))),
            ("n,,", Err(Malformed("n="))),
            ("n,,r=x,n=user", Err(Malformed("n="))),
            ("n,,n=user", Err(Malformed("r="))),
            ("n,,n=,r=x", Err(Malformed("user name"))),
            ("n,,n=user,r=", Err(Malformed("nonce"))),
            ("n,,n=user,r=a b", Err(Malformed("nonce"))),
            ("n,,n=us\u{7}er,r=x", Err(ScramError::NotPreparable)),
        ] {
            assert_eq!(start(first).map(|_| ()), end, "{first}");
        }
        let (file, _) = PasswordFile::parse(ENTRY).unwrap();
        assert!(ScramServer::start(&file, b"n,,n=\xff,r=x", [0; 18]).is_err());
    }

    #[test]
    fn last_messages_as_the_grammar_has_them() {
        let nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        for (last, error) in [
            (format!("c=eSws,{nonce},{proof}"), ScramError::Malformed("c=")),
            (format!("c=,{nonce},{proof}"), ScramError::Malformed("c=")),
            (format!("{nonce},{proof}"), ScramError::Malformed("c=")),
            (format!("c=biws,r=other,{proof}"), ScramError::Nonce),
            (format!("c=biws,{proof}"), ScramError::Malformed("r=")),
            (format!("c=biws,{nonce}"), ScramError::Malformed("p=")),
            (format!("c=biws,{nonce},p=AAAA"), ScramError::Malformed("p=")),
            (format!("c=biws,{nonce},x=1,{proof}"), ScramError::WrongPassword("user".into())),
            (format!("c=biws,{nonce}0,{proof}"), ScramError::Nonce),
        ] {
            let (server, _) = start(FIRST).unwrap();
            let end = server.finish(last.as_bytes());
            assert_eq!(end, Err(error), "{last}");
        }
        let (server, _) = start("y,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let bound = server.finish(LAST.as_bytes());
        assert_eq!(bound, Err(ScramError::Malformed("c=")), "the header is part of the proof");
    }

    #[test]
    fn an_unknown_user_is_challenged_like_a_known_one() {
        let challenge = |user: &str| {
            let (_, challenge) = start(&format!("n,,n={user},r=x")).unwrap();
            String::from_utf8(challenge).unwrap()
        };
        let (known, eve, mallory) = (challenge("user"), challenge("eve"), challenge("mallory"));
        assert_eq!(eve, challenge("eve"), "the same salt each time");
        assert_ne!(eve, mallory);
        assert_eq!(eve.len(), known.len());
        assert!(eve.ends_with(",i=4096"), "{eve}");
    }
}
