//! One table of deadlines for the whole shard: keep alive, session expiry, delayed wills. Entries
//! are not moved when a deadline moves: a due entry is checked against the session, which knows.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::ids::{SessionKey, SessionUid};
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
