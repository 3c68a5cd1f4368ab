//! A cursor over the body of one packet. It hands out borrowed fields and cannot leave the body.

use crate::codec::varint;
use crate::error::Offence;
use crate::packet_id::PacketIdentifier;

/// Reads the primitive types of MQTT 1.5 from a packet's body.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `body`.
    #[inline]
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What has not been read yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Everything has been read.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Offence> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Offence::BodyTooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes all that is left.
    #[inline]
    pub fn take_rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Offence> {
        let (&byte, rest) = self.rest.split_first().ok_or(Offence::BodyTooShort)?;
        self.rest = rest;
        Ok(byte)
    }

    /// Two Byte Integer (1.5.2).
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Offence> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Offence::BodyTooShort)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Four Byte Integer (1.5.3).
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Offence> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Offence::BodyTooShort)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Variable Byte Integer (1.5.5).
    #[inline]
    pub fn varint(&mut self) -> Result<u32, Offence> {
        let (value, used) = varint::read(self.rest)?.ok_or(Offence::BodyTooShort)?;
        self.take(used)?;
        Ok(value)
    }

    /// Binary Data (1.5.6).
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], Offence> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// UTF-8 Encoded String (1.5.4): well-formed and without U+0000.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, Offence> {
        let bytes = self.binary()?;
        let text = core::str::from_utf8(bytes).map_err(|_| Offence::NotUtf8)?;
        if bytes.contains(&0) { Err(Offence::NulCharacter) } else { Ok(text) }
    }

    /// Packet Identifier (2.2.1), never zero.
    #[inline]
    pub fn packet_id(&mut self) -> Result<PacketIdentifier, Offence> {
        PacketIdentifier::new(self.u16()?).ok_or(Offence::PacketIdentifierZero)
    }

    /// The packet must end here.
    #[inline]
    pub const fn finish(&self) -> Result<(), Offence> {
        if self.rest.is_empty() { Ok(()) } else { Err(Offence::BodyTooLong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_in_order_and_never_beyond_the_body() {
        let mut reader = Reader::new(&[7, 1, 2, 0, 0, 0, 9, 0x80, 0x01, 0, 2, b'h', b'i', 0, 5, 1]);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.u32(), Ok(9));
        assert_eq!(reader.varint(), Ok(128));
        assert_eq!(reader.string(), Ok("hi"));
        assert_eq!(reader.clone().binary(), Err(Offence::BodyTooShort));
        assert_eq!(reader.clone().packet_id().map(PacketIdentifier::get), Ok(5));
        assert_eq!(reader.finish(), Err(Offence::BodyTooLong));
        assert_eq!(reader.take_rest().len(), 3);
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(reader.u8(), Err(Offence::BodyTooShort));
    }

    #[test]
    fn strings_are_checked() {
        assert_eq!(Reader::new(&[0, 1, 0xFF]).string(), Err(Offence::NotUtf8));
        assert_eq!(Reader::new(&[0, 3, 0xED, 0xA0, 0x80]).string(), Err(Offence::NotUtf8));
        for (bytes, at) in [(&[0, 1, 0][..], 0), (b"\0\x03ab\0", 2), (b"\0\x03\0ab", 0)] {
            assert_eq!(Reader::new(bytes).string(), Err(Offence::NulCharacter), "NUL at {at}");
        }
        assert_eq!(Reader::new(&[0, 3, 0xEF, 0xBB, 0xBF]).string(), Ok("\u{FEFF}"));
        assert_eq!(Reader::new(&[0, 0]).packet_id(), Err(Offence::PacketIdentifierZero));
    }
}
