//! The fixed header (MQTT 2.1): where one Control Packet ends and the next begins.

use crate::codec::varint;
use crate::error::Offence;

/// The largest Remaining Length (MQTT 2.1.4).
pub const REMAINING_LENGTH_MAX: u32 = varint::VARINT_MAX;

/// The extent of one whole packet at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Packet type and flags.
    pub first_byte: u8,
    /// Where the variable header starts: 2 to 5.
    pub body: usize,
    /// Bytes of the whole packet.
    pub len: usize,
}

impl Frame {
    /// Looks at the front of `bytes`: `Ok(None)` means that more bytes are needed.
    ///
    /// `packet_bytes_max` bounds the whole packet, as Maximum Packet Size does (5.0 section
    /// 3.1.2.11.4), and is checked as soon as the length is known, before the body has arrived.
    ///
    /// # Errors
    /// A Remaining Length of more than four bytes, or a packet above the bound.
    #[inline]
    pub fn peek(bytes: &[u8], packet_bytes_max: usize) -> Result<Option<Self>, Offence> {
        let Some((&first_byte, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((remaining, used)) = varint::read(rest)? else { return Ok(None) };
        // `used` is at most 4 and `remaining` below 2^28: no sum overflows.
        let body = used.wrapping_add(1);
        let len = body.wrapping_add(remaining as usize);
        if len > packet_bytes_max {
            return Err(Offence::PacketTooLarge);
        }
        Ok((bytes.len() >= len).then_some(Self { first_byte, body, len }))
    }

    /// The length of the packet that begins `bytes`, as far as it is known yet.
    pub fn announced_len(bytes: &[u8]) -> Option<usize> {
        let (remaining, used) = varint::read(bytes.get(1..)?).ok()??;
        Some(used.wrapping_add(1).wrapping_add(remaining as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_seen_when_its_last_byte_has_arrived() {
        let bytes = [0x30, 0x03, 0, 1, b'a', 0xC0, 0x00];
        for cut in 0..5 {
            assert_eq!(Frame::peek(&bytes[..cut], 100), Ok(None));
        }
        let frame = Frame { first_byte: 0x30, body: 2, len: 5 };
        assert_eq!(Frame::peek(&bytes[..5], 100), Ok(Some(frame)));
        assert_eq!(Frame::peek(&bytes, 100), Ok(Some(frame)));
        assert_eq!(Frame::announced_len(&bytes[..2]), Some(5));
        assert_eq!(Frame::announced_len(&bytes[..1]), None);
    }

    #[test]
    fn the_size_limit_holds_from_both_sides_and_before_the_body_arrives() {
        let bytes = [0x30, 0x03, 0, 1, b'a'];
        assert!(Frame::peek(&bytes, 5).is_ok());
        assert_eq!(Frame::peek(&bytes[..2], 4), Err(Offence::PacketTooLarge));
    }
}
