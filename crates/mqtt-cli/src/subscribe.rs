//! `mqtt-sub`: subscribes, filters, prints, counts, and knows when to stop.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use mqtt_client::{
    Acknowledged, Answer, Client, Event, Incoming, Lost, Message, PropertiesBuf, Publish, QoS,
    ReasonCode, RequestError, Subscription, SubscriptionOptions, Version,
};
use mqtt_proto::topic::{TopicFilter, TopicName};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::args::property::{self, Packet};
use crate::args::subscribe::OptionArgs;
use crate::args::{Persona, SubCli};
use crate::chance::Chance;
use crate::clock::Moment;
use crate::debug;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::print::Printer;
use crate::print::tell;
use crate::rate::Rate;
use crate::watch::Screen;

/// Runs the tool.
///
/// # Errors
/// What to say, and the exit code.
pub async fn run(cli: SubCli, persona: Persona) -> Result<Exit, Failure> {
    check(&cli, &persona)?;
    let mut options =
        cli.session.options(&cli.connection, &persona, &cli.tls, &cli.secret, Version::V311)?;
    if cli.general.debug {
        options.trace = Some(debug::trace(&options.client_id));
    }
    let version = options.version;
    let mut stop = std::pin::pin!(crate::run::stop_signal()?);
    let mut reader = Reader::new(&cli, &persona)?;
    let goodbye = collect(&cli, Packet::Disconnect)?;
    let deadline = cli.subscribe.options.timeout.map(|timeout| Instant::now() + timeout);
    let opening = async {
        let connected = Client::connect(options).await;
        connected.map_err(|error| Failure::connect(&error, &persona))
    };
    let (client, incoming) = tokio::select! {
        opened = opening => opened?,
        () = &mut stop => return Ok(Exit::Success),
        () = until(deadline) => return Err(timed_out()),
    };
    reader.client = Some(client.clone());
    let result = {
        let requests = std::pin::pin!(subscribe(&cli, &client, version, persona.is_mosquitto)?);
        reader.read(incoming, requests, stop, deadline).await
    };
    // What was printed last must be seen also when the end is an error.
    let flushed = reader.finish();
    client.disconnect_with(ReasonCode::Success, goodbye).await;
    match (result, flushed) {
        (Err(failure), _) if failure.text == BROKEN_PIPE => Ok(Exit::Success),
        (Err(failure), _) => Err(failure),
        (Ok(_), Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("Error: stdout: {error}")))
        }
        (Ok(exit), _) => Ok(exit),
    }
}

/// Stands for a reader of ours that has seen enough, which is no error.
const BROKEN_PIPE: &str = "\0broken pipe";

fn timed_out() -> Failure {
    Failure { text: "Timed out".to_owned(), exit: Exit::TimedOut }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn check(cli: &SubCli, persona: &Persona) -> Result<(), Failure> {
    let name = &persona.name;
    let usage = |text: &str| Failure::usage(persona, text);
    cli.session.check(&cli.connection, &cli.tls).map_err(|text| usage(&text))?;
    let subscribe = &cli.subscribe;
    if subscribe.topic.is_empty() && subscribe.unsubscribe.is_empty() {
        return Err(match persona.is_mosquitto {
            true => usage("You must specify a topic to subscribe to."),
            false => Failure::new(format!(
                "Error: the topic is missing: say what to subscribe to with -t, for example \
                 {name} -t 'room/#' -v"
            )),
        });
    }
    if subscribe.options.skip_retained && subscribe.retained_only {
        return Err(Failure::new("\nError: Combining '-R' and '--retained-only' makes no sense."));
    }
    Ok(())
}

fn collect(cli: &SubCli, packet: Packet) -> Result<PropertiesBuf, Failure> {
    property::collect(&cli.session.property, packet)
        .map_err(|text| Failure::new(format!("Error: {text}")))
}

/// The options of each filter.
pub fn subscription_options(qos: QoS, args: &OptionArgs) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: args.retain_as_published,
        retain_handling: args.retain_handling.map(Into::into).unwrap_or_default(),
    }
}

/// Subscribes and unsubscribes; the answer to the subscription.
fn subscribe(
    cli: &SubCli,
    client: &Client,
    version: Version,
    is_mosquitto: bool,
) -> Result<impl Future<Output = Result<Option<Answer>, RequestError>> + use<>, Failure> {
    let options = &cli.subscribe.options;
    let needs_v5 = options.retain_as_published || options.retain_handling.is_some();
    // Under Mosquitto's name they are without effect before 5.0, as there.
    if needs_v5 && version != Version::V5 && !is_mosquitto {
        return Err(Failure::new(
            "Error: --retain-as-published and --retain-handling need MQTT 5.0, give -V 5.",
        ));
    }
    let each = subscription_options(cli.session.qos, options);
    let filters = cli.subscribe.topic.iter().map(|topic| (topic.clone(), each)).collect();
    let subscription = Subscription { filters, properties: collect(cli, Packet::Subscribe)? };
    let unsubscribe = cli.subscribe.unsubscribe.clone();
    let unsubscribe_properties = collect(cli, Packet::Unsubscribe)?;
    let is_debug = cli.general.debug;
    let client = client.clone();
    Ok(async move {
        let mut answer = None;
        if !subscription.filters.is_empty() {
            let subscribed = client.subscribe_all(subscription).await?;
            if is_debug {
                debug::subscribed(subscribed.packet_id, &subscribed.reason_codes);
            }
            answer = Some(subscribed);
        }
        if !unsubscribe.is_empty() {
            client.unsubscribe(unsubscribe, unsubscribe_properties).await?;
        }
        Ok(answer)
    })
}

/// What happens to each message.
struct Reader<'a> {
    cli: &'a SubCli,
    persona: &'a Persona,
    client: Option<Client>,
    printer: Printer,
    record: Option<BufWriter<File>>,
    line: Vec<u8>,
    chance: Option<Chance>,
    rate: Option<Rate>,
    screen: Option<Screen>,
    counted: u64,
    /// The connection was lost, and this was said.
    is_away: bool,
    /// Retained messages that are being cleared.
    clearing: JoinSet<Result<Acknowledged, RequestError>>,
}

/// Go on, or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    More,
    Enough,
}

impl<'a> Reader<'a> {
    fn new(cli: &'a SubCli, persona: &'a Persona) -> Result<Self, Failure> {
        let printer = Printer::new(&cli.output, persona, cli.general.quiet)
            .map_err(|text| Failure::usage(persona, &text))?;
        let record = match &cli.stream.record {
            Some(path) => Some(BufWriter::new(File::create(path).map_err(|error| {
                Failure::new(format!("Error: Unable to create \"{path}\": {error}"))
            })?)),
            None => None,
        };
        let rate = (cli.stream.message_rate || cli.stream.stats)
            .then(|| Rate::new(cli.stream.message_rate, cli.stream.stats));
        Ok(Self {
            cli,
            persona,
            client: None,
            printer,
            record,
            line: Vec::new(),
            chance: cli.subscribe.random_filter.map(Chance::percent),
            rate,
            screen: cli.stream.watch.then(Screen::new),
            counted: 0,
            is_away: false,
            clearing: JoinSet::new(),
        })
    }

    async fn read(
        &mut self,
        mut incoming: Incoming,
        mut requests: std::pin::Pin<
            &mut impl Future<Output = Result<Option<Answer>, RequestError>>,
        >,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
        deadline: Option<Instant>,
    ) -> Result<Exit, Failure> {
        let mut is_subscribed = false;
        let mut end = std::pin::pin!(until(deadline));
        loop {
            if let Some(event) = incoming.try_next() {
                if self.on_event(event)? == Next::Enough {
                    return self.settle().await;
                }
                continue;
            }
            self.flush().map_err(stdout_failed)?;
            let tick = self.rate.as_ref().map(Rate::next_tick);
            tokio::select! {
                biased;
                () = &mut stop => return self.settle().await,
                () = &mut end => return Err(timed_out()),
                answer = &mut requests, if !is_subscribed => {
                    is_subscribed = true;
                    if self.on_answer(&answer.map_err(|error| Failure::request(&error))?)?
                        == Next::Enough
                    {
                        return Ok(Exit::Success);
                    }
                }
                () = until(tick) => self.tick(),
                event = incoming.next() => match event {
                    Some(event) => {
                        if self.on_event(event)? == Next::Enough {
                            return self.settle().await;
                        }
                    }
                    None => return Err(Failure::request(&RequestError::Closed)),
                },
            }
        }
    }

    fn on_answer(&self, answer: &Option<Answer>) -> Result<Next, Failure> {
        let Some(answer) = answer else {
            // Only -U was given: there is nothing to wait for.
            return Ok(Next::Enough);
        };
        if answer.reason_codes.iter().all(|code| *code >= 0x80) {
            return Err(Failure::new("All subscription requests were denied."));
        }
        let refused = self.cli.subscribe.topic.iter().zip(&answer.reason_codes);
        for (topic, _) in refused.filter(|(_, code)| **code >= 0x80) {
            if !self.cli.general.quiet && !self.persona.is_mosquitto {
                tell!("Warning: the subscription to '{topic}' was denied.");
            }
        }
        match self.cli.watch.exit_after_subscribe {
            true => Ok(Next::Enough),
            false => Ok(Next::More),
        }
    }

    fn on_event(&mut self, event: Event) -> Result<Next, Failure> {
        let is_silent = self.cli.general.quiet || self.persona.is_mosquitto;
        match event {
            Event::Message(message) => return self.on_message(&message),
            Event::Disconnected { lost, retry_in: Some(wait) } if !is_silent => {
                self.is_away = true;
                tell!("{lost}; trying again in {:.1} s", wait.as_secs_f64());
            }
            Event::Connected(_) if std::mem::take(&mut self.is_away) => {
                tell!("connected again");
            }
            Event::Disconnected { lost: Lost::Reconnect(error), retry_in: None } => {
                return Err(Failure::connect(&error, self.persona));
            }
            Event::Disconnected { lost, retry_in: None } => {
                let text = match self.persona.is_mosquitto {
                    true => "Error: The connection was lost.".to_owned(),
                    false => format!("Error: The connection was lost: {lost}"),
                };
                return Err(Failure { text, exit: Exit::ConnectionLost });
            }
            _ => {}
        }
        Ok(Next::More)
    }

    #[inline]
    fn on_message(&mut self, message: &Message) -> Result<Next, Failure> {
        let subscribe = &self.cli.subscribe;
        if subscribe.retained_only && !message.retain() {
            return Ok(Next::Enough);
        }
        if message.retain() && subscribe.options.skip_retained {
            return Ok(Next::More);
        }
        if !subscribe.filter_out.is_empty() && self.is_filtered_out(message.topic()) {
            return Ok(Next::More);
        }
        if subscribe.remove_retained && message.retain() && !message.payload().is_empty() {
            self.clear_retained(message.topic());
        }
        if self.chance.as_mut().is_none_or(Chance::happens) {
            self.show(message)?;
        }
        if let Some(rate) = &mut self.rate {
            rate.count();
        }
        self.counted += 1;
        let is_last = self.cli.watch.count == Some(self.counted)
            || self.cli.watch.until.as_ref().is_some_and(|text| contains(message, text));
        Ok(if is_last { Next::Enough } else { Next::More })
    }

    fn show(&mut self, message: &Message) -> Result<(), Failure> {
        if let Some(record) = &mut self.record {
            self.line.clear();
            json::line(&mut self.line, message, &Moment::now());
            self.line.push(b'\n');
            record
                .write_all(&self.line)
                .map_err(|error| Failure::new(format!("Error: --record: {error}")))?;
        }
        match &mut self.screen {
            Some(screen) => screen.put(message),
            // Rates stand in the place of messages.
            None if self.cli.stream.message_rate => {}
            None => self.printer.print(message).map_err(stdout_failed)?,
        }
        Ok(())
    }

    fn is_filtered_out(&self, topic: &str) -> bool {
        let Ok(name) = TopicName::new(topic) else { return false };
        let filters = self.cli.subscribe.filter_out.iter();
        filters
            .filter_map(|filter| TopicFilter::new(filter).ok())
            .any(|filter| filter.matches(name))
    }

    fn clear_retained(&mut self, topic: &str) {
        let Some(client) = self.client.clone() else { return };
        let publish = Publish::new(topic, "").qos(QoS::AtLeastOnce).retain(true);
        self.clearing.spawn(async move { client.publish(publish).await?.await });
    }

    fn tick(&mut self) {
        if let Some(rate) = &mut self.rate {
            rate.tick();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(screen) = &mut self.screen {
            screen.draw()?;
        }
        self.printer.flush()
    }

    /// Waits until retained messages are cleared.
    async fn settle(&mut self) -> Result<Exit, Failure> {
        while let Some(cleared) = self.clearing.join_next().await {
            let cleared = cleared.map_err(|error| Failure::new(format!("Error: {error}")))?;
            cleared.map_err(|error| Failure::request(&error))?;
        }
        Ok(Exit::Success)
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(rate) = &mut self.rate {
            rate.summary();
        }
        if let Some(record) = &mut self.record {
            record.flush()?;
        }
        self.flush()
    }
}

fn contains(message: &Message, text: &str) -> bool {
    let text = text.as_bytes();
    text.is_empty() || message.payload().windows(text.len()).any(|part| part == text)
}

fn stdout_failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(BROKEN_PIPE),
        _ => Failure::new(format!("Error: stdout: {error}")),
    }
}
