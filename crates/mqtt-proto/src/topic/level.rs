//! The text of one topic level as the trees store it, and the keyed hash of an edge
//! (parent node, level text). Strangers choose topics, so the key must be unknown to them.

use alloc::boxed::Box;

/// Longest level text, in bytes, that needs no memory of its own.
const INLINE_BYTES: usize = 22;

/// The text of a level, in 24 bytes. Bytes rather than `str`, since it is only compared and
/// copied on the paths that matter.
pub(super) enum LevelText {
    /// Up to [`INLINE_BYTES`] bytes in place.
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    /// Longer text.
    Heap(Box<[u8]>),
    /// The node is on the free list.
    Free,
}

impl LevelText {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text);
                Self::Inline { len, bytes }
            }
            _ => Self::Heap(text.into()),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Self::Heap(bytes) => bytes,
            Self::Free => &[],
        }
    }
}

/// The secret of one tree's hash.
#[derive(Clone, Copy)]
pub(super) struct LevelKey {
    first: u64,
    second: u64,
}

impl LevelKey {
    /// Spreads `seed` over the two words.
    pub(super) fn new(seed: u64) -> Self {
        let first = scramble(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let second = scramble(first.wrapping_add(0xd1b5_4a32_d192_ed03));
        Self { first, second: second | 1 }
    }

    /// The hash of the edge from node `parent` over `text`: 16 bytes of text per multiplication,
    /// folded to 64 bits. Parent and length enter last, where what they meet depends on the key;
    /// beside the text a stranger could choose one against the other.
    #[inline]
    pub(super) fn hash(self, parent: u32, text: &[u8]) -> u32 {
        let state = self.state(text);
        let place = self.first ^ u64::from(parent);
        (fold(state ^ place, self.second ^ text.len() as u64) >> 32) as u32
    }

    /// The hash of a level wherever it stands.
    #[inline]
    pub(super) fn level(self, text: &[u8]) -> u64 {
        fold(self.state(text) ^ self.first, self.second ^ text.len() as u64)
    }

    /// The hash of no level.
    #[inline]
    pub(super) fn start(self) -> u64 {
        self.first
    }

    /// The hash of the levels that `chain` is of and `level` behind them.
    #[inline]
    pub(super) fn chained(self, chain: u64, level: u64) -> u64 {
        fold(chain ^ level, self.second)
    }

    #[inline]
    fn state(self, text: &[u8]) -> u64 {
        let mut state = self.first;
        let mut rest = text;
        while let Some((block, behind @ [_, ..])) = rest.split_first_chunk::<16>() {
            state = fold(word(block) ^ state, last_word(block) ^ self.second);
            rest = behind;
        }
        let (low, high) = tail_words(rest);
        fold(low ^ state, high ^ self.second)
    }
}

/// 0 to 16 bytes as two words; texts of one length give different words.
#[inline]
fn tail_words(text: &[u8]) -> (u64, u64) {
    match text.len() {
        0 => (0, 0),
        1..=3 => {
            let [first, middle, last] = [text.first(), text.get(text.len() / 2), text.last()]
                .map(|byte| byte.map_or(0, |byte| u64::from(*byte)));
            (first | last << 8 | middle << 16, 0)
        }
        4..=7 => (half_word(text), last_half_word(text)),
        _ => (word(text), last_word(text)),
    }
}

/// The first 8 bytes of `bytes`, or 0 when there are fewer.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// The last 8 bytes of `bytes`, or 0 when there are fewer.
#[inline]
fn last_word(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// The first 4 bytes of `bytes`, or 0 when there are fewer.
#[inline]
fn half_word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from(u32::from_le_bytes(*chunk)))
}

/// The last 4 bytes of `bytes`, or 0 when there are fewer.
#[inline]
fn last_half_word(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |chunk| u64::from(u32::from_le_bytes(*chunk)))
}

/// The 128-bit product, its halves joined.
#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left).wrapping_mul(u128::from(right));
    (product as u64) ^ ((product >> 64) as u64)
}

/// A bijection of 64-bit words in which every input bit reaches every output bit.
fn scramble(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn text_of_every_length_survives() {
        assert_eq!(size_of::<LevelText>(), 24);
        for len in 0..64 {
            let text: Vec<u8> = (0..len).collect();
            let level = LevelText::new(&text);
            assert_eq!(level.as_bytes(), text);
            assert_eq!(matches!(level, LevelText::Heap(_)), text.len() > INLINE_BYTES);
        }
    }

    #[test]
    fn hash_depends_on_parent_text_length_and_seed() {
        let key = LevelKey::new(1);
        let mut seen = HashSet::new();
        for len in 0..=40 {
            for place in 0..len.max(1) {
                let mut text = vec![b'x'; len];
                if let Some(byte) = text.get_mut(place) {
                    *byte = b'y';
                }
                assert!(seen.insert(key.hash(7, &text)), "{len} {place}");
            }
        }
        assert_ne!(key.hash(1, b"a"), key.hash(2, b"a"));
        assert_ne!(key.hash(1, b"a"), LevelKey::new(2).hash(1, b"a"));
        assert_ne!(key.hash(1, b""), key.hash(1, b"\0"));
    }

    /// 100,000 edges in 32 bits: by chance 1.2 collisions are expected; a weak mix gives thousands.
    fn assert_spread(hashes: impl Iterator<Item = u32>) {
        let hashes: HashSet<u32> = hashes.collect();
        assert!(hashes.len() > 99_980, "{}", hashes.len());
        for shift in [0, 8, 16, 24] {
            let mut counts = [0_u32; 256];
            hashes.iter().for_each(|hash| counts[(hash >> shift & 255) as usize] += 1);
            assert!(counts.iter().all(|count| (290..490).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn counted_names_and_counted_parents_spread() {
        let key = LevelKey::new(42);
        assert_spread((0..100_000).map(|n| key.hash(0, format!("device-{n:06}").as_bytes())));
        assert_spread((0..100_000).map(|n| key.hash(0, format!("{n}").as_bytes())));
        assert_spread((0..100_000).map(|n| key.hash(n, b"state")));
        assert_spread((0..100_000).map(|n| key.hash(n, b"")));
    }
}
