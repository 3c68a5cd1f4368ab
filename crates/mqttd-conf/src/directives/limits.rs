//! Rows of bounds that apply to the broker or to each client.

use super::positive;
use crate::directive::{Directive, Meaning::Global, Status, Value::Integer};

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
        "Bytes of memory the broker may use; 0: no bound.",
    )
    .status(Status::Planned),
];
