//! Rows of persistence and durability.

use crate::config::{Durability, DurabilityRule};
use crate::directive::{
    Directive,
    Meaning::Global,
    Status, Tail,
    Value::{Flag, Ignored, Parsed, Path},
};
use crate::raw::Draft;

const NOT_NEEDED: Status = Status::Unnecessary("every change is written when it happens");

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "persistence",
        Global(Flag(|draft, on| draft.config.persistence.enabled = on)),
        "false",
        "persistence true",
        "Keeps sessions, their queues and retained messages on disk, so that they outlive the \
         process.",
    )
    .aliases(&["retained_persistence"])
    .at_start(),
    Directive::new(
        "persistence_location",
        Global(Path(|draft, path| draft.config.persistence.location = path)),
        "the working directory",
        "persistence_location /var/lib/mqttd/",
        "The folder that persistent data is kept in.",
    )
    .at_start(),
    Directive::new(
        "persistence_file",
        Global(Path(|draft, path| draft.config.persistence.mosquitto_file = path)),
        "mosquitto.db",
        "persistence_file broker.db",
        "The name of Mosquitto's database in `persistence_location`. The broker's own files have \
         names of their own; this one is what `mqttd store import-mosquitto -c` takes over and \
         `mqttd store export-mosquitto -c` gives back.",
    )
    .at_start(),
    Directive::new(
        "durability",
        Global(Parsed(RULE, Tail::Quoted, |draft: &mut Draft, text| {
            let rule = parse_rule(text)?;
            let rules = &mut draft.config.persistence.durability;
            if rules.iter().any(|known| known.filter == rule.filter) {
                return Err("given once for each filter".to_owned());
            }
            rules.push(rule);
            Ok(())
        })),
        "process with persistence, else none",
        "durability sync alarms/#",
        "What has happened to a message before it is acknowledged: `none` nothing, `process` the \
         operating system has it (it outlives a crash of the broker), `sync` the disk has it (it \
         outlives a power cut). With a Topic Filter, only for topics that match it; the \
         strongest matching line counts. Not in Mosquitto.",
    )
    .repeats()
    .at_start(),
    Directive::new(
        "autosave_interval",
        Global(Ignored),
        "",
        "autosave_interval 1800",
        "In Mosquitto, seconds between two writes of the database.",
    )
    .status(NOT_NEEDED),
    Directive::new(
        "autosave_on_changes",
        Global(Ignored),
        "",
        "autosave_on_changes true",
        "In Mosquitto, makes `autosave_interval` count changes instead of seconds.",
    )
    .status(NOT_NEEDED),
];

const RULE: &str = "none, process or sync, then nothing or a Topic Filter";

/// `LEVEL [FILTER]`.
fn parse_rule(text: &str) -> Result<DurabilityRule, String> {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let level = match word {
        "none" => Durability::None,
        "process" => Durability::Process,
        "sync" => Durability::Sync,
        _ => return Err(RULE.to_owned()),
    };
    let rest = rest.trim();
    if rest.is_empty() {
        return Ok(DurabilityRule { level, filter: None });
    }
    match filter_fault(rest) {
        Some(fault) => Err(format!("{RULE} ({fault})")),
        None => Ok(DurabilityRule { level, filter: Some(rest.to_owned()) }),
    }
}

/// What keeps `filter` from being a Topic Filter (MQTT 5.0, 4.7.1), if anything does.
pub(crate) fn filter_fault(filter: &str) -> Option<&'static str> {
    if filter.is_empty() || filter.len() > 65535 || filter.contains('\0') {
        return Some("a Topic Filter has 1 to 65535 bytes and no null character");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        if level.contains('#') && (level != "#" || !is_last) {
            return Some("'#' stands alone in the last level of a Topic Filter");
        }
        if level.contains('+') && level != "+" {
            return Some("'+' stands alone in its level of a Topic Filter");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |text: &str, level: Durability, filter: Option<&str>| {
            let rule = DurabilityRule { level, filter: filter.map(str::to_owned) };
            assert_eq!(parse_rule(text), Ok(rule), "{text}");
        };
        check("none", Durability::None, None);
        check("process", Durability::Process, None);
        check("sync #", Durability::Sync, Some("#"));
        check("sync\talarms/#", Durability::Sync, Some("alarms/#"));
        check("sync a b/+/c", Durability::Sync, Some("a b/+/c"));
        for wrong in ["", "Sync", "fsync", "sync a#", "sync #/a", "sync a/b+"] {
            assert!(parse_rule(wrong).is_err(), "{wrong}");
        }
    }
}
