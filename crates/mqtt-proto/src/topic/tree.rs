//! `NameTree`: topic names with one value each, asked with a topic filter; made for retained
//! messages. A wildcard is answered by a paced cursor, so that one large answer cannot hold up
//! a turn.
//!
//! ```text
//!   (root) ──▶ a ──▶ x          down: the first child; across: the next sibling
//!              │     └─▶ y      a level without wildcard: the hashed edge table
//!              └─▶ b ──▶ z
//! ```
//!
//! A cursor stands on nodes, so while one is open no node is freed: removing a name only takes
//! its value, and the branch goes when the last cursor closes.

use super::nodes::{NONE, Nodes, ROOT};
use crate::count::Count;
use alloc::{boxed::Box, vec::Vec};
use core::fmt;
use hashbrown::HashTable;

struct Links {
    first_child: u32,
    next: u32,
    prev: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { first_child: NONE, next: NONE, prev: NONE }
    }
}

/// A map from topic names to `V` that finds all names matching a filter.
///
/// Texts are taken as they are: check them with [`super::TopicName::new`] and
/// [`super::TopicFilter::new`] first.
pub struct NameTree<V> {
    nodes: Nodes<Links, V>,
    len: usize,
    /// Cursors not yet closed.
    open: usize,
    /// Nodes whose value went while a cursor was open.
    emptied: HashTable<u32>,
}

impl<V> NameTree<V> {
    /// An empty tree. `seed` keys its hash and should be unknown to clients.
    pub fn new(seed: u64) -> Self {
        Self { nodes: Nodes::new(seed), len: 0, open: 0, emptied: HashTable::new() }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no name.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.nodes[self.locate(name)?].value.as_ref()
    }

    /// The value of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let id = self.locate(name)?;
        self.nodes[id].value.as_mut()
    }

    /// Gives `name` a value and returns the one it had.
    pub fn insert(&mut self, name: &str, value: V) -> Option<V> {
        let mut id = ROOT;
        for level in name.split('/') {
            id = match self.nodes.find(id, level.as_bytes()) {
                Some(child) => child,
                None => self.add_child(id, level.as_bytes()),
            };
        }
        let old = self.nodes[id].value.replace(value);
        self.len.up(usize::from(old.is_none()));
        old
    }

    /// Takes `name` out and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let id = self.locate(name)?;
        let value = self.nodes[id].value.take()?;
        self.len.down(1);
        if self.open > 0 {
            self.emptied.entry(bucket(&id), |other| *other == id, bucket).or_insert(id);
        } else {
            self.prune(id);
            self.give_back();
        }
        Some(value)
    }

    /// Calls `f` for each name, in an unspecified order.
    pub fn for_each(&self, f: impl FnMut(&str, &V)) {
        self.nodes.for_each(f);
    }

    /// Opens a cursor over the names that match `filter`. It must be given back to
    /// [`NameTree::close`]; until then removed names hold on to their nodes.
    pub fn cursor(&mut self, filter: &str) -> Cursor {
        self.open.up(1);
        Cursor::new(filter)
    }

    /// Calls `found` with further matching names and returns true when there are no more. Looks at
    /// no more than `max` nodes (at least one), matching or not.
    ///
    /// A name that is there from the opening to the end is found exactly once; one that comes or
    /// goes meanwhile is found at most once.
    pub fn advance(
        &self,
        cursor: &mut Cursor,
        max: usize,
        mut found: impl FnMut(&str, &V),
    ) -> bool {
        for _ in 0..max.max(1) {
            match cursor.at {
                At::Exactly => {
                    if let Some(value) = self.get(&cursor.filter) {
                        found(&cursor.filter, value);
                    }
                    cursor.at = At::End;
                }
                At::Before(id) if self.is_barred(cursor, id) => {
                    cursor.at = self.next_aside(cursor, id);
                }
                At::Before(id) => {
                    if let Some(value) = &self.nodes[id].value {
                        if cursor.takes_values() {
                            found(self.nodes.path(id, &mut cursor.path), value);
                        }
                    }
                    cursor.at = self.next_node(cursor, id);
                }
                At::End => return true,
            }
        }
        matches!(cursor.at, At::End)
    }

    /// Gives a cursor of this tree back, finished or not.
    pub fn close(&mut self, cursor: Cursor) {
        drop(cursor);
        self.open = self.open.saturating_sub(1);
        if self.open > 0 || self.emptied.is_empty() {
            return;
        }
        for id in core::mem::take(&mut self.emptied) {
            // An earlier turn of this loop may have freed it from below.
            if !self.nodes.is_free(id) {
                self.prune(id);
            }
        }
        self.give_back();
    }

    /// Bytes of heap held by the tree's own structures: without level texts of more than 22
    /// bytes and without what the values hold.
    pub fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes().saturating_add(self.emptied.allocation_size())
    }

    fn locate(&self, name: &str) -> Option<u32> {
        let mut id = ROOT;
        for level in name.split('/') {
            id = self.nodes.find(id, level.as_bytes())?;
        }
        Some(id)
    }

    /// A new child goes before its siblings, where a cursor among them will not meet it.
    fn add_child(&mut self, parent: u32, text: &[u8]) -> u32 {
        let child = self.nodes.add_edge(parent, text);
        let next = core::mem::replace(&mut self.nodes[parent].links.first_child, child);
        self.nodes[child].links.next = next;
        if next != NONE {
            self.nodes[next].links.prev = child;
        }
        child
    }

    /// Frees `id` and the nodes above it as far as they lead to no name.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &self.nodes[id];
            let Links { first_child, next, prev } = node.links;
            if node.value.is_some() || first_child != NONE {
                return;
            }
            let parent = node.parent;
            if prev == NONE {
                self.nodes[parent].links.first_child = next;
            } else {
                self.nodes[prev].links.next = next;
            }
            if next != NONE {
                self.nodes[next].links.prev = prev;
            }
            self.nodes.remove_edge(id);
            id = parent;
        }
    }

    fn give_back(&mut self) {
        if self.len == 0 && self.open == 0 {
            self.nodes.reset();
        }
    }

    /// The node after `id` in the cursor's walk: down first, then across, then up.
    fn next_node(&self, cursor: &mut Cursor, id: u32) -> At {
        let below = match cursor.wanted(cursor.depth) {
            Wanted::Nothing => None,
            Wanted::Any => Some(self.nodes[id].links.first_child).filter(|child| *child != NONE),
            Wanted::Level(level) => self.nodes.find(id, level.as_bytes()),
        };
        match below {
            Some(child) => {
                cursor.depth.up(1);
                At::Before(child)
            }
            None => self.next_aside(cursor, id),
        }
    }

    /// The next node that is not below `id`.
    fn next_aside(&self, cursor: &mut Cursor, mut id: u32) -> At {
        while let Some(above) = cursor.depth.checked_sub(1) {
            let node = &self.nodes[id];
            if matches!(cursor.wanted(above), Wanted::Any) && node.links.next != NONE {
                return At::Before(node.links.next);
            }
            id = node.parent;
            cursor.depth = above;
        }
        At::End
    }

    /// Is `id` a first level like `$SYS`, which a leading wildcard does not match
    /// \[MQTT-4.7.2-1\]?
    fn is_barred(&self, cursor: &Cursor, id: u32) -> bool {
        cursor.depth == 1
            && matches!(cursor.wanted(0), Wanted::Any)
            && self.nodes[id].text.as_bytes().first() == Some(&b'$')
    }
}

impl<V> fmt::Debug for NameTree<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameTree")
            .field("len", &self.len)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// A place in the walk over the names that match one filter. Belongs to the tree that opened it.
#[must_use = "an open cursor keeps the tree from freeing nodes: close it"]
pub struct Cursor {
    filter: Box<str>,
    /// Where each level of the filter starts, and the place after the last one's separator.
    starts: Box<[u32]>,
    /// The last level is `#`.
    hash: bool,
    at: At,
    /// Levels from the root down to the node of `at`.
    depth: usize,
    /// The last found name; kept to be written again.
    path: Vec<u8>,
}

enum At {
    /// Not started; the filter has no wildcard and is looked up directly.
    Exactly,
    /// This node comes next.
    Before(u32),
    /// All names were found.
    End,
}

/// Which children of a node the filter asks for.
enum Wanted<'a> {
    Nothing,
    Any,
    Level(&'a str),
}

impl Cursor {
    fn new(filter: &str) -> Self {
        let mut cursor = Self {
            filter: filter.into(),
            starts: Box::default(),
            hash: filter == "#" || filter.ends_with("/#"),
            at: At::Exactly,
            depth: 0,
            path: Vec::new(),
        };
        if cursor.hash || filter.split('/').any(|level| level == "+") {
            let after = |place| u32::try_from(usize::saturating_add(place, 1)).unwrap_or(u32::MAX);
            let separators = filter.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
            let starts = separators.map(|(place, _)| after(place));
            cursor.starts =
                core::iter::once(0).chain(starts).chain([after(filter.len())]).collect();
            cursor.at = At::Before(ROOT);
        }
        cursor
    }

    /// The filter the cursor was opened with.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Levels of the filter, without a last `#`.
    fn fixed_levels(&self) -> usize {
        self.starts.len().saturating_sub(1).saturating_sub(usize::from(self.hash))
    }

    /// What the filter asks of the level below `depth`.
    fn wanted(&self, depth: usize) -> Wanted<'_> {
        if depth >= self.fixed_levels() {
            return if self.hash { Wanted::Any } else { Wanted::Nothing };
        }
        match self.level(depth) {
            Some("+") => Wanted::Any,
            Some(level) => Wanted::Level(level),
            None => Wanted::Nothing,
        }
    }

    /// The filter's text of one level.
    fn level(&self, depth: usize) -> Option<&str> {
        let [start, behind, ..] = *self.starts.get(depth..)? else { return None };
        self.filter.get(start as usize..behind.checked_sub(1)? as usize)
    }

    /// Does the whole filter match at the present depth?
    fn takes_values(&self) -> bool {
        if self.hash {
            self.depth >= self.fixed_levels()
        } else {
            self.depth == self.fixed_levels()
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("filter", &self.filter)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

#[inline]
fn bucket(id: &u32) -> u64 {
    u64::from(*id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&'static str]) -> NameTree<&'static str> {
        let mut tree = NameTree::new(7);
        for &name in names {
            assert_eq!(tree.insert(name, name), None);
        }
        tree
    }

    fn rest(tree: &NameTree<&'static str>, cursor: &mut Cursor, pace: usize) -> Vec<&'static str> {
        let mut found = Vec::new();
        let take = |found: &mut Vec<_>, name: &str, value: &&'static str| {
            assert_eq!(name, *value);
            found.push(*value);
        };
        while !tree.advance(cursor, pace, |name, value| take(&mut found, name, value)) {}
        found.sort_unstable();
        found
    }

    fn matches(tree: &mut NameTree<&'static str>, filter: &str) -> Vec<&'static str> {
        let mut cursor = tree.cursor(filter);
        let found = rest(tree, &mut cursor, 1);
        tree.close(cursor);
        found
    }

    #[test]
    fn wildcards_and_exact_filters() {
        let mut tree = tree(&["a", "a/", "a/b", "a/b/c", "/a", "b/b", "$SYS/a", "$SYS", "$x/b"]);
        for (filter, expected) in [
            ("a", &["a"][..]),
            ("a/b/c", &["a/b/c"]),
            ("nothing", &[]),
            ("a/b/c/d", &[]),
            ("#", &["/a", "a", "a/", "a/b", "a/b/c", "b/b"]),
            ("+", &["a"]),
            ("+/b", &["a/b", "b/b"]),
            ("+/+", &["/a", "a/", "a/b", "b/b"]),
            ("/+", &["/a"]),
            ("a/#", &["a", "a/", "a/b", "a/b/c"]),
            ("a/+", &["a/", "a/b"]),
            ("+/b/#", &["a/b", "a/b/c", "b/b"]),
            ("a/+/c", &["a/b/c"]),
            ("$SYS/#", &["$SYS", "$SYS/a"]),
            ("$SYS/+", &["$SYS/a"]),
            ("nothing/#", &[]),
            ("", &[]),
        ] {
            assert_eq!(matches(&mut tree, filter), expected, "{filter}");
        }
    }

    #[test]
    fn map_operations() {
        let mut tree = tree(&["a", "a/b"]);
        assert_eq!(tree.insert("a", "new"), Some("a"));
        assert_eq!((tree.len(), tree.get("a"), tree.get("a/c")), (2, Some(&"new"), None));
        *tree.get_mut("a/b").unwrap() = "changed";
        assert_eq!(tree.remove("a/b"), Some("changed"));
        assert_eq!(tree.remove("a/b"), None);
        assert_eq!(tree.locate("a/b"), None);
        assert_eq!(tree.remove("a"), Some("new"));
        assert!(tree.is_empty());
        assert_eq!(tree.get("a"), None);
    }

    #[test]
    fn the_pace_counts_nodes_that_do_not_match() {
        let mut tree = NameTree::new(0);
        for n in 0..100 {
            tree.insert(&format!("{n}/x"), n);
            tree.insert(&format!("${n}/x"), n);
        }
        let mut cursor = tree.cursor("+/y");
        let mut turns = 1;
        while !tree.advance(&mut cursor, 10, |_, _| panic!("nothing matches")) {
            turns += 1;
        }
        assert_eq!(turns, 21, "the root and 200 first levels at 10 a turn");
        tree.close(cursor);
    }

    #[test]
    fn a_large_answer_comes_in_pieces() {
        let mut tree = NameTree::new(0);
        (0..100).for_each(|n| assert_eq!(tree.insert(&format!("a/{n}"), n), None));
        let mut cursor = tree.cursor("a/+");
        assert!(!tree.advance(&mut cursor, 2, |_, _| panic!("the root and 'a' come first")));
        let mut seen = 0;
        assert!(!tree.advance(&mut cursor, 60, |_, _| seen += 1));
        assert_eq!(seen, 60);
        assert!(tree.advance(&mut cursor, 40, |_, _| seen += 1));
        assert_eq!(seen, 100);
        assert!(tree.advance(&mut cursor, 40, |_, _| panic!("it has ended")));
        tree.close(cursor);
    }

    #[test]
    fn removal_under_a_cursor_waits_for_the_last_close() {
        let mut tree = tree(&["a/b/c", "a/d", "e"]);
        let mut first = tree.cursor("#");
        let second = tree.cursor("a");
        assert!(!tree.advance(&mut first, 1, |_, _| panic!("the root has no value")));
        for name in ["a/d", "a/b/c", "e"] {
            assert_eq!(tree.remove(name), Some(name));
            assert!(tree.locate(name).is_some());
        }
        assert_eq!(tree.insert("a/d", "a/d"), None);
        assert_eq!(tree.remove("a/d"), Some("a/d"));
        assert_eq!(tree.emptied.len(), 3);
        assert_eq!(rest(&tree, &mut first, 1), [""; 0]);
        tree.close(first);
        assert!(tree.locate("a/b").is_some());
        tree.close(second);
        for name in ["a", "a/b", "a/b/c", "a/d", "e"] {
            assert_eq!(tree.locate(name), None, "{name}");
        }
    }

    #[test]
    fn an_emptied_tree_gives_its_memory_back_after_the_last_cursor() {
        let mut tree = NameTree::new(0);
        let small = tree.heap_bytes();
        (0..1_000).for_each(|n| assert_eq!(tree.insert(&format!("a/{n}"), n), None));
        let cursor = tree.cursor("#");
        (0..1_000).for_each(|n| assert_eq!(tree.remove(&format!("a/{n}")), Some(n)));
        assert!(tree.heap_bytes() > 40_000);
        tree.close(cursor);
        assert_eq!(tree.heap_bytes(), small);
    }
}
