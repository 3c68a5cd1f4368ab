//! Flags about what is subscribed to and when to stop.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mqtt_client::RetainHandling;

use super::parse;

/// Shown below `mqtt-sub --help`.
pub const EXAMPLES: &str = "\
Examples:
  mqtt-sub -t 'room/#' -v                      topics and payloads under room
  mqtt-sub -t state -C 1 -W 5                  the next message, or give up after 5 seconds
  mqtt-sub -t '#' --json | jq .topic           one JSON object a line
  mqtt-sub -t '#' -F '%I %t %p'                with a time of one's own
  mqtt-sub -t '#' --record day.jsonl           keep it for mqtt-pub --replay
  mqtt-sub -t 'old/#' --remove-retained --retained-only";

/// What to subscribe to.
#[derive(Args, Debug)]
#[command(next_help_heading = "Subscription")]
pub struct SubscribeArgs {
    /// Topic to listen to, + and # are wildcards; may be repeated
    #[arg(short = 't', long, value_name = "TOPIC", value_parser = parse::topic_filter)]
    pub topic: Vec<String>,
    /// Leave out messages of these topics; may be repeated
    #[arg(short = 'T', long, value_name = "TOPIC", value_parser = parse::filter_out)]
    pub filter_out: Vec<String>,
    /// Unsubscribe a session that was kept (-c) from TOPIC; may be repeated
    #[arg(short = 'U', long, value_name = "TOPIC", value_parser = parse::unsubscribe_filter)]
    pub unsubscribe: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where its struct is")]
    pub options: OptionArgs,
    /// Take retained messages only; exit at the first other one
    #[arg(long)]
    pub retained_only: bool,
    /// Clear each retained message that arrives, so that the broker keeps it no longer
    #[arg(long)]
    pub remove_retained: bool,
    /// Print PERCENT of the messages, chosen at random
    #[arg(long, value_name = "PERCENT", value_parser = parse::percentage)]
    pub random_filter: Option<f64>,
}

/// Subscription options, shared with `mqtt-rr`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Subscription")]
pub struct OptionArgs {
    /// Leave out retained messages: those the broker had kept
    #[arg(short = 'R', long = "skip-retained")]
    pub skip_retained: bool,
    /// Show the retain flag as it was published; needs -V 5
    #[arg(long)]
    pub retain_as_published: bool,
    /// When the broker sends retained messages: at each subscription, a new one, or not at
    /// all; needs -V 5
    #[arg(long, value_name = "WHEN", value_enum)]
    pub retain_handling: Option<RetainHandlingArg>,
    /// Give up after TIMEOUT seconds, with exit code 27
    #[arg(short = 'W', long = "timeout", value_name = "TIMEOUT", value_parser = parse::timeout)]
    pub timeout: Option<Duration>,
}

/// `--retain-handling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RetainHandlingArg {
    /// At each subscription
    Always,
    /// Only for a new subscription
    New,
    /// Not at all
    Never,
}

impl From<RetainHandlingArg> for RetainHandling {
    fn from(arg: RetainHandlingArg) -> Self {
        match arg {
            RetainHandlingArg::Always => Self::AtSubscribe,
            RetainHandlingArg::New => Self::IfNew,
            RetainHandlingArg::Never => Self::Never,
        }
    }
}

/// When to stop.
#[derive(Args, Debug)]
#[command(next_help_heading = "Stopping")]
pub struct WatchArgs {
    /// Exit after COUNT messages
    #[arg(short = 'C', long = "count", value_name = "COUNT", value_parser = parse::message_count)]
    pub count: Option<u64>,
    /// Exit once the broker has acknowledged the subscriptions
    #[arg(short = 'E', long = "exit-after-subscribe")]
    pub exit_after_subscribe: bool,
    /// Exit after the first message whose payload contains TEXT
    #[arg(long, value_name = "TEXT")]
    pub until: Option<String>,
}
