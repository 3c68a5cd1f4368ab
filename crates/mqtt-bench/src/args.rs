//! The command line of `mqtt-bench`. Short names are those of the other tools, and Mosquitto's.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use mqtt_proto::{QoS, Version};

const EXAMPLES: &str = "\
Examples:
  mqtt-bench pairs -q 1 -d 10                  10 publishers to 10 subscribers, as fast as it goes
  mqtt-bench latency -r 2000 -d 10             latency at 2,000 messages a second
  mqtt-bench fanout --subscribers 500 -n 1000  1,000 messages to 500 subscribers each
  mqtt-bench fanout --subscribers 100 --stalled 1 -r 200 -d 10   what one that never reads does
  mqtt-bench conn -c 100000 --source-addresses 127.0.0.2-127.0.0.9
  mqtt-bench disk /var/lib/mosquitto           which durability level this disk can bear

Exit codes: 0 done and nothing lost, 1 the run could not be made, 2 wrong usage,
3 done, but messages or connections were lost or messages came twice.";

const PUB_EXAMPLES: &str = "\
Examples:
  mqtt-bench pub -c 10 -r 5000 -d 30 -t load/%c      5,000 messages a second from 10 clients
  mqtt-bench pub -L mqtts://broker -q 1 -n 100000    over TLS, 100,000 messages";

const SUB_EXAMPLES: &str = "\
Examples:
  mqtt-bench sub -t 'load/#'                         until Ctrl-C
  mqtt-bench sub -c 4 -t '$share/workers/load/#' -q 1 -n 100000";

const CONN_EXAMPLES: &str = "\
Examples:
  mqtt-bench conn -c 10000 --connect-rate 2000 --hold 10
  mqtt-bench conn -c 200000 --source-addresses 127.0.0.2-127.0.0.20 --subscribe 'device/%c'";

const DISK_EXAMPLES: &str = "\
Example:
  mqtt-bench disk /var/lib/mosquitto --json";

/// `mqtt-bench` measures.
#[derive(Parser, Debug)]
#[command(
    name = "mqtt-bench",
    version,
    about = "Measure MQTT brokers, and the disk under one",
    after_help = EXAMPLES,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Publish only: what the broker takes
    #[command(disable_help_flag = true, after_help = PUB_EXAMPLES)]
    Pub {
        /// How many publishers
        #[arg(short, long, default_value_t = 1)]
        clients: u32,
        /// Topic; %c becomes the publisher's number
        #[arg(short, long, default_value = "bench/%c")]
        topic: String,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Subscribe only: what arrives, with the latency of stamped messages
    #[command(disable_help_flag = true, after_help = SUB_EXAMPLES)]
    Sub {
        /// How many subscribers
        #[arg(short, long, default_value_t = 1)]
        clients: u32,
        /// Topic filter; %c becomes the subscriber's number
        #[arg(short, long, default_value = "bench/#")]
        topic: String,
        /// QoS of the subscriptions
        #[arg(short, long, default_value = "0", value_parser = qos)]
        qos: QoS,
        /// End after so many messages in all
        #[arg(short = 'n', long)]
        messages: Option<u64>,
        /// End after so many seconds
        #[arg(short, long, value_parser = seconds)]
        duration: Option<f64>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Open connections and hold them
    #[command(disable_help_flag = true, after_help = CONN_EXAMPLES)]
    Conn {
        /// How many connections
        #[arg(short, long, default_value_t = 1000)]
        clients: u32,
        /// Hold them for so many seconds
        #[arg(long, default_value = "3", value_parser = seconds)]
        hold: f64,
        /// Subscribe each to this topic filter; %c becomes its number
        #[arg(long, value_name = "FILTER")]
        subscribe: Option<String>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// End-to-end latency at a given rate, counted from the time a message was due
    #[command(disable_help_flag = true)]
    Latency {
        /// How many publishers and as many subscribers
        #[arg(short, long, default_value_t = 10)]
        clients: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Every publisher to every subscriber
    #[command(disable_help_flag = true)]
    Fanout {
        /// How many publishers
        #[arg(long, default_value_t = 1)]
        publishers: u32,
        /// How many subscribers, each of which gets every message
        #[arg(long, default_value_t = 500)]
        subscribers: u32,
        /// Further subscribers that never read: what do they do to the others?
        #[arg(long, default_value_t = 0)]
        stalled: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Many publishers to one subscriber
    #[command(disable_help_flag = true)]
    Fanin {
        /// How many publishers
        #[arg(long, default_value_t = 100)]
        publishers: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Publishers to the members of one shared subscription
    #[command(disable_help_flag = true)]
    Shared {
        /// How many publishers
        #[arg(long, default_value_t = 20)]
        publishers: u32,
        /// How many members of the group
        #[arg(long, default_value_t = 10)]
        subscribers: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Publisher i to subscriber i
    #[command(disable_help_flag = true)]
    Pairs {
        /// How many pairs
        #[arg(short, long, default_value_t = 10)]
        clients: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Measure write + fdatasync in a folder and recommend a durability level
    #[command(after_help = DISK_EXAMPLES)]
    Disk {
        /// An existing folder on the disk in question; one file comes and goes there
        dir: PathBuf,
        /// Seconds to measure each batch size
        #[arg(short, long, default_value = "3", value_parser = seconds)]
        duration: f64,
        /// Bytes of one record
        #[arg(short, long, default_value_t = 256, value_parser = record_size())]
        size: u32,
        /// Print one JSON object instead of the table
        #[arg(long)]
        json: bool,
    },
}

/// What is published.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// QoS of messages and subscriptions
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub(crate) qos: QoS,
    /// Bytes of a payload; from 32 on it carries a stamp, without which messages are only counted
    #[arg(short, long, default_value_t = 64, value_parser = payload_size())]
    pub(crate) size: u32,
    /// Messages in all; without it --duration decides
    #[arg(short = 'n', long)]
    pub(crate) messages: Option<u64>,
    /// Seconds to publish [default: 10 unless --messages is given]
    #[arg(short, long, value_parser = seconds)]
    pub(crate) duration: Option<f64>,
    /// Messages a second in all; without it as fast as the broker takes them [latency: 1000]
    #[arg(short, long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// QoS 1 and 2: unacknowledged messages of one publisher
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
    /// QoS 0 at full speed: messages of one publisher that have not arrived; 0: no bound
    #[arg(long, default_value_t = 1000)]
    pub(crate) ahead: u64,
    /// Seconds without any arrival after which what is missing counts as lost
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) drain: f64,
}

/// How to reach the broker, and how to report.
#[derive(Args, Debug)]
pub(crate) struct ConnectionArgs {
    /// Broker as a URL: mqtt://, mqtts://, ws://, wss://, unix://, with user:password@ if needed
    #[arg(short = 'L', long)]
    pub(crate) url: Option<String>,
    /// Broker's host
    #[arg(short = 'h', long, default_value = "localhost")]
    pub(crate) host: String,
    /// Broker's port [default: 1883, or that of the transport]
    #[arg(short, long)]
    pub(crate) port: Option<u16>,
    /// Protocol version: 3.1, 3.1.1 or 5
    #[arg(short = 'V', long, default_value = "3.1.1", value_parser = version)]
    pub(crate) version: Version,
    /// User name
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// Password
    #[arg(short = 'P', long)]
    pub(crate) password: Option<String>,
    /// In front of every Client Identifier
    #[arg(short = 'i', long, default_value = "bench")]
    pub(crate) id_prefix: String,
    /// Keep Alive in seconds; 0: none
    #[arg(short, long, default_value_t = 0)]
    pub(crate) keepalive: u16,
    /// TLS with the system's CAs
    #[arg(long)]
    pub(crate) tls: bool,
    /// TLS with the CAs in this file
    #[arg(long)]
    pub(crate) cafile: Option<PathBuf>,
    /// Client certificate
    #[arg(long)]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
    /// TLS without checking the broker's certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// WebSocket
    #[arg(long)]
    pub(crate) ws: bool,
    /// Path of the WebSocket request
    #[arg(long, default_value = "/mqtt")]
    pub(crate) path: String,
    /// Local addresses to connect from in turn: 127.0.0.2-127.0.0.9,10.0.0.0/24
    #[arg(long, value_name = "LIST")]
    pub(crate) source_addresses: Option<String>,
    /// Connections a second; without it as fast as they are accepted
    #[arg(long, value_parser = rate)]
    pub(crate) connect_rate: Option<f64>,
    /// Threads of this program
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// The broker's process on this machine: report its CPU and memory
    #[arg(long, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Bytes of a record that a log may see.
fn record_size() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1 << 20)
}

/// Bytes of a payload; the largest packets have 256 MB, but nobody's clients send them in a row.
fn payload_size() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=16 << 20)
}

fn qos(text: &str) -> Result<QoS, String> {
    let number = text.parse().map_err(|_| "QoS is 0, 1 or 2")?;
    QoS::from_u8(number).ok_or_else(|| "QoS is 0, 1 or 2".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "3.1" | "31" | "mqttv31" => Ok(Version::V31),
        "3.1.1" | "311" | "mqttv311" => Ok(Version::V311),
        "5" | "5.0" | "mqttv5" => Ok(Version::V5),
        _ => Err("a version is 3.1, 3.1.1 or 5".to_owned()),
    }
}

/// A time that a run can take: above 0, at most a year.
fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().map_err(|_| "not a number of seconds")?;
    if value > 0.0 && value <= 31_536_000.0 {
        Ok(value)
    } else {
        Err("above 0, at most a year".into())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let value = text.parse().map_err(|_| "not a number per second")?;
    if (0.001..=1e9).contains(&value) {
        Ok(value)
    } else {
        Err("from 0.001 to 1e9 a second".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_checked() {
        for line in [
            "pairs -q 3",
            "pairs -V 4",
            "pairs -d 0",
            "pairs -d NaN",
            "pairs -r inf",
            "pairs -w 0",
            "pairs --threads 0",
            "pairs --source",
            "disk",
            "disk . -s 0",
        ] {
            let words = ["mqtt-bench"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
        let line = "mqtt-bench pairs -h host -p 99 -V 5 -q 2 -d 0.5 -r 1e4 -u me -P secret";
        let Command::Pairs { load, connection, .. } =
            Cli::try_parse_from(line.split(' ')).unwrap().command
        else {
            panic!("not pairs")
        };
        assert_eq!((load.qos, load.rate), (QoS::ExactlyOnce, Some(1e4)));
        assert_eq!((connection.port, connection.version), (Some(99), Version::V5));
    }
}
