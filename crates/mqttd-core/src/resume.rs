//! What a session is sent beyond the message in hand: again after a reconnect (MQTT 4.4), and from
//! its queue whenever there is room.

use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_auth::Action;
use mqtt_proto::packet::{Ack, PacketType};
use mqtt_proto::qos::Resend;
use mqtt_proto::{PacketIdentifier, QoS, ReasonCode};

use crate::acknowledge::Wait;
use crate::deliver::abandon;
use crate::drops::DropReason;
use crate::frames::{Frames, Layout, write_publish};
use crate::ids::{Lsn, SessionKey};
use crate::message::Passing;
use crate::output::Output;
use crate::session::{Flight, Kept};
use crate::shard::Shard;
use crate::time::Instant;

impl Shard {
    /// On a new connection of an old session: everything unacknowledged again, in the original
    /// order and with the original identifiers [MQTT-4.4.0-1]. PUBREL speaks of records up to
    /// `told`.
    pub(crate) fn resend<O: Output>(
        &mut self,
        key: SessionKey,
        told: Lsn,
        now: Instant,
        out: &mut O,
    ) {
        // What is owed instead goes out with the rest.
        self.drop_denied_flights(key, out);
        let session = &mut self.sessions[key];
        let mut expired = Vec::new();
        for flight in session.sender.iter() {
            let kept = flight.message.and_then(|flight| flight.kept.as_ref());
            // A QoS 2 message that was sent does not expire any more [MQTT-4.3.3-7].
            if flight.qos == QoS::AtLeastOnce && kept.is_some_and(|kept| kept.has_expired(now)) {
                expired.push(flight.id);
            }
        }
        for packet_id in expired {
            self.abandon_flight(key, QoS::AtLeastOnce, packet_id, DropReason::Expired, out);
        }
        self.resend_with(key, told, now, out, true);
    }

    /// Resends what the window allows: all from the start, or what is still owed.
    fn resend_with<O: Output>(
        &mut self,
        key: SessionKey,
        told: Lsn,
        now: Instant,
        out: &mut O,
        from_start: bool,
    ) {
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        let mut frames = Frames::default();
        let stats = &mut self.stats;
        let mut unsendable = Vec::new();
        let (journal, records) = (&self.journal, session.records.as_deref());
        // PUBRELs whose record is not kept yet, and those behind them [MQTT-4.6.0-4].
        let mut releases = Vec::new();
        let send = |resend: Resend<'_, Flight>| match resend {
            Resend::Publish { id, qos, message: flight } => {
                let Some(kept) = &flight.kept else { return };
                let retain = kept.how.retain();
                let layout = Layout { qos, retain, dup: true, packet_id: Some(id) };
                let identifiers = kept.extra.as_ref().map_or(&[][..], |extra| extra.identifiers());
                let mut message = Passing::from_message(&kept.message);
                online.inflight_bytes.up(u64::from(flight.size));
                let written =
                    write_publish(online, identifiers, &mut message, layout, now, &mut frames, out);
                match written {
                    Ok(()) => {
                        online.messages.sent.up(1);
                        stats.packets_sent.up(1);
                        stats.publish_sent.up(1);
                        stats.publish_bytes_sent.up(u64::from(flight.size));
                    }
                    Err(reason) => unsendable.push((id, qos, reason)),
                }
            }
            Resend::Release { id } => {
                let record = records.and_then(|records| records.sent.get(&id));
                let wait = record.map(|record| journal.as_told_by(*record, out));
                let wait = wait.map(|wait| Wait { need: told, ..wait }).unwrap_or_default();
                if !releases.is_empty() || !wait.is_over(journal.durable()) {
                    releases.push((id, wait));
                    return;
                }
                #[allow(clippy::expect_used, reason = "no properties")]
                Ack::success(id)
                    .encode(
                        PacketType::Pubrel,
                        online.version,
                        out.wire(online.connection).bytes_mut(),
                    )
                    .expect("a PUBREL without properties fits");
                stats.packets_sent.up(1);
            }
        };
        if from_start {
            session.sender.resend(send);
        } else {
            session.sender.resend_more(send);
        }
        for (packet_id, wait) in releases {
            let ack = (packet_id, ReasonCode::Success);
            self.acknowledge(key, PacketType::Pubrel, ack, wait, out);
        }
        // The Client came back with a smaller Maximum Packet Size [MQTT-3.1.2-25].
        for (packet_id, qos, reason) in unsendable {
            self.abandon_flight(key, qos, packet_id, reason, out);
        }
    }

    /// Ends an exchange from this side.
    fn abandon_flight<O: Output>(
        &mut self,
        key: SessionKey,
        qos: QoS,
        packet_id: PacketIdentifier,
        reason: DropReason,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        let flight = abandon(&mut session.sender, qos, packet_id);
        self.journal.completed(&mut session.records, packet_id, out);
        let kept = flight.as_ref().and_then(|flight| flight.kept.as_ref());
        let message = kept.map(|kept| Arc::clone(&kept.message));
        if let Some(flight) = flight {
            self.landed(key, flight, out);
        }
        let topic = message.as_ref().map_or("", |message| message.topic());
        self.dropped(key, reason, topic, out);
    }

    /// Sends what waits, as far as window and buffer allow.
    pub(crate) fn pump<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        while self.sessions[key].sender.owed() > 0 {
            let before = self.sessions[key].sender.owed();
            self.resend_with(key, self.journal.appended(), now, out, false);
            if self.sessions[key].sender.owed() == before {
                break;
            }
        }
        loop {
            let session = &self.sessions[key];
            let Some(front) = session.queue.front() else { break };
            let window = front.how.qos() == QoS::AtMostOnce || session.sender.has_room();
            let size = front.message.payload().len();
            if !front.has_expired(now) && (!window || self.is_stuffed(key, size, out)) {
                return;
            }
            let session = &mut self.sessions[key];
            let Some(kept) = session.queue.pop() else { break };
            self.unqueued(&kept);
            if kept.has_expired(now) {
                self.dropped(key, DropReason::Expired, kept.message.topic(), out);
                self.journal.complete(&kept, out);
                continue;
            }
            self.send_queued(key, kept, now, out);
        }
        self.pump_replays(key, now, out);
    }

    fn send_queued<O: Output>(&mut self, key: SessionKey, kept: Kept, now: Instant, out: &mut O) {
        let session = &self.sessions[key];
        // The rights may have changed since it was queued.
        let listener = self.settings.listener(session.listener);
        if !listener.allows(&session.who(), Action::Deliver, kept.message.topic()) {
            self.note_drop(key, DropReason::NotAuthorized, kept.message.topic());
            self.journal.complete(&kept, out);
            return;
        }
        let message = Arc::clone(&kept.message);
        let extra = kept.extra.clone();
        let identifiers = extra.as_ref().map_or(&[][..], |extra| extra.identifiers());
        let (qos, retain) = (kept.how.qos(), kept.how.retain());
        let layout = Layout { qos, retain, dup: false, packet_id: None };
        let mut passing = Passing::from_message(&message);
        let mut frames = core::mem::take(&mut self.frames);
        frames.begin(1);
        if qos > QoS::AtMostOnce {
            let kept = Some(kept);
            self.publish_to(key, kept, identifiers, &mut passing, layout, now, &mut frames, out);
            self.frames = frames;
            return;
        }
        let Some(online) = &mut self.sessions[key].online else { return };
        let written =
            write_publish(online, identifiers, &mut passing, layout, now, &mut frames, out);
        self.frames = frames;
        match written {
            Ok(()) => {
                online.is_dropping = false;
                online.messages.sent.up(1);
                self.sent_publish(key, message.topic(), message.payload().len(), layout, out);
            }
            Err(reason) => self.dropped(key, reason, message.topic(), out),
        }
    }
}
