//! How long to wait before the next attempt to connect: a small machine without a clock.

use std::time::Duration;

/// The wait doubles from `first` to `max` and is shortened by up to `jitter`, so that many clients
/// which lost the same Server do not come back at the same moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The wait before the first attempt.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// The share of the wait that chance may take away: 0.0 (none) to 1.0.
    pub jitter: f64,
}

impl Default for Backoff {
    /// One second, doubling to 30 seconds, up to a fifth less by chance.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30), jitter: 0.2 }
    }
}

impl Backoff {
    /// The same wait each time.
    pub const fn constant(wait: Duration) -> Self {
        Self { first: wait, max: wait, jitter: 0.0 }
    }
}

/// The state of one row of attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    backoff: Backoff,
    failed: u32,
}

impl Attempts {
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self { backoff, failed: 0 }
    }

    /// A connection was accepted: the next row starts anew.
    pub(crate) const fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// The wait before the next attempt. `chance` is evenly spread over all values.
    pub(crate) fn next_wait(&mut self, chance: u32) -> Duration {
        let factor = 2u32.saturating_pow(self.failed.min(31));
        self.failed = self.failed.saturating_add(1);
        let wait = self.backoff.first.saturating_mul(factor).min(self.backoff.max);
        let share = f64::from(chance) / f64::from(u32::MAX) * self.backoff.jitter.clamp(0.0, 1.0);
        wait.mul_f64(1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_starts_anew_after_success() {
        let mut attempts =
            Attempts::new(Backoff { first: seconds(1), max: seconds(5), jitter: 0.0 });
        let waits: Vec<_> = (0..4).map(|_| attempts.next_wait(7)).collect();
        assert_eq!(waits, [seconds(1), seconds(2), seconds(4), seconds(5)]);
        for _ in 0..100 {
            assert_eq!(attempts.next_wait(u32::MAX), seconds(5));
        }
        attempts.succeeded();
        assert_eq!(attempts.next_wait(0), seconds(1));
    }

    #[test]
    fn chance_only_shortens_and_at_most_by_the_jitter() {
        let backoff = Backoff { first: seconds(10), max: seconds(10), jitter: 0.2 };
        assert_eq!(Attempts::new(backoff).next_wait(0), seconds(10));
        assert_eq!(Attempts::new(backoff).next_wait(u32::MAX), seconds(8));
    }

    #[test]
    fn a_constant_backoff_is_constant() {
        let mut attempts = Attempts::new(Backoff::constant(seconds(3)));
        assert_eq!(attempts.next_wait(u32::MAX), seconds(3));
        assert_eq!(attempts.next_wait(0), seconds(3));
    }
}
