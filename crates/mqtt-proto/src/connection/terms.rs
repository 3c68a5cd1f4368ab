//! What both sides have said about a Network Connection at its beginning: the Client in CONNECT,
//! the Server in CONNACK. The rules that follow from it are in `client.rs`.

use crate::packet::Connect;
use crate::property::{Properties, PropertyId};
use crate::qos::QoS;
use crate::version::Version;

/// What the Client has asked for in its CONNECT, as far as the rules of the connection depend on
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The version of the connection.
    pub version: Version,
    /// A Session of before is not wanted, so none may be present.
    pub clean_start: bool,
    /// Seconds.
    pub keep_alive_seconds: u16,
    /// An Authentication Method was named, so AUTH may come (4.12).
    pub has_authentication_method: bool,
    /// Our Receive Maximum; 65,535 when none was sent.
    pub receive_maximum: u16,
    /// Our Topic Alias Maximum; 0 when none was sent.
    pub topic_alias_maximum: u16,
}

impl Opening {
    /// Reads it from the CONNECT that is sent.
    pub fn of(connect: &Connect<'_>) -> Self {
        let properties = connect.properties;
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_seconds: connect.keep_alive_seconds,
            has_authentication_method: properties.get(PropertyId::AuthenticationMethod).is_some(),
            receive_maximum: properties.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            topic_alias_maximum: properties.u16(PropertyId::TopicAliasMaximum).unwrap_or(0),
        }
    }
}

/// What the Server has said in CONNACK that it takes (3.2.2.3). The defaults are those of the
/// standard, which also hold for 3.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// QoS 1 and 2 messages that may be in flight towards the Server.
    pub receive_maximum: u16,
    /// The highest QoS of a PUBLISH.
    pub maximum_qos: QoS,
    /// Retained messages are kept.
    pub retain_available: bool,
    /// Bytes of the largest packet, or `None` for no limit but the protocol's.
    pub maximum_packet_size: Option<u32>,
    /// Topic Aliases the Server accepts: 1 to this number.
    pub topic_alias_maximum: u16,
    /// `+` and `#` may be used in subscriptions.
    pub wildcard_subscription_available: bool,
    /// Subscription Identifiers may be used.
    pub subscription_identifier_available: bool,
    /// `$share/…` may be used.
    pub shared_subscription_available: bool,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self::of(Properties::EMPTY)
    }
}

impl ServerLimits {
    /// Reads them from the properties of a CONNACK.
    pub fn of(connack: Properties<'_>) -> Self {
        let is_available = |id| connack.byte(id) != Some(0);
        Self {
            receive_maximum: connack.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            maximum_qos: connack
                .byte(PropertyId::MaximumQoS)
                .and_then(QoS::from_u8)
                .unwrap_or(QoS::ExactlyOnce),
            retain_available: is_available(PropertyId::RetainAvailable),
            maximum_packet_size: connack.u32(PropertyId::MaximumPacketSize),
            topic_alias_maximum: connack.u16(PropertyId::TopicAliasMaximum).unwrap_or(0),
            wildcard_subscription_available: is_available(
                PropertyId::WildcardSubscriptionAvailable,
            ),
            subscription_identifier_available: is_available(
                PropertyId::SubscriptionIdentifierAvailable,
            ),
            shared_subscription_available: is_available(PropertyId::SharedSubscriptionAvailable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PropertiesBuf;
    use crate::property::Value;

    #[test]
    fn the_opening_is_read_from_the_connect() {
        let mut properties = PropertiesBuf::new();
        properties.push(PropertyId::ReceiveMaximum, Value::U16(7)).unwrap();
        properties.push(PropertyId::AuthenticationMethod, Value::Text("m")).unwrap();
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive_seconds: 9,
            client_id: "c",
            will: None,
            username: None,
            password: None,
            properties: properties.as_properties(),
        };
        let opening = Opening::of(&connect);
        assert_eq!((opening.receive_maximum, opening.topic_alias_maximum), (7, 0));
        assert!(opening.has_authentication_method);
        assert_eq!(opening.keep_alive_seconds, 9);
    }
}
