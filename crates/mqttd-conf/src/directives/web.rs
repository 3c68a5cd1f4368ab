//! Rows of WebSocket and HTTP listeners.

use crate::directive::{
    Directive,
    Meaning::{Global, Listener},
    Status, Tail,
    Value::{Ignored, Parsed, Path, Text},
};
use crate::listener::Network;
use crate::raw::ListenerDraft;

const NETWORK: &str = "an address, or a network such as 10.0.0.0/8";

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "websockets_origin",
        Listener(Text(|draft, origin| draft.listener.web.origins.push(origin))),
        "any",
        "websockets_origin https://example.org",
        "Only browsers showing a page of this origin may connect; several lines allow several.",
    )
    .repeats(),
    Directive::new(
        "http_dir",
        Listener(Path(|draft, path| draft.listener.web.http_dir = Some(path))),
        "",
        "http_dir /usr/share/mqttd/www",
        "Static files that anybody may read from a listener with `protocol websockets`, and that \
         users of a listener with `protocol http_api` may. Names that begin with a dot are not \
         shown, nor is anything outside the folder; `/` is `index.html`.",
    ),
    Directive::new(
        "trusted_proxy",
        Listener(Parsed(NETWORK, Tail::Comment, |draft: &mut ListenerDraft, text| {
            let network = Network::parse(text).ok_or_else(|| NETWORK.to_owned())?;
            draft.listener.web.trusted_proxies.push(network);
            Ok(())
        })),
        "none",
        "trusted_proxy 10.0.0.0/8",
        "Of a connection from here, on a listener with `protocol websockets` or `http_api`, the \
         header X-Forwarded-For tells the client's address. Anybody else's is not looked at.",
    )
    .repeats(),
    Directive::new(
        "websockets_log_level",
        Global(Ignored),
        "",
        "websockets_log_level 0",
        "In Mosquitto, what libwebsockets writes to the log.",
    )
    .status(Status::Unnecessary("log_type websockets is the switch")),
];
