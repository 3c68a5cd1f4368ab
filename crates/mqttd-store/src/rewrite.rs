//! Copying forward: when garbage outweighs what lives, survivors of the oldest segment move to the
//! tail, so
//! that it can be dropped. Runs behind commits, within a budget; an idle store copies nothing.

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::frame::{Frame, Kind};
use crate::report::{Hole, HoleKind};
use crate::segment::HEADER_BYTES;
use crate::store::Store;

/// Bytes that may be copied per byte committed.
const COPIES_PER_BYTE: u64 = 2;
/// Garbage that is never worth a copy, in segments.
const TOLERATED_SEGMENTS: u64 = 4;
/// Segments beyond which short ones (a new one is begun at every opening) are merged.
const TOLERATED_SHORT_SEGMENTS: u64 = 16;

/// How far the oldest segment has been looked through.
#[derive(Default)]
pub(crate) struct Rewrite {
    segment: Option<u64>,
    bytes: Vec<u8>,
    at: usize,
    /// Bytes that may still be copied.
    credit: u64,
}

impl<D: Disk> Store<D> {
    /// Copies some survivors after a commit of `committed` bytes. Failure is harmless: the
    /// originals stay.
    pub(crate) fn rewrite_some(&mut self, committed: u64) {
        let limit = self.options.rewrite_bytes;
        self.rewrite.credit = if self.is_short_of_space() && self.ensure_reserve().is_err() {
            self.credit_in_need()
        } else if self.rewrite_due() {
            (self.rewrite.credit + committed * COPIES_PER_BYTE).min(limit)
        } else {
            0
        };
        if self.rewrite.credit == 0 {
            self.rewrite = Rewrite::default();
            return;
        }
        let staged = self.stage_survivors();
        if self.staged_bytes() == 0 {
            return;
        }
        match staged.and_then(|()| self.write()) {
            Ok(bytes) => self.stats.rewritten_bytes += bytes,
            Err(_) => {
                self.take_back();
                self.rewrite = Rewrite::default();
            }
        }
    }

    fn rewrite_due(&self) -> bool {
        let segments = self.index.segments.len() as u64;
        let (log, live) = (self.index.log_bytes(), self.index.live_bytes());
        let size = self.options.segment_bytes;
        let short = segments > TOLERATED_SHORT_SEGMENTS + 4 * (log / size);
        let garbage = log.saturating_sub(live);
        segments > 1 && (short || garbage > live + TOLERATED_SEGMENTS * size)
    }

    /// On a full disk a copy must fit into the space that is left to deaths, take little of it,
    /// and empty the
    /// oldest segment at once, so that more space comes back than it took.
    fn credit_in_need(&self) -> u64 {
        let room = self.active.room.saturating_sub(self.active.tail);
        let head = self.index.segments.front();
        let Some(head) = head.filter(|s| s.id.number != self.active.id.number) else { return 0 };
        // A copy may be 8 bytes longer than its original.
        let bytes = head.live_bytes + head.live * 8;
        let pays = bytes <= room / 4 && bytes * 2 < head.end;
        if self.options.rewrite_bytes > 0 && pays { bytes } else { 0 }
    }

    fn stage_survivors(&mut self) -> Result<(), StoreError> {
        let number = self.index.head();
        if self.rewrite.credit == 0 || number == self.active.id.number {
            return Ok(());
        }
        if self.rewrite.segment != Some(number) {
            self.load_head(number)?;
        }
        let bytes = std::mem::take(&mut self.rewrite.bytes);
        let copied = self.stage_from(&bytes, number);
        self.rewrite.bytes = bytes;
        copied?;
        if self.rewrite.at >= self.rewrite.bytes.len() {
            self.lose_rest(number);
        }
        Ok(())
    }

    /// Stages live records of the loaded segment until the credit is used up.
    fn stage_from(&mut self, bytes: &[u8], number: u64) -> Result<(), StoreError> {
        let Some(segment) = self.index.segment(number) else { return Ok(()) };
        let seed = segment.id.seed();
        while self.rewrite.at < bytes.len() && self.rewrite.credit > 0 {
            let at = self.rewrite.at;
            let Some(frame) = Frame::decode(bytes, at, at as u64, seed) else {
                self.rewrite.at += crate::frame::ALIGN;
                continue;
            };
            self.rewrite.at += frame.len();
            if !matches!(frame.kind, Kind::Put | Kind::PutAt) {
                continue;
            }
            let place = self.index.get(frame.id);
            let here = place.filter(|place| {
                place.offset() == at as u64 && self.index.segment_of(*place) == number
            });
            if here.is_some() {
                let order = frame.order().unwrap_or(crate::index::order_of(number, at as u64));
                self.stage(frame.id, Some(order), frame.record())?;
                self.rewrite.credit = self.rewrite.credit.saturating_sub(frame.len() as u64);
            }
        }
        Ok(())
    }

    fn load_head(&mut self, number: u64) -> Result<(), StoreError> {
        let (name, end) = match self.index.segment(number) {
            Some(segment) => (segment.id.file_name(), segment.end as usize),
            None => return Ok(()),
        };
        let mut bytes = vec![0; end];
        let file = self.disk.open(&name).map_err(StoreError::io("opening"))?;
        let read = file.read_at(0, &mut bytes).map_err(StoreError::io("reading"))?;
        bytes.truncate(read);
        let credit = self.rewrite.credit;
        self.rewrite = Rewrite { segment: Some(number), bytes, at: HEADER_BYTES, credit };
        Ok(())
    }

    /// Everything readable was copied: what still lives in the segment can no longer be read.
    fn lose_rest(&mut self, number: u64) {
        if self.index.segment(number).is_none_or(|segment| segment.live == 0) {
            return;
        }
        let rest = self.index.iter().filter(|(_, place)| self.index.segment_of(*place) == number);
        let rest: Vec<_> = rest.collect();
        let mut lost: Option<Hole> = None;
        for (id, place) in rest {
            let hole = self.lose(id, place);
            let all = lost.get_or_insert(Hole { kind: HoleKind::Records { lost: 0 }, ..hole });
            if let HoleKind::Records { lost } = &mut all.kind {
                *lost += 1;
            }
        }
        self.damage.extend(lost);
    }
}
