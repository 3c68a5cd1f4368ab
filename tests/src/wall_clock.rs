//! A broker whose wall clock a test steps: `tests/c/clock.c`, loaded into its process.

use crate::Broker;
use crate::preload::Preload;

/// The wall clock of one broker; it goes on by itself between the steps.
#[derive(Debug)]
pub struct WallClock(Preload);

impl WallClock {
    /// Without a C compiler the test at `place` is skipped, which this says.
    pub fn new(place: &str) -> Option<WallClock> {
        let clock = WallClock(Preload::new(place, "clock", "MQTTD_TEST_CLOCK")?);
        clock.is_off_by(0);
        Some(clock)
    }

    /// [`Broker::with`] by this clock.
    #[track_caller]
    pub fn broker(&self, lines: &str) -> Broker {
        self.0.broker(lines)
    }

    /// Steps it to so many seconds before or after the real time.
    pub fn is_off_by(&self, seconds: i64) {
        self.0.order(&seconds.to_string());
    }
}
