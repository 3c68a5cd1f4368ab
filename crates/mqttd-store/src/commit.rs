//! Writing: the batch goes to the tail of the log, in a new segment when one is due; what happens
//! when the
//! disk refuses, and when it is full.

use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::frame::{self, BATCH_FRAME, BatchHead, Kind};
use crate::index::Segment;
use crate::reserve::{self, Reserve};
use crate::segment::{HEADER_BYTES, Header, SegmentId};
use crate::store::{Active, Mode, RecordId, Store};

impl<D: Disk> Store<D> {
    /// Writes what was staged; on failure the batch is still staged.
    pub(crate) fn write(&mut self) -> Result<u64, StoreError> {
        self.frame_kills();
        let at = self.begin_batch();
        let head = self
            .index
            .segments
            .iter()
            .take_while(|s| s.live == 0 && s.id.number != self.active.id.number);
        let head = self.index.head() + head.count() as u64;
        let new = self.active.tail == 0;
        let reused = if new { self.begin_file()? } else { false };
        let tail = self.active.tail;
        let batch = &mut self.batch;
        let bytes = (batch.buf.len() - at - BATCH_FRAME) as u32;
        let batch_head = BatchHead { seq: self.lsn + 1, head, bytes, count: batch.count };
        frame::write_batch(&mut batch.buf[at..], tail + at as u64, self.active.seed, batch_head);
        if new {
            let (id, previous_end) = (self.active.id, self.active.previous_end);
            // The header may reach the disk without the batches before it, so it names what is
            // settled.
            let head = self.sync.settled_head(&self.index);
            let header = Header { id, reused, first_seq: self.lsn + 1, previous_end, head };
            batch.buf[..HEADER_BYTES].copy_from_slice(&header.encode());
        }
        let file = self.active.file.as_ref().expect("the active file was begun above");
        if let Err(error) = file.write_at(tail, &batch.buf) {
            self.abandon();
            return Err(StoreError::io("writing")(error));
        }
        let written = batch.buf.len() as u64;
        self.stats.written_bytes += written;
        self.lsn += 1;
        self.active.tail += written;
        self.sync.wrote(self.active.id, Arc::clone(file));
        let (number, end) = (self.active.id.number, self.active.tail);
        self.index.segment_mut(number).expect("the active segment is in the index").end = end;
        self.clear_batch();
        self.retire_below(head);
        if end >= self.options.segment_bytes {
            self.begin_segment();
        }
        self.index.shrink();
        Ok(written)
    }

    /// Prepares the buffer for a batch; returns where the Batch frame goes.
    pub(crate) fn begin_batch(&mut self) -> usize {
        let at = if self.active.tail == 0 { HEADER_BYTES } else { 0 };
        if self.batch.buf.is_empty() {
            self.batch.buf.resize(at + BATCH_FRAME, 0);
        }
        at
    }

    /// Where the next staged frame will stand.
    pub(crate) fn next_offset(&mut self) -> u64 {
        self.begin_batch();
        self.active.tail + self.batch.buf.len() as u64
    }

    pub(crate) fn frame_kills(&mut self) {
        if self.batch.kills.is_empty() {
            return;
        }
        let offset = self.next_offset();
        let batch = &mut self.batch;
        let ids: Vec<u8> = batch.kills.iter().flat_map(|id| id.to_le_bytes()).collect();
        let count = batch.kills.len() as u64;
        frame::push(&mut batch.buf, offset, self.active.seed, Kind::Kill, count, [&ids, &[]]);
        batch.count += 1;
        batch.kills.clear();
    }

    pub(crate) fn clear_batch(&mut self) {
        // A turn of 16 busy publishers makes 1.5 MB.
        const KEPT: usize = 2 << 20;
        self.batch.buf.clear();
        self.batch.buf.shrink_to(KEPT);
        self.batch.undo.clear();
        self.batch.undo.shrink_to(KEPT / 32);
        self.batch.kills.clear();
        self.batch.count = 0;
        self.batch.has_puts = false;
        self.batch.caller_bytes = 0;
    }

    /// Ends the active segment where it is and plans the next one; its file is made by the next
    /// write.
    pub(crate) fn begin_segment(&mut self) {
        let id = SegmentId { number: self.active.id.number + 1, ..self.active.id };
        let previous_end = self.active.tail;
        self.active = Active { id, seed: id.seed(), tail: 0, previous_end, room: 0, file: None };
        self.index.segments.push_back(Segment {
            id,
            end: 0,
            live: 0,
            live_bytes: 0,
            present: true,
        });
    }

    /// Makes the file of a planned segment. True when it may hold old bytes.
    fn begin_file(&mut self) -> Result<bool, StoreError> {
        if self.active.file.is_some() {
            return Ok(false);
        }
        let name = self.active.id.file_name();
        let (file, reused) = match (self.options.mode, self.sync.free.pop()) {
            (Mode::Sync, Some(free)) => {
                if let Err(error) = self.disk.rename(&free, &name) {
                    self.sync.free.push(free);
                    return Err(StoreError::io("renaming")(error));
                }
                (self.disk.open(&name).map_err(StoreError::io("opening"))?, true)
            }
            (Mode::Sync, None) => {
                let bytes = self.options.segment_bytes;
                let file = reserve::zero_filled(&*self.disk, &name, bytes)?;
                self.stats.written_bytes += bytes;
                (file, false)
            }
            (Mode::Process, free) => {
                self.sync.doomed.extend(free);
                (self.disk.create(&name).map_err(StoreError::io("creating"))?, false)
            }
        };
        self.sync.dir_changed();
        self.active.file = Some(Arc::new(file));
        Ok(reused)
    }

    /// After a failed write: no place of the log is ever written twice, so the segment ends here.
    fn abandon(&mut self) {
        let Some(file) = self.active.file.take() else { return };
        if self.active.tail > 0 {
            // Frees space; what stays behind the end does not count.
            let _ = file.truncate(self.active.tail);
        } else if self.disk.remove(&self.active.id.file_name()).is_ok() {
            return;
        }
        // The batch in memory was made for the abandoned place.
        self.take_back();
        self.begin_segment();
    }

    /// Writes a batch of deaths on a full disk: after a sync that lets dead segments go, or else
    /// into the
    /// reserve.
    pub(crate) fn write_deaths(&mut self, deaths: &[u64]) -> Result<u64, StoreError> {
        self.take_back();
        if self.sync.frees_space() {
            self.sync()?;
            self.stage_deaths(deaths);
            match self.write() {
                Err(StoreError::DiskFull) => self.take_back(),
                written => return written,
            }
        }
        if self.reserve != Reserve::Ready {
            return Err(StoreError::DiskFull);
        }
        if self.active.tail > 0 {
            self.begin_segment();
        }
        let name = self.active.id.file_name();
        self.disk.rename(reserve::NAME, &name).map_err(StoreError::io("renaming"))?;
        self.reserve = Reserve::Missing;
        self.sync.dir_changed();
        let file = self.disk.open(&name).map_err(StoreError::io("opening"))?;
        self.active.room = self.options.reserve_bytes;
        self.active.file = Some(Arc::new(file));
        self.stage_deaths(deaths);
        self.write()
    }

    fn stage_deaths(&mut self, deaths: &[u64]) {
        for id in deaths {
            self.kill(RecordId(*id));
        }
    }

    /// True when the reserve is in use (or could not be made): space is for deaths only.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.options.reserve_bytes > 0 && self.reserve != Reserve::Ready
    }

    /// New records are taken only while there is a reserve for their deaths.
    pub(crate) fn ensure_reserve(&mut self) -> Result<(), StoreError> {
        let bytes = self.options.reserve_bytes;
        if self.reserve == Reserve::Ready || bytes == 0 {
            return Ok(());
        }
        let free = self.disk.free_bytes().map_err(StoreError::io("asking for free space"))?;
        if free < bytes + self.staged_bytes() as u64 {
            return Err(StoreError::DiskFull);
        }
        if self.reserve == Reserve::Spoilt {
            self.disk.remove(reserve::NAME).map_err(StoreError::io("removing"))?;
            self.reserve = Reserve::Missing;
        }
        reserve::create(&*self.disk, bytes)?;
        self.reserve = Reserve::Ready;
        self.stats.written_bytes += bytes;
        Ok(())
    }
}
