//! The ends: of a connection, and of a session with all that the log has of it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_proto::QoS;
use mqtt_proto::packet::Disconnect;

use crate::drops::DropReason;
use crate::exchange::Receipt;
use crate::expiry::Timer;
use crate::grant::Grant;
use crate::ids::{ConnectionKey, RecordId, SessionKey};
use crate::limits::OUTPUT_FLUSH_BYTES;
use crate::message::{Message, Passing};
use crate::notice::{Ending, Notice};
use crate::output::Output;
use crate::session::{Kept, NEVER_EXPIRES, Subscribed};
use crate::shard::Shard;
use crate::subscriptions::Subscriptions;
use crate::time::Instant;

impl Shard {
    /// The one path on which a connection ends: tells the Client, closes, decides about the will
    /// and the session.
    pub(crate) fn end_connection<O: Output>(
        &mut self,
        connection: ConnectionKey,
        ending: Ending,
        now: Instant,
        out: &mut O,
    ) {
        let Some(key) = self.take_connection(connection) else { return };
        let session = &mut self.sessions[key];
        let Some(online) = session.online.take() else { return };
        session.offline_since = now;
        self.stats.connected.down(1);
        if let Some(reason) = ending.disconnect_reason() {
            if online.version.server_may_send_disconnect() {
                #[allow(clippy::expect_used, reason = "no properties")]
                Disconnect::new(reason)
                    .encode(online.version, out.wire(connection).bytes_mut())
                    .expect("a DISCONNECT without properties fits");
                self.stats.packets_sent.up(1);
            }
        }
        let client_id = &session.client_id;
        let messages = online.messages;
        out.notice(Notice::Disconnected { connection, client_id, ending, messages });
        out.close(connection);
        let (uid, goes_on) = (session.uid, session.is_persistent());
        self.stop_replays(key, uid, goes_on, out);
        if ending.publishes_will() {
            self.start_will(key, now, out);
        } else {
            self.discard_will(key, out);
        }
        if !goes_on {
            self.end_session(key, now, out);
            return;
        }
        self.set_session_timer(key);
        self.write_session_record(key, out);
        self.announce_presence(key, out);
    }

    /// The Server closes a connection that has been silent for one and a half times its Keep Alive
    /// [MQTT-3.1.2-22].
    pub(crate) fn check_keep_alive<O: Output>(
        &mut self,
        key: SessionKey,
        epoch: u64,
        now: Instant,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        let Some(online) = session.online.as_mut().filter(|online| online.epoch == epoch) else {
            return;
        };
        let mut due = online.last_received.plus_millis(online.silence_millis_max());
        // The body does not read from a Client that leaves much of its output unread, so nothing
        // may be heard of one that is busy reading: it lives as long as the output shrinks.
        let backlog = out.wire(online.connection).len();
        let shrinks = online.backlog_seen == 0 || backlog < online.backlog_seen;
        // Nor is anything heard of one that waits for too many answers, or for one of the Server's.
        if online.is_paused || online.has_request() {
            due = due.max(now.plus_millis(online.silence_millis_max()));
        }
        if due <= now && backlog > OUTPUT_FLUSH_BYTES && shrinks {
            online.backlog_seen = backlog;
            due = now.plus_millis(online.silence_millis_max());
        }
        if due <= now {
            let connection = online.connection;
            self.end_connection(connection, Ending::KeepAliveTimeout, now, out);
        } else {
            self.timers.set(due, Timer::KeepAlive(key, epoch));
        }
    }

    /// Lets the session be looked at when its Session Expiry Interval has passed. One entry for
    /// each session is enough: an early one is set again when it turns out to be early.
    pub(crate) fn set_session_timer(&mut self, key: SessionKey) {
        let session = &mut self.sessions[key];
        if session.expiry_seconds == NEVER_EXPIRES {
            return;
        }
        let due = session.offline_since.plus_seconds(session.expiry_seconds);
        if due < session.timer_at {
            session.timer_at = due;
            self.timers.set(due, Timer::Session(key, session.uid));
        }
    }

    pub(crate) fn check_session_expiry<O: Output>(
        &mut self,
        key: SessionKey,
        now: Instant,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        if session.timer_at > now {
            return; // an entry that an earlier one has replaced
        }
        session.timer_at = Instant::NEVER;
        if session.online.is_some() {
            return;
        }
        let due = session.offline_since.plus_seconds(session.expiry_seconds);
        if session.expiry_seconds != NEVER_EXPIRES && due <= now {
            out.notice(Notice::SessionExpired { client_id: &session.client_id });
            self.stats.expired_sessions.up(1);
            self.end_session(key, now, out);
        } else {
            self.set_session_timer(key);
        }
    }

    /// The session is over: its subscriptions, its waiting messages and its records go
    /// [MQTT-4.1.0-1].
    pub(crate) fn end_session<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        self.publish_will(key, now, out);
        let session = &mut self.sessions[key];
        let uid = session.uid;
        let subscriptions = core::mem::take(&mut session.subscriptions);
        for subscribed in subscriptions.iter() {
            self.withdraw(key, subscribed, out);
        }
        self.stop_replays(key, uid, false, out);
        self.forget_session_records(key, &subscriptions, out);
        let Some(session) = self.remove_session(key) else { return };
        let mut orphans = Vec::new();
        for flight in session.sender.iter() {
            let Some(kept) = flight.message.and_then(|flight| flight.kept.as_ref()) else {
                continue;
            };
            self.journal.complete(kept, out);
            // A QoS 2 message in flight is never sent to another member [MQTT-4.8.2-5].
            if flight.qos == QoS::AtLeastOnce && is_shared(kept) {
                orphans.push((kept.extra.clone(), Arc::clone(&kept.message)));
            } else {
                self.note_lost(&session.client_id, kept.message.topic());
            }
        }
        for kept in session.queue.iter() {
            self.unqueued(kept);
            self.journal.complete(kept, out);
            if is_shared(kept) {
                orphans.push((kept.extra.clone(), Arc::clone(&kept.message)));
            } else {
                self.note_lost(&session.client_id, kept.message.topic());
            }
        }
        for (extra, message) in orphans {
            let share = extra.as_ref().and_then(|extra| extra.share.as_deref());
            self.redirect_share(share, &message, &Receipt::NONE, now, out);
        }
    }

    fn note_lost(&mut self, client_id: &str, topic: &str) {
        self.stats.drop(DropReason::SessionEnded);
        self.drops.add(self.now, DropReason::SessionEnded, client_id, topic);
    }

    /// A message chosen for a member that is gone goes to another one. Returns how many other
    /// shards will confirm.
    pub(crate) fn redirect<O: Output>(
        &mut self,
        grant: &Grant,
        message: &Arc<Message>,
        receipt: &Receipt,
        now: Instant,
        out: &mut O,
    ) -> u16 {
        let share = grant.extra.as_ref().and_then(|extra| extra.share.as_deref());
        self.redirect_share(share, message, receipt, now, out)
    }

    fn redirect_share<O: Output>(
        &mut self,
        share: Option<&str>,
        message: &Arc<Message>,
        receipt: &Receipt,
        now: Instant,
        out: &mut O,
    ) -> u16 {
        let Some(group) = share.and_then(|share| self.groups.find(share)) else {
            self.note_lost("", message.topic());
            return 0;
        };
        let mut passing = Passing::from_message(message);
        let confirms = self.deliver_to_group(group, &mut passing, receipt, now, out);
        self.journal.close_message(&passing, receipt.origin, out);
        confirms
    }

    /// The session is no longer persistent: what the log has of it is not needed. What waits for it
    /// stays in memory, for its last connection.
    pub(crate) fn forget_records<O: Output>(&mut self, key: SessionKey, out: &mut O) {
        let subscriptions = core::mem::take(&mut self.sessions[key].subscriptions);
        self.forget_session_records(key, &subscriptions, out);
        let session = &mut self.sessions[key];
        session.subscriptions = subscriptions;
        for subscribed in session.subscriptions.iter_mut() {
            subscribed.set_record(None);
        }
    }

    fn forget_session_records<O: Output>(
        &mut self,
        key: SessionKey,
        subscriptions: &Subscriptions,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        let is_recorded = core::mem::take(&mut session.is_recorded);
        let own = is_recorded.then_some(RecordId(session.uid.0));
        let exchanges = session.records.take().map(|records| *records).unwrap_or_default();
        let all = own
            .into_iter()
            .chain(subscriptions.iter().filter_map(Subscribed::record))
            .chain(exchanges.sent.into_values())
            .chain(exchanges.begun.into_values().map(|begun| begun.record));
        for record in all {
            self.journal.kill(record, out);
        }
        for record in exchanges.received.into_values() {
            self.journal.forget_received(record, out);
        }
    }
}

fn is_shared(kept: &Kept) -> bool {
    kept.extra.as_ref().is_some_and(|extra| extra.share.is_some())
}
