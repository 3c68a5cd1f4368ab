//! One file for each promise. Each reads the history beside a naive model and says what is wrong.

mod access;
mod lost;
mod order;
mod retained;
mod twice;
mod will;

use crate::history::History;
use crate::plan::Scene;
use crate::world::Failure;

/// A checker: its name and what it finds.
type Checker = (&'static str, fn(&Scene, &History) -> Result<(), String>);

/// Beside these, `speech` and `bounds` are checked while it happens (`client.rs`, `world.rs`),
/// `drops` in `audit.rs`, `leftovers` and `rest` in `finish.rs`.
const CHECKERS: [Checker; 6] = [
    ("access", access::check),
    ("lost", lost::check),
    ("twice", twice::check),
    ("order", order::check),
    ("retained", retained::check),
    ("will", will::check),
];

pub(crate) fn check(scene: &Scene, history: &History) -> Option<Failure> {
    CHECKERS.iter().find_map(|(checker, check)| {
        check(scene, history).err().map(|words| Failure { checker, words })
    })
}

/// Whether an ordinary filter matches, as the standard says it (4.7), level by level.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    for (place, level) in filter.iter().enumerate() {
        match *level {
            "#" => return true,
            "+" if place < topic.len() => {}
            text if topic.get(place) == Some(&text) => {}
            _ => return false,
        }
    }
    filter.len() == topic.len()
}

/// What stands behind the group's name.
pub(crate) fn shared_filter(filter: &str) -> Option<&str> {
    filter.strip_prefix("$share/")?.split_once('/').map(|(_, inner)| inner)
}

/// The Client has asked for a shared subscription: its share comes beside its own subscriptions,
/// also in a session that it believes to be a new one, when its CONNECT was lost.
fn has_shared(history: &History, who: usize) -> bool {
    history.asked_shared.contains(&who)
}
