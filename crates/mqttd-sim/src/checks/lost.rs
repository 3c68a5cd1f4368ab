//! What was acknowledged is not lost: a QoS 1 or 2 message whose PUBACK or PUBREC came reaches
//! every lasting session that had subscribed before it was sent.

use mqtt_auth::{AclTable, Action, Who};
use mqtt_proto::QoS;

use crate::checks::matches;
use crate::history::{Copy, History, Sent, Subscription};
use crate::plan::{ACLS, Scene, WATCHER};

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    if history.is_damaged {
        return Ok(());
    }
    let mut missing = Vec::new();
    for (number, sent) in history.sent.iter().enumerate() {
        if !is_promised(scene, sent) || history.kept(sent).is_none() {
            continue;
        }
        let receivers = history.subscriptions.iter().filter(|subscription| {
            promises(subscription, sent)
                && !history.may_be_lost(subscription.since_at)
                && is_allowed(scene, subscription.who, &sent.topic)
                && fits(history, subscription.who, sent)
        });
        for Subscription { who, era, filter, .. } in receivers {
            // What its session takes for a repetition, the Client does not take at all.
            let is_taken = |copy: &Copy| copy.is_new || history.meets_an_open_identifier(copy);
            let is_it = |copy: &Copy| copy.message == Some(number) && is_taken(copy);
            let mut heard = history.copies.iter().filter(|copy| is_it(copy));
            if !heard.any(|copy| copy.who == *who && copy.era == *era) {
                missing.push(format!("c{who} never got m{number} on {} ({filter})", sent.topic));
            }
        }
    }
    let may_drop = scene.queue_max.is_some() || scene.queue_bytes.is_some();
    let dropped = if may_drop { history.dropped as usize } else { 0 };
    match missing.first() {
        Some(first) if missing.len() > dropped => {
            Err(format!("{first}; {} missing, {dropped} dropped with a reason", missing.len()))
        }
        _ => Ok(()),
    }
}

fn is_promised(scene: &Scene, sent: &Sent) -> bool {
    let may_write = allows_all(scene, sent.publisher, Action::Publish, &sent.topic);
    sent.qos > QoS::AtMostOnce && !sent.expires && !sent.clears && may_write
}

fn promises(subscription: &Subscription, sent: &Sent) -> bool {
    subscription.qos > QoS::AtMostOnce
        && subscription.since < sent.first
        && subscription.until.is_none()
        && subscription.is_lasting
        && !(subscription.no_local && subscription.who == sent.publisher)
        && matches(subscription.filter, &sent.topic)
}

fn is_allowed(scene: &Scene, who: usize, topic: &str) -> bool {
    allows_all(scene, who, Action::Deliver, topic)
}

/// Every version of the access rights allows it.
fn allows_all(scene: &Scene, who: usize, action: Action, topic: &str) -> bool {
    let name = format!("c{who}");
    let asks = Who { username: Some(&name), client_id: &name };
    !scene.has_acl
        || who == WATCHER
        || ACLS.iter().all(|text| {
            let table = AclTable::parse(text).expect("the lists of plan.rs are right");
            table.check(&asks, action, topic).is_allowed()
        })
}

/// The receiver's Maximum Packet Size leaves room for it.
fn fits(history: &History, who: usize, sent: &Sent) -> bool {
    let max = history.packet_max.get(who).copied().flatten();
    max.is_none_or(|max| sent.bytes + sent.topic.len() + 30 <= max as usize)
}
