//! A will is published exactly when the standard says (3.1.2.5): not after a normal DISCONNECT;
//! else once, after its delay or with the session's end; not when the Client came back before.

use crate::history::{Connection, History};
use crate::plan::{Scene, WATCHER};

/// Time within which the broker must have learnt and done what was due.
const SLACK_MILLIS: u64 = 2000;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    // Flipped bits may take a will, or its death.
    if history.is_damaged {
        return Ok(());
    }
    let mut missing = Vec::new();
    for connection in &history.connections {
        let Some(will) = connection.will.as_deref() else { continue };
        let topic = format!("w/{}", connection.who);
        let seen = |copy: &&crate::history::Copy| copy.topic == topic && copy.payload == will;
        let watched = |copy: &&crate::history::Copy| copy.who == WATCHER;
        let times: Vec<_> =
            history.copies.iter().filter(watched).filter(seen).map(|copy| copy.at).collect();
        let Some(due) = Due::of(history, connection) else {
            if !times.is_empty() {
                return Err(format!("the will {will} was published though none was due"));
            }
            continue;
        };
        if due.is_forgotten(history, &times) {
            continue;
        }
        // The watcher gets QoS 1, which a crash may repeat.
        let may_repeat = history.deaths.iter().any(|death| death.at >= due.from);
        if times.first().is_some_and(|at| *at < due.from) {
            return Err(format!("the will {will} came at {}, due at {}", times[0], due.from));
        }
        if times.len() > 1 && !may_repeat {
            return Err(format!("the will {will} came {} times", times.len()));
        }
        if times.is_empty() && due.must && is_watched(history, due.from) {
            missing.push(format!("the will {will} never came, due at {}", due.from));
        }
    }
    let may_drop = scene.queue_max.is_some() || scene.queue_bytes.is_some();
    let dropped = if may_drop { history.dropped as usize } else { 0 };
    match missing.first() {
        Some(first) if missing.len() > dropped => Err(first.clone()),
        _ => Ok(()),
    }
}

/// The watcher had subscribed by then, and no crash has taken that.
fn is_watched(history: &History, at: u64) -> bool {
    history.subscriptions.iter().any(|subscription| {
        let since = subscription.since_at;
        subscription.who == WATCHER && since < at && !history.may_be_lost(since)
    })
}

/// When a will may be published at the earliest, and whether it must.
struct Due {
    from: u64,
    must: bool,
    /// When the connection ended, and when the session went on with another one.
    ended: u64,
    back: Option<u64>,
}

impl Due {
    fn of(history: &History, connection: &Connection) -> Option<Self> {
        let admitted = connection.admitted_at?;
        let death = history.deaths.iter().find(|death| death.at >= admitted);
        let Some((ended, normally)) = connection.ended else {
            // The wills of connections that a crash ends go with it (docs/durability.md); those
            // that live to the end are not due.
            return None;
        };
        if normally {
            return None;
        }
        let delay = connection.delay_millis.min(connection.session_millis);
        // In the order of admission: a slow CONNECT may come behind one that was sent later.
        let later = history.connections.iter().filter(|next| {
            next.who == connection.who
                && next.admitted_at.is_some()
                && next.admitted > connection.admitted
        });
        let next = later.min_by_key(|next| next.admitted);
        let back = next.and_then(|next| Some((next.admitted_at?, next.clean)));
        let due = ended + delay;
        let from = match back {
            // The session goes on: the will is taken back.
            Some((at, false)) if delay > 0 && at < due => {
                // A wall clock that jumped may have made it due, or a crash has forgotten this.
                let jumped = history.deaths.iter().any(|d| d.at >= ended && d.at <= at);
                let back = Some(at);
                let may_come = jumped || history.may_be_forgotten(at);
                return may_come.then_some(Self { from: ended, must: false, ended, back });
            }
            // The session ends, and with it the delay.
            Some((at, true)) if at < due => at,
            _ => due,
        };
        let survives = death.is_none_or(|death| death.at > from + SLACK_MILLIS);
        let jumped = history.deaths.iter().any(|d| d.at >= ended && d.at <= from);
        let from = if jumped { ended } else { from };
        // Who comes back in the very millisecond may be a little early or a little late.
        let is_race = back == Some((due, false)) && delay > 0;
        let must = survives && !is_race && from + SLACK_MILLIS < history.ended_at;
        Some(Self { from, must, ended, back: back.map(|(at, _)| at) })
    }

    /// A crash has forgotten what became of the will: that it was to be published, that it was, or
    /// that its Client came back. Nobody was promised that this is kept.
    fn is_forgotten(&self, history: &History, times: &[u64]) -> bool {
        let events = [self.ended].into_iter().chain(self.back).chain(times.iter().copied());
        events.into_iter().any(|at| history.may_be_forgotten(at))
    }
}
