//! What all threads of a run share: the phase, and counters for progress and for its end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::{Notify, watch};

use crate::clock::Clock;

/// Errors that are kept word for word; the others are only counted.
const ERRORS_KEPT: usize = 5;

/// Where a run is.
///
/// ```text
/// Connecting ──all connected──▶ Running ──time is up──▶ Stopping ──all arrived──▶ Closing
///                                  └────────── all published, all arrived ──────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connections are opened and subscriptions made.
    Connecting,
    /// Publishers publish; the schedule begins at this moment.
    Running(u64),
    /// Nothing new is published; what is under way may arrive.
    Stopping,
    /// Everybody says goodbye.
    Closing,
}

/// The board.
pub(crate) struct Board {
    /// One clock for all.
    pub(crate) clock: Clock,
    phase: watch::Sender<Phase>,
    /// Connections that are ready: subscribed, where they subscribe.
    pub(crate) ready: AtomicU64,
    /// Connections that never became ready.
    pub(crate) failed: AtomicU64,
    /// Connections that broke after they were ready.
    pub(crate) broken: AtomicU64,
    /// PUBLISH packets handed to sockets.
    pub(crate) sent: AtomicU64,
    /// Messages whose exchange is finished (QoS 1 and 2).
    pub(crate) acknowledged: AtomicU64,
    /// Messages acknowledged with an error code (5.0).
    pub(crate) refused: AtomicU64,
    /// PUBLISH packets received.
    pub(crate) received: AtomicU64,
    /// Payload bytes received.
    pub(crate) received_bytes: AtomicU64,
    /// Publishers with nothing left to do.
    pub(crate) publishers_done: AtomicU64,
    /// When the latest message or acknowledgement arrived.
    pub(crate) latest: AtomicU64,
    /// By publisher.
    pub(crate) flows: Vec<Flow>,
    errors: Mutex<Vec<String>>,
}

/// How far one publisher's messages have come.
#[derive(Default)]
pub(crate) struct Flow {
    /// Deliveries of its messages.
    pub(crate) arrived: AtomicU64,
    /// The publisher waits for `wake`.
    pub(crate) is_waiting: AtomicBool,
    /// Something has arrived.
    pub(crate) wake: Notify,
}

impl Board {
    /// Nothing has happened yet.
    pub(crate) fn new(publishers: u32) -> Self {
        Self {
            clock: Clock::new(),
            phase: watch::Sender::new(Phase::Connecting),
            ready: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            publishers_done: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            flows: (0..publishers).map(|_| Flow::default()).collect(),
            errors: Mutex::new(Vec::new()),
        }
    }

    /// The phase, and a way to wait for the next.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Enters a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// An error that a person may want to read.
    pub(crate) fn complain(&self, error: String) {
        let mut errors = self.errors.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if errors.len() < ERRORS_KEPT && !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// The first errors.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// So many messages of this publisher have arrived.
    pub(crate) fn arrived(&self, publisher: u32, count: u64) {
        if let Some(flow) = self.flows.get(publisher as usize) {
            // Sequentially consistent, so that either the publisher sees what has arrived or this
            // sees that it waits.
            flow.arrived.fetch_add(count, SeqCst);
            if flow.is_waiting.load(SeqCst) && flow.is_waiting.swap(false, SeqCst) {
                flow.wake.notify_one();
            }
        }
    }

    /// Nothing has arrived for long: what is missing counts as lost, and publishers that wait for
    /// it go on.
    pub(crate) fn forgive(&self, deliveries: u64) {
        for (number, flow) in self.flows.iter().enumerate() {
            if flow.is_waiting.load(SeqCst) {
                self.arrived(number as u32, deliveries);
            }
        }
    }

    /// Something has arrived at this moment.
    pub(crate) fn touch(&self, now: u64) {
        self.latest.fetch_max(now, Relaxed);
    }
}

/// Reads a counter.
pub(crate) fn value(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Adds to a counter, if there is something to add.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_kept_once_and_not_without_bound() {
        let board = Board::new(0);
        for number in 0..100 {
            board.complain(format!("error {}", number / 2));
        }
        let kept = board.errors();
        assert_eq!(kept.len(), ERRORS_KEPT);
        assert_eq!(kept[..2], ["error 0", "error 1"]);
    }

    #[tokio::test]
    async fn an_arrival_wakes_the_publisher_that_waits() {
        let board = Board::new(1);
        board.arrived(0, 2);
        board.flows[0].is_waiting.store(true, Relaxed);
        board.arrived(0, 3);
        board.arrived(9, 1);
        board.flows[0].wake.notified().await;
        assert_eq!(value(&board.flows[0].arrived), 5);
        assert!(!board.flows[0].is_waiting.load(Relaxed));
    }
}
