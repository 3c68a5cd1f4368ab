//! What the driver sends: acknowledgements that are due and requests in their order, as far as the
//! window and the output have room. When a turn begins and ends is decided in [`super`].

use mqtt_proto::packet::publish::PublishHead;
use mqtt_proto::packet::{Ack, Subscribe, SubscribeFilters};
use mqtt_proto::qos::Resend;
use mqtt_proto::{EncodeError, Packet, PacketIdentifier, QoS};

use super::{Driver, UNWRITTEN_MAX};
use crate::client::{Command, Pending, Subscribing, Unsubscribing};
use crate::error::RequestError;
use crate::link::Link;
use crate::session::Request;

impl Driver {
    pub(super) fn send_acks(&mut self, link: &mut Link, now: u64) {
        self.shared.take_acks(&mut self.acks);
        for ack in self.acks.drain(..) {
            if !self.session.on_read(ack.packet_id, ack.session) {
                continue;
            }
            let packet = Ack::success(ack.packet_id);
            let packet = match ack.qos {
                QoS::ExactlyOnce => Packet::Pubrec(packet),
                _ => Packet::Puback(packet),
            };
            send_small(link, &packet, now);
        }
    }

    /// Sends what was asked for, in order, until the window or the output is full.
    pub(super) fn send_commands(&mut self, link: &mut Link, now: u64) {
        self.held.extend(self.taken.drain(..));
        while link.unwritten() < UNWRITTEN_MAX {
            let Some(command) = self.held.pop_front() else { return };
            let unsent = match command {
                Command::Publish(pending) => self.send_publish(link, pending, now),
                Command::Subscribe(request) => self.send_subscribe(link, request, now),
                Command::Unsubscribe(request) => self.send_unsubscribe(link, request, now),
                Command::Reauthenticate(reply) => {
                    self.send_reauthenticate(link, reply, now);
                    None
                }
            };
            if let Some(command) = unsent {
                self.held.push_front(command);
                return;
            }
        }
    }

    /// Gives the message back when there is no room for it yet.
    fn send_publish(&mut self, link: &mut Link, pending: Pending, now: u64) -> Option<Command> {
        let Pending { publish, reply } = pending;
        let needs_exchange = publish.qos > QoS::AtMostOnce;
        if needs_exchange && (!self.session.sender.has_room() || self.session.has_open_request()) {
            return Some(Command::Publish(Pending { publish, reply }));
        }
        if let Err(error) = may_publish(link, &publish) {
            reply.map(|reply| reply.send(Err(error)));
            return None;
        }
        if !needs_exchange {
            let sent = link.send(&Packet::Publish(publish.as_packet(None, false)), now);
            match (sent, reply) {
                (Ok(()), Some(reply)) => link.reply_when_written(reply),
                (Err(error), Some(reply)) => drop(reply.send(Err(error))),
                (_, None) => {}
            }
            return None;
        }
        let qos = publish.qos;
        let kept = Pending { publish: publish.clone(), reply };
        let id = self.session.sender.publish(qos, kept);
        if id.is_some() {
            // It was checked above; should it fail all the same, the exchange is sent again with
            // the next connection.
            let _ = link.send(&Packet::Publish(publish.as_packet(id, false)), now);
        }
        None
    }

    fn send_subscribe(
        &mut self,
        link: &mut Link,
        request: Subscribing,
        now: u64,
    ) -> Option<Command> {
        let Some(packet_id) = self.session.free_id() else {
            return Some(Command::Subscribe(request));
        };
        match subscribe_packet(&request, packet_id, &mut self.scratch)
            .and_then(|packet| link.send(&Packet::Subscribe(packet), now))
        {
            Ok(()) => self.session.open_request(packet_id, Request::Subscribe(request)),
            Err(error) => drop(request.reply.map(|reply| reply.send(Err(error)))),
        }
        None
    }

    fn send_unsubscribe(
        &mut self,
        link: &mut Link,
        request: Unsubscribing,
        now: u64,
    ) -> Option<Command> {
        let Some(packet_id) = self.session.free_id() else {
            return Some(Command::Unsubscribe(request));
        };
        match request
            .as_packet(packet_id, &mut self.scratch)
            .and_then(|packet| link.send(&Packet::Unsubscribe(packet), now))
        {
            Ok(()) => self.session.open_request(packet_id, Request::Unsubscribe(request)),
            Err(error) => drop(request.reply.send(Err(error))),
        }
        None
    }
}

/// The rules that decide about a message before it gets an identifier.
fn may_publish(link: &Link, publish: &crate::Publish) -> Result<(), RequestError> {
    let packet_id = match publish.qos {
        QoS::AtMostOnce => None,
        _ => PacketIdentifier::new(1),
    };
    let packet = publish.as_packet(packet_id, false);
    let head = PublishHead {
        dup: false,
        qos: packet.qos,
        retain: packet.retain,
        topic: packet.topic,
        packet_id,
        properties: [packet.properties.as_bytes(), &[]],
        payload_len: packet.payload.len(),
    };
    let version = link.connection.version();
    let len = head.packet_len(version).ok_or(EncodeError::PacketTooLarge)?;
    Ok(link.connection.may_send(&Packet::Publish(packet), len)?)
}

pub(super) fn send_again(link: &mut Link, resend: Resend<'_, Pending>, now: u64) {
    match resend {
        Resend::Publish { id, message, .. } => {
            let packet = message.publish.as_packet(Some(id), true);
            // The Server may have grown stricter; the exchange stays open then, as it must.
            let _ = link.send(&Packet::Publish(packet), now);
        }
        Resend::Release { id } => send_small(link, &Packet::Pubrel(Ack::success(id)), now),
    }
}

/// Sends a packet of a few bytes, which no limit can forbid while the connection is open. When it
/// is closing already the packet means nothing any more.
pub(super) fn send_small(link: &mut Link, packet: &Packet<'_>, now: u64) {
    let _ = link.send(packet, now);
}

fn subscribe_packet<'a>(
    request: &'a Subscribing,
    packet_id: PacketIdentifier,
    bytes: &'a mut Vec<u8>,
) -> Result<Subscribe<'a>, RequestError> {
    bytes.clear();
    for (filter, options) in &request.subscription.filters {
        mqtt_proto::packet::subscribe::push_filter(bytes, filter, *options)?;
    }
    Ok(Subscribe {
        packet_id,
        properties: request.subscription.properties.as_properties(),
        filters: SubscribeFilters::from_pushed(bytes),
    })
}
