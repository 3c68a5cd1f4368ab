//! `mqtt-pub`: from the flags to messages, and from acknowledgements to the exit code.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mqtt_client::{
    Acknowledged, Client, Delivery, Event, Incoming, Lost, PropertiesBuf, Publish, ReasonCode,
    RequestError, Version,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::property::{self, Packet};
use crate::args::publish::{PayloadArgs, Speed};
use crate::args::{Persona, PubCli};
use crate::debug;
use crate::exit::{Exit, Failure, capitalised};
use crate::lines::Lines;
use crate::progress::Progress;
use crate::record::{self, Defaults};

/// Messages whose acknowledgement is waited for before the next one is read.
const OPEN_MAX: usize = 10_000;

/// Where messages come from.
enum Source {
    /// One payload, a number of times.
    Fixed { payload: Bytes, times: u64, delay: Duration },
    /// Each line is a payload, or topic, separator and payload.
    Lines { lines: Lines, separator: Option<String> },
    /// Each line is a JSON object.
    Json(Lines),
    /// A recording.
    Replay { path: String, speed: Speed, for_ever: bool },
}

/// Runs the tool.
///
/// # Errors
/// What to say, and the exit code.
pub async fn run(cli: PubCli, persona: Persona) -> Result<Exit, Failure> {
    let source = source(&cli, &persona)?;
    let is_stream = !matches!(source, Source::Fixed { times: 1, .. });
    let mut options =
        cli.session.options(&cli.connection, &persona, &cli.tls, &cli.secret, Version::V311)?;
    if !is_stream {
        // Nobody watches over a single message: say at once that it did not work.
        options.reconnect = None;
    }
    if cli.general.debug {
        options.trace = Some(debug::trace(&options.client_id));
    }
    let version = options.version;
    let template = template(&cli, version, &persona)?;
    let goodbye = properties(&cli, Packet::Disconnect)?;
    let mut stop = std::pin::pin!(crate::run::stop_signal()?);
    let (client, incoming) =
        Client::connect(options).await.map_err(|error| Failure::connect(&error, &persona))?;
    let total = match &source {
        Source::Fixed { times, .. } => Some(*times),
        _ => None,
    };
    let is_quiet = cli.general.quiet;
    let progress = Progress::new(total, is_stream && !is_quiet && !cli.general.debug);
    let mut publisher = Publisher::new(&client, &persona, is_quiet, &progress);
    publisher.has_properties = version.has_properties();
    publisher.pace = cli.publish.rate.map(Pace::new);
    let is_silent = is_quiet || persona.is_mosquitto;
    let mut watcher = std::pin::pin!(watch(incoming, &progress, is_silent));
    let outcome = {
        let mut work = std::pin::pin!(publisher.publish_and_settle(source, &template));
        tokio::select! {
            biased;
            () = &mut stop => Ok(()),
            lost = &mut watcher => Err(Stopped::Lost(lost)),
            result = &mut work => result,
        }
    };
    client.disconnect_with(ReasonCode::Success, goodbye).await;
    publisher.drop_arrived();
    progress.finish();
    match outcome {
        Ok(()) => publisher.verdict(),
        Err(Stopped::Lost(lost)) => Err(publisher.lost_failure(lost.as_ref())),
        Err(Stopped::Request(error)) => Err(Failure::request(&error)),
        Err(Stopped::Input(text)) => Err(Failure::new(text)),
    }
}

/// Why publishing ended before its time.
#[derive(Debug)]
enum Stopped {
    /// The connection is gone and does not come back.
    Lost(Option<Lost>),
    Request(RequestError),
    Input(String),
}

impl From<RequestError> for Stopped {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

fn source(cli: &PubCli, persona: &Persona) -> Result<Source, Failure> {
    let (payload, publish) = (&cli.payload, &cli.publish);
    let usage = |text: &str| Failure::usage(persona, text);
    cli.session.check(&cli.connection, &cli.tls).map_err(|text| usage(&text))?;
    let kinds =
        payload.count() + usize::from(publish.stdin_line) + usize::from(publish.replay.is_some());
    if kinds > 1 {
        return Err(usage("Only one type of message can be sent at once.\n"));
    }
    let names_topics =
        publish.topic_sep.is_some() || publish.json_lines || publish.replay.is_some();
    if kinds == 0 || (payload.topic.is_none() && !names_topics) {
        if persona.is_mosquitto {
            return Err(usage("Both topic and message must be supplied."));
        }
        return Err(Failure::new(lacking(persona, payload.topic.as_deref(), payload)));
    }
    let opened = |error: io::Error| Failure::new(format!("Error: {error}"));
    if let Some(path) = &publish.replay {
        // Said before the connection is made.
        File::open(path)
            .map_err(|error| Failure::new(format!("Error: Unable to open \"{path}\": {error}")))?;
        let (speed, for_ever) = (publish.speed, publish.repeat_for_ever);
        return Ok(Source::Replay { path: path.clone(), speed, for_ever });
    }
    if publish.stdin_line {
        let lines = Lines::of(io::stdin()).map_err(opened)?;
        return Ok(match publish.json_lines {
            true => Source::Json(lines),
            false => Source::Lines { lines, separator: publish.topic_sep.clone() },
        });
    }
    let bytes = payload_bytes(payload)?;
    if payload.stdin_file && bytes.is_empty() && persona.is_mosquitto {
        return Err(Failure::new("Error: Zero length input.\nError loading input from stdin."));
    }
    let delay = publish.repeat_delay.unwrap_or_default();
    Ok(Source::Fixed { payload: bytes, times: publish.repeat.unwrap_or(1), delay })
}

/// One line about what is missing and how to write it.
fn lacking(persona: &Persona, topic: Option<&str>, payload: &PayloadArgs) -> String {
    let name = &persona.name;
    match topic {
        None => {
            let message = payload.message.as_deref().unwrap_or("Hello MQTT");
            format!(
                "Error: the topic is missing: say where to publish with -t, for example \
                 {name} -t my/topic -m \"{message}\""
            )
        }
        Some(topic) => format!(
            "Error: the message is missing: give it with -m (or -f FILE, -s, -l, -n), for example \
             {name} -t {topic} -m \"Hello MQTT\""
        ),
    }
}

/// The payload of `-m`, `-f`, `-s` or `-n`.
pub fn payload_bytes(args: &PayloadArgs) -> Result<Bytes, Failure> {
    if let Some(text) = &args.message {
        return Ok(Bytes::from(text.clone()));
    }
    if let Some(path) = &args.file {
        return std::fs::read(path).map(Bytes::from).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound => String::new(),
                _ => format!(" ({error})"),
            };
            Failure::new(format!(
                "Error: Unable to open file \"{path}\".{why}\nError loading input file \"{path}\"."
            ))
        });
    }
    let mut bytes = Vec::new();
    if args.stdin_file {
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Failure::new(format!("Error: Unable to read stdin: {error}")))?;
    }
    Ok(Bytes::from(bytes))
}

/// Everything about a message but its payload.
fn template(cli: &PubCli, version: Version, persona: &Persona) -> Result<Publish, Failure> {
    let topic: Arc<str> = cli.payload.topic.as_deref().unwrap_or_default().into();
    let mut template =
        Publish::new(topic, Bytes::new()).qos(cli.session.qos).retain(cli.publish.retain);
    template.properties = properties(cli, Packet::Publish)?;
    if !template.properties.is_empty() && version != Version::V5 {
        if persona.is_mosquitto {
            // Mosquitto's tool leaves them out without a word.
            template.properties = PropertiesBuf::new();
            return Ok(template);
        }
        return Err(Failure::new("Error: -D publish needs MQTT 5.0; leave -V out or give -V 5."));
    }
    Ok(template)
}

fn properties(cli: &PubCli, packet: Packet) -> Result<PropertiesBuf, Failure> {
    property::collect(&cli.session.property, packet)
        .map_err(|text| Failure::new(format!("Error: {text}")))
}

/// Drops messages, which a publisher has not asked for, and tells about lost connections. Ends
/// when the client has.
async fn watch(mut incoming: Incoming, progress: &Progress, is_silent: bool) -> Option<Lost> {
    let mut last = None;
    while let Some(event) = incoming.next().await {
        match event {
            Event::Disconnected { lost, retry_in: Some(wait) } if !is_silent => {
                progress.say(&format!("{lost}; trying again in {:.1} s", wait.as_secs_f64()));
            }
            Event::Disconnected { lost, retry_in: None } => last = Some(lost),
            _ => {}
        }
    }
    last
}

/// Keeps messages from going out too fast.
struct Pace {
    step: Duration,
    next: Instant,
}

impl Pace {
    fn new(per_second: f64) -> Self {
        Self { step: Duration::from_secs_f64(1.0 / per_second), next: Instant::now() }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        if self.next > now {
            sleep_until(self.next).await;
        }
        // A pause in the input is not made up for with a burst.
        self.next = self.next.max(now - self.step) + self.step;
    }
}

/// Publishes, and keeps account of what was acknowledged.
struct Publisher<'a> {
    client: &'a Client,
    persona: &'a Persona,
    is_quiet: bool,
    progress: &'a Progress,
    pace: Option<Pace>,
    /// The version has properties.
    has_properties: bool,
    has_warned: bool,
    open: VecDeque<(u64, Delivery)>,
    count: u64,
    failed: u64,
}

impl<'a> Publisher<'a> {
    fn new(
        client: &'a Client,
        persona: &'a Persona,
        is_quiet: bool,
        progress: &'a Progress,
    ) -> Self {
        Self {
            client,
            persona,
            is_quiet,
            progress,
            pace: None,
            has_properties: false,
            has_warned: false,
            open: VecDeque::new(),
            count: 0,
            failed: 0,
        }
    }

    async fn publish_and_settle(
        &mut self,
        source: Source,
        template: &Publish,
    ) -> Result<(), Stopped> {
        self.publish_all(source, template).await?;
        self.settle().await;
        Ok(())
    }

    async fn publish_all(&mut self, source: Source, template: &Publish) -> Result<(), Stopped> {
        match source {
            Source::Fixed { payload, times, delay } => {
                for round in 0..times {
                    if round > 0 && !delay.is_zero() {
                        sleep(delay).await;
                    }
                    self.publish(Publish { payload: payload.clone(), ..template.clone() }).await?;
                }
                Ok(())
            }
            Source::Lines { lines, separator } => {
                self.publish_lines(lines, separator.as_deref(), template).await
            }
            Source::Json(lines) => self.publish_json(lines, template, Speed::Max).await,
            Source::Replay { path, speed, for_ever } => loop {
                let file = File::open(&path).map_err(|error| {
                    Stopped::Input(format!("Error: Unable to open \"{path}\": {error}"))
                })?;
                let lines = Lines::of(file).map_err(input_failed)?;
                let before = self.count;
                self.publish_json(lines, template, speed).await?;
                if !for_ever || self.count == before {
                    return Ok(());
                }
            },
        }
    }

    async fn publish_lines(
        &mut self,
        mut lines: Lines,
        separator: Option<&str>,
        template: &Publish,
    ) -> Result<(), Stopped> {
        let mut number = 0;
        while let Some(line) = lines.next().await.map_err(input_failed)? {
            number += 1;
            let Some(separator) = separator else {
                self.publish(Publish { payload: line, ..template.clone() }).await?;
                continue;
            };
            let (topic, payload) = split_topic(&line, separator.as_bytes());
            let topic = std::str::from_utf8(topic)
                .map_err(|_| Stopped::Input(format!("Error: line {number}: not UTF-8")))?;
            mqtt_proto::topic::TopicName::new(topic)
                .map_err(|error| Stopped::Input(format!("Error: line {number}: {error}")))?;
            let payload = line.slice_ref(payload);
            self.publish(Publish { topic: topic.into(), payload, ..template.clone() }).await?;
        }
        Ok(())
    }

    async fn publish_json(
        &mut self,
        mut lines: Lines,
        template: &Publish,
        speed: Speed,
    ) -> Result<(), Stopped> {
        let topic = Some(&*template.topic).filter(|topic| !topic.is_empty());
        let defaults = Defaults { topic, qos: template.qos, retain: template.retain };
        let mut number = 0;
        let mut start: Option<(u64, Instant)> = None;
        while let Some(line) = lines.next().await.map_err(input_failed)? {
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let record = record::parse(&line, defaults)
                .map_err(|error| Stopped::Input(format!("Error: line {number}: {error}")))?;
            if let (Speed::Times(times), Some(time)) = (speed, record.time) {
                let (first, began) = *start.get_or_insert((time, Instant::now()));
                let since = Duration::from_nanos(time.saturating_sub(first));
                sleep_until(began + since.div_f64(times)).await;
            }
            if !self.has_properties && !record.publish.properties.is_empty() && !self.has_warned {
                self.has_warned = true;
                if !self.is_quiet {
                    self.progress.say("Warning: properties are left out, they need -V 5.");
                }
            }
            self.publish(record.publish).await?;
        }
        Ok(())
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Stopped> {
        if let Some(pace) = &mut self.pace {
            pace.wait().await;
        }
        let delivery = self.client.publish(publish).await?;
        self.count += 1;
        self.open.push_back((self.count, delivery));
        self.progress.step();
        let mut now = Context::from_waker(Waker::noop());
        while let Some((number, delivery)) = self.open.front_mut() {
            let number = *number;
            let Poll::Ready(result) = Pin::new(delivery).poll(&mut now) else { break };
            self.open.pop_front();
            self.account(number, result);
        }
        if self.open.len() >= OPEN_MAX {
            if let Some((number, delivery)) = self.open.pop_front() {
                let result = delivery.await;
                self.account(number, result);
            }
        }
        Ok(())
    }

    /// Waits for what is still open.
    async fn settle(&mut self) {
        while let Some((number, delivery)) = self.open.front_mut() {
            let number = *number;
            let result = delivery.await;
            self.open.pop_front();
            self.account(number, result);
        }
    }

    /// Takes out what has arrived, so that what is missing stays. A message of QoS 0 that was
    /// waiting for the socket has gone out with the goodbye.
    fn drop_arrived(&mut self) {
        let mut now = Context::from_waker(Waker::noop());
        self.open.retain_mut(|(_, delivery)| match Pin::new(delivery).poll(&mut now) {
            Poll::Ready(Ok(acknowledged)) => acknowledged.reason.is_error(),
            _ => true,
        });
    }

    fn account(&mut self, number: u64, result: Result<Acknowledged, RequestError>) {
        let text = match result {
            Ok(acknowledged) if !acknowledged.reason.is_error() => return,
            Ok(acknowledged) => capitalised(acknowledged.reason.text()),
            Err(error) => capitalised(&error.to_string()),
        };
        self.failed += 1;
        if !self.is_quiet {
            self.progress.say(&format!("Warning: Publish {number} failed: {text}."));
        }
    }

    /// The connection is lost for good: how many messages went down with it?
    fn lost_failure(&self, lost: Option<&Lost>) -> Failure {
        if let Some(Lost::Reconnect(error)) = lost {
            return Failure::connect(error, self.persona);
        }
        let mut text = match lost {
            Some(lost) if !self.persona.is_mosquitto => {
                format!("Error: The connection was lost: {lost}")
            }
            _ => "Error: The connection was lost.".to_owned(),
        };
        let missing = self.failed + self.open.len() as u64;
        if !self.persona.is_mosquitto && self.count > 1 {
            let total = self.count;
            text.push_str(&format!("; {missing} of {total} messages were not acknowledged"));
        }
        Failure { text, exit: Exit::ConnectionLost }
    }

    /// The exit code: success only if every message has arrived. Mosquitto's tool does not mind
    /// refused messages.
    fn verdict(&self) -> Result<Exit, Failure> {
        let missing = self.failed + self.open.len() as u64;
        if missing == 0 || (self.persona.is_mosquitto && self.open.is_empty()) {
            return Ok(Exit::Success);
        }
        let total = self.count;
        let text = match total {
            1 => "Error: the message was not acknowledged.".to_owned(),
            _ => format!("Error: {missing} of {total} messages were not acknowledged."),
        };
        Err(Failure::new(text))
    }
}

fn input_failed(error: io::Error) -> Stopped {
    Stopped::Input(format!("Error: Unable to read the input: {error}"))
}

/// Topic and payload of a line; a line without the separator is a topic with an empty payload.
fn split_topic<'a>(line: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = match separator {
        [] => None,
        separator => line.windows(separator.len()).position(|part| part == separator),
    };
    match at {
        Some(at) => (&line[..at], &line[at + separator.len()..]),
        None => (line, &line[line.len()..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split_topic(b"a/b 1 2", b" "), (&b"a/b"[..], &b"1 2"[..]));
        assert_eq!(split_topic(b"a::b", b"::"), (&b"a"[..], &b"b"[..]));
        assert_eq!(split_topic(b"alone", b" "), (&b"alone"[..], &b""[..]));
        assert_eq!(split_topic(b"a b", b""), (&b"a b"[..], &b""[..]));
    }
}
