//! The end of connections that the shard has closed: what waits is written, the sending side is
//! shut, the Client's closing is waited for, all within a bound.

use std::mem;
use std::time::{Duration, Instant as Monotonic};

use super::connection::State;
use super::turn::ShardTask;

/// How long a connection that the shard has closed may take to be written and shut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The same while the broker stops: nobody should wait for a Client that does not read.
const STOP_CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

impl ShardTask {
    /// Moves a connection that the shard has closed towards its end: once all is written, the
    /// sending side is shut, and the Client's closing is waited for.
    pub(super) fn advance_closing(&mut self, key: u32) {
        let Some(connection) = self.body.connections.get_mut(key as usize) else { return };
        if connection.state != State::Draining || !connection.wire.is_empty() {
            return;
        }
        match connection.shut() {
            Ok(true) => {
                connection.state = State::Lingering;
                connection.list();
            }
            Ok(false) => {}
            Err(_) => self.remove(key),
        }
    }

    /// Gives up on connections that take too long to end.
    pub(super) fn end_closing(&mut self) {
        let now = Monotonic::now();
        for key in mem::take(&mut self.body.closed) {
            if let Some(connection) = self.body.connections.get(key as usize) {
                let patience = if self.is_closing_all { STOP_CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
                self.closing.push_back((now + patience, key, connection.about.since));
            }
        }
        while let Some(&(until, key, since)) = self.closing.front() {
            if until > now {
                return;
            }
            self.closing.pop_front();
            let connection = self.body.connections.get(key as usize);
            if connection.is_some_and(|c| c.about.since == since && c.state != State::Open) {
                self.remove(key);
            }
        }
    }

    pub(super) fn remove(&mut self, key: u32) {
        self.body.connections.try_remove(key as usize);
    }
}
