//! Packets as the scripted Clients write them.

use mqtt_proto::packet::{
    Ack, Connect, Disconnect, Packet, Publish, Subscribe, SubscribeFilters, SubscriptionOptions,
    Unsubscribe, UnsubscribeFilters, Will, subscribe, unsubscribe,
};
use mqtt_proto::property::{PropertiesBuf, PropertyId, Value};
use mqtt_proto::{PacketIdentifier, Properties, QoS, ReasonCode, Version};

/// What a CONNECT of ours may say.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    pub(crate) name: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) expiry_seconds: u32,
    pub(crate) receive_max: Option<u16>,
    pub(crate) packet_max: Option<u32>,
    pub(crate) alias_max: Option<u16>,
    /// Topic, payload, delay in seconds.
    pub(crate) will: Option<(String, String, u32)>,
}

impl Hello {
    /// Encodes it and shows the packet to `see`.
    pub(crate) fn write(&self, see: impl FnOnce(&Connect<'_>)) -> Vec<u8> {
        let is_v5 = self.version == Version::V5;
        let mut block = PropertiesBuf::new();
        let mut will_block = PropertiesBuf::new();
        let mut push = |id, value: Value<'_>| {
            block.push(id, value).expect("a few short properties fit");
        };
        if is_v5 {
            push(PropertyId::SessionExpiryInterval, Value::U32(self.expiry_seconds));
            if let Some(max) = self.receive_max {
                push(PropertyId::ReceiveMaximum, Value::U16(max));
            }
            if let Some(max) = self.packet_max {
                push(PropertyId::MaximumPacketSize, Value::U32(max));
            }
            if let Some(max) = self.alias_max {
                push(PropertyId::TopicAliasMaximum, Value::U16(max));
            }
            if let Some((_, _, delay)) = &self.will {
                will_block
                    .push(PropertyId::WillDelayInterval, Value::U32(*delay))
                    .expect("one property fits");
            }
        }
        let connect = Connect {
            version: self.version,
            is_bridge: false,
            clean_start: self.clean,
            keep_alive_seconds: self.keep_alive,
            client_id: &self.name,
            will: self.will.as_ref().map(|(topic, payload, _)| Will {
                qos: QoS::AtLeastOnce,
                retain: false,
                topic,
                payload: payload.as_bytes(),
                properties: will_block.as_properties(),
            }),
            username: Some(&self.name),
            password: None,
            properties: block.as_properties(),
        };
        see(&connect);
        write(self.version, &Packet::Connect(connect))
    }
}

pub(crate) fn write(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("the simulator writes packets that fit");
    bytes
}

pub(crate) fn id(number: u16) -> PacketIdentifier {
    PacketIdentifier::new(number).expect("the simulator's identifiers begin at 1")
}

pub(crate) fn ack(number: u16) -> Ack<'static> {
    Ack::new(id(number), ReasonCode::Success)
}

/// A PUBLISH; `expires`: after a second.
pub(crate) fn publish<R>(
    (topic, payload): (&str, &[u8]),
    (qos, retain, dup): (QoS, bool, bool),
    number: u16,
    expires: bool,
    use_it: impl FnOnce(Packet<'_>) -> R,
) -> R {
    let mut block = PropertiesBuf::new();
    if expires {
        block.push(PropertyId::MessageExpiryInterval, Value::U32(1)).expect("one property fits");
    }
    use_it(Packet::Publish(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id: PacketIdentifier::new(number),
        properties: block.as_properties(),
        payload,
    }))
}

/// A SUBSCRIBE to one filter.
pub(crate) fn subscribe<R>(
    number: u16,
    filter: &str,
    qos: QoS,
    no_local: bool,
    use_it: impl FnOnce(Packet<'_>) -> R,
) -> R {
    let mut filters = Vec::new();
    let options = SubscriptionOptions { no_local, ..SubscriptionOptions::with_qos(qos) };
    subscribe::push_filter(&mut filters, filter, options).expect("a short filter fits");
    use_it(Packet::Subscribe(Subscribe {
        packet_id: id(number),
        properties: Properties::EMPTY,
        filters: SubscribeFilters::from_pushed(&filters),
    }))
}

/// An UNSUBSCRIBE from one filter.
pub(crate) fn unsubscribe<R>(number: u16, filter: &str, use_it: impl FnOnce(Packet<'_>) -> R) -> R {
    let mut filters = Vec::new();
    unsubscribe::push_filter(&mut filters, filter).expect("a short filter fits");
    use_it(Packet::Unsubscribe(Unsubscribe {
        packet_id: id(number),
        properties: Properties::EMPTY,
        filters: UnsubscribeFilters::from_pushed(&filters),
    }))
}

pub(crate) fn disconnect(version: Version, with_will: bool) -> Packet<'static> {
    let reason = match (version, with_will) {
        (Version::V5, true) => ReasonCode::DisconnectWithWillMessage,
        _ => ReasonCode::Success,
    };
    Packet::Disconnect(Disconnect::new(reason))
}

/// The payload of a message: its number, and so many bytes more.
pub(crate) fn payload(message: usize, bytes: usize) -> Vec<u8> {
    let mut all = format!("m{message}.").into_bytes();
    all.resize(all.len() + bytes, b'-');
    all
}
