//! One table of deadlines for the whole shard: keep alive, session expiry, delayed wills, expired
//! messages. Entries are not moved when a deadline moves: a due entry is checked against the
//! session, which knows.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::ids::{SessionKey, SessionUid};
use crate::limits::{QUEUE_SWEEP_MILLIS, QUEUE_SWEEP_ROUND, QUEUE_SWEEP_STEP_MIN};
use crate::output::Output;
use crate::shard::Shard;
use crate::time::Instant;

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The connection with this epoch has been silent too long, perhaps.
    KeepAlive(SessionKey, u64),
    /// The session's expiry interval has passed, if it was absent all the time.
    Session(SessionKey, SessionUid),
    /// The Will Delay Interval has passed.
    Will(SessionKey, SessionUid),
    /// Retained messages may have expired.
    Retained,
    /// Waiting messages may have expired.
    Queues,
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        if at < Instant::NEVER {
            self.heap.push(Reverse((at, timer)));
        }
    }

    /// The next entry that is due, taken out.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let due = self.next()? <= now;
        if due { self.heap.pop().map(|Reverse((_, timer))| timer) } else { None }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

/// Where the walk over all queues stands that takes out expired messages.
#[derive(Default)]
pub(crate) struct QueueSweep {
    /// A timer is set: somewhere a message with an expiry may wait.
    is_on: bool,
    /// Place in the table of sessions.
    at: usize,
    /// One was seen in this round.
    has_seen: bool,
}

impl Shard {
    /// A message that can expire waits in a queue.
    pub(crate) fn start_queue_sweep(&mut self, now: Instant) {
        self.sweep.has_seen = true;
        if !core::mem::replace(&mut self.sweep.is_on, true) {
            self.timers.set(now.plus_millis(QUEUE_SWEEP_MILLIS), Timer::Queues);
        }
    }

    /// Takes expired messages out of some sessions' queues; all of them have had their turn after
    /// [`QUEUE_SWEEP_ROUND`] calls.
    pub(crate) fn sweep_queues<O: Output>(&mut self, now: Instant, out: &mut O) {
        let places = self.sessions.places();
        let step = QUEUE_SWEEP_STEP_MIN.max(places / QUEUE_SWEEP_ROUND);
        let end = self.sweep.at.saturating_add(step).min(places);
        for place in self.sweep.at..end {
            let Some((key, session)) = self.sessions.at(place) else { continue };
            if session.queue.iter().any(|kept| kept.message.expires_at < Instant::NEVER) {
                self.drop_expired(key, now, out);
                self.sweep.has_seen = true;
            }
        }
        self.sweep.at = end;
        if end == places {
            self.sweep.at = 0;
            if !core::mem::take(&mut self.sweep.has_seen) {
                self.sweep.is_on = false;
                return;
            }
        }
        self.timers.set(now.plus_millis(QUEUE_SWEEP_MILLIS), Timer::Queues);
    }

    /// Takes out entries that no longer mean anything, once they may be the most: a Client can make
    /// new ones by connecting again and again.
    pub(crate) fn prune_timers(&mut self) {
        // Each session has at most three that count, and two are the shard's own.
        if self.timers.heap.len() <= self.sessions.len().saturating_mul(8).saturating_add(64) {
            return;
        }
        let sessions = &self.sessions;
        self.timers.heap.retain(|Reverse((at, timer))| match *timer {
            Timer::KeepAlive(key, epoch) => sessions
                .find(key)
                .and_then(|session| session.online.as_ref())
                .is_some_and(|online| online.epoch == epoch),
            Timer::Session(key, uid) => sessions
                .find(key)
                .is_some_and(|session| session.uid == uid && session.timer_at == *at),
            Timer::Will(key, uid) => sessions.find(key).is_some_and(|session| {
                session.uid == uid
                    && session.will.as_ref().is_some_and(|will| will.due == Some(*at))
            }),
            Timer::Retained => self.retained.timer_at == *at,
            Timer::Queues => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_in_order_when_they_are_due() {
        let mut timers = Timers::default();
        timers.set(Instant(20), Timer::Retained);
        timers.set(Instant(10), Timer::KeepAlive(SessionKey(1), 7));
        timers.set(Instant::NEVER, Timer::Retained);
        assert_eq!(timers.next(), Some(Instant(10)));
        assert_eq!(timers.pop_due(Instant(9)), None);
        assert_eq!(timers.pop_due(Instant(10)), Some(Timer::KeepAlive(SessionKey(1), 7)));
        assert_eq!(timers.pop_due(Instant(19)), None);
        assert_eq!(timers.pop_due(Instant(30)), Some(Timer::Retained));
        assert_eq!(timers.next(), None);
    }
}
