//! What decodes encodes to something that decodes to the same and encodes to the same bytes.

use mqtt_proto::codec::Frame;
use mqtt_proto::{Packet, Version};

/// See the file's head.
pub fn roundtrip(data: &[u8]) {
    for version in [Version::V31, Version::V311, Version::V5] {
        let Ok(Some(frame)) = Frame::peek(data, usize::MAX) else { return };
        let Ok(packet) = Packet::decode(version, frame, data) else { continue };
        let version = match packet {
            Packet::Connect(connect) => connect.version,
            // Readers take what only other people's servers say: see tests/prop_codec.rs.
            Packet::Connack(connack) if (1..=5).contains(&connack.code) => continue,
            _ => version,
        };
        let mut once = Vec::new();
        packet.encode(version, &mut once).expect("what decoded is not too long");
        let frame = Frame::peek(&once, usize::MAX).unwrap().expect("a whole packet");
        let again = Packet::decode(version, frame, &once).expect("our own encoding decodes");
        let mut twice = Vec::new();
        again.encode(version, &mut twice).unwrap();
        assert_eq!(once, twice);
    }
}
