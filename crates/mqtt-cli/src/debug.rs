//! `-d`: a line for each packet, in Mosquitto's words.

use std::sync::{Arc, Mutex, PoisonError};

use crate::print::say;
use mqtt_client::{Direction, Packet, PropertyId, Trace};

struct State {
    client: String,
    /// Mosquitto numbers QoS 0 messages too.
    numbered: u32,
}

/// A trace that prints to stdout.
pub fn trace(client_id: &str) -> Trace {
    let client = if client_id.is_empty() { "(null)" } else { client_id }.to_owned();
    let state = Mutex::new(State { client, numbered: 0 });
    Arc::new(move |direction, packet| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match direction {
            Direction::Sent => sent(&mut state, packet),
            Direction::Received => received(&mut state, packet),
        }
    })
}

fn sent(state: &mut State, packet: &Packet<'_>) {
    let State { client, numbered } = state;
    match packet {
        Packet::Publish(publish) => {
            *numbered += 1;
            let id = publish.packet_id.map_or(*numbered, |id| u32::from(id.get()));
            say!(
                "Client {client} sending PUBLISH (d{}, q{}, r{}, m{id}, '{}', ... ({} bytes))",
                u8::from(publish.dup),
                publish.qos,
                u8::from(publish.retain),
                publish.topic,
                publish.payload.len(),
            );
        }
        Packet::Subscribe(subscribe) => {
            *numbered = (*numbered).max(u32::from(subscribe.packet_id.get()));
            for (filter, options) in subscribe.filters.iter() {
                let (id, qos) = (subscribe.packet_id, options.qos);
                let rest = options.to_byte() & !0b11;
                say!(
                    "Client {client} sending SUBSCRIBE (Mid: {id}, Topic: {filter}, QoS: {qos}, \
                     Options: {rest:#04x})"
                );
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            for filter in unsubscribe.filters.iter() {
                let id = unsubscribe.packet_id;
                say!("Client {client} sending UNSUBSCRIBE (Mid: {id}, Topic: {filter})");
            }
        }
        Packet::Puback(ack) | Packet::Pubrec(ack) => {
            let (name, id) = (packet.packet_type().name(), ack.packet_id);
            say!("Client {client} sending {name} (m{id}, rc{})", ack.reason.value());
        }
        Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            let name = packet.packet_type().name();
            say!("Client {client} sending {name} (m{})", ack.packet_id);
        }
        _ => say!("Client {client} sending {}", packet.packet_type().name()),
    }
}

fn received(state: &mut State, packet: &Packet<'_>) {
    if let Packet::Connack(connack) = packet {
        if let Some(id) = connack.properties.text(PropertyId::AssignedClientIdentifier) {
            state.client = id.to_owned();
        }
    }
    let client = &state.client;
    let name = packet.packet_type().name();
    match packet {
        Packet::Connack(connack) => say!("Client {client} received CONNACK ({})", connack.code),
        Packet::Publish(publish) => say!(
            "Client {client} received PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            u8::from(publish.dup),
            publish.qos,
            u8::from(publish.retain),
            publish.packet_id.map_or(0, |id| id.get()),
            publish.topic,
            publish.payload.len(),
        ),
        Packet::Puback(ack) | Packet::Pubcomp(ack) => {
            let (id, reason) = (ack.packet_id, ack.reason.value());
            say!("Client {client} received {name} (Mid: {id}, RC:{reason})");
        }
        Packet::Pubrec(ack) | Packet::Pubrel(ack) => {
            say!("Client {client} received {name} (Mid: {})", ack.packet_id);
        }
        Packet::Disconnect(disconnect) => {
            say!("Received DISCONNECT ({})", disconnect.reason.value());
        }
        _ => say!("Client {client} received {name}"),
    }
}

/// The line `mosquitto_sub -d` prints after SUBACK.
pub fn subscribed(packet_id: u16, codes: &[u8]) {
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    say!("Subscribed (mid: {packet_id}): {}", codes.join(", "));
}
