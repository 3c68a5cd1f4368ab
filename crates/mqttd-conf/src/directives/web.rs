//! Rows of WebSocket and HTTP listeners.

use crate::directive::{
    Directive,
    Meaning::{Global, Listener},
    Status,
    Value::{Ignored, Path, Text},
};

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "websockets_origin",
        Listener(Text(|draft, origin| draft.listener.web.origins.push(origin))),
        "any",
        "websockets_origin https://example.org",
        "Only browsers showing a page of this origin may connect; several lines allow several.",
    )
    .repeats(),
    // `protocol http_api` works when this row does: `check.rs` warns of both together.
    Directive::new(
        "http_dir",
        Listener(Path(|draft, path| draft.listener.web.http_dir = Some(path))),
        "",
        "http_dir /usr/share/mqttd/www",
        "Static files served to browsers.",
    )
    .status(Status::Planned),
    Directive::new(
        "websockets_log_level",
        Global(Ignored),
        "",
        "websockets_log_level 0",
        "In Mosquitto, what libwebsockets writes to the log.",
    )
    .status(Status::Unnecessary("log_type websockets is the switch")),
];
