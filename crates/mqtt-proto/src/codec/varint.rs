//! The Variable Byte Integer (MQTT 1.5.5): 1 to 4 bytes, 0 to 268,435,455.

use alloc::vec::Vec;

use crate::error::Offence;

/// The largest value four bytes can hold.
pub const VARINT_MAX: u32 = 268_435_455;

/// The bytes read with each byte, and by how much its seven bits count more than the first's.
const PLACES: [(usize, u32); 4] = [(1, 0), (2, 7), (3, 14), (4, 21)];

/// Reads a value from the front of `bytes`: `(value, bytes used)`, or `None` when more bytes are
/// needed.
///
/// # Errors
/// A fourth byte that announces a fifth [MQTT-1.5.5-1], or an encoding that is longer than the
/// value needs (non-normative in 3.1.1, required by 5.0 for senders; accepted from peers as
/// Mosquitto does).
#[inline]
pub fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, Offence> {
    let mut value = 0u32;
    for ((used, shift), &byte) in PLACES.iter().zip(bytes) {
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((value, *used)));
        }
    }
    if bytes.len() >= 4 { Err(Offence::RemainingLengthTooLong) } else { Ok(None) }
}

/// How many bytes `value` takes.
#[inline]
pub const fn len(value: u32) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Appends `value`, which is at most [`VARINT_MAX`].
#[inline]
pub fn write(out: &mut Vec<u8>, mut value: u32) {
    debug_assert!(value <= VARINT_MAX);
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_table_1_1() {
        for (value, bytes) in [
            (0u32, &[0x00u8][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (VARINT_MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(len(value), bytes.len());
            assert_eq!(read(bytes), Ok(Some((value, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn a_fifth_byte_is_refused_as_soon_as_the_fourth_announces_it() {
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80]), Err(Offence::RemainingLengthTooLong));
    }
}
