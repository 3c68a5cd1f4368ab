//! SUBSCRIBE and UNSUBSCRIBE (MQTT 3.8 and 3.10).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

use mqtt_auth::Action;
use mqtt_proto::ReasonCode;
use mqtt_proto::codec::varint;
use mqtt_proto::packet::{RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe};
use mqtt_proto::property::PropertyId;
use mqtt_proto::topic::SharedFilter;

use crate::acknowledge::{Answer, Wait};
use crate::deliver::address;
use crate::envelope::{Envelope, MemberState};
use crate::grant::{Grant, GrantExtra};
use crate::ids::{Lsn, SessionKey, ShardId};
use crate::mount;
use crate::notice::{Ending, Notice};
use crate::output::Output;
use crate::record::Record;
use crate::session::Subscribed;
use crate::shard::Shard;
use crate::subscribers::{Subscriber, Subscribers};
use crate::time::Instant;

/// What begins a shared subscription's filter.
pub(crate) const SHARE: &str = "$share/";

impl Shard {
    /// A SUBSCRIBE has arrived: the subscriptions are in force before the SUBACK is written.
    pub(crate) fn receive_subscribe<O: Output>(
        &mut self,
        key: SessionKey,
        subscribe: &Subscribe<'_>,
        now: Instant,
        out: &mut O,
    ) {
        if !self.can_be_answered(key, || subscribe.filters.iter().count(), now, out) {
            return;
        }
        let identifier = subscribe.properties.u32(PropertyId::SubscriptionIdentifier).unwrap_or(0);
        let before = self.journal.appended();
        // Somebody else's news of the same filter may still be under way.
        self.announced = self.last_sync.is_some_and(|token| self.held.holds(token));
        let mut new = Vec::new();
        // 3.1 has no word for a refusal: granted and never served, as Mosquitto does.
        let online = self.sessions[key].online.as_ref();
        let can_refuse = online.is_some_and(|online| online.version.suback_can_refuse());
        let codes = subscribe
            .filters
            .iter()
            .map(|(filter, options)| {
                let mounted = self.mounted_filter(key, filter);
                let filter = mounted.as_deref().unwrap_or(filter);
                let count = self.sessions[key].subscriptions.len();
                let code = self.subscribe(key, filter, options, identifier, now, out);
                let session = &self.sessions[key];
                if self.journal.is_on() && session.subscriptions.len() > count {
                    new.push(Box::from(filter));
                }
                if code.is_error() && !can_refuse { options.qos as u8 } else { code.value() }
            })
            .collect();
        let mut wait = self.since(key, before);
        if self.announced {
            // In force means in force everywhere: the other shards answer once they know.
            let token = self.held.next_token();
            self.last_sync = Some(token);
            for shard in self.others() {
                out.to_shard(shard, Envelope::Sync(token));
                wait.confirms.up(1);
            }
        }
        let answer = Answer::Suback { packet_id: subscribe.packet_id, codes, new };
        self.answer(key, answer, wait, out);
        if self.sessions[key].online.as_ref().is_some_and(|online| online.held == 0) {
            self.pump_replays(key, now, out);
        }
        // Otherwise once the SUBACK is on its way.
    }

    /// An UNSUBSCRIBE has arrived.
    pub(crate) fn receive_unsubscribe<O: Output>(
        &mut self,
        key: SessionKey,
        unsubscribe: &Unsubscribe<'_>,
        now: Instant,
        out: &mut O,
    ) {
        if !self.can_be_answered(key, || unsubscribe.filters.iter().count(), now, out) {
            return;
        }
        let before = self.journal.appended();
        let codes = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                let mounted = self.mounted_filter(key, filter);
                let filter = mounted.as_deref().unwrap_or(filter);
                if !self.may_unsubscribe(key, filter) {
                    ReasonCode::NotAuthorized.value()
                } else if self.unsubscribe(key, filter, out) {
                    ReasonCode::Success.value()
                } else {
                    ReasonCode::NoSubscriptionExisted.value()
                }
            })
            .collect();
        let answer = Answer::Unsuback { packet_id: unsubscribe.packet_id, codes };
        let mut wait = self.since(key, before);
        if wait.need <= before && self.sessions[key].is_persistent() {
            // Given up before: the log may have refused it.
            wait = self.journal.as_it_is();
        }
        self.answer(key, answer, wait, out);
    }

    /// Dynamic security can make Clients keep a subscription.
    fn may_unsubscribe(&self, key: SessionKey, filter: &str) -> bool {
        let session = &self.sessions[key];
        let listener = self.settings.listener(session.listener);
        listener.allows(&session.who(), Action::Unsubscribe, filter)
    }

    /// Whether SUBACK or UNSUBACK with so many codes is within the Client's Maximum Packet Size; if
    /// not, nothing is done and the connection ends, for an answer must follow [MQTT-3.1.2-24].
    fn can_be_answered<O: Output>(
        &mut self,
        key: SessionKey,
        codes: impl FnOnce() -> usize,
        now: Instant,
        out: &mut O,
    ) -> bool {
        let Some(online) = &self.sessions[key].online else { return false };
        let (max, connection) = (online.packet_bytes_max as usize, online.connection);
        if max == u32::MAX as usize {
            return true;
        }
        // Packet Identifier and property length, then the codes.
        let remaining = codes().saturating_add(3);
        let header = varint::len(remaining as u32).saturating_add(1);
        if remaining.saturating_add(header) <= max {
            return true;
        }
        let ending = Ending::Server(ReasonCode::PacketTooLarge);
        self.end_connection(connection, ending, now, out);
        false
    }

    /// The filter below the listener's mount point; `None` without one.
    fn mounted_filter(&self, key: SessionKey, filter: &str) -> Option<String> {
        let online = self.sessions[key].online.as_ref()?;
        mount::put_on_filter(online.mount(), filter)
    }

    /// What an answer waits for that has changed what it speaks of after `before`, or found it so.
    fn since(&self, key: SessionKey, before: Lsn) -> Wait {
        let appended = self.journal.appended();
        let is_persistent = self.sessions[key].is_persistent();
        Wait::for_log(if appended > before || is_persistent { appended } else { Lsn::default() })
    }

    fn subscribe<O: Output>(
        &mut self,
        key: SessionKey,
        filter: &str,
        asked: SubscriptionOptions,
        identifier: u32,
        now: Instant,
        out: &mut O,
    ) -> ReasonCode {
        let is_new = self.subscribed_mut(key, filter).is_none();
        if let Some(reason) = self.refuses_filter(key, filter, is_new, now) {
            return reason;
        }
        let session = &self.sessions[key];
        let listener = self.settings.listener(session.listener);
        if !listener.allows(&session.who(), Action::Subscribe, filter) {
            return ReasonCode::NotAuthorized;
        }
        let options = SubscriptionOptions { qos: asked.qos.min(listener.qos_max), ..asked };
        self.add_subscription(key, filter, options, identifier, None, out);
        let session = &self.sessions[key];
        out.notice(Notice::Subscribed { client_id: &session.client_id, filter, qos: options.qos });
        let wanted = match options.retain_handling {
            RetainHandling::AtSubscribe => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        // A shared subscription is not sent retained messages (4.8.2).
        if wanted && self.settings.retain_available && !filter.starts_with(SHARE) {
            let extra = GrantExtra::new(&[identifier], None).map(Arc::new);
            if !is_new {
                self.stop_replay(key, filter, out);
            }
            self.add_replay(key, filter, Grant::new(options, extra));
        }
        ReasonCode::from_u8(options.qos as u8).unwrap_or(ReasonCode::Success)
    }

    /// Which bound a subscription would exceed.
    fn refuses_filter(
        &mut self,
        key: SessionKey,
        filter: &str,
        is_new: bool,
        now: Instant,
    ) -> Option<ReasonCode> {
        let settings = &self.settings;
        let session = &mut self.sessions[key];
        if let (Some(rate), Some(online)) = (settings.subscribe_rate, &mut session.online) {
            if !online.rare.get_or_insert_default().subscribing.take(rate, now) {
                return Some(ReasonCode::QuotaExceeded);
            }
        }
        if settings.topic_levels_max.is_some() {
            let shared = SharedFilter::parse(filter).ok().flatten();
            let topics = shared.map_or(filter, |(_, inner)| inner.as_str());
            if settings.has_too_many_levels(topics) {
                return Some(ReasonCode::TopicFilterInvalid);
            }
        }
        let is_full = || settings.memory.as_ref().is_some_and(|memory| memory.is_full());
        let many = session.subscriptions.len() >= settings.subscriptions_max;
        (is_new && (many || is_full())).then_some(ReasonCode::QuotaExceeded)
    }

    /// Puts a subscription in force, new or instead of the one with the same filter. `record` is
    /// the one it was restored from.
    pub(crate) fn add_subscription<O: Output>(
        &mut self,
        key: SessionKey,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
        record: Option<crate::ids::RecordId>,
        out: &mut O,
    ) {
        let hasher = self.filter_hasher();
        let subscriber = Subscriber::new(key, options, identifier);
        let mut is_first = false;
        let (id, subscribers) = self.matching.subscribers.insert_with(filter, || {
            is_first = true;
            Subscribers::One(subscriber)
        });
        subscribers.insert(subscriber);
        let session = &mut self.sessions[key];
        let (uid, is_durable) = (session.uid, session.is_persistent() && record.is_none());
        let old = session.subscriptions.find(id, hasher);
        let is_new = old.is_none();
        let unchanged = old.is_some_and(|old| {
            let same = old.options == options && old.identifier == identifier;
            let is_kept = |record| !self.journal.is_refusing() || !out.is_held_back(record);
            same && old.record().is_some_and(is_kept) && !old.replays
        });
        let mut record = old.map_or(record, Subscribed::record);
        if is_durable && !unchanged {
            let id = record.unwrap_or_else(|| self.journal.new_id());
            let replays = false;
            let new = Record::Subscription { session: uid, filter, options, identifier, replays };
            self.journal.put_as(id, &new, out);
            record = self.journal.is_on().then_some(id);
        }
        let mut subscribed = Subscribed::new(id, options, identifier);
        subscribed.set_record(record);
        subscribed.is_shared = filter.starts_with(SHARE);
        let is_shared = subscribed.is_shared;
        session.subscriptions.insert(subscribed, hasher);
        if is_new {
            self.stats.subscriptions.up(1);
            session.shared.up(u32::from(is_shared));
            self.stats.shared_subscriptions.up(u64::from(is_shared));
        }
        if is_shared {
            self.announce_member(key, filter, options, identifier, out);
        } else if is_first {
            self.announce_interest(filter, true, out);
        }
        self.matching.changed();
    }

    /// The session's subscription to `filter`.
    pub(crate) fn subscribed_mut(
        &mut self,
        key: SessionKey,
        filter: &str,
    ) -> Option<&mut Subscribed> {
        let id = self.matching.subscribers.id(filter)?;
        let hasher = self.filter_hasher();
        self.sessions[key].subscriptions.find_mut(id, hasher)
    }

    /// Gives up one subscription. False when there was none.
    pub(crate) fn unsubscribe<O: Output>(
        &mut self,
        key: SessionKey,
        filter: &str,
        out: &mut O,
    ) -> bool {
        let Some(id) = self.matching.subscribers.id(filter) else { return false };
        let hasher = self.filter_hasher();
        let session = &mut self.sessions[key];
        let Some(subscribed) = session.subscriptions.remove(id, hasher) else { return false };
        if let Some(record) = subscribed.record() {
            self.journal.kill(record, out);
        }
        out.notice(Notice::Unsubscribed { client_id: &session.client_id, filter });
        self.stop_replay(key, filter, out);
        self.withdraw(key, &subscribed, out);
        true
    }

    /// Takes a subscription that the session has no more out of the tries.
    pub(crate) fn withdraw<O: Output>(
        &mut self,
        key: SessionKey,
        subscribed: &Subscribed,
        out: &mut O,
    ) {
        let (id, is_shared) = (subscribed.filter, subscribed.is_shared);
        self.stats.subscriptions.down(1);
        self.matching.changed();
        let subscribers = &mut self.matching.subscribers;
        let is_last = subscribers.value_mut(id).is_some_and(|all| all.remove(key));
        // Who is to be told needs the text.
        let is_told = is_shared || (is_last && self.shards > 1);
        let filter = if is_told { subscribers.filter(id) } else { None };
        if is_last {
            subscribers.remove_id(id);
        }
        let Some(filter) = filter else { return };
        if is_shared {
            self.stats.shared_subscriptions.down(1);
            let session = &mut self.sessions[key];
            session.shared.down(1);
            let session = address(key, session);
            let member = MemberState { session, grant: None, is_online: false };
            self.announce(&filter, member, out);
        } else {
            self.announce_interest(&filter, false, out);
        }
    }

    /// Tells every shard, this one too, of a member of a shared subscription.
    fn announce_member<O: Output>(
        &mut self,
        key: SessionKey,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
        out: &mut O,
    ) {
        let session = &self.sessions[key];
        let extra = GrantExtra::new(&[identifier], Some(filter)).map(Arc::new);
        let member = MemberState {
            session: address(key, session),
            grant: Some(Grant::new(options, extra)),
            is_online: session.online.is_some(),
        };
        self.announce(filter, member, out);
    }

    /// The session has connected or disconnected: its shared subscriptions are told.
    pub(crate) fn announce_presence<O: Output>(&mut self, key: SessionKey, out: &mut O) {
        let session = &self.sessions[key];
        if session.shared == 0 {
            return;
        }
        let shared: Vec<_> = session
            .subscriptions
            .iter()
            .filter(|entry| entry.is_shared)
            .map(|entry| (entry.filter, entry.options, entry.identifier))
            .collect();
        for (id, options, identifier) in shared {
            let Some(filter) = self.matching.subscribers.filter(id) else { continue };
            self.announce_member(key, &filter, options, identifier, out);
        }
    }

    fn announce<O: Output>(&mut self, filter: &str, member: MemberState, out: &mut O) {
        for shard in self.others() {
            self.announced = true;
            let (filter, member) = (Box::from(filter), member.clone());
            out.to_shard(shard, Envelope::Member { filter, member });
        }
        self.groups.update(filter, self.id, member, &mut self.matching.groups);
        self.matching.changed();
    }

    fn announce_interest<O: Output>(&mut self, filter: &str, present: bool, out: &mut O) {
        for shard in self.others() {
            self.announced = true;
            out.to_shard(shard, Envelope::Interest { filter: Box::from(filter), present });
        }
    }

    /// Another shard has, or no longer has, subscribers for a filter.
    pub(crate) fn set_interest(&mut self, from: ShardId, filter: &str, present: bool) {
        if present {
            self.matching.interest.add(filter, from);
        } else {
            self.matching.interest.remove(filter, from);
        }
        self.matching.changed();
    }
}
