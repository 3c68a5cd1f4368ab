//! Confirmations between shards: a message that went to another one is kept there, not yet, or
//! never.
//!
//! ```text
//!  publisher's shard                receiving shard
//!  PUBLISH ─────── message ───────▶ record ── kept ─────▶ Kept
//!     ▲                                   └── refused ──▶ NotYet ── its log works again ─┐
//!     └──────────────── Confirm ────────────────┘                                       │
//!     └───────────────────────────────── Recovered, one for all that was refused ───────┘
//! ```
//! Who has said `NotYet` remembers nothing for it: one letter to each shard ends all waits for a
//! log. Logs count their recoveries, so that a `NotYet` which went a longer way (a message that was
//! passed on) is not waited for when the letter came before it.

use alloc::vec::Vec;
use mqtt_proto::count::Count;

use crate::acknowledge::Wait;
use crate::envelope::{Confirmation, Envelope, Token};
use crate::ids::ShardId;
use crate::matching::ShardSet;
use crate::output::Output;
use crate::shard::Shard;

/// What has been refused of that which an answer or a confirmation waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusal {
    /// By these logs, which are offered it again.
    by: ShardSet,
    /// For good.
    is_final: bool,
}

impl Refusal {
    const NONE: Self = Self { by: ShardSet::none(), is_final: false };
    const NEVER: Self = Self { by: ShardSet::none(), is_final: true };

    /// By this log, for now.
    pub(crate) fn by(log: ShardId) -> Self {
        Self { by: ShardSet::of(log), is_final: false }
    }

    /// Nothing is refused.
    pub(crate) fn is_none(self) -> bool {
        self.by.is_empty() && !self.is_final
    }

    /// Some log may take it yet, and none will never.
    pub(crate) fn may_pass(self) -> bool {
        !self.by.is_empty() && !self.is_final
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.by.union(other.by);
        self.is_final |= other.is_final;
    }

    /// The log works again and has taken it, or has given it up.
    pub(crate) fn recovered(&mut self, log: ShardId, is_kept: bool) {
        if self.by.contains(log) {
            self.by.remove(log);
            self.is_final |= !is_kept;
        }
    }
}

/// A confirmation for another shard. Never behind an answer: two shards would wait for each other.
#[derive(Debug)]
struct HeldConfirm {
    number: u64,
    wait: Wait,
    refusal: Refusal,
    to: ShardId,
    token: Token,
}

/// Confirmations that are held back, in no order, and what the logs have said of themselves.
#[derive(Default)]
pub(crate) struct Confirms {
    held: Vec<HeldConfirm>,
    made: u64,
    recoveries: Recoveries,
}

/// Tells the tokens of confirmations from those of answers.
const CONFIRM_TOKEN: u64 = 1 << 63;

impl Confirms {
    /// The token of the confirmation that is held next.
    pub(crate) fn next_token(&self) -> Token {
        Token(CONFIRM_TOKEN | self.made)
    }

    /// Whether the token is a confirmation's.
    pub(crate) fn made(token: Token) -> bool {
        token.0 & CONFIRM_TOKEN != 0
    }

    fn find(&mut self, token: Token) -> Option<(&mut Wait, &mut Refusal)> {
        let number = token.0 & !CONFIRM_TOKEN;
        let held = self.held.iter_mut().find(|held| held.number == number)?;
        Some((&mut held.wait, &mut held.refusal))
    }

    /// Changes what is known of each.
    pub(crate) fn each(&mut self, mut change: impl FnMut(&Wait, &mut Refusal)) {
        self.held.iter_mut().for_each(|held| change(&held.wait, &mut held.refusal));
    }
}

/// How often each log has recovered, and whether it had taken everything the last time.
#[derive(Default)]
struct Recoveries(Vec<(u32, bool)>);

impl Recoveries {
    fn of(&self, log: ShardId) -> (u32, bool) {
        self.0.get(usize::from(log.0)).copied().unwrap_or_default()
    }

    fn set(&mut self, log: ShardId, recoveries: u32, complete: bool) {
        let index = usize::from(log.0);
        if self.0.len() <= index {
            self.0.resize(index.saturating_add(1), (0, false));
        }
        if let Some(known) = self.0.get_mut(index) {
            *known = (recoveries, complete);
        }
    }

    fn confirmation(&self, refusal: Refusal) -> Confirmation {
        let mut logs = refusal.by.iter();
        match (logs.next(), logs.next()) {
            _ if refusal.is_final => Confirmation::Never,
            (None, _) => Confirmation::Kept,
            (Some(log), None) => Confirmation::NotYet { log, recoveries: self.of(log).0 },
            // Never: a message is kept here or passed on to one other shard.
            _ => Confirmation::Never,
        }
    }

    fn refusal(&self, confirmation: Confirmation) -> Refusal {
        match confirmation {
            Confirmation::Kept => Refusal::NONE,
            Confirmation::Never => Refusal::NEVER,
            Confirmation::NotYet { log, recoveries } => match self.of(log) {
                (known, _) if known <= recoveries => Refusal::by(log),
                (known, true) if known == recoveries.saturating_add(1) => Refusal::NONE,
                // Given up then, or nobody knows any more.
                _ => Refusal::NEVER,
            },
        }
    }
}

impl Shard {
    /// Tells another shard what has become of that which its token stands for, now or when it is
    /// known.
    pub(crate) fn confirm<O: Output>(
        &mut self,
        to: ShardId,
        token: Token,
        wait: Wait,
        out: &mut O,
    ) {
        let refusal = wait.refusal(self.id);
        let confirms = &mut self.held.confirms;
        if wait.confirms == 0 && wait.need <= self.journal.durable() {
            let confirmation = confirms.recoveries.confirmation(refusal);
            out.to_shard(to, Envelope::Confirm { token, confirmation });
            return;
        }
        let number = confirms.made;
        confirms.made.up(1);
        confirms.held.push(HeldConfirm { number, wait, refusal, to, token });
    }

    /// Another shard says what has become of that which the token stands for.
    pub(crate) fn confirmed<O: Output>(
        &mut self,
        token: Token,
        confirmation: Confirmation,
        out: &mut O,
    ) {
        let refused = self.held.confirms.recoveries.refusal(confirmation);
        let waiting = if Confirms::made(token) {
            self.held.confirms.find(token)
        } else {
            self.held.find(token)
        };
        if let Some((wait, refusal)) = waiting {
            wait.confirms = wait.confirms.saturating_sub(1);
            refusal.add(refused);
        }
        self.release(out);
    }

    /// Sends the confirmations that wait no longer.
    pub(crate) fn release_confirms<O: Output>(&mut self, out: &mut O) {
        let durable = self.journal.durable();
        let Confirms { held, recoveries, .. } = &mut self.held.confirms;
        held.retain(|held| {
            let waits = held.wait.confirms > 0 || held.wait.need > durable;
            if !waits {
                let confirmation = recoveries.confirmation(held.refusal);
                out.to_shard(held.to, Envelope::Confirm { token: held.token, confirmation });
            }
            waits
        });
    }

    /// The log works again and has taken what it had refused: all of it, or (`complete` is false)
    /// all but some messages.
    pub(crate) fn recovered<O: Output>(&mut self, complete: bool, out: &mut O) {
        self.journal.set_refusing(false);
        self.exchanges.recovered();
        let (id, known) = (self.id, &mut self.held.confirms.recoveries);
        let recoveries = known.of(id).0.saturating_add(1);
        known.set(id, recoveries, complete);
        for shard in self.others() {
            out.to_shard(shard, Envelope::Recovered { recoveries, complete });
        }
        self.log_works_again(id, complete, out);
    }

    /// The log of another shard likewise.
    pub(crate) fn recovered_elsewhere<O: Output>(
        &mut self,
        log: ShardId,
        recoveries: u32,
        complete: bool,
        out: &mut O,
    ) {
        self.held.confirms.recoveries.set(log, recoveries, complete);
        self.log_works_again(log, complete, out);
    }

    fn log_works_again<O: Output>(&mut self, log: ShardId, complete: bool, out: &mut O) {
        self.held.confirms.each(|_, refusal| refusal.recovered(log, complete));
        self.forgive(log, complete, out);
        self.release(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a log, and what it comes to for who knows of so many recoveries.
    #[test]
    fn a_late_not_yet_is_answered_by_the_recovery_that_came_before_it() {
        let log = ShardId(2);
        let not_yet = |recoveries| Confirmation::NotYet { log, recoveries };
        let mut known = Recoveries::default();
        assert!(known.refusal(not_yet(0)).may_pass());
        assert_eq!(known.confirmation(known.refusal(not_yet(0))), not_yet(0), "passed on");
        known.set(log, 1, true);
        assert!(known.refusal(not_yet(0)).is_none(), "kept meanwhile");
        assert!(known.refusal(not_yet(1)).may_pass(), "refused again");
        known.set(log, 2, false);
        assert!(!known.refusal(not_yet(1)).may_pass() && !known.refusal(not_yet(1)).is_none());
        known.set(log, 3, true);
        let long_ago = known.refusal(not_yet(1));
        assert_eq!(known.confirmation(long_ago), Confirmation::Never, "which of two was it?");
        assert_eq!(known.confirmation(known.refusal(not_yet(2))), Confirmation::Kept);
    }

    #[test]
    fn a_refusal_ends_with_the_last_log_that_recovers_unless_one_has_given_up() {
        let (one, two) = (ShardId(0), ShardId(63));
        for (first, second) in [(true, true), (true, false), (false, true)] {
            let mut refusal = Refusal::by(one);
            refusal.add(Refusal::by(two));
            refusal.recovered(ShardId(1), false);
            refusal.recovered(one, first);
            assert_eq!(refusal.may_pass(), first);
            refusal.recovered(two, second);
            assert!(!refusal.may_pass());
            assert_eq!(refusal.is_none(), first && second);
        }
    }
}
