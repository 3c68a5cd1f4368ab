//! Enhanced authentication (MQTT 5.0 section 4.12): what a method has to be able to, and
//! SCRAM-SHA-256 ready for use. Methods see no packet and no socket; `link.rs` and
//! `driver/authenticate.rs` carry their data.

use std::fmt;

use mqtt_auth::{SCRAM_SHA_256, ScramClient, ScramError, ScramNonce, ScramProof};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{EncodeError, Offence, Properties, PropertiesBuf};

/// An exchange that has begun, and the first data to go out, if any.
pub type Begun = (Box<dyn AuthenticationExchange>, Option<Vec<u8>>);

/// A way to prove who we are. One value serves any number of exchanges, one after the other.
pub trait AuthenticationMethod: Send + Sync {
    /// The Authentication Method as CONNECT names it.
    fn name(&self) -> &str;

    /// Begins an exchange. The data goes out with CONNECT, or with AUTH 0x19 later.
    ///
    /// # Errors
    /// What is wrong with the credentials.
    fn begin(&self) -> Result<Begun, AuthenticationError>;
}

/// One exchange, in which the Server has the next word.
pub trait AuthenticationExchange: Send {
    /// Answers an AUTH of the Server. May be slow: it is called where that holds nobody up.
    ///
    /// # Errors
    /// Why there is no going on; the connection is closed.
    fn answer(&mut self, data: Option<&[u8]>) -> Result<Vec<u8>, AuthenticationError>;

    /// The Server has accepted; looks at what it says about itself.
    ///
    /// # Errors
    /// Why the Server is not to be believed; the connection is closed.
    fn finish(&mut self, data: Option<&[u8]>) -> Result<(), AuthenticationError>;
}

/// Why an exchange has failed on our side, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationError(pub String);

impl fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AuthenticationError {}

impl From<ScramError> for AuthenticationError {
    fn from(error: ScramError) -> Self {
        Self(error.to_string())
    }
}

/// SCRAM-SHA-256 (RFC 7677): the password never leaves this side, and the Server proves that it
/// knows it too.
#[derive(Clone)]
pub struct ScramSha256 {
    username: String,
    password: Vec<u8>,
}

impl ScramSha256 {
    /// The password is UTF-8. There is no need to give either in
    /// [`Options`](crate::Options) as well; a password there would be sent in the clear.
    pub fn new(username: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        Self { username: username.into(), password: password.into() }
    }
}

/// Where an exchange of SCRAM stands.
enum Scram {
    Begun(ScramClient),
    Proved(ScramProof),
    Over,
}

impl AuthenticationMethod for ScramSha256 {
    fn name(&self) -> &str {
        SCRAM_SHA_256
    }

    fn begin(&self) -> Result<Begun, AuthenticationError> {
        let mut nonce = ScramNonce::default();
        getrandom::fill(&mut nonce).map_err(|error| AuthenticationError(error.to_string()))?;
        let (client, first) = ScramClient::start(&self.username, &self.password, nonce)?;
        Ok((Box::new(Scram::Begun(client)), Some(first)))
    }
}

impl AuthenticationExchange for Scram {
    fn answer(&mut self, data: Option<&[u8]>) -> Result<Vec<u8>, AuthenticationError> {
        match std::mem::replace(self, Self::Over) {
            Self::Begun(client) => {
                let (proof, last) = client.answer(data.unwrap_or_default())?;
                *self = Self::Proved(proof);
                Ok(last)
            }
            Self::Proved(_) | Self::Over => Err(out_of_turn()),
        }
    }

    fn finish(&mut self, data: Option<&[u8]>) -> Result<(), AuthenticationError> {
        match std::mem::replace(self, Self::Over) {
            Self::Proved(proof) => Ok(proof.finish(data.unwrap_or_default())?),
            Self::Begun(_) | Self::Over => Err(out_of_turn()),
        }
    }
}

fn out_of_turn() -> AuthenticationError {
    AuthenticationError("the server has left the order of the SCRAM exchange".to_owned())
}

/// Hides the password.
impl fmt::Debug for ScramSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSha256").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Adds Authentication Method and Data.
pub(crate) fn push_to(
    properties: &mut PropertiesBuf,
    method: &str,
    data: Option<&[u8]>,
) -> Result<(), EncodeError> {
    properties.push(PropertyId::AuthenticationMethod, Value::Text(method))?;
    if let Some(data) = data {
        properties.push(PropertyId::AuthenticationData, Value::Binary(data))?;
    }
    Ok(())
}

/// The Authentication Data of a packet of the Server, whose method must be ours [MQTT-4.12.0-5].
pub(crate) fn data_of(
    properties: Properties<'_>,
    method: &str,
) -> Result<Option<Vec<u8>>, Offence> {
    match properties.text(PropertyId::AuthenticationMethod) {
        Some(named) if named == method => {
            Ok(properties.binary(PropertyId::AuthenticationData).map(<[u8]>::to_vec))
        }
        Some(_) => Err(Offence::AuthenticationMethodChanged),
        None => Err(Offence::AuthenticationMethodMissing),
    }
}

/// Lets the exchange answer where that may take its time.
pub(crate) async fn answer(
    mut exchange: Box<dyn AuthenticationExchange>,
    data: Option<Vec<u8>>,
) -> (Box<dyn AuthenticationExchange>, Result<Vec<u8>, AuthenticationError>) {
    let work = tokio::task::spawn_blocking(move || {
        let answer = exchange.answer(data.as_deref());
        (exchange, answer)
    });
    work.await.unwrap_or_else(|error| {
        (Box::new(Scram::Over), Err(AuthenticationError(format!("the method has failed: {error}"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_keeps_its_order_and_its_secrets() {
        let method = ScramSha256::new("ann", "pw");
        assert_eq!(format!("{method:?}"), "ScramSha256 { username: \"ann\", .. }");
        let (mut exchange, first) = method.begin().unwrap();
        assert!(first.unwrap().starts_with(b"n,,n=ann,r="));
        let (_, other) = method.begin().unwrap();
        assert_ne!(Some(&b""[..]), other.as_deref(), "each exchange has a nonce of its own");
        // A server that accepts without a challenge has proved nothing.
        assert_eq!(exchange.finish(Some(b"v=")), Err(out_of_turn()));
        let (mut exchange, _) = method.begin().unwrap();
        assert!(exchange.answer(None).is_err());
        assert_eq!(exchange.answer(None), Err(out_of_turn()));
        assert!(ScramSha256::new("ann", "\u{7}").begin().is_err());
    }
}
