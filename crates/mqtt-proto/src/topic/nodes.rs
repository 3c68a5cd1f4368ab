//! The nodes of a topic tree: one slab with a free list, and one table of all edges keyed by
//! (parent, level text), so that a node needs no map of its own.
//!
//! What hangs on a node (`L`: links, `V`: value) and when it goes is the tree's affair.

use super::level::{LevelKey, LevelText};
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};
use hashbrown::HashTable;

/// "No node".
pub(super) const NONE: u32 = u32::MAX;

/// The node above the first level. It has neither text nor value and always exists.
pub(super) const ROOT: u32 = 0;

/// A tree that became empty gives its memory back when it had more nodes than this.
const KEPT_NODES: usize = 64;

pub(super) struct Node<L, V> {
    /// The node above; on the free list the next free node.
    pub(super) parent: u32,
    pub(super) links: L,
    pub(super) text: LevelText,
    pub(super) value: Option<V>,
}

/// The hash stands beside the id, so that growing the table touches no node and a lookup
/// touches hardly any node in vain.
struct Edge {
    hash: u32,
    child: u32,
}

pub(super) struct Nodes<L, V> {
    slab: Vec<Node<L, V>>,
    edges: HashTable<Edge>,
    /// First node of the free list.
    free: u32,
    key: LevelKey,
}

impl<L: Default, V> Nodes<L, V> {
    /// The root alone. `seed` keys the hash of the edges.
    pub(super) fn new(seed: u64) -> Self {
        let mut nodes = Self {
            slab: Vec::new(),
            edges: HashTable::new(),
            free: NONE,
            key: LevelKey::new(seed),
        };
        nodes.take_slot(NONE, b"");
        nodes
    }

    /// The child of `parent` over the edge `text`.
    #[inline]
    pub(super) fn find(&self, parent: u32, text: &[u8]) -> Option<u32> {
        let hash = self.key.hash(parent, text);
        let is_it = |edge: &Edge| {
            let node = &self[edge.child];
            edge.hash == hash && node.parent == parent && node.text.as_bytes() == text
        };
        self.edges.find(spread(hash), is_it).map(|edge| edge.child)
    }

    /// A new child of `parent` that [`Nodes::find`] will find. There must be none yet.
    pub(super) fn add_edge(&mut self, parent: u32, text: &[u8]) -> u32 {
        let child = self.take_slot(parent, text);
        let hash = self.key.hash(parent, text);
        self.edges.insert_unique(spread(hash), Edge { hash, child }, |edge| spread(edge.hash));
        child
    }

    /// Takes a node without children out of the table of edges and frees it.
    pub(super) fn remove_edge(&mut self, child: u32) {
        let node = &self[child];
        let hash = self.key.hash(node.parent, node.text.as_bytes());
        if let Ok(entry) = self.edges.find_entry(spread(hash), |edge| edge.child == child) {
            entry.remove();
        }
        self.free_slot(child);
    }

    /// A new node that only the caller's links lead to.
    #[allow(clippy::expect_used, reason = "more nodes would take 200 GB")]
    pub(super) fn take_slot(&mut self, parent: u32, text: &[u8]) -> u32 {
        let node = Node { parent, links: L::default(), text: LevelText::new(text), value: None };
        if self.free != NONE {
            let id = self.free;
            self.free = core::mem::replace(&mut self[id], node).parent;
            return id;
        }
        if self.slab.len() == self.slab.capacity() {
            // Growing by a quarter instead of doubling: memory is the scarcer good here.
            self.slab.reserve_exact((self.slab.len() / 4).max(4));
        }
        let id = u32::try_from(self.slab.len()).ok().filter(|id| *id != NONE);
        self.slab.push(node);
        id.expect("a tree has fewer than 2^32 - 1 nodes")
    }

    /// Frees a node that nothing leads to any more.
    pub(super) fn free_slot(&mut self, id: u32) {
        let node =
            Node { parent: self.free, links: L::default(), text: LevelText::Free, value: None };
        self[id] = node;
        self.free = id;
    }

    pub(super) fn is_free(&self, id: u32) -> bool {
        matches!(self[id].text, LevelText::Free)
    }

    /// Gives the memory back. Only for a tree of which the root is left.
    pub(super) fn reset(&mut self) {
        if self.slab.len() <= KEPT_NODES {
            return;
        }
        self.slab = Vec::new();
        self.edges = HashTable::new();
        self.free = NONE;
        self.take_slot(NONE, b"");
    }
}

impl<L, V> Nodes<L, V> {
    /// The node in this place, if there is such a place; it may be free.
    pub(super) fn get(&self, id: u32) -> Option<&Node<L, V>> {
        self.slab.get(id as usize)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Node<L, V>> {
        self.slab.get_mut(id as usize)
    }

    /// The texts from the first level to `id`, joined by `/`, written into `path`.
    #[allow(clippy::expect_used, reason = "whole levels, joined where a str was cut")]
    pub(super) fn path<'p>(&self, id: u32, path: &'p mut Vec<u8>) -> &'p str {
        let above = |id: &u32| Some(self[*id].parent).filter(|parent| *parent != ROOT);
        let up = core::iter::successors(Some(id), above).map(|id| self[id].text.as_bytes());
        path.clear();
        // From the last level up, each backwards, and then the whole turned round.
        for (place, text) in up.enumerate() {
            if place > 0 {
                path.push(b'/');
            }
            path.extend(text.iter().rev());
        }
        path.reverse();
        core::str::from_utf8(path).expect("levels were cut from a str at '/'")
    }

    /// Calls `f` with the path and the value of each node that has one, in the slab's order.
    pub(super) fn for_each(&self, mut f: impl FnMut(&str, &V)) {
        let mut path = Vec::new();
        for (id, node) in (0..).zip(&self.slab) {
            if let Some(value) = &node.value {
                f(self.path(id, &mut path), value);
            }
        }
    }

    /// Bytes held on the heap by the slab and the table, without long texts and what `V` holds.
    pub(super) fn heap_bytes(&self) -> usize {
        let slab = self.slab.capacity().saturating_mul(size_of::<Node<L, V>>());
        slab.saturating_add(self.edges.allocation_size())
    }
}

// The tree's links and edges lead only to nodes that are there: each is made with its node and
// taken away before it, and the slab does not shrink while there is more than the root.
#[allow(clippy::indexing_slicing, reason = "every id in a link is a place of the slab")]
impl<L, V> Index<u32> for Nodes<L, V> {
    type Output = Node<L, V>;

    #[inline]
    fn index(&self, id: u32) -> &Node<L, V> {
        &self.slab[id as usize]
    }
}

#[allow(clippy::indexing_slicing, reason = "every id in a link is a place of the slab")]
impl<L, V> IndexMut<u32> for Nodes<L, V> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut Node<L, V> {
        &mut self.slab[id as usize]
    }
}

/// The table takes its bucket from the low bits and its tag from the high bits; both must
/// depend on the hash.
#[inline]
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        assert_eq!(size_of::<Node<[u32; 3], u32>>(), 48);
    }

    #[test]
    fn slots_are_used_again_and_paths_are_rebuilt() {
        let mut nodes = Nodes::<[u32; 3], u8>::new(0);
        let a = nodes.add_edge(ROOT, b"a");
        let empty = nodes.add_edge(a, b"");
        let long = nodes.add_edge(empty, "ü".repeat(40).as_bytes());
        let mut path = Vec::new();
        assert_eq!(nodes.path(long, &mut path), format!("a//{}", "ü".repeat(40)));
        assert_eq!(nodes.path(empty, &mut path), "a/");
        assert_eq!(nodes.path(a, &mut path), "a");
        assert_eq!(nodes.find(a, b""), Some(empty));
        nodes.remove_edge(long);
        nodes.remove_edge(empty);
        assert!(nodes.is_free(empty));
        assert_eq!(nodes.find(a, b""), None);
        assert_eq!(nodes.add_edge(a, b"b"), empty);
        assert_eq!(nodes.add_edge(a, b"c"), long);
        assert_eq!(nodes.add_edge(a, b"d"), long + 1);
    }

    #[test]
    fn an_empty_first_level() {
        let mut nodes = Nodes::<[u32; 3], u8>::new(0);
        let first = nodes.add_edge(ROOT, b"");
        let second = nodes.add_edge(first, b"");
        let mut path = Vec::new();
        assert_eq!(nodes.path(first, &mut path), "");
        assert_eq!(nodes.path(second, &mut path), "/");
    }
}
