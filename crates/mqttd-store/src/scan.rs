//! Reads the bytes of one segment into batches, and finds the way again behind damage.
//! Decides nothing: what a damaged batch means depends on what follows, which `open.rs` knows.

use crate::frame::{self, BATCH_FRAME, BatchHead, Frame, Kind};
use crate::segment::HEADER_BYTES;

/// Checksummed bytes per byte of a damaged stretch, at most, while frames are searched in it: a
/// record's
/// body may be made to look like the beginnings of very many frames.
const SALVAGE_EFFORT: usize = 64;

/// What stands at one place of a segment.
pub(crate) enum Found<'a> {
    /// A batch that is whole. Offsets are those of the frames in the file.
    Batch { head: BatchHead, frames: &'a [(u64, Frame<'a>)] },
    /// A stretch that is not.
    Damaged(Damaged<'a>),
}

/// A stretch of a segment that is not a whole batch.
pub(crate) struct Damaged<'a> {
    /// The Batch frame, when that much is intact.
    pub(crate) head: Option<BatchHead>,
    pub(crate) offset: u64,
    pub(crate) end: u64,
    /// Frames in it that verify.
    pub(crate) frames: Frames<'a>,
    /// The rest: offset and length.
    pub(crate) holes: Stretches,
}

/// Frames and the offsets they stand at.
type Frames<'a> = Vec<(u64, Frame<'a>)>;
/// Offsets and lengths.
type Stretches = Vec<(u64, u64)>;

/// How the bytes of a segment are to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) seed: u32,
    /// The bytes end where the log ends in this segment: everything must verify.
    pub(crate) exact: bool,
    /// Bytes behind the last batch may be old ones.
    pub(crate) reused: bool,
}

/// Reports everything in `buf`, a segment from its header on. Returns where the log ends in it.
pub(crate) fn scan<'a>(buf: &'a [u8], extent: Extent, mut sink: impl FnMut(Found<'_>)) -> u64 {
    let seed = extent.seed;
    let mut frames: Frames<'a> = Vec::new();
    let mut at = HEADER_BYTES;
    while at < buf.len() {
        let Some(head) = frame::batch_at(buf, at, at as u64, seed) else {
            let next = next_batch(buf, at, seed);
            let Some(gap) = gap(buf, at, next, extent) else { return at as u64 };
            at = gap.end as usize;
            sink(Found::Damaged(gap));
            if next.is_none() {
                break;
            }
            continue;
        };
        let start = at + BATCH_FRAME;
        let end = start.saturating_add(head.bytes as usize);
        walk(buf, start, end.min(buf.len()), seed, &mut frames);
        let reached = frames.last().map_or(start, |(at, frame)| *at as usize + frame.len());
        if reached == end && frames.len() == head.count as usize {
            sink(Found::Batch { head, frames: &frames });
            at = end;
        } else {
            let end = end.min(buf.len());
            let (frames, holes) = salvage(buf, start, end, seed);
            let (offset, end) = (at as u64, end as u64);
            sink(Found::Damaged(Damaged { head: Some(head), offset, end, frames, holes }));
            at = end as usize;
        }
    }
    at.min(buf.len()) as u64
}

/// The stretch from `at` up to the next batch, `None` when it is nothing but the end of the log.
fn gap<'a>(buf: &'a [u8], at: usize, next: Option<usize>, extent: Extent) -> Option<Damaged<'a>> {
    let mut end = next.unwrap_or(buf.len());
    if next.is_none() && !extent.exact {
        end = at + buf[at..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if end == at {
            return None;
        }
    }
    let (frames, holes) = salvage(buf, at, end, extent.seed);
    if next.is_none() && !extent.exact && extent.reused && frames.is_empty() {
        return None;
    }
    Some(Damaged { head: None, offset: at as u64, end: end as u64, frames, holes })
}

fn next_batch(buf: &[u8], at: usize, seed: u32) -> Option<usize> {
    let places = (at..buf.len()).step_by(frame::ALIGN).skip(1);
    places.into_iter().find(|at| frame::batch_at(buf, *at, *at as u64, seed).is_some())
}

/// Collects the record frames that follow one another from `at` on.
fn walk<'a>(buf: &'a [u8], at: usize, end: usize, seed: u32, out: &mut Frames<'a>) {
    out.clear();
    let buf = &buf[..end];
    let mut at = at;
    while let Some(frame) = record_frame(buf, at, seed) {
        out.push((at as u64, frame));
        at += frame.len();
    }
}

/// Collects all record frames in `buf[at..end]` and the holes between them.
fn salvage(buf: &[u8], at: usize, end: usize, seed: u32) -> (Frames<'_>, Stretches) {
    let (mut frames, mut holes) = (Vec::new(), Vec::new());
    let Some(buf) = buf.get(..end) else { return (frames, holes) };
    let mut effort = (end - at.min(end)).saturating_mul(SALVAGE_EFFORT);
    let (mut at, mut intact_until) = (at, at);
    while at < end && effort > 0 {
        let claimed = frame::claimed_len(buf, at).filter(|len| *len <= end - at);
        effort = effort.saturating_sub(claimed.unwrap_or(frame::ALIGN));
        if let Some(frame) = record_frame(buf, at, seed) {
            if intact_until < at {
                holes.push((intact_until as u64, (at - intact_until) as u64));
            }
            frames.push((at as u64, frame));
            at += frame.len();
            intact_until = at;
            continue;
        }
        // Most damage leaves the length alone: look behind this frame before looking everywhere.
        let behind =
            claimed.map(|len| at + len).filter(|at| record_frame(buf, *at, seed).is_some());
        at = behind.unwrap_or(at + frame::ALIGN);
    }
    if intact_until < end {
        holes.push((intact_until as u64, (end - intact_until) as u64));
    }
    (frames, holes)
}

fn record_frame(buf: &[u8], at: usize, seed: u32) -> Option<Frame<'_>> {
    Frame::decode(buf, at, at as u64, seed).filter(|frame| frame.kind != Kind::Batch)
}
