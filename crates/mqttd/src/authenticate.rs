//! Enhanced authentication (MQTT 5.0 section 4.12): SCRAM-SHA-256 against a listener's password
//! file. One exchange as a value, for the lobby; and the task that goes on with the exchanges of
//! open connections, so that no shard hashes. The words of SCRAM itself are in `mqtt-auth`.

use std::sync::Arc;

use mqtt_auth::{PasswordFile, SCRAM_SHA_256, ScramError, ScramNonce, ScramServer};
use mqttd_conf::LogType;
use mqttd_core::ids::{ConnectionKey, ListenerId, ShardId};
use tokio::sync::mpsc;

use crate::mailbox::Item;
use crate::run::Broker;

/// An exchange in which it is the Client's turn.
pub(crate) struct Exchange {
    passwords: Arc<PasswordFile>,
    stage: Stage,
}

enum Stage {
    /// Nothing was said; data may come with CONNECT or be asked for.
    Opening,
    /// The Client was asked for its first message.
    First,
    /// The Client has been challenged.
    Challenged(ScramServer),
}

/// What an exchange has come to.
pub(crate) enum Step {
    /// The Client is to be sent this (empty: nothing but the method).
    Continue(Exchange, Vec<u8>),
    /// The Client is this user and is to be sent this.
    Accepted(String, Vec<u8>),
    /// The Client is told 0x87 and no more; the reason is for the log.
    Refused(ScramError),
}

/// A step of a Client that authenticates again, on its way off the shard.
pub(crate) struct Request {
    pub(crate) shard: ShardId,
    pub(crate) connection: ConnectionKey,
    /// Tells the connection from a later one with the same key.
    pub(crate) serial: u64,
    pub(crate) listener: ListenerId,
    /// The user of the connection, who must stay the same.
    pub(crate) username: Option<Box<str>>,
    /// `None` begins a new exchange.
    pub(crate) exchange: Option<Exchange>,
    pub(crate) data: Option<Vec<u8>>,
}

/// The way to [`serve`]. Each connection has at most one request on it: it is the Server's turn.
pub(crate) type Requests = mpsc::UnboundedSender<Request>;

/// The answer, on its way back.
pub(crate) struct Answer {
    pub(crate) connection: ConnectionKey,
    pub(crate) serial: u64,
    pub(crate) step: Step,
}

impl Exchange {
    /// Begins an exchange; `None` when the method is not offered here [MQTT-4.12.0-1].
    pub(crate) fn begin(method: &str, passwords: Option<&Arc<PasswordFile>>) -> Option<Self> {
        let passwords = passwords.filter(|_| method == SCRAM_SHA_256)?;
        Some(Self { passwords: Arc::clone(passwords), stage: Stage::Opening })
    }

    /// Takes what the Client has said. Hashes a little: not on a shard.
    pub(crate) fn step(self, data: Option<&[u8]>) -> Step {
        let passwords = self.passwords;
        let stage = match (self.stage, data) {
            (Stage::Opening, None) => Ok((Stage::First, Vec::new())),
            (Stage::Opening | Stage::First, Some(data)) => {
                let mut nonce = ScramNonce::default();
                getrandom::fill(&mut nonce).expect("the system has random bytes after start");
                ScramServer::start(&passwords, data, nonce)
                    .map(|(scram, challenge)| (Stage::Challenged(scram), challenge))
            }
            (Stage::Challenged(scram), Some(data)) => match scram.finish(data) {
                Ok((identity, last)) => return Step::Accepted(identity.username, last),
                Err(error) => Err(error),
            },
            (Stage::First | Stage::Challenged(_), None) => {
                Err(ScramError::Malformed("no authentication data"))
            }
        };
        match stage {
            Ok((stage, said)) => Step::Continue(Self { passwords, stage }, said),
            Err(error) => Step::Refused(error),
        }
    }
}

/// Works on the steps of open connections until the broker ends. Each is a task of its own, so that
/// none waits for another.
pub(crate) async fn serve(broker: Arc<Broker>, mut requests: mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move {
            let (connection, serial) = (request.connection, request.serial);
            let shard = usize::from(request.shard.0);
            let step = take_step(&broker, request).await;
            let answer = Box::new(Answer { connection, serial, step });
            broker.mailboxes[shard].send(Item::Authenticated(answer));
        });
    }
}

async fn take_step(broker: &Broker, request: Request) -> Step {
    let exchange = request.exchange.or_else(|| {
        let live = broker.live();
        let door = live.door(request.listener)?;
        Exchange::begin(SCRAM_SHA_256, door.passwords.as_ref())
    });
    let step = match exchange {
        Some(exchange) => broker.verifier.step(exchange, request.data).await,
        // A reload has taken the password file away.
        None => Step::Refused(ScramError::Malformed("the method is not offered any more")),
    };
    match step {
        // The session and its rights belong to a user; nobody else can take them over this way.
        Step::Accepted(username, _) if request.username.as_deref() != Some(&*username) => {
            Step::Refused(ScramError::AuthorizationIdentity)
        }
        step => step,
    }
    .logged(broker)
}

impl Step {
    /// Says why a step of an open connection is refused; the disconnect has its own line.
    fn logged(self, broker: &Broker) -> Self {
        if let Self::Refused(error) = &self {
            broker
                .logger
                .line(LogType::Notice, format_args!("Re-authentication refused: {error}."));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_auth::{PasswordHash, Scheme, ScramClient};

    fn passwords() -> Arc<PasswordFile> {
        let scheme = Scheme::ScramSha256 { iterations: 4096 };
        let hash = PasswordHash::create(scheme, b"pw", b"salt").unwrap();
        Arc::new(PasswordFile::parse(&format!("ann:{hash}\n")).unwrap().0)
    }

    fn begun() -> Exchange {
        Exchange::begin("SCRAM-SHA-256", Some(&passwords())).unwrap()
    }

    #[test]
    fn only_scram_and_only_with_a_password_file() {
        assert!(Exchange::begin("SCRAM-SHA-1", Some(&passwords())).is_none());
        assert!(Exchange::begin("scram-sha-256", Some(&passwords())).is_none());
        assert!(Exchange::begin("SCRAM-SHA-256", None).is_none());
    }

    /// With the first message in CONNECT, and asked for.
    #[test]
    fn a_client_logs_in_in_two_or_three_steps() {
        for is_asked in [false, true] {
            let mut exchange = begun();
            if is_asked {
                let Step::Continue(next, said) = exchange.step(None) else { panic!() };
                assert!(said.is_empty());
                exchange = next;
            }
            let (client, first) = ScramClient::start("ann", b"pw", [1; 18]).unwrap();
            let Step::Continue(exchange, challenge) = exchange.step(Some(&first)) else { panic!() };
            let (proof, last) = client.answer(&challenge).unwrap();
            let Step::Accepted(user, answer) = exchange.step(Some(&last)) else { panic!() };
            assert_eq!(user, "ann");
            proof.finish(&answer).unwrap();
        }
    }

    #[test]
    fn an_exchange_ends_at_the_first_mistake() {
        let Step::Continue(asked, _) = begun().step(None) else { panic!() };
        assert!(matches!(asked.step(None), Step::Refused(_)), "asked once only");
        assert!(matches!(begun().step(Some(b"")), Step::Refused(_)));
        let (_, first) = ScramClient::start("ann", b"pw", [1; 18]).unwrap();
        for last in [None, Some(&b"c=biws"[..]), Some(&first[..])] {
            let Step::Continue(exchange, _) = begun().step(Some(&first)) else { panic!() };
            assert!(matches!(exchange.step(last), Step::Refused(_)), "{last:?}");
        }
    }
}
