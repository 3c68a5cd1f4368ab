//! Exchanges by Packet Identifier, in the order in which they began.
//!
//! Identifiers are given out one after the other, so a ring buffer indexed by the distance from
//! its first identifier finds each exchange at once. Finished ones become holes, which leave at
//! the front. A front that does not move is put aside among the stragglers.
//!
//! ```text
//!   stragglers        ring: first = 7                     next
//!   [2] [5]           [7] [ ] [9] [10] [ ] [12] [13]      14
//! ```
//!
//! What an exchange is (`S`) is the sender's affair.

use super::slots::Slots;
use crate::count::Count;
use alloc::{boxed::Box, vec::Vec};

/// How many identifiers there are: 1 to 65,535.
const IDENTIFIERS: usize = 65_535;

/// A ring this long may have any number of holes; a longer one at most three of four.
const SPARSE_MIN: usize = 64;

/// Most exchanges put aside; an acknowledgement may have to look at all of them. Only what was
/// saved in a scattered order can exceed it.
const STRAGGLERS_MAX: usize = 64;

pub(super) struct Ring<S> {
    /// Never begins with a hole.
    slots: Slots<S>,
    /// Older than the ring, in order.
    stragglers: Option<Box<Stragglers<S>>>,
    /// The identifier of the first slot, or the next one when there is no slot.
    first: u16,
    /// Exchanges, holes not counted.
    live: u16,
    /// The identifier where [`Ring::go_on`] goes on.
    mark: u16,
}

/// A struct of its own behind the box: it keeps an empty `Ring` small.
struct Stragglers<S> {
    list: Vec<(u16, S)>,
}

impl<S> Ring<S> {
    pub(super) const fn new() -> Self {
        Self { slots: Slots::new(), stragglers: None, first: 1, live: 0, mark: 1 }
    }

    /// Number of exchanges.
    pub(super) fn len(&self) -> u16 {
        self.live
    }

    /// Is there a next identifier that is not in use? False when the circle is closed, which may
    /// come before all are in use.
    pub(super) fn has_identifier(&self) -> bool {
        self.slots.len().saturating_add(self.straggler_count()) < IDENTIFIERS
    }

    /// Adds an exchange under the next identifier; [`Ring::has_identifier`] must be true.
    pub(super) fn push(&mut self, exchange: S) -> u16 {
        while self.straggler_place(self.next_id()).is_some() {
            self.push_hole();
        }
        let id = self.next_id();
        self.slots.push_back(Some(exchange));
        self.live.up(1);
        id
    }

    /// Adds an exchange under an identifier that is not in use.
    pub(super) fn push_as(&mut self, id: u16, exchange: S) {
        let index = distance(self.first, id);
        if index < self.slots.len() || self.is_sparse(index) {
            self.put_all_aside();
        }
        if self.slots.is_empty() {
            self.first = id;
            self.mark = id;
        }
        while self.next_id() != id {
            self.push_hole();
        }
        self.slots.push_back(Some(exchange));
        self.live.up(1);
    }

    /// The next exchange that is added is given this identifier, or the first free one behind it.
    pub(super) fn begin_at(&mut self, id: u16) {
        self.put_all_aside();
        self.first = id;
        self.mark = id;
    }

    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut S> {
        if let Some(exchange) = self.slots.get_mut(distance(self.first, id)) {
            return Some(exchange);
        }
        let list = &mut self.stragglers.as_mut()?.list;
        list.iter_mut().find(|(other, _)| *other == id).map(|(_, exchange)| exchange)
    }

    /// Takes the exchange out; the last one takes all heap memory along.
    pub(super) fn remove(&mut self, id: u16) -> Option<S> {
        let next = self.next_id();
        let in_ring = self.slots.take(distance(self.first, id));
        let exchange = in_ring.or_else(|| self.remove_straggler(id))?;
        self.live.down(1);
        if self.live == 0 {
            self.first = next;
            self.slots = Slots::new();
        } else {
            self.drop_front_holes();
            while self.is_sparse(self.slots.len()) && self.straggler_count() < STRAGGLERS_MAX {
                self.put_front_aside();
            }
        }
        Some(exchange)
    }

    /// All exchanges with their identifiers, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &S)> {
        let stragglers = self.stragglers.iter().flat_map(|old| &old.list);
        let slots = self.slots.iter();
        let slots = slots.map(|(index, exchange)| (identifier(self.first, index), exchange));
        stragglers.map(|(id, exchange)| (*id, exchange)).chain(slots)
    }

    /// Lets the next [`Ring::go_on`] begin with the oldest.
    pub(super) fn rewind(&mut self) {
        self.mark = self.first;
    }

    /// Calls `f` for the exchanges, oldest first, until it says false. The next call begins with
    /// the one that `f` said false to, but comes to the few stragglers again each time.
    pub(super) fn go_on(&mut self, mut f: impl FnMut(u16, &mut S) -> bool) {
        for (id, exchange) in self.stragglers.iter_mut().flat_map(|old| &mut old.list) {
            if !f(*id, exchange) {
                return;
            }
        }
        for index in distance(self.first, self.mark)..self.slots.len() {
            self.mark = identifier(self.first, index);
            if let Some(exchange) = self.slots.get_mut(index) {
                if !f(self.mark, exchange) {
                    return;
                }
            }
        }
    }

    /// The identifier of the slot behind the last one.
    fn next_id(&self) -> u16 {
        identifier(self.first, self.slots.len())
    }

    /// Passes over one identifier.
    fn push_hole(&mut self) {
        if self.slots.is_empty() {
            self.first = identifier(self.first, 1);
        } else {
            self.slots.push_back(None);
        }
    }

    fn pop_front(&mut self) -> Option<S> {
        let slot = self.slots.pop_front()?;
        let second = identifier(self.first, 1);
        if self.mark == self.first {
            self.mark = second;
        }
        self.first = second;
        slot
    }

    fn drop_front_holes(&mut self) {
        while self.slots.begins_with_hole() {
            self.pop_front();
        }
        self.slots.shrink();
    }

    /// Would `len` slots have too many holes?
    fn is_sparse(&self, len: usize) -> bool {
        len > SPARSE_MIN && len / 4 > usize::from(self.live).saturating_sub(self.straggler_count())
    }

    /// Moves a front that does not move out of the way.
    fn put_front_aside(&mut self) {
        let id = self.first;
        if let Some(exchange) = self.pop_front() {
            self.add_straggler(id, exchange);
        }
        self.drop_front_holes();
    }

    /// Moves all slots aside, because the next one would be too far off or not behind them.
    fn put_all_aside(&mut self) {
        for (index, slot) in self.slots.drain().enumerate() {
            if let Some(exchange) = slot {
                self.add_straggler(identifier(self.first, index), exchange);
            }
        }
    }

    fn straggler_count(&self) -> usize {
        self.stragglers.as_ref().map_or(0, |old| old.list.len())
    }

    fn straggler_place(&self, id: u16) -> Option<usize> {
        self.stragglers.as_ref()?.list.iter().position(|(other, _)| *other == id)
    }

    fn add_straggler(&mut self, id: u16, exchange: S) {
        let new = || Box::new(Stragglers { list: Vec::new() });
        self.stragglers.get_or_insert_with(new).list.push((id, exchange));
    }

    fn remove_straggler(&mut self, id: u16) -> Option<S> {
        let place = self.straggler_place(id)?;
        let list = &mut self.stragglers.as_mut()?.list;
        let (_, exchange) = list.remove(place);
        if list.is_empty() {
            self.stragglers = None;
        }
        Some(exchange)
    }
}

/// Steps from `first` to `id` in the circle 1, 2, ..., 65,535, 1.
fn distance(first: u16, id: u16) -> usize {
    let id = usize::from(id).wrapping_add(IDENTIFIERS);
    id.wrapping_sub(usize::from(first)) % IDENTIFIERS
}

/// The identifier `steps` after `first` in that circle.
fn identifier(first: u16, steps: usize) -> u16 {
    // No identifier is 0.
    let place = usize::from(first).wrapping_sub(1).wrapping_add(steps) % IDENTIFIERS;
    place.wrapping_add(1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_it_is_told_and_passes_over_what_is_in_use() {
        let mut ring = Ring::new();
        for exchange in ["a", "b", "c"] {
            ring.push(exchange);
        }
        ring.remove(2);
        ring.begin_at(65_535);
        assert_eq!(["d", "e", "f"].map(|exchange| ring.push(exchange)), [65_535, 2, 4]);
        let order: Vec<_> = ring.iter().map(|(id, exchange)| (id, *exchange)).collect();
        assert_eq!(order, [(1, "a"), (3, "c"), (65_535, "d"), (2, "e"), (4, "f")]);
        for id in [1, 3, 65_535, 2, 4] {
            assert!(ring.remove(id).is_some());
        }
        assert_eq!((ring.len(), ring.push("g")), (0, 5));
    }

    #[test]
    fn the_circle() {
        assert_eq!((identifier(1, 0), identifier(65_535, 1), identifier(3, 65_534)), (1, 1, 2));
        assert_eq!((distance(1, 1), distance(65_535, 1), distance(3, 2)), (0, 1, 65_534));
    }

    #[test]
    fn holes_leave_at_the_front_and_the_last_takes_the_memory_along() {
        let mut ring = Ring::new();
        (1..=4).for_each(|n| assert_eq!(ring.push(n), n));
        assert_eq!((ring.remove(2), ring.remove(3)), (Some(2), Some(3)));
        assert_eq!((ring.remove(2), ring.slots.len(), ring.len()), (None, 4, 2));
        assert_eq!((ring.remove(1), ring.slots.len(), ring.first), (Some(1), 1, 4));
        assert_eq!((ring.remove(4), ring.first), (Some(4), 5));
        assert!(matches!(ring.slots, Slots::One(None)), "the memory has gone");
        assert_eq!(ring.push(5), 5);
    }

    /// The stuck ones move aside up to the bound; then the ring may grow until the circle closes.
    #[test]
    fn stragglers_are_bounded() {
        let mut ring = Ring::new();
        let mut pushed = 0_usize;
        while ring.has_identifier() {
            let id = ring.push(());
            pushed += 1;
            if pushed % 10 != 0 {
                assert_eq!(ring.remove(id), Some(()));
            }
            assert!(ring.straggler_count() <= STRAGGLERS_MAX);
            if ring.straggler_count() < STRAGGLERS_MAX {
                assert!(ring.slots.len() <= SPARSE_MIN + 1, "{}", ring.slots.len());
            }
        }
        assert_eq!(ring.straggler_count(), STRAGGLERS_MAX);
        assert_eq!(ring.slots.len() + STRAGGLERS_MAX, IDENTIFIERS);
        let oldest = ring.first;
        assert_eq!(ring.remove(oldest), Some(()));
        assert!(ring.has_identifier());
    }

    #[test]
    fn a_walk_goes_on_where_it_stopped() {
        let mut ring = Ring::new();
        (1..=6).for_each(|n| assert_eq!(ring.push(n), n));
        let mut seen = Vec::new();
        let mut walk = |ring: &mut Ring<u16>, stop: u16| {
            ring.go_on(|id, exchange| {
                assert_eq!(id, *exchange);
                if id < stop {
                    seen.push(id);
                }
                id < stop
            });
            core::mem::take(&mut seen)
        };
        assert_eq!(walk(&mut ring, 3), [1, 2]);
        assert_eq!(walk(&mut ring, 4), [3]);
        (1..=4).for_each(|n| assert_eq!(ring.remove(n), Some(n)));
        assert_eq!(walk(&mut ring, 6), [5]);
        ring.rewind();
        assert_eq!(walk(&mut ring, 9), [5, 6]);
    }
}
