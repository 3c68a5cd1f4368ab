//! The folder of a store: `mqttd.store` with one log for each shard, and the number of shards.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mqttd_core::ids::ShardId;

/// The folder of the store, and for how many shards it was made.
#[derive(Debug)]
pub(crate) struct StoreFolder {
    pub(crate) path: PathBuf,
    pub(crate) shards: Option<u8>,
}

/// The folder's name below `persistence_location`.
pub(crate) const FOLDER: &str = "mqttd.store";

/// The file that says for how many shards a store was made.
const SHARDS_FILE: &str = "shards";

impl StoreFolder {
    /// Looks at `location/mqttd.store` without changing it.
    pub(crate) fn look(location: &Path) -> anyhow::Result<Self> {
        Self::look_at(location.join(FOLDER))
    }

    /// Looks at the folder itself.
    pub(crate) fn look_at(path: PathBuf) -> anyhow::Result<Self> {
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

    /// Makes the folder if there is none and notes the number of shards: sessions belong to shards
    /// by number, so a store keeps the number it was made with.
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

    /// The folder of one shard's log.
    pub(crate) fn of_shard(&self, shard: ShardId) -> PathBuf {
        self.path.join(format!("shard-{}", shard.0))
    }
}
