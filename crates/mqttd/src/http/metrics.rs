//! The counters in the text form of Prometheus (exposition format 0.0.4).

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use mqttd_core::drops::DropReason;

use crate::live::Live;
use crate::mailbox::ShardReport;
use crate::report::store_numbers;
use crate::run::Broker;

/// The whole page.
pub(super) fn text(broker: &Broker, live: &Live, report: &ShardReport) -> String {
    let mut page = Page::default();
    page.info("mqttd_info", "The broker's version.", &[("version", env!("CARGO_PKG_VERSION"))]);
    let uptime = broker.clock.uptime().as_secs_f64();
    page.gauge("mqttd_uptime_seconds", "Time since the start.", uptime);
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory of the process.", bytes);
    }
    counters(&mut page, broker, report);
    drops(&mut page, report);
    strangers(&mut page, broker);
    if let Some(memory) = &live.settings.memory {
        page.gauge("mqttd_memory_held_bytes", "What clients make the broker hold.", memory.held());
        page.gauge("mqttd_memory_limit_bytes", "memory_limit.", memory.limit());
    }
    for (name, number) in store_numbers(report) {
        let name = format!("mqttd_{}", name.replace('/', "_"));
        page.gauge(&name, "A number of the store; see docs/durability.md.", number);
    }
    if let Some(store) = &report.store {
        let is_ok = store.state == mqttd_durability::StoreState::Ok;
        page.gauge("mqttd_store_up", "1 while the store takes records.", u8::from(is_ok));
    }
    listeners(&mut page, live);
    page.0
}

fn counters(page: &mut Page, broker: &Broker, report: &ShardReport) {
    let stats = &report.stats;
    for (name, help, number) in [
        ("clients_connected", "Clients connected now.", stats.connected),
        ("sessions", "Sessions now, connected or not.", stats.sessions),
        ("subscriptions", "Subscriptions now, shared ones included.", stats.subscriptions),
        ("shared_subscriptions", "Shared subscriptions now.", stats.shared_subscriptions),
        ("retained_messages", "Retained messages now.", stats.retained),
        ("queued_messages", "Messages waiting for sessions now.", stats.queued),
        ("queued_bytes", "Bytes of messages waiting for sessions now.", stats.queued_bytes),
        ("output_bytes", "Bytes in output buffers now.", report.bytes_waiting),
    ] {
        page.gauge(&format!("mqttd_{name}"), help, number);
    }
    for (name, help, number) in [
        ("packets_received", "Control Packets received.", stats.packets_received),
        ("packets_sent", "Control Packets sent.", stats.packets_sent),
        ("publish_received", "PUBLISH packets received.", stats.publish_received),
        ("publish_sent", "PUBLISH packets sent.", stats.publish_sent),
        ("publish_received_bytes", "Payload bytes received.", stats.publish_bytes_received),
        ("publish_sent_bytes", "Payload bytes sent.", stats.publish_bytes_sent),
        ("received_bytes", "Bytes read from sockets.", report.bytes_received),
        ("sent_bytes", "Bytes written to sockets.", report.bytes_sent),
        ("connections_accepted", "Connections accepted.", broker.places.total()),
        ("connects_received", "CONNECT packets let in.", report.connects_received),
        ("sessions_expired", "Sessions that expired.", stats.expired_sessions),
    ] {
        page.counter(&format!("mqttd_{name}_total"), help, number);
    }
}

fn strangers(page: &mut Page, broker: &Broker) {
    let report = broker.guard.report(broker.clock.now());
    for (name, help, number) in [
        ("logins_failed", "Failed logins.", report.failed),
        ("login_bans", "Bans of addresses and user names.", report.bans),
        ("bans_refused", "Connections refused because of a ban.", report.refused),
        ("connect_rate_refused", "Connections refused by max_connect_rate.", report.too_fast),
    ] {
        page.counter(&format!("mqttd_{name}_total"), help, number);
    }
    page.gauge("mqttd_banned_addresses", "Addresses banned now.", report.banned_addresses);
    page.gauge("mqttd_banned_users", "User names banned now.", report.banned_users);
}

fn drops(page: &mut Page, report: &ShardReport) {
    let name = "mqttd_messages_dropped_total";
    page.head(name, "Messages that did not reach a receiver, by reason.", "counter");
    for reason in DropReason::ALL {
        page.sample(name, &[("reason", reason.name())], report.stats.dropped[reason as usize]);
    }
}

fn listeners(page: &mut Page, live: &Live) {
    let doors: Vec<_> = live.doors.iter().flatten().collect();
    let name = "mqttd_listener_connections";
    page.head(name, "Connections of each listener now.", "gauge");
    for door in &doors {
        let address = door.conf.address.to_string();
        page.sample(name, &[("listener", &address)], door.places.taken());
    }
    let name = "mqttd_certificate_expiry_timestamp_seconds";
    let ends = doors.iter().filter_map(|door| Some((door, door.tls.as_ref()?)));
    let ends: Vec<_> = ends.collect();
    if !ends.is_empty() {
        page.head(name, "When the certificate of each TLS listener ends.", "gauge");
    }
    for (door, tls) in ends {
        let address = door.conf.address.to_string();
        let end: SystemTime = tls.server.certificate().not_after;
        let seconds = end.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        page.sample(name, &[("listener", &address)], seconds);
    }
}

/// What the kernel says the process has in memory.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.0.push_str(&text);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{before}{label}=\"{text}\"").expect("a String takes everything");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{after} {value}").expect("a String takes everything");
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.head(name, help, "gauge");
        self.sample(name, labels, 1);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.head(name, help, "gauge");
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.head(name, help, "counter");
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.sample("a", &[("b", "x\"\\\ny"), ("c", "d")], 1);
        assert_eq!(page.0, "a{b=\"x\\\"\\\\\\ny\",c=\"d\"} 1\n");
    }
}
