//! `FilterTrie`: topic filters with one value each, asked with a topic name.
//!
//! ```text
//!   (root) ──a──▶ [a] ──b──▶ [b]      a/b      literal levels: one hashed edge table
//!     │            └───#───▶ [#]      a/#      '#': a direct link
//!     └────+────▶ [+] ──b──▶ [b]      +/b      '+': a direct link
//! ```
//!
//! A visit costs one look-up per level and live branch, however many filters there are, and
//! never sees a node twice. The order of values is unspecified but the same for the same history.

use super::nodes::{NONE, Nodes, ROOT};
use crate::count::Count;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Branches a visit can put off before it must allocate: one per level that both a literal and a
/// `+` continue.
const PENDING_INLINE: usize = 12;

struct Links {
    /// The child over `+`.
    plus: u32,
    /// The child over `#`.
    hash: u32,
    /// How many children hang on hashed edges.
    literals: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { plus: NONE, hash: NONE, literals: 0 }
    }
}

/// Names a filter of one trie, in four bytes, from its insertion to its removal; then the number is
/// free for another filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilterId(u32);

/// A map from topic filters to `V` that finds all filters matching a name.
///
/// Texts are taken as they are: check them with [`super::TopicFilter::new`] and
/// [`super::TopicName::new`] first. An unchecked text does no harm beyond matching nothing or
/// making the trie deep.
pub struct FilterTrie<V> {
    nodes: Nodes<Links, V>,
    len: usize,
    generation: u64,
}

impl<V> FilterTrie<V> {
    /// An empty trie. `seed` keys its hash and should be unknown to clients.
    pub fn new(seed: u64) -> Self {
        Self { nodes: Nodes::new(seed), len: 0, generation: 0 }
    }

    /// Number of filters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no filter.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows by one with each filter that comes or goes, but not when a value changes: what was
    /// computed for a name stays right while this number stays.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The value of exactly this filter.
    pub fn get(&self, filter: &str) -> Option<&V> {
        self.nodes[self.locate(filter)?].value.as_ref()
    }

    /// The value of exactly this filter, to be changed.
    pub fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        let id = self.locate(filter)?;
        self.nodes[id].value.as_mut()
    }

    /// The value of this filter, which is made by `make` when the filter is new.
    pub fn get_or_insert_with(&mut self, filter: &str, make: impl FnOnce() -> V) -> &mut V {
        self.insert_with(filter, make).1
    }

    /// The same, with the filter's name from now on.
    pub fn insert_with(&mut self, filter: &str, make: impl FnOnce() -> V) -> (FilterId, &mut V) {
        match self.locate(filter) {
            Some(id) if self.nodes[id].value.is_some() => {
                (FilterId(id), self.nodes[id].value.get_or_insert_with(make))
            }
            _ => {
                // `make` comes first: if it panics, no branch without a filter is left behind.
                let value = make();
                let id = self.grow(filter);
                self.len.up(1);
                self.generation.up(1);
                (FilterId(id), self.nodes[id].value.insert(value))
            }
        }
    }

    /// The name of this filter.
    pub fn id(&self, filter: &str) -> Option<FilterId> {
        let id = self.locate(filter)?;
        self.nodes[id].value.is_some().then_some(FilterId(id))
    }

    /// The filter's text, put together from its levels.
    pub fn filter(&self, FilterId(id): FilterId) -> Option<String> {
        self.nodes.get(id)?.value.as_ref()?;
        let mut path = Vec::new();
        Some(self.nodes.path(id, &mut path).into())
    }

    /// The filter's value, to be changed.
    pub fn value_mut(&mut self, FilterId(id): FilterId) -> Option<&mut V> {
        self.nodes.get_mut(id)?.value.as_mut()
    }

    /// Takes the filter out, with every branch that leads to no other filter.
    pub fn remove(&mut self, filter: &str) -> Option<V> {
        let id = self.id(filter)?;
        self.remove_id(id)
    }

    /// The same for a filter that is known by its name.
    pub fn remove_id(&mut self, FilterId(id): FilterId) -> Option<V> {
        let value = self.nodes.get_mut(id)?.value.take()?;
        self.len.down(1);
        self.generation.up(1);
        self.prune(id);
        if self.len == 0 {
            self.nodes.reset();
        }
        Some(value)
    }

    /// Calls `found` once for each filter that matches `name` (the rules are those of
    /// [`super::TopicFilter::matches`]).
    pub fn visit<'a>(&'a self, name: &str, mut found: impl FnMut(&'a V)) {
        let text = name.as_bytes();
        // A leading wildcard does not match a name that starts with '$' [MQTT-4.7.2-1].
        let wild_at_root = text.first() != Some(&b'$');
        let mut pending = Pending::new();
        let mut next = Some((ROOT, 0));
        // (node, where the rest of the name starts); past the end: all levels are used up.
        while let Some((id, start)) = next {
            let node = &self.nodes[id];
            let wild = id != ROOT || wild_at_root;
            if wild && node.links.hash != NONE {
                self.nodes[node.links.hash].value.iter().for_each(&mut found);
            }
            let Some(rest) = text.get(start..) else {
                node.value.iter().for_each(&mut found);
                next = pending.pop();
                continue;
            };
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let level = rest.get(..end).unwrap_or(rest);
            let behind = start.wrapping_add(end).wrapping_add(1);
            let plus = Some(node.links.plus).filter(|plus| wild && *plus != NONE);
            let literal = if node.links.literals > 0 { self.nodes.find(id, level) } else { None };
            next = match (literal, plus) {
                (Some(literal), Some(plus)) => {
                    pending.push((plus, behind));
                    Some((literal, behind))
                }
                (Some(only), None) | (None, Some(only)) => Some((only, behind)),
                (None, None) => pending.pop(),
            };
        }
    }

    /// Calls `f` for each filter, in an unspecified order.
    pub fn for_each(&self, f: impl FnMut(&str, &V)) {
        self.nodes.for_each(f);
    }

    /// Bytes of heap held by the trie's own structures: without level texts of more than 22
    /// bytes and without what the values hold.
    pub fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes()
    }

    fn locate(&self, filter: &str) -> Option<u32> {
        let mut id = ROOT;
        for level in filter.split('/') {
            id = self.child(id, level)?;
        }
        Some(id)
    }

    fn child(&self, id: u32, level: &str) -> Option<u32> {
        let linked = match level {
            "+" => self.nodes[id].links.plus,
            "#" => self.nodes[id].links.hash,
            _ => return self.nodes.find(id, level.as_bytes()),
        };
        Some(linked).filter(|child| *child != NONE)
    }

    /// Makes what is missing of the branch to `filter` and returns its end.
    fn grow(&mut self, filter: &str) -> u32 {
        let mut id = ROOT;
        for level in filter.split('/') {
            id = match self.child(id, level) {
                Some(child) => child,
                None => self.add_child(id, level),
            };
        }
        id
    }

    fn add_child(&mut self, id: u32, level: &str) -> u32 {
        let text = level.as_bytes();
        match level {
            "+" => {
                let child = self.nodes.take_slot(id, text);
                self.nodes[id].links.plus = child;
                child
            }
            "#" => {
                let child = self.nodes.take_slot(id, text);
                self.nodes[id].links.hash = child;
                child
            }
            _ => {
                self.nodes[id].links.literals.up(1);
                self.nodes.add_edge(id, text)
            }
        }
    }

    /// Frees `id` and the nodes above it as far as they lead to no filter.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &self.nodes[id];
            let Links { plus, hash, literals } = node.links;
            if node.value.is_some() || plus != NONE || hash != NONE || literals > 0 {
                return;
            }
            let parent = node.parent;
            if self.nodes[parent].links.plus == id {
                self.nodes[parent].links.plus = NONE;
                self.nodes.free_slot(id);
            } else if self.nodes[parent].links.hash == id {
                self.nodes[parent].links.hash = NONE;
                self.nodes.free_slot(id);
            } else {
                self.nodes[parent].links.literals.down(1);
                self.nodes.remove_edge(id);
            }
            id = parent;
        }
    }
}

impl<V> fmt::Debug for FilterTrie<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterTrie")
            .field("len", &self.len)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The branches a visit has put off: a stack whose first entries need no heap.
struct Pending {
    first: [(u32, usize); PENDING_INLINE],
    len: usize,
    more: Vec<(u32, usize)>,
}

impl Pending {
    fn new() -> Self {
        Self { first: [(0, 0); PENDING_INLINE], len: 0, more: Vec::new() }
    }

    #[inline]
    fn push(&mut self, branch: (u32, usize)) {
        match self.first.get_mut(self.len) {
            Some(place) => {
                *place = branch;
                self.len.up(1);
            }
            None => self.more.push(branch),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, usize)> {
        if let Some(branch) = self.more.pop() {
            return Some(branch);
        }
        self.len = self.len.checked_sub(1)?;
        self.first.get(self.len).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(filters: &[&'static str]) -> FilterTrie<&'static str> {
        let mut trie = FilterTrie::new(7);
        for &filter in filters {
            trie.get_or_insert_with(filter, || filter);
        }
        trie
    }

    fn matches(trie: &FilterTrie<&'static str>, name: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        trie.visit(name, |filter| found.push(*filter));
        found.sort_unstable();
        found
    }

    #[test]
    fn finds_each_matching_filter_once() {
        let trie = trie(&["#", "+", "+/#", "a", "a/#", "a/+", "a/b", "a/b/#", "/a", "a/", "+/+"]);
        assert_eq!(matches(&trie, "a"), ["#", "+", "+/#", "a", "a/#"]);
        assert_eq!(matches(&trie, "a/b"), ["#", "+/#", "+/+", "a/#", "a/+", "a/b", "a/b/#"]);
        assert_eq!(matches(&trie, "/a"), ["#", "+/#", "+/+", "/a"]);
        assert_eq!(matches(&trie, "a/"), ["#", "+/#", "+/+", "a/", "a/#", "a/+"]);
        assert_eq!(matches(&trie, "x/y/z"), ["#", "+/#"]);
    }

    #[test]
    fn leading_wildcards_leave_dollar_names_alone() {
        let trie = trie(&["#", "+/#", "+/a", "$SYS/#", "$SYS/+", "$SYS/a"]);
        assert_eq!(matches(&trie, "$SYS/a"), ["$SYS/#", "$SYS/+", "$SYS/a"]);
        assert_eq!(matches(&trie, "$SYS"), ["$SYS/#"]);
        assert_eq!(matches(&trie, "$other/a"), [""; 0]);
    }

    #[test]
    fn removal_prunes_and_frees() {
        let mut trie = trie(&["a/b/c", "a/b", "a/+/#"]);
        assert_eq!(trie.generation(), 3);
        assert_eq!(trie.remove("a"), None);
        assert_eq!(trie.remove("a/b/c/d"), None);
        assert_eq!(trie.generation(), 3);
        assert_eq!(trie.remove("a/b"), Some("a/b"));
        assert_eq!(trie.remove("a/b"), None);
        assert_eq!(matches(&trie, "a/b/c"), ["a/+/#", "a/b/c"]);
        assert_eq!(trie.remove("a/+/#"), Some("a/+/#"));
        assert_eq!(trie.nodes[trie.locate("a").unwrap()].links.plus, NONE);
        assert_eq!(trie.remove("a/b/c"), Some("a/b/c"));
        assert_eq!(trie.locate("a"), None);
        assert_eq!((trie.len(), trie.is_empty(), trie.generation()), (0, true, 6));
        trie.get_or_insert_with("x", || "x");
        assert_eq!(matches(&trie, "x"), ["x"]);
    }

    #[test]
    fn values_can_be_changed_without_a_new_generation() {
        let mut trie = FilterTrie::new(0);
        *trie.get_or_insert_with("a", || 1) += 1;
        *trie.get_or_insert_with("a", || 100) += 1;
        *trie.get_mut("a").unwrap() += 1;
        assert_eq!((trie.get("a"), trie.get("b"), trie.generation()), (Some(&4), None, 1));
        assert_eq!(trie.get_mut("a/b"), None);
    }

    #[test]
    fn a_filter_has_a_name_until_it_is_removed() {
        let mut trie = trie(&["a/+/c", "a/+"]);
        let (id, value) = trie.insert_with("a/+/c", || "new");
        assert_eq!(*value, "a/+/c");
        assert_eq!((trie.id("a/+/c"), trie.id("a"), trie.id("b")), (Some(id), None, None));
        assert_eq!(trie.filter(id).as_deref(), Some("a/+/c"));
        *trie.value_mut(id).unwrap() = "changed";
        assert_eq!(trie.remove_id(id), Some("changed"));
        assert_eq!((trie.len(), trie.generation()), (1, 3));
        for gone in [id, FilterId(1_000)] {
            assert!(trie.filter(gone).is_none() && trie.value_mut(gone).is_none());
            assert!(trie.remove_id(gone).is_none());
        }
        let (root, _) = trie.insert_with("", || "");
        assert_eq!(trie.filter(root).as_deref(), Some(""));
    }

    #[test]
    fn a_name_with_more_branches_than_fit_inline() {
        let deep = PENDING_INLINE * 2;
        let mut trie = FilterTrie::new(0);
        let name = vec!["x"; deep].join("/");
        trie.get_or_insert_with(&name, || 0);
        for place in 0..deep {
            let mut levels = vec!["x"; deep];
            levels[place] = "+";
            trie.get_or_insert_with(&levels.join("/"), || place + 1);
        }
        let mut found = Vec::new();
        trie.visit(&name, |n| found.push(*n));
        found.sort_unstable();
        assert_eq!(found, (0..=deep).collect::<Vec<_>>());
    }

    #[test]
    fn an_emptied_trie_gives_its_memory_back() {
        let mut trie = FilterTrie::new(0);
        let small = trie.heap_bytes();
        for n in 0..1_000 {
            trie.get_or_insert_with(&format!("a/{n}"), || n);
        }
        assert!(trie.heap_bytes() > 40_000);
        (0..1_000).for_each(|n| assert_eq!(trie.remove(&format!("a/{n}")), Some(n)));
        assert_eq!(trie.heap_bytes(), small);
    }
}
