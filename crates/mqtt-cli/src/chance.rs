//! `--random-filter`: a share of the messages, by chance.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator that says yes in a given share of cases.
#[derive(Debug)]
pub struct Chance {
    state: u64,
    /// Yes below this.
    limit: u64,
}

impl Chance {
    /// Yes in `percent` of a hundred cases; 100 is always.
    pub fn percent(percent: f64) -> Self {
        Self::seeded(percent, RandomState::new().build_hasher().finish())
    }

    fn seeded(percent: f64, seed: u64) -> Self {
        let limit =
            if percent >= 100.0 { u64::MAX } else { (percent / 100.0 * u64::MAX as f64) as u64 };
        Self { state: seed | 1, limit }
    }

    /// The next case.
    pub fn happens(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.limit == u64::MAX || self.state < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_about_right() {
        for (percent, low, high) in [(100.0, 10_000, 10_000), (50.0, 4_700, 5_300), (1.0, 60, 140)]
        {
            let mut chance = Chance::seeded(percent, 0x5eed);
            let count = (0..10_000).filter(|_| chance.happens()).count();
            assert!((low..=high).contains(&count), "{percent}%: {count}");
        }
    }
}
