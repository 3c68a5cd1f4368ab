//! Messages as JSON: the shape of Mosquitto's `%j` and `%J`, and our own lines for `--json` and
//! `--record`, which can be read back byte for byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mqtt_client::{Message, Properties, PropertyId, Value as Property};
use serde_json::Value;

use crate::clock::Moment;
use crate::format::NotJson;

/// `%j`: the payload as a string.
pub fn mosquitto(out: &mut Vec<u8>, message: &Message, moment: &Moment, pretty: bool) {
    let mut object = Writer::new(out, pretty);
    head(&mut object, message, moment);
    object.key("payload");
    match message.payload() {
        [] => object.raw(b"null"),
        payload => object.string(payload),
    }
    object.end();
}

/// `%J`: the payload as JSON of its own.
///
/// # Errors
/// The payload is none; nothing has been written.
pub fn mosquitto_parsed(
    out: &mut Vec<u8>,
    message: &Message,
    moment: &Moment,
    pretty: bool,
) -> Result<(), NotJson> {
    let payload = match message.payload() {
        [] => Value::Null,
        payload => serde_json::from_slice(payload).map_err(|_| NotJson)?,
    };
    let mut object = Writer::new(out, pretty);
    head(&mut object, message, moment);
    object.key("payload");
    object.value(&payload);
    object.end();
    Ok(())
}

fn head(object: &mut Writer<'_>, message: &Message, moment: &Moment) {
    let mut time = Vec::new();
    moment.strftime("%Y-%m-%dT%H:%M:%S", &mut time);
    time.extend_from_slice(format!(".{:06}", moment.nanoseconds() / 1000).as_bytes());
    moment.strftime("%z", &mut time);
    object.key("tst");
    object.string(&time);
    object.key("topic");
    object.string(message.topic().as_bytes());
    object.number("qos", message.qos() as u64);
    object.key("retain");
    object.raw(if message.retain() { b"true" } else { b"false" });
    object.number("payloadlen", message.payload().len() as u64);
    if let Some(id) = message.packet_id() {
        object.number("mid", u64::from(id.get()));
    }
    if !message.properties().is_empty() {
        object.key("properties");
        properties(object, message.properties());
    }
}

fn properties(object: &mut Writer<'_>, properties: Properties<'_>) {
    object.begin(b'{');
    let mut has_user_properties = false;
    for (id, value) in properties.iter() {
        if let Property::Pair(..) = value {
            if !std::mem::replace(&mut has_user_properties, true) {
                object.key("user-properties");
                object.begin(b'[');
                for (name, value) in properties.user_properties() {
                    object.element();
                    object.begin(b'{');
                    object.key(name);
                    object.string(value.as_bytes());
                    object.close(b'}');
                }
                object.close(b']');
            }
            continue;
        }
        object.key(name(id));
        match value {
            Property::Byte(number) => object.digits(u64::from(number)),
            Property::U16(number) => object.digits(u64::from(number)),
            Property::U32(number) | Property::VarInt(number) => object.digits(u64::from(number)),
            Property::Text(text) => object.string(text.as_bytes()),
            Property::Binary(bytes) => object.string(bytes),
            Property::Pair(..) => {}
        }
    }
    object.close(b'}');
}

fn name(id: PropertyId) -> &'static str {
    match id {
        PropertyId::PayloadFormatIndicator => "payload-format-indicator",
        PropertyId::MessageExpiryInterval => "message-expiry-interval",
        PropertyId::ContentType => "content-type",
        PropertyId::ResponseTopic => "response-topic",
        PropertyId::CorrelationData => "correlation-data",
        PropertyId::SubscriptionIdentifier => "subscription-identifier",
        PropertyId::TopicAlias => "topic-alias",
        // No other property stands in a PUBLISH.
        _ => "property",
    }
}

/// A line of `--json` and `--record`: time in nanoseconds, payload as text or, when it is not
/// UTF-8, as base64.
pub fn line(out: &mut Vec<u8>, message: &Message, moment: &Moment) {
    let mut object = Writer::new(out, false);
    object.key("time");
    object.raw(moment.total_nanoseconds().to_string().as_bytes());
    object.key("topic");
    object.string(message.topic().as_bytes());
    object.number("qos", message.qos() as u64);
    object.key("retain");
    object.raw(if message.retain() { b"true" } else { b"false" });
    match std::str::from_utf8(message.payload()) {
        Ok(text) => {
            object.key("payload");
            object.string(text.as_bytes());
        }
        Err(_) => {
            object.key("payload_base64");
            object.string(STANDARD.encode(message.payload()).as_bytes());
        }
    }
    if !message.properties().is_empty() {
        object.key("properties");
        line_properties(&mut object, message.properties());
    }
    object.end();
}

/// As [`properties`], but binary values that are not UTF-8 are base64 under a name that says so.
fn line_properties(object: &mut Writer<'_>, block: Properties<'_>) {
    let data = block.binary(PropertyId::CorrelationData);
    match data.map(std::str::from_utf8) {
        Some(Err(_)) => {
            let mut others = mqtt_client::PropertiesBuf::new();
            for (id, value) in block.iter().filter(|(id, _)| *id != PropertyId::CorrelationData) {
                others.push(id, value).expect("a property that was decoded fits its length field");
            }
            properties(object, others.as_properties());
            object.reopen();
            object.key("correlation-data_base64");
            object.string(STANDARD.encode(data.unwrap_or_default()).as_bytes());
            object.close(b'}');
        }
        _ => properties(object, block),
    }
}

/// A JSON value as cJSON prints it for people: with tabs.
pub fn pretty(out: &mut Vec<u8>, value: &Value) {
    Writer { out, pretty: true, depth: 0, is_first: true }.value(value);
}

/// Writes one object; Mosquitto's library (cJSON) decides about blanks and escapes.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    pretty: bool,
    depth: usize,
    is_first: bool,
}

impl<'o> Writer<'o> {
    fn new(out: &'o mut Vec<u8>, pretty: bool) -> Self {
        let mut writer = Self { out, pretty, depth: 0, is_first: true };
        writer.begin(b'{');
        writer
    }

    fn end(&mut self) {
        self.close(b'}');
    }

    fn begin(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
        self.is_first = true;
    }

    fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        if self.pretty && bracket == b'}' {
            self.new_line();
        }
        self.out.push(bracket);
        self.is_first = false;
    }

    /// Takes back the last closing brace of an object.
    fn reopen(&mut self) {
        self.out.pop();
        self.depth += 1;
        self.is_first = self.out.last() == Some(&b'{');
    }

    fn new_line(&mut self) {
        self.out.push(b'\n');
        self.out.resize(self.out.len() + self.depth, b'\t');
    }

    fn element(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.extend_from_slice(if self.pretty { b", " } else { b"," });
        }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        if self.pretty {
            self.new_line();
        }
        self.string(key.as_bytes());
        self.out.extend_from_slice(if self.pretty { b":\t" } else { b":" });
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        self.digits(number);
    }

    fn digits(&mut self, number: u64) {
        self.raw(number.to_string().as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A string; bytes that are not UTF-8 pass as they are, as cJSON lets them.
    fn string(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        let mut plain_from = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.out.extend_from_slice(&bytes[plain_from..index]);
            plain_from = index + 1;
            match byte {
                b'"' => self.raw(b"\\\""),
                b'\\' => self.raw(b"\\\\"),
                0x08 => self.raw(b"\\b"),
                0x0C => self.raw(b"\\f"),
                b'\n' => self.raw(b"\\n"),
                b'\r' => self.raw(b"\\r"),
                b'\t' => self.raw(b"\\t"),
                other => self.raw(format!("\\u{other:04x}").as_bytes()),
            }
        }
        self.out.extend_from_slice(&bytes[plain_from..]);
        self.out.push(b'"');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.raw(b"null"),
            Value::Bool(true) => self.raw(b"true"),
            Value::Bool(false) => self.raw(b"false"),
            Value::Number(number) => self.raw(cjson_number(number).as_bytes()),
            Value::String(text) => self.string(text.as_bytes()),
            Value::Array(values) => {
                self.begin(b'[');
                for value in values {
                    self.element();
                    self.value(value);
                }
                self.close(b']');
            }
            Value::Object(entries) => {
                self.begin(b'{');
                for (key, value) in entries {
                    self.key(key);
                    self.value(value);
                }
                self.close(b'}');
            }
        }
    }
}

/// As C prints it with `%1.15g`, or with `%1.17g` when that loses something.
fn cjson_number(number: &serde_json::Number) -> String {
    let Some(value) = number.as_f64() else { return number.to_string() };
    if value == f64::from(value as i32) {
        return (value as i32).to_string();
    }
    let short = general(value, 15);
    if short.parse() == Ok(value) { short } else { general(value, 17) }
}

/// C's `%.{digits}g`.
fn general(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let strip = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..digits as i32).contains(&exponent) {
        return strip(&format!("{value:.*}", (digits as i32 - 1 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", strip(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> String {
        cjson_number(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn numbers_look_as_cjson_prints_them() {
        for (given, printed) in [
            ("1.0", "1"),
            ("2.50", "2.5"),
            ("1e5", "100000"),
            ("-0.1", "-0.1"),
            ("1e300", "1e+300"),
            ("1e-7", "1e-07"),
            ("0.0001", "0.0001"),
            ("3000000000", "3000000000"),
            ("0.1234567890123456789", "0.12345678901234568"),
        ] {
            assert_eq!(number(given), printed, "{given}");
        }
    }

    #[test]
    fn strings_are_escaped_as_json_wants() {
        let mut out = Vec::new();
        Writer { out: &mut out, pretty: false, depth: 0, is_first: true }
            .string(b"a\"b\\c\n\x01\xff\x7f");
        assert_eq!(out, b"\"a\\\"b\\\\c\\n\\u0001\xff\x7f\"");
    }
}
