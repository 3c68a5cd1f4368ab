//! Requests of Clients to the broker itself, published below `$CONTROL/`: one task carries them out
//! in the order they come, puts in force what they change, and answers. A Client waits until its
//! request is done, so there are never more of them than connections.

mod broker;
mod dynsec;

use std::sync::Arc;

use mqtt_auth::{DYNSEC_TOPIC, DynamicRights};
use mqttd_core::ids::{ConnectionKey, ListenerId, ShardId};
use tokio::sync::mpsc;

pub(crate) use dynsec::Dynsec;

use crate::live::Live;
use crate::mailbox::Item;
use crate::run::Broker;

/// A request on its way off the shard.
pub(crate) struct Request {
    pub(crate) shard: ShardId,
    pub(crate) connection: ConnectionKey,
    /// Tells the connection from a later one with the same key.
    pub(crate) serial: u64,
    pub(crate) listener: ListenerId,
    pub(crate) client_id: Box<str>,
    pub(crate) username: Option<Box<str>>,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// The way to [`serve`].
pub(crate) type Requests = mpsc::UnboundedSender<Request>;

/// Requests that are carried out before what they change is saved and put in force.
const BATCH_MAX: usize = 64;

/// What Mosquitto 2.1 answers where nobody listens.
const NOT_AVAILABLE: &str = r#"{"error": "endpoint not available"}"#;

/// What is put behind a topic for its answers.
const RESPONSE: &str = "/response";

/// Works on requests until the broker ends.
pub(crate) async fn serve(
    broker: Arc<Broker>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut dynsec: Option<Dynsec>,
) {
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let live = broker.live();
        let is_dynsec = |it: &Request| it.topic == DYNSEC_TOPIC && has_dynsec(&live, it.listener);
        let (for_dynsec, others): (Vec<_>, Vec<_>) = batch.drain(..).partition(is_dynsec);
        let others = others.into_iter().map(|request| {
            let answer = answer_other(&live, &request);
            (request, answer)
        });
        finish(&broker, others.collect(), None).await;
        if let (Some(security), false) = (dynsec.take(), for_dynsec.is_empty()) {
            let (security, answered, rights) = carry_out(&broker, security, for_dynsec).await;
            dynsec = Some(security);
            finish(&broker, answered, rights).await;
        }
    }
}

/// The answer to what is not for dynamic security.
fn answer_other(live: &Live, request: &Request) -> String {
    if live.config.general.enable_control_api && request.topic == broker::TOPIC {
        return broker::answer(live, &request.payload);
    }
    NOT_AVAILABLE.to_owned()
}

fn has_dynsec(live: &Live, listener: ListenerId) -> bool {
    live.door(listener).is_some_and(|door| door.conf.auth.dynamic)
}

/// Executes requests where passwords are hashed, and saves.
async fn carry_out(
    broker: &Arc<Broker>,
    mut dynsec: Dynsec,
    requests: Vec<Request>,
) -> (Dynsec, Vec<(Request, String)>, Option<Arc<DynamicRights>>) {
    let logger = broker.logger.clone();
    let work = move || {
        let mut answered = Vec::with_capacity(requests.len());
        let mut has_changed = false;
        for request in requests {
            let (answer, changes) = dynsec.execute(&request, &logger);
            has_changed |= changes;
            answered.push((request, answer));
        }
        if has_changed {
            dynsec.save(&logger);
        }
        let rights = has_changed.then(|| dynsec.rights());
        (dynsec, answered, rights)
    };
    // A panic in there has left half a change behind; the process ends with this task.
    broker.verifier.work(work).await.expect("commands are carried out without a panic")
}

/// Puts new rights in force, answers, and lets the Clients go on. On each shard in this order: the
/// answer still reaches a Client that the change disconnects.
async fn finish(
    broker: &Broker,
    answered: Vec<(Request, String)>,
    rights: Option<Arc<DynamicRights>>,
) {
    // Held until every shard has been told: a reload that came between would be undone there.
    let changing = broker.changes.lock().await;
    let mut settings = None;
    if let Some(rights) = rights {
        broker.update(|live| {
            let new = live.with_dynamic(&rights);
            settings = Some(Arc::clone(&new.settings));
            Some(new)
        });
    }
    for (request, answer) in &answered {
        let topic = format!("{}{RESPONSE}", request.topic);
        // Nobody can subscribe to a longer one.
        if topic.len() <= usize::from(u16::MAX) {
            let (payload, retain) = (answer.as_bytes().to_vec(), false);
            let qos = mqtt_proto::QoS::AtMostOnce;
            let shard = usize::from(request.shard.0);
            broker.mailboxes[shard].send(Item::Publish { topic, payload, qos, retain });
        }
    }
    if let Some(settings) = settings {
        for mailbox in &broker.mailboxes {
            mailbox.send(Item::Settings(Arc::clone(&settings)));
        }
    }
    drop(changing);
    for (request, _) in answered {
        let (connection, serial) = (request.connection, request.serial);
        let shard = usize::from(request.shard.0);
        broker.mailboxes[shard].send(Item::ControlDone { connection, serial });
    }
}
