//! Every bound of a shard, with its unit, its default and the reason for the number.
//!
//! The first group can be set in the configuration and arrives in [`crate::settings::Settings`];
//! the second is fixed.

/// QoS 1 and 2 messages in flight to one Client (`max_inflight_messages`); also the Receive Maximum
/// the Server announces. Mosquitto's default.
pub const INFLIGHT_MESSAGES_DEFAULT: u16 = 20;

/// Messages waiting for one Session behind those in flight (`max_queued_messages`). Mosquitto's
/// default.
pub const QUEUED_MESSAGES_DEFAULT: u32 = 1000;

/// Bytes of one Control Packet (`max_packet_size`). Mosquitto 2.1's default.
pub const PACKET_BYTES_DEFAULT: u32 = 2_000_000;

/// Topic Aliases a Client may use (`max_topic_alias`) and the Server uses
/// (`max_topic_alias_broker`). Mosquitto's default.
pub const TOPIC_ALIASES_DEFAULT: u16 = 10;

/// Output of one connection that may wait in the broker, in bytes, before QoS 0 messages to it are
/// dropped and others stay in the queue. The kernel's socket buffer comes on top. One packet may
/// always be written to an empty buffer, whatever its size. 1 MiB keeps a hundred stalled readers
/// within the memory of a small Raspberry Pi.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// The same bound for QoS 0 when messages are large: `max_queued_messages` of them may wait, as in
/// Mosquitto, but never more bytes than this. 16 MiB are what Mosquitto's default of 1000 messages
/// amounts to at 16 kB each.
pub const OUTPUT_BACKLOG_MAX: usize = 16 << 20;

/// Output of one connection after which the body is asked to write before the turn ends, so that a
/// fan-in within one turn is not mistaken for a slow reader.
pub const OUTPUT_FLUSH_BYTES: usize = 64 * 1024;

/// Payloads of at least this many bytes are shared between receivers instead of copied: below it
/// a copy costs less than the bookkeeping of one more write vector.
pub const SHARED_PAYLOAD_BYTES_MIN: usize = 2048;

/// Retained messages that one step of a replay looks at, so that a wildcard over a million topics
/// does not hold up a turn.
pub const REPLAY_STEP: usize = 256;

/// Replays of one session that are under way at a time; more wait for their turn.
pub const REPLAYS_AT_ONCE: usize = 16;

/// Topics a replay remembers because a newer value has overtaken it; beyond it only those of
/// messages that are already on their way to the session.
pub const REPLAY_SUPERSEDED_MAX: usize = 4096;

/// Topics whose receivers a shard remembers (see `matching.rs`); a power of two. At 100 bytes each
/// the table stays under half a megabyte.
pub const MATCH_CACHE_SLOTS: usize = 4096;

/// Longest topic whose receivers are remembered, in bytes; a longer one is matched each time. Else
/// topics of 64 kB would make the table hold 256 MB.
pub const MATCH_CACHE_TOPIC_BYTES_MAX: usize = 256;

/// Receivers in all remembered matches together, at 24 bytes each. Many topics with the same
/// large audience would otherwise hold it many times.
pub const MATCH_CACHE_TARGETS_MAX: usize = 1 << 19;

/// Subscriptions of one session.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 1_000_000;

/// Subscribers of one filter that are kept in a plain list; more go into a tree, where joining and
/// leaving stays cheap when thousands share a filter.
pub const SUBSCRIBERS_LIST_MAX: usize = 32;

/// Milliseconds between two steps of the walk over all queues that takes out expired messages.
pub const QUEUE_SWEEP_MILLIS: u64 = 1000;

/// Steps in which the walk has seen every session: an expired message is gone from its queue after
/// at most a minute, if it is not sooner its turn.
pub const QUEUE_SWEEP_ROUND: usize = 60;

/// Sessions looked at in one step at least.
pub const QUEUE_SWEEP_STEP_MIN: usize = 64;

/// Bytes of a CONNACK of 5.0 without properties: header, flags, code, property length. No packet of
/// the Server's but PUBLISH, SUBACK, UNSUBACK and AUTH is larger when it has no properties, so who
/// could be sent its CONNACK can be sent the others too [MQTT-3.1.2-24].
pub const CONNACK_BYTES_MIN: u32 = 5;

/// Answers that one connection may wait for (acknowledgements held back by the log or by another
/// shard) before nothing more is read from it; reading goes on at half of it. 5.0 Clients are held
/// by the Receive Maximum long before; 3.x knows none, and a log whose sync takes seconds would
/// make the broker hold whatever such a Client sends. At 120 bytes each this is 120 kB, and with a
/// sync of 20 ms still 50,000 messages a second from one connection.
pub const HELD_ANSWERS_MAX: u32 = 1000;

/// Answers of a shard whose memory is kept when none waits any more, 130 bytes each. Busy
/// publishers fill it again and again; thousands of Clients that subscribe at the same moment do
/// it once.
pub const HELD_ANSWERS_KEPT: usize = 2048;

/// Answers of a shard that wait until logs work again that refuse everything; each is an exchange
/// of some session. At about 200 bytes each this is 20 MB. Those above it are not given: their
/// Clients ask again when they connect again.
pub const STALLED_ANSWERS_MAX: usize = 100_000;
