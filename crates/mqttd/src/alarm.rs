//! Waiting for a moment. On Linux by a timer descriptor, which the kernel watches among the
//! sockets: a runtime without timers of its own sleeps without a timeout, and each message of a
//! quiet broker is spared setting one and taking it back.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

/// Wakes one task at one moment after the other.
pub(crate) struct Alarm {
    kind: Kind,
    set_to: Option<Instant>,
}

enum Kind {
    #[cfg(target_os = "linux")]
    Descriptor(descriptor::Descriptor),
    /// Elsewhere, and when no descriptor is left.
    Sleep(Pin<Box<Sleep>>),
}

impl Alarm {
    /// For the runtime this is called on.
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(descriptor) = descriptor::Descriptor::new() {
            return Self { kind: Kind::Descriptor(descriptor), set_to: None };
        }
        Self { kind: Kind::Sleep(Box::pin(sleep_until(Instant::now().into()))), set_to: None }
    }

    /// Ready once `at` has come; until then the task is woken for it. Another `at` than in the last
    /// call sets the alarm anew.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.set_to != Some(at) {
            self.set(at);
        }
        let rung = match &mut self.kind {
            #[cfg(target_os = "linux")]
            Kind::Descriptor(descriptor) => descriptor.poll(cx),
            Kind::Sleep(sleep) => sleep.as_mut().poll(cx),
        };
        if rung.is_ready() {
            self.set_to = None;
        }
        rung
    }

    fn set(&mut self, at: Instant) {
        match &mut self.kind {
            #[cfg(target_os = "linux")]
            Kind::Descriptor(descriptor) => descriptor.set(at),
            Kind::Sleep(sleep) => sleep.as_mut().reset(at.into()),
        }
        self.set_to = Some(at);
    }
}

/// Waits so long.
pub(crate) async fn sleep(duration: Duration) {
    let at = Instant::now() + duration;
    let mut alarm = Alarm::new();
    poll_fn(|cx| alarm.poll(at, cx)).await;
}

#[cfg(target_os = "linux")]
mod descriptor {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::task::{Context, Poll, ready};
    use std::time::{Duration, Instant};

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timer descriptor on a runtime.
    pub(super) struct Descriptor(AsyncFd<Timer>);

    /// Gives tokio the number it asks for.
    struct Timer(TimerFd);

    impl AsRawFd for Timer {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    impl Descriptor {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            #[allow(
                deprecated,
                reason = "what replaces it is missing from most versions we build with"
            )]
            let watched = AsyncFd::with_interest(Timer(timer), Interest::READABLE)?;
            Ok(Self(watched))
        }

        pub(super) fn set(&mut self, at: Instant) {
            // Zero would switch the timer off.
            let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            self.0
                .get_ref()
                .0
                .set(once, TimerSetTimeFlags::empty())
                .expect("the kernel takes every positive time for a timer descriptor");
        }

        pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            loop {
                let Ok(mut guard) = ready!(self.0.poll_read_ready(cx)) else {
                    return Poll::Ready(()); // the runtime ends
                };
                let mut expirations = [0; 8];
                match nix::unistd::read(&self.0.get_ref().0, &mut expirations) {
                    // What rang may have been set to another moment meanwhile: nothing to read.
                    Err(nix::errno::Errno::EAGAIN) => guard.clear_ready(),
                    _ => return Poll::Ready(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ring(alarm: &mut Alarm, after: Duration) {
        let at = Instant::now() + after;
        poll_fn(|cx| alarm.poll(at, cx)).await;
        assert!(Instant::now() >= at);
    }

    fn both() -> [Alarm; 2] {
        let now = Instant::now();
        let kind = Kind::Sleep(Box::pin(sleep_until(now.into())));
        [Alarm::new(), Alarm { kind, set_to: None }]
    }

    #[tokio::test]
    async fn it_rings_at_each_moment_and_not_before() {
        for mut alarm in both() {
            for millis in [0, 20, 1, 5] {
                ring(&mut alarm, Duration::from_millis(millis)).await;
            }
        }
    }

    #[tokio::test]
    async fn it_can_be_set_to_another_moment_before_and_after_it_has_rung() {
        for mut alarm in both() {
            let far = Instant::now() + Duration::from_secs(3600);
            let is_far = poll_fn(|cx| Poll::Ready(alarm.poll(far, cx).is_pending())).await;
            assert!(is_far);
            let near = Instant::now() + Duration::from_millis(2);
            let is_near = poll_fn(|cx| Poll::Ready(alarm.poll(near, cx).is_pending())).await;
            std::thread::sleep(Duration::from_millis(10));
            assert!(is_near);
            // It has rung, and nobody has asked.
            let is_far = poll_fn(|cx| Poll::Ready(alarm.poll(far, cx).is_pending())).await;
            assert!(is_far);
            ring(&mut alarm, Duration::from_millis(3)).await;
        }
    }
}
