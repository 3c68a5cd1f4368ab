//! A stream that arrives in any pieces is seen as the same packets, or the same offence, as when it
//! arrives at once. The first byte says the version, the second how it is cut.

use mqtt_proto::codec::Frame;
use mqtt_proto::{Offence, Packet, Version};

/// What a reader makes of the bytes so far, and where the first packet it waits for begins.
fn read(version: Version, stream: &[u8]) -> (Vec<Vec<u8>>, usize, Option<Offence>) {
    let (mut seen, mut at) = (Vec::new(), 0);
    loop {
        match Frame::peek(&stream[at..], 1 << 16) {
            Ok(None) => return (seen, at, None),
            Err(offence) => return (seen, at, Some(offence)),
            Ok(Some(frame)) => {
                let whole = &stream[at..at + frame.len];
                if let Err(offence) = Packet::decode(version, frame, whole) {
                    return (seen, at, Some(offence));
                }
                seen.push(whole.to_vec());
                at += frame.len;
            }
        }
    }
}

/// See the file's head.
pub fn split(data: &[u8]) {
    let [version, step, stream @ ..] = data else { return };
    let version = [Version::V31, Version::V311, Version::V5][usize::from(*version) % 3];
    let whole = read(version, stream);
    let mut step = u32::from(*step) | 1;
    let (mut buffer, mut fed, mut seen, mut offence) = (Vec::new(), 0, Vec::new(), None);
    while fed < stream.len() && offence.is_none() {
        step = step.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let more = (1 + (step >> 16) as usize % 9).min(stream.len() - fed);
        buffer.extend_from_slice(&stream[fed..fed + more]);
        fed += more;
        let (packets, used, found) = read(version, &buffer);
        seen.extend(packets);
        offence = found;
        buffer.drain(..used);
    }
    assert_eq!((seen, offence), (whole.0, whole.2));
}
