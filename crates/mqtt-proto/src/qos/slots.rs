//! The slots of a [`super::ring::Ring`]: a double-ended queue that needs memory on the heap only
//! from the second slot on. One exchange at a time is what most sessions have.

use alloc::collections::{VecDeque, vec_deque};
use core::mem;

/// Exchanges and holes, oldest first. Neither of its ends is a hole for longer than one call of the
/// ring.
pub(super) enum Slots<S> {
    /// At most one exchange.
    One(Option<S>),
    Many(VecDeque<Option<S>>),
}

impl<S> Slots<S> {
    pub(super) const fn new() -> Self {
        Self::One(None)
    }

    /// Number of slots, holes included.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(slot) => usize::from(slot.is_some()),
            Self::Many(slots) => slots.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The exchange in a slot; `None` for a hole and behind the end.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut S> {
        match self {
            Self::One(slot) if index == 0 => slot.as_mut(),
            Self::One(_) => None,
            Self::Many(slots) => slots.get_mut(index)?.as_mut(),
        }
    }

    /// Takes an exchange out. What is left is a hole, or nothing if it was the only slot.
    #[inline]
    pub(super) fn take(&mut self, index: usize) -> Option<S> {
        match self {
            Self::One(slot) if index == 0 => slot.take(),
            Self::One(_) => None,
            Self::Many(slots) => slots.get_mut(index)?.take(),
        }
    }

    /// Adds an exchange, or a hole behind an exchange.
    #[inline]
    pub(super) fn push_back(&mut self, new: Option<S>) {
        match self {
            Self::One(slot @ None) => *slot = new,
            Self::One(slot) => {
                let slots = [slot.take(), new];
                *self = Self::Many(VecDeque::from(slots));
            }
            Self::Many(slots) => slots.push_back(new),
        }
    }

    /// Takes the first slot: an exchange or a hole.
    pub(super) fn pop_front(&mut self) -> Option<Option<S>> {
        match self {
            Self::One(slot) => slot.take().map(Some),
            Self::Many(slots) => slots.pop_front(),
        }
    }

    /// Whether the first slot is a hole.
    #[inline]
    pub(super) fn begins_with_hole(&self) -> bool {
        matches!(self, Self::Many(slots) if matches!(slots.front(), Some(None)))
    }

    /// Gives memory back that a burst has left.
    pub(super) fn shrink(&mut self) {
        if let Self::Many(slots) = self {
            if slots.capacity() > 256 && slots.len() < slots.capacity() / 8 {
                slots.shrink_to(slots.len().saturating_mul(2));
            }
        }
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> vec_deque::IntoIter<Option<S>> {
        match mem::replace(self, Self::new()) {
            Self::One(None) => VecDeque::new(),
            Self::One(slot) => VecDeque::from([slot]),
            Self::Many(slots) => slots,
        }
        .into_iter()
    }

    /// The exchanges with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &S)> {
        let (one, many) = match self {
            Self::One(slot) => (slot.as_ref(), None),
            Self::Many(slots) => (None, Some(slots)),
        };
        let many = many.into_iter().flatten().enumerate();
        let many = many.filter_map(|(index, slot)| Some((index, slot.as_ref()?)));
        one.map(|exchange| (0, exchange)).into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exchange_needs_no_memory_of_its_own() {
        assert_eq!(size_of::<Slots<[u64; 5]>>(), size_of::<Option<[u64; 5]>>());
        let mut slots = Slots::new();
        assert!(slots.is_empty() && slots.pop_front().is_none());
        slots.push_back(Some(1));
        assert!(matches!(slots, Slots::One(Some(1))) && slots.len() == 1);
        assert_eq!((slots.get_mut(0).copied(), slots.get_mut(1)), (Some(1), None));
        assert_eq!((slots.take(1), slots.take(0), slots.take(0)), (None, Some(1), None));
        assert!(slots.is_empty());
    }

    #[test]
    fn both_forms_answer_alike() {
        let mut slots = Slots::new();
        slots.push_back(Some(1));
        slots.push_back(None);
        slots.push_back(Some(3));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(0, &1), (2, &3)]);
        assert_eq!((slots.len(), slots.get_mut(1).is_none(), slots.take(1)), (3, true, None));
        assert_eq!(slots.take(0), Some(1));
        assert!(slots.begins_with_hole());
        assert_eq!((slots.pop_front(), slots.pop_front()), (Some(None), Some(None)));
        assert!(!slots.begins_with_hole());
        assert_eq!(slots.drain().collect::<Vec<_>>(), [Some(3)]);
        assert!(matches!(slots, Slots::One(None)));
    }
}
