//! One direction of a connection: bytes that are late, and a kernel that holds so many of them.

use std::collections::VecDeque;

/// Bytes under way, in order.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    chunks: VecDeque<(u64, Vec<u8>)>,
    /// Bytes under way.
    pub(crate) held: usize,
    /// Milliseconds that a chunk takes.
    pub(crate) lag: u64,
    last_due: u64,
    /// When the end of the stream arrives; nothing follows.
    pub(crate) end_due: Option<u64>,
    /// Nothing arrives any more.
    pub(crate) is_dead: bool,
}

impl Pipe {
    pub(crate) fn with_lag(lag: u64) -> Self {
        Self { lag, ..Self::default() }
    }

    pub(crate) fn send(&mut self, bytes: Vec<u8>, now: u64) {
        if bytes.is_empty() || self.is_dead || self.end_due.is_some() {
            return;
        }
        self.last_due = self.last_due.max(now + self.lag);
        self.held += bytes.len();
        self.chunks.push_back((self.last_due, bytes));
    }

    pub(crate) fn end(&mut self, now: u64) {
        self.last_due = self.last_due.max(now + self.lag);
        self.end_due.get_or_insert(self.last_due);
    }

    /// When something arrives next.
    pub(crate) fn due(&self) -> Option<u64> {
        if self.is_dead {
            return None;
        }
        self.chunks.front().map(|(due, _)| *due).or(self.end_due)
    }

    /// Takes what has arrived, at most `max` bytes.
    pub(crate) fn take(&mut self, now: u64, max: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while !self.is_dead && taken.len() < max {
            let Some((due, chunk)) = self.chunks.front_mut() else { break };
            if *due > now {
                break;
            }
            let part = (max - taken.len()).min(chunk.len());
            taken.extend(chunk.drain(..part));
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
        self.held -= taken.len();
        taken
    }

    /// All bytes have arrived, and the end too.
    pub(crate) fn has_ended(&self, now: u64) -> bool {
        !self.is_dead && self.chunks.is_empty() && self.end_due.is_some_and(|due| due <= now)
    }
}
