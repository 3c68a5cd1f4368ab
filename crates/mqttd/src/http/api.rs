//! What the broker says of itself over HTTP: Mosquitto's `/api/v1/…`, `/metrics` for Prometheus and
//! `/health` for whoever starts and stops containers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mqttd_conf::{Address, Protocol};
use mqttd_durability::StoreState;
use serde_json::{Map, Value, json};

use super::{Answer, metrics};
use crate::live::Live;
use crate::mailbox::ShardReport;
use crate::report;
use crate::run::Broker;
use crate::sys::{self, Snapshot};

/// So long an answer of the shards counts as fresh: however many ask, the shards are asked once in
/// this time.
const FRESH: Duration = Duration::from_millis(500);

/// Shards that do not answer within this time are stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The shards' counters, as they were a moment ago.
#[derive(Default)]
pub(crate) struct Numbers(Mutex<Option<(Instant, ShardReport)>>);

impl Numbers {
    /// `None`: the shards do not answer.
    async fn get(&self, broker: &Broker) -> Option<ShardReport> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, report)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(report);
        }
        let report = tokio::time::timeout(ANSWER_TIMEOUT, report::report(broker)).await.ok()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), report));
        Some(report)
    }
}

/// The page of this path, if there is one.
pub(super) async fn answer(broker: &Arc<Broker>, live: &Live, path: &str) -> Option<Answer> {
    Some(match path {
        "/api/v1/version" => Answer::api("text/plain", env!("CARGO_PKG_VERSION").to_owned()),
        "/api/v1/listeners" => Answer::api("application/json", listeners(live).to_string()),
        "/api/v1/systree" => match broker.numbers.get(broker).await {
            Some(report) => Answer::api("application/json", systree(broker, &report).to_string()),
            None => silent(),
        },
        "/api/v1/drops" => Answer::api("application/json", drops(broker).await),
        "/metrics" => match broker.numbers.get(broker).await {
            Some(report) => Answer::api(
                "text/plain; version=0.0.4; charset=utf-8",
                metrics::text(broker, live, &report),
            ),
            None => silent(),
        },
        _ => return None,
    })
}

/// What was dropped last, and for whom.
async fn drops(broker: &Broker) -> String {
    let drops = report::drops(broker).await;
    format!("{{\"last\":{},\"clients\":{}}}", drops.last(), drops.clients())
}

fn silent() -> Answer {
    Answer::text("503 Service Unavailable", "The shards do not answer.")
}

/// Whether Clients can be served: every shard answers, and the store takes what it is given.
pub(super) async fn health(broker: &Arc<Broker>) -> Answer {
    let store = broker
        .numbers
        .get(broker)
        .await
        .map(|report| report.store.map_or(StoreState::Ok, |store| store.state));
    let (status, body) = match store {
        Some(StoreState::Ok) => ("200 OK", json!({ "status": "ok" })),
        Some(state) => {
            let body = json!({ "status": "failing", "store": state.word() });
            ("503 Service Unavailable", body)
        }
        None => {
            ("503 Service Unavailable", json!({ "status": "failing", "shards": "do not answer" }))
        }
    };
    Answer { status, ..Answer::api("application/json", body.to_string()) }
}

/// Every topic of `$SYS` that is a number.
fn systree(broker: &Broker, report: &ShardReport) -> Value {
    let mut tree = Map::new();
    let mut put = |topic: &str, value: Value| {
        tree.insert(format!("$SYS/broker/{topic}"), value);
    };
    let (clients_maximum, loads) = {
        let sys = broker.sys.lock().unwrap_or_else(PoisonError::into_inner);
        (sys.clients_maximum(), sys.loads())
    };
    let body = report::body_counters(broker, report);
    let snapshot = Snapshot { stats: &report.stats, body: &body, more: &[] };
    put("uptime", broker.clock.uptime().as_secs().into());
    for (topic, number) in sys::numbers(snapshot, clients_maximum) {
        put(&topic, number.into());
    }
    for (topic, average) in loads {
        put(&topic, json!((average * 100.0).round() / 100.0));
    }
    Value::Object(tree)
}

fn listeners(live: &Live) -> Value {
    let listeners = live.config.listeners.iter().map(|listener| {
        let protocol = match listener.protocol {
            Protocol::Mqtt => "mqtt",
            Protocol::Websockets => "websockets",
            Protocol::HttpApi => "httpapi",
        };
        let mut about = json!({
            "protocol": protocol,
            "tls": listener.tls.is_some() || listener.psk.is_some(),
            "mtls": listener.tls.as_ref().is_some_and(|tls| tls.require_certificate),
            "allow_anonymous": listener.auth.allow_anonymous,
        });
        match &listener.address {
            Address::Tcp { port, .. } => about["port"] = json!(port),
            Address::Unix { path } => about["path"] = json!(path.to_string_lossy()),
        }
        about
    });
    json!({ "listeners": listeners.collect::<Vec<_>>() })
}
