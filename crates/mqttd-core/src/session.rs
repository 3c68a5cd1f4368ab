//! Session State (MQTT 4.1): what belongs to a Client Identifier, and what belongs only to its
//! present connection.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::num::{NonZeroU32, NonZeroU64};

use mqtt_auth::Who;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::qos::{Receiver, Sender};
use mqtt_proto::topic::FilterId;
use mqtt_proto::{PacketIdentifier, QoS, Version};

use crate::alias::Aliases;
use crate::authenticate::Authentication;
use crate::control::Control;
use crate::drops::DropReason;
use crate::event::Proof;
use crate::exchange::Begun;
use crate::grant::GrantExtra;
use crate::ids::{ConnectionKey, ListenerId, RecordId, SessionUid};
use crate::message::Message;
use crate::notice::Messages;
use crate::pace::Bucket;
use crate::queue::Queue;
use crate::replay::Replays;
use crate::source::Source;
use crate::subscriptions::Subscriptions;
use crate::time::Instant;
use crate::will::Will;

/// A session lives this long without a connection: never ends (3.1.2.11.2).
pub(crate) const NEVER_EXPIRES: u32 = u32::MAX;

/// A Session and, while there is one, its connection.
pub(crate) struct Session {
    pub(crate) uid: SessionUid,
    pub(crate) client_id: Box<str>,
    pub(crate) username: Option<Box<str>>,
    pub(crate) listener: ListenerId,
    pub(crate) online: Option<Box<Online>>,
    /// Seconds of life without a connection; 0: ends with it.
    pub(crate) expiry_seconds: u32,
    /// When the last connection ended.
    pub(crate) offline_since: Instant,
    /// QoS 1 and 2 towards the Client.
    pub(crate) sender: Sender<Flight>,
    /// QoS 2 from the Client.
    pub(crate) receiver: Receiver,
    /// What waits behind the sender's window, or for the Client to come back.
    pub(crate) queue: Queue,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) replays: Replays,
    /// Its own record is in the log.
    pub(crate) is_recorded: bool,
    /// When its entry for [`crate::expiry::Timer::Session`] is due, if there is one.
    pub(crate) timer_at: Instant,
    /// How many of `subscriptions` are shared.
    pub(crate) shared: u32,
    /// Messages dropped, by reason; `None` while there are none.
    pub(crate) dropped: Option<Box<[u64; DropReason::COUNT]>>,
    /// Records of this session beside its own; `None` while it has none.
    pub(crate) records: Option<Box<SessionRecords>>,
}

/// What belongs to the connection.
pub(crate) struct Online {
    pub(crate) connection: ConnectionKey,
    /// Tells this connection from an earlier one of the same session.
    pub(crate) epoch: u64,
    pub(crate) version: Version,
    /// The Keep Alive in force; 0: none.
    pub(crate) keep_alive_seconds: u16,
    pub(crate) last_received: Instant,
    /// Output that waited when the Keep Alive last ran out; 0 otherwise.
    pub(crate) backlog_seen: usize,
    /// The Client's Maximum Packet Size.
    pub(crate) packet_bytes_max: u32,
    /// The Client wants Reason Strings and User Properties (3.1.2.11.7).
    pub(crate) wants_problem_information: bool,
    pub(crate) aliases: Aliases,
    /// Bytes of the QoS 1 and 2 messages in flight to the Client.
    pub(crate) inflight_bytes: u64,
    /// Acknowledgements that wait for the log or another shard; later ones queue behind them.
    pub(crate) held: u32,
    /// They are so many that nothing more is read.
    pub(crate) is_paused: bool,
    /// QoS 1 and 2 messages from the Client on this connection that the Server has not finished:
    /// what counts against its Receive Maximum (4.9).
    pub(crate) receiving: u16,
    /// The Receive Maximum the Client was told.
    pub(crate) receive_maximum: u16,
    /// PUBLISH packets from the Client and to it, on this connection.
    pub(crate) messages: Messages,
    /// A drop has been reported and nothing got through since.
    pub(crate) is_dropping: bool,
    /// How the Client has shown who it is, and under which settings.
    pub(crate) proof: Proof,
    pub(crate) proved_under: u64,
    /// What few connections have; `None` while this one has none of it.
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few connections have.
#[derive(Default)]
pub(crate) struct Rare {
    /// The Authentication Method of CONNECT and how far an exchange has come.
    pub(crate) authentication: Option<Authentication>,
    /// The listener's mount point.
    pub(crate) mount: Option<Arc<str>>,
    /// As a publisher of retained messages, once it has published one.
    pub(crate) source: Option<Arc<Source>>,
    /// How much of the rate of subscriptions is used, where there is one.
    pub(crate) subscribing: Bucket,
    /// A request to the Server is under way, and nothing more is read.
    pub(crate) control: Option<Control>,
}

/// One subscription as its session lists it.
pub(crate) struct Subscribed {
    /// The whole filter, `$share/…` included, in [`crate::matching::Matching::subscribers`].
    pub(crate) filter: FilterId,
    pub(crate) options: SubscriptionOptions,
    /// Subscription Identifier; 0: none.
    pub(crate) identifier: u32,
    /// See [`Subscribed::record`]. In this form it is half as large.
    record: Option<NonZeroU64>,
    /// The record says that retained messages have not all been sent.
    pub(crate) replays: bool,
    /// It is a shared subscription.
    pub(crate) is_shared: bool,
}

/// A message that waits for a session or is in flight to it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) message: Arc<Message>,
    pub(crate) extra: Option<Arc<GrantExtra>>,
    /// The message's record, when this entry is durable.
    pub(crate) stored: Option<StoredKey>,
    pub(crate) how: How,
}

/// QoS and RETAIN flag of one delivery, and which entry of the message's record it is, in one word:
/// there is one for each waiting message of each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How(u32);

/// What the sender remembers of a message in flight. A session that ends with its connection never
/// sends again, so nothing is kept for it.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) kept: Option<Kept>,
    pub(crate) size: u32,
}

/// A durable message's place in [`crate::journal::Stored`]'s table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredKey(pub(crate) NonZeroU32);

/// Records of exchanges that must survive.
#[derive(Default)]
pub(crate) struct SessionRecords {
    /// QoS 2 messages from the Client between PUBLISH and PUBREL.
    pub(crate) received: BTreeMap<PacketIdentifier, RecordId>,
    /// Those of them that a start has found.
    pub(crate) found: BTreeSet<PacketIdentifier>,
    /// Those that an earlier life had begun to take.
    pub(crate) begun: BTreeMap<PacketIdentifier, Begun>,
    /// Identifiers of QoS 2 messages to the Client between PUBLISH and PUBCOMP.
    pub(crate) sent: BTreeMap<PacketIdentifier, RecordId>,
}

impl Subscribed {
    /// One without a record.
    pub(crate) fn new(filter: FilterId, options: SubscriptionOptions, identifier: u32) -> Self {
        Self { filter, options, identifier, record: None, replays: false, is_shared: false }
    }

    /// Its record in the log.
    pub(crate) fn record(&self) -> Option<RecordId> {
        self.record.map(|number| RecordId(number.get()))
    }

    /// Numbers of records begin at 1.
    pub(crate) fn set_record(&mut self, record: Option<RecordId>) {
        self.record = record.and_then(|record| NonZeroU64::new(record.0));
    }
}

impl Session {
    /// A session that has never been connected.
    pub(crate) fn new(uid: SessionUid, client_id: &str) -> Self {
        Self {
            uid,
            client_id: Box::from(client_id),
            username: None,
            listener: ListenerId::default(),
            online: None,
            expiry_seconds: 0,
            offline_since: Instant::NEVER,
            sender: Sender::new(),
            receiver: Receiver::new(),
            queue: Queue::default(),
            subscriptions: Subscriptions::default(),
            will: None,
            replays: Replays::default(),
            is_recorded: false,
            timer_at: Instant::NEVER,
            shared: 0,
            dropped: None,
            records: None,
        }
    }

    /// Its messages and subscriptions outlive the connection.
    #[inline]
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry_seconds > 0
    }

    /// The log knows that this QoS 2 message from the Client was taken.
    pub(crate) fn has_received_record(&self, packet_id: PacketIdentifier) -> bool {
        self.records.as_ref().is_some_and(|records| records.received.contains_key(&packet_id))
    }

    /// For the access rights.
    pub(crate) fn who(&self) -> Who<'_> {
        Who { username: self.username.as_deref(), client_id: &self.client_id }
    }
}

impl Online {
    /// How long the Client may be silent: one and a half times the Keep Alive [MQTT-3.1.2-22].
    pub(crate) fn silence_millis_max(&self) -> u64 {
        u64::from(self.keep_alive_seconds) * 1500
    }

    /// The listener's mount point.
    #[inline]
    pub(crate) fn mount(&self) -> Option<&str> {
        self.rare.as_ref().and_then(|rare| rare.mount.as_deref())
    }

    /// A request to the Server is under way, and nothing more is read.
    pub(crate) fn has_request(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.control.is_some())
    }
}

impl How {
    /// `entry`: the place among the record's entries; 0 without a record.
    #[inline]
    pub(crate) fn new(qos: QoS, retain: bool, entry: u32) -> Self {
        Self(entry << 3 | u32::from(retain) << 2 | qos as u32)
    }

    #[inline]
    pub(crate) fn qos(self) -> QoS {
        QoS::from_u8((self.0 & 0b11) as u8).unwrap_or(QoS::AtMostOnce)
    }

    #[inline]
    pub(crate) fn retain(self) -> bool {
        self.0 & 0b100 != 0
    }

    #[inline]
    pub(crate) fn entry(self) -> u32 {
        self.0 >> 3
    }
}

impl Kept {
    /// Whether its Message Expiry Interval has passed.
    #[inline]
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.message.expires_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_keeps_its_three_parts_in_one_word() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (retain, entry) in [(false, 0), (true, 1), (true, (1 << 29) - 1)] {
                let how = How::new(qos, retain, entry);
                assert_eq!((how.qos(), how.retain(), how.entry()), (qos, retain, entry));
            }
        }
        assert_eq!(size_of::<Kept>(), 24);
        assert_eq!(size_of::<Flight>(), 32);
    }

    /// A broker may have a million of them.
    #[test]
    fn a_subscription_is_small() {
        assert_eq!(size_of::<Subscribed>(), 24);
    }

    /// There is one of each for every idle connection, and a broker has tens of thousands of them:
    /// what is here grows by a decision, not by the way. 104 is what fits into the hole that the
    /// allocator leaves behind the runtime's record of a socket, which is aligned to 128 bytes.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Online>() <= 104, "{} bytes", size_of::<Online>());
        assert!(size_of::<Session>() <= 176, "{} bytes", size_of::<Session>());
    }
}
