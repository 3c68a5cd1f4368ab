//! The frame layer of `mqtt-net`, private there and compiled in here as it is.

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "another crate's file")]
#[path = "../../mqtt-net/src/websocket/frame.rs"]
mod frame;

use frame::{Decoded, FrameReader, Role};

/// What a server's reader makes of the pieces: payload, the last verdict, and whether it is over.
pub(crate) fn read(pieces: &mut [Vec<u8>], limit: u64) -> (Vec<u8>, Option<String>, bool) {
    let mut reader = FrameReader::new(Role::Server, limit);
    let mut payload = Vec::new();
    for piece in pieces {
        let Decoded { payload: count, error, .. } = reader.decode(piece);
        payload.extend_from_slice(&piece[..count]);
        if let Some(error) = error {
            return (payload, Some(error.to_string()), reader.has_ended());
        }
    }
    (payload, None, reader.has_ended())
}
