//! `mqtt-bench disk`: what one write + fdatasync costs, and which `durability` that allows.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::tally::Times;

/// Records that are written in front of one sync: alone, and a group of clients at once.
const BATCHES: [u32; 3] = [1, 16, 256];

/// The file never grows beyond this; writing then begins again at its front.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// 99 % of the syncs within this time: nobody notices that an acknowledgement waits for the disk.
const SYNC_GOOD_MICROS: f64 = 5_000.0;

/// Up to here `sync` is slow but usable for few messages a second.
const SYNC_BEARABLE_MICROS: f64 = 50_000.0;

/// Faster than any medium keeps data: the sync does not reach one.
const SYNC_UNBELIEVABLE_MICROS: f64 = 15.0;

/// The figures of a disk.
pub(crate) struct DiskReport {
    dir: PathBuf,
    size: u32,
    /// By [`BATCHES`]: the time of one write with its sync.
    syncs: Vec<(u32, Times)>,
}

/// Measures the disk that holds `dir`, `duration` for each batch size.
///
/// # Errors
/// The folder can't be written to, or the disk fails.
pub(crate) fn measure(dir: &Path, duration: Duration, size: u32) -> anyhow::Result<DiskReport> {
    let scratch = Scratch::new(dir)?;
    let mut file = scratch.open()?;
    let mut syncs = Vec::new();
    for batch in BATCHES {
        let records = vec![0xA5; size as usize * batch as usize];
        syncs.push((batch, measure_batch(&mut file, &records, duration)?));
    }
    Ok(DiskReport { dir: dir.to_owned(), size, syncs })
}

fn measure_batch(file: &mut File, records: &[u8], duration: Duration) -> anyhow::Result<Times> {
    use std::io::Seek as _;
    let mut times = Times::default();
    let mut written = 0;
    let end = Instant::now() + duration;
    // The first one makes room on the disk; a log that has been running has room. A disk on which
    // one takes longer than `duration` has a figure too.
    let (mut is_warm, mut is_measured) = (false, false);
    while !is_measured || Instant::now() < end {
        if written > FILE_BYTES_MAX {
            file.rewind()?;
            written = 0;
        }
        let start = Instant::now();
        file.write_all(records).context("write")?;
        file.sync_data().context("fdatasync")?;
        if is_warm {
            times.record(start.elapsed().as_nanos() as u64);
            is_measured = true;
        }
        written += records.len() as u64;
        is_warm = true;
    }
    Ok(times)
}

/// A file that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let is_dir = fs::metadata(dir).with_context(|| dir.display().to_string())?.is_dir();
        anyhow::ensure!(is_dir, "{} is not a folder", dir.display());
        Ok(Self(dir.join(format!(".mqtt-bench.{}", std::process::id()))))
    }

    fn open(&self) -> anyhow::Result<File> {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).open(&self.0);
        opened.with_context(|| format!("cannot write to {}", self.0.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made; there is nobody left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a disk is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    Sync,
    SyncForFew,
    Process,
    NoDisk,
}

/// The verdict about the median and the 99th percentile of a sync of one record, in microseconds.
fn advice(p50: f64, p99: f64) -> Advice {
    match (p50, p99) {
        (p50, _) if p50 < SYNC_UNBELIEVABLE_MICROS => Advice::NoDisk,
        (_, p99) if p99 <= SYNC_GOOD_MICROS => Advice::Sync,
        (_, p99) if p99 <= SYNC_BEARABLE_MICROS => Advice::SyncForFew,
        _ => Advice::Process,
    }
}

impl Advice {
    fn level(self) -> &'static str {
        match self {
            Self::Sync | Self::SyncForFew => "sync",
            Self::Process | Self::NoDisk => "process",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Sync => {
                "durability sync: acknowledgements wait a few milliseconds at most and survive a \
                 power cut."
            }
            Self::SyncForFew => {
                "durability sync, if a power cut must lose nothing and clients can wait tens of \
                 milliseconds; else durability process."
            }
            Self::Process => {
                "durability process: this disk is too slow to wait for. A crash of the broker \
                 loses nothing; a power cut may lose what came within the last second."
            }
            Self::NoDisk => {
                "durability process: a sync this fast reaches no medium (a file system in memory, \
                 or a disk cache that ignores it), so durability sync would promise what is not \
                 kept."
            }
        }
    }
}

impl DiskReport {
    fn advice(&self) -> Advice {
        let alone = &self.syncs[0].1;
        advice(alone.micros(0.5), alone.micros(0.99))
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let dir = self.dir.display();
        let mut text = format!("write + fdatasync in {dir}, records of {} bytes\n", self.size);
        text.push_str("  records/sync    syncs/s  records/s");
        for (name, _) in Times::default().percentiles() {
            text.push_str(&format!(" {:>10}", format!("{name} µs")));
        }
        text.push('\n');
        for (batch, times) in &self.syncs {
            let rate = per_second(times);
            let records = rate * f64::from(*batch);
            text.push_str(&format!("  {batch:>12} {rate:>10.0} {records:>10.0}"));
            for (_, micros) in times.percentiles() {
                text.push_str(&format!(" {micros:>10.0}"));
            }
            text.push('\n');
        }
        text + "Recommended: " + self.advice().words() + "\n"
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let batches: Vec<_> = self.syncs.iter().map(|(batch, times)| {
            json!({ "records": batch, "syncs_per_s": per_second(times), "sync": times.json() })
        }).collect();
        json!({
            "run": "disk",
            "dir": self.dir.display().to_string(),
            "record_bytes": self.size,
            "batches": batches,
            "durability": self.advice().level(),
            "recommendation": self.advice().words(),
        })
    }
}

fn per_second(times: &Times) -> f64 {
    let mean = times.mean_micros();
    if mean > 0.0 { 1e6 / mean } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_at_both_sides_of_every_bound() {
        for (p50, p99, expected) in [
            (SYNC_UNBELIEVABLE_MICROS - 1.0, 20.0, Advice::NoDisk),
            (SYNC_UNBELIEVABLE_MICROS, 20.0, Advice::Sync),
            (100.0, SYNC_GOOD_MICROS, Advice::Sync),
            (100.0, SYNC_GOOD_MICROS + 1.0, Advice::SyncForFew),
            (100.0, SYNC_BEARABLE_MICROS, Advice::SyncForFew),
            (100.0, SYNC_BEARABLE_MICROS + 1.0, Advice::Process),
        ] {
            assert_eq!(advice(p50, p99), expected, "{p50} {p99}");
        }
    }

    #[test]
    fn a_folder_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let report = measure(dir.path(), Duration::from_millis(20), 100).unwrap();
        assert_eq!(report.syncs.len(), BATCHES.len());
        for batch in 0..BATCHES.len() {
            assert!(report.json()["batches"][batch]["syncs_per_s"].as_f64().unwrap() > 0.0);
        }
        assert!(report.table().contains("Recommended: durability "));
        // No time at all, or a disk that takes longer: one sync is measured nevertheless.
        let report = measure(dir.path(), Duration::ZERO, 100).unwrap();
        assert!(report.json()["batches"][0]["syncs_per_s"].as_f64().unwrap() > 0.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(measure(&dir.path().join("none"), Duration::from_millis(1), 1).is_err());
    }
}
