//! Requests and their answers: connect, subscribe to the answers, publish, wait.

use std::time::Duration;

use mqtt_client::{Client, ConnectError, Event, Incoming, Publish, QoS, ReasonCode, Version};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Endpoint;
use super::args::CtrlCli;
use super::prompt;
use crate::args::Persona;
use crate::debug;
use crate::exit::{Exit, Failure, capitalised};

/// How long the broker may take for its answer in all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long, once it has acknowledged the command. Mosquitto's plugin answers before it
/// acknowledges; in 3.x nothing else tells that nobody listens to commands.
const ANSWER_AFTER_ACK: Duration = Duration::from_secs(3);

/// A connection for commands.
pub(super) struct Session {
    client: Client,
    incoming: Incoming,
    qos: QoS,
    /// Topics of answers that are subscribed to.
    subscribed: Vec<String>,
}

/// Sends the command and waits for what the broker says about it.
///
/// # Errors
/// The broker can't be reached, does not let us in, or has no such endpoint.
pub async fn exchange(
    cli: &CtrlCli,
    persona: &Persona,
    endpoint: Endpoint,
    command: &Value,
) -> Result<Vec<u8>, Failure> {
    let stop = crate::run::stop_signal()?;
    let mut session = Session::open(cli, persona, false).await?;
    let answer = tokio::select! {
        answer = session.ask(endpoint, command) => answer,
        () = stop => Err(Failure::new("Error: interrupted before the broker answered.")),
    };
    session.close().await;
    answer
}

impl Session {
    /// Connects. A session that stays comes back after a lost connection.
    pub(super) async fn open(
        cli: &CtrlCli,
        persona: &Persona,
        stays: bool,
    ) -> Result<Self, Failure> {
        let version = cli.connection.protocol_version.unwrap_or(Version::V5);
        let mut options = cli.connection.options(persona, &cli.tls, &cli.secret, version)?;
        let lacks_password = options.password.is_none() && options.authentication.is_none();
        if let Some(user) = options.username.as_deref().filter(|_| lacks_password) {
            options.password = Some(prompt::password(user)?.into());
        }
        if !stays {
            options.reconnect = None;
        }
        if cli.general.debug {
            options.trace = Some(debug::trace(&options.client_id));
        }
        let connected = Client::connect(options).await;
        let (client, incoming) = connected.map_err(|error| not_connected(&error, persona))?;
        Ok(Self { client, incoming, qos: cli.qos, subscribed: Vec::new() })
    }

    pub(super) async fn close(self) {
        self.client.disconnect().await;
    }

    /// One command and its answer.
    pub(super) async fn ask(
        &mut self,
        endpoint: Endpoint,
        command: &Value,
    ) -> Result<Vec<u8>, Failure> {
        // What came too late for an earlier command is no answer to this one.
        while self.incoming.try_next().is_some() {}
        let answers = format!("{}/response", endpoint.topic);
        let work = async {
            if !self.subscribed.contains(&answers) {
                subscribe(&self.client, &answers).await?;
                self.subscribed.push(answers.clone());
            }
            ask(&self.client, &mut self.incoming, self.qos, endpoint, &answers, command).await
        };
        timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(absent(endpoint)))
    }
}

async fn subscribe(client: &Client, answers: &str) -> Result<(), Failure> {
    let granted = client.subscribe(answers, QoS::AtLeastOnce).await;
    let granted = granted.map_err(|error| Failure::request(&error))?;
    if let [code @ 0x80..=0xFF] = granted.reason_codes.as_slice() {
        let reason = ReasonCode::from_u8(*code).filter(|it| *it != ReasonCode::UnspecifiedError);
        let text = match reason {
            Some(reason) => capitalised(reason.text()),
            None => "Subscription refused.".to_owned(),
        };
        return Err(Failure::new(format!("Subscribe error: {text}")));
    }
    Ok(())
}

async fn ask(
    client: &Client,
    incoming: &mut Incoming,
    qos: QoS,
    endpoint: Endpoint,
    answers: &str,
    command: &Value,
) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::request(&error);
    let payload = json!({ "commands": [command] }).to_string();
    let publish = Publish::new(endpoint.topic, payload).qos(qos);
    let delivery = client.publish(publish).await.map_err(failed)?;
    let mut delivery = std::pin::pin!(delivery);
    let mut is_delivered = false;
    let mut last_moment = std::pin::pin!(sleep(ANSWER_TIMEOUT));
    loop {
        tokio::select! {
            biased;
            event = incoming.next() => match event {
                Some(Event::Message(message)) if message.topic() == answers => {
                    return Ok(message.payload().to_vec());
                }
                Some(Event::Disconnected { lost, retry_in: None }) => {
                    let text = format!("Error: The connection was lost: {lost}");
                    return Err(Failure { text, exit: Exit::ConnectionLost });
                }
                Some(_) => {}
                None => return Err(Failure::request(&mqtt_client::RequestError::Closed)),
            },
            delivered = &mut delivery, if !is_delivered => {
                is_delivered = true;
                if qos > QoS::AtMostOnce {
                    last_moment.as_mut().reset(Instant::now() + ANSWER_AFTER_ACK);
                }
                match delivered.map_err(failed)?.reason {
                    // Somebody who listens to commands would have been told of it.
                    ReasonCode::NoMatchingSubscribers => return Err(absent(endpoint)),
                    reason if reason.is_error() => {
                        let text = capitalised(reason.text());
                        return Err(Failure::new(format!("Publish error: {text}")));
                    }
                    _ => {}
                }
            }
            () = &mut last_moment => return Err(absent(endpoint)),
        }
    }
}

fn absent(endpoint: Endpoint) -> Failure {
    Failure::new(format!(
        "Error: the broker does not answer on {}: it has no {}. It has it with the line \"{}\" in \
         its configuration.",
        endpoint.topic,
        endpoint.name,
        match endpoint.topic {
            "$CONTROL/broker/v1" => "enable_control_api true",
            _ => "plugin /usr/lib/…/mosquitto_dynamic_security.so",
        }
    ))
}

fn not_connected(error: &ConnectError, persona: &Persona) -> Failure {
    let mut failure = Failure::connect(error, persona);
    failure.exit = match error {
        ConnectError::Tcp(mqtt_net::tcp::ConnectError::Resolve { .. }) => Exit::NoHost,
        ConnectError::Tcp(_) => Exit::NoConnection,
        ConnectError::Refused(_) => Exit::Failure,
        _ => failure.exit,
    };
    failure
}
