//! Signals → what the broker is asked to do.

use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: Mosquitto saves its database; here the log is brought to the device.
    Save,
    /// SIGUSR2: Mosquitto prints its subscription tree.
    PrintTree,
    /// SIGRTMIN: the log file has been moved away.
    ReopenLog,
}

/// The signals the broker listens for.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
    user2: Signal,
    real_time: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            // The C library keeps some for itself: it is 34 with glibc, 35 with musl.
            real_time: signal(SignalKind::from_raw(libc::SIGRTMIN()))?,
        })
    }

    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Reload,
            _ = self.user1.recv() => Request::Save,
            _ = self.user2.recv() => Request::PrintTree,
            _ = self.real_time.recv() => Request::ReopenLog,
        }
    }
}
