//! A few seconds of fuzzing on stable Rust: a seeded loop changes the seeds a little and asks every
//! entry. `MQTTD_FUZZ_SECONDS` makes it longer, `SEED` another one; a finding prints its bytes.

#![allow(missing_docs, reason = "a test binary has no readers from outside")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mqttd_fuzz::{ENTRIES, Entry, corpus};

/// Inputs that each entry is asked at least.
const INPUTS: u64 = 3000;
/// Bytes of an input.
const BYTES_MAX: usize = 4096;

struct Dice(fastrand::Rng);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0.usize(..sides.max(1))
    }

    /// Changes the bytes in one of the ways that break parsers.
    fn change(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        let at = self.roll(bytes.len() + 1);
        match self.roll(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.roll(8),
            1 if at < bytes.len() => {
                bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, b'\n', b' '][self.roll(7)]
            }
            2 => bytes.insert(at, self.roll(256) as u8),
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + self.roll(40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                let other = &others[self.roll(others.len())];
                let from = self.roll(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            7 => {
                let end = (at + 1 + self.roll(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                for _ in 0..self.roll(8) {
                    bytes.insert(at, self.roll(256) as u8);
                }
            }
        }
        bytes.truncate(BYTES_MAX);
    }
}

fn try_out(entry: &Entry) {
    let (name, ask, seeds) = entry;
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
    let seconds = std::env::var("MQTTD_FUZZ_SECONDS");
    let seconds: u64 = seconds.map_or(0, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let seeds = [seeds(), corpus(name)].concat();
    let mut asked = 0;
    while asked < INPUTS || Instant::now() < end {
        let mut bytes = seeds[dice.roll(seeds.len())].clone();
        // The seeds themselves first.
        if asked >= seeds.len() as u64 {
            for _ in 0..1 + dice.roll(6) {
                dice.change(&mut bytes, &seeds);
            }
        } else {
            bytes.clone_from(&seeds[asked as usize]);
        }
        asked += 1;
        if catch_unwind(AssertUnwindSafe(|| ask(&bytes))).is_err() {
            panic!("{name} fails for b\"{}\"", bytes.escape_ascii());
        }
    }
    println!("{name}: {asked} inputs");
}

#[test]
fn no_entry_breaks_on_changed_seeds() {
    ENTRIES.iter().for_each(try_out);
}

/// A seed that is refused at its first byte teaches nothing.
#[test]
fn a_store_segment_is_read_whole() {
    assert!(mqttd_fuzz::store_segment().len() > 200);
}
