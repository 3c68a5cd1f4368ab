//! `mqtt-rr`: subscribes to the response topic, publishes the request, prints the first response.

use std::time::Duration;

use mqtt_client::{
    Client, Event, Incoming, Message, PropertyId, Publish, ReasonCode, Subscription, Value, Version,
};
use tokio::time::{Instant, sleep_until};

use crate::args::property::{self, Packet};
use crate::args::{Persona, RrCli};
use crate::debug;
use crate::exit::{Exit, Failure};
use crate::print::Printer;
use crate::print::say;
use crate::publish::payload_bytes;
use crate::subscribe::subscription_options;

/// Runs the tool.
///
/// # Errors
/// What to say, and the exit code.
pub async fn run(cli: RrCli, persona: Persona) -> Result<Exit, Failure> {
    let (topic, response_topic) = check(&cli, &persona)?;
    let mut printer = Printer::new(&cli.output, &persona, cli.general.quiet)
        .map_err(|text| Failure::usage(&persona, &text))?;
    let mut options =
        cli.session.options(&cli.connection, &persona, &cli.tls, &cli.secret, Version::V5)?;
    options.reconnect = None;
    if cli.general.debug {
        options.trace = Some(debug::trace(&options.client_id));
    }
    let collect = |packet| {
        property::collect(&cli.session.property, packet)
            .map_err(|text| Failure::new(format!("Error: {text}")))
    };
    let mut request = Publish::new(topic, payload_bytes(&cli.payload)?).qos(cli.session.qos);
    request.properties = collect(Packet::Publish)?;
    if options.version == Version::V5 {
        let pushed =
            request.properties.push(PropertyId::ResponseTopic, Value::Text(&response_topic));
        pushed.map_err(|error| Failure::new(format!("Error: -e: {error}")))?;
    }
    let each = subscription_options(cli.session.qos, &cli.subscription);
    let filters = vec![(response_topic, each)];
    let subscription = Subscription { filters, properties: collect(Packet::Subscribe)? };
    let goodbye = collect(Packet::Disconnect)?;
    let deadline = cli.subscription.timeout.map(|timeout| Instant::now() + timeout);

    let exchange = async {
        let connected = Client::connect(options).await;
        let (client, incoming) = connected.map_err(|error| Failure::connect(&error, &persona))?;
        let skips_retained = cli.subscription.skip_retained;
        let answered =
            exchange(&client, incoming, subscription, request, skips_retained, &persona).await;
        client.disconnect_with(ReasonCode::Success, goodbye).await;
        answered
    };
    let stop = crate::run::stop_signal()?;
    let (response, took) = tokio::select! {
        answered = exchange => answered?,
        () = stop => return Ok(Exit::Success),
        () = until(deadline) => {
            return Err(Failure { text: "Timed out".to_owned(), exit: Exit::TimedOut });
        }
    };
    let failed = |error| Failure::new(format!("Error: stdout: {error}"));
    printer.print(&response).map_err(failed)?;
    printer.flush().map_err(failed)?;
    if cli.request.latency {
        say!("{:.6}", took.as_secs_f64());
    }
    Ok(Exit::Success)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Topic and response topic.
fn check(cli: &RrCli, persona: &Persona) -> Result<(String, String), Failure> {
    let name = &persona.name;
    let usage = |text: &str| Failure::usage(persona, text);
    cli.session.check(&cli.connection, &cli.tls).map_err(|text| usage(&text))?;
    if cli.payload.count() > 1 {
        return Err(usage("Only one type of message can be sent at once.\n"));
    }
    match (&cli.payload.topic, &cli.request.response_topic) {
        (Some(topic), Some(response)) if cli.payload.count() == 1 => {
            Ok((topic.clone(), response.clone()))
        }
        _ if persona.is_mosquitto => {
            Err(usage("All of topic, message, and response topic must be supplied."))
        }
        _ => Err(Failure::new(format!(
            "Error: a request needs a topic (-t), a response topic (-e) and a message (-m), for \
             example {name} -t lamp/get -e lamp/answer -m state"
        ))),
    }
}

async fn exchange(
    client: &Client,
    mut incoming: Incoming,
    subscription: Subscription,
    request: Publish,
    skips_retained: bool,
    persona: &Persona,
) -> Result<(Message, Duration), Failure> {
    let failed = |error| Failure::request(&error);
    let answer = client.subscribe_all(subscription).await.map_err(failed)?;
    if answer.reason_codes.iter().all(|code| *code >= 0x80) {
        return Err(Failure::new("All subscription requests were denied."));
    }
    let began = Instant::now();
    let delivery = client.publish(request).await.map_err(failed)?;
    let mut delivery = std::pin::pin!(delivery);
    let mut is_delivered = false;
    loop {
        tokio::select! {
            delivered = &mut delivery, if !is_delivered => {
                is_delivered = true;
                let acknowledged = delivered.map_err(failed)?;
                if acknowledged.reason.is_error() {
                    let reason = acknowledged.reason;
                    return Err(Failure::new(format!("Error: the request was refused: {reason}.")));
                }
            }
            event = incoming.next() => match event {
                Some(Event::Message(message)) if !(message.retain() && skips_retained) => {
                    return Ok((message, began.elapsed()));
                }
                Some(Event::Disconnected { lost, retry_in: None }) => {
                    let text = match persona.is_mosquitto {
                        true => "Error: The connection was lost.".to_owned(),
                        false => format!("Error: The connection was lost: {lost}"),
                    };
                    return Err(Failure { text, exit: Exit::ConnectionLost });
                }
                Some(_) => {}
                None => return Err(Failure::request(&mqtt_client::RequestError::Closed)),
            }
        }
    }
}
