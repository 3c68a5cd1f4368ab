//! `--random-filter`: a share of the messages, by chance.

/// Says yes in a given share of cases.
#[derive(Debug)]
pub struct Chance {
    random: fastrand::Rng,
    /// From 0 to 1.
    share: f64,
}

impl Chance {
    /// Yes in `percent` of a hundred cases; 100 is always.
    pub fn percent(percent: f64) -> Self {
        Self { random: fastrand::Rng::new(), share: percent / 100.0 }
    }

    /// The next case.
    pub fn happens(&mut self) -> bool {
        self.random.f64() < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_about_right() {
        for (percent, low, high) in [(100.0, 10_000, 10_000), (50.0, 4_700, 5_300), (1.0, 60, 140)]
        {
            let mut chance = Chance::percent(percent);
            chance.random.seed(0x5eed);
            let count = (0..10_000).filter(|_| chance.happens()).count();
            assert!((low..=high).contains(&count), "{percent}%: {count}");
        }
    }
}
