//! A QoS 2 message comes exactly once to a session, a QoS 0 message at most once.

use std::collections::BTreeMap;

use mqtt_proto::QoS;

use crate::checks::has_shared;
use crate::history::{Copy, History};
use crate::plan::Scene;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    // Flipped bits may take what says that a message was sent, and a session with overlapping
    // subscriptions may ask for one copy of each.
    if history.is_damaged || scene.overlaps {
        return Ok(());
    }
    let mut seen: BTreeMap<(usize, usize, usize), Vec<&Copy>> = BTreeMap::new();
    for copy in &history.copies {
        let Some(message) = copy.message.filter(|_| copy.is_new && !copy.retain) else { continue };
        let Some(sent) = history.sent.get(message).filter(|sent| !sent.retain) else { continue };
        if sent.qos != copy.qos || copy.qos == QoS::AtLeastOnce {
            continue;
        }
        let before = seen.entry((copy.who, copy.era, message)).or_default();
        // A QoS 2 message goes out before the device has what is noted of that, and PUBREL before
        // it has that the Client was told to forget the identifier.
        let is_forgotten = |copy: &&Copy| {
            let mut times = [Some(copy.written_at), copy.released_at].into_iter().flatten();
            sent.qos > QoS::AtMostOnce && times.any(|at| history.may_be_forgotten(at))
        };
        // Delivered from memory, refused by a log, and what became of it was lost on its way; or
        // kept by a log, and that it had arrived was lost by another one or in a hole.
        let is_excused = history.is_new_attempt(message)
            || history.may_be_taken_anew(message)
            || before.iter().all(is_forgotten);
        if !is_excused && !has_shared(history, copy.who) {
            return Err(format!("c{} got m{message} twice on {}", copy.who, copy.topic));
        }
        before.push(copy);
    }
    Ok(())
}
