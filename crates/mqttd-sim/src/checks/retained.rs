//! Whoever subscribes is sent the value that was current then, or a newer one: never one that an
//! acknowledged publication had replaced before the SUBSCRIBE was sent.

use crate::history::{Copy, History};
use crate::plan::Scene;
use crate::world::FRESH;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    // Nobody knows what flipped bits have taken.
    if history.is_damaged {
        return Ok(());
    }
    for copy in history.copies.iter().filter(|copy| copy.retain && copy.who != crate::plan::ROGUE) {
        check_copy(history, copy)?;
    }
    if history.subscriptions.iter().any(|subscription| subscription.who == FRESH) {
        for publisher in 0..scene.actors {
            check_last(history, publisher)?;
        }
    }
    Ok(())
}

fn owner(topic: &str) -> Option<usize> {
    topic.strip_prefix("r/")?.parse().ok()
}

/// Number of the publisher's last message that was acknowledged before this place, and that no
/// crash may have taken.
fn last_kept(history: &History, publisher: usize, before: usize) -> Option<usize> {
    let all = history.sent.iter().enumerate().filter(|(_, sent)| {
        sent.publisher == publisher
            && sent.retain
            && history.kept(sent).is_some_and(|(place, _)| place < before)
    });
    all.map(|(number, _)| number).max()
}

fn check_copy(history: &History, copy: &Copy) -> Result<(), String> {
    let Some(publisher) = owner(&copy.topic) else {
        return Err(format!("c{} got {} as retained on {}", copy.who, copy.payload, copy.topic));
    };
    // What was sent for an earlier SUBSCRIBE may come late, or again on another connection; also
    // for one of a session before, if a crash has forgotten its end.
    let eras = history.oldest_era(copy.who, copy.era)..=copy.era;
    let asks = history.asked.iter().filter(|(who, era, _)| *who == copy.who && eras.contains(era));
    let Some(first) = asks.map(|(.., place)| *place).min() else {
        return Err(format!("c{} got {} and had not subscribed", copy.who, copy.payload));
    };
    let kept = last_kept(history, publisher, first);
    match (copy.message, kept) {
        (Some(value), Some(kept)) if value < kept && !history.is_new_attempt(value) => {
            Err(format!("c{} got the retained m{value} after m{kept} was kept", copy.who))
        }
        _ => Ok(()),
    }
}

/// The fresh Client's view at the end, when nothing is under way.
fn check_last(history: &History, publisher: usize) -> Result<(), String> {
    let mut copies = history.copies.iter().filter(|copy| copy.who == FRESH && copy.retain);
    let value = copies.rfind(|copy| owner(&copy.topic) == Some(publisher));
    let value = value.and_then(|copy| copy.message);
    let end = history.fresh_asked;
    let kept = last_kept(history, publisher, end);
    let later = history.sent.iter().enumerate().filter(|(number, sent)| {
        sent.publisher == publisher
            && sent.retain
            && sent.first < end
            && kept.is_none_or(|kept| *number >= kept)
    });
    let again = (0..history.sent.len()).filter(|number| {
        let sent = &history.sent[*number];
        sent.publisher == publisher && sent.retain && history.is_new_attempt(*number)
    });
    let later = later.chain(again.map(|number| (number, &history.sent[number])));
    let mut possible: Vec<_> = later.map(|(n, sent)| (!sent.clears).then_some(n)).collect();
    if kept.is_none() {
        possible.push(None);
    }
    if possible.contains(&value) {
        Ok(())
    } else {
        Err(format!("r/{publisher} is {value:?} at the end, not one of {possible:?}"))
    }
}
