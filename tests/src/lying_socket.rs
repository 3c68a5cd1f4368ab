//! A broker whose sockets lie: `tests/c/receive.c`, loaded into its process, so that what serves
//! one connection panics.

use crate::Broker;
use crate::preload::Preload;

/// The word that stands in what a connection sends so that reading it panics.
pub const WORD: &str = "injected-panic";

/// See the file's head.
#[derive(Debug)]
pub struct LyingSocket(Preload);

impl LyingSocket {
    /// Without a C compiler the test at `place` is skipped, which this says.
    pub fn new(place: &str) -> Option<LyingSocket> {
        let socket = LyingSocket(Preload::new(place, "receive", "MQTTD_TEST_RECEIVE")?);
        socket.0.order(WORD);
        Some(socket)
    }

    /// [`Broker::with`] on such sockets.
    #[track_caller]
    pub fn broker(&self, lines: &str) -> Broker {
        self.0.broker(lines)
    }
}
