//! Rows of bounds that apply to the broker or to each client.

use super::positive;
use crate::directive::{
    Directive,
    Meaning::Global,
    Tail,
    Value::{Integer, Parsed},
};
use crate::raw::Draft;

/// Bytes of the largest payload the standard has a length for.
const PAYLOAD_BYTES_MAX: i64 = 268_435_455;

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "global_max_connections",
        Global(Integer(-1, i32::MAX as i64, |draft, n| {
            draft.config.limits.global_max_connections = positive(n);
        })),
        "-1",
        "global_max_connections 10000",
        "Connections at one time over all listeners; 0 or -1: no bound.",
    ),
    Directive::new(
        "global_max_clients",
        Global(Integer(-1, i32::MAX as i64, |draft, n| {
            draft.config.limits.global_max_clients = positive(n);
        })),
        "-1",
        "global_max_clients 20000",
        "Sessions at one time, those of absent clients included; 0 or -1: no bound.",
    ),
    Directive::new(
        "max_inflight_messages",
        Global(Integer(0, 65535, |draft, n| {
            draft.config.limits.max_inflight_messages = u16::try_from(n).ok().filter(|n| *n > 0);
        })),
        "20",
        "max_inflight_messages 100",
        "QoS 1 and 2 messages under way to a client at one time, and the Receive Maximum told \
         to MQTT 5.0 clients; 0: no bound.",
    ),
    Directive::new(
        "max_inflight_bytes",
        Global(Integer(0, i64::MAX, |draft, n| {
            draft.config.limits.max_inflight_bytes = u64::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "max_inflight_bytes 1000000",
        "Payload bytes of QoS 1 and 2 messages under way to a client at one time; 0: no bound.",
    ),
    Directive::new(
        "max_queued_messages",
        Global(Integer(0, i32::MAX as i64, |draft, n| {
            draft.config.limits.max_queued_messages = positive(n);
        })),
        "1000",
        "max_queued_messages 10000",
        "Messages queued for a client beyond those under way; 0: no bound.",
    ),
    Directive::new(
        "max_queued_bytes",
        Global(Integer(0, i64::MAX, |draft, n| {
            draft.config.limits.max_queued_bytes = u64::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "max_queued_bytes 10000000",
        "Bytes queued for a client beyond those under way; 0: no bound.",
    ),
    Directive::new(
        "max_packet_size",
        Global(Integer(20, i32::MAX as i64, |draft, n| {
            draft.config.limits.max_packet_size = u32::try_from(n).unwrap_or(u32::MAX);
        })),
        "2000000",
        "max_packet_size 65536",
        "Bytes of the largest packet a client may send; MQTT 5.0 clients are told. The \
         standard's own bound is 268435460.",
    ),
    Directive::new(
        "message_size_limit",
        Global(Integer(0, PAYLOAD_BYTES_MAX, |draft, n| {
            draft.config.limits.message_size_limit = positive(n);
        })),
        "0",
        "message_size_limit 100000",
        "Bytes of the largest payload passed on; larger messages are acknowledged and dropped. \
         0: no bound. `max_packet_size` refuses them instead.",
    ),
    Directive::new(
        "max_keepalive",
        Global(Integer(0, 65535, |draft, n| {
            draft.config.limits.max_keepalive = u16::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "max_keepalive 600",
        "The longest Keep Alive in seconds. MQTT 5.0 clients that ask for more, or for none, are \
         given this one; older ones are refused. 0: no bound.",
    ),
    Directive::new(
        "memory_limit",
        Global(Integer(0, i64::MAX, |draft, n| {
            draft.config.limits.memory_limit = u64::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "memory_limit 100000000",
        "Bytes that clients may make the broker hold: messages, sessions, subscriptions, buffers. \
         At the limit whoever publishes is disconnected before anything is acknowledged (MQTT 5.0: \
         0x97), new sessions and subscriptions are refused, and delivery goes on. The program \
         itself needs a few megabytes more. 0: no bound.",
    ),
    Directive::new(
        "max_subscriptions",
        Global(Integer(0, 1_000_000, |draft, n| {
            draft.config.limits.max_subscriptions = positive(n);
        })),
        "1000000",
        "max_subscriptions 100",
        "Subscriptions of one client; more are refused (0x97, or 0x80 for older clients). 0: the \
         default. Not in Mosquitto.",
    ),
    Directive::new(
        "max_topic_levels",
        Global(Integer(0, 201, |draft, n| {
            draft.config.limits.max_topic_levels = u16::try_from(n).ok().filter(|n| *n > 0);
        })),
        "201",
        "max_topic_levels 16",
        "Levels of a topic or filter. Deeper filters are refused (0x8F), messages with deeper \
         topics dropped (0x90). 0: the default. Not in Mosquitto, whose bound is 201.",
    ),
    Directive::new(
        "max_message_rate",
        Global(Integer(0, i32::MAX as i64, |draft, n| {
            draft.config.limits.max_message_rate = positive(n);
        })),
        "0",
        "max_message_rate 1000",
        "Messages a second from one client; as many may come at once. Whoever sends more is read \
         more slowly, see `rate_excess`. 0: no bound. Not in Mosquitto.",
    ),
    Directive::new(
        "max_byte_rate",
        Global(Integer(0, i32::MAX as i64, |draft, n| {
            draft.config.limits.max_byte_rate = positive(n);
        })),
        "0",
        "max_byte_rate 1000000",
        "Bytes a second from one client, likewise. Not in Mosquitto.",
    ),
    Directive::new(
        "rate_excess",
        Global(Parsed(EXCESS, Tail::Comment, |draft: &mut Draft, word| {
            draft.config.limits.disconnect_on_rate = match word {
                "slow" => false,
                "disconnect" => true,
                _ => return Err(EXCESS.to_owned()),
            };
            Ok(())
        })),
        "slow",
        "rate_excess disconnect",
        "What happens to a client above `max_message_rate` or `max_byte_rate`: `slow` reads from \
         it at that rate, and TCP holds it back; `disconnect` ends the connection (0x96). Not in \
         Mosquitto.",
    ),
    Directive::new(
        "max_subscribe_rate",
        Global(Integer(0, i32::MAX as i64, |draft, n| {
            draft.config.limits.max_subscribe_rate = positive(n);
        })),
        "0",
        "max_subscribe_rate 100",
        "Subscriptions a second of one client; more are refused (0x97, or 0x80 for older clients). \
         0: no bound. Not in Mosquitto.",
    ),
    Directive::new(
        "max_connect_rate",
        Global(Integer(0, i32::MAX as i64, |draft, n| {
            draft.config.limits.max_connect_rate = positive(n);
        })),
        "0",
        "max_connect_rate 10",
        "Connections a second from one address (IPv6: from one /64 network); more are refused \
         (0x9F). 0: no bound. Not in Mosquitto.",
    ),
];

const EXCESS: &str = "slow or disconnect";
