//! Stores on disk, for the tasks: finding them, reading all their records, making new ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use mqttd_core::ids::{RecordId, ShardId};
use mqttd_store::{DiskOs, Mode, OpenReport, Options, Stats, Store};

use crate::durability::{FOLDER, StoreFolder};

/// A record's number and bytes.
pub(super) type Kept = (RecordId, Vec<u8>);

/// Bytes of one batch of an import.
const BATCH_BYTES: usize = 1 << 20;

/// Finds the store in `dir`: below it, or `dir` itself.
pub(super) fn find(dir: &Path) -> anyhow::Result<(StoreFolder, u8)> {
    for path in [dir.join(FOLDER), dir.to_owned()] {
        let folder = StoreFolder::look_at(path)?;
        if let Some(shards) = folder.shards {
            return Ok((folder, shards));
        }
    }
    bail!(
        "there is no store in {}: DIR is the broker's persistence_location, where it has made the \
         folder {FOLDER}",
        dir.display()
    )
}

/// Reads one shard's log. Fails when a broker has it open.
pub(super) fn read(
    folder: &StoreFolder,
    shard: ShardId,
    mut each: impl FnMut(RecordId, &[u8]),
) -> anyhow::Result<(OpenReport, Stats)> {
    let path = folder.of_shard(shard);
    ensure!(path.is_dir(), "{} is missing", path.display());
    let disk = DiskOs::new(&path).with_context(|| path.display().to_string())?;
    // The salt is that of the store; this one would only be used for a new one.
    let options = Options::new(Mode::Process, 0);
    let opened = Store::open(disk, options, |id, body| each(RecordId(id.0), body));
    let (store, report) = opened.with_context(|| path.display().to_string())?;
    Ok((report, store.stats()))
}

/// Where a new store is made.
pub(super) struct NewStore {
    target: PathBuf,
    /// The folder while it is being filled; renamed when it is whole.
    making: StoreFolder,
}

impl NewStore {
    /// Looks that there is no store in `dir` yet.
    pub(super) fn plan(dir: &Path) -> anyhow::Result<Self> {
        let target = dir.join(FOLDER);
        ensure!(!target.exists(), "{} exists already: move it away first", target.display());
        let path = dir.join(format!("{FOLDER}.import"));
        if path.exists() {
            // Left over from an import that was interrupted: nothing else makes this name.
            std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        Ok(Self { target, making: StoreFolder { path, shards: None } })
    }

    /// Writes the records of each shard, brings them to the device and puts the store in its place.
    pub(super) fn write(self, shards: &[Vec<Kept>]) -> anyhow::Result<()> {
        let path = &self.making.path;
        self.making.settle(shards.len() as u8)?;
        for (shard, records) in (0..).map(ShardId).zip(shards) {
            let path = self.making.of_shard(shard);
            write_shard(&path, records).with_context(|| format!("writing {}", path.display()))?;
        }
        let parent = self.target.parent().unwrap_or(Path::new("."));
        std::fs::rename(path, &self.target)
            .and_then(|()| std::fs::File::open(parent)?.sync_all())
            .with_context(|| format!("making {}", self.target.display()))
    }
}

fn write_shard(path: &Path, records: &[Kept]) -> anyhow::Result<()> {
    let disk = DiskOs::new(path)?;
    let mut salt = [0; 8];
    getrandom::fill(&mut salt)?;
    let options = Options::new(Mode::Process, u64::from_le_bytes(salt));
    let (mut store, _) = Store::open(disk, options, |_, _| {})?;
    for (id, body) in records {
        store.put(mqttd_store::RecordId(id.0), body)?;
        if store.staged_bytes() > BATCH_BYTES {
            store.commit()?;
        }
    }
    store.commit()?;
    store.sync()?;
    Ok(())
}
