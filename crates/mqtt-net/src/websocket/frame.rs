//! The WebSocket frame layer (RFC 6455 section 5), without a socket.
//!
//! [`FrameReader`] turns raw bytes into payload bytes inside the buffer they arrived in, so that a
//! connection owns no read buffer and nothing is allocated for a length that a stranger claims.

use std::fmt;

/// The longest header: two bytes, an eight-byte length and a mask.
pub(super) const MAX_HEADER: usize = 14;

/// The longest payload of a ping, pong or close frame (RFC 6455 section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Frame types (RFC 6455 section 5.2).
pub(super) mod opcode {
    pub(in super::super) const CONTINUATION: u8 = 0x0;
    pub(in super::super) const TEXT: u8 = 0x1;
    pub(in super::super) const BINARY: u8 = 0x2;
    pub(in super::super) const CLOSE: u8 = 0x8;
    pub(in super::super) const PING: u8 = 0x9;
    pub(in super::super) const PONG: u8 = 0xA;
}

/// Which side of the connection we are: a client masks its frames, a server does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that connected.
    Client,
    /// The side that accepted.
    Server,
}

/// What the other side did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A text frame; MQTT is binary only (MQTT-6.0.0-1).
    Text,
    /// A frame type that does not exist.
    UnknownOpcode(u8),
    /// A reserved bit is set although no extension was agreed on.
    ReservedBits,
    /// A client's frame without a mask.
    NotMasked,
    /// A server's frame with a mask.
    Masked,
    /// A ping, pong or close frame that is fragmented or longer than 125 bytes.
    BadControl,
    /// A continuation without a beginning, or a beginning inside of a fragmented message.
    OutOfOrder,
    /// The message is larger than the limit in bytes.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

impl FrameError {
    /// The status code of the close frame that answers it (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            FrameError::Text => 1003,
            FrameError::TooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Text => f.write_str("WebSocket text frame (MQTT needs binary frames)"),
            FrameError::UnknownOpcode(code) => write!(f, "unknown WebSocket frame type {code}"),
            FrameError::ReservedBits => f.write_str("reserved bit set in a WebSocket frame"),
            FrameError::NotMasked => f.write_str("WebSocket frame of a client without a mask"),
            FrameError::Masked => f.write_str("WebSocket frame of a server with a mask"),
            FrameError::BadControl => {
                f.write_str("WebSocket control frame is fragmented or too long")
            }
            FrameError::OutOfOrder => f.write_str("WebSocket fragments are out of order"),
            FrameError::TooLarge { limit } => {
                write!(f, "WebSocket message is larger than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// A control frame that arrived and asks for an answer or ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Ping(ControlPayload),
    Close(Option<u16>),
}

/// The payload of a control frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct ControlPayload {
    bytes: [u8; MAX_CONTROL],
    len: u8,
}

impl ControlPayload {
    const EMPTY: ControlPayload = ControlPayload { bytes: [0; MAX_CONTROL], len: 0 };

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, more: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + more.len()].copy_from_slice(more);
        self.len += more.len() as u8;
    }
}

impl PartialEq for ControlPayload {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ControlPayload {}

/// What one call of [`FrameReader::decode`] found.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// Payload bytes; they stand at the front of the buffer.
    pub(super) payload: usize,
    /// The last ping or the close, whichever came last; a newer ping replaces an older one (RFC
    /// 6455 section 5.5.3).
    pub(super) control: Option<Control>,
    /// What was wrong right after the payload; nothing behind it was looked at.
    pub(super) error: Option<FrameError>,
}

/// Reads frames from any split of the bytes.
///
/// ```text
///            header whole                    payload whole
///  Header ────────────────▶ Payload ────────────────────────▶ Header
///     └───── close, error ─────▶ Ended (bytes behind it are ignored)
/// ```
#[derive(Debug)]
pub(super) struct FrameReader {
    role: Role,
    limit: u64,
    header: [u8; MAX_HEADER],
    header_len: u8,
    state: State,
    /// Bytes of the message so far, over all of its fragments; `None` between messages.
    message: Option<u64>,
    control: ControlPayload,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    Payload { opcode: u8, fin: bool, left: u64, mask: [u8; 4] },
    Ended,
}

impl FrameReader {
    /// `role` is ours; `limit` bounds the bytes of one message.
    pub(super) fn new(role: Role, limit: u64) -> Self {
        FrameReader {
            role,
            limit,
            header: [0; MAX_HEADER],
            header_len: 0,
            state: State::Header,
            message: None,
            control: ControlPayload::EMPTY,
        }
    }

    /// Whether a close or an error has ended the stream.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Takes all raw bytes of `buffer` and leaves the payload among them, unmasked, at its front.
    pub(super) fn decode(&mut self, buffer: &mut [u8]) -> Decoded {
        let mut found = Decoded::default();
        let mut at = 0;
        while at < buffer.len() {
            match self.state {
                State::Header => match self.take_header(&buffer[at..]) {
                    Ok(taken) => at += taken,
                    Err(error) => {
                        self.state = State::Ended;
                        found.error = Some(error);
                    }
                },
                State::Payload { opcode, left, mask, .. } => {
                    let rest = buffer.len() - at;
                    let take = usize::try_from(left).map_or(rest, |left| left.min(rest));
                    if opcode >= opcode::CLOSE {
                        unmask(&mut buffer[at..at + take], mask);
                        self.control.push(&buffer[at..at + take]);
                    } else {
                        let to = found.payload;
                        buffer.copy_within(at..at + take, to);
                        unmask(&mut buffer[to..to + take], mask);
                        found.payload += take;
                    }
                    at += take;
                    self.took_payload(take);
                }
                State::Ended => break,
            }
            if let Some(control) = self.finish_frame() {
                found.control = Some(control);
            }
        }
        found
    }

    /// Collects header bytes; returns how many it took.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, FrameError> {
        let mut taken = 0;
        while taken < bytes.len() {
            let have = usize::from(self.header_len);
            if have >= 2 && have == header_len(self.header[1]) {
                break;
            }
            self.header[have] = bytes[taken];
            self.header_len += 1;
            taken += 1;
            // What is wrong with the first two bytes is wrong at once, whether or not the rest
            // arrives.
            if self.header_len == 2 {
                self.check_kind()?;
            }
        }
        let have = usize::from(self.header_len);
        if have >= 2 && have == header_len(self.header[1]) {
            self.begin_payload()?;
        }
        Ok(taken)
    }

    fn check_kind(&self) -> Result<(), FrameError> {
        let [first, second, ..] = self.header;
        let opcode = first & 0x0F;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        match (self.role, second & MASKED != 0) {
            (Role::Server, false) => return Err(FrameError::NotMasked),
            (Role::Client, true) => return Err(FrameError::Masked),
            _ => {}
        }
        match opcode {
            opcode::TEXT => Err(FrameError::Text),
            opcode::CONTINUATION if self.message.is_none() => Err(FrameError::OutOfOrder),
            opcode::BINARY if self.message.is_some() => Err(FrameError::OutOfOrder),
            opcode::CONTINUATION | opcode::BINARY => Ok(()),
            opcode::CLOSE | opcode::PING | opcode::PONG => {
                let is_long = usize::from(second & !MASKED) > MAX_CONTROL;
                if first & FIN == 0 || is_long { Err(FrameError::BadControl) } else { Ok(()) }
            }
            other => Err(FrameError::UnknownOpcode(other)),
        }
    }

    fn begin_payload(&mut self) -> Result<(), FrameError> {
        let [first, second, ..] = self.header;
        let (left, mask_at) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 4),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                (u64::from_be_bytes(length), 10)
            }
            short => (u64::from(short), 2),
        };
        let mut mask = [0; 4];
        if second & MASKED != 0 {
            mask.copy_from_slice(&self.header[mask_at..mask_at + 4]);
        }
        let opcode = first & 0x0F;
        if opcode < opcode::CLOSE {
            let total = self.message.unwrap_or(0).saturating_add(left);
            if total > self.limit {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            self.message = Some(total);
        } else {
            self.control = ControlPayload::EMPTY;
        }
        self.header_len = 0;
        self.state = State::Payload { opcode, fin: first & FIN != 0, left, mask };
        Ok(())
    }

    fn took_payload(&mut self, taken: usize) {
        if let State::Payload { left, mask, .. } = &mut self.state {
            *left -= taken as u64;
            mask.rotate_left(taken % 4);
        }
    }

    /// Goes back to `Header` when the payload is whole.
    fn finish_frame(&mut self) -> Option<Control> {
        let State::Payload { opcode, fin, left: 0, .. } = self.state else { return None };
        self.state = State::Header;
        match opcode {
            opcode::CLOSE => {
                self.state = State::Ended;
                let payload = self.control.as_slice();
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                Some(Control::Close(code))
            }
            opcode::PING => Some(Control::Ping(self.control)),
            opcode::PONG => None,
            _ => {
                if fin {
                    self.message = None;
                }
                None
            }
        }
    }
}

/// The length of a header whose second byte is `second`.
fn header_len(second: u8) -> usize {
    let length = match second & !MASKED {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    length + if second & MASKED != 0 { 4 } else { 0 }
}

/// Puts the mask on or takes it off (RFC 6455 section 5.3); `mask[0]` belongs to the first byte.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// A frame header and its length; with `mask` the frame is a client's.
pub(super) fn encode_header(
    opcode: u8,
    length: usize,
    mask: Option<[u8; 4]>,
) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = FIN | opcode;
    let mut at = if length <= MAX_CONTROL {
        header[1] = length as u8;
        2
    } else if let Ok(short) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    };
    if let Some(mask) = mask {
        header[1] |= MASKED;
        header[at..at + 4].copy_from_slice(&mask);
        at += 4;
    }
    (header, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut header, len) = encode_header(first & 0x0F, payload.len(), Some(MASK));
        header[0] = first;
        let mut bytes = header[..len].to_vec();
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
        bytes
    }

    fn decode_all(reader: &mut FrameReader, mut bytes: Vec<u8>) -> (Vec<u8>, Decoded) {
        let found = reader.decode(&mut bytes);
        bytes.truncate(found.payload);
        (bytes, found)
    }

    fn server(limit: u64) -> FrameReader {
        FrameReader::new(Role::Server, limit)
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        // RFC 6455 section 5.7: a masked "Hello", here as a binary frame.
        let bytes = vec![0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let (payload, found) = decode_all(&mut server(5), bytes);
        assert_eq!(payload, b"Hello");
        assert!(found.error.is_none() && found.control.is_none());
    }

    #[test]
    fn headers_have_the_right_length_form() {
        for (length, expected) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let (header, len) = encode_header(opcode::BINARY, length, None);
            assert_eq!(len, expected, "{length}");
            assert_eq!(header_len(header[1]), expected);
            assert_eq!(encode_header(opcode::BINARY, length, Some(MASK)).1, expected + 4);
        }
    }

    #[test]
    fn any_split_gives_the_same_bytes() {
        let seed = 0x9E37_79B9_7F4A_7C15_u64;
        println!("seed {seed:#x}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut random = move |below: usize| rng.usize(..below);
        for round in 0..200 {
            let mut raw = Vec::new();
            let mut expected = Vec::new();
            let mut pings = 0;
            let mut open = false;
            for _ in 0..random(12) + 1 {
                if random(4) == 0 {
                    raw.extend(frame(0x89, &vec![pings as u8; random(126)]));
                    pings += 1;
                    continue;
                }
                let size = if random(9) == 0 { 65_536 + random(9) } else { random(300) };
                let payload: Vec<u8> = (0..size).map(|_| random(256) as u8).collect();
                let fin = random(2) == 0;
                let kind = if open { opcode::CONTINUATION } else { opcode::BINARY };
                raw.extend(frame(if fin { 0x80 } else { 0 } | kind, &payload));
                open = !fin;
                expected.extend(payload);
            }
            let mut reader = server(u64::MAX);
            let mut got = Vec::new();
            let mut at = 0;
            while at < raw.len() {
                let most = if random(2) == 0 { 5 } else { 70_000 };
                let end = (at + 1 + random(most)).min(raw.len());
                let (payload, found) = decode_all(&mut reader, raw[at..end].to_vec());
                assert_eq!(found.error, None, "round {round}");
                got.extend(payload);
                at = end;
            }
            assert!(got == expected, "round {round}: {} of {}", got.len(), expected.len());
        }
    }

    #[test]
    fn the_limit_counts_all_fragments_and_not_what_is_claimed_later() {
        let mut reader = server(10);
        assert!(decode_all(&mut reader, frame(0x02, &[1; 6])).1.error.is_none());
        assert!(decode_all(&mut reader, frame(0x80, &[1; 4])).1.error.is_none());
        assert!(decode_all(&mut reader, frame(0x82, &[1; 10])).1.error.is_none());
        assert!(decode_all(&mut reader, frame(0x02, &[1; 6])).1.error.is_none());
        let (payload, found) = decode_all(&mut reader, frame(0x80, &[1; 5]));
        assert_eq!(found.error, Some(FrameError::TooLarge { limit: 10 }));
        assert!(payload.is_empty());

        let huge = vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let found = decode_all(&mut server(1 << 40), huge).1;
        assert_eq!(found.error, Some(FrameError::TooLarge { limit: 1 << 40 }));
    }

    #[test]
    fn each_offence_is_named_and_ends_the_stream() {
        let not_masked = vec![0x82, 0x01, 0x00];
        let cases = [
            (frame(0x81, b"text"), FrameError::Text, 1003),
            (frame(0x83, b""), FrameError::UnknownOpcode(3), 1002),
            (frame(0xC2, b""), FrameError::ReservedBits, 1002),
            (not_masked, FrameError::NotMasked, 1002),
            (frame(0x09, b""), FrameError::BadControl, 1002),
            (frame(0x89, &[0; 126]), FrameError::BadControl, 1002),
            (frame(0x80, b"x"), FrameError::OutOfOrder, 1002),
            ([frame(0x02, b""), frame(0x82, b"")].concat(), FrameError::OutOfOrder, 1002),
        ];
        for (bytes, error, code) in cases {
            let mut reader = server(1000);
            let good = frame(0x82, b"good");
            let (payload, found) =
                decode_all(&mut reader, [good.clone(), bytes, good.clone()].concat());
            assert_eq!(found.error, Some(error));
            assert_eq!(error.close_code(), code);
            assert_eq!(payload, b"good", "what came before is handed out: {error}");
            assert!(reader.has_ended());
            assert!(decode_all(&mut reader, good).0.is_empty());
        }
        let found = decode_all(&mut FrameReader::new(Role::Client, 9), frame(0x82, b"")).1;
        assert_eq!(found.error, Some(FrameError::Masked));
    }

    #[test]
    fn a_close_carries_its_code() {
        for (payload, code) in [(&[][..], None), (&[3, 232], Some(1000)), (&[3], None)] {
            let mut reader = server(9);
            let (_, found) = decode_all(&mut reader, frame(0x88, payload));
            assert_eq!(found.control, Some(Control::Close(code)));
            assert!(reader.has_ended());
        }
    }
}
