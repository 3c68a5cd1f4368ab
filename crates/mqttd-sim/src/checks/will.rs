//! A will is published exactly when the standard says (3.1.2.5): not after a normal DISCONNECT;
//! else once, after its delay or with the session's end; not when the Client came back before.

use crate::history::{Connection, History};
use crate::plan::Scene;

/// Time within which the broker must have learnt and done what was due.
const SLACK_MILLIS: u64 = 2000;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    if history.is_lossy() || history.had_disk_fault {
        return Ok(());
    }
    for connection in &history.connections {
        let Some(will) = connection.will.as_deref() else { continue };
        let topic = format!("w/{}", connection.who);
        let seen = |copy: &&crate::history::Copy| copy.topic == topic && copy.payload == will;
        let watched = |copy: &&crate::history::Copy| copy.who == crate::plan::WATCHER;
        let times: Vec<_> =
            history.copies.iter().filter(watched).filter(seen).map(|copy| copy.at).collect();
        let Some(due) = Due::of(history, connection) else {
            if !times.is_empty() {
                return Err(format!("the will {will} was published though none was due"));
            }
            continue;
        };
        // The watcher gets QoS 1, which a crash may repeat.
        let may_repeat = history.deaths.iter().any(|death| death.at >= due.from);
        if times.first().is_some_and(|at| *at < due.from) {
            return Err(format!("the will {will} came at {}, due at {}", times[0], due.from));
        }
        if times.len() > 1 && !may_repeat {
            return Err(format!("the will {will} came {} times", times.len()));
        }
        let may_drop = scene.queue_max.is_some() && history.dropped > 0;
        if times.is_empty() && due.must && !may_drop {
            return Err(format!("the will {will} never came, due at {}", due.from));
        }
    }
    Ok(())
}

/// When a will may be published at the earliest, and whether it must.
struct Due {
    from: u64,
    must: bool,
}

impl Due {
    fn of(history: &History, connection: &Connection) -> Option<Self> {
        let admitted = connection.admitted_at?;
        let death = history.deaths.iter().find(|death| death.at >= admitted);
        let Some((ended, normally)) = connection.ended else {
            // Nobody promises the wills of connections that a crash has ended; those that live to
            // the end are not due.
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
                // A wall clock that jumped may have made it due.
                let jumped = history.deaths.iter().any(|d| d.at >= ended && d.at <= at);
                return jumped.then_some(Self { from: ended, must: false });
            }
            // The session ends, and with it the delay.
            Some((at, true)) if at < due => at,
            _ => due,
        };
        let survives = death.is_none_or(|death| death.at > from + SLACK_MILLIS);
        let jumped = history.deaths.iter().any(|d| d.at >= ended && d.at <= from);
        let from = if jumped { ended } else { from };
        Some(Self { from, must: survives && from + SLACK_MILLIS < history.ended_at })
    }
}
