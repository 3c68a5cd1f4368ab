//! Rows that older files contain and nothing is left to do for.

use crate::directive::{Directive, Meaning::Global, Status, Value::Ignored};

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "retry_interval",
        Global(Ignored),
        "",
        "retry_interval 20",
        "In old Mosquitto, seconds until an unacknowledged message was sent again.",
    )
    .status(Status::Unnecessary("messages are sent again when a client reconnects")),
    Directive::new(
        "packet_buffer_size",
        Global(Ignored),
        "",
        "packet_buffer_size 4096",
        "In Mosquitto, bytes of the read buffer of each client.",
    )
    .aliases(&["websockets_headers_size"])
    .status(Status::Unnecessary("clients share the read buffers")),
];
