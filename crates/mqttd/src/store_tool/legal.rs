//! Whether a record of an import says something that a broker could have written. The broker takes
//! what its own log holds for checked, and sends it as it is.

use anyhow::{Context, bail, ensure};
use mqtt_proto::Properties;
use mqtt_proto::codec::Reader;
use mqtt_proto::codec::varint::{self, VARINT_MAX};
use mqtt_proto::property::{Place, PropertyId};
use mqtt_proto::topic::{SharedFilter, TopicFilter, TopicName};
use mqttd_core::message::forwarded_properties;
use mqttd_core::record::{Entry, MessageRecord, Reached, Record};

/// Bytes of a text in a packet.
const TEXT_BYTES_MAX: usize = 65_535;

/// Checks what a Client would be told of a readable record.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(body: &[u8]) -> anyhow::Result<()> {
    match Record::decode(body)? {
        Record::Session(session) => {
            let names = [Some(session.client_id), session.username];
            ensure!(!session.client_id.is_empty(), "the Client Identifier is empty");
            names.into_iter().flatten().try_for_each(text)
        }
        Record::Subscription { filter, identifier, .. } => {
            ensure!(identifier <= VARINT_MAX, "{identifier} is no Subscription Identifier");
            match SharedFilter::parse(filter) {
                Ok(Some(_)) => Ok(()),
                Ok(None) => TopicFilter::new(filter).map(drop),
                Err(error) => Err(error),
            }
            .with_context(|| format!("{filter:?} is no Topic Filter"))
        }
        Record::Message { message: told, entries, .. } => {
            message(&told)?;
            Record::entries(entries).try_for_each(|it| entry(&it))
        }
        Record::Retained(told, source) => {
            let names = source.map(|source| [Some(source.client_id), source.username]);
            names.into_iter().flatten().flatten().try_for_each(text)?;
            message(&told)
        }
        Record::Will { message: told, .. } => message(&told),
        Record::Begun { reached, .. } => {
            let reached = Reached::decode(reached).context("a list of sessions")?;
            reached.shares.iter().try_for_each(|it| share(it))
        }
        Record::Done { .. }
        | Record::Sent { .. }
        | Record::Released { .. }
        | Record::Received { .. }
        | Record::Settled { .. } => Ok(()),
    }
}

fn text(text: &str) -> anyhow::Result<()> {
    ensure!(text.len() <= TEXT_BYTES_MAX, "a name has {} bytes", text.len());
    ensure!(!text.contains('\0'), "a name holds U+0000");
    Ok(())
}

fn message(message: &MessageRecord<'_>) -> anyhow::Result<()> {
    let topic = message.topic;
    TopicName::new(topic).with_context(|| format!("{topic:?} is no Topic Name"))?;
    let mut bytes = Vec::new();
    let mut scratch = Vec::new();
    let properties = properties(message.properties, &mut bytes)?;
    let forwarded = forwarded_properties(properties, &mut scratch);
    ensure!(forwarded == message.properties, "properties that are the broker's own");
    Ok(())
}

fn entry(entry: &Entry<'_>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for (id, _) in properties(entry.identifiers, &mut bytes)?.iter() {
        ensure!(id == PropertyId::SubscriptionIdentifier, "{id:?} is no Subscription Identifier");
    }
    if entry.share.is_empty() { Ok(()) } else { share(entry.share) }
}

fn share(filter: &str) -> anyhow::Result<()> {
    match SharedFilter::parse(filter) {
        Ok(Some(_)) => Ok(()),
        _ => bail!("{filter:?} is no shared subscription"),
    }
}

/// Properties of a PUBLISH, without the length that stands in front of them on the wire.
fn properties<'b>(block: &[u8], bytes: &'b mut Vec<u8>) -> anyhow::Result<Properties<'b>> {
    let length = u32::try_from(block.len()).ok().filter(|length| *length <= VARINT_MAX);
    varint::write(bytes, length.context("too many properties")?);
    bytes.extend_from_slice(block);
    let read = Properties::decode(&mut Reader::new(bytes), Place::Publish);
    read.map_err(|offence| anyhow::anyhow!("malformed properties ({offence})"))
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    fn refused(line: &str) -> Option<String> {
        let text = format!("{{\"kind\":\"store\",\"format\":1,\"shards\":1}}\n{line}\n");
        lines::read(text.as_bytes()).err().map(|error| format!("{error:#}"))
    }

    fn message(members: &str) -> String {
        format!(
            r#"{{"kind":"message","id":"0:3","message":{{{members},"payload":"","qos":1}},
            "entries":[]}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn what_no_broker_writes_is_refused_with_its_line() {
        let session = |id: &str| {
            format!(
                r#"{{"kind":"session","id":"0:1","client_id":"{id}","listener":0,
                "expiry_seconds":1}}"#
            )
            .replace('\n', "")
        };
        let filter = |filter: &str, identifier: u32| {
            format!(
                r#"{{"kind":"subscription","id":"0:2","session":"0:1","filter":"{filter}",
                "options":1,"identifier":{identifier}}}"#
            )
            .replace('\n', "")
        };
        let entry = |members: &str| {
            message(r#""topic":"t""#).replace(
                "\"entries\":[]",
                &format!("\"entries\":[{{\"session\":\"0:1\",\"qos\":1,{members}}}]"),
            )
        };
        for good in [
            session("a"),
            filter("a/+/#", 268_435_455),
            filter("$share/g/a", 0),
            // Payload Format Indicator 1.
            message(r#""topic":"a/b","properties":"AQE=""#),
            entry(r#""identifiers":"Cwc=","share":"$share/g/a""#),
        ] {
            assert_eq!(refused(&good), None, "{good}");
        }
        for (bad, word) in [
            (session(""), "Client Identifier"),
            (session("a\\u0000"), "U+0000"),
            (session(&"x".repeat(65_536)), "65536 bytes"),
            (filter("a/#/b", 0), "no Topic Filter"),
            (filter("$share/g", 0), "no Topic Filter"),
            (filter("a", 268_435_456), "no Subscription Identifier"),
            (message(r#""topic":"""#), "no Topic Name"),
            (message(r#""topic":"a/+""#), "no Topic Name"),
            (message(r#""topic":"t","properties":"PAE=""#), "malformed properties"),
            // A Topic Alias.
            (message(r#""topic":"t","properties":"IwAB""#), "the broker's own"),
            (entry(r#""identifiers":"AQE=""#), "no Subscription Identifier"),
            (entry(r#""share":"a""#), "no shared subscription"),
        ] {
            let words = refused(&bad).unwrap_or_else(|| panic!("taken: {bad:.200}"));
            assert!(words.starts_with("line 2: ") && words.contains(word), "{words:.300}");
        }
    }
}
