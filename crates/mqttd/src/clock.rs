//! The only place that reads a clock for the shards.

use std::time::{Duration, Instant as Monotonic, SystemTime, UNIX_EPOCH};

use mqttd_core::time::Instant;

/// How long after the start a timer is set at most: ten years, which stand for never.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

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
        self.at(Monotonic::now())
    }

    /// A moment, for a shard.
    pub(crate) fn at(&self, moment: Monotonic) -> Instant {
        let millis = moment.saturating_duration_since(self.started).as_millis() as u64;
        Instant(self.epoch_millis + millis)
    }

    /// When a shard's moment comes, for a timer. A moment at 0 has passed.
    pub(crate) fn when(&self, at: Instant) -> Monotonic {
        let ahead = Duration::from_millis(at.0.saturating_sub(self.epoch_millis));
        self.started + ahead.min(FAR)
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
