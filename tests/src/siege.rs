//! [`Siege`]: a broker that is being attacked, two honest clients who go on talking, and what
//! must hold at the end: the process lives, its memory is bounded, the honest two have noticed
//! nothing.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::notation::variable_length;
use crate::peer::{Carrier, Level, Peer};
use crate::process;

/// How long one message between the honest two may take while the attack goes on. Generous,
/// because the tests share their cores with others; without an attack it is a millisecond.
pub const DELAY_MAX: Duration = Duration::from_secs(5);

/// One mebibyte.
pub const MIB: u64 = 1 << 20;

/// See the file's head.
#[derive(Debug)]
pub struct Siege {
    /// The broker.
    pub broker: Broker,
    publisher: Peer,
    subscriber: Peer,
    exchanged: u32,
    memory: u64,
}

impl Siege {
    /// Open to everybody.
    #[track_caller]
    pub fn open() -> Siege {
        Siege::of(Broker::open())
    }

    /// Open to everybody, with more global lines.
    #[track_caller]
    pub fn with(lines: &str) -> Siege {
        Siege::of(Broker::with(lines))
    }

    /// Around a broker that lets the anonymous clients `good-*` use `good/#`.
    #[track_caller]
    pub fn of(broker: Broker) -> Siege {
        let publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "good-publisher");
        let subscriber = Peer::joined(&broker, Carrier::Tcp, Level::V311, "good-subscriber");
        Siege::between(broker, publisher, subscriber)
    }

    /// Around any broker, with honest clients that are connected already.
    #[track_caller]
    pub fn between(broker: Broker, publisher: Peer, mut subscriber: Peer) -> Siege {
        subscriber.subscribe("good/news", 1);
        let memory = broker.memory_peak();
        let mut siege = Siege { broker, publisher, subscriber, exchanged: 0, memory };
        siege.exchange();
        siege
    }

    /// A message between the honest two, which must arrive, alone, and in time.
    #[track_caller]
    pub fn exchange(&mut self) {
        self.exchanged += 1;
        let text = format!("number {}", self.exchanged);
        let begun = Instant::now();
        let id = (self.exchanged % 0xffff + 1) as u16;
        self.publisher.publish_qos1(id, "good/news", &text);
        self.subscriber.expect_message("good/news", &text, 1);
        let took = begun.elapsed();
        assert!(took < DELAY_MAX, "an honest message took {took:?}");
    }

    /// An attacker's connection, accepted.
    #[track_caller]
    pub fn attacker(&self, level: Level, client_id: &str) -> Peer {
        Peer::joined(&self.broker, Carrier::Tcp, level, client_id)
    }

    /// How many log lines hold all of these texts.
    pub fn lines(&self, texts: &[&str]) -> usize {
        let log = self.broker.log();
        log.lines().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }

    /// Waits until so many log lines hold all of these texts, then expects that no more do.
    #[track_caller]
    pub fn expect_lines(&self, count: usize, texts: &[&str]) {
        let enough = process::until(|| (self.lines(texts) >= count).then_some(()));
        let found = self.lines(texts);
        assert!(
            enough.is_some() && found == count,
            "{texts:?}: {found} lines, wanted {count}\n{}",
            self.broker.log()
        );
    }

    /// The end: alive, the honest two still talk, and the peak of memory has grown by at most
    /// `memory` bytes.
    #[track_caller]
    pub fn survived(mut self, memory: u64) -> Broker {
        self.exchange();
        self.publisher.expect_nothing();
        self.subscriber.expect_nothing();
        assert!(self.broker.is_running(), "{}", self.broker.log());
        let grown = self.broker.memory_peak().saturating_sub(self.memory);
        assert!(
            grown <= memory,
            "memory grew by {} KiB, more than {}",
            grown / 1024,
            memory / 1024
        );
        let log = self.broker.log();
        assert!(!log.contains("panicked"), "{log}");
        self.broker
    }
}

/// A Control Packet: first byte, Remaining Length, body.
pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    bytes.extend(variable_length(body.len()));
    bytes.extend(body);
    bytes
}

/// Two bytes of length, then the bytes.
pub fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut all = u16::try_from(bytes.len()).expect("an MQTT string").to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

/// Properties with their length.
pub fn properties(bytes: &[u8]) -> Vec<u8> {
    let mut all = variable_length(bytes.len());
    all.extend_from_slice(bytes);
    all
}
