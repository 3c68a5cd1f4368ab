//! The messages of one publisher on one topic with one QoS come to each session in their order
//! [MQTT-4.6.0-6].

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::has_shared;
use crate::history::{Death, History};
use crate::plan::Scene;

pub(super) fn check(_: &Scene, history: &History) -> Result<(), String> {
    // What flipped bits have taken comes again in any order.
    if history.is_damaged {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    let mut last = BTreeMap::new();
    for copy in history.copies.iter().filter(|copy| !copy.retain) {
        let Some(message) = copy.message else { continue };
        let Some(sent) = history.sent.get(message) else { continue };
        let is_first = seen.insert((copy.who, copy.era, message));
        if !is_first || has_shared(history, copy.who) {
            continue;
        }
        // What a crash finds unacknowledged is sent again behind what had overtaken it by then.
        let kept_at = sent.kept.map_or(u64::MAX, |(_, at)| at);
        let was_open = |death: &Death| death.at >= sent.first_at && death.at <= kept_at;
        // Repeated by its publisher, what was published before the SUBSCRIBE comes behind younger.
        let is_older = |(who, _, place): &(usize, usize, usize)| {
            sent.is_repeated && *who == copy.who && *place > sent.first
        };
        if history.deaths.iter().any(was_open) || history.asked.iter().any(is_older) {
            continue;
        }
        let key = (copy.who, copy.era, sent.publisher, &sent.topic, sent.qos, copy.qos);
        if let Some(before) = last.insert(key, message) {
            if before > message {
                return Err(format!("c{} got m{message} after m{before}", copy.who));
            }
        }
    }
    Ok(())
}
