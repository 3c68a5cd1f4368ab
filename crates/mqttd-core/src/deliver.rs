//! One message → each of its receivers. The hot loop of the broker. What a frame looks like stands
//! in
//! `frames.rs`.

use mqtt_auth::Action;
use mqtt_proto::count::Count;
use mqtt_proto::{PacketIdentifier, QoS};

use crate::acknowledge::Wait;
use crate::drops::DropReason;
use crate::envelope::{Envelope, SessionAddress, Token};
use crate::exchange::Receipt;
use crate::frames::{Frames, Layout, qos0_backlog_max, wire_is_full, write_publish};
use crate::grant::{Grant, NoLocal};
use crate::ids::{Lsn, SessionKey, ShardId};
use crate::limits::{OUTPUT_BYTES_MAX, SHARED_PAYLOAD_BYTES_MIN};
use crate::matching::{Matched, ShardSet};
use crate::message::Passing;
use crate::notice::{Notice, SentPacket};
use crate::output::Output;
use crate::queue::QueueLimits;
use crate::record::{Origin, Reached};
use crate::session::{Flight, How, Kept, Session};
use crate::shard::Shard;
use crate::time::Instant;

/// What became of a message on its way through the shard.
pub(crate) struct Routed {
    /// Somebody had subscribed.
    pub(crate) matched: bool,
    /// What the publisher's answer waits for.
    pub(crate) wait: Wait,
}

impl Shard {
    /// Sends a message to everyone who has subscribed, on this shard and on others.
    ///
    /// With a token, other shards confirm once the message is kept there.
    pub(crate) fn route<O: Output>(
        &mut self,
        message: &mut Passing<'_>,
        receipt: &Receipt,
        now: Instant,
        out: &mut O,
    ) -> Routed {
        let (slot, matched) = self.matching.take(message.topic);
        let before = self.journal.appended();
        self.deliver_all(&matched, message, receipt.reached.as_deref(), now, out);
        let mut confirms = 0;
        for &group in &matched.groups {
            confirms.up(self.deliver_to_group(group, message, receipt, now, out));
        }
        let mut origin = receipt.origin;
        if let Some(known) = &origin {
            self.exchanges.sent(known, matched.shards);
            // What this shard alone has to do with is one batch of its log.
            if confirms == 0 && matched.shards.is_empty() && !self.is_retained_elsewhere(message) {
                origin = None;
            }
        }
        self.journal.close_message(message, origin, out);
        let appended = self.journal.appended();
        if !matched.shards.is_empty() {
            confirms.up(send_to(matched.shards, message, origin, receipt, out));
        }
        let is_matched = !matched.is_empty();
        self.matching.put_back(slot, matched);
        let need = if appended > before { appended } else { Lsn::default() };
        Routed { matched: is_matched, wait: Wait { confirms, ..Wait::for_log(need) } }
    }

    /// A message from another shard: only for this shard's own subscriptions. `confirm` is answered
    /// once it is kept where it must be.
    #[inline(never)]
    pub(crate) fn route_from<O: Output>(
        &mut self,
        from: ShardId,
        message: &mut Passing<'_>,
        receipt: &Receipt,
        confirm: Option<Token>,
        now: Instant,
        out: &mut O,
    ) {
        let (slot, matched) = self.matching.take(message.topic);
        let before = self.journal.appended();
        self.deliver_all(&matched, message, receipt.reached.as_deref(), now, out);
        self.journal.close_message(message, receipt.origin, out);
        self.matching.put_back(slot, matched);
        if let Some(token) = confirm {
            let appended = self.journal.appended();
            let need = if appended > before { appended } else { Lsn::default() };
            self.confirm(from, token, Wait::for_log(need), out);
        }
    }

    fn deliver_all<O: Output>(
        &mut self,
        matched: &Matched,
        message: &mut Passing<'_>,
        reached: Option<&Reached>,
        now: Instant,
        out: &mut O,
    ) {
        let mut frames = core::mem::take(&mut self.frames);
        frames.begin(matched.targets.len());
        for target in &matched.targets {
            if reached.is_some_and(|reached| self.has_reached(reached, target.session)) {
                continue;
            }
            self.deliver(target.session, &target.grant, message, false, now, &mut frames, out);
        }
        self.frames = frames;
    }

    #[cold]
    fn has_reached(&self, reached: &Reached, key: SessionKey) -> bool {
        let session = self.sessions.find(key);
        session.is_some_and(|session| reached.sessions.contains(&session.uid))
    }

    /// To one session.
    pub(crate) fn deliver_to_one<O: Output>(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        now: Instant,
        out: &mut O,
    ) {
        let mut frames = core::mem::take(&mut self.frames);
        frames.begin(1);
        self.deliver(key, grant, message, false, now, &mut frames, out);
        self.frames = frames;
    }

    /// One member of a shared subscription gets the message (4.8.2). Returns how many other shards
    /// will confirm.
    pub(crate) fn deliver_to_group<O: Output>(
        &mut self,
        group: u32,
        message: &mut Passing<'_>,
        receipt: &Receipt,
        now: Instant,
        out: &mut O,
    ) -> u16 {
        if let Some(reached) = &receipt.reached {
            if reached.shares.iter().any(|share| self.groups.find(share) == Some(group)) {
                return 0;
            }
        }
        let (here, sessions) = (self.id, &self.sessions);
        let can_take = |address: SessionAddress| {
            sessions
                .find(address.key)
                .is_some_and(|session| session.queue.is_empty() && session.sender.has_room())
        };
        let Some((shard, to, grant)) = self.groups.choose(group, here, can_take) else { return 0 };
        if shard == self.id {
            self.deliver_to_one(to.key, &grant, message, now, out);
            return 0;
        }
        let message = message.keep();
        let (confirm, origin) = (receipt.token, receipt.origin);
        if let Some(origin) = &origin {
            self.exchanges.sent(origin, ShardSet::of(shard));
        }
        out.to_shard(shard, Envelope::Directed { to, grant, message, confirm, origin });
        u16::from(confirm.is_some())
    }

    /// One message to one session: now, later, or dropped with a reason.
    ///
    /// `replayed`: it is a retained message sent because of a new subscription.
    #[allow(
        clippy::too_many_arguments,
        reason = "the loop's state, not worth a struct per message"
    )]
    #[inline]
    pub(crate) fn deliver<O: Output>(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        replayed: bool,
        now: Instant,
        frames: &mut Frames,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        let mut grant = grant;
        if grant.no_local != NoLocal::Never && message.publisher == Some(session.uid) {
            let Some(own) = grant.for_own() else { return };
            grant = own;
        }
        let listener = self.settings.listener(session.listener);
        if !listener.is_open() && !listener.allows(&session.who(), Action::Deliver, message.topic) {
            self.stats.drop(DropReason::NotAuthorized);
            return;
        }
        let qos =
            if self.settings.upgrade_outgoing_qos { grant.qos } else { message.qos.min(grant.qos) };
        if message.retain && !replayed && !session.replays.is_empty() {
            // Unless it is lost right here, so that the replay is the only way to the value.
            let is_kept = qos > QoS::AtMostOnce || self.settings.queue_qos0;
            if session.online.is_some() || is_kept {
                self.supersede(key, message.topic);
            }
        }
        let retain = if replayed { true } else { grant.retain_as_published && message.retain };
        let layout = Layout { qos, retain, dup: false, packet_id: None };
        if qos == QoS::AtMostOnce {
            self.deliver_qos0(key, grant, message, layout, now, frames, out);
            return;
        }
        let session = &self.sessions[key];
        let ready = session.online.is_some()
            && session.queue.is_empty()
            && session.sender.has_room()
            && !self.is_stuffed(key, message.payload.len(), out);
        if !ready {
            self.enqueue(key, grant, message, layout, now, out);
            return;
        }
        let kept = self.keep_for(key, grant, message, layout);
        self.publish_to(key, kept, grant.identifiers(), message, layout, now, frames, out);
    }

    #[allow(clippy::too_many_arguments, reason = "see `deliver`")]
    #[inline]
    fn deliver_qos0<O: Output>(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        layout: Layout,
        now: Instant,
        frames: &mut Frames,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        // One that waits already is not overtaken [MQTT-4.6.0-6].
        let waits = session.queue.holds_qos0();
        let Some(online) = session.online.as_mut().filter(|_| !waits) else {
            if self.settings.queue_qos0 || waits {
                self.enqueue(key, grant, message, layout, now, out);
            } else {
                self.stats.drop(DropReason::Offline);
            }
            return;
        };
        let backlog_max = qos0_backlog_max(&self.settings, message.payload.len());
        if wire_is_full(online, backlog_max, out) {
            self.dropped(key, DropReason::SlowReader, message.topic, out);
            return;
        }
        match write_publish(online, grant.identifiers(), message, layout, now, frames, out) {
            Ok(()) => {
                online.is_dropping = false;
                online.messages.sent.up(1);
                self.sent_publish(key, message.topic, message.payload.len(), layout, out);
            }
            Err(reason) => self.dropped(key, reason, message.topic, out),
        }
    }

    /// Sends a QoS 1 or 2 message in the sender's window, which has room.
    #[allow(clippy::too_many_arguments, reason = "see `deliver`")]
    pub(crate) fn publish_to<O: Output>(
        &mut self,
        key: SessionKey,
        kept: Option<Kept>,
        identifiers: &[u8],
        message: &mut Passing<'_>,
        layout: Layout,
        now: Instant,
        frames: &mut Frames,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        let size = message.payload.len() as u32;
        let stored = kept.as_ref().and_then(|kept| Some((kept.stored?, kept.how.entry())));
        #[allow(clippy::expect_used, reason = "the caller has seen room in the window")]
        let packet_id = session
            .sender
            .publish(layout.qos, Flight { kept, size })
            .expect("the caller has seen room in the window");
        let layout = Layout { packet_id: Some(packet_id), ..layout };
        match write_publish(online, identifiers, message, layout, now, frames, out) {
            Ok(()) => {
                online.is_dropping = false;
                online.messages.sent.up(1);
                online.inflight_bytes.up(u64::from(size));
                if let Some(stored) = stored {
                    if layout.qos == QoS::ExactlyOnce {
                        self.journal.sent(
                            &mut session.records,
                            session.uid,
                            packet_id,
                            stored,
                            out,
                        );
                    }
                }
                self.sent_publish(key, message.topic, message.payload.len(), layout, out);
            }
            Err(reason) => {
                // Never sent, so the identifier is free again at once.
                let flight = abandon(&mut session.sender, layout.qos, packet_id);
                if let Some(kept) = flight.and_then(|flight| flight.kept) {
                    self.journal.complete(&kept, out);
                }
                self.dropped(key, reason, message.topic, out);
            }
        }
    }

    /// What must be kept of a message that is sent at once: nothing for a session that ends with
    /// its connection.
    fn keep_for(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        layout: Layout,
    ) -> Option<Kept> {
        let session = &self.sessions[key];
        let shared = grant.extra.as_ref().is_some_and(|extra| extra.share.is_some());
        if !session.is_persistent() && !shared {
            return None;
        }
        Some(self.kept(key, grant, message, layout))
    }

    fn kept(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        layout: Layout,
    ) -> Kept {
        let session = &self.sessions[key];
        let durable = session.is_persistent() && layout.qos > QoS::AtMostOnce;
        let stored = if durable {
            self.journal.entry(session.uid, layout.qos, layout.retain, grant.extra.as_deref())
        } else {
            None
        };
        let entry = stored.map_or(0, |(_, entry)| entry);
        Kept {
            message: message.keep(),
            extra: grant.extra.clone(),
            stored: stored.map(|(key, _)| key),
            how: How::new(layout.qos, layout.retain, entry),
        }
    }

    fn enqueue<O: Output>(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        layout: Layout,
        now: Instant,
        out: &mut O,
    ) {
        let limits = QueueLimits {
            messages: self.settings.queued_messages_max,
            bytes: self.settings.queued_bytes_max,
        };
        let size = message.size();
        if !self.sessions[key].queue.has_room(size, limits) {
            self.drop_expired(key, now, out);
            if !self.sessions[key].queue.has_room(size, limits) {
                self.dropped(key, DropReason::QueueFull, message.topic, out);
                return;
            }
        }
        let kept = self.kept(key, grant, message, layout);
        self.sessions[key].queue.push(kept);
        if message.expires_at < Instant::NEVER {
            self.start_queue_sweep(now);
        }
        self.stats.queued.up(1);
        self.stats.queued_bytes.up(size as u64);
    }

    /// Takes expired messages out of a queue.
    pub(crate) fn drop_expired<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        for kept in self.sessions[key].queue.take_expired(now) {
            self.note_drop(key, DropReason::Expired, kept.message.topic());
            self.unqueued(&kept);
            self.journal.complete(&kept, out);
        }
    }

    /// The output buffer or the in-flight bytes leave no room for more QoS 1 and 2 messages now.
    pub(crate) fn is_stuffed<O: Output>(
        &mut self,
        key: SessionKey,
        payload_len: usize,
        out: &mut O,
    ) -> bool {
        let Some(online) = &self.sessions[key].online else { return true };
        let over = |max: u64| {
            online.inflight_bytes > 0
                && online.inflight_bytes.saturating_add(payload_len as u64) > max
        };
        self.settings.inflight_bytes_max.is_some_and(over)
            || wire_is_full(online, OUTPUT_BYTES_MAX, out)
    }

    /// Counts a message that leaves a queue.
    pub(crate) fn unqueued(&mut self, kept: &Kept) {
        self.stats.queued.down(1);
        self.stats.queued_bytes.down(kept.message.size() as u64);
    }

    /// Counts and remembers a drop.
    #[cold]
    pub(crate) fn note_drop(&mut self, key: SessionKey, reason: DropReason, topic: &str) {
        self.stats.drop(reason);
        let session = &mut self.sessions[key];
        if let Some(count) = session.dropped.get_or_insert_default().get_mut(reason as usize) {
            count.up(1);
        }
        self.drops.add(self.now, reason, &session.client_id, topic);
    }

    /// Counts a drop and says so once.
    pub(crate) fn dropped<O: Output>(
        &mut self,
        key: SessionKey,
        reason: DropReason,
        topic: &str,
        out: &mut O,
    ) {
        self.note_drop(key, reason, topic);
        let session = &mut self.sessions[key];
        if let Some(online) = &mut session.online {
            if core::mem::replace(&mut online.is_dropping, true) {
                return;
            }
            out.notice(Notice::Dropping { client_id: &session.client_id, reason });
        }
    }

    #[inline]
    pub(crate) fn sent_publish<O: Output>(
        &mut self,
        key: SessionKey,
        topic: &str,
        payload_len: usize,
        layout: Layout,
        out: &mut O,
    ) {
        self.stats.packets_sent.up(1);
        self.stats.publish_sent.up(1);
        self.stats.publish_bytes_sent.up(payload_len as u64);
        if self.settings.debug {
            out.notice(Notice::Sending {
                client_id: &self.sessions[key].client_id,
                packet: SentPacket::Publish {
                    dup: layout.dup,
                    qos: layout.qos,
                    retain: layout.retain,
                    packet_id: layout.packet_id.map_or(0, PacketIdentifier::get),
                    topic,
                    bytes: payload_len,
                },
            });
        }
    }
}

/// Sends a message to other shards. Returns how many will confirm.
#[inline(never)]
fn send_to<O: Output>(
    shards: ShardSet,
    message: &mut Passing<'_>,
    origin: Option<Origin>,
    receipt: &Receipt,
    out: &mut O,
) -> u16 {
    let confirm = receipt.token;
    let mut confirms = 0;
    for shard in shards.iter() {
        confirms.up(u16::from(confirm.is_some()));
        let is_small = message.payload.len() < SHARED_PAYLOAD_BYTES_MIN;
        if is_small && message.kept.is_none() && origin.is_none() && receipt.reached.is_none() {
            out.message_to_shard(shard, message, confirm);
        } else {
            let (message, reached) = (message.keep(), receipt.reached.clone());
            out.to_shard(shard, Envelope::Publish { message, confirm, origin, reached });
        }
    }
    confirms
}

/// Ends an exchange that was never put on the wire.
pub(crate) fn abandon(
    sender: &mut mqtt_proto::qos::Sender<Flight>,
    qos: QoS,
    packet_id: PacketIdentifier,
) -> Option<Flight> {
    use mqtt_proto::qos::PubrecOutcome;
    if qos == QoS::AtLeastOnce {
        return sender.puback(packet_id).ok();
    }
    match sender.pubrec(packet_id, true) {
        Ok(PubrecOutcome::Refused(flight)) => flight,
        _ => None,
    }
}

/// The address of a session for other shards.
pub(crate) fn address(key: SessionKey, session: &Session) -> SessionAddress {
    SessionAddress { key, uid: session.uid }
}
