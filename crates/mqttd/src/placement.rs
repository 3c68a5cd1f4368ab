//! Which worker runs which shard: all on the first while one thread is enough, so that a message
//! between two quiet Clients wakes no second thread; spread over all once it is not.
//!
//! ```text
//!              first worker busy for SPREAD_WINDOWS
//!   gathered ───────────────────────────────────────▶ spread: shard n on worker n mod workers
//!            ◀───────────────────────────────────────
//!              all workers together calm for GATHER_WINDOWS
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mqttd_core::ids::ShardId;

/// How long load is measured at a time.
const WINDOW: Duration = Duration::from_millis(50);

/// A worker that works more than this part of a window is busy: little room is left for a burst.
const BUSY_PERMILLE: u32 = 800;

/// Busy windows in a row before shards are spread: 0.2 s, longer than a burst of reconnects.
const SPREAD_WINDOWS: u32 = 4;

/// All workers together work less than this part of one thread: one is enough for them.
const CALM_PERMILLE: u32 = 350;

/// Calm windows in a row before shards are gathered: 5 s, so that a pause does not move them.
const GATHER_WINDOWS: u32 = 100;

/// The placement of all shards.
pub(crate) struct Placement {
    workers: Vec<Load>,
    is_spread: AtomicBool,
    /// Windows in a row that speak for a change.
    streak: AtomicU32,
    started: Instant,
}

/// What one worker does. Written by that worker only.
#[derive(Default)]
struct Load {
    /// Nanoseconds worked in the present window.
    worked: AtomicU64,
    /// When the window began, in nanoseconds since the start.
    window: AtomicU64,
    /// Part of the last window that was worked.
    permille: AtomicU32,
}

impl Placement {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| Load::default()).collect(),
            is_spread: AtomicBool::new(false),
            streak: AtomicU32::new(0),
            started: Instant::now(),
        }
    }

    /// Where the shard should run.
    pub(crate) fn worker_of(&self, shard: ShardId) -> usize {
        if self.is_spread.load(Ordering::Relaxed) {
            usize::from(shard.0) % self.workers.len()
        } else {
            0
        }
    }

    /// A shard has worked on this worker since `from`.
    pub(crate) fn worked(&self, worker: usize, from: Instant) {
        if self.workers.len() > 1 {
            self.worked_until(worker, from, Instant::now());
        }
    }

    fn worked_until(&self, worker: usize, from: Instant, to: Instant) {
        let load = &self.workers[worker];
        let worked = (to - from).as_nanos() as u64;
        load.worked.fetch_add(worked, Ordering::Relaxed);
        let now = (to - self.started).as_nanos() as u64;
        let elapsed = now.saturating_sub(load.window.load(Ordering::Relaxed));
        if elapsed >= WINDOW.as_nanos() as u64 {
            let worked = load.worked.swap(0, Ordering::Relaxed);
            load.window.store(now, Ordering::Relaxed);
            let permille = (worked * 1000 / elapsed).min(1000) as u32;
            load.permille.store(permille, Ordering::Relaxed);
            self.judge(worker, now);
        }
    }

    /// A window has ended: does it speak for a change?
    fn judge(&self, worker: usize, now: u64) {
        let is_spread = self.is_spread.load(Ordering::Relaxed);
        let (speaks, windows) = if is_spread {
            (self.total(now) < CALM_PERMILLE, GATHER_WINDOWS)
        } else if worker == 0 {
            (self.workers[0].permille.load(Ordering::Relaxed) > BUSY_PERMILLE, SPREAD_WINDOWS)
        } else {
            return;
        };
        if !speaks {
            self.streak.store(0, Ordering::Relaxed);
        } else if self.streak.fetch_add(1, Ordering::Relaxed) + 1 >= windows {
            self.streak.store(0, Ordering::Relaxed);
            self.is_spread.store(!is_spread, Ordering::Relaxed);
        }
    }

    /// What all workers do together; one without a recent window does nothing.
    fn total(&self, now: u64) -> u32 {
        let recent = 4 * WINDOW.as_nanos() as u64;
        let loads = self
            .workers
            .iter()
            .filter(|load| now.saturating_sub(load.window.load(Ordering::Relaxed)) < recent);
        loads.map(|load| load.permille.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a worker be busy for `permille` of each of `windows` windows.
    fn work(
        placement: &Placement,
        clock: &mut Instant,
        worker: usize,
        permille: u32,
        windows: u32,
    ) {
        for _ in 0..windows {
            let end = *clock + WINDOW;
            placement.worked_until(worker, end - WINDOW * permille / 1000, end);
            *clock = end;
        }
    }

    #[test]
    fn shards_spread_when_one_thread_is_not_enough_and_gather_when_it_is() {
        let placement = Placement::new(2);
        let mut clock = placement.started;
        let place = |placement: &Placement| placement.worker_of(ShardId(3));
        assert_eq!(place(&placement), 0);
        work(&placement, &mut clock, 0, 900, SPREAD_WINDOWS - 1);
        work(&placement, &mut clock, 0, 100, 1);
        work(&placement, &mut clock, 0, 900, SPREAD_WINDOWS - 1);
        assert_eq!(place(&placement), 0, "a burst moves nothing");
        work(&placement, &mut clock, 0, 900, 1);
        assert_eq!(place(&placement), 1);
        work(&placement, &mut clock, 1, 500, GATHER_WINDOWS * 2);
        assert_eq!(place(&placement), 1, "still too much for one");
        // What the other worker did last counts until it is four windows old.
        work(&placement, &mut clock, 0, 100, GATHER_WINDOWS + 4);
        assert_eq!(place(&placement), 0);
    }

    #[test]
    fn one_worker_has_everything() {
        let placement = Placement::new(1);
        let mut clock = placement.started;
        work(&placement, &mut clock, 0, 1000, SPREAD_WINDOWS * 3);
        assert_eq!(placement.worker_of(ShardId(5)), 0);
    }
}
