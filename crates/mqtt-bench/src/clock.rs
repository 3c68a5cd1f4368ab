//! Time: one clock for all threads of this process, and a timer finer than a millisecond.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch that never run backwards.
///
/// Wall-clock time is the base, so that `sub` can judge stamps of a `pub` in another process: on
/// one machine always, between machines as well as their clocks agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    unix_nanos: u64,
}

impl Clock {
    /// Starts at the system's time.
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // 584 years fit.
        Self { start: Instant::now(), unix_nanos: since_epoch.as_nanos() as u64 }
    }

    /// Now.
    pub(crate) fn now(&self) -> u64 {
        self.unix_nanos + self.start.elapsed().as_nanos() as u64
    }
}

/// Seconds between two moments of a [`Clock`].
pub(crate) fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

/// A timer that wakes a task within microseconds. tokio's own ticks in milliseconds, which would
/// show in every latency.
#[cfg(target_os = "linux")]
pub(crate) struct Timer(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer on the current runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[allow(
            deprecated,
            reason = "what replaces it is missing from most versions we build with"
        )]
        let watched = tokio::io::unix::AsyncFd::new(descriptor)?;
        Ok(Self(watched))
    }

    /// Sets the timer anew: the task is woken once `delay` has passed, and asks its clock again.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        delay: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let time = |delay: Duration| Timespec {
            tv_sec: delay.as_secs() as i64,
            tv_nsec: i64::from(delay.subsec_nanos()),
        };
        // Zero would switch the timer off.
        let delay = delay.max(Duration::from_nanos(1));
        let once = Itimerspec { it_interval: time(Duration::ZERO), it_value: time(delay) };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut guard = std::task::ready!(self.0.poll_read_ready(cx))?;
            match rustix::io::read(&self.0, &mut [0u8; 8]) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

/// Where there is no timer descriptor, tokio's milliseconds have to do; `late` in the report says
/// what that costs.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Timer(Pin<Box<tokio::time::Sleep>>);

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer on the current runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(Box::pin(tokio::time::sleep(Duration::ZERO))))
    }

    /// Sets the timer anew: the task is woken once `delay` has passed, and asks its clock again.
    pub(crate) fn poll(
        mut self: Pin<&mut Self>,
        delay: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.0.as_mut().reset(tokio::time::Instant::now() + delay);
        self.0.as_mut().poll(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn the_timer_waits_as_long_as_asked() {
        let mut timer = Timer::new().unwrap();
        for micros in [0, 300, 2500] {
            let start = Instant::now();
            let due = start + Duration::from_micros(micros);
            poll_fn(|cx| {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Poll::Ready(Ok(()));
                }
                Pin::new(&mut timer).poll(left, cx)
            })
            .await
            .unwrap();
            assert!(start.elapsed() >= Duration::from_micros(micros));
            assert!(start.elapsed() < Duration::from_secs(2));
        }
    }

    #[test]
    fn the_clock_goes_forward_from_the_systems_time() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first > 1_600_000_000_000_000_000);
        assert_eq!(seconds(1_500_000_000, 3_000_000_000), 1.5);
        assert_eq!(seconds(5, 3), 0.0);
    }
}
