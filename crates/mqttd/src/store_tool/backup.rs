//! `backup`: a copy of a store, also while a broker writes to it. Needs no word with the broker.
//!
//! A log only grows at its end, and segments go from its beginning, each only after a later batch
//! has said that nothing lives in it. So the copy goes up from the oldest segment, again and again,
//! until nothing newer has come up: then it is the log as it was at one moment, perhaps with a
//! batch cut short behind it, which the next opening drops like any other torn tail. A segment that
//! has gone meanwhile is one that a batch further up in the copy declares dead. A file that the
//! broker has renamed for reuse while it was read counts as gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use mqttd_core::ids::ShardId;

use super::{Verdict, files};
use crate::durability::{FOLDER, StoreFolder};

/// How often the end of a log is looked for again, and how often a copy that does not verify is
/// made anew.
const PASSES_MAX: usize = 1000;
const COPIES_MAX: usize = 5;

/// Copies the store in `dir` into `to`.
pub(super) fn backup(dir: &Path, to: &Path) -> anyhow::Result<Verdict> {
    let (from, shards) = files::find(dir)?;
    let target = StoreFolder { path: to.join(FOLDER), shards: None };
    ensure!(!target.path.exists(), "{} exists already", target.path.display());
    // The file with the number of shards comes last: without it there is no store.
    let (mut bytes, mut verdict) = (0, Verdict::Good);
    for shard in (0..shards).map(ShardId) {
        let (copied, damaged) = copy_shard(&from, &target, shard)?;
        bytes += copied;
        if damaged {
            verdict = Verdict::Damaged;
        }
    }
    target.settle(shards)?;
    for folder in [&target.path, &to.to_owned()] {
        File::open(folder).and_then(|folder| folder.sync_all())?;
    }
    eprintln!("{bytes} bytes of {shards} shards copied to {}.", target.path.display());
    Ok(verdict)
}

/// Copies a shard's log and reads the copy. Returns its bytes, and whether it is damaged as the
/// original must be.
fn copy_shard(
    from: &StoreFolder,
    target: &StoreFolder,
    shard: ShardId,
) -> anyhow::Result<(u64, bool)> {
    let (source, copy) = (from.of_shard(shard), target.of_shard(shard));
    for attempt in 1.. {
        fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
        let bytes = copy_log(&source, &copy)
            .with_context(|| format!("copying {} to {}", source.display(), copy.display()))?;
        let (report, _) = files::read(target, shard, |_, _| {})?;
        if report.holes.is_empty() {
            return Ok((bytes, false));
        }
        if attempt == COPIES_MAX {
            for hole in &report.holes {
                eprintln!("mqttd store: {}: {hole}", copy.display());
            }
            return Ok((bytes, true));
        }
        fs::remove_dir_all(&copy)?;
    }
    unreachable!("the loop has no other end")
}

fn copy_log(source: &Path, copy: &Path) -> anyhow::Result<u64> {
    // Segments that will not change again, and their bytes.
    let mut whole: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..PASSES_MAX {
        let names = segments(source)?;
        let mut last = 0;
        for (at, name) in names.iter().enumerate() {
            if whole.contains_key(name) {
                continue;
            }
            let bytes = copy_segment(&source.join(name), &copy.join(name))?;
            if at + 1 < names.len() {
                // One that has a successor is not written to any more.
                whole.extend(bytes.map(|bytes| (name.clone(), bytes)));
            } else {
                last = bytes.unwrap_or(0);
            }
        }
        if segments(source)?.last() == names.last() {
            File::open(copy)?.sync_all()?;
            return Ok(whole.values().sum::<u64>() + last);
        }
    }
    bail!("the log grows faster than it can be copied")
}

fn segments(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string() {
            if name.ends_with(".log") {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Copies one segment and returns its bytes; `None` when it has gone.
fn copy_segment(from: &Path, to: &Path) -> anyhow::Result<Option<u64>> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let mut source = match File::open(from) {
        Err(error) if gone(&error) => return Ok(None),
        opened => opened?,
    };
    let mut options = File::options();
    let mut target = options.create(true).truncate(true).write(true).mode(0o600).open(to)?;
    let bytes = std::io::copy(&mut source, &mut target)?;
    target.sync_all()?;
    let is_same = match fs::metadata(from) {
        Ok(now) => now.ino() == source.metadata()?.ino(),
        Err(error) if gone(&error) => false,
        Err(error) => return Err(error.into()),
    };
    if is_same {
        return Ok(Some(bytes));
    }
    fs::remove_file(to)?;
    Ok(None)
}
