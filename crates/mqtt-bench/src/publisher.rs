//! A publisher: sends on schedule or as fast as its window allows, and finishes the exchanges.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use mqtt_proto::packet::publish::{PublishHead, patch_packet_id};
use mqtt_proto::packet::{Ack, PacketType};
use mqtt_proto::{Packet, PacketIdentifier, QoS, Version};
use tokio::sync::watch;

use crate::board::{Board, Phase, add};
use crate::clock::Clock;
use crate::link::{LinkError, Next, OUT_BYTES, Role};
use crate::stamp::{STAMP_BYTES, Stamp};
use crate::tally::SharedTally;

/// What all publishers of a run do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Tells this run's messages from others.
    pub(crate) run: u32,
    pub(crate) qos: QoS,
    /// Payload bytes.
    pub(crate) size: usize,
    /// Messages of all publishers; `None`: until the time is up.
    pub(crate) messages: Option<u64>,
    /// Nanoseconds between two messages of one publisher; `None`: as fast as it goes.
    pub(crate) interval: Option<f64>,
    /// Unacknowledged messages (QoS 1 and 2).
    pub(crate) window: u16,
    /// Messages that have not arrived (QoS 0); `None`: no bound, or nobody here counts them.
    pub(crate) ahead: Option<u64>,
    /// How many deliveries one message should lead to.
    pub(crate) copies: u64,
}

/// One publisher.
pub(crate) struct Publisher {
    number: u32,
    version: Version,
    load: Arc<Load>,
    board: Arc<Board>,
    tally: SharedTally,
    phases: watch::Receiver<Phase>,
    /// A whole PUBLISH; identifier and stamp are written over for each message.
    template: Vec<u8>,
    packet_id_at: Option<usize>,
    /// Nanoseconds after the start when the first message is due: publishers take turns.
    offset: f64,
    sent: u64,
    /// Its part of the run's messages.
    messages: Option<u64>,
    free_ids: Vec<u16>,
    /// By identifier − 1: when the message was due.
    due: Vec<u64>,
    acknowledged: u64,
    refused: u64,
    is_done: bool,
}

impl Publisher {
    /// Publisher `number` of `count`; `window` is what both sides agreed on.
    pub(crate) fn new(
        (number, count): (u32, u32),
        topic: &str,
        version: Version,
        window: u16,
        load: Arc<Load>,
        board: Arc<Board>,
        tally: SharedTally,
    ) -> Result<Self, LinkError> {
        let packet_id = (load.qos != QoS::AtMostOnce).then_some(PacketIdentifier::new(1)).flatten();
        let head = PublishHead {
            dup: false,
            qos: load.qos,
            retain: false,
            topic,
            packet_id,
            properties: [&[], &[]],
            payload_len: load.size,
        };
        let mut template = Vec::new();
        let packet_id_at = head.encode(version, &mut template)?;
        template.resize(template.len() + load.size, b'.');
        let window = if load.qos == QoS::AtMostOnce { 0 } else { window };
        let offset = load.interval.map_or(0.0, |it| it * f64::from(number) / f64::from(count));
        Ok(Self {
            number,
            version,
            phases: board.phases(),
            board,
            tally,
            template,
            packet_id_at,
            offset,
            sent: 0,
            messages: load.messages.map(|all| part(all, number, count)),
            load,
            free_ids: (1..=window).rev().collect(),
            due: vec![0; usize::from(window)],
            acknowledged: 0,
            refused: 0,
            is_done: false,
        })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    fn in_flight(&self) -> usize {
        self.due.len() - self.free_ids.len()
    }

    /// Appends one message.
    fn publish(&mut self, due: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        if let (Some(at), Some(id)) = (self.packet_id_at, self.free_ids.pop()) {
            self.due[usize::from(id) - 1] = due;
            if let Some(id) = PacketIdentifier::new(id) {
                patch_packet_id(&mut out[start..], at, id);
            }
        }
        if self.load.size >= STAMP_BYTES {
            let payload = start + self.template.len() - self.load.size;
            let (run, publisher) = (self.load.run, self.number);
            Stamp { run, publisher, sequence: self.sent, due }.write(&mut out[payload..]);
        }
        self.sent += 1;
    }

    fn complete(&mut self, ack: &Ack<'_>, now: u64) -> Result<(), LinkError> {
        let id = ack.packet_id.get();
        // An identifier that is not in flight is the broker's mistake.
        let is_ours = usize::from(id) <= self.due.len() && self.due[usize::from(id) - 1] != 0;
        if !is_ours {
            return Err(LinkError::Unexpected("acknowledgement"));
        }
        let due = std::mem::take(&mut self.due[usize::from(id) - 1]);
        self.free_ids.push(id);
        self.tally.borrow_mut().acknowledgements.record(now.saturating_sub(due));
        self.acknowledged += 1;
        self.refused += u64::from(ack.reason.value() >= 0x80);
        Ok(())
    }

    fn must_wait_for_arrivals(&self) -> bool {
        let Some(ahead) = self.load.ahead else { return false };
        let flow = &self.board.flows[self.number as usize];
        let copies = self.load.copies;
        let is_ahead =
            || (self.sent * copies).saturating_sub(flow.arrived.load(SeqCst)) >= ahead * copies;
        if !is_ahead() {
            return false;
        }
        flow.is_waiting.store(true, SeqCst);
        is_ahead()
    }

    /// Appends what is due.
    fn publish_due(&mut self, start: u64, clock: &Clock, out: &mut Vec<u8>) -> Next {
        let now = clock.now();
        while out.len() < OUT_BYTES {
            if self.messages.is_some_and(|messages| self.sent >= messages) {
                return Next::Wait;
            }
            let has_window = self.load.qos == QoS::AtMostOnce || !self.free_ids.is_empty();
            if !has_window || self.must_wait_for_arrivals() {
                return Next::Wait;
            }
            let due = match self.load.interval {
                Some(interval) => {
                    let due = start + (self.offset + interval * self.sent as f64) as u64;
                    if due > now {
                        return Next::At(due);
                    }
                    self.tally.borrow_mut().lateness.record(now - due);
                    due
                }
                None => now,
            };
            self.publish(due, out);
        }
        Next::More
    }

    fn is_finished(&self, phase: Phase) -> bool {
        let all_sent = match phase {
            Phase::Connecting => false,
            Phase::Running(_) => self.messages.is_some_and(|messages| self.sent >= messages),
            Phase::Stopping | Phase::Closing => true,
        };
        all_sent && self.in_flight() == 0
    }
}

impl Role for Publisher {
    fn receive(
        &mut self,
        packet: &Packet<'_>,
        now: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        match packet {
            Packet::Puback(ack) if self.load.qos == QoS::AtLeastOnce => self.complete(ack, now),
            Packet::Pubrec(ack) if self.load.qos == QoS::ExactlyOnce => {
                if ack.reason.value() >= 0x80 {
                    return self.complete(ack, now);
                }
                let release = Ack::success(ack.packet_id);
                Ok(release.encode(PacketType::Pubrel, self.version, out)?)
            }
            Packet::Pubcomp(ack) if self.load.qos == QoS::ExactlyOnce => self.complete(ack, now),
            Packet::Pingresp => Ok(()),
            Packet::Disconnect(bye) => Err(LinkError::Refused("DISCONNECT", bye.reason.value())),
            other => Err(LinkError::Unexpected(other.packet_type().name())),
        }
    }

    fn fill(&mut self, clock: &Clock, out: &mut Vec<u8>) -> Result<Next, LinkError> {
        if self.acknowledged > 0 {
            add(&self.board.acknowledged, std::mem::take(&mut self.acknowledged));
            add(&self.board.refused, std::mem::take(&mut self.refused));
            self.board.touch(clock.now());
        }
        let phase = *self.phases.borrow();
        let before = self.sent;
        let next = match phase {
            Phase::Running(start) => self.publish_due(start, clock, out),
            _ => Next::Wait,
        };
        add(&self.board.sent, self.sent - before);
        if !self.is_done && self.is_finished(phase) {
            self.is_done = true;
            add(&self.board.publishers_done, 1);
        }
        Ok(next)
    }
}

impl Drop for Publisher {
    /// A publisher whose connection broke is done too; the run must not wait for it.
    fn drop(&mut self) {
        if !self.is_done {
            add(&self.board.publishers_done, 1);
        }
    }
}

/// Publisher `number`'s part of all messages: the first ones take what does not divide evenly.
fn part(all: u64, number: u32, count: u32) -> u64 {
    let count = u64::from(count);
    all / count + u64::from(u64::from(number) < all % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(load: Load, board: &Arc<Board>) -> Publisher {
        let (load, tally) = (Arc::new(load), SharedTally::default());
        let window = load.window;
        Publisher::new((0, 1), "t", Version::V311, window, load, Arc::clone(board), tally).unwrap()
    }

    fn load(qos: QoS) -> Load {
        Load {
            run: 1,
            qos,
            size: STAMP_BYTES,
            messages: Some(5),
            interval: None,
            window: 2,
            ahead: Some(3),
            copies: 1,
        }
    }

    fn count(out: &[u8], of: &Publisher) -> usize {
        assert_eq!(out.len() % of.template.len(), 0);
        out.len() / of.template.len()
    }

    #[test]
    fn parts_sum_up() {
        for (all, count) in [(1000, 3), (2, 5), (0, 1), (10, 10)] {
            assert_eq!((0..count).map(|it| part(all, it, count)).sum::<u64>(), all);
        }
    }

    #[test]
    fn the_window_opens_with_acknowledgements_only() {
        let board = Arc::new(Board::new(1));
        let mut it = publisher(load(QoS::AtLeastOnce), &board);
        let clock = board.clock;
        let mut out = Vec::new();
        assert_eq!(it.fill(&clock, &mut out).unwrap(), Next::Wait, "not started");
        assert!(out.is_empty());
        board.enter(Phase::Running(clock.now()));
        assert_eq!(it.fill(&clock, &mut out).unwrap(), Next::Wait);
        assert_eq!((count(&out, &it), it.in_flight()), (2, 2));
        let ack = |id| Packet::Puback(Ack::success(PacketIdentifier::new(id).unwrap()));
        it.receive(&ack(2), clock.now(), &mut out).unwrap();
        assert!(it.receive(&ack(2), clock.now(), &mut out).is_err(), "acknowledged twice");
        assert!(it.receive(&ack(3), clock.now(), &mut out).is_err(), "never sent");
        it.fill(&clock, &mut out).unwrap();
        assert_eq!((count(&out, &it), it.in_flight()), (3, 2));
        assert_eq!(crate::board::value(&board.publishers_done), 0);
        drop(it);
        assert_eq!(crate::board::value(&board.publishers_done), 1, "nobody waits for a dead one");
    }

    #[test]
    fn qos_0_waits_for_arrivals_and_goes_on() {
        let board = Arc::new(Board::new(1));
        let mut it = publisher(load(QoS::AtMostOnce), &board);
        let clock = board.clock;
        board.enter(Phase::Running(clock.now()));
        let mut out = Vec::new();
        assert_eq!(it.fill(&clock, &mut out).unwrap(), Next::Wait);
        assert_eq!(count(&out, &it), 3);
        board.arrived(0, 2);
        it.fill(&clock, &mut out).unwrap();
        assert_eq!(count(&out, &it), 5);
        assert_eq!(crate::board::value(&board.publishers_done), 1);
        let stamps: Vec<_> = out
            .chunks(it.template.len())
            .map(|packet| Stamp::read(&packet[packet.len() - STAMP_BYTES..]).unwrap().sequence)
            .collect();
        assert_eq!(stamps, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_schedule_is_kept_from_its_start() {
        let board = Arc::new(Board::new(1));
        let mut it =
            publisher(Load { interval: Some(1e15), ahead: None, ..load(QoS::AtMostOnce) }, &board);
        let start = board.clock.now() - 1;
        board.enter(Phase::Running(start));
        let mut out = Vec::new();
        let next = it.fill(&board.clock, &mut out).unwrap();
        assert_eq!(next, Next::At(start + 1_000_000_000_000_000));
        assert_eq!(count(&out, &it), 1);
    }
}
