//! Frames: the checksummed pieces a batch is made of. Byte layout in `docs/store-format.md`.
//! Knows nothing of files; every decoder bounds itself by the bytes it is given.

use crc32c::crc32c_append;

/// Frames begin at multiples of this many bytes.
pub(crate) const ALIGN: usize = 8;
/// Bytes before a frame's body.
pub(crate) const FRAME_HEAD: usize = 16;
/// Bytes of a whole Batch frame.
pub(crate) const BATCH_FRAME: usize = 32;

const LENGTH_BITS: u32 = 29;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
const BATCH_WORD: u32 = (Kind::Batch as u32) << LENGTH_BITS | (BATCH_FRAME - FRAME_HEAD) as u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch = 1,
    Put = 2,
    PutAt = 3,
    Kill = 4,
}

/// A frame that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    body: &'a [u8],
}

/// The content of a Batch frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) seq: u64,
    pub(crate) head: u64,
    /// Bytes of the frames behind the Batch frame.
    pub(crate) bytes: u32,
    pub(crate) count: u32,
}

impl<'a> Frame<'a> {
    /// Decodes the frame at `buf[at..]`. `offset` is its place in the file. `None` unless it
    /// verifies.
    pub(crate) fn decode(buf: &'a [u8], at: usize, offset: u64, seed: u32) -> Option<Frame<'a>> {
        let rest = buf.get(at..)?;
        let word = u32_at(rest, 4)?;
        let kind = match word >> LENGTH_BITS {
            1 => Kind::Batch,
            2 => Kind::Put,
            3 => Kind::PutAt,
            4 => Kind::Kill,
            _ => return None,
        };
        let length = (word & LENGTH_MASK) as usize;
        let whole = rest.get(..framed(length))?;
        if u32_at(whole, 0)? != checksum(seed, offset, &whole[4..]) {
            return None;
        }
        let frame = Frame { kind, id: u64_at(whole, 8)?, body: &whole[FRAME_HEAD..][..length] };
        let fits = match kind {
            Kind::Batch => length == BATCH_FRAME - FRAME_HEAD,
            Kind::Put => true,
            Kind::PutAt => length >= 8,
            Kind::Kill => length % 8 == 0 && frame.id == (length / 8) as u64,
        };
        fits.then_some(frame)
    }

    /// Bytes from the start of this frame to the start of the next.
    pub(crate) fn len(&self) -> usize {
        framed(self.body.len())
    }

    /// The record of a Put or PutAt.
    pub(crate) fn record(&self) -> &'a [u8] {
        if self.kind == Kind::PutAt { &self.body[8..] } else { self.body }
    }

    /// The order a PutAt carries.
    pub(crate) fn order(&self) -> Option<u64> {
        (self.kind == Kind::PutAt).then(|| u64_at(self.body, 0)).flatten()
    }

    /// The record ids of a Kill.
    pub(crate) fn killed(&self) -> impl Iterator<Item = u64> + 'a {
        let body = if self.kind == Kind::Kill { self.body } else { &[] };
        body.chunks_exact(8).filter_map(|id| u64_at(id, 0))
    }

    /// The content of a Batch frame.
    pub(crate) fn batch(&self) -> Option<BatchHead> {
        if self.kind != Kind::Batch {
            return None;
        }
        Some(BatchHead {
            seq: self.id,
            head: u64_at(self.body, 0)?,
            bytes: u32_at(self.body, 8)?,
            count: u32_at(self.body, 12)?,
        })
    }
}

/// The Batch frame at `buf[at..]`, if there is a valid one. Cheap enough to try at every place.
pub(crate) fn batch_at(buf: &[u8], at: usize, offset: u64, seed: u32) -> Option<BatchHead> {
    if u32_at(buf.get(at..)?, 4)? != BATCH_WORD {
        return None;
    }
    Frame::decode(buf, at, offset, seed)?.batch()
}

/// Length of the frame that may stand at `buf[at..]`, unverified.
pub(crate) fn claimed_len(buf: &[u8], at: usize) -> Option<usize> {
    let word = u32_at(buf.get(at..)?, 4)?;
    Some(framed((word & LENGTH_MASK) as usize))
}

/// Appends a frame to `out`; it will stand at `offset` in the file.
pub(crate) fn push(
    out: &mut Vec<u8>,
    offset: u64,
    seed: u32,
    kind: Kind,
    id: u64,
    parts: [&[u8]; 2],
) {
    let start = out.len();
    let length = parts[0].len() + parts[1].len();
    debug_assert!(length <= LENGTH_MASK as usize);
    out.reserve(framed(length));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&((kind as u32) << LENGTH_BITS | length as u32).to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
    out.resize(start + framed(length), 0);
    seal(&mut out[start..], offset, seed);
}

/// Writes a Batch frame into the first [`BATCH_FRAME`] bytes of `out`.
pub(crate) fn write_batch(out: &mut [u8], offset: u64, seed: u32, batch: BatchHead) {
    out[4..8].copy_from_slice(&BATCH_WORD.to_le_bytes());
    out[8..16].copy_from_slice(&batch.seq.to_le_bytes());
    out[16..24].copy_from_slice(&batch.head.to_le_bytes());
    out[24..28].copy_from_slice(&batch.bytes.to_le_bytes());
    out[28..32].copy_from_slice(&batch.count.to_le_bytes());
    seal(&mut out[..BATCH_FRAME], offset, seed);
}

/// Bytes of a frame whose body has `length` bytes.
pub(crate) fn framed(length: usize) -> usize {
    FRAME_HEAD + length.next_multiple_of(ALIGN)
}

pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(buf.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(buf.get(at..at + 8)?.try_into().ok()?))
}

fn seal(frame: &mut [u8], offset: u64, seed: u32) {
    let sum = checksum(seed, offset, &frame[4..]);
    frame[..4].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(seed: u32, offset: u64, bytes: &[u8]) -> u32 {
    crc32c_append(seed ^ (offset / ALIGN as u64) as u32, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went() {
        let mut out = Vec::new();
        push(&mut out, 64, 7, Kind::PutAt, 99, [&5u64.to_le_bytes(), b"hello"]);
        let at = out.len();
        push(&mut out, 64 + at as u64, 7, Kind::Kill, 2, [&1u64.to_le_bytes(), &[0xff; 8]]);
        let frame = Frame::decode(&out, 0, 64, 7).unwrap();
        assert_eq!((frame.id, frame.order(), frame.record()), (99, Some(5), &b"hello"[..]));
        assert_eq!(frame.len(), at);
        let kill = Frame::decode(&out, at, 64 + at as u64, 7).unwrap();
        assert_eq!(kill.killed().collect::<Vec<_>>(), [1, u64::MAX]);
    }

    #[test]
    fn a_frame_is_valid_only_unchanged_in_its_own_place() {
        let mut out = Vec::new();
        push(&mut out, 64, 7, Kind::Put, 99, [b"hello", b""]);
        assert!(Frame::decode(&out, 0, 72, 7).is_none());
        assert!(Frame::decode(&out, 0, 64, 8).is_none());
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&bad, 0, 64, 7).is_none(), "bit {bit}");
        }
        for len in 0..out.len() {
            assert!(Frame::decode(&out[..len], 0, 64, 7).is_none(), "cut at {len}");
        }
    }

    #[test]
    fn a_batch_frame_has_its_fixed_size() {
        let mut out = [0; BATCH_FRAME];
        let batch = BatchHead { seq: 3, head: 2, bytes: 48, count: 1 };
        write_batch(&mut out, 64, 1, batch);
        assert_eq!(batch_at(&out, 0, 64, 1), Some(batch));
        assert_eq!(Frame::decode(&out, 0, 64, 1).unwrap().len(), BATCH_FRAME);
    }
}
