//! Where every live record stands: a hash map of 16-byte entries, and what lives in each segment.
//! No disk access here.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::segment::SegmentId;

const OFFSET_BITS: u32 = 28;
const LENGTH_BITS: u32 = 11;
const SEGMENT_BITS: u32 = 24;
const LENGTH_UNKNOWN: u64 = (1 << LENGTH_BITS) - 1;
const UNIT: u64 = crate::frame::ALIGN as u64;

/// Segments that may be in use at once; places name segments by this many low values of their
/// number.
pub(crate) const MAX_SEGMENTS: u64 = 1 << SEGMENT_BITS;
/// First offset that a place cannot express.
pub(crate) const MAX_OFFSET: u64 = UNIT << OFFSET_BITS;

/// Where a frame stands, packed into 8 bytes: segment, offset, length (as far as it fits), and
/// whether it
/// carries an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    pub(crate) fn new(segment: u64, offset: u64, length: usize, ordered: bool) -> Place {
        debug_assert!(offset % UNIT == 0 && offset < MAX_OFFSET);
        let length = (length as u64 / UNIT).min(LENGTH_UNKNOWN);
        let segment = segment % MAX_SEGMENTS;
        let offset = offset / UNIT;
        let mut bits = segment << OFFSET_BITS | offset;
        bits = bits << LENGTH_BITS | length;
        Place(bits << 1 | u64::from(ordered))
    }

    /// The segment's number modulo [`MAX_SEGMENTS`].
    fn segment_low(self) -> u64 {
        self.0 >> (OFFSET_BITS + LENGTH_BITS + 1)
    }

    pub(crate) fn offset(self) -> u64 {
        (self.0 >> (LENGTH_BITS + 1) & ((1 << OFFSET_BITS) - 1)) * UNIT
    }

    /// Bytes of the frame, unless it is too long for the packing.
    pub(crate) fn length(self) -> Option<usize> {
        let length = self.0 >> 1 & LENGTH_UNKNOWN;
        (length != LENGTH_UNKNOWN).then_some((length * UNIT) as usize)
    }

    /// True when the frame carries its order (a PutAt).
    pub(crate) fn ordered(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The order of a record that begins its life at this place.
pub(crate) fn order_of(segment: u64, offset: u64) -> u64 {
    segment << OFFSET_BITS | (offset / UNIT)
}

/// One segment of the log, on disk or planned.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    /// Used bytes.
    pub(crate) end: u64,
    /// Live records in it, staged ones included.
    pub(crate) live: u64,
    /// Bytes of their frames.
    pub(crate) live_bytes: u64,
    /// False when the file was missing at opening.
    pub(crate) present: bool,
}

/// All live records and the segments they are in.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: HashMap<u64, Place, BuildHasherDefault<IdHasher>>,
    /// In order, without gaps in their numbers.
    pub(crate) segments: VecDeque<Segment>,
    /// Bytes of frames of live records whose length is packed.
    live_bytes: u64,
    /// Lengths of the frames that are too long for the packing.
    long: HashMap<u64, u64, BuildHasherDefault<IdHasher>>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Place> {
        self.places.get(&id).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.places.iter().map(|(id, place)| (*id, *place))
    }

    /// Bytes of the frame of a live record.
    pub(crate) fn length_of(&self, id: u64, place: Place) -> usize {
        place.length().unwrap_or_else(|| self.long.get(&id).map_or(0, |bytes| *bytes as usize))
    }

    /// Number of the segment a place is in.
    pub(crate) fn segment_of(&self, place: Place) -> u64 {
        let head = self.head();
        head + (place.segment_low().wrapping_sub(head) % MAX_SEGMENTS)
    }

    /// Number of the first segment that counts.
    pub(crate) fn head(&self) -> u64 {
        self.segments.front().map_or(0, |segment| segment.id.number)
    }

    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.get(number.checked_sub(self.head())? as usize)
    }

    pub(crate) fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        let head = self.head();
        self.segments.get_mut(number.checked_sub(head)? as usize)
    }

    /// Sets where `id` lives (`bytes` = length of its frame) and returns where it lived before.
    pub(crate) fn set(&mut self, id: u64, place: Place, bytes: usize) -> Option<Was> {
        let old = self.places.insert(id, place);
        let was = old.map(|old| self.leave(id, old));
        if place.length().is_none() {
            self.long.insert(id, bytes as u64);
        }
        self.live_bytes += bytes as u64;
        let segment = self.segment_of_live(place);
        segment.live += 1;
        segment.live_bytes += bytes as u64;
        was
    }

    /// Ends the life of `id` and returns where it lived.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Was> {
        let old = self.places.remove(&id)?;
        Some(self.leave(id, old))
    }

    /// Gives back memory after a large number of records has gone.
    pub(crate) fn shrink(&mut self) {
        let capacity = self.places.capacity();
        if capacity > 4096 && self.places.len() < capacity / 8 {
            self.places.shrink_to(self.places.len() * 2);
        }
    }

    /// Bytes the map occupies, about.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        (self.places.capacity() * 8).div_ceil(7).next_power_of_two() * 17
    }

    fn leave(&mut self, id: u64, old: Place) -> Was {
        let bytes = match old.length() {
            Some(bytes) => bytes,
            None => self.long.remove(&id).map_or(0, |bytes| bytes as usize),
        };
        self.live_bytes -= bytes as u64;
        let segment = self.segment_of_live(old);
        segment.live -= 1;
        segment.live_bytes -= bytes as u64;
        Was { place: old, bytes }
    }

    fn segment_of_live(&mut self, place: Place) -> &mut Segment {
        let number = self.segment_of(place);
        self.segment_mut(number).expect("a live record's segment is in the index")
    }
}

/// Where a record lived before a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Was {
    pub(crate) place: Place,
    pub(crate) bytes: usize,
}

/// Record ids are chosen by our own caller and mostly count up. Sixteen in a row stand side by side
/// in the map, so that a record that is made, and the next ones, touch the same few cache lines;
/// where the sixteen stand is spread by one multiplication.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

/// Low bits of an id that say where among its neighbours it stands.
const NEIGHBOURS: u64 = 15;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        let wide = u128::from((id | NEIGHBOURS) ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        let spread = (wide as u64) ^ (wide >> 64) as u64;
        // The map takes the place from the low bits, and from the top ones what it compares before
        // it looks at a key: both tell neighbours apart.
        self.0 = (spread & !NEIGHBOURS | id & NEIGHBOURS) ^ id << 60;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_pack_their_extremes() {
        let place = Place::new(MAX_SEGMENTS + 3, MAX_OFFSET - 8, 16, true);
        assert_eq!((place.segment_low(), place.offset()), (3, MAX_OFFSET - 8));
        assert_eq!((place.length(), place.ordered()), (Some(16), true));
        let longest = (LENGTH_UNKNOWN as usize - 1) * 8;
        assert_eq!(Place::new(0, 64, longest, false).length(), Some(longest));
        assert_eq!(Place::new(0, 64, longest + 8, false).length(), None);
    }

    #[test]
    fn a_live_record_costs_at_most_forty_bytes() {
        let mut index = Index::default();
        let id = SegmentId { number: 9, salt: 0 };
        index.segments.push_back(Segment { id, end: 0, live: 0, live_bytes: 0, present: true });
        for n in 1..200_000u64 {
            index.set(n, Place::new(9, 64 + n * 8, 88, false), 88);
            if n > 1000 {
                assert!(index.memory() as u64 <= 40 * n, "{} bytes for {n}", index.memory());
            }
        }
        assert_eq!((index.segments[0].live, index.live_bytes()), (199_999, 199_999 * 88));
    }
}
