//! Authenticating again on an open connection (MQTT 5.0 section 4.12.1): AUTH 0x19, the exchange,
//! and who waits for its end. Other packets flow meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use mqtt_proto::packet::Auth;
use mqtt_proto::{Packet, PropertiesBuf, ReasonCode};

use super::Driver;
use crate::authentication::{self, AuthenticationError, AuthenticationExchange, data_of, push_to};
use crate::client::AuthReply;
use crate::error::{Lost, RequestError};
use crate::link::Link;

/// An exchange under way.
pub(super) struct Reauthentication {
    stage: Stage,
    reply: AuthReply,
}

type Answered = (Box<dyn AuthenticationExchange>, Result<Vec<u8>, AuthenticationError>);

enum Stage {
    /// The Server has the word.
    Waiting(Box<dyn AuthenticationExchange>),
    /// The method works on its answer.
    Working(Pin<Box<dyn Future<Output = Answered> + Send>>),
    /// It has one.
    Answered(Answered),
    /// Nobody has the word: between two stages only.
    Moving,
}

impl Driver {
    /// Begins an exchange; one at a time.
    pub(super) fn send_reauthenticate(&mut self, link: &mut Link, reply: AuthReply, now: u64) {
        let refused = |text: &str| RequestError::Authentication(AuthenticationError(text.into()));
        let begun = match &self.options.authentication {
            None => Err(refused("no authentication method is set in the options")),
            Some(_) if self.reauthentication.is_some() => Err(refused("an exchange is under way")),
            Some(method) => method.begin().map_err(RequestError::Authentication),
        };
        let sent = begun.and_then(|(exchange, data)| {
            self.send_auth(link, ReasonCode::ReAuthenticate, data.as_deref(), now)?;
            Ok(exchange)
        });
        match sent {
            Ok(exchange) => {
                let stage = Stage::Waiting(exchange);
                self.reauthentication = Some(Reauthentication { stage, reply });
            }
            // Whoever asked may have gone.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn send_auth(
        &self,
        link: &mut Link,
        reason: ReasonCode,
        data: Option<&[u8]>,
        now: u64,
    ) -> Result<(), RequestError> {
        let method = self.options.authentication.as_ref().map_or("", |method| method.name());
        let mut properties = PropertiesBuf::new();
        push_to(&mut properties, method, data)?;
        link.send(&Packet::Auth(Auth { reason, properties: properties.as_properties() }), now)
    }

    /// An AUTH of the Server.
    pub(super) fn receive_auth(&mut self, auth: &Auth<'_>) -> Result<(), Lost> {
        let method = self.options.authentication.as_ref().map_or("", |method| method.name());
        let data = data_of(auth.properties, method).map_err(Lost::Protocol)?;
        let Some(Reauthentication { stage, reply }) = self.reauthentication.take() else {
            return Ok(());
        };
        let Stage::Waiting(mut exchange) = stage else { return Ok(()) };
        if auth.reason == ReasonCode::ContinueAuthentication {
            let stage = Stage::Working(Box::pin(authentication::answer(exchange, data)));
            self.reauthentication = Some(Reauthentication { stage, reply });
            return Ok(());
        }
        let end = exchange.finish(data.as_deref());
        let _ = reply.send(end.clone().map_err(RequestError::Authentication));
        end.map_err(Lost::Authentication)
    }

    /// Ready when the method has its answer.
    pub(super) fn poll_authentication(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.reauthentication else { return Poll::Pending };
        let Stage::Working(work) = &mut running.stage else { return Poll::Pending };
        let answered = std::task::ready!(work.as_mut().poll(cx));
        running.stage = Stage::Answered(answered);
        Poll::Ready(())
    }

    /// Sends the answer when there is one.
    pub(super) fn go_on_authenticating(&mut self, link: &mut Link, now: u64) -> Result<(), Lost> {
        let Some(running) = &mut self.reauthentication else { return Ok(()) };
        let (exchange, answer) = match std::mem::replace(&mut running.stage, Stage::Moving) {
            Stage::Answered(answered) => answered,
            other => {
                running.stage = other;
                return Ok(());
            }
        };
        running.stage = Stage::Waiting(exchange);
        let failed = match answer {
            Ok(data) => {
                let reason = ReasonCode::ContinueAuthentication;
                match self.send_auth(link, reason, Some(&data), now) {
                    Ok(()) => return Ok(()),
                    Err(error) => AuthenticationError(error.to_string()),
                }
            }
            Err(error) => error,
        };
        if let Some(running) = self.reauthentication.take() {
            let _ = running.reply.send(Err(RequestError::Authentication(failed.clone())));
        }
        Err(Lost::Authentication(failed))
    }

    /// The connection is gone, and the exchange with it.
    pub(super) fn forget_authentication(&mut self) {
        if let Some(running) = self.reauthentication.take() {
            let _ = running.reply.send(Err(RequestError::Lost));
        }
    }
}
