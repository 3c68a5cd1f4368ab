//! `$CONTROL/broker/v1` of Mosquitto 2.1: which listeners and plugins there are.

use mqtt_auth::{DYNSEC_TOPIC, answer_queries};
use mqttd_conf::{Address, Listener, Protocol};
use serde_json::{Value, json};

use crate::live::Live;

/// Where its requests are published.
pub(super) const TOPIC: &str = "$CONTROL/broker/v1";

/// The answer to a request.
pub(super) fn answer(live: &Live, payload: &[u8]) -> String {
    let listeners: Vec<Value> = live.listeners().map(|(_, listener)| shown(listener)).collect();
    let has_dynsec = live.config.security.dynamic.is_some();
    let dynsec = json!({"name": "dynamic-security", "control-endpoints": [DYNSEC_TOPIC]});
    let plugins: Vec<Value> = has_dynsec.then_some(dynsec).into_iter().collect();
    let known = [
        ("listListeners", json!({ "listeners": listeners }).to_string()),
        ("listPlugins", json!({ "plugins": plugins }).to_string()),
    ];
    answer_queries(payload, &known)
}

fn shown(listener: &Listener) -> Value {
    let mut shown = json!({ "tls": listener.tls.is_some() || listener.psk.is_some() });
    match &listener.address {
        Address::Tcp { host, port } => {
            shown["port"] = json!(port);
            if let Some(host) = host {
                shown["bind-address"] = json!(host);
            }
        }
        Address::Unix { path } => {
            shown["port"] = json!(0);
            shown["socket-path"] = json!(path.to_string_lossy());
        }
    }
    match listener.protocol {
        Protocol::Mqtt => shown["protocol"] = json!("mqtt"),
        Protocol::Websockets => shown["protocol"] = json!("mqtt+websockets"),
        // As in Mosquitto, which has no name for it here.
        Protocol::HttpApi => {}
    }
    shown
}
