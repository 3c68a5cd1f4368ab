//! The only place that reads a clock for the shards.

use std::time::{Duration, Instant as Monotonic, SystemTime, UNIX_EPOCH};

use mqttd_core::time::Instant;

/// Wall-clock time at start, carried on by the monotonic clock, so that it never runs backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Monotonic,
    epoch_millis: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Monotonic::now(), epoch_millis: since_epoch.as_millis() as u64 }
    }

    /// Now, for a shard.
    pub(crate) fn now(&self) -> Instant {
        Instant(self.epoch_millis + self.started.elapsed().as_millis() as u64)
    }

    /// When a shard's moment comes, for a timer. A moment at 0 has passed; one that never comes is
    /// a day away, when the question is asked again.
    pub(crate) fn when(&self, at: Instant) -> Monotonic {
        let ahead = at.0.saturating_sub(self.epoch_millis).min(self.day_from_now());
        self.started + Duration::from_millis(ahead)
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn day_from_now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 86_400_000
    }
}
