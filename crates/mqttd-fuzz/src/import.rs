//! What `mqttd store import` reads: lines of JSON, one for each record. Its parts are private to
//! `mqttd`, and compiled in here as they are; the folders they lie in there are `files` here.

use std::collections::{BTreeMap, BTreeSet};

use mqttd_core::ids::RecordId;
use mqttd_core::record::Record;

use crate::broker;

mod files {
    /// A record's number and bytes.
    pub(super) type Kept = (mqttd_core::ids::RecordId, Vec<u8>);
}

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "another crate's file")]
#[path = "../../mqttd/src/store_tool/json.rs"]
mod json;

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "another crate's file")]
#[path = "../../mqttd/src/store_tool/layout.rs"]
mod layout;

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "another crate's file")]
#[path = "../../mqttd/src/store_tool/legal.rs"]
mod legal;

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "another crate's file")]
#[path = "../../mqttd/src/store_tool/lines.rs"]
mod lines;

/// What is read comes out of an export again as it was, and whatever store an import makes of it,
/// a broker starts with.
pub fn store_import(bytes: &[u8]) {
    let export = match lines::read(bytes) {
        Ok(export) => export,
        Err(error) => return assert!(!format!("{error:#}").is_empty()),
    };
    for (id, body) in &export.records {
        let line = json::Line::of(*id, body).expect("it came from a line");
        let text = serde_json::to_string(&line).expect("a line is JSON");
        let again: json::Line = serde_json::from_str(&text).expect("our own line");
        let again = again.record().expect("our own line").expect("a record");
        assert_eq!((again.0, &again.1), (*id, body), "{text}");
    }
    for shards in [broker::SHARDS, export.shards] {
        let laid = layout::lay_out(export.records.clone(), Some(export.shards), shards);
        assert_eq!(laid.shards.len(), usize::from(shards));
        let laid: Vec<BTreeMap<RecordId, Vec<u8>>> =
            laid.shards.into_iter().map(|records| records.into_iter().collect()).collect();
        if shards == broker::SHARDS {
            let sessions = laid.iter().flat_map(BTreeMap::values).filter_map(|body| {
                let Ok(Record::Session(session)) = Record::decode(body) else { return None };
                Some(session.client_id.to_owned())
            });
            let sessions: BTreeSet<String> = sessions.collect();
            broker::starts_with(laid, &sessions);
        }
    }
}

/// Lines of an export, each broken where it is too long to be read.
const LINES: [&str; 13] = [
    r#"{"kind":"store","format":1,"shards":2}"#,
    r#"{"kind":"session","id":"0:1","client_id":"a","listener":0,
        "expiry_seconds":4294967295,"offline_since":5}"#,
    r#"{"kind":"session","id":"1:1","client_id":"b","username":"u","listener":0,
        "expiry_seconds":60}"#,
    r#"{"kind":"subscription","id":"0:2","session":"0:1","filter":"a/#","options":1,
        "identifier":7,"replays":true}"#,
    r#"{"kind":"message","id":"0:3","message":{"topic":"a/b","payload":"eA==","properties":"",
        "qos":2,"publisher":"1:1","expires_at":9999999},
        "origin":{"exchange":"1:9","packet_id":3},
        "entries":[{"session":"0:1","qos":2,"identifiers":"Cwc="},
        {"session":"1:1","qos":1,"share":"$share/g/a"}]}"#,
    r#"{"kind":"sent","id":"0:4","session":"0:1","packet_id":2,"message":"0:3","entry":0}"#,
    r#"{"kind":"done","id":"0:5","message":"0:3","entry":1}"#,
    r#"{"kind":"released","id":"0:6","session":"0:1","packet_id":3}"#,
    r#"{"kind":"received","id":"1:4","session":"1:1","packet_id":3,"exchange":"1:9"}"#,
    r#"{"kind":"settled","id":"1:5","exchange":"1:8"}"#,
    r#"{"kind":"begun","id":"1:6","session":"1:1","packet_id":4,"content":77,
        "sessions":["0:1"],"shares":["$share/g/a"]}"#,
    r#"{"kind":"retained","id":"0:7","message":{"topic":"a/r","payload":"cg==","qos":1,
        "retain":true},"source":{"client_id":"b","username":"u","listener":0}}"#,
    r#"{"kind":"will","id":"0:8","session":"0:1","due":50,
        "message":{"topic":"w","payload":"","qos":0}}"#,
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let lines = LINES.map(|line| line.lines().map(str::trim).collect::<String>());
    let one_shard = lines[0].replace('2', "1");
    let some = [&[one_shard][..], &lines[1..2], &lines[3..5]].concat();
    [lines.to_vec(), some, [&lines[1..], &lines[..1]].concat()]
        .map(|lines| lines.join("\n").into_bytes())
        .to_vec()
}
