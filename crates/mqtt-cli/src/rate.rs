//! `--message-rate` and `--stats`: messages per second and the times between messages.

use std::time::Duration;

use crate::print::{say, tell};
use tokio::time::Instant;

/// Inter-arrival times kept for the percentiles of one second; beyond it, the oldest ones go.
const GAPS_MAX: usize = 1 << 16;

/// Counts messages second by second.
#[derive(Debug)]
pub struct Rate {
    prints_rate: bool,
    prints_stats: bool,
    began: Instant,
    tick: Instant,
    in_second: u64,
    total: u64,
    last: Option<Instant>,
    gaps: Vec<u32>,
    next_gap: usize,
}

impl Rate {
    /// `prints_rate` writes each second's number to stdout, `prints_stats` a line to stderr.
    pub fn new(prints_rate: bool, prints_stats: bool) -> Self {
        let now = Instant::now();
        Self {
            prints_rate,
            prints_stats,
            began: now,
            tick: now + Duration::from_secs(1),
            in_second: 0,
            total: 0,
            last: None,
            gaps: Vec::new(),
            next_gap: 0,
        }
    }

    /// When [`Rate::tick`] is due.
    pub fn next_tick(&self) -> Instant {
        self.tick
    }

    /// A message has arrived.
    pub fn count(&mut self) {
        let now = Instant::now();
        self.in_second += 1;
        self.total += 1;
        if self.prints_stats {
            if let Some(last) = self.last.replace(now) {
                self.add_gap((now - last).as_micros());
            }
        }
        if now >= self.tick {
            self.tick();
        }
    }

    fn add_gap(&mut self, micros: u128) {
        let gap = u32::try_from(micros).unwrap_or(u32::MAX);
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.gaps[self.next_gap] = gap;
            self.next_gap = (self.next_gap + 1) % GAPS_MAX;
        }
    }

    /// A second is over.
    pub fn tick(&mut self) {
        if self.prints_rate {
            say!("{}", self.in_second);
        }
        if self.prints_stats {
            tell!("{} messages/s, {}", self.in_second, percentiles(&mut self.gaps));
        }
        self.in_second = 0;
        self.tick = (self.tick + Duration::from_secs(1)).max(Instant::now());
    }

    /// The last line.
    pub fn summary(&mut self) {
        if self.prints_stats {
            let seconds = self.began.elapsed().as_secs_f64().max(0.001);
            let (total, rate) = (self.total, self.total as f64 / seconds);
            let gaps = percentiles(&mut self.gaps);
            tell!("{total} messages in {seconds:.1} s, {rate:.0} messages/s, {gaps}");
        }
    }
}

/// The median and the tail of the times between messages.
fn percentiles(gaps: &mut [u32]) -> String {
    if gaps.is_empty() {
        return "no times between messages yet".to_owned();
    }
    gaps.sort_unstable();
    let at = |percent: usize| f64::from(gaps[(gaps.len() - 1) * percent / 100]) / 1000.0;
    format!("between messages p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms", at(50), at(90), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut gaps: Vec<u32> = (1..=100).rev().map(|number| number * 1000).collect();
        let text = percentiles(&mut gaps);
        assert_eq!(text, "between messages p50 50.000 ms, p90 90.000 ms, p99 99.000 ms");
        assert!(percentiles(&mut []).contains("no times"));
    }

    #[test]
    fn old_times_go_when_there_are_too_many() {
        let mut rate = Rate::new(false, true);
        for _ in 0..GAPS_MAX {
            rate.add_gap(1);
        }
        rate.add_gap(u128::MAX);
        assert_eq!(rate.gaps.len(), GAPS_MAX);
        assert_eq!(rate.gaps[0], u32::MAX);
    }
}
