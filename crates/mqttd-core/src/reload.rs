//! A reloaded configuration takes effect: who may no longer be here goes, and what nobody may be
//! sent any more is taken out of the windows. Access rights are asked for each publish and each
//! delivery anyway.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_auth::Action;
use mqtt_proto::packet::PacketType;
use mqtt_proto::qos::{PubrecOutcome, SenderState};
use mqtt_proto::{PacketIdentifier, ReasonCode};

use crate::acknowledge::{Answer, Wait};
use crate::drops::DropReason;
use crate::event::{Admission, Proof};
use crate::ids::SessionKey;
use crate::notice::Ending;
use crate::output::Output;
use crate::settings::{ListenerSettings, Settings};
use crate::shard::Shard;
use crate::time::Instant;

impl Shard {
    /// Takes over a configuration.
    pub(crate) fn set_settings<O: Output>(
        &mut self,
        settings: Arc<Settings>,
        now: Instant,
        out: &mut O,
    ) {
        self.matching.duplicate_overlaps = settings.duplicate_overlaps;
        self.matching.changed();
        let old = core::mem::replace(&mut self.settings, settings);
        let mut leaving = Vec::new();
        let mut owed = Vec::new();
        for (key, session) in self.sessions.iter() {
            let Some(online) = &session.online else { continue };
            // Whoever came in under a newer configuration has been asked by that one.
            let is_known = online.proved_under >= self.settings.generation;
            let username = session.username.as_deref();
            let listeners =
                (old.listener(session.listener), self.settings.listener(session.listener));
            let reason = reason_to_go(listeners, online.proof, username).filter(|_| !is_known);
            if let Some(reason) = reason {
                leaving.push((online.connection, reason));
            } else if session.sender.owed() > 0 {
                owed.push(key);
            }
        }
        for (connection, reason) in leaving {
            self.end_connection(connection, Ending::Server(reason), now, out);
        }
        for key in owed {
            for packet_id in self.drop_denied_flights(key, out) {
                let reason = ReasonCode::Success;
                let answer = Answer::Ack { packet_type: PacketType::Pubrel, packet_id, reason };
                self.answer(key, answer, Wait::default(), out);
            }
            self.pump(key, now, out);
        }
    }

    /// Why a Client is not let in that has shown who it is under settings that others have replaced
    /// since.
    pub(crate) fn reason_to_go(&self, admission: &Admission<'_>) -> Option<ReasonCode> {
        let old = admission.proved_under?;
        let id = admission.listener;
        if old.generation >= self.settings.generation {
            return None;
        }
        let listeners = (old.listener(id), self.settings.listener(id));
        reason_to_go(listeners, admission.proof, admission.username)
    }

    /// Takes messages out of the window that the session may no longer be sent again. Returns the
    /// identifiers for which PUBREL is owed instead.
    pub(crate) fn drop_denied_flights<O: Output>(
        &mut self,
        key: SessionKey,
        out: &mut O,
    ) -> Vec<PacketIdentifier> {
        let mut released = Vec::new();
        let session = &self.sessions[key];
        let listener = self.settings.listener(session.listener);
        if listener.is_open() {
            return released;
        }
        let who = session.who();
        let denied = |topic| !listener.allows(&who, Action::Deliver, topic);
        let flights = session.sender.iter().filter_map(|flight| {
            let message = &flight.message?.kept.as_ref()?.message;
            denied(message.topic()).then(|| (flight.id, flight.state, Arc::clone(message)))
        });
        let flights: Vec<_> = flights.collect();
        for (packet_id, state, message) in flights {
            self.note_drop(key, DropReason::NotAuthorized, message.topic());
            let session = &mut self.sessions[key];
            let flight = if state == SenderState::AwaitPuback {
                self.journal.completed(&mut session.records, packet_id, out);
                session.sender.puback(packet_id).ok()
            } else {
                // The Client may have it, and then remembers the identifier until PUBREL: without
                // one it would take the next message with it for a repetition.
                let uid = session.uid;
                if session.is_persistent() {
                    self.journal.released(&mut session.records, uid, packet_id, out);
                }
                match session.sender.pubrec(packet_id, false) {
                    Ok(PubrecOutcome::Release(flight)) => {
                        released.push(packet_id);
                        Some(flight)
                    }
                    _ => None,
                }
            };
            if let Some(flight) = flight {
                self.landed(key, flight, out);
            }
        }
        released
    }
}

/// Why a Client may no longer be here that came in under the old settings of its listener, if it
/// may not under the new ones.
fn reason_to_go(
    (old, new): (&ListenerSettings, &ListenerSettings),
    proof: Proof,
    username: Option<&str>,
) -> Option<ReasonCode> {
    if let (Some(old), Some(new)) = (&old.dynamic, &new.dynamic) {
        if !Arc::ptr_eq(old, new) && !old.keeps(new, username) {
            return Some(ReasonCode::AdministrativeAction);
        }
    }
    let stays = match (proof, username, &new.passwords) {
        (Proof::Transport, ..) => true,
        (Proof::Dynamic, Some(user), _) => {
            new.dynamic.as_ref().is_some_and(|dynamic| dynamic.knows(user))
        }
        (Proof::Password, Some(user), Some(passwords)) => {
            old.passwords.as_ref().is_some_and(|old| old.has_same_entry(passwords, user))
        }
        // Nobody has asked for the password of this user, and now somebody would.
        (Proof::None, Some(_), Some(_)) => false,
        (Proof::Password | Proof::Dynamic | Proof::None, ..) => new.allow_anonymous,
    };
    (!stays).then_some(ReasonCode::NotAuthorized)
}
