//! Any bytes as a stream of packets of any version: decoding ends, never panics, never reads
//! past a frame, and what a packet gives out can be walked through.

use mqtt_proto::codec::Frame;
use mqtt_proto::{Packet, Version};

/// See the file's head.
pub fn decode(data: &[u8]) {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut rest = data;
        while let Ok(Some(frame)) = Frame::peek(rest, 1 << 20) {
            assert!(frame.len <= rest.len() && frame.body <= frame.len);
            let Ok(packet) = Packet::decode(version, frame, rest) else { break };
            match packet {
                Packet::Subscribe(subscribe) => assert!(subscribe.filters.iter().count() > 0),
                Packet::Publish(publish) => publish.properties.iter().for_each(drop),
                Packet::Connect(connect) => connect.properties.iter().for_each(drop),
                _ => {}
            }
            rest = &rest[frame.len..];
        }
    }
}
