//! The sender's half of QoS 1 and 2 for one Session (MQTT 4.3.2, 4.3.3, 4.4, 4.9): which Packet
//! Identifiers are in flight, what each waits for, and what must be sent again.
//!
//! ```text
//!             publish QoS 1                  PUBACK
//!   (free) ──────────────────▶ AwaitPuback ──────────▶ (free)
//!
//!             publish QoS 2                  PUBREC                  PUBCOMP
//!   (free) ──────────────────▶ AwaitPubrec ──────────▶ AwaitPubcomp ─────────▶ (free)
//!                                  │         send PUBREL   │    ▲
//!                                  │                       └────┘ PUBREC: send PUBREL again
//!                                  └──────────▶ (free)  PUBREC with a reason of 0x80 or above
//! ```
//!
//! Identifiers are given out one after the other, so a ring buffer indexed by the distance from
//! its first identifier finds each exchange at once. Finished ones become holes, which leave at
//! the front. A front that does not move is put aside among the stragglers.

use super::QoS;
use crate::packet_id::PacketIdentifier;
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::fmt;
use core::num::NonZeroU16;

/// How many identifiers there are: 1 to 65,535.
const IDENTIFIERS: usize = 65_535;

/// A ring this long may have any number of holes; a longer one at most three of four.
const SPARSE_MIN: usize = 64;

/// Most exchanges put aside while publishing; each acknowledgement may have to look at all.
const STRAGGLERS_MAX: usize = 64;

/// What an identifier in flight waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SenderState {
    /// QoS 1: PUBLISH was sent.
    AwaitPuback,
    /// QoS 2: PUBLISH was sent.
    AwaitPubrec,
    /// QoS 2: PUBREL was sent.
    AwaitPubcomp,
}

impl SenderState {
    /// The QoS of the exchange.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AwaitPuback => QoS::AtLeastOnce,
            Self::AwaitPubrec | Self::AwaitPubcomp => QoS::ExactlyOnce,
        }
    }
}

/// An acknowledgement that fits no exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderOffence {
    /// The identifier is not in flight: reason 0x92. Late acknowledgements look like this, so
    /// it is not in itself a reason to close the connection.
    UnknownIdentifier,
    /// The identifier is in flight, but waits for another packet: a protocol error (0x82).
    WrongPacket(SenderState),
}

impl fmt::Display for SenderOffence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIdentifier => f.write_str("the packet identifier is not in flight"),
            Self::WrongPacket(SenderState::AwaitPuback) => f.write_str("PUBACK was expected"),
            Self::WrongPacket(SenderState::AwaitPubrec) => f.write_str("PUBREC was expected"),
            Self::WrongPacket(SenderState::AwaitPubcomp) => f.write_str("PUBCOMP was expected"),
        }
    }
}

impl core::error::Error for SenderOffence {}

/// What a PUBREC led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubrecOutcome<T> {
    /// The message has arrived: here it is back. Send PUBREL \[MQTT-4.3.3-4\].
    Release(T),
    /// A repeated PUBREC: send PUBREL again.
    ReleaseAgain,
    /// The peer refused: the exchange has ended, send nothing. The message comes back unless an
    /// earlier PUBREC already gave it back.
    Refused(Option<T>),
}

/// A packet to be sent again on a new Network Connection \[MQTT-4.4.0-1\].
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, T> {
    /// PUBLISH with the DUP flag and the same identifier.
    Publish {
        /// The identifier of the first attempt.
        id: PacketIdentifier,
        /// QoS 1 or 2.
        qos: QoS,
        /// The message.
        message: &'a T,
    },
    /// PUBREL with the same identifier.
    Release {
        /// The identifier of the exchange.
        id: PacketIdentifier,
    },
}

/// One exchange, for saving.
#[derive(Debug, PartialEq, Eq)]
pub struct InFlight<'a, T> {
    /// Its identifier.
    pub id: PacketIdentifier,
    /// QoS 1 or 2.
    pub qos: QoS,
    /// What it waits for.
    pub state: SenderState,
    /// The message; `None` from PUBREC on.
    pub message: Option<&'a T>,
}

/// Why a saved exchange cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreError {
    /// The identifier is in flight already.
    IdentifierInUse,
    /// The state needs a message and there is none.
    MessageMissing,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdentifierInUse => "the packet identifier is in flight already",
            Self::MessageMissing => "an unacknowledged exchange has no message",
        })
    }
}

impl core::error::Error for RestoreError {}

/// The exchanges in flight towards one peer. `T` is what must be sent again until it is
/// acknowledged. An empty one owns no heap memory.
pub struct Sender<T> {
    /// Exchanges by identifier, the first one `first`, with holes. In the order of publishing.
    ring: VecDeque<Slot<T>>,
    /// Exchanges older than the ring, in the order of publishing.
    stragglers: Option<Box<Stragglers<T>>>,
    /// The identifier of the ring's first slot, or the next one when the ring is empty.
    first: u16,
    /// Exchanges in flight.
    live: u16,
    /// Of these, those not yet sent again on this connection: the last ones in order.
    owed: u16,
    /// The identifier in the ring where sending again goes on. Means something while `owed > 0`.
    resend_at: u16,
    window: NonZeroU16,
}

/// A struct of its own, since a box of a vector would look like a mistake; it keeps `Sender` small.
struct Stragglers<T> {
    slots: Vec<(u16, Slot<T>)>,
}

enum Slot<T> {
    Hole,
    Publish { message: T, exactly_once: bool, sent: bool },
    Release { sent: bool },
}

impl<T> Sender<T> {
    /// Nothing in flight, and the window that the standard has when the peer announces none:
    /// 65,535.
    pub const fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            stragglers: None,
            first: 1,
            live: 0,
            owed: 0,
            resend_at: 1,
            window: NonZeroU16::MAX,
        }
    }

    /// How many exchanges may be in flight at a time.
    pub fn window(&self) -> NonZeroU16 {
        self.window
    }

    /// Sets the window: the lesser of the peer's Receive Maximum and our own limit. It belongs to a
    /// Network Connection, not to the Session (MQTT 4.9): set it before [`Sender::resend`].
    pub fn set_window(&mut self, window: NonZeroU16) {
        self.window = window;
    }

    /// Can something be published now? False too while old messages are still to be sent again.
    pub fn has_room(&self) -> bool {
        self.owed == 0 && self.live < self.window.get() && self.can_allocate()
    }

    /// Exchanges in flight, those waiting to be sent again included.
    pub fn in_flight(&self) -> usize {
        usize::from(self.live)
    }

    /// Exchanges that were not yet sent again on this connection because the window is full.
    pub fn owed(&self) -> usize {
        usize::from(self.owed)
    }

    /// Begins an exchange: send PUBLISH with this identifier. `None` (and `message` is dropped)
    /// when [`Sender::has_room`] is false or for QoS 0, which has no exchange.
    pub fn publish(&mut self, qos: QoS, message: T) -> Option<PacketIdentifier> {
        if qos == QoS::AtMostOnce || !self.has_room() {
            return None;
        }
        while self.is_straggler(self.next_id()) {
            self.push_hole();
        }
        let id = self.next_id();
        let exactly_once = qos == QoS::ExactlyOnce;
        self.ring.push_back(Slot::Publish { message, exactly_once, sent: true });
        self.live += 1;
        PacketIdentifier::new(id)
    }

    /// PUBACK, with any reason: the exchange has ended and the message comes back.
    ///
    /// # Errors
    /// No QoS 1 exchange has this identifier. Nothing has changed.
    pub fn puback(&mut self, id: PacketIdentifier) -> Result<T, SenderOffence> {
        match self.slot_mut(id.get()) {
            Some(Slot::Publish { exactly_once: false, .. }) => {}
            other => return Err(offence(other)),
        }
        match self.finish(id.get()) {
            Slot::Publish { message, .. } => Ok(message),
            _ => Err(SenderOffence::UnknownIdentifier),
        }
    }

    /// PUBREC; `is_error` tells a reason of 0x80 or above.
    ///
    /// # Errors
    /// No QoS 2 exchange has this identifier. Nothing has changed.
    pub fn pubrec(
        &mut self,
        id: PacketIdentifier,
        is_error: bool,
    ) -> Result<PubrecOutcome<T>, SenderOffence> {
        let slot = match self.slot_mut(id.get()) {
            Some(slot @ (Slot::Publish { exactly_once: true, .. } | Slot::Release { .. })) => slot,
            other => return Err(offence(other)),
        };
        if is_error {
            return Ok(PubrecOutcome::Refused(self.finish(id.get()).into_message()));
        }
        let was_owed = !slot.sent();
        let old = core::mem::replace(slot, Slot::Release { sent: true });
        self.owed -= u16::from(was_owed);
        Ok(match old.into_message() {
            Some(message) => PubrecOutcome::Release(message),
            None => PubrecOutcome::ReleaseAgain,
        })
    }

    /// PUBCOMP, with any reason: the exchange has ended.
    ///
    /// # Errors
    /// No exchange with this identifier has come as far as PUBREL. Nothing has changed.
    pub fn pubcomp(&mut self, id: PacketIdentifier) -> Result<(), SenderOffence> {
        match self.slot_mut(id.get()) {
            Some(Slot::Release { .. }) => {}
            other => return Err(offence(other)),
        }
        self.finish(id.get());
        Ok(())
    }

    /// The first thing on a new Network Connection of the Session: calls `send` for what must be
    /// sent again, in the original order \[MQTT-4.4.0-1\] \[MQTT-4.6.0-1\], as far as the window
    /// allows. When [`Sender::owed`] is not zero then, go on with [`Sender::resend_more`].
    pub fn resend(&mut self, send: impl FnMut(Resend<'_, T>)) {
        let stragglers = self.stragglers.iter_mut().flat_map(|old| &mut old.slots);
        for slot in stragglers.map(|(_, slot)| slot).chain(&mut self.ring) {
            slot.set_sent(false);
        }
        self.owed = self.live;
        self.resend_at = self.first;
        self.resend_more(send);
    }

    /// After an acknowledgement: calls `send` for what the window now allows to be sent again. Does
    /// nothing when nothing is owed.
    pub fn resend_more(&mut self, mut send: impl FnMut(Resend<'_, T>)) {
        if self.owed == 0 {
            return;
        }
        let mut quota =
            Quota { used: self.live - self.owed, window: self.window.get(), owed: &mut self.owed };
        for (id, slot) in self.stragglers.iter_mut().flat_map(|old| &mut old.slots) {
            if !quota.resend(*id, slot, &mut send) {
                return;
            }
        }
        for index in distance(self.first, self.resend_at)..self.ring.len() {
            self.resend_at = identifier(self.first, index);
            if !quota.resend(self.resend_at, &mut self.ring[index], &mut send) {
                return;
            }
        }
    }

    /// The exchanges in the order of publishing, for saving.
    pub fn iter(&self) -> impl Iterator<Item = InFlight<'_, T>> {
        let stragglers = self.stragglers.iter().flat_map(|old| &old.slots);
        let ring = self.ring.iter().enumerate();
        stragglers
            .map(|(id, slot)| (*id, slot))
            .chain(ring.map(|(index, slot)| (identifier(self.first, index), slot)))
            .filter_map(|(id, slot)| {
                let (id, state) = (PacketIdentifier::new(id)?, slot.state()?);
                Some(InFlight { id, qos: state.qos(), state, message: slot.message() })
            })
    }

    /// Puts a saved exchange behind those that are there. It counts as not sent on this
    /// connection, so [`Sender::resend`] must follow before anything can be published.
    ///
    /// # Errors
    /// See [`RestoreError`]. Nothing has changed.
    pub fn restore(
        &mut self,
        id: PacketIdentifier,
        state: SenderState,
        message: Option<T>,
    ) -> Result<(), RestoreError> {
        let id = id.get();
        if self.slot_mut(id).is_some() {
            return Err(RestoreError::IdentifierInUse);
        }
        let slot = match (state, message) {
            (SenderState::AwaitPubcomp, _) => Slot::Release { sent: false },
            (_, Some(message)) => {
                let exactly_once = state == SenderState::AwaitPubrec;
                Slot::Publish { message, exactly_once, sent: false }
            }
            (_, None) => return Err(RestoreError::MessageMissing),
        };
        let index = distance(self.first, id);
        if index < self.ring.len() || self.is_sparse(index) {
            self.put_ring_aside();
        }
        if self.ring.is_empty() {
            self.first = id;
            self.resend_at = id;
        }
        while self.next_id() != id {
            self.push_hole();
        }
        self.ring.push_back(slot);
        if self.owed == 0 {
            self.resend_at = id;
        }
        self.live += 1;
        self.owed += 1;
        Ok(())
    }

    /// Ends those QoS 1 exchanges for whose message `expired` says true, and returns how many.
    ///
    /// QoS 2 exchanges stay: once PUBLISH was sent, expiry must not be applied
    /// \[MQTT-4.3.3-7\], or the peer would take the next message with that identifier for a
    /// repetition. For use while no connection is there; an acknowledgement still under way would
    /// come back as [`SenderOffence::UnknownIdentifier`].
    pub fn discard(&mut self, mut expired: impl FnMut(PacketIdentifier, &T) -> bool) -> usize {
        let ids: Vec<PacketIdentifier> = self
            .iter()
            .filter(|exchange| exchange.state == SenderState::AwaitPuback)
            .filter(|exchange| {
                exchange.message.is_some_and(|message| expired(exchange.id, message))
            })
            .map(|exchange| exchange.id)
            .collect();
        for id in &ids {
            self.finish(id.get());
        }
        ids.len()
    }

    fn slot_mut(&mut self, id: u16) -> Option<&mut Slot<T>> {
        match self.ring.get_mut(distance(self.first, id)) {
            Some(Slot::Hole) | None => {}
            slot => return slot,
        }
        let stragglers = &mut self.stragglers.as_mut()?.slots;
        stragglers.iter_mut().find(|(other, _)| *other == id).map(|(_, slot)| slot)
    }

    /// Takes the exchange with `id` out; a hole when there is none.
    fn finish(&mut self, id: u16) -> Slot<T> {
        let index = distance(self.first, id);
        let slot = match self.ring.get_mut(index) {
            Some(slot) if !matches!(slot, Slot::Hole) => core::mem::replace(slot, Slot::Hole),
            _ => self.take_straggler(id),
        };
        if matches!(slot, Slot::Hole) {
            return slot;
        }
        self.live -= 1;
        self.owed -= u16::from(!slot.sent());
        if self.live == 0 {
            self.first = self.next_id();
            self.ring = VecDeque::new();
        } else {
            self.drop_front_holes();
            while self.wants_front_aside() {
                self.put_front_aside();
            }
        }
        slot
    }

    fn take_straggler(&mut self, id: u16) -> Slot<T> {
        let Some(stragglers) = &mut self.stragglers else {
            return Slot::Hole;
        };
        let Some(place) = stragglers.slots.iter().position(|(other, _)| *other == id) else {
            return Slot::Hole;
        };
        let (_, slot) = stragglers.slots.remove(place);
        if stragglers.slots.is_empty() {
            self.stragglers = None;
        }
        slot
    }

    fn drop_front_holes(&mut self) {
        while let Some(Slot::Hole) = self.ring.front() {
            self.pop_front();
        }
        if self.ring.capacity() > 256 && self.ring.len() < self.ring.capacity() / 8 {
            self.ring.shrink_to(self.ring.len() * 2);
        }
    }

    fn pop_front(&mut self) -> Option<Slot<T>> {
        let slot = self.ring.pop_front()?;
        let second = identifier(self.first, 1);
        if self.resend_at == self.first {
            self.resend_at = second;
        }
        self.first = second;
        Some(slot)
    }

    /// The identifier of the next slot at the ring's end.
    fn next_id(&self) -> u16 {
        identifier(self.first, self.ring.len())
    }

    /// Is there a slot left for an identifier that is not in flight?
    fn can_allocate(&self) -> bool {
        self.ring.len() + self.straggler_count() < IDENTIFIERS
    }

    fn straggler_count(&self) -> usize {
        self.stragglers.as_ref().map_or(0, |old| old.slots.len())
    }

    fn is_straggler(&self, id: u16) -> bool {
        self.stragglers.as_ref().is_some_and(|old| old.slots.iter().any(|(other, _)| *other == id))
    }

    /// Would a ring of `len` slots have too many holes?
    fn is_sparse(&self, len: usize) -> bool {
        len > SPARSE_MIN && len / 4 > usize::from(self.live) - self.straggler_count()
    }

    fn wants_front_aside(&self) -> bool {
        self.is_sparse(self.ring.len()) && self.straggler_count() < STRAGGLERS_MAX
    }

    /// Moves a front that does not move out of the ring's way.
    fn put_front_aside(&mut self) {
        let id = self.first;
        if let Some(slot) = self.pop_front() {
            self.add_straggler(id, slot);
            self.drop_front_holes();
        }
    }

    /// Moves all of the ring aside; only for a saved order that has gaps too wide for the ring.
    fn put_ring_aside(&mut self) {
        for (index, slot) in core::mem::take(&mut self.ring).into_iter().enumerate() {
            if !matches!(slot, Slot::Hole) {
                self.add_straggler(identifier(self.first, index), slot);
            }
        }
    }

    fn add_straggler(&mut self, id: u16, slot: Slot<T>) {
        let stragglers =
            self.stragglers.get_or_insert_with(|| Box::new(Stragglers { slots: Vec::new() }));
        stragglers.slots.push((id, slot));
    }

    /// Passes over one identifier.
    fn push_hole(&mut self) {
        if self.ring.is_empty() {
            self.first = identifier(self.first, 1);
        } else {
            self.ring.push_back(Slot::Hole);
        }
    }
}

impl<T> Default for Sender<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("in_flight", &self.live)
            .field("owed", &self.owed)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl<T> Slot<T> {
    fn state(&self) -> Option<SenderState> {
        match self {
            Self::Hole => None,
            Self::Publish { exactly_once: false, .. } => Some(SenderState::AwaitPuback),
            Self::Publish { exactly_once: true, .. } => Some(SenderState::AwaitPubrec),
            Self::Release { .. } => Some(SenderState::AwaitPubcomp),
        }
    }

    fn message(&self) -> Option<&T> {
        match self {
            Self::Publish { message, .. } => Some(message),
            Self::Hole | Self::Release { .. } => None,
        }
    }

    fn into_message(self) -> Option<T> {
        match self {
            Self::Publish { message, .. } => Some(message),
            Self::Hole | Self::Release { .. } => None,
        }
    }

    /// Was it sent on this connection? A hole has nothing to send.
    fn sent(&self) -> bool {
        match self {
            Self::Hole => true,
            Self::Publish { sent, .. } | Self::Release { sent } => *sent,
        }
    }

    fn set_sent(&mut self, value: bool) {
        if let Self::Publish { sent, .. } | Self::Release { sent } = self {
            *sent = value;
        }
    }
}

/// The room that sending again has.
struct Quota<'a> {
    used: u16,
    window: u16,
    owed: &'a mut u16,
}

impl Quota<'_> {
    /// Sends the slot again if that is still to be done; false when the window is full. A
    /// PUBREL needs no room (MQTT 4.9).
    fn resend<T>(
        &mut self,
        id: u16,
        slot: &mut Slot<T>,
        send: &mut impl FnMut(Resend<'_, T>),
    ) -> bool {
        let (Some(id), false) = (PacketIdentifier::new(id), slot.sent()) else {
            return true;
        };
        match slot {
            Slot::Publish { message, exactly_once, .. } => {
                if self.used >= self.window {
                    return false;
                }
                let qos = if *exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                send(Resend::Publish { id, qos, message });
            }
            Slot::Release { .. } => send(Resend::Release { id }),
            Slot::Hole => return true,
        }
        slot.set_sent(true);
        self.used += 1;
        *self.owed -= 1;
        true
    }
}

fn offence<T>(slot: Option<&mut Slot<T>>) -> SenderOffence {
    match slot.and_then(|slot| slot.state()) {
        Some(state) => SenderOffence::WrongPacket(state),
        None => SenderOffence::UnknownIdentifier,
    }
}

/// Steps from `first` to `id` in the circle 1, 2, ..., 65,535, 1.
fn distance(first: u16, id: u16) -> usize {
    (usize::from(id) + IDENTIFIERS - usize::from(first)) % IDENTIFIERS
}

/// The identifier `steps` after `first` in that circle.
fn identifier(first: u16, steps: usize) -> u16 {
    ((usize::from(first) - 1 + steps) % IDENTIFIERS + 1) as u16
}
