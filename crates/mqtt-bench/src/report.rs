//! What a run has shown: figures, verdicts, and both as a table or as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::board::{Board, value};
use crate::clock::seconds;
use crate::crew::Harvest;
use crate::load::Used;
use crate::run::Plan;
use crate::seen::Seen;
use crate::stamp::STAMP_BYTES;
use crate::subscriber::Book;
use crate::tally::{Tally, Times};

/// From this share of one processor on, a thread of ours was the limit.
const BUSY_MAX: f64 = 0.85;

/// With less idle time than this, broker and generator took processors from each other.
const HOST_IDLE_MIN: f64 = 0.05;

/// A generator that is late by more than this share of the latency measured distorts it.
const LATENESS_MAX: f64 = 0.2;

/// The figures of a run.
pub(crate) struct Report {
    name: &'static str,
    target: String,
    clients: u64,
    ready: u64,
    failed: u64,
    broken: u64,
    publishers: u32,
    copies: u64,
    is_shared: bool,
    is_stamped: bool,
    is_scheduled: bool,
    sent: u64,
    acknowledged: u64,
    refused: u64,
    received: u64,
    received_bytes: u64,
    latest: u64,
    /// From the start to the last arrival.
    seconds: f64,
    connect_seconds: f64,
    used: Used,
    connect_used: Used,
    resident: Option<u64>,
    resident_before: Option<u64>,
    busiest: f64,
    lost: Option<u64>,
    duplicates: Option<u64>,
    out_of_order: u64,
    tally: Tally,
    errors: Vec<String>,
    /// Ctrl-C ended it.
    pub(crate) is_interrupted: bool,
}

impl Report {
    /// The counters at the end of a run.
    pub(crate) fn new(plan: &Plan, board: &Board, target: String) -> Self {
        Self {
            name: plan.name,
            target,
            clients: plan.tasks.len() as u64,
            ready: value(&board.ready),
            failed: value(&board.failed),
            broken: value(&board.broken),
            publishers: plan.publishers,
            copies: plan.copies,
            is_shared: plan.is_shared,
            is_stamped: plan.publishers == 0 || plan.size >= STAMP_BYTES,
            is_scheduled: plan.rate.is_some(),
            sent: value(&board.sent),
            acknowledged: value(&board.acknowledged),
            refused: value(&board.refused),
            received: value(&board.received),
            received_bytes: value(&board.received_bytes),
            latest: value(&board.latest),
            seconds: 0.0,
            connect_seconds: 0.0,
            used: Used::default(),
            connect_used: Used::default(),
            resident: None,
            resident_before: None,
            busiest: 0.0,
            lost: None,
            duplicates: None,
            out_of_order: 0,
            tally: Tally::default(),
            errors: board.errors(),
            is_interrupted: false,
        }
    }

    /// When the run began and ended.
    pub(crate) fn take_times(&mut self, start: u64, end: u64, connect_seconds: f64) {
        // Waiting for what never came is no part of a rate.
        let last = if self.latest > start { self.latest.min(end) } else { end };
        self.seconds = seconds(start, last).max(1e-9);
        self.connect_seconds = connect_seconds.max(1e-9);
    }

    /// Processors and memory.
    pub(crate) fn take_usage(
        &mut self,
        used: Used,
        connect_used: Used,
        resident: Option<u64>,
        resident_before: Option<u64>,
    ) {
        self.used = used;
        self.connect_used = connect_used;
        self.resident = resident;
        self.resident_before = resident_before;
    }

    /// What the threads brought home.
    pub(crate) fn take_harvest(&mut self, harvest: Vec<Harvest>) {
        let mut books = Vec::new();
        for part in harvest {
            self.tally.add(&part.tally);
            self.busiest = self.busiest.max(part.busy);
            books.extend(part.books);
        }
        let expected = self.sent * self.copies;
        if !self.is_stamped {
            // Without stamps, what is missing in sum.
            self.lost = (self.copies > 0).then(|| expected.saturating_sub(self.received));
            return;
        }
        let seen = if self.is_shared { united(&books) } else { books };
        let each = || seen.iter().flat_map(Book::values);
        if self.publishers == 0 && self.received == 0 {
            return;
        }
        if seen.is_empty() {
            // Nobody listened, or everybody's connection broke before anything came.
            self.lost = (self.copies > 0).then_some(expected);
            return;
        }
        self.duplicates = Some(each().map(|it| it.duplicates).sum());
        // The members of a group share messages; each of them sees its part in order.
        self.out_of_order = each().map(|it| it.out_of_order).sum();
        let different: u64 = each().map(Seen::count).sum();
        self.lost = match self.publishers {
            0 => Some(each().map(Seen::gaps).sum()),
            _ => Some(expected.saturating_sub(different)),
        };
    }

    /// Whether nothing was lost and nothing came twice.
    pub(crate) fn is_clean(&self) -> bool {
        let none = |count: Option<u64>| count.unwrap_or(0) == 0;
        self.failed == 0
            && self.broken == 0
            && self.refused == 0
            && none(self.lost)
            && none(self.duplicates)
    }

    /// What limits the truth of the figures.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        let mut verdicts = Vec::new();
        let is_loaded = self.sent + self.received > 0;
        if is_loaded && self.busiest >= BUSY_MAX {
            verdicts.push(format!(
                "The generator was the bottleneck: one of its threads was busy, or \
                 waiting for a processor, {:.0} % of the time. The broker may be faster; try more \
                 --threads.",
                self.busiest * 100.0
            ));
        }
        if let Some(idle) = self.used.host_idle.filter(|it| is_loaded && *it < HOST_IDLE_MIN) {
            verdicts.push(format!(
                "This machine had only {:.0} % of its processors idle: generator and broker took \
                 time from each other, if the broker is here too. Compare the broker's processor \
                 time (--broker-pid), not rates.",
                idle * 100.0
            ));
        }
        let (late, latency) = (self.tally.lateness.micros(0.99), self.tally.latency.micros(0.99));
        if self.is_scheduled && self.tally.latency.len() > 0 && late > latency * LATENESS_MAX {
            verdicts.push(format!(
                "The generator was late: 99 % of the messages left up to {late:.0} µs after they \
                 were due, which is part of the latency of {latency:.0} µs."
            ));
        }
        if !self.is_scheduled && self.publishers > 0 && self.tally.latency.len() > 0 {
            verdicts.push(
                "At full speed the latency is that of full queues; see --rate for a latency that \
                 counts from the time a message was due."
                    .to_owned(),
            );
        }
        if !self.is_stamped {
            verdicts.push(format!(
                "Payloads below {STAMP_BYTES} bytes carry no stamp: no latency, no duplicates."
            ));
        }
        if self.is_interrupted {
            verdicts.push("Interrupted: what was under way counts as lost.".to_owned());
        }
        verdicts
    }

    /// Messages that the broker's work is divided by.
    fn messages(&self) -> u64 {
        if self.received > 0 { self.received } else { self.sent }
    }

    fn broker_micros_per_message(&self) -> Option<f64> {
        let messages = self.messages();
        let broker = self.used.broker?;
        (messages > 0).then(|| broker * 1e6 / messages as f64)
    }

    fn bytes_per_connection(&self) -> Option<i64> {
        let grown = self.resident? as i64 - self.resident_before? as i64;
        (self.name == "conn" && self.ready > 0).then(|| grown / self.ready as i64)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{} with {}\n", self.name, self.target);
        for (name, value) in self.rows() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {name:<26} {value:>14}");
        }
        let times = [
            ("latency", &self.tally.latency),
            ("acknowledged after", &self.tally.acknowledgements),
            ("connected after", &self.tally.connects),
            ("sent late by", &self.tally.lateness),
        ];
        let times: Vec<_> = times.into_iter().filter(|(_, times)| times.len() > 0).collect();
        if !times.is_empty() {
            let _ = write!(text, "  {:<18}", "µs");
            for (name, _) in Times::default().percentiles() {
                let _ = write!(text, " {name:>10}");
            }
            text.push('\n');
        }
        for (name, times) in times {
            let _ = write!(text, "  {name:<18}");
            for (_, micros) in times.percentiles() {
                let _ = write!(text, " {micros:>10.0}");
            }
            text.push('\n');
        }
        for line in self.errors.iter().map(|it| format!("error: {it}")).chain(self.verdicts()) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![("connections", format!("{} of {}", self.ready, self.clients))];
        rows.push(("connections/s", whole(self.ready as f64 / self.connect_seconds)));
        if self.broken > 0 {
            rows.push(("connections lost", self.broken.to_string()));
        }
        if self.publishers > 0 {
            rows.push(("sent", self.sent.to_string()));
            rows.push(("sent/s", whole(self.sent as f64 / self.seconds)));
        }
        if self.acknowledged > 0 {
            rows.push(("acknowledged", self.acknowledged.to_string()));
            rows.push(("refused", self.refused.to_string()));
        }
        if self.copies > 0 || self.received > 0 {
            rows.push(("received", self.received.to_string()));
            rows.push(("received/s", whole(self.received as f64 / self.seconds)));
            let megabytes = self.received_bytes as f64 / self.seconds / 1e6;
            rows.push(("payload MB/s", format!("{megabytes:.1}")));
        }
        let counts = [("lost", self.lost), ("duplicates", self.duplicates)];
        let counts = counts.into_iter().filter_map(|(name, it)| Some((name, it?.to_string())));
        rows.extend(counts);
        if self.out_of_order > 0 {
            rows.push(("out of order", self.out_of_order.to_string()));
        }
        if self.tally.strangers > 0 {
            rows.push(("of other runs", self.tally.strangers.to_string()));
        }
        rows.push(("generator's busiest thread", format!("{:.0} %", self.busiest * 100.0)));
        if let Some(micros) = self.broker_micros_per_message() {
            rows.push(("broker CPU-µs/message", format!("{micros:.2}")));
        }
        if let Some(seconds) = self.connect_used.broker.filter(|_| self.ready > 0) {
            let micros = seconds * 1e6 / self.ready as f64;
            rows.push(("broker CPU-µs/connection", format!("{micros:.1}")));
        }
        if let Some(bytes) = self.resident {
            rows.push(("broker memory kB", (bytes / 1024).to_string()));
        }
        if let Some(bytes) = self.bytes_per_connection() {
            rows.push(("broker bytes/connection", bytes.to_string()));
        }
        rows
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("run", json!(self.name));
        put("broker", json!(self.target));
        put("clean", json!(self.is_clean()));
        put("connections", json!(self.ready));
        put("connections_failed", json!(self.failed));
        put("connections_lost", json!(self.broken));
        put("connect_s", json!(self.connect_seconds));
        put("run_s", json!(self.seconds));
        put("sent", json!(self.sent));
        put("sent_per_s", json!(self.sent as f64 / self.seconds));
        put("acknowledged", json!(self.acknowledged));
        put("refused", json!(self.refused));
        put("received", json!(self.received));
        put("received_per_s", json!(self.received as f64 / self.seconds));
        put("received_bytes", json!(self.received_bytes));
        put("lost", json!(self.lost));
        put("duplicates", json!(self.duplicates));
        put("out_of_order", json!(self.out_of_order));
        put("of_other_runs", json!(self.tally.strangers));
        put("latency", self.tally.latency.json());
        put("acknowledgements", self.tally.acknowledgements.json());
        put("connects", self.tally.connects.json());
        put("sent_late", self.tally.lateness.json());
        put("generator_busiest_thread", json!(self.busiest));
        put("generator_cpu_s", json!(self.used.own));
        put("host_idle", json!(self.used.host_idle));
        put("broker_cpu_s", json!(self.used.broker));
        put("broker_connect_cpu_s", json!(self.connect_used.broker));
        put("broker_cpu_us_per_message", json!(self.broker_micros_per_message()));
        put("broker_resident_bytes", json!(self.resident));
        put("broker_bytes_per_connection", json!(self.bytes_per_connection()));
        put("generator_was_bottleneck", json!(self.busiest >= BUSY_MAX));
        put("interrupted", json!(self.is_interrupted));
        put("errors", json!(self.errors));
        put("verdicts", json!(self.verdicts()));
        Value::Object(object)
    }
}

/// What a group got together, by publisher.
fn united(books: &[Book]) -> Vec<Book> {
    let mut all = Book::new();
    for (key, seen) in books.iter().flatten() {
        let united = all.get(key).map_or_else(|| seen.clone(), |other| other.union(seen));
        all.insert(*key, united);
    }
    if all.is_empty() { Vec::new() } else { vec![all] }
}

/// With thousands set apart.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::add;
    use crate::crew::Task;

    fn plan(publishers: u32, copies: u64, is_shared: bool) -> Plan {
        let tasks = (0..publishers).map(|it| Task::Publish(it, "t".into())).collect();
        Plan { publishers, copies, is_shared, size: 64, ..Plan::idle("test", tasks) }
    }

    fn book(numbers: &[u64]) -> Book {
        let mut seen = Seen::default();
        numbers.iter().for_each(|it| seen.insert(*it));
        Book::from([((1, 0), seen)])
    }

    fn report(plan: &Plan, sent: u64, books: Vec<Book>, busy: f64) -> Report {
        let board = Board::new(plan.publishers);
        add(&board.sent, sent);
        let arrivals = |it: &Seen| it.count() + it.duplicates;
        add(&board.received, books.iter().flat_map(Book::values).map(arrivals).sum());
        let mut report = Report::new(plan, &board, "mqtt://test".into());
        report.take_times(0, 1_000_000_000, 1.0);
        report.take_harvest(vec![Harvest { tally: Tally::default(), books, busy }]);
        report
    }

    #[test]
    fn losses_and_duplicates_by_kind_of_run() {
        let each = report(&plan(1, 2, false), 4, vec![book(&[0, 1, 2, 3]), book(&[0, 1, 1])], 0.1);
        assert_eq!((each.lost, each.duplicates), (Some(2), Some(1)));
        assert!(!each.is_clean());
        let group = report(&plan(1, 1, true), 4, vec![book(&[0, 2]), book(&[1, 3])], 0.1);
        assert_eq!((group.lost, group.duplicates), (Some(0), Some(0)));
        assert!(group.is_clean());
        let twice = report(&plan(1, 1, true), 4, vec![book(&[0, 2, 3]), book(&[1, 3])], 0.1);
        assert_eq!((twice.lost, twice.duplicates), (Some(0), Some(1)));
        let alone = report(&plan(0, 0, false), 0, vec![book(&[5, 6, 9])], 0.1);
        assert_eq!((alone.lost, alone.duplicates), (Some(2), Some(0)));
    }

    #[test]
    fn a_busy_generator_is_named() {
        let words = |busy| report(&plan(1, 0, false), 9, vec![], busy).verdicts().join(" ");
        assert!(words(BUSY_MAX).contains("generator was the bottleneck"));
        assert!(!words(BUSY_MAX - 0.01).contains("generator was the bottleneck"));
        let report = report(&plan(1, 0, false), 9, vec![], 0.99);
        assert_eq!(report.json()["generator_was_bottleneck"], true);
        assert!(report.table().contains("bottleneck"));
    }

    #[test]
    fn thousands() {
        for (value, text) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1234567.0, "1,234,567")]
        {
            assert_eq!(whole(value), text);
        }
    }
}
