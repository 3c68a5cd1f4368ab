//! The logs of this process: `mqttd-durability` on the system's disk, clock and blocking pool.

mod folder;

use std::fmt;
use std::sync::Arc;
use std::time::Instant as Monotonic;

use anyhow::Context;
use mqttd_conf::LogType;
use mqttd_core::ids::ShardId;
use mqttd_core::restore::Restore;
use mqttd_store::{DiskOs, SyncJob};

pub(crate) use folder::{FOLDER, StoreFolder};
pub(crate) use mqttd_durability::{
    BACKGROUND_SYNC, BACKGROUND_WRITE, Levels, Outcome, Progress, StoreReport,
};

use crate::logging::Logger;
use crate::mailbox::{Item, Mailbox};

/// One shard's log.
pub(crate) type Durability = mqttd_durability::Durability<Around>;

/// See [`mqttd_durability::Around`].
pub(crate) struct Around {
    mailbox: Arc<Mailbox>,
    logger: Logger,
}

impl mqttd_durability::Around for Around {
    type Disk = DiskOs;

    #[inline]
    fn now(&self) -> Monotonic {
        Monotonic::now()
    }

    fn say(&self, log_type: LogType, words: fmt::Arguments<'_>) {
        self.logger.line(log_type, words);
    }

    fn run(&self, job: SyncJob<DiskOs>) {
        let mailbox = Arc::clone(&self.mailbox);
        tokio::task::spawn_blocking(move || mailbox.send(Item::Synced(job.run())));
    }
}

/// Opens the shard's part of the store and reads its records.
pub(crate) fn open(
    folder: &StoreFolder,
    shard: ShardId,
    levels: Arc<Levels>,
    mailbox: Arc<Mailbox>,
    logger: Logger,
    progress: &Progress,
) -> anyhow::Result<(Durability, Restore)> {
    let path = folder.of_shard(shard);
    let place = path.display().to_string();
    let disk = DiskOs::new(&path).with_context(|| format!("opening {place}"))?;
    let mut salt = [0; 8];
    getrandom::fill(&mut salt)?;
    let around = Around { mailbox, logger };
    let options = Durability::options(&levels, u64::from_le_bytes(salt));
    Durability::open_with_progress(disk, options, levels, (&place, progress), around)
        .with_context(|| format!("opening the store in {place}"))
}
