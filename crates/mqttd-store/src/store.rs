//! The store itself: staging of changes, commits, reads. Opening is in `open.rs`, writing in
//! `commit.rs`, syncing in `sync.rs`, copying forward in `rewrite.rs`, backups in `backup.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::disk::{Disk, LockError};
use crate::error::StoreError;
use crate::frame::{self, BATCH_FRAME, Frame, Kind};
use crate::index::{self, Index, Place, Was};
use crate::log_reader::LogReader;
use crate::open;
use crate::report::{Hole, HoleKind, OpenReport, Stats};
use crate::reserve::Reserve;
use crate::rewrite::Rewrite;
use crate::segment::{HEADER_BYTES, SegmentId};
use crate::sync::SyncState;

/// Most bytes of one record's body.
pub const MAX_RECORD_BYTES: usize = 320 << 20;
/// Most bytes of one batch, frames included.
pub const MAX_BATCH_BYTES: usize = (1 << 30) - 4096;
/// Smallest and largest nominal size of a segment.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 30;
/// Deaths gathered in one frame before a later Put makes the store look through them one by one.
const KILLS_TO_SEARCH: usize = 64;
/// Deaths in one frame at most.
const KILLS_PER_FRAME: usize = 1 << 20;

/// The caller's name for a record. Two lives of one id may follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub u64);

/// How segments are made; it does not change what `sync` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For commits with a sync now and then: fresh files that grow, dead ones are removed.
    Process,
    /// For a sync after every commit: zero-filled files, used again when dead.
    Sync,
}

/// How a store behaves. None of it is written into the store except the salt.
#[derive(Debug, Clone)]
pub struct Options {
    /// How segments are made.
    pub mode: Mode,
    /// Unpredictable bytes, used only when the store is new. They keep whoever chooses record
    /// bodies from
    /// forging frames.
    pub salt: u64,
    /// Bytes after which a new segment is begun. Clamped to 4 KiB ..= 1 GiB.
    pub segment_bytes: u64,
    /// Bytes of survivors copied forward after one commit, at most. 0 turns copying off.
    pub rewrite_bytes: u64,
    /// Bytes set aside so that deaths fit on a full disk, at most a segment. 0 for none.
    pub reserve_bytes: u64,
}

impl Options {
    /// 1 MiB segments, 1 MiB copied per commit, 256 KiB reserve.
    pub fn new(mode: Mode, salt: u64) -> Options {
        Options {
            mode,
            salt,
            segment_bytes: 1 << 20,
            rewrite_bytes: 1 << 20,
            reserve_bytes: 256 << 10,
        }
    }
}

/// One staged change: a record with its body, or without one for its death.
pub type Change = (RecordId, Option<Vec<u8>>);

/// A commit that was handed to the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Sequence number of the batch; `Store::durable_lsn` reaches it with a later sync.
    pub lsn: u64,
    /// Bytes written for it. 0 when nothing had been staged.
    pub bytes: u64,
}

/// A store that is open. It belongs to one thread at a time.
pub struct Store<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) options: Options,
    pub(crate) index: Index,
    pub(crate) active: Active<D::File>,
    pub(crate) lsn: u64,
    pub(crate) sync: SyncState<D>,
    pub(crate) reader: LogReader<D>,
    pub(crate) rewrite: Rewrite,
    pub(crate) stats: Stats,
    /// Damage noticed since the store was opened.
    pub(crate) damage: Vec<Hole>,
    pub(crate) batch: Batch,
    /// What the last refused commit had staged.
    refused: Vec<Change>,
    pub(crate) reserve: Reserve,
    _lock: D::Lock,
}

/// The segment that is written to.
pub(crate) struct Active<F> {
    pub(crate) id: SegmentId,
    pub(crate) seed: u32,
    /// Committed bytes; 0 as long as the file has not been begun.
    pub(crate) tail: u64,
    pub(crate) previous_end: u64,
    /// Bytes of the file whose space was taken beforehand.
    pub(crate) room: u64,
    pub(crate) file: Option<Arc<F>>,
}

/// What has been staged since the last commit.
#[derive(Default)]
pub(crate) struct Batch {
    /// What will be written at the tail, the header of a new segment first.
    pub(crate) buf: Vec<u8>,
    pub(crate) count: u32,
    /// Deaths that have no frame yet.
    pub(crate) kills: Vec<u64>,
    /// Where each changed record lived before, to take the batch back.
    pub(crate) undo: Vec<(u64, Option<Was>)>,
    pub(crate) has_puts: bool,
    pub(crate) caller_bytes: u64,
}

impl<D: Disk> Store<D> {
    /// Opens the store in `disk`, making it if there is none, and hands every live record to
    /// `on_record` in the
    /// order in which their lives began. Writes nothing but the lock.
    ///
    /// What was found counts as committed, not as synced: call [`Store::sync`] to be sure of it.
    pub fn open(
        disk: D,
        options: Options,
        on_record: impl FnMut(RecordId, &[u8]),
    ) -> Result<(Store<D>, OpenReport), StoreError> {
        Store::open_with_progress(disk, options, on_record, |_, _| {})
    }

    /// Like [`Store::open`]; `progress` is told the bytes read and the bytes there are, segment by
    /// segment.
    pub fn open_with_progress(
        disk: D,
        mut options: Options,
        on_record: impl FnMut(RecordId, &[u8]),
        progress: impl FnMut(u64, u64),
    ) -> Result<(Store<D>, OpenReport), StoreError> {
        let lock = disk.lock().map_err(|error| match error {
            LockError::Held { holder } => StoreError::Locked { holder },
            LockError::Io(error) => StoreError::io("locking")(error),
        })?;
        options.segment_bytes =
            options.segment_bytes.clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        options.reserve_bytes = options.reserve_bytes.min(options.segment_bytes);
        let found = open::recover(&disk, progress)?;
        let disk = Arc::new(disk);
        let mut report = found.report;
        let last = found.index.segments.back().cloned();
        let sync = SyncState::after_open(&found.index, found.leftovers);
        let mut store = Store {
            active: Active {
                id: SegmentId {
                    number: 0,
                    salt: last.as_ref().map_or(options.salt, |s| s.id.salt),
                },
                seed: 0,
                tail: last.as_ref().map_or(0, |last| last.end),
                previous_end: 0,
                room: 0,
                file: None,
            },
            index: found.index,
            lsn: report.lsn,
            sync,
            reader: LogReader::new(Arc::clone(&disk)),
            rewrite: Rewrite::default(),
            stats: Stats::default(),
            damage: Vec::new(),
            batch: Batch::default(),
            refused: Vec::new(),
            reserve: found.reserve,
            options,
            disk,
            _lock: lock,
        };
        store.active.id.number = last.map_or(0, |last| last.id.number);
        store.begin_segment();
        store.visit(Some(found.orders), on_record, &mut report.holes)?;
        report.records = store.index.len() as u64;
        Ok((store, report))
    }

    /// Stages a record. If `id` is alive, this replaces its body and keeps its order.
    pub fn put(&mut self, id: RecordId, body: &[u8]) -> Result<(), StoreError> {
        if body.len() > MAX_RECORD_BYTES {
            let (bytes, limit) = (body.len() as u64, MAX_RECORD_BYTES as u64);
            return Err(StoreError::TooLarge { bytes, limit });
        }
        let RecordId(id) = id;
        let order = match self.index.get(id) {
            Some(place) => Some(self.order(id, place)?),
            None => None,
        };
        let killed = order.is_none() && self.batch.kills.contains(&id);
        if killed || self.batch.kills.len() >= KILLS_TO_SEARCH {
            self.frame_kills();
        }
        self.stage(id, order, body)?;
        self.batch.has_puts = true;
        self.batch.caller_bytes += body.len() as u64;
        Ok(())
    }

    /// Stages the death of a record. False when it is not alive.
    pub fn kill(&mut self, id: RecordId) -> bool {
        let Some(was) = self.index.remove(id.0) else { return false };
        self.batch.undo.push((id.0, Some(was)));
        self.batch.kills.push(id.0);
        if self.batch.kills.len() >= KILLS_PER_FRAME {
            self.frame_kills();
        }
        true
    }

    /// Writes everything staged as one batch. After it the batch survives the end of this process.
    ///
    /// On any error nothing of the batch is kept; [`Store::take_refused`] gives it back.
    /// [`StoreError::is_passing`]
    /// tells whether the store itself can go on. A batch of nothing but deaths may use the reserve.
    pub fn commit(&mut self) -> Result<Committed, StoreError> {
        self.refused.clear();
        if let Some(reason) = self.sync.failed() {
            self.take_back();
            return Err(StoreError::SyncFailed { reason });
        }
        if self.batch.undo.is_empty() {
            return Ok(Committed { lsn: self.lsn, bytes: 0 });
        }
        let caller_bytes = self.batch.caller_bytes;
        let written = if self.batch.has_puts {
            self.ensure_reserve().and_then(|()| self.write())
        } else {
            let deaths: Vec<u64> = self.batch.undo.iter().map(|(id, _)| *id).collect();
            match self.write() {
                Err(StoreError::DiskFull) => self.write_deaths(&deaths),
                written => written,
            }
        };
        let bytes = written.inspect_err(|_| {
            self.take_back();
            self.stats.refused += 1;
        })?;
        self.stats.commits += 1;
        self.stats.caller_bytes += caller_bytes;
        let committed = Committed { lsn: self.lsn, bytes };
        self.rewrite_some(bytes);
        // Not of the caller's: survivors that could not be copied stay where they are.
        self.refused.clear();
        Ok(committed)
    }

    /// What the last commit was to write and could not, in the order it was staged; for staging it
    /// again. Empty after a commit that succeeded.
    pub fn take_refused(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.refused)
    }

    /// Takes back what is staged, in the order it was staged, as if it had been refused.
    pub fn unstage(&mut self) -> Vec<Change> {
        self.refused.clear();
        self.take_back();
        self.take_refused()
    }

    /// The body of a live record, staged ones included.
    pub fn read(&mut self, id: RecordId) -> Result<Vec<u8>, StoreError> {
        let place = self.index.get(id.0).ok_or(StoreError::NotFound { id: id.0 })?;
        match self.frame(id.0, place)? {
            Some(frame) => Ok(frame.record().to_vec()),
            None => {
                let (offset, segment) = (place.offset(), self.index.segment_of(place));
                Err(StoreError::Damaged { id: id.0, file: self.file_name(segment), offset })
            }
        }
    }

    /// True when the record is alive, staged ones included.
    pub fn contains(&self, id: RecordId) -> bool {
        self.index.get(id.0).is_some()
    }

    /// Hands every live record to `visit`, in the order in which their lives began.
    pub fn for_each_live(&mut self, visit: impl FnMut(RecordId, &[u8])) -> Result<(), StoreError> {
        let mut damage = std::mem::take(&mut self.damage);
        let visited = self.visit(None, visit, &mut damage);
        self.damage = damage;
        visited
    }

    /// Damage noticed since the last call, outside of opening: places that verified once and no
    /// longer do.
    pub fn take_damage(&mut self) -> Vec<Hole> {
        std::mem::take(&mut self.damage)
    }

    /// Sequence number of the last batch that was committed.
    pub fn last_lsn(&self) -> u64 {
        self.lsn
    }

    /// Running numbers.
    pub fn stats(&self) -> Stats {
        Stats {
            live_records: self.index.len() as u64,
            live_bytes: self.index.live_bytes(),
            log_bytes: self.index.log_bytes(),
            segments: self.index.segments.len() as u64,
            ..self.stats
        }
    }

    /// Bytes staged for the next commit.
    pub fn staged_bytes(&self) -> usize {
        self.batch.buf.len() + self.batch.kills.len() * 8
    }

    /// Stages a frame for `id`; `order` when its life began elsewhere.
    pub(crate) fn stage(
        &mut self,
        id: u64,
        order: Option<u64>,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let bytes = frame::framed(body.len() + if order.is_some() { 8 } else { 0 });
        let total = self.staged_bytes() + bytes;
        let offset = self.next_offset();
        let limit = MAX_BATCH_BYTES as u64;
        if total as u64 > limit || offset + bytes as u64 >= index::MAX_OFFSET {
            return Err(StoreError::TooLarge { bytes: total as u64, limit });
        }
        let ordered = order.unwrap_or(0).to_le_bytes();
        let (kind, parts) = match order {
            Some(_) => (Kind::PutAt, [&ordered[..], body]),
            None => (Kind::Put, [body, &[]]),
        };
        frame::push(&mut self.batch.buf, offset, self.active.seed, kind, id, parts);
        self.batch.count += 1;
        let place = Place::new(self.active.id.number, offset, bytes, order.is_some());
        let was = self.index.set(id, place, bytes);
        self.batch.undo.push((id, was));
        Ok(())
    }

    /// Sets aside what was staged, and is as before it.
    pub(crate) fn take_back(&mut self) {
        if !self.batch.undo.is_empty() {
            self.refused = self.staged();
        }
        while let Some((id, was)) = self.batch.undo.pop() {
            match was {
                Some(was) => self.index.set(id, was.place, was.bytes),
                None => self.index.remove(id),
            };
        }
        self.clear_batch();
    }

    /// What is staged, in order.
    fn staged(&self) -> Vec<Change> {
        let (buf, tail) = (&self.batch.buf, self.active.tail);
        let mut at = if tail == 0 { HEADER_BYTES } else { 0 } + BATCH_FRAME;
        let mut changes = Vec::new();
        while let Some(frame) = Frame::decode(buf, at, tail + at as u64, self.active.seed) {
            if matches!(frame.kind, Kind::Put | Kind::PutAt) {
                changes.push((RecordId(frame.id), Some(frame.record().to_vec())));
            }
            changes.extend(frame.killed().map(|id| (RecordId(id), None)));
            at += frame.len();
        }
        changes.extend(self.batch.kills.iter().map(|id| (RecordId(*id), None)));
        changes
    }

    /// The frame of a live record, `None` when it no longer verifies.
    pub(crate) fn frame(&mut self, id: u64, place: Place) -> Result<Option<Frame<'_>>, StoreError> {
        let number = self.index.segment_of(place);
        let (offset, bytes) = (place.offset(), self.index.length_of(id, place));
        let active = &self.active;
        if number == active.id.number && offset >= active.tail {
            let at = (offset - active.tail) as usize;
            return Ok(Frame::decode(&self.batch.buf, at, offset, active.seed));
        }
        let segment = self.index.segment(number).expect("a live record's segment is in the index");
        let frame = self.reader.frame(segment.id, offset, bytes)?;
        Ok(frame.filter(|frame| frame.id == id))
    }

    pub(crate) fn file_name(&self, number: u64) -> String {
        SegmentId { number, ..self.active.id }.file_name()
    }

    /// The order of a live record. A damaged one gets that of its present place.
    fn order(&mut self, id: u64, place: Place) -> Result<u64, StoreError> {
        let here = index::order_of(self.index.segment_of(place), place.offset());
        if !place.ordered() {
            return Ok(here);
        }
        Ok(self.frame(id, place)?.and_then(|frame| frame.order()).unwrap_or(here))
    }

    /// Hands over the live records in order. Unreadable ones are forgotten and noted as holes.
    fn visit(
        &mut self,
        orders: Option<HashMap<u64, u64>>,
        mut visit: impl FnMut(RecordId, &[u8]),
        holes: &mut Vec<Hole>,
    ) -> Result<(), StoreError> {
        let all: Vec<(u64, Place)> = self.index.iter().collect();
        let mut sorted = Vec::with_capacity(all.len());
        for (id, place) in all {
            let known = orders.as_ref().and_then(|orders| orders.get(&id).copied());
            let order = match known.filter(|_| place.ordered()) {
                Some(order) => order,
                None => self.order(id, place)?,
            };
            sorted.push((order, id, place));
        }
        sorted.sort_unstable_by_key(|(order, id, _)| (*order, *id));
        self.reader.set_run(true);
        let mut result = Ok(());
        for (_, id, place) in sorted {
            match self.frame(id, place) {
                Ok(Some(frame)) => visit(RecordId(id), frame.record()),
                Ok(None) => holes.push(self.lose(id, place)),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.reader.set_run(false);
        result
    }

    /// Gives up a record whose bytes no longer verify.
    pub(crate) fn lose(&mut self, id: u64, place: Place) -> Hole {
        let file = self.file_name(self.index.segment_of(place));
        let bytes = self.index.length_of(id, place) as u64;
        self.index.remove(id);
        self.stats.damaged_records += 1;
        let kind = HoleKind::Records { lost: 1 };
        Hole { file, offset: place.offset(), bytes, kind }
    }
}
