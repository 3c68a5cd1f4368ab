//! The time a message arrived, and its shapes.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// A point in time with nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    seconds: i64,
    nanoseconds: u32,
}

impl Moment {
    /// Now, by the system's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs() as i64, nanoseconds: since.subsec_nanos() }
    }

    /// From nanoseconds since 1970.
    #[cfg(test)]
    pub fn from_nanoseconds(total: u64) -> Self {
        let (seconds, nanoseconds) = (total / 1_000_000_000, total % 1_000_000_000);
        Self { seconds: seconds as i64, nanoseconds: nanoseconds as u32 }
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// Within the second.
    pub fn nanoseconds(&self) -> u32 {
        self.nanoseconds
    }

    /// Nanoseconds since 1970.
    pub fn total_nanoseconds(&self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }

    /// Appends the local time as strftime would write it. What strftime does not know appears as
    /// it stands.
    pub fn strftime(&self, format: &str, out: &mut Vec<u8>) {
        let Ok(time) = Timestamp::new(self.seconds, self.nanoseconds as i32) else { return };
        let time = time.to_zoned(local().clone());
        match strtime::format(format, &time) {
            Ok(text) => out.extend_from_slice(text.as_bytes()),
            Err(_) => out.extend_from_slice(format.as_bytes()),
        }
    }
}

/// The system's time zone; looked up once.
fn local() -> &'static TimeZone {
    static LOCAL: OnceLock<TimeZone> = OnceLock::new();
    LOCAL.get_or_init(TimeZone::system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strftime_writes_conversions_and_leaves_what_it_does_not_know() {
        let moment = Moment::from_nanoseconds(1_000_000_000_123_456_789);
        let mut out = Vec::new();
        moment.strftime("%s", &mut out);
        moment.strftime("%!", &mut out);
        assert_eq!(out, b"1000000000%!");
        assert_eq!((moment.seconds(), moment.nanoseconds()), (1_000_000_000, 123_456_789));
        assert_eq!(moment.total_nanoseconds(), 1_000_000_000_123_456_789);
    }
}
