//! Messages as JSON lines, read back: `--replay`, `--json-lines`.
//!
//! `{"topic":…, "payload":…, "payload_base64":…, "qos":…, "retain":…, "properties":{…}, "time":…}`.
//! A payload that is a string is taken as text, any other JSON value as its own text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mqtt_client::{PropertiesBuf, PropertyId, Publish, QoS, Value as Property};
use mqtt_proto::topic::TopicName;
use serde_json::Value;

/// One line.
#[derive(Debug)]
pub struct Record {
    /// When it was recorded, in nanoseconds since 1970.
    pub time: Option<u64>,
    /// What to publish.
    pub publish: Publish,
}

/// What a line does not say.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// From `-t`.
    pub topic: Option<&'a str>,
    /// From `-q`.
    pub qos: QoS,
    /// From `-r`.
    pub retain: bool,
}

/// Reads one line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &[u8], defaults: Defaults<'_>) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Value::Object(object) = value else { return Err("not a JSON object".to_owned()) };
    let topic = match object.get("topic") {
        Some(Value::String(topic)) => topic.as_str(),
        Some(_) => return Err("\"topic\" is not a string".to_owned()),
        None => defaults.topic.ok_or("no \"topic\", and none given with -t")?,
    };
    TopicName::new(topic).map_err(|error| format!("\"topic\": {error}"))?;
    let payload = match (object.get("payload_base64"), object.get("payload")) {
        (Some(Value::String(text)), _) => Bytes::from(
            STANDARD.decode(text).map_err(|error| format!("\"payload_base64\": {error}"))?,
        ),
        (Some(_), _) => return Err("\"payload_base64\" is not a string".to_owned()),
        (None, Some(Value::String(text))) => Bytes::from(text.clone()),
        (None, Some(Value::Null) | None) => Bytes::new(),
        (None, Some(other)) => Bytes::from(other.to_string()),
    };
    let qos = match object.get("qos") {
        None => defaults.qos,
        Some(qos) => qos
            .as_u64()
            .and_then(|qos| QoS::from_u8(u8::try_from(qos).ok()?))
            .ok_or("\"qos\" is not 0, 1 or 2")?,
    };
    let retain = match object.get("retain") {
        None => defaults.retain,
        Some(Value::Bool(retain)) => *retain,
        Some(_) => return Err("\"retain\" is not true or false".to_owned()),
    };
    let time = match object.get("time") {
        None => None,
        Some(time) => Some(time.as_u64().ok_or("\"time\" is not a number of nanoseconds")?),
    };
    let mut publish = Publish::new(topic, payload).qos(qos).retain(retain);
    if let Some(value) = object.get("properties") {
        publish.properties = properties(value)?;
    }
    Ok(Record { time, publish })
}

/// The properties a publisher may set; those that belong to a subscription or to one connection are
/// left out.
fn properties(value: &Value) -> Result<PropertiesBuf, String> {
    let Value::Object(object) = value else {
        return Err("\"properties\" is not an object".to_owned());
    };
    let mut properties = PropertiesBuf::new();
    for (name, value) in object {
        let wrong = || format!("property \"{name}\" has a wrong value");
        let text = || value.as_str().ok_or_else(wrong);
        let number = || value.as_u64().and_then(|number| u32::try_from(number).ok());
        let pushed = match name.as_str() {
            "payload-format-indicator" => {
                let byte = u8::try_from(number().ok_or_else(wrong)?).map_err(|_| wrong())?;
                properties.push(PropertyId::PayloadFormatIndicator, Property::Byte(byte))
            }
            "message-expiry-interval" => {
                let seconds = number().ok_or_else(wrong)?;
                properties.push(PropertyId::MessageExpiryInterval, Property::U32(seconds))
            }
            "content-type" => properties.push(PropertyId::ContentType, Property::Text(text()?)),
            "response-topic" => properties.push(PropertyId::ResponseTopic, Property::Text(text()?)),
            "correlation-data" => {
                let data = Property::Binary(text()?.as_bytes());
                properties.push(PropertyId::CorrelationData, data)
            }
            "correlation-data_base64" => {
                let data = STANDARD.decode(text()?).map_err(|_| wrong())?;
                properties.push(PropertyId::CorrelationData, Property::Binary(&data))
            }
            "user-properties" => {
                user_properties(&mut properties, value).ok_or_else(wrong)?;
                continue;
            }
            "subscription-identifier" | "topic-alias" => continue,
            _ => return Err(format!("unknown property \"{name}\"")),
        };
        pushed.map_err(|error| format!("property \"{name}\": {error}"))?;
    }
    Ok(properties)
}

fn user_properties(properties: &mut PropertiesBuf, value: &Value) -> Option<()> {
    for entry in value.as_array()? {
        for (name, value) in entry.as_object()? {
            let pair = Property::Pair(name, value.as_str()?);
            properties.push(PropertyId::UserProperty, pair).ok()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults<'_> =
        Defaults { topic: Some("t"), qos: QoS::AtLeastOnce, retain: true };

    #[test]
    fn a_line_overrides_the_flags() {
        let line = br#"{"topic":"a","payload":"x","qos":2,"retain":false,"time":5}"#;
        let record = parse(line, DEFAULTS).unwrap();
        assert_eq!((&*record.publish.topic, record.publish.qos), ("a", QoS::ExactlyOnce));
        assert_eq!((record.publish.retain, record.time), (false, Some(5)));
        let record = parse(b"{}", DEFAULTS).unwrap();
        assert_eq!((&*record.publish.topic, record.publish.qos), ("t", QoS::AtLeastOnce));
        assert!(record.publish.retain && record.publish.payload.is_empty());
    }

    #[test]
    fn payloads_are_text_base64_or_json() {
        let payload = |line: &str| parse(line.as_bytes(), DEFAULTS).unwrap().publish.payload;
        assert_eq!(payload(r#"{"payload_base64":"AP8="}"#), &b"\0\xff"[..]);
        assert_eq!(payload(r#"{"payload":{"b":1,"a":[2]}}"#), &br#"{"b":1,"a":[2]}"#[..]);
        assert_eq!(payload(r#"{"payload":21.5}"#), &b"21.5"[..]);
    }

    #[test]
    fn properties_are_read_in_order() {
        let line = br#"{"properties":{"content-type":"x","user-properties":[{"k":"1"},{"k":"2"}],
            "correlation-data_base64":"/w=="}}"#;
        let publish = parse(line, DEFAULTS).unwrap().publish;
        let properties = publish.properties.as_properties();
        assert_eq!(properties.text(PropertyId::ContentType), Some("x"));
        assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "1"), ("k", "2")]);
        assert_eq!(properties.binary(PropertyId::CorrelationData), Some(&b"\xff"[..]));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("[]", "not a JSON object"),
            (r#"{"topic":"a/#"}"#, "topic"),
            (r#"{"qos":3}"#, "qos"),
            (r#"{"payload_base64":"%"}"#, "payload_base64"),
            (r#"{"properties":{"x":1}}"#, "unknown property \"x\""),
            (r#"{"time":"x"}"#, "time"),
            ("{", "EOF"),
        ] {
            let error = parse(line.as_bytes(), DEFAULTS).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let nothing = Defaults { topic: None, ..DEFAULTS };
        assert!(parse(b"{}", nothing).unwrap_err().contains("-t"));
    }
}
