//! Time as a number that the body hands in. Nothing in this crate can read a clock.

use core::fmt;

/// Milliseconds since the Unix epoch, never running backwards within one process.
///
/// Wall-clock time is the base because expiry intervals go on counting while the broker is down.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment and `millis` later, at most [`Instant::NEVER`].
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This moment and `seconds` later, at most [`Instant::NEVER`].
    #[must_use]
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        self.plus_millis((seconds as u64).saturating_mul(1000))
    }

    /// Whole seconds from `self` to `later`, rounded up; 0 when `later` has passed.
    pub const fn seconds_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0).div_ceil(1000)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER { f.write_str("never") } else { write!(f, "{} ms", self.0) }
    }
}
