//! The codec against bytes nobody chose: decoding never panics and never reads past a frame,
//! what was decoded encodes to something that decodes to the same, and no split of the bytes
//! changes what is seen. Seeded and quick enough for every test run; the targets in `fuzz/` go on
//! from here with coverage.

mod seed;

use fastrand::Rng;
use mqtt_proto::codec::Frame;
use mqtt_proto::{Packet, Version};

use seed::Seed;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// One well-formed packet of every type and many of their options, written by hand: what the
/// mutations start from. `[ … ]` is a block behind its length in one byte, `<text>` a string
/// behind its length in two.
const SAMPLES: &[(Version, &str)] = &[
    (Version::V31, "10 [ <MQIsdp> 03 02 003c <a> ]"),
    (Version::V311, "10 [ <MQTT> 04 02 003c <a> ]"),
    (Version::V311, "10 [ <MQTT> 04 ee 003c <a> <w> <hi> <u> <p> ]"),
    (Version::V5, "10 [ <MQTT> 05 02 003c [ ] <a> ]"),
    (
        Version::V5,
        "10 [ <MQTT> 05 c6 003c [ 11 00000e10 21 000a 27 00010000 22 0005 19 01 17 00 ] <a> \
         [ 18 00000005 01 01 ] <w> <hi> <u> <p> ]",
    ),
    (Version::V311, "20 [ 01 00 ]"),
    (Version::V5, "20 [ 00 00 [ 22 000a 27 001e8480 21 0014 13 003c ] ]"),
    (Version::V5, "20 [ 00 87 [ 1f <nope> ] ]"),
    (Version::V311, "30 [ <a/b> ]"),
    (Version::V311, "3d [ <a/b> 0007 6869 ]"),
    (Version::V5, "32 [ <a/b> 0007 [ 01 01 02 00000e10 23 0001 0b 05 0b 8001 ] 6869 ]"),
    (Version::V5, "34 [ <a> 0007 [ 08 <r> 09 <c> 26 <k> <v> 26 <k> <> ] ]"),
    (Version::V5, "30 [ <> [ 23 0001 ] 6869 ]"),
    (Version::V311, "40 [ 0007 ]"),
    (Version::V5, "40 [ 0007 10 ]"),
    (Version::V5, "50 [ 0007 97 [ 1f <no> ] ]"),
    (Version::V311, "62 [ 0007 ]"),
    (Version::V5, "62 [ 0007 92 [ ] ]"),
    (Version::V31, "6a [ 0007 ]"),
    (Version::V5, "70 [ 0007 92 ]"),
    (Version::V311, "82 [ 0007 <a> 01 <+/#> 02 ]"),
    (Version::V5, "82 [ 0007 [ 0b 7f ] <a> 2d <+/#> 02 ]"),
    (Version::V311, "90 [ 0007 01 80 ]"),
    (Version::V5, "90 [ 0007 [ ] 02 87 ]"),
    (Version::V311, "a2 [ 0007 <a> <#> ]"),
    (Version::V5, "a2 [ 0007 [ 26 <k> <v> ] <a> ]"),
    (Version::V311, "b0 [ 0007 ]"),
    (Version::V5, "b0 [ 0007 [ ] 00 11 ]"),
    (Version::V311, "c0 [ ]"),
    (Version::V311, "d0 [ ]"),
    (Version::V311, "e0 [ ]"),
    (Version::V5, "e0 [ 04 [ 11 00000000 ] ]"),
    (Version::V5, "f0 [ 18 [ 15 <SCRAM-SHA-256> 16 <n,,n=u> ] ]"),
];

fn bytes(sample: &str) -> Vec<u8> {
    let mut open = vec![Vec::new()];
    for word in sample.split_ascii_whitespace() {
        if word == "[" {
            open.push(Vec::new());
            continue;
        }
        let block = if word == "]" { open.pop() } else { None };
        let top = open.last_mut().unwrap();
        if let Some(block) = block {
            assert!(block.len() < 128, "{sample}");
            top.push(block.len() as u8);
            top.extend(block);
        } else if let Some(text) = word.strip_prefix('<') {
            let text = text.strip_suffix('>').unwrap();
            top.extend((text.len() as u16).to_be_bytes());
            top.extend(text.bytes());
        } else {
            let pair = |at| u8::from_str_radix(&word[at..at + 2], 16).unwrap();
            top.extend((0..word.len()).step_by(2).map(pair));
        }
    }
    open.pop().unwrap()
}

/// Decodes the packet at the front, if there is a whole one.
fn decode(version: Version, input: &[u8], bound: usize) -> Option<(Packet<'_>, usize)> {
    let frame = Frame::peek(input, bound).ok()??;
    assert!(frame.len <= input.len() && frame.len <= bound && frame.body <= frame.len);
    let packet = Packet::decode(version, frame, input).ok()?;
    Some((packet, frame.len))
}

/// A packet that could be decoded encodes, and what comes out is the same packet.
fn round_trip(version: Version, packet: Packet<'_>) {
    if let Packet::Connack(connack) = packet {
        // Only a Server that does not know 5.0 says this; no writer of ours does.
        if version.has_properties() && (1..=5).contains(&connack.code) {
            return;
        }
    }
    // A CONNECT brings its own version.
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut out = Vec::new();
    packet.encode(version, &mut out).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    let (again, len) = decode(version, &out, usize::MAX)
        .unwrap_or_else(|| panic!("{packet:?} encodes to what does not decode: {out:02x?}"));
    assert_eq!(len, out.len());
    match (packet, again) {
        // 3.1.1 has one refusal, 0x80; a reader takes any, a writer says that one.
        (Packet::Suback(read), Packet::Suback(said)) if !version.has_properties() => {
            let plain = read.reason_codes.iter().map(|code| (*code).min(0x80));
            assert!(plain.eq(said.reason_codes.iter().copied()), "{read:?} became {said:?}");
        }
        _ => assert_eq!(again, packet),
    }
    let mut twice = Vec::new();
    again.encode(version, &mut twice).unwrap();
    assert_eq!(out, twice, "the encoding is a function of the packet");
}

#[test]
fn every_sample_is_a_packet_and_survives() {
    let mut types = std::collections::BTreeSet::new();
    for (version, hex) in SAMPLES {
        let wire = bytes(hex);
        let frame = Frame::peek(&wire, usize::MAX).unwrap();
        let frame = frame.unwrap_or_else(|| panic!("{hex}: incomplete"));
        assert_eq!(frame.len, wire.len(), "{hex}");
        let packet = Packet::decode(*version, frame, &wire);
        let packet = packet.unwrap_or_else(|offence| panic!("{hex}: {offence}"));
        types.insert(packet.packet_type() as u8);
        round_trip(*version, packet);
    }
    assert_eq!(types.len(), 15, "every packet type is among them");
}

/// `rounds` inputs: noise, noise behind a plausible header, and samples with a few bytes changed,
/// cut out or put in, each read as every version.
fn noise(seed: u64, rounds: u32) -> [u32; 2] {
    let _seed = Seed(seed);
    let mut rng = Rng::with_seed(seed);
    let samples: Vec<Vec<u8>> = SAMPLES.iter().map(|(_, hex)| bytes(hex)).collect();
    let mut counts = [0, 0];
    for _ in 0..rounds {
        let mut input = match rng.usize(..4) {
            0 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
            1 => {
                let len = rng.usize(..60);
                let masks = [0xff, 0x07, 0x3f];
                let body = (0..len).map(|_| (rng.u8(..)) & masks[rng.usize(..3)]);
                let body: Vec<u8> = body.collect();
                [&[rng.u8(..), len as u8][..], &body].concat()
            }
            _ => samples[rng.usize(..samples.len())].clone(),
        };
        for _ in 0..rng.usize(..4) {
            match (rng.usize(..4), input.len()) {
                (0, len) if len > 0 => input[rng.usize(..len)] = rng.u8(..),
                (1, len) if len > 0 => input[rng.usize(..len)] ^= 1 << rng.usize(..8),
                (2, len) if len > 2 => drop(input.remove(2 + rng.usize(..len - 2))),
                (3, len) if len > 2 => input.insert(2 + rng.usize(..len - 2), rng.u8(..)),
                _ => {}
            }
        }
        // Half of the time the length fits again, so that the offence is found in the body.
        if input.len() > 2 && input.len() < 120 && rng.usize(..2) == 0 {
            input[1] = (input.len() - 2) as u8;
        }
        for version in VERSIONS {
            match decode(version, &input, 1 + rng.usize(..200)) {
                Some((packet, _)) => {
                    counts[0] += 1;
                    round_trip(version, packet);
                }
                None => counts[1] += 1,
            }
        }
    }
    counts
}

#[test]
fn arbitrary_bytes_never_panic_and_what_decodes_survives() {
    let (mut good, mut bad) = (0, 0);
    for seed in 1..=20 {
        let counts = noise(seed, 5_000);
        good += counts[0];
        bad += counts[1];
    }
    // The run is only worth something when both kinds come up often.
    assert!(good > 20_000 && bad > 20_000, "{good} decoded, {bad} refused");
}

#[test]
fn no_split_changes_what_is_seen() {
    for seed in 1..=200 {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let version = VERSIONS[rng.usize(..3)];
        let chosen: Vec<Vec<u8>> = SAMPLES
            .iter()
            .filter(|(of, hex)| *of == version && !hex.starts_with("10") && rng.usize(..3) == 0)
            .map(|(_, hex)| bytes(hex))
            .collect();
        let stream = chosen.concat();
        let (mut buffer, mut fed, mut seen) = (Vec::new(), 0, Vec::new());
        while fed < stream.len() || !buffer.is_empty() {
            let more = (1 + rng.usize(..9)).min(stream.len() - fed);
            buffer.extend_from_slice(&stream[fed..fed + more]);
            fed += more;
            while let Some(frame) = Frame::peek(&buffer, usize::MAX).unwrap() {
                let whole = &buffer[..frame.len];
                Packet::decode(version, frame, whole).unwrap();
                seen.push(whole.to_vec());
                buffer.drain(..frame.len);
            }
        }
        assert_eq!(seen, chosen);
    }
}

#[test]
fn a_packet_ends_where_its_length_says() {
    // What stands behind a frame changes nothing, and a body is never read beyond it.
    for (version, hex) in SAMPLES {
        let wire = bytes(hex);
        let (alone, _) = decode(*version, &wire, usize::MAX).unwrap();
        for tail in [&[0x00][..], &[0xff; 9], b"\x30\x05\x00\x03a/b"] {
            let longer = [&wire, tail].concat();
            let (packet, len) = decode(*version, &longer, usize::MAX).unwrap();
            assert_eq!((packet, len), (alone, wire.len()), "{hex}");
        }
    }
}
