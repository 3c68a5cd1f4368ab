//! One request and its answer: connect, subscribe to the answers, publish, wait.

use std::time::Duration;

use mqtt_client::{Client, ConnectError, Event, Incoming, Publish, QoS, ReasonCode, Version};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Endpoint;
use super::args::CtrlCli;
use super::prompt;
use crate::args::Persona;
use crate::debug;
use crate::exit::{Exit, Failure, capitalised};

/// How long the broker may take for its answer. Mosquitto's plugin answers before it does anything
/// else.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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
    let version = cli.connection.protocol_version.unwrap_or(Version::V5);
    let mut options = cli.connection.options(persona, &cli.tls, &cli.secret, version)?;
    if options.username.is_some() && options.password.is_none() && options.authentication.is_none()
    {
        let user = options.username.as_deref().unwrap_or_default();
        options.password = Some(prompt::password(user)?.into());
    }
    options.reconnect = None;
    if cli.general.debug {
        options.trace = Some(debug::trace(&options.client_id));
    }
    let connected = Client::connect(options).await;
    let (client, incoming) = connected.map_err(|error| not_connected(&error, persona))?;
    let work = ask(&client, incoming, cli.qos, endpoint, command);
    let stop = crate::run::stop_signal()?;
    let answer = tokio::select! {
        answer = timeout(ANSWER_TIMEOUT, work) => answer.unwrap_or_else(|_| Err(absent(endpoint))),
        () = stop => Err(Failure::new("Error: interrupted before the broker answered.")),
    };
    client.disconnect().await;
    answer
}

async fn ask(
    client: &Client,
    mut incoming: Incoming,
    qos: QoS,
    endpoint: Endpoint,
    command: &Value,
) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::request(&error);
    let answers = format!("{}/response", endpoint.topic);
    let granted = client.subscribe(answers.as_str(), QoS::AtLeastOnce).await.map_err(failed)?;
    if let [code @ 0x80..=0xFF] = granted.reason_codes.as_slice() {
        let reason = ReasonCode::from_u8(*code).filter(|it| *it != ReasonCode::UnspecifiedError);
        let text = match reason {
            Some(reason) => capitalised(reason.text()),
            None => "Subscription refused.".to_owned(),
        };
        return Err(Failure::new(format!("Subscribe error: {text}")));
    }
    let payload = json!({ "commands": [command] }).to_string();
    let publish = Publish::new(endpoint.topic, payload).qos(qos);
    let delivery = client.publish(publish).await.map_err(failed)?;
    let mut delivery = std::pin::pin!(delivery);
    let mut is_delivered = false;
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
        }
    }
}

fn absent(endpoint: Endpoint) -> Failure {
    Failure::new(format!(
        "Error: the broker does not answer on {}: it has no {}. Mosquitto has it with the line \
         \"{}\" in its configuration; mqttd has not got it yet.",
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
