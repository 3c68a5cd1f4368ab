//! A shard's log: what the shard appends in a turn goes to the operating system in one write before
//! anything of that turn leaves on a socket; syncs run on the blocking pool.
//!
//! ```text
//!   put/kill … ─▶ commit (write) ──▶ process: Durable at once, a sync follows within a second
//!                                └─▶ sync:    begin_sync ─▶ thread ─▶ Synced ─▶ Durable
//! ```

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use anyhow::Context;
use mqttd_core::ids::{Lsn, RecordId, ShardId};
use mqttd_core::restore::Restore;
use mqttd_store::{DiskOs, Mode, Options, Store, StoreError, SyncDone};

use mqttd_conf::LogType;

use crate::logging::Logger;
use crate::mailbox::{Item, Mailbox};

/// Longest time that a committed record waits for its background sync (`durability process`): what a
/// power cut can take.
pub(crate) const BACKGROUND_SYNC: Duration = Duration::from_secs(1);

/// When an acknowledgement may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// After the write.
    Process,
    /// After the sync.
    Sync,
}

/// One shard's log.
pub(crate) struct Durability {
    store: Store<DiskOs>,
    level: Level,
    /// Records appended since the last commit.
    staged: bool,
    /// Batches that wait for a sync: the store's number and the shard's.
    unsynced: VecDeque<(u64, Lsn)>,
    is_syncing: bool,
    /// When the oldest unsynced commit was made.
    unsynced_since: Option<Monotonic>,
    failing: Option<String>,
    mailbox: Arc<Mailbox>,
    logger: Logger,
}

/// What a commit led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing that anybody waits for.
    Nothing,
    /// Everything up to here is kept.
    Durable(Lsn),
    /// Everything up to here that was not kept before is refused.
    Refused(Lsn),
}

impl Durability {
    /// Opens the shard's part of the store and reads its records.
    pub(crate) fn open(
        folder: &Path,
        shard: ShardId,
        level: Level,
        mailbox: Arc<Mailbox>,
        logger: Logger,
    ) -> anyhow::Result<(Self, Restore)> {
        let path = folder.join(format!("shard-{}", shard.0));
        let disk = DiskOs::new(&path).with_context(|| format!("opening {}", path.display()))?;
        let mode = if level == Level::Sync { Mode::Sync } else { Mode::Process };
        let mut salt = [0; 8];
        getrandom::fill(&mut salt)?;
        let mut restore = Restore::default();
        let mut unreadable = 0;
        let options = Options::new(mode, u64::from_le_bytes(salt));
        let (store, report) = Store::open(disk, options, |id, body| {
            if restore.record(RecordId(id.0), body).is_err() {
                unreadable += 1;
            }
        })
        .with_context(|| format!("opening the store in {}", path.display()))?;
        let place = path.display();
        if let Some(torn) = &report.torn {
            logger.line(LogType::Warning, format_args!("Warning: store {place}: {torn}"));
        }
        for hole in &report.holes {
            logger.line(LogType::Error, format_args!("Error: store {place}: {hole}"));
        }
        if unreadable > 0 {
            anyhow::bail!(
                "the store in {} holds {unreadable} records that this version can't read; \
                 use the version that wrote them",
                path.display()
            );
        }
        let durability = Self {
            store,
            level,
            staged: false,
            unsynced: VecDeque::new(),
            is_syncing: false,
            unsynced_since: None,
            failing: None,
            mailbox,
            logger,
        };
        Ok((durability, restore))
    }

    pub(crate) fn put(&mut self, id: RecordId, body: &[u8]) {
        self.staged = true;
        if let Err(error) = self.store.put(mqttd_store::RecordId(id.0), body) {
            self.fail(&error);
        }
    }

    pub(crate) fn kill(&mut self, id: RecordId) {
        self.staged = true;
        self.store.kill(mqttd_store::RecordId(id.0));
    }

    /// Writes what has been appended; `appended` is the shard's number of its last record.
    pub(crate) fn commit(&mut self, appended: Lsn) -> Outcome {
        if !self.staged {
            return Outcome::Nothing;
        }
        self.staged = false;
        match self.store.commit() {
            Ok(committed) => {
                if self.failing.take().is_some() {
                    let text = format_args!("The store can be written again.");
                    self.logger.line(LogType::Notice, text);
                }
                self.unsynced_since.get_or_insert_with(Monotonic::now);
                if self.level == Level::Sync {
                    self.unsynced.push_back((committed.lsn, appended));
                    self.start_sync();
                    Outcome::Nothing
                } else {
                    Outcome::Durable(appended)
                }
            }
            Err(error) => {
                self.fail(&error);
                Outcome::Refused(appended)
            }
        }
    }

    /// A sync that [`Durability::start_sync`] began has ended.
    pub(crate) fn synced(&mut self, done: SyncDone) -> Outcome {
        self.is_syncing = false;
        match self.store.finish_sync(done) {
            Ok(lsn) => {
                let mut durable = Outcome::Nothing;
                while let Some((_, appended)) =
                    self.unsynced.pop_front_if(|(batch, _)| *batch <= lsn)
                {
                    durable = Outcome::Durable(appended);
                }
                if self.store.needs_sync() {
                    self.unsynced_since = Some(Monotonic::now());
                    if self.level == Level::Sync {
                        self.start_sync();
                    }
                } else {
                    self.unsynced_since = None;
                }
                durable
            }
            Err(error) => {
                self.fail(&error);
                match self.unsynced.drain(..).next_back() {
                    Some((_, appended)) => Outcome::Refused(appended),
                    None => Outcome::Nothing,
                }
            }
        }
    }

    /// When a background sync is due.
    pub(crate) fn sync_due(&self) -> Option<Monotonic> {
        if self.is_syncing {
            None
        } else {
            self.unsynced_since.map(|since| since + BACKGROUND_SYNC)
        }
    }

    /// Begins a sync on the blocking pool, unless one runs.
    pub(crate) fn start_sync(&mut self) {
        if self.is_syncing || !self.store.needs_sync() {
            self.unsynced_since = if self.is_syncing { self.unsynced_since } else { None };
            return;
        }
        match self.store.begin_sync() {
            Ok(job) => {
                self.is_syncing = true;
                let mailbox = Arc::clone(&self.mailbox);
                tokio::task::spawn_blocking(move || mailbox.send(Item::Synced(job.run())));
            }
            Err(error) => {
                self.unsynced_since = None;
                self.fail(&error);
            }
        }
    }

    /// At a clean stop: everything on the device, while the caller waits.
    pub(crate) fn close(&mut self) {
        if self.is_syncing {
            return; // the running sync covers all but the last turn, which the system holds
        }
        if let Err(error) = self.store.sync() {
            self.fail(&error);
        }
    }

    pub(crate) fn is_syncing(&self) -> bool {
        self.is_syncing
    }

    pub(crate) fn stats(&self) -> mqttd_store::Stats {
        self.store.stats()
    }

    fn fail(&mut self, error: &StoreError) {
        let text = error.to_string();
        if self.failing.as_deref() == Some(&*text) {
            return;
        }
        self.logger.line(
            LogType::Error,
            format_args!(
                "Error: the store can't keep messages: {text}. QoS 1 and 2 messages for persistent \
                 sessions and retained messages are refused until it can."
            ),
        );
        self.failing = Some(text);
    }
}

/// The folder of the store, and for how many shards it was made.
pub(crate) struct StoreFolder {
    pub(crate) path: PathBuf,
    pub(crate) shards: Option<u8>,
}

/// The file that says for how many shards a store was made.
const SHARDS_FILE: &str = "shards";

impl StoreFolder {
    /// Looks at `location/mqttd.store` without changing it.
    pub(crate) fn look(location: &Path) -> anyhow::Result<Self> {
        let path = location.join("mqttd.store");
        let file = path.join(SHARDS_FILE);
        let shards = match std::fs::read_to_string(&file) {
            Ok(text) => {
                Some(text.trim().parse().ok().filter(|n| (1..=64).contains(n)).with_context(
                    || format!("{} holds {text:?}, not a number of shards", file.display()),
                )?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        Ok(Self { path, shards })
    }

    /// Makes the folder if there is none and notes the number of shards: sessions belong to shards by
    /// number, so a store keeps the number it was made with.
    pub(crate) fn settle(&self, shards: u8) -> anyhow::Result<()> {
        if self.shards.is_some() {
            return Ok(());
        }
        let file = self.path.join(SHARDS_FILE);
        std::fs::create_dir_all(&self.path)
            .and_then(|()| std::fs::write(&file, format!("{shards}\n")))
            .with_context(|| {
                format!(
                    "making {}: persistence_location must be a folder that the user the broker \
                     runs as may write to",
                    file.display()
                )
            })
    }
}
