//! A QoS 2 message comes exactly once to a session, a QoS 0 message at most once.

use std::collections::BTreeMap;

use mqtt_proto::QoS;

use crate::checks::has_shared;
use crate::history::History;
use crate::plan::Scene;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    // Flipped bits may take what says that a message was sent, and a session with overlapping
    // subscriptions may ask for one copy of each.
    if history.is_damaged || scene.overlaps {
        return Ok(());
    }
    let mut seen: BTreeMap<(usize, usize, usize), Vec<u64>> = BTreeMap::new();
    for copy in &history.copies {
        let Some(message) = copy.message.filter(|_| copy.is_new && !copy.retain) else { continue };
        let Some(sent) = history.sent.get(message).filter(|sent| !sent.retain) else { continue };
        if sent.qos != copy.qos || copy.qos == QoS::AtLeastOnce {
            continue;
        }
        let before = seen.entry((copy.who, copy.era, message)).or_default();
        // A QoS 2 message goes out before the device has what is noted of that.
        let is_forgotten = |at: &u64| sent.qos > QoS::AtMostOnce && history.may_be_forgotten(*at);
        // Delivered from memory, refused by a log, and its publisher could not be told: 3.1.1 of
        // another shard's log, or a connection that was gone. It is a new attempt when repeated.
        let is_excused = history.is_new_attempt(message) || before.iter().all(is_forgotten);
        if !is_excused && !has_shared(history, copy.who) {
            return Err(format!("c{} got m{message} twice on {}", copy.who, copy.topic));
        }
        before.push(copy.written_at);
    }
    Ok(())
}
