//! The end of a run: everybody comes back, everything is delivered, then everything is given up and
//! nothing may be left.

use mqtt_proto::QoS;

use crate::history::Fact;
use crate::plan::Crash;
use crate::world::{FRESH, Failure, World};

/// Rounds of 100 ms after which there must be an end.
const ROUNDS_MAX: u32 = 600;
/// A Client that waits so long in silence connects anew.
const PATIENCE_MILLIS: u64 = 2000;
/// Longest time until a log that has refused is written again.
const RETRY_MILLIS_MAX: u64 = 2500;

impl World {
    /// Everybody comes back, and all that waits is delivered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.heal();
        self.dismiss_rogue();
        for who in 0..self.clients.len() {
            self.set_lag(who, 1);
        }
        self.pass(60);
        // A trap that has not closed, or a log that has given up, ends with a restart.
        let is_in_doubt = self.dying.is_some() || self.broker.has_failed_store();
        if is_in_doubt && self.broker.is_up() {
            self.crash(Crash::Killed, 0, 0, None);
        }
        self.pass(1);
        if self.is_over {
            return Ok(());
        }
        if self.scene.has_acl {
            self.broker.reload(0);
        }
        if self.history.had_disk_fault {
            // The log has tried again by then, and answers what had no words for its refusal.
            self.come_to_rest()?;
            self.pass(RETRY_MILLIS_MAX);
        }
        self.come_to_rest()?;
        // Delayed wills.
        self.pass(5000);
        self.come_to_rest()?;
        if self.is_over {
            return Ok(());
        }
        self.history.note(self.now, Fact::Step { step: "a fresh look at what is retained".into() });
        self.connect(FRESH, true, 0);
        self.come_to_rest()?;
        self.history.ended_at = self.now;
        self.history.fresh_asked = self.history.lines.len();
        self.subscribe(FRESH, "r/#", QoS::AtLeastOnce, false);
        self.come_to_rest()
    }

    /// Lets time pass until everybody who should be is connected and waits for nothing.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Failure> {
        let mut quiet = 0;
        for client in &mut self.clients {
            client.waits_since = None;
        }
        for _ in 0..ROUNDS_MAX {
            for who in self.people() {
                self.come_back(who);
            }
            let before = self.history.lines.len();
            self.pass(100);
            if self.is_over || !self.history.offences.is_empty() {
                return Ok(());
            }
            let fresh = &self.clients[FRESH];
            let everybody = self.people().all(|who| self.clients[who].is_quiet());
            let is_quiet = everybody
                && (fresh.link.is_none() || fresh.is_quiet())
                && self.history.lines.len() == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > 4 {
                return Ok(());
            }
        }
        let states: Vec<_> = self.clients.iter().map(|client| client.state()).collect();
        Err(Failure { checker: "rest", words: format!("there is no end: {states:#?}") })
    }

    pub(crate) fn come_back(&mut self, who: usize) {
        self.clients[who].reads = true;
        self.give_answers(who);
        let client = &mut self.clients[who];
        client.waits_since =
            if client.is_quiet() { None } else { client.waits_since.or(Some(self.now)) };
        let is_stuck = client.waits_since.is_some_and(|at| at + PATIENCE_MILLIS < self.now);
        if client.link.is_none() && self.broker.is_up() {
            client.waits_since = None;
            self.connect(who, false, 0);
        } else if is_stuck {
            self.cut(who, true);
        }
    }

    /// All sessions end and all retained messages go: nothing may be left.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        for who in 0..self.scene.actors {
            let qos = if who % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            self.publish(who, format!("r/{who}"), qos, 0, (true, true, false));
        }
        self.come_to_rest()?;
        for who in self.people().chain([FRESH]) {
            self.connect_to(who, true, 0, true);
        }
        self.pass(1000);
        for who in self.people().chain([FRESH]) {
            self.leave(who, false);
        }
        self.watches = false;
        self.pass(1500);
        let stats = self.broker.stats();
        // `Record::Settled`: one for each shard, if there are others.
        let settled = if self.scene.shards > 1 { u64::from(self.scene.shards) } else { 0 };
        let found = [
            ("sessions", stats.sessions),
            ("connections", stats.connected),
            ("queued messages", stats.queued),
            ("queued bytes", stats.queued_bytes),
            ("subscriptions", stats.subscriptions),
            ("shared subscriptions", stats.shared_subscriptions),
            ("retained messages", stats.retained),
            ("records without an owner", self.broker.live_records().saturating_sub(settled)),
        ];
        let is_possible = !self.history.is_damaged && !self.history.is_lossy();
        match found.iter().find(|(_, count)| *count > 0) {
            Some((what, count)) if is_possible => {
                let words = format!("after everything was given up: {count} {what}");
                Err(Failure { checker: "leftovers", words })
            }
            _ => Ok(()),
        }
    }
}
