//! Packets as a test writes them: owned, comparable, built in a few words, for any version.

use mqtt_proto::codec::Frame;
use mqtt_proto::packet::{
    self, Ack, Connack, Disconnect, Packet, RetainHandling, Suback, Subscribe, SubscribeFilters,
    SubscriptionOptions, Unsuback, Unsubscribe, UnsubscribeFilters,
};
use mqtt_proto::property::{Properties, PropertiesBuf, PropertyId, Value};
use mqtt_proto::{PacketIdentifier, QoS, ReasonCode, Version};

/// What one side says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Connack { present: bool, code: u8, props: Props },
    Publish(Publish),
    Puback(u16, ReasonCode),
    Pubrec(u16, ReasonCode),
    Pubrel(u16, ReasonCode),
    Pubcomp(u16, ReasonCode),
    Subscribe(u16, Vec<(String, SubscriptionOptions)>, Props),
    Suback(u16, Vec<u8>),
    Unsubscribe(u16, Vec<String>),
    Unsuback(u16, Vec<u8>),
    Pingreq,
    Pingresp,
    Disconnect(ReasonCode, Props),
}

/// A property with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prop {
    Byte(PropertyId, u8),
    U16(PropertyId, u16),
    U32(PropertyId, u32),
    VarInt(PropertyId, u32),
    Text(PropertyId, String),
    Binary(PropertyId, Vec<u8>),
    Pair(String, String),
}

/// Properties in their order.
pub type Props = Vec<Prop>;

/// A PUBLISH, from or to the Server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub props: Props,
}

/// A PUBLISH with QoS 0.
pub fn publish(topic: &str, payload: impl AsRef<[u8]>) -> Publish {
    Publish {
        topic: topic.into(),
        payload: payload.as_ref().to_vec(),
        qos: QoS::AtMostOnce,
        retain: false,
        dup: false,
        id: 0,
        props: vec![],
    }
}

impl Publish {
    pub fn qos1(self, id: u16) -> Self {
        Self { qos: QoS::AtLeastOnce, id, ..self }
    }

    pub fn qos2(self, id: u16) -> Self {
        Self { qos: QoS::ExactlyOnce, id, ..self }
    }

    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    pub fn dup(self) -> Self {
        Self { dup: true, ..self }
    }

    pub fn with(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }
}

impl From<Publish> for Said {
    fn from(publish: Publish) -> Self {
        Self::Publish(publish)
    }
}

pub fn puback(id: u16) -> Said {
    Said::Puback(id, ReasonCode::Success)
}

pub fn pubrec(id: u16) -> Said {
    Said::Pubrec(id, ReasonCode::Success)
}

pub fn pubrel(id: u16) -> Said {
    Said::Pubrel(id, ReasonCode::Success)
}

pub fn pubcomp(id: u16) -> Said {
    Said::Pubcomp(id, ReasonCode::Success)
}

pub fn suback(id: u16, codes: &[u8]) -> Said {
    Said::Suback(id, codes.to_vec())
}

pub fn unsuback(id: u16, codes: &[u8]) -> Said {
    Said::Unsuback(id, codes.to_vec())
}

pub fn disconnect(reason: ReasonCode) -> Said {
    Said::Disconnect(reason, vec![])
}

/// A SUBSCRIBE for one filter with identifier 1; more with [`Subscription::and`].
pub fn subscribe(filter: &str, qos: u8) -> Subscription {
    Subscription { id: 1, filters: vec![(filter.into(), options(qos))], props: vec![] }
}

pub fn unsubscribe(id: u16, filters: &[&str]) -> Said {
    Said::Unsubscribe(id, filters.iter().map(|filter| (*filter).into()).collect())
}

fn options(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions::with_qos(QoS::from_u8(qos).unwrap())
}

/// A SUBSCRIBE in the making; the option words speak of the last filter.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: u16,
    pub filters: Vec<(String, SubscriptionOptions)>,
    pub props: Props,
}

impl Subscription {
    pub fn and(mut self, filter: &str, qos: u8) -> Self {
        self.filters.push((filter.into(), options(qos)));
        self
    }

    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    pub fn no_local(mut self) -> Self {
        self.last().no_local = true;
        self
    }

    pub fn retain_as_published(mut self) -> Self {
        self.last().retain_as_published = true;
        self
    }

    pub fn handling(mut self, handling: RetainHandling) -> Self {
        self.last().retain_handling = handling;
        self
    }

    pub fn identifier(self, identifier: u32) -> Self {
        Self { props: vec![identified(identifier)], ..self }
    }

    fn last(&mut self) -> &mut SubscriptionOptions {
        &mut self.filters.last_mut().unwrap().1
    }
}

impl From<Subscription> for Said {
    fn from(subscription: Subscription) -> Self {
        Self::Subscribe(subscription.id, subscription.filters, subscription.props)
    }
}

/// A Subscription Identifier.
pub fn identified(identifier: u32) -> Prop {
    Prop::VarInt(PropertyId::SubscriptionIdentifier, identifier)
}

/// A Message Expiry Interval.
pub fn expires(seconds: u32) -> Prop {
    Prop::U32(PropertyId::MessageExpiryInterval, seconds)
}

/// A Topic Alias.
pub fn alias_maximum(maximum: u16) -> Prop {
    Prop::U16(PropertyId::TopicAliasMaximum, maximum)
}

pub fn alias(alias: u16) -> Prop {
    Prop::U16(PropertyId::TopicAlias, alias)
}

/// A Session Expiry Interval.
pub fn session_expiry(seconds: u32) -> Prop {
    Prop::U32(PropertyId::SessionExpiryInterval, seconds)
}

/// As bytes on the wire.
pub fn encode_props(props: &[Prop]) -> PropertiesBuf {
    let mut block = PropertiesBuf::new();
    for prop in props {
        let (id, value) = match prop {
            Prop::Byte(id, value) => (*id, Value::Byte(*value)),
            Prop::U16(id, value) => (*id, Value::U16(*value)),
            Prop::U32(id, value) => (*id, Value::U32(*value)),
            Prop::VarInt(id, value) => (*id, Value::VarInt(*value)),
            Prop::Text(id, value) => (*id, Value::Text(value)),
            Prop::Binary(id, value) => (*id, Value::Binary(value)),
            Prop::Pair(name, value) => (PropertyId::UserProperty, Value::Pair(name, value)),
        };
        block.push(id, value).unwrap();
    }
    block
}

fn decode_props(properties: &Properties<'_>) -> Props {
    let decode = |(id, value): (PropertyId, Value<'_>)| match value {
        Value::Byte(value) => Prop::Byte(id, value),
        Value::U16(value) => Prop::U16(id, value),
        Value::U32(value) => Prop::U32(id, value),
        Value::VarInt(value) => Prop::VarInt(id, value),
        Value::Text(value) => Prop::Text(id, value.into()),
        Value::Binary(value) => Prop::Binary(id, value.into()),
        Value::Pair(name, value) => Prop::Pair(name.into(), value.into()),
    };
    properties.iter().map(decode).collect()
}

impl Said {
    /// As a Client of this version writes it.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let mut out = vec![];
        let id = |id: u16| PacketIdentifier::new(id).expect("tests use identifiers above 0");
        let mut filters = vec![];
        let block;
        let packet = match self {
            Self::Publish(publish) => {
                block = encode_props(&publish.props);
                Packet::Publish(packet::Publish {
                    dup: publish.dup,
                    qos: publish.qos,
                    retain: publish.retain,
                    topic: &publish.topic,
                    packet_id: PacketIdentifier::new(publish.id),
                    properties: block.as_properties(),
                    payload: &publish.payload,
                })
            }
            Self::Puback(number, reason) => Packet::Puback(Ack::new(id(*number), *reason)),
            Self::Pubrec(number, reason) => Packet::Pubrec(Ack::new(id(*number), *reason)),
            Self::Pubrel(number, reason) => Packet::Pubrel(Ack::new(id(*number), *reason)),
            Self::Pubcomp(number, reason) => Packet::Pubcomp(Ack::new(id(*number), *reason)),
            Self::Subscribe(number, all, props) => {
                block = encode_props(props);
                for (filter, options) in all {
                    packet::subscribe::push_filter(&mut filters, filter, *options).unwrap();
                }
                let properties = block.as_properties();
                let filters = SubscribeFilters::from_pushed(&filters);
                Packet::Subscribe(Subscribe { packet_id: id(*number), properties, filters })
            }
            Self::Unsubscribe(number, all) => {
                for filter in all {
                    packet::unsubscribe::push_filter(&mut filters, filter).unwrap();
                }
                let filters = UnsubscribeFilters::from_pushed(&filters);
                let properties = Properties::EMPTY;
                Packet::Unsubscribe(Unsubscribe { packet_id: id(*number), properties, filters })
            }
            Self::Pingreq => Packet::Pingreq,
            Self::Disconnect(reason, props) => {
                block = encode_props(props);
                let properties = block.as_properties();
                Packet::Disconnect(Disconnect { reason: *reason, properties })
            }
            other => panic!("a Client does not say {other:?}"),
        };
        packet.encode(version, &mut out).unwrap();
        out
    }

    /// What the Server wrote.
    pub fn decode(version: Version, frame: Frame, bytes: &[u8]) -> Self {
        match Packet::decode(version, frame, bytes).expect("the Server writes whole, legal packets")
        {
            Packet::Connack(Connack { session_present, code, properties }) => {
                Self::Connack { present: session_present, code, props: decode_props(&properties) }
            }
            Packet::Publish(packet) => Self::Publish(Publish {
                topic: packet.topic.into(),
                payload: packet.payload.into(),
                qos: packet.qos,
                retain: packet.retain,
                dup: packet.dup,
                id: packet.packet_id.map_or(0, PacketIdentifier::get),
                props: decode_props(&packet.properties),
            }),
            Packet::Puback(ack) => Self::Puback(ack.packet_id.get(), ack.reason),
            Packet::Pubrec(ack) => Self::Pubrec(ack.packet_id.get(), ack.reason),
            Packet::Pubrel(ack) => Self::Pubrel(ack.packet_id.get(), ack.reason),
            Packet::Pubcomp(ack) => Self::Pubcomp(ack.packet_id.get(), ack.reason),
            Packet::Suback(Suback { packet_id, reason_codes, .. }) => {
                Self::Suback(packet_id.get(), reason_codes.into())
            }
            Packet::Unsuback(Unsuback { packet_id, reason_codes, .. }) => {
                Self::Unsuback(packet_id.get(), reason_codes.into())
            }
            Packet::Pingresp => Self::Pingresp,
            Packet::Disconnect(packet) => {
                Self::Disconnect(packet.reason, decode_props(&packet.properties))
            }
            other => panic!("a Server does not say {other:?}"),
        }
    }
}
