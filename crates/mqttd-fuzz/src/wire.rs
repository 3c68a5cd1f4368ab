//! What stands in front of or around MQTT on the wire: PROXY headers, WebSocket frames.

use mqtt_net::http::Request;
use mqtt_net::proxy_header::{Parsed, Version, parse};

use crate::websocket;

/// Bytes that the largest header has.
const HEADER_MAX: usize = 2048;

/// A header is found, refused, or wants more; what is found does not depend on what follows, and
/// nothing is found in less.
pub fn proxy_header(bytes: &[u8]) {
    for version in [Version::V1, Version::V2] {
        match parse(bytes, version) {
            Ok(Parsed::Header(header, length)) => {
                assert!(length <= bytes.len() && length <= HEADER_MAX, "{length} bytes");
                match parse(&bytes[..length], version) {
                    Ok(Parsed::Header(alone, count)) => {
                        assert_eq!((format!("{alone:?}"), count), (format!("{header:?}"), length));
                    }
                    other => panic!("without what follows: {other:?}"),
                }
                let less = parse(&bytes[..length - 1], version);
                assert!(matches!(less, Ok(Parsed::NeedMore(_))), "with one byte less: {less:?}");
            }
            Ok(Parsed::NeedMore(more)) => {
                assert!(more > 0 && more <= HEADER_MAX, "{more} bytes wanted");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

pub(crate) fn proxy_seeds() -> Vec<Vec<u8>> {
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 2, 0, 80, 7, 91]);
    let mut tlv = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2e".to_vec();
    tlv.extend_from_slice(&[0; 36]);
    tlv.extend_from_slice(&[0x20, 0, 7, 1, 0, 0, 0, 0, 0, 0]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let v1 = [
        &b"PROXY TCP4 127.0.0.1 127.0.0.2 80 1883\r\n"[..],
        b"PROXY TCP6 ::1 fe80::1 80 1883\r\nrest",
        b"PROXY UNKNOWN\r\n",
    ];
    v1.map(<[u8]>::to_vec).into_iter().chain([v2, tlv, local]).collect()
}

/// Any split of a stream gives the same payload and the same verdict, and never more payload than
/// bytes. The first two bytes say where it is split, the third how large a message may be.
pub fn websocket_frames(bytes: &[u8]) {
    let [first, second, limit, stream @ ..] = bytes else { return };
    let limit = u64::from(*limit) * 4;
    let whole = websocket::read(&mut [stream.to_vec()], limit);
    assert!(whole.0.len() <= stream.len(), "payload out of nothing");
    let a = usize::from(*first).min(stream.len());
    let b = (a + usize::from(*second)).min(stream.len());
    let pieces = &mut [stream[..a].to_vec(), stream[a..b].to_vec(), stream[b..].to_vec()];
    assert_eq!(websocket::read(pieces, limit), whole, "split at {a} and {b}");
}

pub(crate) fn websocket_seeds() -> Vec<Vec<u8>> {
    let mask = [1, 2, 3, 4];
    let frame = |head: u8, payload: &[u8]| {
        let mut bytes = vec![head, 0x80 | payload.len() as u8];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    };
    let streams = [
        frame(0x82, b"\x10\x0c"),
        [frame(0x02, b"half"), frame(0x89, b"ping"), frame(0x80, b"whole")].concat(),
        [frame(0x82, b""), frame(0x88, &[3, 0xE8])].concat(),
        vec![0x82, 0xFE, 0, 200, 1, 2, 3, 4],
        vec![0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
    ];
    streams.into_iter().map(|stream| [vec![3, 5, 60], stream].concat()).collect()
}

/// The head of a request, of a browser or of whoever asks the `http_api`, is read or refused, and
/// what is asked of one has an answer.
pub fn http_request(bytes: &[u8]) {
    let Ok(request) = Request::parse(bytes) else { return };
    assert!(!request.method().is_empty() && !request.target().is_empty());
    if request.wants_websocket() {
        assert!(request.has_token("upgrade", "websocket"), "without being asked to");
    }
    let [nobody, everybody] = [false, true].map(|trusted| request.forwarded_for(|_| trusted));
    assert_eq!(nobody.is_some(), everybody.is_some(), "the last address is there or not");
    for name in ["host", "authorization", "sec-websocket-protocol"] {
        let _ = request.header(name);
    }
}

pub(crate) fn http_seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 3] = [
        b"GET /api/v1/listeners?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
          Connection: keep-alive, Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Protocol: mqtt, mqttv3.1\r\n\r\n",
        b"HEAD / HTTP/1.0\r\nX-Forwarded-For: 10.0.0.1, 127.0.0.1\r\n\r\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}
