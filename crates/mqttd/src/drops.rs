//! What was dropped last, and for whom, as two JSON texts below `$SYS/broker/drops/`: whoever may
//! read `$SYS` subscribes to `last` or `clients` and gets them.

use std::cmp::Reverse;

use mqttd_core::Shard;
use mqttd_core::drops::{DROP_TEXT_BYTES_MAX, DropReason, Dropped, RECENT_DROPS};
use serde_json::{Map, Value, json};

/// Clients listed in `clients`: those with the most drops.
const CLIENTS_MAX: usize = 100;

/// One shard's part, or all of it.
#[derive(Debug, Default)]
pub(crate) struct DropReport {
    recent: Vec<Dropped>,
    clients: Vec<(String, [u64; DropReason::COUNT])>,
}

impl DropReport {
    pub(crate) fn of(shard: &Shard) -> Self {
        // There may be as many as there are sessions: only those that are told are copied.
        let mut clients: Vec<_> = shard.drops_by_client().collect();
        if clients.len() > CLIENTS_MAX {
            clients.select_nth_unstable_by_key(CLIENTS_MAX, |(_, counts)| Reverse(total(counts)));
            clients.truncate(CLIENTS_MAX);
        }
        let clients = clients.into_iter().map(|(id, counts)| (cut(id).to_owned(), *counts));
        let mut report =
            Self { recent: shard.recent_drops().cloned().collect(), clients: clients.collect() };
        report.settle();
        report
    }

    /// Adds another shard's.
    pub(crate) fn add(&mut self, other: Self) {
        self.recent.extend(other.recent);
        self.clients.extend(other.clients);
        self.settle();
    }

    /// Keeps what is to be told.
    fn settle(&mut self) {
        self.recent.sort_by_key(|drop| drop.at);
        let surplus = self.recent.len().saturating_sub(RECENT_DROPS);
        self.recent.drain(..surplus);
        self.clients.sort_by_key(|(_, counts)| Reverse(total(counts)));
        self.clients.truncate(CLIENTS_MAX);
    }

    /// `[{"time":MILLISECONDS,"reason":…,"client":…,"topic":…}, …]`, oldest first.
    pub(crate) fn last(&self) -> String {
        let line = |drop: &Dropped| {
            let reason = drop.reason.map_or("", DropReason::name);
            json!({
                "time": drop.at.0,
                "reason": reason,
                "client": drop.client_id,
                "topic": drop.topic,
            })
        };
        Value::Array(self.recent.iter().map(line).collect()).to_string()
    }

    /// `{"CLIENT":{"REASON":COUNT, …}, …}`, for those with the most drops.
    pub(crate) fn clients(&self) -> String {
        let counts = |counts: &[u64; DropReason::COUNT]| {
            let named = DropReason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
            Value::Object(named.map(|(it, count)| (it.name().to_owned(), json!(count))).collect())
        };
        let clients = self.clients.iter().map(|(id, of)| (id.clone(), counts(of)));
        Value::Object(clients.collect::<Map<_, _>>()).to_string()
    }
}

fn total(counts: &[u64; DropReason::COUNT]) -> u64 {
    counts.iter().sum()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(DROP_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqttd_core::time::Instant;

    #[test]
    fn reports_of_shards_become_one() {
        let drop = |at, client_id: &str| Dropped {
            at: Instant(at),
            reason: Some(DropReason::QueueFull),
            client_id: client_id.to_owned(),
            topic: "t\"".to_owned(),
        };
        let mut counts = [0; DropReason::COUNT];
        counts[DropReason::QueueFull as usize] = 2;
        let mut one = DropReport {
            recent: vec![drop(2, "a"), drop(4, "a")],
            clients: vec![("a".to_owned(), counts)],
        };
        counts[DropReason::Expired as usize] = 1;
        one.add(DropReport { recent: vec![drop(3, "b")], clients: vec![("b".to_owned(), counts)] });
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let line = |time: u64, client: &str| {
            let reason = "queue_full";
            json!({ "time": time, "reason": reason, "client": client, "topic": "t\"" })
        };
        assert_eq!(read(&one.last()), json!([line(2, "a"), line(3, "b"), line(4, "a")]));
        let (a, b) = (json!({ "queue_full": 2 }), json!({ "queue_full": 2, "expired": 1 }));
        assert_eq!(read(&one.clients()), json!({ "a": a, "b": b }));
        let many = (0..300).map(|at| drop(at, "c")).collect();
        one.add(DropReport { recent: many, clients: Vec::new() });
        assert_eq!(one.recent.len(), RECENT_DROPS);
        assert_eq!(one.recent[0].at, Instant(200));
    }
}
