//! The receiver's half of QoS 2 for one Session (MQTT 4.3.3): which Packet Identifiers are open.
//!
//! ```text
//!             PUBLISH: New, send PUBREC           PUBREL: send PUBCOMP
//!   (free) ────────────────────────────▶ (open) ─────────────────────▶ (free)
//!                                        │    ▲
//!                                        └────┘ PUBLISH: Duplicate, send PUBREC again
//! ```
//!
//! QoS 0 and 1 need no memory on this side. Delivering the message onward and delaying the
//! acknowledgement until it is durable are the caller's affair.

use crate::count::Count;
use crate::packet_id::PacketIdentifier;
use alloc::{boxed::Box, vec, vec::Vec};
use core::fmt;
use core::num::NonZeroU16;

/// With more open identifiers than this a bitmap is smaller and faster than a list.
const LIST_MAX: usize = 64;

/// With fewer than this the bitmap is given up again; well below [`LIST_MAX`], so that a count near
/// it does not go back and forth.
const BITMAP_MIN: usize = 24;

/// One bit for each of the 65,536 numbers: 8 KiB.
const BITMAP_WORDS: usize = 1 << 10;

/// What an incoming QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A new message: deliver it onward once.
    New,
    /// The identifier is open: acknowledge, do not deliver again \[MQTT-4.3.3-10\].
    Duplicate,
}

/// The peer began more QoS 2 exchanges than our Receive Maximum allows \[MQTT-3.3.4-7\]
/// \[MQTT-3.3.4-9\]; the answer is DISCONNECT with 0x93.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveMaximumExceeded;

impl fmt::Display for ReceiveMaximumExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more unfinished QoS 2 messages than the Receive Maximum (MQTT-3.3.4-9)")
    }
}

impl core::error::Error for ReceiveMaximumExceeded {}

/// The identifiers that are open between PUBLISH and PUBREL. An empty one owns no heap memory.
pub struct Receiver {
    /// `None` while there are none: most Clients send no QoS 2, and every session has this.
    ids: Option<Box<Ids>>,
    /// How many there are.
    open: u16,
    limit: NonZeroU16,
    /// Exchanges begun and not ended since the last [`Receiver::set_limit`].
    used: u16,
}

enum Ids {
    /// In no particular order.
    List(Vec<u16>),
    /// [`BITMAP_WORDS`] words.
    Bitmap(Box<[u64]>),
}

impl Receiver {
    /// Nothing open, and the limit that the standard has when none is announced: 65,535.
    pub const fn new() -> Self {
        Self { ids: None, open: 0, limit: NonZeroU16::MAX, used: 0 }
    }

    /// Sets our Receive Maximum and starts the count against it anew: to be called for each Network
    /// Connection, since the quota is not part of the Session (MQTT 4.9). Identifiers stay open.
    pub fn set_limit(&mut self, limit: NonZeroU16) {
        self.limit = limit;
        self.used = 0;
    }

    /// An incoming PUBLISH with QoS 2. Send PUBREC in both cases.
    ///
    /// # Errors
    /// The identifier is new and there are as many unfinished exchanges of this Network
    /// Connection as our Receive Maximum. Nothing has changed.
    pub fn publish(&mut self, id: PacketIdentifier) -> Result<Received, ReceiveMaximumExceeded> {
        if self.contains(id) {
            return Ok(Received::Duplicate);
        }
        self.publish_new(id)?;
        Ok(Received::New)
    }

    /// As [`Receiver::publish`] for an identifier of which [`Receiver::contains`] has just said
    /// that it is not open.
    ///
    /// # Errors
    /// As [`Receiver::publish`].
    pub fn publish_new(&mut self, id: PacketIdentifier) -> Result<(), ReceiveMaximumExceeded> {
        debug_assert!(!self.contains(id), "the identifier is open");
        if self.used >= self.limit.get() {
            return Err(ReceiveMaximumExceeded);
        }
        self.used.up(1);
        self.open.up(1);
        self.ids.get_or_insert_default().insert(id.get());
        Ok(())
    }

    /// An incoming PUBREL: was the identifier open? Send PUBCOMP in both cases, with reason 0x92
    /// when it was not \[MQTT-4.3.3-11\].
    ///
    /// As the sender counts its quota, so does this: a PUBREL for an exchange of an earlier
    /// connection gives room too, up to the limit (MQTT 4.9).
    pub fn pubrel(&mut self, id: PacketIdentifier) -> bool {
        let Some(ids) = &mut self.ids else { return false };
        let known = ids.remove(id.get());
        if known {
            self.used = self.used.saturating_sub(1);
            self.open.down(1);
            if self.open == 0 {
                self.ids = None;
            } else if usize::from(self.open) < BITMAP_MIN {
                ids.make_list();
            }
        }
        known
    }

    /// Ends the exchange because PUBREC with a reason of 0x80 or above is sent: a later PUBLISH
    /// with this identifier is a new message \[MQTT-4.3.3-9\].
    pub fn refuse(&mut self, id: PacketIdentifier) -> bool {
        self.pubrel(id)
    }

    /// Number of open identifiers.
    pub fn open(&self) -> usize {
        usize::from(self.open)
    }

    /// Is this identifier open?
    pub fn contains(&self, id: PacketIdentifier) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.contains(id.get()))
    }

    /// The open identifiers, in no particular order, for saving.
    pub fn iter(&self) -> impl Iterator<Item = PacketIdentifier> + '_ {
        let (list, words): (&[u16], &[u64]) = match self.ids.as_deref() {
            None => (&[], &[]),
            Some(Ids::List(list)) => (list, &[]),
            Some(Ids::Bitmap(words)) => (&[], words),
        };
        list.iter().copied().chain(set_bits(words)).filter_map(PacketIdentifier::new)
    }

    /// Opens an identifier that was saved. It does not count against the limit.
    pub fn restore(&mut self, id: PacketIdentifier) {
        if !self.contains(id) {
            self.open.up(1);
            self.ids.get_or_insert_default().insert(id.get());
        }
    }

    /// Forgets all open identifiers; the limit stays.
    pub fn clear(&mut self) {
        self.ids = None;
        self.open = 0;
        self.used = 0;
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("open", &self.open())
            .field("limit", &self.limit)
            .field("used", &self.used)
            .finish()
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Ids {
    fn contains(&self, id: u16) -> bool {
        match self {
            Self::List(list) => list.contains(&id),
            Self::Bitmap(words) => {
                words.get(word_of(id)).is_some_and(|word| word & bit_of(id) != 0)
            }
        }
    }

    /// Adds an identifier that is not contained.
    fn insert(&mut self, id: u16) {
        match self {
            Self::List(list) if list.len() < LIST_MAX => list.push(id),
            Self::List(list) => {
                let mut words = vec![0; BITMAP_WORDS].into_boxed_slice();
                for id in list.iter().copied().chain([id]) {
                    set_bit(&mut words, id);
                }
                *self = Self::Bitmap(words);
            }
            Self::Bitmap(words) => set_bit(words, id),
        }
    }

    /// Takes an identifier out; false when it was not contained.
    fn remove(&mut self, id: u16) -> bool {
        match self {
            Self::List(list) => {
                let Some(place) = list.iter().position(|other| *other == id) else {
                    return false;
                };
                list.swap_remove(place);
            }
            Self::Bitmap(words) => {
                let Some(word) = words.get_mut(word_of(id)) else { return false };
                if *word & bit_of(id) == 0 {
                    return false;
                }
                *word &= !bit_of(id);
            }
        }
        true
    }

    fn make_list(&mut self) {
        if let Self::Bitmap(words) = self {
            *self = Self::List(set_bits(words).collect());
        }
    }
}

fn set_bit(words: &mut [u64], id: u16) {
    // There is a word for each sixty-four of the 65,536 numbers.
    if let Some(word) = words.get_mut(word_of(id)) {
        *word |= bit_of(id);
    }
}

fn word_of(id: u16) -> usize {
    usize::from(id >> 6)
}

fn bit_of(id: u16) -> u64 {
    1 << (id & 63)
}

fn set_bits(words: &[u64]) -> impl Iterator<Item = u16> + '_ {
    (0_u16..).zip(words).filter(|(_, word)| **word != 0).flat_map(|(place, word)| {
        (0..64_u16).filter(move |bit| *word & (1 << *bit) != 0).map(move |bit| place << 6 | bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketIdentifier {
        PacketIdentifier::new(number).unwrap()
    }

    fn limit(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    /// Every state (free, open) with every packet (PUBLISH, PUBREL, refusal).
    #[test]
    fn each_state_with_each_packet() {
        let free = Receiver::new;
        let open = || {
            let mut receiver = Receiver::new();
            receiver.publish(id(5)).unwrap();
            receiver
        };
        let mut receiver = free();
        assert_eq!((receiver.publish(id(5)), receiver.open()), (Ok(Received::New), 1));
        let mut receiver = open();
        assert_eq!((receiver.publish(id(5)), receiver.open()), (Ok(Received::Duplicate), 1));
        let mut receiver = free();
        assert_eq!((receiver.pubrel(id(5)), receiver.open()), (false, 0));
        let mut receiver = open();
        assert_eq!((receiver.pubrel(id(6)), receiver.open()), (false, 1));
        assert_eq!((receiver.pubrel(id(5)), receiver.open()), (true, 0));
        assert_eq!(receiver.publish(id(5)), Ok(Received::New));
        let mut receiver = open();
        assert_eq!((receiver.refuse(id(5)), receiver.refuse(id(5))), (true, false));
        assert_eq!(receiver.publish(id(5)), Ok(Received::New));
    }

    #[test]
    fn the_limit_from_both_sides() {
        let mut receiver = Receiver::new();
        receiver.set_limit(limit(2));
        assert_eq!(receiver.publish(id(1)), Ok(Received::New));
        assert_eq!(receiver.publish(id(2)), Ok(Received::New));
        assert_eq!(receiver.publish(id(3)), Err(ReceiveMaximumExceeded));
        assert_eq!((receiver.open(), receiver.contains(id(3))), (2, false));
        assert_eq!(receiver.publish(id(2)), Ok(Received::Duplicate));
        assert!(receiver.pubrel(id(1)));
        assert_eq!(receiver.publish(id(3)), Ok(Received::New));
        assert_eq!(receiver.publish(id(4)), Err(ReceiveMaximumExceeded));
    }

    /// A client that lost its own state must not be shut out by what it left behind.
    #[test]
    fn exchanges_of_an_earlier_connection_do_not_use_up_the_limit() {
        let mut receiver = Receiver::new();
        (1..=10).for_each(|n| receiver.restore(id(n)));
        receiver.restore(id(10));
        receiver.set_limit(limit(1));
        assert_eq!(receiver.open(), 10);
        assert_eq!(receiver.publish(id(1)), Ok(Received::Duplicate));
        assert_eq!(receiver.publish(id(11)), Ok(Received::New));
        assert_eq!(receiver.publish(id(12)), Err(ReceiveMaximumExceeded));
        receiver.clear();
        assert_eq!((receiver.open(), receiver.publish(id(1))), (0, Ok(Received::New)));
    }

    #[test]
    fn list_and_bitmap_hold_the_same() {
        let mut receiver = Receiver::new();
        let all = 1..=u16::MAX;
        for number in all.clone() {
            assert_eq!(receiver.publish(id(number)), Ok(Received::New));
            let many = matches!(receiver.ids.as_deref(), Some(Ids::Bitmap(_)));
            assert_eq!(many, usize::from(number) > LIST_MAX);
        }
        assert!(receiver.iter().map(PacketIdentifier::get).eq(all.clone()));
        for number in all.rev() {
            assert!(receiver.contains(id(number)));
            assert!(receiver.pubrel(id(number)));
            assert!(!receiver.pubrel(id(number)));
            assert_eq!(receiver.open(), usize::from(number) - 1);
        }
        assert!(receiver.ids.is_none(), "an empty one owns no memory");
        assert!(size_of::<Receiver>() <= 16);
    }
}
