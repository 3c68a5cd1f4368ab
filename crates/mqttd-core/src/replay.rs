//! Retained messages on their way to a new subscription, in paced steps (MQTT 3.8.4).
//!
//! ```text
//!   subscribe ─▶ Replay in the session ── ReplayMore ──▶ owner shards: a cursor each
//!                     ▲      │ sends as fast as the Client reads          │
//!                     └──────┴───────────── ReplayPart ◀──────────────────┘
//! ```
//! A replay never counts against a queue limit: the next part is asked for when the last is sent.
//! One that the end of a connection cuts off goes on with the next connection of its session, also
//! after a restart: the subscription's record says that it is owed. A crash in the middle of a
//! connection cuts it off for good, since no record is written while it runs.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mqtt_proto::QoS;
use mqtt_proto::topic::Cursor;

use crate::deliver::address;
use crate::drops::DropReason;
use crate::envelope::{Envelope, ReplayAddress, SessionAddress};
use crate::frames::Frames;
use crate::grant::{Grant, GrantExtra};
use crate::ids::{SessionKey, SessionUid, ShardId};
use crate::limits::{OUTPUT_FLUSH_BYTES, REPLAY_STEP, REPLAY_SUPERSEDED_MAX, REPLAYS_AT_ONCE};
use crate::matching::ShardSet;
use crate::message::{Message, Passing};
use crate::output::Output;
use crate::record::Record;
use crate::session::Subscribed;
use crate::shard::Shard;
use crate::time::Instant;

/// A session's replays in the order they were asked for. Found by number and by filter, because a
/// Client may subscribe again to thousands of filters while their replays wait. Empty, it owns no
/// memory.
#[derive(Default)]
pub(crate) struct Replays {
    inner: Option<Box<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    by_number: BTreeMap<u64, Replay>,
    /// There is at most one for each subscription.
    by_filter: BTreeMap<Arc<str>, u64>,
}

/// A replay as the session that receives it sees it.
pub(crate) struct Replay {
    number: u64,
    filter: Arc<str>,
    grant: Grant,
    /// Shards that may have more.
    sources: ShardSet,
    /// Shards that have been asked and have not answered.
    asked: ShardSet,
    buffer: VecDeque<Arc<Message>>,
    /// Topics whose value has changed and reached the session meanwhile: the older is not sent.
    superseded: BTreeSet<Box<str>>,
    has_begun: bool,
}

/// Replays this shard serves from its own retained messages.
pub(crate) struct ServedReplays {
    open: HashMap<(ShardId, ReplayAddress), Cursor, FixedState>,
    /// Requests of this shard's own sessions, served at the next tick so that one look-up with few
    /// matches among many topics can't hold up a turn.
    pub(crate) local: VecDeque<ReplayAddress>,
}

impl Replays {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    fn len(&self) -> usize {
        self.inner.as_ref().map_or(0, |waiting| waiting.by_number.len())
    }

    fn push(&mut self, replay: Replay) {
        let waiting = self.inner.get_or_insert_default();
        waiting.by_filter.insert(Arc::clone(&replay.filter), replay.number);
        waiting.by_number.insert(replay.number, replay);
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replay> {
        self.inner.iter_mut().flat_map(|waiting| waiting.by_number.values_mut())
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Replay> {
        self.inner.as_mut()?.by_number.get_mut(&number)
    }

    fn remove_filter(&mut self, filter: &str) -> Option<Replay> {
        let waiting = self.inner.as_mut()?;
        let number = waiting.by_filter.remove(filter)?;
        let replay = waiting.by_number.remove(&number);
        if waiting.by_number.is_empty() {
            self.inner = None;
        }
        replay
    }

    fn into_iter(self) -> impl Iterator<Item = Replay> {
        self.inner.into_iter().flat_map(|waiting| waiting.by_number.into_values())
    }
}

impl ServedReplays {
    pub(crate) fn new(seed: u64) -> Self {
        let open = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { open, local: VecDeque::new() }
    }
}

impl Replay {
    /// A newer value of the topic has reached the session.
    fn supersede(&mut self, topic: &str) {
        if self.superseded.len() >= REPLAY_SUPERSEDED_MAX {
            // What is here already can be looked at now; what is still on its way can't.
            let superseded = &self.superseded;
            self.buffer.retain(|message| !superseded.contains(message.topic()));
            if self.asked.is_empty() {
                self.superseded.clear();
            }
        }
        self.superseded.insert(Box::from(topic));
    }
}

impl Shard {
    /// Lets the retained messages that match `filter` follow the subscription.
    ///
    /// False when there are none.
    pub(crate) fn add_replay(&mut self, key: SessionKey, filter: &str, grant: Grant) -> bool {
        self.replays_made.up(1);
        let number = self.replays_made;
        let mut sources = ShardSet::default();
        if filter.contains(['+', '#']) {
            (0..self.shards).for_each(|shard| sources.insert(ShardId(shard)));
        } else {
            sources.insert(self.retained.owner(filter, self.shards));
        }
        if self.retained.tree.is_empty() {
            sources.remove(self.id);
        }
        if sources.is_empty() {
            return false;
        }
        self.sessions[key].replays.push(Replay {
            number,
            filter: Arc::from(filter),
            grant,
            sources,
            asked: ShardSet::default(),
            buffer: VecDeque::new(),
            superseded: BTreeSet::new(),
            has_begun: false,
        });
        true
    }

    /// The session has been sent a new retained value.
    pub(crate) fn supersede(&mut self, key: SessionKey, topic: &str) {
        self.sessions[key].replays.iter_mut().for_each(|replay| replay.supersede(topic));
    }

    /// Sends what the Client can take now, and asks for more.
    pub(crate) fn pump_replays<O: Output>(&mut self, key: SessionKey, now: Instant, out: &mut O) {
        if self.sessions[key].replays.is_empty() {
            return;
        }
        let mut replays = core::mem::take(&mut self.sessions[key].replays);
        let mut frames = Frames::default();
        loop {
            let before = replays.len();
            for replay in replays.iter_mut().take(REPLAYS_AT_ONCE) {
                self.pump_replay(key, replay, now, &mut frames, out);
            }
            // Only those in front can have ended; thousands may wait behind them.
            let in_front = replays.iter_mut().take(REPLAYS_AT_ONCE);
            let ended: Vec<_> = in_front
                .filter(|replay| replay.sources.is_empty() && replay.buffer.is_empty())
                .map(|replay| Arc::clone(&replay.filter))
                .collect();
            for filter in ended {
                replays.remove_filter(&filter);
                self.record_replay(key, &filter, false, out);
            }
            // Those that have ended make room for others.
            if replays.len() == before || replays.is_empty() {
                break;
            }
        }
        let added = core::mem::replace(&mut self.sessions[key].replays, replays);
        added.into_iter().for_each(|replay| self.sessions[key].replays.push(replay));
    }

    fn pump_replay<O: Output>(
        &mut self,
        key: SessionKey,
        replay: &mut Replay,
        now: Instant,
        frames: &mut Frames,
        out: &mut O,
    ) {
        while let Some(next) = replay.buffer.front() {
            let qos = next.qos.min(replay.grant.qos);
            let size = next.payload().len();
            if !self.can_replay(key, qos, size, out) {
                break;
            }
            let Some(next) = replay.buffer.pop_front() else { break };
            if next.expires_at <= now || replay.superseded.contains(next.topic()) {
                continue;
            }
            let mut passing = Passing::from_message(&next);
            self.deliver(key, &replay.grant, &mut passing, true, now, frames, out);
            self.journal.close_message(&passing, None, out);
        }
        if replay.buffer.is_empty() {
            self.ask_for_more(key, replay, out);
        }
    }

    fn can_replay<O: Output>(
        &mut self,
        key: SessionKey,
        qos: QoS,
        payload_len: usize,
        out: &mut O,
    ) -> bool {
        let session = &self.sessions[key];
        let room = session.queue.is_empty() && session.sender.has_room();
        if qos > QoS::AtMostOnce && (!room || self.is_stuffed(key, payload_len, out)) {
            return false;
        }
        let session = &self.sessions[key];
        if session.queue.holds_qos0() {
            return false;
        }
        let Some(online) = &session.online else { return false };
        out.wire(online.connection).len() <= OUTPUT_FLUSH_BYTES
            || out.flush(online.connection) <= OUTPUT_FLUSH_BYTES
    }

    fn ask_for_more<O: Output>(&mut self, key: SessionKey, replay: &mut Replay, out: &mut O) {
        let session = &self.sessions[key];
        if session.online.is_none() {
            return;
        }
        let to = ReplayAddress { session: address(key, session), replay: replay.number };
        for shard in replay.sources.iter() {
            let mut bit = ShardSet::default();
            bit.insert(shard);
            if replay.asked.iter().any(|asked| asked == shard) {
                continue;
            }
            replay.asked.union(bit);
            let filter = (!replay.has_begun).then(|| Box::from(&*replay.filter));
            if shard == self.id {
                if let Some(filter) = filter {
                    self.open_replay(shard, to, &filter);
                }
                self.served.local.push_back(to);
            } else {
                out.to_shard(shard, Envelope::ReplayMore { to, filter });
            }
        }
        replay.has_begun = true;
    }

    /// Serves the requests of this shard's own sessions, as many as there are now.
    pub(crate) fn serve_local_replays<O: Output>(&mut self, now: Instant, out: &mut O) {
        for _ in 0..self.served.local.len() {
            let Some(to) = self.served.local.pop_front() else { return };
            if let Some((messages, finished)) = self.serve(self.id, to) {
                self.replay_part(self.id, to, messages, finished, now, out);
            }
        }
    }

    /// Another shard's session asks.
    pub(crate) fn serve_remote_replay<O: Output>(
        &mut self,
        from: ShardId,
        to: ReplayAddress,
        filter: Option<Box<str>>,
        out: &mut O,
    ) {
        if let Some(filter) = filter {
            self.open_replay(from, to, &filter);
        }
        if let Some((messages, finished)) = self.serve(from, to) {
            out.to_shard(from, Envelope::ReplayPart { to, messages, finished });
        }
    }

    fn open_replay(&mut self, from: ShardId, to: ReplayAddress, filter: &str) {
        let cursor = self.retained.tree.cursor(filter);
        if let Some(old) = self.served.open.insert((from, to), cursor) {
            self.retained.tree.close(old);
        }
    }

    /// The next step of a replay; `None` when it has been cancelled.
    fn serve(&mut self, from: ShardId, to: ReplayAddress) -> Option<(Vec<Arc<Message>>, bool)> {
        let cursor = self.served.open.get_mut(&(from, to))?;
        let mut messages = Vec::new();
        let mut sources = Vec::new();
        let finished = self.retained.tree.advance(cursor, REPLAY_STEP, |_, retained| {
            messages.push(Arc::clone(&retained.message));
            sources.push(retained.source.clone());
        });
        let mut sources = sources.into_iter();
        messages.retain(|message| {
            let allowed =
                self.source_may_publish(sources.next().flatten().as_deref(), message.topic());
            if !allowed {
                self.stats.drop(DropReason::SourceNotAuthorized);
            }
            allowed
        });
        if finished {
            self.cancel_replay(from, to);
        }
        Some((messages, finished))
    }

    /// The replay is at its end, or nobody waits for it any more.
    pub(crate) fn cancel_replay(&mut self, from: ShardId, to: ReplayAddress) {
        if let Some(cursor) = self.served.open.remove(&(from, to)) {
            self.retained.tree.close(cursor);
        }
    }

    /// Some retained messages have come.
    pub(crate) fn replay_part<O: Output>(
        &mut self,
        from: ShardId,
        to: ReplayAddress,
        messages: Vec<Arc<Message>>,
        finished: bool,
        now: Instant,
        out: &mut O,
    ) {
        let key = to.session.key;
        let Some(session) = self.sessions.find_mut(key) else { return };
        if session.uid != to.session.uid {
            return;
        }
        let Some(replay) = session.replays.get_mut(to.replay) else { return };
        replay.asked.remove(from);
        if finished {
            replay.sources.remove(from);
        }
        replay.buffer.extend(messages);
        self.pump_replays(key, now, out);
    }

    /// The subscription has gone or is made anew.
    pub(crate) fn stop_replay<O: Output>(&mut self, key: SessionKey, filter: &str, out: &mut O) {
        let session = &mut self.sessions[key];
        if let Some(replay) = session.replays.remove_filter(filter) {
            let of = address(key, session);
            self.cancel(of, &replay, out);
        }
    }

    fn cancel<O: Output>(&mut self, session: SessionAddress, replay: &Replay, out: &mut O) {
        if !replay.has_begun {
            return;
        }
        let to = ReplayAddress { session, replay: replay.number };
        for shard in replay.sources.iter() {
            if shard == self.id {
                self.cancel_replay(shard, to);
            } else {
                out.to_shard(shard, Envelope::ReplayCancel(to));
            }
        }
    }

    /// The connection is gone: what has not been sent is sent on the next one, if there is to be
    /// one.
    ///
    /// With QoS 2 the replay goes on where it is, for nothing may come twice. With less it begins
    /// anew, and so brings the topics' values of then.
    pub(crate) fn stop_replays<O: Output>(
        &mut self,
        key: SessionKey,
        uid: SessionUid,
        goes_on: bool,
        out: &mut O,
    ) {
        let replays = core::mem::take(&mut self.sessions[key].replays);
        for replay in replays.into_iter() {
            if goes_on {
                self.record_replay(key, &replay.filter, true, out);
            }
            if goes_on && replay.grant.qos == QoS::ExactlyOnce {
                self.sessions[key].replays.push(replay);
                continue;
            }
            self.cancel(SessionAddress { key, uid }, &replay, out);
            if goes_on && !self.add_replay(key, &replay.filter, replay.grant) {
                self.record_replay(key, &replay.filter, false, out);
            }
        }
    }

    /// A replay that was owed when the broker stopped begins anew.
    pub(crate) fn restore_replay<O: Output>(&mut self, key: SessionKey, filter: &str, out: &mut O) {
        let Some(subscribed) = self.subscribed_mut(key, filter) else { return };
        subscribed.replays = true;
        let extra = GrantExtra::new(&[subscribed.identifier], None).map(Arc::new);
        let grant = Grant::new(subscribed.options, extra);
        if !self.add_replay(key, filter, grant) {
            self.record_replay(key, filter, false, out);
        }
    }

    /// Lets the subscription's record say whether retained messages are owed.
    fn record_replay<O: Output>(
        &mut self,
        key: SessionKey,
        filter: &str,
        replays: bool,
        out: &mut O,
    ) {
        let uid = self.sessions[key].uid;
        let found = self.subscribed_mut(key, filter);
        let Some(subscribed) = found.filter(|entry| entry.replays != replays) else { return };
        let Some(id) = subscribed.record() else { return };
        subscribed.replays = replays;
        let Subscribed { options, identifier, .. } = *subscribed;
        let record = Record::Subscription { session: uid, filter, options, identifier, replays };
        self.journal.put_as(id, &record, out);
    }
}
