//! `mqtt-bench` measures any MQTT broker, and the disk under one. This file turns the command line
//! into a plan and the outcome into words and an exit code.
//!
//! Reading order: `args`, `run` (the plan and its phases), `crew` (threads and clients), `link`
//! (one connection), `publisher` and `subscriber`, `report`.
#![forbid(unsafe_code)]

mod args;
mod board;
mod clock;
mod crew;
mod disk;
mod link;
mod load;
mod progress;
mod publisher;
mod report;
mod run;
mod seen;
mod sources;
mod stamp;
mod subscriber;
mod tally;
mod target;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use mqtt_proto::QoS;

use crate::args::{Cli, Command, ConnectionArgs, LoadArgs};
use crate::crew::Task;
use crate::run::Plan;

/// The rate of `latency` when none is given, in messages a second.
const LATENCY_RATE: f64 = 1000.0;

/// Done, but something was lost or came twice.
const EXIT_UNCLEAN: u8 = 3;

fn main() -> ExitCode {
    let outcome = act(Cli::parse().command);
    outcome.unwrap_or_else(|error| {
        eprintln!("mqtt-bench: {}", spoken(&error));
        ExitCode::FAILURE
    })
}

fn act(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Disk { dir, duration, size, json } => {
            let report = disk::measure(&dir, Duration::from_secs_f64(duration), size)?;
            say(&if json { format!("{:#}\n", report.json()) } else { report.table() })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Pub { clients, topic, load, connection } => {
            let tasks = (0..clients).map(|it| Task::Publish(it, numbered(&topic, it))).collect();
            measure(Plan::publishing("pub", tasks, &load, 0)?, &connection)
        }
        Command::Sub { clients, topic, qos, messages, duration, connection } => {
            let subscribe = |it| Task::Subscribe(numbered(&topic, it), qos);
            let tasks = (0..clients).map(subscribe).collect();
            let plan = Plan::idle("sub", tasks);
            let is_shared = topic.starts_with("$share/");
            measure(Plan { receive: messages, duration, is_shared, ..plan }, &connection)
        }
        Command::Conn { clients, hold, subscribe, connection } => {
            let task = |it| match &subscribe {
                Some(filter) => Task::Subscribe(numbered(filter, it), QoS::AtMostOnce),
                None => Task::Stay,
            };
            let plan = Plan::idle("conn", (0..clients).map(task).collect());
            measure(Plan { duration: Some(hold), ..plan }, &connection)
        }
        Command::Latency { clients, mut load, connection } => {
            load.rate.get_or_insert(LATENCY_RATE);
            let tasks = pairs(clients, load.qos);
            measure(Plan::publishing("latency", tasks, &load, 1)?, &connection)
        }
        Command::Pairs { clients, load, connection } => {
            let tasks = pairs(clients, load.qos);
            measure(Plan::publishing("pairs", tasks, &load, 1)?, &connection)
        }
        Command::Fanout { publishers, subscribers, stalled, load, connection } => {
            let copies = subscribers;
            let shape = Shape { name: "fanout", publishers, subscribers, copies, stalled };
            to_one_topic(shape, &load, &connection)
        }
        Command::Fanin { publishers, load, connection } => {
            let shape = Shape { name: "fanin", publishers, subscribers: 1, copies: 1, stalled: 0 };
            to_one_topic(shape, &load, &connection)
        }
        Command::Shared { publishers, subscribers, load, connection } => {
            let shape = Shape { name: "shared", publishers, subscribers, copies: 1, stalled: 0 };
            to_one_topic(shape, &load, &connection)
        }
    }
}

/// An error with its causes, without those that it quotes already.
fn spoken(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Topics that no other run uses.
fn own_topic(suffix: &str) -> String {
    format!("mqtt-bench/{}/{suffix}", std::process::id())
}

fn numbered(topic: &str, number: u32) -> String {
    topic.replace("%c", &number.to_string())
}

/// Publisher and subscriber side by side, so that both sides of a pair connect at about one time.
fn pairs(count: u32, qos: QoS) -> Vec<Task> {
    let pair = |it: u32| {
        let topic = own_topic(&it.to_string());
        [Task::Subscribe(topic.clone(), qos), Task::Publish(it, topic)]
    };
    (0..count).flat_map(pair).collect()
}

/// Everybody on one topic.
struct Shape {
    name: &'static str,
    publishers: u32,
    subscribers: u32,
    copies: u32,
    /// Further subscribers, which read nothing.
    stalled: u32,
}

fn to_one_topic(
    shape: Shape,
    load: &LoadArgs,
    connection: &ConnectionArgs,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(shape.subscribers > 0, "there must be a subscriber");
    let topic = own_topic("all");
    let is_shared = shape.name == "shared";
    let filter = if is_shared { format!("$share/bench/{topic}") } else { topic.clone() };
    let subscribe = (0..shape.subscribers).map(|_| Task::Subscribe(filter.clone(), load.qos));
    let publish = (0..shape.publishers).map(|it| Task::Publish(it, topic.clone()));
    let stall = (0..shape.stalled).map(|_| Task::Stall(filter.clone(), load.qos));
    let tasks = subscribe.chain(stall).chain(publish).collect();
    let plan = Plan::publishing(shape.name, tasks, load, u64::from(shape.copies))?;
    measure(Plan { is_shared, ..plan }, connection)
}

fn measure(plan: Plan, connection: &ConnectionArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!plan.tasks.is_empty(), "there must be a client");
    let report = run::make(plan, connection)?;
    say(&if connection.json { format!("{:#}\n", report.json()) } else { report.table() })?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { EXIT_UNCLEAN.into() })
}

/// Prints the result; a reader that has gone away is an error like others.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_publisher_has_its_subscriber() {
        let tasks = pairs(3, QoS::AtLeastOnce);
        assert_eq!(tasks.len(), 6);
        for pair in tasks.chunks(2) {
            let [Task::Subscribe(filter, qos), Task::Publish(_, topic)] = pair else {
                panic!("{pair:?}")
            };
            assert_eq!((filter, *qos), (topic, QoS::AtLeastOnce));
        }
        assert_eq!(numbered("a/%c/b", 7), "a/7/b");
    }
}
