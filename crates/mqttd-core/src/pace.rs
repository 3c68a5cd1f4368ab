//! Rates: how much of something may happen in a second. The shard refuses what is above one; the
//! body stops reading until it is below again.

use crate::time::Instant;

/// Milliseconds that a pause lasts at most, however much was sent at once: a Client with a short
/// Keep Alive is to be heard again before it counts as gone.
pub const PAUSE_MILLIS_MAX: u64 = 5000;

/// What one Client may send in a second; `None`: no bound. Carried out by the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// PUBLISH packets.
    pub messages: Option<u64>,
    /// Bytes of packets.
    pub bytes: Option<u64>,
    /// Who sends more is disconnected with 0x96 instead of being read more slowly.
    pub disconnects: bool,
}

impl Rates {
    /// There is a bound.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

/// How much of a rate is used: one second's worth may come at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// In thousandths, so that it empties evenly by the millisecond.
    used: u64,
    at: Instant,
}

impl Bucket {
    /// Takes one if there is one.
    pub fn take(&mut self, per_second: u64, now: Instant) -> bool {
        self.empty(per_second, now);
        let used = self.used.saturating_add(1000);
        let fits = used <= per_second.saturating_mul(1000);
        if fits {
            self.used = used;
        }
        fits
    }

    /// Notes what has happened already. Returns the milliseconds until there is room again.
    pub fn charge(&mut self, count: u64, per_second: u64, now: Instant) -> u64 {
        self.empty(per_second, now);
        let full = per_second.saturating_mul(1000);
        let worst = full.saturating_add(per_second.saturating_mul(PAUSE_MILLIS_MAX));
        self.used = self.used.saturating_add(count.saturating_mul(1000)).min(worst);
        self.used.saturating_sub(full).div_ceil(per_second.max(1))
    }

    /// Nothing of it is used now.
    pub fn is_empty(&self, per_second: u64, now: Instant) -> bool {
        let mut now_is = *self;
        now_is.empty(per_second, now);
        now_is.used == 0
    }

    fn empty(&mut self, per_second: u64, now: Instant) {
        let millis = now.0.saturating_sub(self.at.0);
        self.used = self.used.saturating_sub(per_second.saturating_mul(millis));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_may_come_at_once_and_then_the_rate_holds() {
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, at| (0..100).filter(|_| bucket.take(10, at)).count();
        assert_eq!(taken(&mut bucket, Instant(50_000)), 10);
        assert_eq!(taken(&mut bucket, Instant(50_099)), 0);
        assert_eq!(taken(&mut bucket, Instant(50_100)), 1);
        assert_eq!(taken(&mut bucket, Instant(50_500)), 4);
        assert_eq!(taken(&mut bucket, Instant(90_000)), 10, "no more than a second's worth");
    }

    #[test]
    fn what_is_above_the_rate_is_waited_for_but_not_for_ever() {
        let mut bucket = Bucket::default();
        let at = Instant(50_000);
        assert_eq!(bucket.charge(1000, 1000, at), 0);
        assert_eq!(bucket.charge(500, 1000, at), 500);
        assert_eq!(bucket.charge(0, 1000, Instant(50_400)), 100);
        assert_eq!(bucket.charge(0, 1000, Instant(50_500)), 0);
        assert!(!bucket.is_empty(1000, Instant(50_500)));
        assert!(bucket.is_empty(1000, Instant(51_500)));
        assert_eq!(bucket.charge(u64::MAX, 1, Instant(60_000)), PAUSE_MILLIS_MAX);
        assert_eq!(bucket.charge(u64::MAX, u64::MAX, Instant(60_000)), 0);
    }
}
