//! `-D CMD PROP VALUE`: MQTT 5.0 properties by name.

use mqtt_client::{PropertiesBuf, PropertyId, Value};

/// What stands between the words of one `-D` once the line is normalised.
pub const SEPARATOR: &str = "\u{1f}";

/// The packet a property goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Packet {
    Connect,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Will,
    Auth,
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Answer,
}

/// One `-D`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Where it goes.
    pub packet: Packet,
    id: PropertyId,
    value: OwnedValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedValue {
    Byte(u8),
    U16(u16),
    U32(u32),
    VarInt(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

enum Kind {
    /// 0 or 1.
    Flag,
    U16,
    /// 0 is a Protocol Error.
    U16Above0,
    U32,
    U32Above0,
    VarInt,
    Text,
    Binary,
    Pair,
}

/// Name, identifier, kind, and the packets of a client's it may go into.
#[rustfmt::skip]
const TABLE: &[(&str, PropertyId, Kind, &[Packet])] = {
    use PropertyId as Id;
    use Packet::{Answer, Auth, Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};
    &[
        ("payload-format-indicator", Id::PayloadFormatIndicator, Kind::Flag, &[Publish, Will]),
        ("message-expiry-interval", Id::MessageExpiryInterval, Kind::U32, &[Publish, Will]),
        ("content-type", Id::ContentType, Kind::Text, &[Publish, Will]),
        ("response-topic", Id::ResponseTopic, Kind::Text, &[Publish, Will]),
        ("correlation-data", Id::CorrelationData, Kind::Binary, &[Publish, Will]),
        ("subscription-identifier", Id::SubscriptionIdentifier, Kind::VarInt,
            &[Publish, Subscribe]),
        ("session-expiry-interval", Id::SessionExpiryInterval, Kind::U32, &[Connect, Disconnect]),
        ("authentication-method", Id::AuthenticationMethod, Kind::Text, &[Connect, Auth]),
        ("authentication-data", Id::AuthenticationData, Kind::Binary, &[Connect, Auth]),
        ("request-problem-information", Id::RequestProblemInformation, Kind::Flag, &[Connect]),
        ("request-response-information", Id::RequestResponseInformation, Kind::Flag, &[Connect]),
        ("will-delay-interval", Id::WillDelayInterval, Kind::U32, &[Will]),
        ("reason-string", Id::ReasonString, Kind::Text, &[Disconnect, Answer, Auth]),
        ("receive-maximum", Id::ReceiveMaximum, Kind::U16Above0, &[Connect]),
        ("topic-alias-maximum", Id::TopicAliasMaximum, Kind::U16, &[Connect]),
        ("topic-alias", Id::TopicAlias, Kind::U16Above0, &[Publish]),
        ("maximum-packet-size", Id::MaximumPacketSize, Kind::U32Above0, &[Connect]),
        ("user-property", Id::UserProperty, Kind::Pair,
            &[Connect, Publish, Subscribe, Unsubscribe, Disconnect, Will, Auth, Answer]),
    ]
};

/// The protocol has these, and the tools nothing to do with them: the packet is the client
/// library's, or only a server sends the property.
const fn is_out_of_reach(packet: Packet, id: PropertyId) -> bool {
    match packet {
        Packet::Auth | Packet::Answer => true,
        Packet::Publish => matches!(id, PropertyId::SubscriptionIdentifier),
        _ => false,
    }
}

/// Reads the words of one `-D`, joined with [`SEPARATOR`].
pub fn parse(text: &str) -> Result<Property, String> {
    const LACKING: &str = "--property argument given but not enough arguments specified.\n";
    let mut words = text.split(SEPARATOR);
    let (Some(command), Some(name), Some(value)) = (words.next(), words.next(), words.next())
    else {
        return Err(LACKING.to_owned());
    };
    let packet = match command.to_ascii_lowercase().as_str() {
        "connect" => Packet::Connect,
        "publish" => Packet::Publish,
        "subscribe" => Packet::Subscribe,
        "unsubscribe" => Packet::Unsubscribe,
        "disconnect" => Packet::Disconnect,
        "will" => Packet::Will,
        "auth" => Packet::Auth,
        "puback" | "pubrec" | "pubrel" | "pubcomp" => Packet::Answer,
        _ => return Err("Invalid command given in --property argument.\n".to_owned()),
    };
    let row = TABLE.iter().find(|(known, ..)| *known == name);
    let Some((_, id, kind, packets)) = row else {
        return Err("Invalid property name given in --property argument.\n".to_owned());
    };
    if !packets.contains(&packet) {
        return Err(format!("{name} property not allowed for {command} in --property argument.\n"));
    }
    if is_out_of_reach(packet, *id) {
        let text = format!("{name} property not supported for {command} in --property argument.\n");
        return Err(text);
    }
    let range = || format!("Property value ({value}) out of range for property {name}.\n");
    let number = || value.parse::<u64>().map_err(|_| range());
    let value = match kind {
        Kind::Flag => match number()? {
            number @ (0 | 1) => OwnedValue::Byte(number as u8),
            _ => return Err(range()),
        },
        Kind::U16 => OwnedValue::U16(number()?.try_into().map_err(|_| range())?),
        Kind::U16Above0 => match u16::try_from(number()?) {
            Ok(number @ 1..) => OwnedValue::U16(number),
            _ => return Err(range()),
        },
        Kind::U32 => OwnedValue::U32(number()?.try_into().map_err(|_| range())?),
        Kind::U32Above0 => match u32::try_from(number()?) {
            Ok(number @ 1..) => OwnedValue::U32(number),
            _ => return Err(range()),
        },
        Kind::VarInt => match number()? {
            number @ 1..=268_435_455 => OwnedValue::VarInt(number as u32),
            _ => return Err(range()),
        },
        Kind::Text => OwnedValue::Text(value.to_owned()),
        Kind::Binary => OwnedValue::Binary(value.as_bytes().to_owned()),
        Kind::Pair => OwnedValue::Pair(value.to_owned(), words.next().ok_or(LACKING)?.to_owned()),
    };
    Ok(Property { packet, id: *id, value })
}

/// The properties that go into `packet`.
///
/// # Errors
/// A value is longer than 65,535 bytes.
pub fn collect(all: &[Property], packet: Packet) -> Result<PropertiesBuf, String> {
    let mut buf = PropertiesBuf::new();
    for property in all.iter().filter(|property| property.packet == packet) {
        let value = match &property.value {
            OwnedValue::Byte(value) => Value::Byte(*value),
            OwnedValue::U16(value) => Value::U16(*value),
            OwnedValue::U32(value) => Value::U32(*value),
            OwnedValue::VarInt(value) => Value::VarInt(*value),
            OwnedValue::Text(value) => Value::Text(value),
            OwnedValue::Binary(value) => Value::Binary(value),
            OwnedValue::Pair(name, value) => Value::Pair(name, value),
        };
        buf.push(property.id, value).map_err(|error| format!("-D: {error}."))?;
    }
    Ok(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Property, String> {
        parse(&words.join(SEPARATOR))
    }

    #[test]
    fn properties_go_where_they_belong() {
        let all = [
            words(&["publish", "content-type", "text/plain"]).unwrap(),
            words(&["PUBLISH", "user-property", "a", "b"]).unwrap(),
            words(&["connect", "receive-maximum", "7"]).unwrap(),
        ];
        let publish = collect(&all, Packet::Publish).unwrap();
        let publish = publish.as_properties();
        assert_eq!(publish.text(PropertyId::ContentType), Some("text/plain"));
        assert_eq!(publish.user_properties().next(), Some(("a", "b")));
        let connect = collect(&all, Packet::Connect).unwrap();
        assert_eq!(connect.as_properties().u16(PropertyId::ReceiveMaximum), Some(7));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            (&["x", "content-type", "a"][..], "Invalid command"),
            (&["publish", "x", "a"], "Invalid property name"),
            (&["connect", "content-type", "a"], "not allowed for connect"),
            (&["connect", "receive-maximum", "65536"], "out of range"),
            (&["connect", "receive-maximum", "0"], "out of range"),
            (&["connect", "maximum-packet-size", "0"], "out of range"),
            (&["publish", "payload-format-indicator", "2"], "out of range"),
            (&["auth", "content-type", "a"], "not allowed for auth"),
            (&["auth", "reason-string", "a"], "not supported for auth"),
            (&["puback", "user-property", "a", "b"], "not supported for puback"),
            (&["publish", "subscription-identifier", "1"], "not supported for publish"),
            (&["subscribe", "subscription-identifier", "0"], "out of range"),
            (&["publish", "user-property", "a"], "not enough"),
        ] {
            let error = words(line).unwrap_err();
            assert!(error.contains(part), "{line:?}: {error}");
        }
    }
}
