//! Segment files: their names and their 64-byte header. Byte layout in `docs/store-format.md`.

use crc32c::{crc32c, crc32c_append};

use crate::frame::{u32_at, u64_at};

/// The newest format this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes before the first batch.
pub(crate) const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"mqttdlog";
const FLAG_REUSED: u32 = 1;
const CRC_AT: usize = 60;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: SegmentId,
    /// Bytes behind the last batch may come from an earlier use of the file.
    pub(crate) reused: bool,
    pub(crate) first_seq: u64,
    /// Used bytes of the previous segment.
    pub(crate) previous_end: u64,
    pub(crate) head: u64,
}

/// A segment's number and the salt of its store: what its file name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentId {
    pub(crate) number: u64,
    pub(crate) salt: u64,
}

/// Why a header was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It does not verify (or was not written whole).
    Damaged,
    /// It verifies and names this version, which is newer than ours.
    Newer(u32),
}

impl SegmentId {
    pub(crate) fn file_name(self) -> String {
        format!("{:016x}-{:016x}.log", self.number, self.salt)
    }

    pub(crate) fn from_file_name(name: &str) -> Option<SegmentId> {
        let (number, salt) = name.strip_suffix(".log")?.split_once('-')?;
        let hex = |text: &str| {
            let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        let id = SegmentId { number: hex(number)?, salt: hex(salt)? };
        (id.file_name() == name).then_some(id)
    }

    /// What the checksums of this segment's frames start from.
    pub(crate) fn seed(self) -> u32 {
        crc32c_append(crc32c(&self.salt.to_le_bytes()), &self.number.to_le_bytes())
    }
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let flags = if self.reused { FLAG_REUSED } else { 0 };
        out[12..16].copy_from_slice(&flags.to_le_bytes());
        out[16..24].copy_from_slice(&self.id.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.id.salt.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        out[40..48].copy_from_slice(&self.previous_end.to_le_bytes());
        out[48..56].copy_from_slice(&self.head.to_le_bytes());
        let sum = crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        Header::decode_fields(bytes).unwrap_or(Err(HeaderError::Damaged))
    }

    fn decode_fields(bytes: &[u8]) -> Option<Result<Header, HeaderError>> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if &bytes[..8] != MAGIC || u32_at(bytes, CRC_AT)? != crc32c(&bytes[..CRC_AT]) {
            return None;
        }
        let version = u32_at(bytes, 8)?;
        if version > FORMAT_VERSION {
            return Some(Err(HeaderError::Newer(version)));
        }
        Some(Ok(Header {
            id: SegmentId { number: u64_at(bytes, 16)?, salt: u64_at(bytes, 24)? },
            reused: u32_at(bytes, 12)? & FLAG_REUSED != 0,
            first_seq: u64_at(bytes, 32)?,
            previous_end: u64_at(bytes, 40)?,
            head: u64_at(bytes, 48)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_are_ignored() {
        let id = SegmentId { number: 0x1f, salt: u64::MAX };
        assert_eq!(SegmentId::from_file_name(&id.file_name()), Some(id));
        for other in ["lock", "reserve", "free-000000000000001f", "1-2.log", "", "-.log"] {
            assert_eq!(SegmentId::from_file_name(other), None, "{other}");
        }
        assert_eq!(SegmentId::from_file_name("000000000000001F-ffffffffffffffff.log"), None);
    }

    #[test]
    fn headers_come_back_and_damage_is_seen() {
        let id = SegmentId { number: 5, salt: 6 };
        let header = Header { id, reused: true, first_seq: 7, previous_end: 8, head: 4 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(Header::decode(&bytes[..63]), Err(HeaderError::Damaged));
    }
}
