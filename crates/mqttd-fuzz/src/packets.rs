//! What `mqtt-proto` is attacked with: the files of its own targets, compiled in here as they are,
//! so that stable Rust asks them in each test run.

#[path = "../../mqtt-proto/fuzz/attack/connection.rs"]
mod connection;
#[path = "../../mqtt-proto/fuzz/attack/decode.rs"]
mod decode;
#[path = "../../mqtt-proto/fuzz/attack/roundtrip.rs"]
mod roundtrip;
#[path = "../../mqtt-proto/fuzz/attack/split.rs"]
mod split;
#[path = "../../mqtt-proto/fuzz/attack/trie.rs"]
mod trie;

pub use connection::connection;
pub use decode::decode;
pub use roundtrip::roundtrip;
pub use split::split;
pub use trie::trie;

/// One packet of each kind that has much in it.
const PACKETS: [&[u8]; 5] = [
    b"\x10\x20\0\x04MQTT\x05\xc6\0\x3c\x05\x11\0\0\0\x09\0\x01a\0\0\x01w\0\x02hi\0\x01u\0\x01p",
    b"\x20\x0b\0\0\x08\x22\0\x0a\x21\0\x14\x13\x3c",
    b"\x32\x0f\0\x03a/b\0\x07\x05\x23\0\x01\x0b\x05hi",
    b"\x82\x0e\0\x07\0\0\x01a\x2d\0\x03+/#\x02",
    b"\xe0\x07\x04\x05\x11\0\0\0\0",
];

pub(crate) fn packet_seeds() -> Vec<Vec<u8>> {
    PACKETS.map(<[u8]>::to_vec).to_vec()
}

/// Behind the two bytes that say how they are read, here as 5.0.
pub(crate) fn stream_seeds() -> Vec<Vec<u8>> {
    let connack_first = [&b"\x02\x01"[..], &PACKETS[1..].concat()].concat();
    PACKETS
        .map(|packet| [b"\x02\x01", packet].concat())
        .into_iter()
        .chain([connack_first])
        .collect()
}

pub(crate) fn trie_seeds() -> Vec<Vec<u8>> {
    vec![b"+a/+\n+a/#\n+#\n a/b\n-a/+\n a/b\n $SYS/x\n+$SYS/#\n $SYS/x".to_vec()]
}
