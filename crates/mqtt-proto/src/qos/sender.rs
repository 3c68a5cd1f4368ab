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
//! How identifiers are given out and found again stands in `ring.rs`.

use super::{QoS, ring::Ring};
use crate::count::Count;
use crate::packet_id::PacketIdentifier;
use alloc::{boxed::Box, vec::Vec};
use core::fmt;
use core::num::NonZeroU16;

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
/// acknowledged. It owns no heap memory before the first exchange, and little with one at a time.
pub struct Sender<T> {
    /// `None` before the first one: most Clients only publish.
    exchanges: Option<Box<Ring<Exchange<T>>>>,
    /// Exchanges not yet sent again on this connection.
    owed: u16,
    window: NonZeroU16,
}

enum Exchange<T> {
    Publish { message: T, exactly_once: bool, sent: bool },
    Release { sent: bool },
}

impl<T> Sender<T> {
    /// Nothing in flight, and the window that the standard has when the peer announces none:
    /// 65,535.
    pub const fn new() -> Self {
        Self { exchanges: None, owed: 0, window: NonZeroU16::MAX }
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
        self.owed == 0
            && self.count() < self.window.get()
            && self.exchanges.as_ref().is_none_or(|ring| ring.has_identifier())
    }

    /// Exchanges in flight, those waiting to be sent again included.
    pub fn in_flight(&self) -> usize {
        usize::from(self.count())
    }

    fn count(&self) -> u16 {
        self.exchanges.as_ref().map_or(0, |ring| ring.len())
    }

    fn ring(&mut self) -> &mut Ring<Exchange<T>> {
        self.exchanges.get_or_insert_with(|| Box::new(Ring::new()))
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
        let exactly_once = qos == QoS::ExactlyOnce;
        let exchange = Exchange::Publish { message, exactly_once, sent: true };
        PacketIdentifier::new(self.ring().push(exchange))
    }

    /// PUBACK, with any reason: the exchange has ended and the message comes back.
    ///
    /// # Errors
    /// No QoS 1 exchange has this identifier. Nothing has changed.
    pub fn puback(&mut self, id: PacketIdentifier) -> Result<T, SenderOffence> {
        self.expect(id, |state| state == SenderState::AwaitPuback)?;
        let ended = self.finish(id);
        ended.and_then(Exchange::into_message).ok_or(SenderOffence::UnknownIdentifier)
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
        let exchange = self.expect(id, |state| state != SenderState::AwaitPuback)?;
        if is_error {
            let ended = self.finish(id);
            return Ok(PubrecOutcome::Refused(ended.and_then(Exchange::into_message)));
        }
        let old = core::mem::replace(exchange, Exchange::Release { sent: true });
        self.owed.down(u16::from(!old.sent()));
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
        self.expect(id, |state| state == SenderState::AwaitPubcomp)?;
        self.finish(id);
        Ok(())
    }

    /// The first thing on a new Network Connection of the Session: calls `send` for what must be
    /// sent again, in the original order \[MQTT-4.4.0-1\] \[MQTT-4.6.0-1\], as far as the window
    /// allows. When [`Sender::owed`] is not zero then, go on with [`Sender::resend_more`].
    pub fn resend(&mut self, send: impl FnMut(Resend<'_, T>)) {
        let Some(ring) = &mut self.exchanges else { return };
        ring.rewind();
        ring.go_on(|_, exchange| {
            exchange.set_sent(false);
            true
        });
        ring.rewind();
        self.owed = ring.len();
        self.resend_more(send);
    }

    /// After an acknowledgement: calls `send` for what the window now allows to be sent again. Does
    /// nothing when nothing is owed.
    pub fn resend_more(&mut self, mut send: impl FnMut(Resend<'_, T>)) {
        if self.owed == 0 {
            return;
        }
        let window = self.window.get();
        let Some(ring) = &mut self.exchanges else { return };
        let mut used = ring.len().saturating_sub(self.owed);
        ring.go_on(|id, exchange| {
            if exchange.sent() {
                return true;
            }
            // A PUBREL needs no room (MQTT 4.9).
            if used >= window && matches!(exchange, Exchange::Publish { .. }) {
                return false;
            }
            if let Some(id) = PacketIdentifier::new(id) {
                send(exchange.packet(id));
            }
            exchange.set_sent(true);
            used.up(1);
            self.owed.down(1);
            true
        });
    }

    /// The exchanges in the order of publishing, for saving.
    pub fn iter(&self) -> impl Iterator<Item = InFlight<'_, T>> {
        self.exchanges.iter().flat_map(|ring| ring.iter()).filter_map(|(id, exchange)| {
            let (id, state) = (PacketIdentifier::new(id)?, exchange.state());
            Some(InFlight { id, qos: state.qos(), state, message: exchange.message() })
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
        if self.ring().get_mut(id.get()).is_some() {
            return Err(RestoreError::IdentifierInUse);
        }
        let exchange = match (state, message) {
            (SenderState::AwaitPubcomp, _) => Exchange::Release { sent: false },
            (_, Some(message)) => {
                let exactly_once = state == SenderState::AwaitPubrec;
                Exchange::Publish { message, exactly_once, sent: false }
            }
            (_, None) => return Err(RestoreError::MessageMissing),
        };
        self.ring().push_as(id.get(), exchange);
        self.owed.up(1);
        Ok(())
    }

    /// The next exchange gets this identifier, or the first free one behind it. For a Sender whose
    /// last exchanges may have been forgotten: a receiver that still holds their identifiers would
    /// take a new message for a repetition.
    pub fn begin_at(&mut self, id: PacketIdentifier) {
        self.ring().begin_at(id.get());
    }

    /// Ends those QoS 1 exchanges for whose message `expired` says true, and returns how many.
    ///
    /// QoS 2 exchanges stay: once PUBLISH was sent, expiry must not be applied
    /// \[MQTT-4.3.3-7\], or the peer would take the next message with that identifier for a
    /// repetition. For use while no connection is there; an acknowledgement still under way would
    /// come back as [`SenderOffence::UnknownIdentifier`].
    pub fn discard(&mut self, mut expired: impl FnMut(PacketIdentifier, &T) -> bool) -> usize {
        let goes = |exchange: &InFlight<'_, T>| match (exchange.state, exchange.message) {
            (SenderState::AwaitPuback, Some(message)) => expired(exchange.id, message),
            _ => false,
        };
        let ids: Vec<_> = self.iter().filter(goes).map(|exchange| exchange.id).collect();
        for id in &ids {
            self.finish(*id);
        }
        ids.len()
    }

    fn expect(
        &mut self,
        id: PacketIdentifier,
        fits: impl FnOnce(SenderState) -> bool,
    ) -> Result<&mut Exchange<T>, SenderOffence> {
        match self.exchanges.as_mut().and_then(|ring| ring.get_mut(id.get())) {
            None => Err(SenderOffence::UnknownIdentifier),
            Some(exchange) if fits(exchange.state()) => Ok(exchange),
            Some(exchange) => Err(SenderOffence::WrongPacket(exchange.state())),
        }
    }

    fn finish(&mut self, id: PacketIdentifier) -> Option<Exchange<T>> {
        let exchange = self.exchanges.as_mut()?.remove(id.get())?;
        self.owed.down(u16::from(!exchange.sent()));
        Some(exchange)
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
            .field("in_flight", &self.count())
            .field("owed", &self.owed)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl<T> Exchange<T> {
    fn state(&self) -> SenderState {
        match self {
            Self::Publish { exactly_once: false, .. } => SenderState::AwaitPuback,
            Self::Publish { exactly_once: true, .. } => SenderState::AwaitPubrec,
            Self::Release { .. } => SenderState::AwaitPubcomp,
        }
    }

    /// What is to be sent again.
    fn packet(&self, id: PacketIdentifier) -> Resend<'_, T> {
        match self {
            Self::Publish { message, .. } => {
                Resend::Publish { id, qos: self.state().qos(), message }
            }
            Self::Release { .. } => Resend::Release { id },
        }
    }

    fn message(&self) -> Option<&T> {
        match self {
            Self::Publish { message, .. } => Some(message),
            Self::Release { .. } => None,
        }
    }

    fn into_message(self) -> Option<T> {
        match self {
            Self::Publish { message, .. } => Some(message),
            Self::Release { .. } => None,
        }
    }

    /// Was it sent on this connection?
    fn sent(&self) -> bool {
        match self {
            Self::Publish { sent, .. } | Self::Release { sent } => *sent,
        }
    }

    fn set_sent(&mut self, value: bool) {
        match self {
            Self::Publish { sent, .. } | Self::Release { sent } => *sent = value,
        }
    }
}
