//! The Will Message (MQTT 3.1.2.5): published when a connection ends otherwise than by a normal
//! DISCONNECT, after its delay or when the session ends, whichever comes first [MQTT-3.1.3-9].

use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::packet;
use mqtt_proto::property::PropertyId;

use crate::exchange::Receipt;
use crate::expiry::Timer;
use crate::ids::{RecordId, SessionKey, SessionUid};
use crate::journal::message_record;
use crate::memory::Memory;
use crate::message::{Message, Passing, forwarded_properties};
use crate::mount;
use crate::output::Output;
use crate::record::Record;
use crate::shard::Shard;
use crate::time::Instant;

/// A session's Will.
pub(crate) struct Will {
    pub(crate) message: Arc<Message>,
    /// Message Expiry Interval; counts from publication.
    expiry_seconds: Option<u32>,
    delay_seconds: u32,
    /// When a delayed will is due; `None` while the connection lives.
    pub(crate) due: Option<Instant>,
    pub(crate) record: Option<RecordId>,
}

impl Will {
    pub(crate) fn new(
        will: &packet::Will<'_>,
        mount: Option<&str>,
        publisher: SessionUid,
        memory: Option<Arc<Memory>>,
    ) -> Self {
        let mounted = mount::put_on_name(mount, will.topic);
        let topic = mounted.as_deref().unwrap_or(will.topic);
        let mut scratch = Vec::new();
        let mut passing = Passing {
            properties: forwarded_properties(will.properties, &mut scratch),
            publisher: Some(publisher),
            memory,
            ..Passing::internal(topic, will.payload, will.qos, will.retain)
        };
        Self {
            message: passing.keep(),
            expiry_seconds: will.properties.u32(PropertyId::MessageExpiryInterval),
            delay_seconds: will.properties.u32(PropertyId::WillDelayInterval).unwrap_or(0),
            due: None,
            record: None,
        }
    }

    /// The record's expiry is that of a publication when the will is due.
    pub(crate) fn restored(message: Arc<Message>, due: Instant, record: RecordId) -> Self {
        let expires_at = message.expires_at;
        let seconds = u32::try_from(due.seconds_until(expires_at)).unwrap_or(u32::MAX);
        Self {
            message,
            expiry_seconds: (expires_at < Instant::NEVER).then_some(seconds),
            delay_seconds: 0,
            due: Some(due),
            record: Some(record),
        }
    }
}

impl Shard {
    /// The connection has ended and the will is to be published: now, or after its delay if the
    /// session lives that long.
    pub(crate) fn start_will<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        let session = &mut self.sessions[key];
        let delay = match &session.will {
            Some(will) => will.delay_seconds.min(session.expiry_seconds),
            None => return,
        };
        if delay == 0 {
            self.publish_will(key, now, out);
            return;
        }
        let due = now.plus_seconds(delay);
        let uid = session.uid;
        self.timers.set(due, Timer::Will(key, uid));
        if let Some(will) = &mut session.will {
            will.due = Some(due);
            let mut message = message_record(&will.message);
            if let Some(seconds) = will.expiry_seconds {
                message.expires_at = due.plus_seconds(seconds);
            }
            will.record = self.journal.put(&Record::Will { session: uid, due, message }, out);
        }
    }

    /// A delayed will is due, if the Client has not come back.
    pub(crate) fn will_is_due<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        let due = self.sessions[key].will.as_ref().and_then(|will| will.due);
        if due.is_some_and(|due| due <= now) {
            self.publish_will(key, now, out);
        }
    }

    /// Takes the will away without publishing it.
    pub(crate) fn discard_will<O: Output>(&mut self, key: SessionKey, out: &mut O) {
        if let Some(will) = self.sessions[key].will.take() {
            if let Some(record) = will.record {
                self.journal.kill(record, out);
            }
        }
    }

    /// Publishes the will now, if there is one.
    pub(crate) fn publish_will<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        let Some(will) = self.sessions[key].will.take() else { return };
        let Will { message, expiry_seconds, record, .. } = *will;
        let mut passing = Passing::from_message(&message);
        if let Some(seconds) = expiry_seconds {
            passing = passing.forget_kept();
            passing.expires_at = now.plus_seconds(seconds);
        }
        if self.may_publish(key, passing.topic, out) {
            self.publish_message(&mut passing, Some(key), &Receipt::NONE, now, out);
        }
        if let Some(record) = record {
            self.journal.kill(record, out);
        }
    }
}
