//! PUBLISH on its way to the wire: a frame is encoded once for each layout (version, QoS, RETAIN)
//! and copied into each receiver's buffer with its own Packet Identifier. Receivers with a
//! Subscription Identifier or Topic Aliases get a frame of their own.

use alloc::vec::Vec;

use mqtt_proto::packet::publish::{PublishHead, patch_packet_id};
use mqtt_proto::property::PropertyId;
use mqtt_proto::{PacketIdentifier, QoS, Version};

use crate::alias::Aliased;
use crate::drops::DropReason;
use crate::limits::{
    OUTPUT_BACKLOG_MAX, OUTPUT_BYTES_MAX, OUTPUT_FLUSH_BYTES, SHARED_PAYLOAD_BYTES_MIN,
};
use crate::message::Passing;
use crate::mount;
use crate::output::Output;
use crate::session::Online;
use crate::settings::Settings;
use crate::time::Instant;

/// The fixed header of one delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: Option<PacketIdentifier>,
}

/// Layouts: two forms of properties, QoS in two bits, RETAIN or not; a bit of `valid` for each.
const HEADS: usize = 16;

/// Frame heads of the message in hand, by layout, so that each is encoded once for many receivers.
#[derive(Default)]
pub(crate) struct Frames {
    /// [`HEADS`] of them, from the first message for several receivers on.
    heads: Vec<Head>,
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
        if receivers > 1 && self.heads.is_empty() {
            self.heads.resize_with(HEADS, Head::default);
        }
    }
}

/// Whether a connection reads so slowly that more than `max` bytes wait for it.
#[inline]
pub(crate) fn wire_is_full<O: Output>(online: &Online, max: usize, out: &mut O) -> bool {
    out.wire(online.connection).len() > OUTPUT_FLUSH_BYTES && out.flush(online.connection) > max
}

/// Bytes that may wait for a connection before a QoS 0 message with a payload of `len` is dropped.
#[inline]
pub(crate) fn qos0_backlog_max(settings: &Settings, len: usize) -> usize {
    let count = settings.queued_messages_max.map_or(usize::MAX, |max| max as usize);
    let bytes = count.saturating_mul(len).clamp(OUTPUT_BYTES_MAX, OUTPUT_BACKLOG_MAX);
    match settings.queued_bytes_max {
        Some(max) => bytes.min((max as usize).max(OUTPUT_FLUSH_BYTES)),
        None => bytes,
    }
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
    let plain = !layout.dup
        && identifiers.is_empty()
        && online.aliases.writes_none()
        && online.mount().is_none();
    let payload_len = message.payload.len();
    let index = usize::from(version == Version::V5) << 3
        | (layout.qos as usize) << 1
        | usize::from(layout.retain);
    let head = if plain && frames.receivers > 1 { frames.heads.get_mut(index) } else { None };
    if let Some(head) = head {
        if frames.valid & (1 << index) == 0 {
            head.bytes.clear();
            frames.scratch.clear();
            push_expiry(&mut frames.scratch, version, message, now);
            let parts = head_parts(message, message.topic, layout, &frames.scratch);
            head.packet_id_at =
                parts.encode(version, &mut head.bytes).map_err(|_| DropReason::PacketTooLarge)?;
            head.packet_len = head.bytes.len().saturating_add(payload_len);
            frames.valid |= 1 << index;
        }
        if head.packet_len > online.packet_bytes_max as usize {
            return Err(DropReason::PacketTooLarge);
        }
        let wire = out.wire(online.connection);
        let start = wire.bytes_mut().len();
        wire.bytes_mut().extend_from_slice(&head.bytes);
        if let (Some(at), Some(packet_id)) = (head.packet_id_at, layout.packet_id) {
            let copy = wire.bytes_mut().get_mut(start..).unwrap_or_default();
            patch_packet_id(copy, at, packet_id);
        }
    } else {
        let shown = mount::take_off(online.mount(), message.topic);
        let alias = online.aliases.look_up(shown);
        let own = &mut frames.scratch;
        own.clear();
        own.extend_from_slice(if version == Version::V5 { identifiers } else { &[] });
        push_expiry(own, version, message, now);
        if let Aliased::New(alias) | Aliased::Known(alias) = alias {
            own.push(PropertyId::TopicAlias as u8);
            own.extend_from_slice(&alias.to_be_bytes());
        }
        let topic = if let Aliased::Known(_) = alias { "" } else { shown };
        let head = head_parts(message, topic, layout, own);
        match head.packet_len(version) {
            Some(len) if len <= online.packet_bytes_max as usize => {}
            _ => return Err(DropReason::PacketTooLarge),
        }
        let wire = out.wire(online.connection).bytes_mut();
        head.encode(version, wire).map_err(|_| DropReason::PacketTooLarge)?;
        if let Aliased::New(_) = alias {
            online.aliases.commit(shown);
        }
    }
    if payload_len >= SHARED_PAYLOAD_BYTES_MIN && (frames.receivers > 1 || message.kept.is_some()) {
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
