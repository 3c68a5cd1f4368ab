//! Making commits survive a power cut, and removing what no longer counts once that is on the
//! device.
//! The waiting can be done on another thread: see [`Store::begin_sync`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::index::Index;
use crate::segment::SegmentId;
use crate::store::{Mode, Store};

/// Dead segments kept for reuse in [`Mode::Sync`].
const MAX_FREE: usize = 4;

/// What is not yet on the device, and what may go once it is.
pub(crate) struct SyncState<D: Disk> {
    /// Segments with unsynced bytes, oldest first. Those found at opening have no open file.
    unsynced: VecDeque<(SegmentId, Option<Arc<D::File>>)>,
    dir_changed: bool,
    /// Dead segments and the batch that says so.
    retired: VecDeque<(u64, SegmentId)>,
    /// Files to be removed.
    pub(crate) doomed: Vec<String>,
    /// Files for reuse.
    pub(crate) free: Vec<String>,
    durable: u64,
    outstanding: bool,
    failed: Option<String>,
    /// Held by every snapshot; as long as one lives, no file is removed or reused.
    pub(crate) pin: Arc<()>,
}

/// The waiting part of a sync. May run on any thread, while the store goes on committing.
pub struct SyncJob<D: Disk> {
    disk: Arc<D>,
    files: Vec<(SegmentId, Option<Arc<D::File>>)>,
    dir: bool,
    lsn: u64,
}

/// A sync that ran, to be given back to [`Store::finish_sync`].
#[derive(Debug)]
#[must_use]
pub struct SyncDone {
    lsn: u64,
    result: io::Result<()>,
}

impl<D: Disk> SyncJob<D> {
    /// Waits for the device.
    pub fn run(self) -> SyncDone {
        SyncDone { lsn: self.lsn, result: self.wait() }
    }

    fn wait(&self) -> io::Result<()> {
        for (id, file) in &self.files {
            match file {
                Some(file) => file.sync_data()?,
                None => self.disk.open(&id.file_name())?.sync_data()?,
            }
        }
        if self.dir { self.disk.sync_dir() } else { Ok(()) }
    }
}

impl<D: Disk> SyncState<D> {
    pub(crate) fn after_open(index: &Index, doomed: Vec<String>) -> SyncState<D> {
        let present = index.segments.iter().filter(|segment| segment.present);
        SyncState {
            unsynced: present.map(|segment| (segment.id, None)).collect(),
            dir_changed: true,
            retired: VecDeque::new(),
            doomed,
            free: Vec::new(),
            durable: 0,
            outstanding: false,
            failed: None,
            pin: Arc::new(()),
        }
    }

    pub(crate) fn failed(&self) -> Option<String> {
        self.failed.clone()
    }

    /// The lowest segment whose file may be needed again: those below are dead by batches on the
    /// device.
    pub(crate) fn settled_head(&self, index: &Index) -> u64 {
        let waiting = self.retired.iter().find(|(lsn, _)| *lsn > self.durable);
        waiting.map_or(index.head(), |(_, id)| id.number)
    }

    /// True when a sync made now would be followed by removals.
    pub(crate) fn frees_space(&self) -> bool {
        !self.outstanding && self.failed.is_none() && !self.retired.is_empty()
    }

    pub(crate) fn dir_changed(&mut self) {
        self.dir_changed = true;
    }

    pub(crate) fn wrote(&mut self, id: SegmentId, file: Arc<D::File>) {
        if self.unsynced.back().is_none_or(|(last, _)| *last != id) {
            self.unsynced.push_back((id, Some(file)));
        }
    }
}

impl<D: Disk> Store<D> {
    /// Makes every batch committed so far survive a power cut and returns the last one's sequence
    /// number.
    ///
    /// A failure is final: what the device holds is unknown, and every later commit and sync is
    /// refused.
    pub fn sync(&mut self) -> Result<u64, StoreError> {
        let done = self.begin_sync()?.run();
        self.finish_sync(done)
    }

    /// The first half of [`Store::sync`]: what has to be waited for. The store can be used
    /// meanwhile; the
    /// result must be given to [`Store::finish_sync`] before the next sync.
    pub fn begin_sync(&mut self) -> Result<SyncJob<D>, StoreError> {
        if let Some(reason) = self.sync.failed() {
            return Err(StoreError::SyncFailed { reason });
        }
        if self.sync.outstanding {
            return Err(StoreError::SyncOutstanding);
        }
        self.sync.outstanding = true;
        let head = self.index.head();
        let mut files = std::mem::take(&mut self.sync.unsynced);
        // Segments that the batches to be synced declare dead need not reach the device.
        files.retain(|(id, _)| id.number >= head);
        let dir = std::mem::take(&mut self.sync.dir_changed);
        Ok(SyncJob { disk: Arc::clone(&self.disk), files: files.into(), dir, lsn: self.lsn })
    }

    /// The second half of [`Store::sync`].
    pub fn finish_sync(&mut self, done: SyncDone) -> Result<u64, StoreError> {
        self.sync.outstanding = false;
        if let Err(error) = done.result {
            let reason = error.to_string();
            self.sync.failed = Some(reason.clone());
            return Err(StoreError::SyncFailed { reason });
        }
        self.stats.syncs += 1;
        self.sync.durable = done.lsn;
        self.clean();
        Ok(done.lsn)
    }

    /// Sequence number of the last batch known to survive a power cut; 0 before the first sync.
    pub fn durable_lsn(&self) -> u64 {
        self.sync.durable
    }

    /// True when a sync would have something to do.
    pub fn needs_sync(&self) -> bool {
        self.sync.durable < self.lsn
    }

    /// Takes the segments below `head` out of the log; their files go when the last batch is
    /// durable.
    pub(crate) fn retire_below(&mut self, head: u64) {
        while self.index.head() < head {
            let Some(segment) = self.index.segments.pop_front() else { break };
            if segment.present && segment.end > 0 {
                self.sync.retired.push_back((self.lsn, segment.id));
            }
        }
    }

    /// Removes (or keeps for reuse) files that no longer count. What fails is tried at the next
    /// sync.
    fn clean(&mut self) {
        if Arc::strong_count(&self.sync.pin) > 1 {
            return;
        }
        let sync = &mut self.sync;
        self.reader.close();
        while sync.retired.front().is_some_and(|(lsn, _)| *lsn <= sync.durable) {
            let Some((_, id)) = sync.retired.pop_front() else { break };
            let name = id.file_name();
            let free = format!("free-{:016x}", id.number);
            let reuse = self.options.mode == Mode::Sync && sync.free.len() < MAX_FREE;
            if reuse && self.disk.rename(&name, &free).is_ok() {
                sync.free.push(free);
            } else {
                sync.doomed.push(name);
            }
        }
        sync.doomed.retain(|name| match self.disk.remove(name) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
    }
}
