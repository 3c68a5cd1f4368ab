//! The books: with subscriptions that stand still, every copy that the naive model expects was
//! delivered, waits, or was dropped with a reason.

use std::collections::BTreeSet;

use mqtt_proto::QoS;

use crate::checks::{matches, shared_filter};
use crate::history::Fact;
use crate::plan::{FILTERS, TOPICS};
use crate::world::{Failure, World};

const MESSAGES: usize = 24;

impl World {
    /// See the file's head.
    pub(crate) fn audit(&mut self) -> Result<(), Failure> {
        self.history.note(self.now, Fact::Step { step: "the books are checked".into() });
        for who in 0..self.scene.actors {
            for filter in FILTERS.into_iter().chain(["r/#"]) {
                self.unsubscribe(who, filter);
            }
        }
        self.come_to_rest()?;
        let mut held: Vec<(usize, &str)> = Vec::new();
        for who in 0..self.scene.actors {
            let chosen: BTreeSet<_> = (0..1 + self.dice.roll(3))
                .map(|_| self.dice.roll(FILTERS.len() as u64) as usize)
                .collect();
            for filter in chosen {
                let qos = self.dice.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
                self.subscribe(who, FILTERS[filter], qos, false);
                held.push((who, FILTERS[filter]));
            }
        }
        self.come_to_rest()?;
        let before = self.broker.stats();
        let (first_copy, first_message) = (self.history.copies.len(), self.history.sent.len());
        let absent = self.dice.roll(self.scene.actors as u64) as usize;
        if self.clients[absent].outlives() {
            self.leave(absent, false);
        }
        self.clients[(absent + 1) % self.scene.actors].reads = false;
        self.pass(300);
        for _ in 0..MESSAGES {
            let who = self.dice.roll(self.scene.actors as u64) as usize;
            let topic = self.dice.pick(&TOPICS);
            let qos = self.dice.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
            let bytes = self.dice.pick(&[0, 0, 100, 1000]);
            self.publish(who, topic.into(), qos, bytes, (false, false, false));
            let millis = self.dice.roll(5);
            self.pass(millis);
        }
        self.pass(300);
        self.come_to_rest()?;
        let expected: usize = self.history.sent[first_message..]
            .iter()
            .map(|sent| copies(&held, &sent.topic, self.scene.overlaps))
            .sum();
        let delivered = self.history.copies[first_copy..]
            .iter()
            .filter(|copy| copy.is_new || self.history.meets_an_open_identifier(copy))
            .filter(|copy| copy.message.is_some())
            .count();
        let after = self.broker.stats();
        let dropped = (after.dropped_total() - before.dropped_total()) as usize;
        let queued = after.queued as usize - (before.queued as usize).min(after.queued as usize);
        if expected != delivered + dropped + queued {
            let words = format!(
                "{expected} copies ought to be, {delivered} came, {queued} wait, {dropped} were \
                 dropped; subscribed: {held:?}"
            );
            return Err(Failure { checker: "drops", words });
        }
        Ok(())
    }
}

/// Copies of a message: one for each session, or for each subscription, and one for each group.
fn copies(held: &[(usize, &str)], topic: &str, overlaps: bool) -> usize {
    let plain = held.iter().filter(|(_, filter)| shared_filter(filter).is_none());
    let plain = plain.filter(|(_, filter)| matches(filter, topic));
    let sessions: BTreeSet<_> = plain.clone().map(|(who, _)| who).collect();
    let groups: BTreeSet<_> = held
        .iter()
        .filter(|(_, filter)| shared_filter(filter).is_some_and(|inner| matches(inner, topic)))
        .map(|(_, filter)| filter)
        .collect();
    groups.len() + if overlaps { plain.count() } else { sessions.len() }
}
