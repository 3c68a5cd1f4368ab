//! What the broker says of itself while it runs: counters of all shards gathered for `$SYS`, drops,
//! and the account of memory behind `memory_limit`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mqtt_proto::QoS;
use mqttd_conf::{LogType, Persistence};
use tokio::sync::oneshot;

use crate::alarm;
use crate::drops::DropReport;
use crate::durability::{Levels, StoreReport};
use crate::mailbox::{Item, ShardReport};
use crate::run::{Broker, losses};
use crate::sys::{BodyCounters, Snapshot};

/// Time between two looks at what is held beside messages, where there is a `memory_limit`.
const MEMORY_LOOK: Duration = Duration::from_millis(250);

/// What a session, a connection, a subscription and a waiting delivery take about, in bytes,
/// beside what they hold. Measured as the growth of the process with 10,000 absent sessions, 4,000
/// idle connections, 50,000 subscriptions of one client and 100,000 deliveries.
const SESSION_BYTES: u64 = 350;
const CONNECTION_BYTES: u64 = 850;
const SUBSCRIPTION_BYTES: u64 = 230;
const DELIVERY_BYTES: u64 = 35;

/// Publishes `$SYS` every `sys_interval`.
pub(crate) async fn publish_sys(broker: Arc<Broker>) {
    let mut dropped = 0;
    loop {
        let reloaded = broker.reloaded.notified();
        let live = broker.live();
        let Some(interval) = live.config.general.sys_interval else {
            // That may switch it on.
            reloaded.await;
            continue;
        };
        let reports = reports(&broker).await;
        let report = sum(&reports);
        let mut more = store_topics(&report, &live.config.persistence);
        more.extend(shard_topics(&reports));
        more.extend(login_topics(&broker));
        if let Some(memory) = &live.settings.memory {
            more.push(("memory/held".to_owned(), memory.held().to_string()));
            more.push(("memory/limit".to_owned(), memory.limit().to_string()));
        }
        if report.stats.dropped_total() > dropped {
            dropped = report.stats.dropped_total();
            let drops = drops(&broker).await;
            more.push(("drops/last".to_owned(), drops.last()));
            more.push(("drops/clients".to_owned(), drops.clients()));
        }
        let body = body_counters(&broker, &report);
        let snapshot = Snapshot { stats: &report.stats, body: &body, more: &more };
        let changes = {
            let mut tree = broker.sys.lock().unwrap_or_else(PoisonError::into_inner);
            tree.update(snapshot, broker.clock.uptime())
        };
        for (topic, payload) in changes {
            let (payload, qos) = (payload.into_bytes(), QoS::ExactlyOnce);
            broker.mailboxes[0].send(Item::Publish { topic, payload, qos, retain: true });
        }
        alarm::sleep(interval).await;
    }
}

/// Keeps the account of memory up to date and says when the limit is reached and left; lets the
/// log tell of lines that came again.
pub(crate) async fn watch_memory(broker: Arc<Broker>) {
    let mut was_full = false;
    let mut holds_lines = false;
    loop {
        let reloaded = broker.reloaded.notified();
        if !holds_lines && broker.live().settings.memory.is_none() {
            // Nothing to look at: an idle broker is not to wake up for it.
            tokio::select! {
                () = reloaded => {}
                () = broker.logger.held_back() => {}
            }
        }
        alarm::sleep(MEMORY_LOOK).await;
        holds_lines = broker.logger.settle();
        let live = broker.live();
        let Some(memory) = &live.settings.memory else {
            was_full = false;
            continue;
        };
        let report = report(&broker).await;
        let stats = &report.stats;
        memory.set_other(
            stats.sessions * SESSION_BYTES
                + stats.connected * CONNECTION_BYTES
                + stats.subscriptions * SUBSCRIPTION_BYTES
                + stats.queued * DELIVERY_BYTES
                + report.bytes_waiting
                + report.bytes_unread,
        );
        let is_full = memory.is_full();
        if is_full == was_full {
            continue;
        }
        was_full = is_full;
        let (held, limit) = (memory.held(), memory.limit());
        if is_full {
            broker.logger.line(
                LogType::Warning,
                format_args!(
                    "Warning: memory_limit is reached: {held} of {limit} bytes. Clients that \
                     publish are disconnected, new sessions and subscriptions refused, until \
                     waiting messages are taken or memory_limit is raised."
                ),
            );
        } else {
            broker.logger.line(
                LogType::Notice,
                format_args!("Below memory_limit again: {held} of {limit} bytes."),
            );
        }
    }
}

/// The body's counters.
pub(crate) fn body_counters(broker: &Broker, report: &ShardReport) -> BodyCounters {
    BodyCounters {
        bytes_received: report.bytes_received,
        bytes_sent: report.bytes_sent,
        sockets_accepted: broker.places.total(),
        connects_received: report.connects_received,
        packets_waiting: None,
        bytes_waiting: report.bytes_waiting,
        retained_bytes: Some(report.stats.retained_bytes),
        heap: heap_bytes().map(|now| {
            let most = broker.heap_maximum.fetch_max(now, Ordering::Relaxed);
            (now, most.max(now))
        }),
    }
}

/// Memory that the process has filled: heap and stacks. `None` where the system does not say.
fn heap_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The sum of all shards' counters.
pub(crate) async fn report(broker: &Broker) -> ShardReport {
    sum(&reports(broker).await)
}

/// Each shard's counters.
pub(crate) async fn reports(broker: &Broker) -> Vec<ShardReport> {
    let mut reports = Vec::new();
    for mailbox in &broker.mailboxes {
        let (done, answer) = oneshot::channel();
        mailbox.send(Item::Stats(done));
        reports.push(answer.await.unwrap_or_default());
    }
    reports
}

/// What all shards remember of their drops.
pub(crate) async fn drops(broker: &Broker) -> DropReport {
    let mut sum = DropReport::default();
    for mailbox in &broker.mailboxes {
        let (done, answer) = oneshot::channel();
        mailbox.send(Item::Drops(done));
        if let Ok(report) = answer.await {
            sum.add(report);
        }
    }
    sum
}

fn sum(reports: &[ShardReport]) -> ShardReport {
    let mut sum = ShardReport::default();
    reports.iter().for_each(|report| sum.add(report));
    sum
}

/// How the work is spread, below `$SYS/broker/`.
fn shard_topics(reports: &[ShardReport]) -> Vec<(String, String)> {
    let mut topics = vec![("shards/count".to_owned(), reports.len().to_string())];
    for (number, ShardReport { stats, .. }) in reports.iter().enumerate() {
        for (name, value) in [
            ("clients/total", stats.sessions),
            ("clients/connected", stats.connected),
            ("publish/messages/received", stats.publish_received),
            ("publish/messages/sent", stats.publish_sent),
        ] {
            topics.push((format!("shards/{number}/{name}"), value.to_string()));
        }
    }
    topics
}

/// Failed logins and bans, below `$SYS/broker/`.
fn login_topics(broker: &Broker) -> Vec<(String, String)> {
    let report = broker.guard.report(broker.clock.now());
    let numbers = [
        ("logins/failed", report.failed),
        ("logins/bans", report.bans),
        ("logins/refused", report.refused),
        ("logins/banned/addresses", report.banned_addresses),
        ("logins/banned/users", report.banned_users),
        ("connections/rate/refused", report.too_fast),
    ];
    numbers.map(|(topic, value)| (topic.to_owned(), value.to_string())).into()
}

/// What the store says of itself, below `$SYS/broker/`.
fn store_topics(report: &ShardReport, config: &Persistence) -> Vec<(String, String)> {
    let Some(StoreReport { state, .. }) = &report.store else { return Vec::new() };
    let levels = Levels::new(config);
    let [crash, power] = losses(levels.default()).map(|seconds| format!("{seconds} seconds"));
    let texts = [
        ("store/state", state.word().to_owned()),
        ("store/durability", levels.to_string()),
        ("store/loss/crash", crash),
        ("store/loss/power cut", power),
    ];
    let numbers = store_numbers(report);
    let numbers = numbers.map(|(topic, value)| (topic, value.to_string()));
    texts.into_iter().chain(numbers).map(|(topic, text)| (topic.to_owned(), text)).collect()
}

/// The store's counters, by their topics below `$SYS/broker/`.
pub(crate) fn store_numbers(
    report: &ShardReport,
) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let stats = report.store.as_ref().map(|store| store.stats);
    let numbers = stats.map(|stats| {
        [
            ("store/records", stats.live_records),
            ("store/log/bytes", stats.log_bytes),
            ("store/log/segments", stats.segments),
            ("store/bytes/caller", stats.caller_bytes),
            ("store/bytes/written", stats.written_bytes),
            ("store/commits", stats.commits),
            ("store/commits/refused", stats.refused),
            ("store/syncs", stats.syncs),
        ]
    });
    numbers.into_iter().flatten()
}
