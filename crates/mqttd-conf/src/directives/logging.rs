//! Rows of the log.

use std::path::PathBuf;

use crate::config::{LogDestination, LogType, LogTypes};
use crate::directive::{
    Directive,
    Meaning::Global,
    Tail,
    Value::{Flag, Integer, Parsed, Text},
};
use crate::raw::Draft;

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "log_dest",
        Global(Parsed(DESTINATION, Tail::Path, add_destination)),
        "stderr",
        "log_dest file /var/log/mqttd/mqttd.log",
        "Where log lines go; several lines name several places. `topic` publishes them below \
         `$SYS/broker/log/`, `none` forgets the places named above it. A line that is the same as \
         the one before it is counted instead, for up to ten seconds, unless it tells of a \
         connection.",
    )
    .repeats(),
    Directive::new(
        "log_type",
        Global(Parsed(TYPE, Tail::Comment, add_type)),
        "error, warning, notice, information",
        "log_type all",
        "A kind of log line that is written; several lines name several kinds. `none` forgets \
         the kinds named above it.",
    )
    .repeats(),
    Directive::new(
        "log_timestamp",
        Global(Flag(|draft, on| draft.config.logging.timestamp = on)),
        "true",
        "log_timestamp false",
        "Puts the time in front of each line.",
    ),
    Directive::new(
        "log_timestamp_format",
        Global(Text(|draft, format| draft.config.logging.timestamp_format = Some(format))),
        "seconds since 1970",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        "The form of the time, in the letters of strftime.",
    ),
    Directive::new(
        "log_facility",
        Global(Integer(0, 7, |draft, n| draft.config.logging.facility = u8::try_from(n).ok())),
        "daemon",
        "log_facility 5",
        "The syslog facility: 0 to 7 for local0 to local7.",
    ),
    Directive::new(
        "log_format",
        Global(Parsed(FORMAT, Tail::Comment, |draft: &mut Draft, word| {
            draft.config.logging.is_json = match word {
                "text" => false,
                "json" => true,
                _ => return Err(FORMAT.to_owned()),
            };
            Ok(())
        })),
        "text",
        "log_format json",
        "`json` writes each line as one JSON object with `time`, `type` and `text`; lines about \
         connections have `event`, `client`, `address` and, at the end, `reason`, `seconds` and \
         counters beside. For stdout, stderr, files and topics. Not in Mosquitto.",
    ),
    Directive::new(
        "connection_messages",
        Global(Flag(|draft, on| draft.config.logging.connection_messages = on)),
        "true",
        "connection_messages false",
        "Writes a line for every client that connects or disconnects.",
    ),
];

const DESTINATION: &str = "none, stdout, stderr, syslog, journald, topic or file PATH (dlt and \
                           android are not supported: use syslog or stderr)";
const FORMAT: &str = "text or json";
const TYPE: &str = "error, warning, notice, information, debug, subscribe, unsubscribe, \
                    websockets, internal, all or none";

fn add_destination(draft: &mut Draft, text: &str) -> Result<(), String> {
    let destinations = draft.destinations.get_or_insert_default();
    let destination = match text.split_once([' ', '\t']) {
        Some(("file", path)) => LogDestination::File(PathBuf::from(path.trim())),
        Some(_) => return Err(DESTINATION.to_owned()),
        None => match text {
            "none" => {
                destinations.clear();
                return Ok(());
            }
            "stdout" => LogDestination::Stdout,
            "stderr" => LogDestination::Stderr,
            "syslog" => LogDestination::Syslog,
            "journald" => LogDestination::Journald,
            "topic" => LogDestination::Topic,
            _ => return Err(DESTINATION.to_owned()),
        },
    };
    if !destinations.contains(&destination) {
        destinations.push(destination);
    }
    Ok(())
}

fn add_type(draft: &mut Draft, text: &str) -> Result<(), String> {
    let types = draft.types.get_or_insert(LogTypes::NONE);
    match text {
        "all" => *types = LogTypes::ALL,
        "none" => *types = LogTypes::NONE,
        word => match LogType::WORDS.iter().find(|(known, _)| *known == word) {
            Some((_, kind)) => types.insert(*kind),
            None => return Err(TYPE.to_owned()),
        },
    }
    Ok(())
}
