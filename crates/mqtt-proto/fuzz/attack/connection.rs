//! A Client's connection that any Server talks to: the phases only go forward, what may be sent
//! stays within what the Server has said it takes, and no packet of the Server's makes it panic.
//! Input: the first two bytes choose the CONNECT; then the Server's stream, in which a type of 0
//! (reserved) stands for something that the Client does.

use mqtt_proto::codec::Frame;
use mqtt_proto::connection::{ClientConnection, Opening, Phase, Received};
use mqtt_proto::packet::{Ack, Disconnect, Publish};
use mqtt_proto::{Packet, PacketIdentifier, Properties, QoS, ReasonCode, Version};

/// What the Client does, by the byte behind the reserved type.
fn act(connection: &mut ClientConnection, what: u8, in_flight: &mut u32, now: u64) {
    let packet_id = PacketIdentifier::new(u16::from(what) + 1).expect("one is not zero");
    let ack = Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY };
    let publish = Publish {
        dup: false,
        qos: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(what) % 3],
        retain: what & 0x40 != 0,
        topic: "t",
        packet_id: (what % 3 > 0).then_some(packet_id),
        properties: Properties::EMPTY,
        payload: &[],
    };
    let packet = match what >> 4 {
        0..=7 => Packet::Publish(publish),
        8 => Packet::Puback(ack),
        9 => Packet::Pubrec(ack),
        10 => Packet::Pubcomp(ack),
        11 => Packet::Pingreq,
        12 => Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
        _ => {
            connection.due(now);
            return;
        }
    };
    let mut bytes = Vec::new();
    packet.encode(connection.version(), &mut bytes).expect("small packets fit");
    if connection.may_send(&packet, bytes.len()).is_err() {
        return;
    }
    assert_eq!(connection.phase(), Phase::Connected, "{packet:?} goes out");
    let server = *connection.server();
    assert!(server.maximum_packet_size.is_none_or(|max| bytes.len() <= max as usize));
    if let Packet::Publish(publish) = packet {
        assert!(publish.qos <= server.maximum_qos && (server.retain_available || !publish.retain));
        *in_flight += u32::from(publish.qos > QoS::AtMostOnce);
        assert!(*in_flight <= u32::from(server.receive_maximum));
    }
    connection.on_sent(&packet, now);
}

/// See the file's head.
pub fn connection(data: &[u8]) {
    let [version, options, stream @ ..] = data else { return };
    let version = [Version::V31, Version::V311, Version::V5][usize::from(*version) % 3];
    let has_properties = version == Version::V5;
    let opening = Opening {
        version,
        clean_start: options & 1 != 0,
        keep_alive_seconds: u16::from(options >> 5),
        has_authentication_method: has_properties && options & 2 != 0,
        receive_maximum: if has_properties { 1 + u16::from(options & 4) } else { u16::MAX },
        topic_alias_maximum: if has_properties { u16::from(options & 8) } else { 0 },
    };
    let mut connection = ClientConnection::new(opening, 0);
    let (mut rest, mut in_flight, mut last, mut now) = (stream, 0, Phase::Opening, 0);
    while let Some(first) = rest.first() {
        now += 100;
        if first >> 4 == 0 {
            let Some(what) = rest.get(1) else { return };
            act(&mut connection, *what, &mut in_flight, now);
            rest = &rest[2..];
        } else {
            let Ok(Some(frame)) = Frame::peek(rest, 1 << 16) else { return };
            let Ok(packet) = Packet::decode(version, frame, rest) else { return };
            rest = &rest[frame.len..];
            let Ok(received) = connection.on_received(packet, now) else { return };
            match received {
                Received::Publish(publish) => {
                    assert!(!connection.topic_of(&publish).is_empty(), "{publish:?}");
                }
                Received::Puback(_) | Received::Pubcomp(_) => {
                    in_flight = in_flight.saturating_sub(1);
                }
                Received::Pubrec(ack) if ack.reason.is_error() => {
                    in_flight = in_flight.saturating_sub(1);
                }
                _ => {}
            }
        }
        let order = |phase| match phase {
            Phase::Opening => 0,
            Phase::Connected => 1,
            Phase::Closing => 2,
        };
        assert!(order(last) <= order(connection.phase()), "{last:?} {:?}", connection.phase());
        last = connection.phase();
    }
}
