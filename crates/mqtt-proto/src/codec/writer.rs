//! Appends fields and whole packets to a buffer of the caller's. Nothing is left behind when a
//! packet can't be encoded.

use alloc::vec::Vec;

use crate::codec::frame::REMAINING_LENGTH_MAX;
use crate::codec::varint;
use crate::error::EncodeError;

/// Appends the primitive types of MQTT 1.5. Remembers whether a field was too long.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    field_too_long: bool,
}

impl Writer<'_> {
    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two Byte Integer.
    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Four Byte Integer.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Variable Byte Integer, at most [`varint::VARINT_MAX`].
    pub fn varint(&mut self, value: u32) {
        varint::write(self.out, value);
    }

    /// Binary Data, or a string.
    pub fn binary(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(len) => {
                self.u16(len);
                self.out.extend_from_slice(bytes);
            }
            Err(_) => self.field_too_long = true,
        }
    }

    /// Bytes without a length in front.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A block with a Variable Byte Integer length in front, as properties have.
    pub fn block(&mut self, bytes: &[u8]) {
        match u32::try_from(bytes.len()) {
            Ok(len) if len <= varint::VARINT_MAX => {
                self.varint(len);
                self.out.extend_from_slice(bytes);
            }
            _ => self.field_too_long = true,
        }
    }
}

/// Appends one packet: fixed header, then whatever `body` writes.
///
/// # Errors
/// A field or the packet is too long; `out` is then as it was before.
pub fn packet(
    out: &mut Vec<u8>,
    first_byte: u8,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[first_byte, 0]);
    let mut writer = Writer { out, field_too_long: false };
    body(&mut writer);
    if writer.field_too_long {
        out.truncate(start);
        return Err(EncodeError::FieldTooLong);
    }
    let remaining = match out.get_mut(start..) {
        Some([_, length, body @ ..]) if body.len() <= 127 => {
            *length = body.len() as u8;
            return Ok(());
        }
        Some([_, _, body @ ..]) => u32::try_from(body.len()),
        // A body only appends.
        _ => Ok(0),
    };
    match remaining {
        Ok(remaining) if remaining <= REMAINING_LENGTH_MAX => {
            let mut length = Vec::with_capacity(4);
            varint::write(&mut length, remaining);
            let place = start.saturating_add(1);
            out.splice(place..place.saturating_add(1), length);
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(EncodeError::PacketTooLarge)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_grows_with_the_body() {
        for (body, header) in [(0, 2), (127, 2), (128, 3), (16_384, 4), (2_097_152, 5)] {
            let mut out = vec![9];
            packet(&mut out, 0x30, |w| w.raw(&vec![7; body])).unwrap();
            assert_eq!(out.len(), 1 + header + body);
            assert_eq!(out[0..2], [9, 0x30]);
            let (length, used) = varint::read(&out[2..]).unwrap().unwrap();
            assert_eq!((length as usize, used), (body, header - 1));
        }
    }

    #[test]
    fn what_is_too_long_leaves_nothing_behind() {
        let mut out = vec![9];
        assert!(packet(&mut out, 0x30, |w| w.binary(&[0; 65_535])).is_ok());
        out.truncate(1);
        let refused = packet(&mut out, 0x30, |w| w.binary(&[0; 65_536]));
        assert_eq!(refused, Err(EncodeError::FieldTooLong));
        assert_eq!(out, [9]);
        let refused = packet(&mut out, 0x30, |w| w.raw(&vec![0; 268_435_456]));
        assert_eq!(refused, Err(EncodeError::PacketTooLarge));
        assert_eq!(out, [9]);
    }
}
