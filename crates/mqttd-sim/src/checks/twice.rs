//! A QoS 2 message comes exactly once to a session, a QoS 0 message at most once.

use std::collections::BTreeMap;

use mqtt_proto::QoS;

use crate::checks::has_shared;
use crate::history::{Death, History};
use crate::plan::Scene;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    // What a log refuses is delivered from memory, and again when its publisher repeats it.
    if history.is_lossy() || history.had_disk_fault || scene.overlaps {
        return Ok(());
    }
    let mut seen: BTreeMap<(usize, usize, usize), u32> = BTreeMap::new();
    for copy in &history.copies {
        let Some(message) = copy.message.filter(|_| copy.is_new && !copy.retain) else { continue };
        let Some(sent) = history.sent.get(message).filter(|sent| !sent.retain) else { continue };
        if sent.qos != copy.qos || copy.qos == QoS::AtLeastOnce {
            continue;
        }
        let count = seen.entry((copy.who, copy.era, message)).or_default();
        *count += 1;
        // It may have gone out before the device had it, and is repeated by its publisher.
        let kept_at = sent.kept.map_or(u64::MAX, |(_, at)| at);
        let was_open = |death: &&Death| death.at >= sent.first_at && death.at <= kept_at;
        let mut deaths = history.deaths.iter().filter(was_open);
        let is_excused = has_shared(history, copy.who) || deaths.any(|death| death.is_power_cut);
        if *count > 1 && !is_excused {
            return Err(format!("c{} got m{message} twice on {}", copy.who, copy.topic));
        }
    }
    Ok(())
}
