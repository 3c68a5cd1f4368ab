//! Consistent copies of a store that is in use.

use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::segment::SegmentId;
use crate::store::Store;

const COPY_BYTES: usize = 256 << 10;

/// The committed state of a store at one moment. As long as it lives, the store removes no file.
/// It may be copied on another thread while the store is used.
pub struct Snapshot<D: Disk> {
    disk: Arc<D>,
    files: Vec<(SegmentId, u64)>,
    _pin: Arc<()>,
}

impl<D: Disk> Store<D> {
    /// Holds the committed state for a copy. What is staged does not belong to it.
    pub fn snapshot(&self) -> Snapshot<D> {
        let used = self.index.segments.iter().filter(|s| s.present && s.end > 0);
        Snapshot {
            disk: Arc::clone(&self.disk),
            files: used.map(|segment| (segment.id, segment.end)).collect(),
            _pin: Arc::clone(&self.sync.pin),
        }
    }

    /// Copies the committed state into `to`; see [`Snapshot::copy_to`].
    pub fn backup<T: Disk>(&self, to: &T) -> Result<u64, StoreError> {
        self.snapshot().copy_to(to)
    }
}

impl<D: Disk> Snapshot<D> {
    /// Copies into `to`, which must hold no store, and syncs it. Returns the bytes copied. The
    /// copy is a store
    /// like any other.
    pub fn copy_to<T: Disk>(&self, to: &T) -> Result<u64, StoreError> {
        let names = to.list().map_err(StoreError::io("listing the directory"))?;
        if let Some(file) = names.into_iter().find(|n| SegmentId::from_file_name(n).is_some()) {
            return Err(StoreError::Mixed { file });
        }
        let (mut total, mut buf) = (0, vec![0; COPY_BYTES]);
        for (id, end) in &self.files {
            let name = id.file_name();
            let from = self.disk.open(&name).map_err(StoreError::io("opening"))?;
            let file = to.create(&name).map_err(StoreError::io("creating a copy"))?;
            let mut at = 0;
            while at < *end {
                let part = (end - at).min(COPY_BYTES as u64) as usize;
                let read = from.read_at(at, &mut buf[..part]).map_err(StoreError::io("reading"))?;
                if read == 0 {
                    break;
                }
                file.write_at(at, &buf[..read]).map_err(StoreError::io("writing a copy"))?;
                at += read as u64;
            }
            file.sync_data().map_err(StoreError::io("syncing a copy"))?;
            total += at;
        }
        to.sync_dir().map_err(StoreError::io("syncing a directory"))?;
        Ok(total)
    }
}
