//! A subscriber: takes messages, answers them, keeps book of what came from whom. A connection that
//! only stays open is one too; nothing comes for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt_proto::packet::{Ack, PacketType, Publish};
use mqtt_proto::{Packet, QoS, Version};

use crate::board::{Board, add};
use crate::clock::Clock;
use crate::link::{LinkError, Next, Role};
use crate::seen::Seen;
use crate::stamp::Stamp;
use crate::tally::SharedTally;

/// What one subscriber got, by run and publisher.
pub(crate) type Book = BTreeMap<(u32, u32), Seen>;

/// One subscriber.
pub(crate) struct Subscriber {
    version: Version,
    /// Messages of other runs are counted as strangers; `None`: all are welcome.
    run: Option<u32>,
    board: Arc<Board>,
    tally: SharedTally,
    /// The publisher of the latest messages, so that a burst of one costs one look-up.
    current: Option<((u32, u32), Seen)>,
    book: Book,
    received: u64,
    received_bytes: u64,
    /// Of the publisher in hand, not yet told to the board.
    arrived: (u32, u64),
}

impl Subscriber {
    /// Nothing has come yet.
    pub(crate) fn new(
        version: Version,
        run: Option<u32>,
        board: Arc<Board>,
        tally: SharedTally,
    ) -> Self {
        Self {
            version,
            run,
            board,
            tally,
            current: None,
            book: Book::new(),
            received: 0,
            received_bytes: 0,
            arrived: (0, 0),
        }
    }

    fn take(&mut self, publish: &Publish<'_>, now: u64) {
        self.received_bytes += publish.payload.len() as u64;
        let stamp = Stamp::read(publish.payload);
        if let (Some(run), Some(stamp)) = (self.run, stamp) {
            if stamp.run != run {
                self.tally.borrow_mut().strangers += 1;
                return;
            }
        }
        self.received += 1;
        let Some(stamp) = stamp else { return };
        self.tally.borrow_mut().latency.record(now.saturating_sub(stamp.due));
        if self.arrived.0 != stamp.publisher {
            self.tell_arrivals();
            self.arrived.0 = stamp.publisher;
        }
        self.arrived.1 += 1;
        let key = (stamp.run, stamp.publisher);
        match &mut self.current {
            Some((current, seen)) if *current == key => seen.insert(stamp.sequence),
            _ => {
                self.put_back();
                let mut seen = self.book.remove(&key).unwrap_or_default();
                seen.insert(stamp.sequence);
                self.current = Some((key, seen));
            }
        }
    }

    fn put_back(&mut self) {
        if let Some((key, seen)) = self.current.take() {
            self.book.insert(key, seen);
        }
    }

    fn tell_arrivals(&mut self) {
        let (publisher, count) = (self.arrived.0, std::mem::take(&mut self.arrived.1));
        if count > 0 {
            self.board.arrived(publisher, count);
        }
    }

    /// What it got, at the end.
    pub(crate) fn into_book(mut self) -> Book {
        self.put_back();
        self.book
    }
}

impl Role for Subscriber {
    fn receive(
        &mut self,
        packet: &Packet<'_>,
        now: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        match packet {
            Packet::Publish(publish) => {
                self.take(publish, now);
                let Some(packet_id) = publish.packet_id else { return Ok(()) };
                let answer = match publish.qos {
                    QoS::ExactlyOnce => PacketType::Pubrec,
                    _ => PacketType::Puback,
                };
                Ok(Ack::success(packet_id).encode(answer, self.version, out)?)
            }
            Packet::Pubrel(ack) => {
                let complete = Ack::success(ack.packet_id);
                Ok(complete.encode(PacketType::Pubcomp, self.version, out)?)
            }
            Packet::Pingresp => Ok(()),
            Packet::Disconnect(bye) => Err(LinkError::Refused("DISCONNECT", bye.reason.value())),
            other => Err(LinkError::Unexpected(other.packet_type().name())),
        }
    }

    fn fill(&mut self, clock: &Clock, _out: &mut Vec<u8>) -> Result<Next, LinkError> {
        if self.received > 0 {
            self.tell_arrivals();
            add(&self.board.received, std::mem::take(&mut self.received));
            add(&self.board.received_bytes, std::mem::take(&mut self.received_bytes));
            self.board.touch(clock.now());
        }
        Ok(Next::Wait)
    }
}
