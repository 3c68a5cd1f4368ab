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
    Directive::new(
        "store_clean_interval",
        Global(Ignored),
        "",
        "store_clean_interval 10",
        "In old Mosquitto, seconds between two removals of messages nobody wants any more.",
    )
    .status(Status::Unnecessary("messages go when their last receiver has them")),
    old_trace("ffdc_output", "ffdc_output file"),
    old_trace("max_log_entries", "max_log_entries 100"),
    old_trace("trace_level", "trace_level minimum"),
    old_trace("trace_output", "trace_output file"),
];

/// Options of RSMB, the broker whose files Mosquitto could read from the beginning.
const fn old_trace(name: &'static str, example: &'static str) -> Directive {
    Directive::new(
        name,
        Global(Ignored),
        "",
        example,
        "In RSMB, the forerunner of Mosquitto, tracing.",
    )
    .status(Status::Unnecessary("log_dest and log_type say what is written where"))
}
