//! At start: QoS 2 exchanges that the end of the broker has cut in two. Messages have been kept for
//! some sessions, and the publisher's log does not know of it. `exchange.rs` has the picture.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hashbrown::{HashMap, HashSet};

use crate::exchange::publishers_shard;
use crate::ids::{RecordId, SessionUid};
use crate::message::content;
use crate::record::{MessageRecord, Origin, Reached};
use crate::restore::Restore;

/// A message that had reached somebody and was not taken yet.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Who published it.
    pub publisher: SessionUid,
    /// Exchange and Packet Identifier.
    pub origin: Origin,
    /// See [`content_of`].
    pub content: u64,
    /// Whom it had reached.
    pub reached: Reached,
}

/// A number that tells a message from others under the same Packet Identifier.
pub fn content_of(message: &MessageRecord<'_>) -> u64 {
    let flags = (message.qos, message.retain);
    content(message.topic, message.properties, message.payload, flags)
}

/// One for each publisher and Packet Identifier: of several messages the newest, which had reached
/// all that any record of it names.
pub fn merge_cuts(cuts: impl IntoIterator<Item = Cut>) -> impl Iterator<Item = Cut> {
    let mut merged = BTreeMap::<_, Cut>::new();
    for cut in cuts {
        let place = (cut.publisher.0, cut.origin.packet_id);
        let Some(other) = merged.get_mut(&place) else {
            merged.insert(place, cut);
            continue;
        };
        let (older, mut newer) = if cut.origin.exchange < other.origin.exchange {
            (cut, other.clone())
        } else {
            (other.clone(), cut)
        };
        if older.content == newer.content {
            newer.reached.sessions.extend(older.reached.sessions);
            newer.reached.shares.extend(older.reached.shares);
        }
        *other = newer;
    }
    merged.into_values()
}

/// Finds the exchanges that were cut, and leaves each with its publisher's shard. To be called with
/// the records of all shards, in their order, before any of them is finished.
pub fn settle_exchanges(shards: &mut [Restore]) {
    let newest: Vec<_> = shards.iter().map(Restore::newest_exchange).collect();
    let is_open = |origin: &Origin| {
        let newest = newest.get(usize::from(publishers_shard(origin.exchange).0));
        newest.is_some_and(|newest| Some(origin.exchange) > *newest)
    };
    for shard in shards.iter_mut() {
        for message in &mut shard.messages {
            message.origin = message.origin.filter(is_open);
        }
    }
    if shards.iter().flat_map(|shard| &shard.messages).all(|message| message.origin.is_none()) {
        return;
    }
    let known = Known::of(shards);
    for shard in shards.iter_mut() {
        for message in &mut shard.messages {
            let publisher = message.message.publisher;
            message.origin = message.origin.filter(|origin| known.awaits(publisher, origin));
        }
    }
    let cuts: Vec<_> = shards.iter().flat_map(Restore::cuts).collect();
    let mut highest = HashMap::<u8, RecordId>::new();
    for cut in &cuts {
        let of = publishers_shard(cut.origin.exchange).0;
        let highest = highest.entry(of).or_insert(cut.origin.exchange);
        *highest = cut.origin.exchange.max(*highest);
    }
    for cut in merge_cuts(cuts) {
        if let Some(shard) = shards.get_mut(usize::from(publishers_shard(cut.origin.exchange).0)) {
            shard.begin(cut);
        }
    }
    for (of, exchange) in highest {
        if let Some(shard) = shards.get_mut(usize::from(of)) {
            shard.settle_up_to(exchange);
        }
    }
}

/// Sessions that there are, and their open identifiers.
struct Known {
    sessions: HashSet<SessionUid>,
    received: HashSet<(SessionUid, u16)>,
}

impl Known {
    fn of(shards: &[Restore]) -> Self {
        Self {
            sessions: shards.iter().flat_map(Restore::session_uids).collect(),
            received: shards.iter().flat_map(Restore::received).collect(),
        }
    }

    /// The publisher may send the message again.
    fn awaits(&self, publisher: Option<SessionUid>, origin: &Origin) -> bool {
        publisher.is_some_and(|publisher| {
            self.sessions.contains(&publisher)
                && !self.received.contains(&(publisher, origin.packet_id.get()))
        })
    }
}
