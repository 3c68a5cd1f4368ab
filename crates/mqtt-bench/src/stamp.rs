//! What the front of a payload says: who sent it, as which message, and when it was due.

/// Bytes of a [`Stamp`]. Smaller payloads carry none: their messages are only counted.
pub(crate) const STAMP_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"mqtbench";

/// One message's identity and intended time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells this run's messages from those of an earlier one.
    pub(crate) run: u32,
    /// The publisher's number.
    pub(crate) publisher: u32,
    /// Counts the publisher's messages from 0.
    pub(crate) sequence: u64,
    /// When the message was due, by a [`crate::clock::Clock`].
    pub(crate) due: u64,
}

impl Stamp {
    /// Writes the stamp over the front of a payload of at least [`STAMP_BYTES`].
    pub(crate) fn write(&self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&MAGIC);
        payload[8..12].copy_from_slice(&self.run.to_be_bytes());
        payload[12..16].copy_from_slice(&self.publisher.to_be_bytes());
        payload[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        payload[24..32].copy_from_slice(&self.due.to_be_bytes());
    }

    /// The stamp of a payload; `None` when it carries none.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (due, _) = rest.split_first_chunk()?;
        (*magic == MAGIC).then(|| Self {
            run: u32::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u64::from_be_bytes(*sequence),
            due: u64::from_be_bytes(*due),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_written_and_a_stranger_has_none() {
        let stamp = Stamp { run: 1, publisher: 2, sequence: u64::MAX, due: 77 };
        let mut payload = [b'x'; STAMP_BYTES + 5];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..STAMP_BYTES]), Some(stamp));
        assert_eq!(Stamp::read(&payload[..STAMP_BYTES - 1]), None);
        payload[0] ^= 1;
        assert_eq!(Stamp::read(&payload), None);
    }
}
