//! The `$SYS/broker/…` topics: what the counters become, and which of them have changed.
//!
//! Pure: the body gathers the numbers, calls [`SysTree::update`] every `sys_interval` seconds and
//! publishes what it returns, retained. Lines of the log under `$SYS/broker/log/` come from
//! `crate::logging`.

use std::collections::HashMap;
use std::time::Duration;

use mqttd_core::drops::DropReason;
use mqttd_core::stats::Stats;

use crate::wording::VERSION;

/// Counters the body keeps itself. "Now" is said where it is not a count since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BodyCounters {
    /// Bytes read from sockets.
    pub(crate) bytes_received: u64,
    /// Bytes written to sockets.
    pub(crate) bytes_sent: u64,
    /// Sockets accepted.
    pub(crate) sockets_accepted: u64,
    /// CONNECT packets received.
    pub(crate) connects_received: u64,
    /// Packets in output buffers now; `None` = not counted, and then not published.
    pub(crate) packets_waiting: Option<u64>,
    /// Bytes in output buffers now.
    pub(crate) bytes_waiting: u64,
    /// Bytes of the retained messages now; `None` = not known, and then not published.
    pub(crate) retained_bytes: Option<u64>,
    /// Bytes on the heap now, and at most so far; `None` = not known, and then not published.
    pub(crate) heap: Option<(u64, u64)>,
}

/// Everything an update needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot<'a> {
    /// The sum of all shards' counters.
    pub(crate) stats: &'a Stats,
    /// The body's own.
    pub(crate) body: &'a BodyCounters,
    /// More topics, named from below `$SYS/broker/`: `connection/NAME/state`, `store/…`.
    pub(crate) more: &'a [(String, String)],
}

/// A topic and its payload, to be published retained.
pub(crate) type Entry = (String, String);

/// What has been published so far.
#[derive(Debug, Default)]
pub(crate) struct SysTree {
    published: HashMap<String, String>,
    clients_maximum: u64,
    loads: [Load; LOADS.len()],
    /// When the loads were computed last, since the start.
    last: Option<Duration>,
}

impl SysTree {
    /// Returns what has changed since the last call, in a fixed order; all of it the first time,
    /// which is when the broker starts. `uptime` is the monotonic time since the start.
    pub(crate) fn update(&mut self, snapshot: Snapshot<'_>, uptime: Duration) -> Vec<Entry> {
        self.clients_maximum = self.clients_maximum.max(snapshot.stats.sessions);
        let mut changes = Changes { published: &mut self.published, entries: Vec::new() };
        changes.put("version", VERSION);
        changes.put("uptime", &format!("{} seconds", uptime.as_secs()));
        counts(snapshot, self.clients_maximum, |topic, count| {
            changes.put(topic, &count.to_string());
        });
        for reason in DropReason::ALL {
            let dropped = snapshot.stats.dropped[reason as usize];
            changes.put(&format!("drops/{}", reason.name()), &dropped.to_string());
        }
        let elapsed = uptime.saturating_sub(self.last.unwrap_or(uptime));
        self.last = Some(uptime);
        let counters = load_counters(snapshot);
        for ((name, load), counter) in LOADS.iter().zip(&mut self.loads).zip(counters) {
            load.advance(counter, elapsed);
            for ((minutes, _), average) in WINDOWS.iter().zip(load.averages) {
                changes.put(&format!("load/{name}/{minutes}min"), &format!("{average:.2}"));
            }
        }
        for (topic, payload) in snapshot.more {
            changes.put(topic, payload);
        }
        changes.entries
    }
}

impl SysTree {
    /// The most Clients at a time, as far as this tree has seen them.
    pub(crate) fn clients_maximum(&self) -> u64 {
        self.clients_maximum
    }

    /// The moving averages below `load/`, as of the last update.
    pub(crate) fn loads(&self) -> Vec<(String, f64)> {
        let of = |(name, load): (&&str, &Load)| {
            let averages = WINDOWS.iter().zip(load.averages);
            let topic = |minutes| format!("load/{name}/{minutes}min");
            averages.map(|((minutes, _), average)| (topic(minutes), average)).collect::<Vec<_>>()
        };
        LOADS.iter().zip(&self.loads).flat_map(of).collect()
    }
}

/// Every number below `$SYS/broker/` that is no average.
pub(crate) fn numbers(snapshot: Snapshot<'_>, clients_maximum: u64) -> Vec<(String, u64)> {
    let mut numbers = Vec::new();
    let clients_maximum = clients_maximum.max(snapshot.stats.sessions);
    counts(snapshot, clients_maximum, |topic, count| numbers.push((topic.to_owned(), count)));
    for reason in DropReason::ALL {
        let dropped = snapshot.stats.dropped[reason as usize];
        numbers.push((format!("drops/{}", reason.name()), dropped));
    }
    numbers
}

struct Changes<'a> {
    published: &'a mut HashMap<String, String>,
    entries: Vec<Entry>,
}

impl Changes<'_> {
    fn put(&mut self, topic: &str, payload: &str) {
        match self.published.get_mut(topic) {
            Some(published) if published == payload => return,
            Some(published) => payload.clone_into(published),
            None => {
                self.published.insert(topic.to_owned(), payload.to_owned());
            }
        }
        self.entries.push((format!("$SYS/broker/{topic}"), payload.to_owned()));
    }
}

/// Every topic that holds a plain number.
fn counts(snapshot: Snapshot<'_>, clients_maximum: u64, mut put: impl FnMut(&str, u64)) {
    let Snapshot { stats, body, .. } = snapshot;
    let disconnected = stats.sessions.saturating_sub(stats.connected);
    put("clients/total", stats.sessions);
    put("clients/maximum", clients_maximum);
    put("clients/disconnected", disconnected);
    put("clients/inactive", disconnected);
    put("clients/connected", stats.connected);
    put("clients/active", stats.connected);
    put("clients/expired", stats.expired_sessions);
    // Mosquitto counts a message that waits for many sessions once; we count it for each.
    put("messages/stored", stats.queued + stats.retained);
    put("store/messages/count", stats.queued + stats.retained);
    if let Some(retained_bytes) = body.retained_bytes {
        put("store/messages/bytes", stats.queued_bytes + retained_bytes);
    }
    // As Mosquitto: shared ones are counted apart.
    put("subscriptions/count", stats.subscriptions.saturating_sub(stats.shared_subscriptions));
    put("shared_subscriptions/count", stats.shared_subscriptions);
    put("retained messages/count", stats.retained);
    if let Some((current, maximum)) = body.heap {
        put("heap/current", current);
        put("heap/maximum", maximum);
    }
    put("messages/received", stats.packets_received);
    put("messages/sent", stats.packets_sent);
    put("bytes/received", body.bytes_received);
    put("bytes/sent", body.bytes_sent);
    put("publish/bytes/received", stats.publish_bytes_received);
    put("publish/bytes/sent", stats.publish_bytes_sent);
    if let Some(packets_waiting) = body.packets_waiting {
        put("packet/out/count", packets_waiting);
    }
    put("packet/out/bytes", body.bytes_waiting);
    put("connections/socket/count", body.sockets_accepted);
    put("publish/messages/dropped", dropped_by_limits(stats));
    put("publish/messages/received", stats.publish_received);
    put("publish/messages/sent", stats.publish_sent);
}

/// What Mosquitto calls dropped: a limit of the receiver's queue was reached. The other reasons are
/// told apart under `$SYS/broker/drops/`.
fn dropped_by_limits(stats: &Stats) -> u64 {
    let count = |reason: DropReason| stats.dropped[reason as usize];
    count(DropReason::QueueFull) + count(DropReason::SlowReader)
}

/// The counters with moving averages, as named below `load/`.
const LOADS: [&str; 9] = [
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

fn load_counters(snapshot: Snapshot<'_>) -> [u64; LOADS.len()] {
    let Snapshot { stats, body, .. } = snapshot;
    [
        stats.packets_received,
        stats.packets_sent,
        dropped_by_limits(stats),
        stats.publish_received,
        stats.publish_sent,
        body.bytes_received,
        body.bytes_sent,
        body.sockets_accepted,
        body.connects_received,
    ]
}

/// The windows of the averages: minutes, and the same in seconds.
const WINDOWS: [(u32, f64); 3] = [(1, 60.0), (5, 300.0), (15, 900.0)];

/// A counter's moving averages, per minute.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    counter: u64,
    averages: [f64; WINDOWS.len()],
}

impl Load {
    /// Exponential averages: what is older than the window has faded to 1/e. The C library's `exp`
    /// would bring another 0.3 MB of shared library into memory, for this one call.
    fn advance(&mut self, counter: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds > 0.0 {
            let rate = counter.saturating_sub(self.counter) as f64 * 60.0 / seconds;
            for ((_, window), average) in WINDOWS.iter().zip(&mut self.averages) {
                *average = rate + libm::exp(-seconds / window) * (*average - rate);
            }
            self.counter = counter;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(tree: &mut SysTree, stats: &Stats, body: &BodyCounters, seconds: u64) -> Vec<Entry> {
        tree.update(Snapshot { stats, body, more: &[] }, Duration::from_secs(seconds))
    }

    fn find<'a>(entries: &'a [Entry], topic: &str) -> Option<&'a str> {
        let mut found = entries.iter().filter(|(name, _)| name == &format!("$SYS/broker/{topic}"));
        let payload = found.next().map(|(_, payload)| payload.as_str());
        assert!(found.next().is_none(), "{topic} twice");
        payload
    }

    #[test]
    fn the_first_update_has_every_topic_of_mosquittos() {
        let mut tree = SysTree::default();
        let body = BodyCounters {
            packets_waiting: Some(0),
            retained_bytes: Some(0),
            heap: Some((1000, 2000)),
            ..BodyCounters::default()
        };
        let entries = update(&mut tree, &Stats::default(), &body, 0);
        let version = find(&entries, "version").unwrap();
        assert_eq!(version, format!("mqttd version {}", env!("CARGO_PKG_VERSION")));
        assert_eq!(find(&entries, "uptime"), Some("0 seconds"));
        let zero = "clients/total clients/maximum clients/connected clients/active \
            clients/disconnected clients/inactive clients/expired messages/received messages/sent \
            messages/stored store/messages/count store/messages/bytes publish/messages/received \
            publish/messages/sent publish/messages/dropped publish/bytes/received \
            publish/bytes/sent bytes/received bytes/sent subscriptions/count \
            shared_subscriptions/count packet/out/count packet/out/bytes connections/socket/count";
        for topic in zero.split_whitespace().chain(["retained messages/count"]) {
            assert_eq!(find(&entries, topic), Some("0"), "{topic}");
        }
        assert_eq!(find(&entries, "heap/current"), Some("1000"));
        assert_eq!(find(&entries, "heap/maximum"), Some("2000"));
        for load in LOADS {
            for minutes in [1, 5, 15] {
                let topic = format!("load/{load}/{minutes}min");
                assert_eq!(find(&entries, &topic), Some("0.00"), "{topic}");
            }
        }
        for reason in DropReason::ALL {
            assert_eq!(find(&entries, &format!("drops/{}", reason.name())), Some("0"));
        }
        // 2 texts, 25 zeros, 2 heap, 27 loads are Mosquitto's; the drops are ours.
        assert_eq!(entries.len(), 2 + 25 + 2 + 27 + DropReason::COUNT);
    }

    #[test]
    fn what_is_not_known_is_not_published() {
        let entries =
            update(&mut SysTree::default(), &Stats::default(), &BodyCounters::default(), 0);
        for topic in ["heap/current", "heap/maximum", "store/messages/bytes", "packet/out/count"] {
            assert_eq!(find(&entries, topic), None, "{topic}");
        }
    }

    #[test]
    fn later_updates_have_only_what_changed() {
        let mut tree = SysTree::default();
        let (mut stats, body) = (Stats::default(), BodyCounters::default());
        update(&mut tree, &stats, &body, 0);
        assert!(update(&mut tree, &stats, &body, 0).is_empty());
        let entries = update(&mut tree, &stats, &body, 10);
        assert_eq!(entries, [("$SYS/broker/uptime".to_owned(), "10 seconds".to_owned())]);
        stats.retained = 3;
        let entries = update(&mut tree, &stats, &body, 20);
        let topics: Vec<&str> = entries.iter().map(|(topic, _)| topic.as_str()).collect();
        assert_eq!(
            topics,
            [
                "$SYS/broker/uptime",
                "$SYS/broker/messages/stored",
                "$SYS/broker/store/messages/count",
                "$SYS/broker/retained messages/count",
            ]
        );
    }

    #[test]
    fn each_number_lands_in_its_topic() {
        let stats = Stats {
            packets_received: 1,
            packets_sent: 2,
            publish_received: 3,
            publish_sent: 4,
            publish_bytes_received: 5,
            publish_bytes_sent: 6,
            dropped: [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130],
            sessions: 12,
            connected: 7,
            expired_sessions: 8,
            subscriptions: 20,
            shared_subscriptions: 11,
            retained: 13,
            retained_bytes: 1000,
            queued: 14,
            queued_bytes: 100,
        };
        let body = BodyCounters {
            bytes_received: 15,
            bytes_sent: 16,
            sockets_accepted: 17,
            connects_received: 18,
            packets_waiting: Some(19),
            bytes_waiting: 21,
            retained_bytes: Some(1000),
            heap: None,
        };
        let entries = update(&mut SysTree::default(), &stats, &body, 0);
        for (topic, payload) in [
            ("messages/received", "1"),
            ("messages/sent", "2"),
            ("publish/messages/received", "3"),
            ("publish/messages/sent", "4"),
            ("publish/bytes/received", "5"),
            ("publish/bytes/sent", "6"),
            ("publish/messages/dropped", "30"),
            ("drops/queue_full", "10"),
            ("drops/slow_reader", "20"),
            ("drops/refused_by_receiver", "90"),
            ("clients/total", "12"),
            ("clients/maximum", "12"),
            ("clients/connected", "7"),
            ("clients/active", "7"),
            ("clients/disconnected", "5"),
            ("clients/inactive", "5"),
            ("clients/expired", "8"),
            ("subscriptions/count", "9"),
            ("shared_subscriptions/count", "11"),
            ("retained messages/count", "13"),
            ("messages/stored", "27"),
            ("store/messages/bytes", "1100"),
            ("bytes/received", "15"),
            ("bytes/sent", "16"),
            ("connections/socket/count", "17"),
            ("packet/out/count", "19"),
            ("packet/out/bytes", "21"),
        ] {
            assert_eq!(find(&entries, topic), Some(payload), "{topic}");
        }
    }

    #[test]
    fn the_maximum_stays() {
        let mut tree = SysTree::default();
        let body = BodyCounters::default();
        let clients = |sessions| Stats { sessions, ..Stats::default() };
        update(&mut tree, &clients(5), &body, 0);
        let entries = update(&mut tree, &clients(3), &body, 10);
        assert_eq!(find(&entries, "clients/total"), Some("3"));
        assert_eq!(find(&entries, "clients/maximum"), None);
        let entries = update(&mut tree, &clients(6), &body, 20);
        assert_eq!(find(&entries, "clients/maximum"), Some("6"));
    }

    #[test]
    fn moving_averages() {
        let mut tree = SysTree::default();
        let body = BodyCounters::default();
        let received = |publish_received| Stats { publish_received, ..Stats::default() };
        update(&mut tree, &received(0), &body, 0);
        // 100 in 10 s are 600 a minute; 600 (1 - e^(-10/60)), (-10/300), (-10/900).
        let entries = update(&mut tree, &received(100), &body, 10);
        assert_eq!(find(&entries, "load/publish/received/1min"), Some("92.11"));
        assert_eq!(find(&entries, "load/publish/received/5min"), Some("19.67"));
        assert_eq!(find(&entries, "load/publish/received/15min"), Some("6.63"));
        assert_eq!(find(&entries, "load/publish/sent/1min"), None);
        // Silence: 92.111 e^(-1/6), 19.672 e^(-1/30), 6.630 e^(-1/90).
        let entries = update(&mut tree, &received(100), &body, 20);
        assert_eq!(find(&entries, "load/publish/received/1min"), Some("77.97"));
        assert_eq!(find(&entries, "load/publish/received/5min"), Some("19.03"));
        assert_eq!(find(&entries, "load/publish/received/15min"), Some("6.56"));
        // An hour of silence: no trace after one minute's window, 6.5563 e^(-4) of the longest.
        let entries = update(&mut tree, &received(100), &body, 3620);
        assert_eq!(find(&entries, "load/publish/received/1min"), Some("0.00"));
        assert_eq!(find(&entries, "load/publish/received/15min"), Some("0.12"));
    }

    #[test]
    fn two_updates_at_one_instant_lose_nothing() {
        let mut tree = SysTree::default();
        let body = BodyCounters::default();
        let sent = |packets_sent| Stats { packets_sent, ..Stats::default() };
        update(&mut tree, &sent(0), &body, 0);
        assert_eq!(find(&update(&mut tree, &sent(100), &body, 0), "load/messages/sent/1min"), None);
        let entries = update(&mut tree, &sent(100), &body, 10);
        assert_eq!(find(&entries, "load/messages/sent/1min"), Some("92.11"));
    }

    #[test]
    fn more_topics_follow_the_same_rule() {
        let (mut tree, stats, body) =
            (SysTree::default(), Stats::default(), BodyCounters::default());
        let topic = "connection/office/state";
        let mut states = Vec::new();
        for state in ["0", "1", "1", "0"] {
            let more = [(topic.to_owned(), state.to_owned())];
            let snapshot = Snapshot { stats: &stats, body: &body, more: &more };
            let entries = tree.update(snapshot, Duration::ZERO);
            states.push(find(&entries, topic).map(str::to_owned));
        }
        let state = |text: &str| Some(text.to_owned());
        assert_eq!(states, [state("0"), state("1"), None, state("0")]);
    }
}
