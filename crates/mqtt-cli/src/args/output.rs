//! Flags about how messages are printed.

use clap::Args;

use super::parse;

/// The ways to print a message.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print the topic too
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Print no newline after the payload
    #[arg(short = 'N', long = "no-newline")]
    pub no_newline: bool,
    /// Print in this format: %t topic, %p payload, %q QoS, %r retain, %I time, %j JSON, …
    #[arg(short = 'F', long = "format", value_name = "FORMAT", value_parser = parse::format)]
    pub format: Option<String>,
    /// Indent the JSON of %j and %J
    #[arg(long)]
    pub pretty: bool,
    /// One JSON object a line: topic, payload as text or base64, QoS, properties, time in ns
    #[arg(long, conflicts_with_all = ["format", "csv", "null"])]
    pub json: bool,
    /// One CSV record a message: time, topic, QoS, retain, payload
    #[arg(long, conflicts_with_all = ["format", "null"])]
    pub csv: bool,
    /// End each message with a NUL byte instead of a newline
    #[arg(short = '0', long = "null")]
    pub null: bool,
    /// Colours; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    pub color: When,
}

/// What `mqtt-sub` can do with the stream as a whole.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct StreamArgs {
    /// Print messages per second instead of messages
    #[arg(long)]
    pub message_rate: bool,
    /// Print messages per second and the times between messages on stderr, each second and at
    /// the end
    #[arg(long)]
    pub stats: bool,
    /// Keep one line for each topic on the screen
    #[arg(short = 'w', long)]
    pub watch: bool,
    /// Also write each message to FILE, for mqtt-pub --replay
    #[arg(long, value_name = "FILE")]
    pub record: Option<String>,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On a terminal
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}
