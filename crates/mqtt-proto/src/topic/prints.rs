//! `FilterPrints`: topic filters of which only fingerprints are kept, asked with a topic name.
//!
//! ```text
//!   shape           filters         what a/b/c is looked for as
//!   no wildcard     a/b/c   x       a/b/c
//!   + at 1          a/+/c   x/+     a/+/c
//!   # behind 2      a/b/#           a/b
//! ```
//!
//! A visit hashes the name once for each shape that some filter has. It never misses a filter that
//! matches; by chance it finds one that does not. For those who ask to save work, not to be sure.

use super::level::LevelKey;
use super::nodes::spread;
use crate::count::Count;
use alloc::vec::Vec;
use hashbrown::HashTable;

/// Levels of a filter of which a fingerprint can be kept, `#` not counted: one for each bit of
/// [`Shape::plus`]. Real ones have less than ten.
const LEVELS: usize = u16::BITS as usize;

/// Shapes at a time. A broker's clients have a handful; a visit looks once for each, so strangers
/// must not make more of them.
const SHAPES_MAX: usize = 16;

/// Bits of a fingerprint and its tag together.
const ENTRY_BITS: u32 = u32::BITS;

/// A table that is fuller than one part of so many keeps its memory when filters go.
const SPARSE: usize = 8;

/// A multiset of topic filters with a small tag each, at about eight bytes a filter.
///
/// Texts are taken as they are, as by [`super::FilterTrie`].
pub struct FilterPrints {
    key: LevelKey,
    /// The hash of a `+`.
    plus: u64,
    tag_bits: u32,
    shapes: Vec<Shape>,
}

/// The filters with wildcards at the same places.
struct Shape {
    form: Form,
    /// Fingerprint above, tag below.
    prints: HashTable<u32>,
}

/// Where the wildcards stand.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    /// A bit for each level that is `+`, the first level's lowest.
    plus: u16,
    /// Levels before `#`; `None` without one.
    before_hash: Option<u8>,
}

impl Form {
    fn begins_wild(self) -> bool {
        self.plus & 1 == 1 || self.before_hash == Some(0)
    }
}

impl FilterPrints {
    /// None yet. `seed` keys the hash and should be unknown to clients; tags are below `tags`, and
    /// the fewer there are, the rarer is a filter found by chance: with `n` filters of one shape
    /// once in 2^32 / `tags` / `n` names.
    pub fn new(seed: u64, tags: u8) -> Self {
        let key = LevelKey::new(seed);
        let tag_bits = u8::BITS.saturating_sub(tags.saturating_sub(1).leading_zeros());
        Self { key, plus: key.level(b"+"), tag_bits, shapes: Vec::new() }
    }

    /// Adds a filter, once more if it is there with this tag. False when no fingerprint can be kept
    /// of it: it is too deep, or the shapes are too many already.
    #[must_use]
    pub fn insert(&mut self, filter: &str, tag: u8) -> bool {
        let Some((form, chain)) = self.form_of(filter) else { return false };
        let place = match self.place_of(form) {
            Some(place) => place,
            None if self.shapes.len() >= SHAPES_MAX => return false,
            None => {
                self.shapes.reserve_exact(1);
                self.shapes.push(Shape { form, prints: HashTable::new() });
                self.shapes.len().saturating_sub(1)
            }
        };
        let (bits, entry) = (self.tag_bits, self.entry(chain, tag));
        if let Some(shape) = self.shapes.get_mut(place) {
            let hasher = |entry: &u32| spread(*entry >> bits);
            shape.prints.insert_unique(hasher(&entry), entry, hasher);
        }
        true
    }

    /// Takes out what one [`FilterPrints::insert`] has added. False when there was none.
    pub fn remove(&mut self, filter: &str, tag: u8) -> bool {
        let Some((form, chain)) = self.form_of(filter) else { return false };
        let Some(place) = self.place_of(form) else { return false };
        let (bits, entry) = (self.tag_bits, self.entry(chain, tag));
        let Some(Shape { prints, .. }) = self.shapes.get_mut(place) else { return false };
        let hasher = |entry: &u32| spread(*entry >> bits);
        let Ok(found) = prints.find_entry(hasher(&entry), |other| *other == entry) else {
            return false;
        };
        found.remove();
        if prints.is_empty() {
            self.shapes.swap_remove(place);
        } else if prints.len() < prints.capacity() / SPARSE {
            prints.shrink_to(prints.len().saturating_mul(2), hasher);
        }
        true
    }

    /// Calls `found` with the tag of each filter that matches `name`, and by chance with others.
    #[inline]
    pub fn visit(&self, name: &str, found: impl FnMut(u8)) {
        if !self.shapes.is_empty() {
            self.visit_shapes(name, found);
        }
    }

    fn visit_shapes(&self, name: &str, mut found: impl FnMut(u8)) {
        let mut levels = [0; LEVELS];
        let mut texts = name.split('/');
        let mut count = 0_usize;
        for (level, text) in levels.iter_mut().zip(&mut texts) {
            *level = self.key.level(text.as_bytes());
            count.up(1);
        }
        let is_whole = texts.next().is_none();
        let is_dollar = name.starts_with('$');
        for Shape { form, prints } in &self.shapes {
            // A leading wildcard does not match a name that starts with '$' [MQTT-4.7.2-1].
            if is_dollar && form.begins_wild() {
                continue;
            }
            let wanted = form.before_hash.map_or(count, usize::from);
            if wanted > count || !(is_whole || form.before_hash.is_some()) {
                continue;
            }
            let mut plus = form.plus;
            let chain = levels.iter().take(wanted).fold(self.key.start(), |chain, level| {
                let level = if plus & 1 == 1 { self.plus } else { *level };
                plus >>= 1;
                self.key.chained(chain, level)
            });
            if plus != 0 {
                continue; // a `+` stands behind the name's end
            }
            let print = self.print(chain);
            let all = prints.iter_hash(spread(print));
            let same = all.filter(|entry| **entry >> self.tag_bits == print);
            same.for_each(|entry| found((*entry ^ print << self.tag_bits) as u8));
        }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        let shapes = self.shapes.capacity().saturating_mul(size_of::<Shape>());
        let tables = self.shapes.iter().map(|shape| shape.prints.allocation_size());
        tables.fold(shapes, usize::saturating_add)
    }

    /// The filter's form, and the hash of its levels but `#`; `None` for a deep one.
    fn form_of(&self, filter: &str) -> Option<(Form, u64)> {
        let (texts, has_hash) = match filter.strip_suffix('#') {
            Some("") => return Some((Form { plus: 0, before_hash: Some(0) }, self.key.start())),
            Some(before) => (before.strip_suffix('/').unwrap_or(before), true),
            None => (filter, false),
        };
        let (mut plus, mut count, mut chain) = (0, 0_u8, self.key.start());
        for text in texts.split('/') {
            let bit = 1_u16.checked_shl(count.into())?;
            let is_plus = text == "+";
            plus |= if is_plus { bit } else { 0 };
            let level = if is_plus { self.plus } else { self.key.level(text.as_bytes()) };
            chain = self.key.chained(chain, level);
            count = count.checked_add(1)?;
        }
        Some((Form { plus, before_hash: has_hash.then_some(count) }, chain))
    }

    fn place_of(&self, form: Form) -> Option<usize> {
        self.shapes.iter().position(|shape| shape.form == form)
    }

    #[inline]
    fn print(&self, chain: u64) -> u32 {
        (chain >> ENTRY_BITS) as u32 >> self.tag_bits
    }

    fn entry(&self, chain: u64, tag: u8) -> u32 {
        self.print(chain) << self.tag_bits | u32::from(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prints: &FilterPrints, name: &str) -> Vec<u8> {
        let mut tags = Vec::new();
        prints.visit(name, |tag| tags.push(tag));
        tags.sort_unstable();
        tags
    }

    #[test]
    fn tags_take_the_bits_they_need() {
        for (tags, bits) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (255, 8)] {
            assert_eq!(FilterPrints::new(0, tags).tag_bits, bits, "{tags}");
            let mut prints = FilterPrints::new(0, tags);
            let last = tags.saturating_sub(1);
            assert!(prints.insert("a", 0) && prints.insert("a", last));
            assert_eq!(found(&prints, "a"), [0, last]);
        }
    }

    #[test]
    fn a_filter_goes_as_often_as_it_came() {
        let mut prints = FilterPrints::new(1, 2);
        for filter in ["a/+", "#", "a"] {
            assert!(!prints.remove(filter, 1));
            assert!(prints.insert(filter, 1) && prints.insert(filter, 1));
            assert!(!prints.remove(filter, 0), "another's");
        }
        assert_eq!(found(&prints, "a/b"), [1; 4]);
        for filter in ["a/+", "#", "a"] {
            assert!(prints.remove(filter, 1));
        }
        assert_eq!(found(&prints, "a/b"), [1; 2]);
        for filter in ["a/+", "#", "a"] {
            assert!(prints.remove(filter, 1) && !prints.remove(filter, 1));
        }
        assert!(prints.shapes.is_empty());
    }

    #[test]
    fn depth_is_bounded() {
        let mut prints = FilterPrints::new(1, 2);
        let deep = vec!["x"; LEVELS].join("/");
        let hash = format!("{deep}/#");
        let plus = vec!["+"; LEVELS].join("/");
        for filter in [&deep, &hash, &plus] {
            assert!(prints.insert(filter, 0));
            let (first, rest) = filter.split_at(1);
            assert!(!prints.insert(&format!("{first}/{first}{rest}"), 1), "one level more");
        }
        assert_eq!(found(&prints, &deep), [0; 3]);
        assert_eq!(found(&prints, &format!("{deep}/x")), [0], "by '#'");
        assert_eq!(found(&prints, &vec!["x"; 201].join("/")), [0]);
        assert_eq!(found(&prints, &vec!["x"; LEVELS - 1].join("/")), []);
    }

    #[test]
    fn strangers_cannot_make_a_visit_look_for_many_shapes() {
        let mut prints = FilterPrints::new(1, 2);
        let filter = |number: usize| {
            let level = |bit: u32| if number >> bit & 1 == 1 { "+" } else { "x" };
            (0..8).map(level).collect::<Vec<_>>().join("/")
        };
        for number in 0..256 {
            assert_eq!(prints.insert(&filter(number), 0), number < SHAPES_MAX);
        }
        assert!(prints.insert(&filter(3), 1), "of a known shape");
        assert!(prints.remove(&filter(7), 0));
        assert!(prints.insert(&filter(200), 0), "there is room again");
        assert_eq!(prints.shapes.len(), SHAPES_MAX);
    }

    #[test]
    fn memory_follows_the_filters_both_ways() {
        let mut prints = FilterPrints::new(1, 2);
        let small = prints.heap_bytes();
        (0..100_000).for_each(|n| assert!(prints.insert(&format!("device/{n}/state"), 0)));
        let full = prints.heap_bytes();
        assert!(full < 100_000 * 12, "{full} bytes");
        (0..99_000).for_each(|n| assert!(prints.remove(&format!("device/{n}/state"), 0)));
        assert!(prints.heap_bytes() < full / 10, "{} bytes", prints.heap_bytes());
        let all = (99_000..100_000).map(|n| format!("device/{n}/state"));
        all.for_each(|name| assert!(found(&prints, &name) == [0] && prints.remove(&name, 0)));
        assert!(prints.heap_bytes() <= small + size_of::<Shape>());
    }

    #[test]
    fn chance_finds_few() {
        let mut prints = FilterPrints::new(1, 64);
        (0..100_000).for_each(|n| assert!(prints.insert(&format!("device/{n}/state"), 0)));
        let found = (0..100_000).map(|n| found(&prints, &format!("other/{n}")).len());
        // 26 bits: 149 are expected, and 12 is one standard deviation.
        let found = found.sum::<usize>();
        assert!((75..225).contains(&found), "{found}");
    }
}
