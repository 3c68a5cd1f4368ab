//! One message → each of its receivers. The hot loop of the broker.
//!
//! A frame is encoded once for each layout (version, QoS, RETAIN) and copied into each receiver's
//! buffer with its own Packet Identifier. Receivers with a Subscription Identifier or Topic Aliases get
//! a frame of their own.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::packet::publish::{PublishHead, patch_packet_id};
use mqtt_proto::property::PropertyId;
use mqtt_proto::{PacketIdentifier, QoS, Version};

use mqtt_auth::Action;

use crate::alias::Aliased;
use crate::drops::DropReason;
use crate::envelope::{Envelope, SessionAddress, Token};
use crate::ids::{Lsn, SessionKey};
use crate::limits::{OUTPUT_BYTES_MAX, OUTPUT_FLUSH_BYTES, SHARED_PAYLOAD_BYTES_MIN};
use crate::matching::Matched;
use crate::message::Passing;
use crate::notice::{Notice, SentPacket};
use crate::output::Output;
use crate::queue::QueueLimits;
use crate::session::{Flight, Kept, Online, Session};
use crate::shard::Shard;
use crate::time::Instant;

/// How a session is to be sent a message: its subscription, as far as delivery needs it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) extra: Option<Arc<GrantExtra>>,
}

/// The rarer part of a [`Grant`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GrantExtra {
    /// Subscription Identifiers, encoded as properties.
    identifiers: Box<[u8]>,
    /// The shared subscription it came through, `$share/…` included.
    pub(crate) share: Option<Box<str>>,
}

impl GrantExtra {
    /// `None` when there is nothing to say; identifier 0 stands for none.
    pub(crate) fn new(identifiers: &[u32], share: Option<&str>) -> Option<Self> {
        let mut encoded = Vec::new();
        for &identifier in identifiers.iter().filter(|identifier| **identifier != 0) {
            encoded.push(PropertyId::SubscriptionIdentifier as u8);
            mqtt_proto::codec::varint::write(&mut encoded, identifier);
        }
        Self::from_encoded(encoded, share)
    }

    /// As [`GrantExtra::new`], from identifiers that are encoded already.
    pub(crate) fn from_encoded(identifiers: Vec<u8>, share: Option<&str>) -> Option<Self> {
        let extra = Self { identifiers: identifiers.into(), share: share.map(Box::from) };
        (!extra.identifiers.is_empty() || extra.share.is_some()).then_some(extra)
    }

    /// The encoded Subscription Identifiers.
    pub(crate) fn identifiers(&self) -> &[u8] {
        &self.identifiers
    }
}

impl Grant {
    pub(crate) fn new(options: SubscriptionOptions, extra: Option<Arc<GrantExtra>>) -> Self {
        Self {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            extra,
        }
    }

    /// The encoded Subscription Identifiers.
    #[inline]
    pub(crate) fn identifiers(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.identifiers)
    }

    /// Takes over what another subscription of the same session grants for the same message.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.qos = self.qos.max(other.qos);
        self.no_local &= other.no_local;
        self.retain_as_published |= other.retain_as_published;
        if !other.identifiers().is_empty() {
            let both = [self.identifiers(), other.identifiers()].concat();
            self.extra = GrantExtra::from_encoded(both, None).map(Arc::new);
        }
    }
}

/// What became of a message on its way through the shard.
pub(crate) struct Routed {
    /// Somebody had subscribed.
    pub(crate) matched: bool,
    /// Records up to this one must be kept before the publisher is answered.
    pub(crate) need: Lsn,
    /// Other shards that will confirm.
    pub(crate) confirms: u16,
}

impl Shard {
    /// Sends a message to everyone who has subscribed, on this shard and on others.
    ///
    /// With a `token`, other shards confirm once the message is kept there.
    pub(crate) fn route<O: Output>(
        &mut self,
        message: &mut Passing<'_>,
        token: Option<Token>,
        now: Instant,
        out: &mut O,
    ) -> Routed {
        let (slot, matched) = self.matching.take(message.topic);
        let before = self.journal.appended();
        self.deliver_all(&matched, message, now, out);
        let mut confirms = 0;
        for &group in &matched.groups {
            confirms += self.deliver_to_group(group, message, token, now, out);
        }
        self.journal.close_message(message, out);
        let appended = self.journal.appended();
        for shard in matched.shards.iter() {
            let message = message.keep();
            out.to_shard(shard, Envelope::Publish { message, confirm: token });
            confirms += u16::from(token.is_some());
        }
        let is_matched = !matched.is_empty();
        self.matching.put_back(slot, matched);
        let need = if appended > before { appended } else { Lsn::default() };
        Routed { matched: is_matched, need, confirms }
    }

    /// A message from another shard: only for this shard's own subscriptions.
    pub(crate) fn route_local<O: Output>(
        &mut self,
        message: &mut Passing<'_>,
        now: Instant,
        out: &mut O,
    ) -> Lsn {
        let (slot, matched) = self.matching.take(message.topic);
        let before = self.journal.appended();
        self.deliver_all(&matched, message, now, out);
        self.journal.close_message(message, out);
        self.matching.put_back(slot, matched);
        let appended = self.journal.appended();
        if appended > before { appended } else { Lsn::default() }
    }

    fn deliver_all<O: Output>(
        &mut self,
        matched: &Matched,
        message: &mut Passing<'_>,
        now: Instant,
        out: &mut O,
    ) {
        let mut frames = core::mem::take(&mut self.frames);
        frames.begin(matched.targets.len());
        for target in &matched.targets {
            self.deliver(target.session, &target.grant, message, false, now, &mut frames, out);
        }
        self.frames = frames;
    }

    /// One member of a shared subscription gets the message (4.8.2). Returns how many other shards
    /// will confirm.
    pub(crate) fn deliver_to_group<O: Output>(
        &mut self,
        group: u32,
        message: &mut Passing<'_>,
        token: Option<Token>,
        now: Instant,
        out: &mut O,
    ) -> u16 {
        let (here, sessions) = (self.id, &self.sessions);
        let can_take = |address: SessionAddress| {
            sessions
                .get(address.key.0 as usize)
                .is_some_and(|session| session.queue.is_empty() && session.sender.has_room())
        };
        let Some((shard, to, grant)) = self.groups.choose(group, here, can_take) else { return 0 };
        if shard == self.id {
            let mut frames = Frames::default();
            self.deliver(to.key, &grant, message, false, now, &mut frames, out);
            return 0;
        }
        let message = message.keep();
        out.to_shard(shard, Envelope::Directed { to, grant, message, confirm: token });
        u16::from(token.is_some())
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
        let Some(session) = self.sessions.get_mut(key.0 as usize) else { return };
        if grant.no_local && message.publisher == Some(session.uid) {
            return;
        }
        if let Some(acl) = &self.settings.listener(session.listener).acl {
            if !acl.check(&session.who(), Action::Deliver, message.topic).is_allowed() {
                self.stats.drop(DropReason::NotAuthorized);
                return;
            }
        }
        if message.retain && !replayed && !session.replays.is_empty() {
            self.supersede(key, message.topic);
        }
        let qos =
            if self.settings.upgrade_outgoing_qos { grant.qos } else { message.qos.min(grant.qos) };
        let retain = if replayed { true } else { grant.retain_as_published && message.retain };
        let layout = Layout { qos, retain, dup: false, packet_id: None };
        if qos == QoS::AtMostOnce {
            self.deliver_qos0(key, grant, message, layout, now, frames, out);
            return;
        }
        let session = &self.sessions[key.0 as usize];
        let ready = session.online.is_some()
            && session.queue.is_empty()
            && session.sender.has_room()
            && !self.is_stuffed(key, message.payload.len(), out);
        if !ready {
            self.enqueue(key, grant, message, layout, now, out);
            return;
        }
        let kept = self.keep_for(key, grant, message, layout, out);
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
        let session = &mut self.sessions[key.0 as usize];
        let Some(online) = &mut session.online else {
            if self.settings.queue_qos0 {
                self.enqueue(key, grant, message, layout, now, out);
            } else {
                self.stats.drop(DropReason::Offline);
            }
            return;
        };
        if wire_is_full(online, out) {
            self.dropped(key, DropReason::SlowReader, out);
            return;
        }
        match write_publish(online, grant.identifiers(), message, layout, now, frames, out) {
            Ok(()) => {
                online.is_dropping = false;
                self.sent_publish(key, message.topic, message.payload.len(), layout, out);
            }
            Err(reason) => self.dropped(key, reason, out),
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
        let session = &mut self.sessions[key.0 as usize];
        let Some(online) = &mut session.online else { return };
        let size = message.payload.len() as u32;
        let stored = kept.as_ref().and_then(|kept| kept.stored);
        let packet_id = session
            .sender
            .publish(layout.qos, Flight { kept, size })
            .expect("the caller has seen room in the window");
        let layout = Layout { packet_id: Some(packet_id), ..layout };
        match write_publish(online, identifiers, message, layout, now, frames, out) {
            Ok(()) => {
                online.is_dropping = false;
                online.inflight_bytes += u64::from(size);
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
                let uid = session.uid;
                if let Some(stored) = flight.and_then(|flight| flight.kept?.stored) {
                    self.journal.complete(stored, uid, out);
                }
                self.dropped(key, reason, out);
            }
        }
    }

    /// What must be kept of a message that is sent at once: nothing for a session that ends with its
    /// connection.
    fn keep_for<O: Output>(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        layout: Layout,
        out: &mut O,
    ) -> Option<Kept> {
        let session = &self.sessions[key.0 as usize];
        let shared = grant.extra.as_ref().is_some_and(|extra| extra.share.is_some());
        if !session.is_persistent() && !shared {
            return None;
        }
        Some(self.kept(key, grant, message, layout, out))
    }

    fn kept<O: Output>(
        &mut self,
        key: SessionKey,
        grant: &Grant,
        message: &mut Passing<'_>,
        layout: Layout,
        _out: &mut O,
    ) -> Kept {
        let session = &self.sessions[key.0 as usize];
        let durable = session.is_persistent() && layout.qos > QoS::AtMostOnce;
        let stored = if durable {
            self.journal.entry(session.uid, layout.qos, layout.retain, grant.extra.as_deref())
        } else {
            None
        };
        Kept {
            message: message.keep(),
            extra: grant.extra.clone(),
            stored,
            qos: layout.qos,
            retain: layout.retain,
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
        let size = message.topic.len() + message.properties.len() + message.payload.len();
        if !self.sessions[key.0 as usize].queue.has_room(size, limits) {
            self.drop_expired(key, now, out);
            if !self.sessions[key.0 as usize].queue.has_room(size, limits) {
                self.dropped(key, DropReason::QueueFull, out);
                return;
            }
        }
        let kept = self.kept(key, grant, message, layout, out);
        self.sessions[key.0 as usize].queue.push(kept);
        self.stats.queued += 1;
        self.stats.queued_bytes += size as u64;
    }

    /// Takes expired messages out of a queue.
    pub(crate) fn drop_expired<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        let session = &mut self.sessions[key.0 as usize];
        let uid = session.uid;
        for kept in session.queue.take_expired(now) {
            self.stats.drop(DropReason::Expired);
            self.unqueued(&kept);
            if let Some(stored) = kept.stored {
                self.journal.complete(stored, uid, out);
            }
        }
    }

    /// The output buffer or the in-flight bytes leave no room for more QoS 1 and 2 messages now.
    pub(crate) fn is_stuffed<O: Output>(
        &mut self,
        key: SessionKey,
        payload_len: usize,
        out: &mut O,
    ) -> bool {
        let Some(online) = &self.sessions[key.0 as usize].online else { return true };
        let over = |max: u64| {
            online.inflight_bytes > 0 && online.inflight_bytes + payload_len as u64 > max
        };
        self.settings.inflight_bytes_max.is_some_and(over) || wire_is_full(online, out)
    }

    /// Counts a message that leaves a queue.
    pub(crate) fn unqueued(&mut self, kept: &Kept) {
        self.stats.queued -= 1;
        self.stats.queued_bytes -= kept.message.size() as u64;
    }

    /// Counts a drop and says so once.
    pub(crate) fn dropped<O: Output>(&mut self, key: SessionKey, reason: DropReason, out: &mut O) {
        self.stats.drop(reason);
        let session = &mut self.sessions[key.0 as usize];
        if let Some(online) = &mut session.online {
            if core::mem::replace(&mut online.is_dropping, true) {
                return;
            }
            out.notice(Notice::Dropping { client_id: &session.client_id, reason });
        }
    }

    #[inline]
    fn sent_publish<O: Output>(
        &mut self,
        key: SessionKey,
        topic: &str,
        payload_len: usize,
        layout: Layout,
        out: &mut O,
    ) {
        self.stats.packets_sent += 1;
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += payload_len as u64;
        if self.settings.debug {
            out.notice(Notice::Sending {
                client_id: &self.sessions[key.0 as usize].client_id,
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

/// The fixed header of one delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: Option<PacketIdentifier>,
}

/// Frame heads of the message in hand, by layout, so that each is encoded once for many receivers.
#[derive(Default)]
pub(crate) struct Frames {
    heads: [Head; 12],
    /// Bits of the heads that belong to the message in hand.
    valid: u16,
    /// Worth it only for several receivers.
    receivers: usize,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    packet_len: usize,
}

impl Frames {
    /// Another message, for this many receivers.
    pub(crate) fn begin(&mut self, receivers: usize) {
        self.valid = 0;
        self.receivers = receivers;
    }
}

/// Whether a connection reads so slowly that nothing more should be written to it now.
#[inline]
fn wire_is_full<O: Output>(online: &Online, out: &mut O) -> bool {
    out.wire(online.connection).len() > OUTPUT_FLUSH_BYTES
        && out.flush(online.connection) > OUTPUT_BYTES_MAX
}

/// Appends a PUBLISH to the connection's buffer.
pub(crate) fn write_publish<O: Output>(
    online: &mut Online,
    identifiers: &[u8],
    message: &mut Passing<'_>,
    layout: Layout,
    now: Instant,
    frames: &mut Frames,
    out: &mut O,
) -> Result<(), DropReason> {
    let version = online.version;
    let plain = !layout.dup && identifiers.is_empty() && online.aliases_out.is_off();
    let payload_len = message.payload.len();
    if plain && frames.receivers > 1 {
        let index = usize::from(version == Version::V5) * 6
            + layout.qos as usize * 2
            + usize::from(layout.retain);
        if frames.valid & (1 << index) == 0 {
            let head = &mut frames.heads[index];
            head.bytes.clear();
            frames.scratch.clear();
            push_expiry(&mut frames.scratch, version, message, now);
            let parts = head_parts(message, message.topic, layout, &frames.scratch);
            head.packet_id_at =
                parts.encode(version, &mut head.bytes).map_err(|_| DropReason::PacketTooLarge)?;
            head.packet_len = head.bytes.len() + payload_len;
            frames.valid |= 1 << index;
        }
        let head = &frames.heads[index];
        if head.packet_len > online.packet_bytes_max {
            return Err(DropReason::PacketTooLarge);
        }
        let wire = out.wire(online.connection);
        let start = wire.bytes_mut().len();
        wire.bytes_mut().extend_from_slice(&head.bytes);
        if let (Some(at), Some(packet_id)) = (head.packet_id_at, layout.packet_id) {
            patch_packet_id(&mut wire.bytes_mut()[start..], at, packet_id);
        }
    } else {
        let alias = online.aliases_out.look_up(message.topic);
        let own = &mut frames.scratch;
        own.clear();
        own.extend_from_slice(if version == Version::V5 { identifiers } else { &[] });
        push_expiry(own, version, message, now);
        if let Aliased::New(alias) | Aliased::Known(alias) = alias {
            own.push(PropertyId::TopicAlias as u8);
            own.extend_from_slice(&alias.to_be_bytes());
        }
        let topic = if let Aliased::Known(_) = alias { "" } else { message.topic };
        let head = head_parts(message, topic, layout, own);
        match head.packet_len(version) {
            Some(len) if len <= online.packet_bytes_max => {}
            _ => return Err(DropReason::PacketTooLarge),
        }
        let wire = out.wire(online.connection).bytes_mut();
        head.encode(version, wire).map_err(|_| DropReason::PacketTooLarge)?;
        if let Aliased::New(_) = alias {
            online.aliases_out.commit(message.topic);
        }
    }
    if payload_len >= SHARED_PAYLOAD_BYTES_MIN && frames.receivers > 1 {
        let kept = message.keep();
        out.wire(online.connection).push_payload(kept);
    } else {
        out.wire(online.connection).bytes_mut().extend_from_slice(message.payload);
    }
    Ok(())
}

#[inline]
fn head_parts<'h>(
    message: &'h Passing<'_>,
    topic: &'h str,
    layout: Layout,
    own: &'h [u8],
) -> PublishHead<'h> {
    PublishHead {
        dup: layout.dup,
        qos: layout.qos,
        retain: layout.retain,
        topic,
        packet_id: match layout.qos {
            QoS::AtMostOnce => None,
            // The shared head gets a place for the identifier, patched for each receiver.
            _ => layout.packet_id,
        },
        properties: [own, message.properties],
        payload_len: message.payload.len(),
    }
}

/// The Message Expiry Interval that is left [MQTT-3.3.2-6].
#[inline]
fn push_expiry(own: &mut Vec<u8>, version: Version, message: &Passing<'_>, now: Instant) {
    if version == Version::V5 && message.expires_at < Instant::NEVER {
        let left = now.seconds_until(message.expires_at).min(u64::from(u32::MAX)) as u32;
        own.push(PropertyId::MessageExpiryInterval as u8);
        own.extend_from_slice(&left.to_be_bytes());
    }
}

/// Ends an exchange that was never put on the wire.
fn abandon(
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
