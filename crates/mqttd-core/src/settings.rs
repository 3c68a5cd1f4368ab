//! What the configuration tells a shard. Swapped whole at a reload.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_auth::{AclTable, Action, DynamicRights, PasswordFile, Who};
use mqtt_proto::QoS;

use crate::ids::ListenerId;
use crate::limits;
use crate::memory::Memory;
use crate::pace::Rates;

/// Settings of the whole broker, as far as its brain needs them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Counts reloads: a higher number is a later configuration.
    pub generation: u64,
    /// Keep durable state: records are handed to [`crate::output::Output::put`].
    pub persistence: bool,
    /// QoS 1 and 2 messages in flight to one Client; also the Receive Maximum announced.
    pub inflight_messages_max: u16,
    /// Bytes of QoS 1 and 2 messages in flight to one Client; `None`: no bound beside the count.
    pub inflight_bytes_max: Option<u64>,
    /// Messages waiting for one Session behind those in flight; `None`: no bound.
    pub queued_messages_max: Option<u32>,
    /// Bytes waiting likewise.
    pub queued_bytes_max: Option<u64>,
    /// Largest packet a Client may send, in bytes.
    pub packet_bytes_max: u32,
    /// Payloads above this are acknowledged and dropped (`message_size_limit`).
    pub payload_bytes_max: Option<u32>,
    /// Refuse payloads that are not the UTF-8 their Payload Format Indicator promises
    /// (`check_payload_format`).
    pub check_payload_format: bool,
    /// Response Information for Clients that ask (3.1.2.11.6); `%c` stands for the Client
    /// Identifier, `%u` for the user name (`response_information`).
    pub response_information: Option<Box<str>>,
    /// Most levels of a topic or filter, where fewer than the codec's are wanted.
    pub topic_levels_max: Option<u16>,
    /// Subscriptions of one Session.
    pub subscriptions_max: usize,
    /// Subscriptions that one Client may make in a second; `None`: no bound.
    pub subscribe_rate: Option<u64>,
    /// What one Client may send in a second; the body sees to it.
    pub rates: Rates,
    /// The account of what clients make the broker hold; `None`: no limit.
    pub memory: Option<Arc<Memory>>,
    /// Largest Keep Alive in seconds (`max_keepalive`).
    pub keep_alive_seconds_max: Option<u16>,
    /// Retained messages are kept and sent.
    pub retain_available: bool,
    /// A retained message is sent only while its publisher may publish it.
    pub check_retain_source: bool,
    /// Retained messages without an expiry of their own end after this many seconds.
    pub retain_expiry_seconds: Option<u64>,
    /// Longest life of a Session without its connection, in seconds.
    pub session_expiry_seconds_max: Option<u32>,
    /// Queue QoS 0 messages for absent persistent sessions.
    pub queue_qos0: bool,
    /// Deliver at the subscription's QoS even when the message was published with a lower one.
    pub upgrade_outgoing_qos: bool,
    /// One copy for each matching subscription instead of one for each Session.
    pub duplicate_overlaps: bool,
    /// Sessions of all shards together, connected or not; `None`: no bound.
    pub sessions_max: Option<u32>,
    /// Send [`crate::notice::Notice::Sending`] for each packet (log_type debug).
    pub debug: bool,
    /// By [`ListenerId`].
    pub listeners: Vec<ListenerSettings>,
}

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Topic Alias Maximum announced to Clients.
    pub topic_aliases_max: u16,
    /// Topic Aliases the Server uses at most.
    pub server_topic_aliases_max: u16,
    /// Largest QoS.
    pub qos_max: QoS,
    /// Access rights; `None`: everything is allowed, or what `dynamic` says.
    pub acl: Option<Arc<AclTable>>,
    /// Access rights of dynamic security, which are asked first. Where they say nothing `acl`
    /// does, and without an `acl` the answer is no.
    pub dynamic: Option<Arc<DynamicRights>>,
    /// Clients come in that show nothing.
    pub allow_anonymous: bool,
    /// The users and their passwords. The shard never checks one; it sees whether an entry is still
    /// the same after a reload.
    pub passwords: Option<Arc<PasswordFile>>,
    /// Put in front of every topic and filter of this listener's Clients, and taken off what they
    /// are sent.
    pub mount_point: Option<Arc<str>>,
}

impl Settings {
    /// More levels than are wanted.
    #[inline]
    pub(crate) fn has_too_many_levels(&self, topic: &str) -> bool {
        let separators = || topic.bytes().filter(|byte| *byte == b'/').count();
        self.topic_levels_max.is_some_and(|max| separators() >= usize::from(max))
    }

    /// The listener's settings; the first one's when a reload took the listener away.
    #[allow(clippy::indexing_slicing, reason = "there is always a first listener")]
    pub(crate) fn listener(&self, id: ListenerId) -> &ListenerSettings {
        self.listeners.get(usize::from(id.0)).unwrap_or(&self.listeners[0])
    }
}

impl ListenerSettings {
    /// Whether there are no access rights at all: everybody may do everything.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.acl.is_none() && self.dynamic.is_none()
    }

    /// Whether the Client may do this with this topic or filter. Where [`Self::is_open`] is asked
    /// first, a message that nobody restricts does not pay for the question.
    #[must_use]
    pub fn allows(&self, who: &Who<'_>, action: Action, topic: &str) -> bool {
        let allows = |acl: &Arc<AclTable>| acl.check(who, action, topic).is_allowed();
        match &self.dynamic {
            None => self.acl.as_ref().is_none_or(allows),
            Some(dynamic) => {
                let verdict = dynamic.check(who, action, topic);
                verdict.unwrap_or_else(|| self.acl.as_ref().is_some_and(allows))
            }
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            generation: 0,
            persistence: false,
            inflight_messages_max: limits::INFLIGHT_MESSAGES_DEFAULT,
            inflight_bytes_max: None,
            queued_messages_max: Some(limits::QUEUED_MESSAGES_DEFAULT),
            queued_bytes_max: None,
            packet_bytes_max: limits::PACKET_BYTES_DEFAULT,
            payload_bytes_max: None,
            check_payload_format: false,
            response_information: None,
            topic_levels_max: None,
            subscriptions_max: limits::SUBSCRIPTIONS_PER_SESSION_MAX,
            subscribe_rate: None,
            rates: Rates::default(),
            memory: None,
            keep_alive_seconds_max: None,
            retain_available: true,
            check_retain_source: true,
            retain_expiry_seconds: None,
            session_expiry_seconds_max: None,
            queue_qos0: false,
            upgrade_outgoing_qos: false,
            duplicate_overlaps: false,
            sessions_max: None,
            debug: false,
            listeners: alloc::vec![ListenerSettings::default()],
        }
    }
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            topic_aliases_max: limits::TOPIC_ALIASES_DEFAULT,
            server_topic_aliases_max: limits::TOPIC_ALIASES_DEFAULT,
            qos_max: QoS::ExactlyOnce,
            acl: None,
            dynamic: None,
            allow_anonymous: true,
            passwords: None,
            mount_point: None,
        }
    }
}
