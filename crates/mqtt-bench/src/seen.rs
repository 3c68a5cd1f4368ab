//! Which messages of one publisher have arrived: ranges, so that a clean run costs one of them.

/// A set of sequence numbers, and how often one came again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Half-open, ascending, with gaps in between.
    ranges: Vec<(u64, u64)>,
    /// Arrivals of a number that was there already.
    pub(crate) duplicates: u64,
    /// Arrivals of a number behind a greater one.
    pub(crate) out_of_order: u64,
}

impl Seen {
    /// One arrival.
    pub(crate) fn insert(&mut self, sequence: u64) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == sequence => *end += 1,
            Some((_, end)) if *end < sequence => self.ranges.push((sequence, sequence + 1)),
            None => self.ranges.push((sequence, sequence + 1)),
            Some(_) => self.insert_behind(sequence),
        }
    }

    fn insert_behind(&mut self, sequence: u64) {
        let at = self.ranges.partition_point(|(_, end)| *end <= sequence);
        if self.ranges.get(at).is_some_and(|(start, _)| *start <= sequence) {
            self.duplicates += 1;
            return;
        }
        self.out_of_order += 1;
        let joins_left = at > 0 && self.ranges[at - 1].1 == sequence;
        let joins_right = self.ranges.get(at).is_some_and(|(start, _)| *start == sequence + 1);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 += 1,
            (false, true) => self.ranges[at].0 -= 1,
            (false, false) => self.ranges.insert(at, (sequence, sequence + 1)),
        }
    }

    /// How many different numbers have arrived.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Numbers missing between the first and the last that arrived.
    pub(crate) fn gaps(&self) -> u64 {
        let span = match (self.ranges.first(), self.ranges.last()) {
            (Some((start, _)), Some((_, end))) => end - start,
            _ => 0,
        };
        span - self.count()
    }

    /// What two receivers of one publisher's messages got together; a number that both have is a
    /// duplicate.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.ranges.iter().chain(&other.ranges).copied().collect();
        all.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (start, end) in all {
            match ranges.last_mut() {
                Some((_, last)) if start <= *last => *last = (*last).max(end),
                _ => ranges.push((start, end)),
            }
        }
        let mut united = Self {
            ranges,
            duplicates: self.duplicates + other.duplicates,
            out_of_order: self.out_of_order + other.out_of_order,
        };
        united.duplicates += self.count() + other.count() - united.count();
        united
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn of(numbers: &[u64]) -> Seen {
        let mut seen = Seen::default();
        numbers.iter().for_each(|it| seen.insert(*it));
        seen
    }

    #[test]
    fn losses_duplicates_and_disorder_are_told_apart() {
        let clean = of(&[0, 1, 2, 3]);
        assert_eq!((clean.count(), clean.gaps(), clean.ranges.len()), (4, 0, 1));
        let lost = of(&[0, 1, 4, 5]);
        assert_eq!((lost.count(), lost.gaps(), lost.duplicates), (4, 2, 0));
        let again = of(&[0, 1, 1, 0, 2]);
        assert_eq!((again.count(), again.duplicates, again.out_of_order), (3, 2, 0));
        let swapped = of(&[0, 2, 1, 3]);
        assert_eq!((swapped.count(), swapped.gaps(), swapped.out_of_order), (4, 0, 1));
        assert_eq!(swapped.ranges.len(), 1);
        let both = of(&[0, 2, 4]).union(&of(&[1, 2, 3]));
        assert_eq!((both.count(), both.duplicates, both.gaps()), (5, 1, 0));
    }

    #[test]
    fn it_agrees_with_a_plain_set() {
        let seed = 0x5eed_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let (mut first, mut second) = (Seen::default(), Seen::default());
            let (mut sets, mut repeated) = ([BTreeSet::new(), BTreeSet::new()], [0u64; 2]);
            for _ in 0..random.usize(..80) {
                let (which, number) = (random.usize(..2), random.u64(..40));
                [&mut first, &mut second][which].insert(number);
                repeated[which] += u64::from(!sets[which].insert(number));
            }
            assert_eq!(first.count(), sets[0].len() as u64, "seed {seed:#x}");
            assert_eq!(first.duplicates, repeated[0], "seed {seed:#x}");
            let union = first.union(&second);
            let all: BTreeSet<_> = sets[0].union(&sets[1]).collect();
            let common = sets[0].intersection(&sets[1]).count() as u64;
            assert_eq!(union.count(), all.len() as u64, "seed {seed:#x}");
            assert_eq!(union.duplicates, repeated[0] + repeated[1] + common, "seed {seed:#x}");
        }
    }
}
