//! Flags about what is published: payload, topic, repetition, rate; and those of a request.

use std::time::Duration;

use clap::Args;

use super::parse;

/// Shown below `mqtt-pub --help`.
pub const EXAMPLES: &str = "\
Examples:
  mqtt-pub -t room/light -m on                 one message to localhost
  mqtt-pub -h broker -t state -m up -q 1 -r    acknowledged, and kept as the topic's last value
  mqtt-pub -t state -r -n                      clear the kept value
  tail -f log | mqtt-pub -t log -l             each line becomes a message
  mqtt-pub --topic-sep ' ' -l < lines          each line names its topic first
  mqtt-pub --replay day.jsonl --speed 10x      what mqtt-sub --record has written";

/// Shown below `mqtt-rr --help`.
pub const REQUEST_EXAMPLES: &str = "\
Examples:
  mqtt-rr -t lamp/get -e lamp/answer -m state       ask and print the answer
  mqtt-rr -t lamp/get -e answer -m state -W 3       wait at most three seconds";

/// Where the payload comes from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Message")]
pub struct PayloadArgs {
    /// Topic to publish to, as in room/light
    #[arg(short = 't', long, value_name = "TOPIC", value_parser = parse::topic_name)]
    pub topic: Option<String>,
    /// The payload
    #[arg(short = 'm', long, value_name = "MESSAGE", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// The payload is FILE's content
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<String>,
    /// The payload is all of stdin
    #[arg(short = 's', long)]
    pub stdin_file: bool,
    /// An empty payload
    #[arg(short = 'n', long)]
    pub null_message: bool,
}

/// What `mqtt-pub` has beyond that.
#[derive(Args, Debug)]
#[command(next_help_heading = "Message")]
pub struct PublishArgs {
    /// The broker keeps the message as the topic's last value
    #[arg(short = 'r', long)]
    pub retain: bool,
    /// Each line of stdin is a message
    #[arg(short = 'l', long)]
    pub stdin_line: bool,
    /// With -l: a line is the topic, SEP and the payload
    #[arg(long, value_name = "SEP", requires = "stdin_line")]
    pub topic_sep: Option<String>,
    /// With -l: each line is a JSON object with "topic", "payload", "qos", "retain"
    #[arg(long, requires = "stdin_line", conflicts_with = "topic_sep")]
    pub json_lines: bool,
    /// Publish N times
    #[arg(long, value_name = "N", value_parser = parse::repeat)]
    pub repeat: Option<u64>,
    /// Seconds between two repetitions
    #[arg(long, value_name = "SECONDS", value_parser = parse::repeat_delay)]
    pub repeat_delay: Option<Duration>,
    /// Messages per second at most: 500, 500/s, 30/m
    #[arg(long, value_name = "RATE", value_parser = parse::rate)]
    pub rate: Option<f64>,
    /// Publish what mqtt-sub --record has written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin_line"])]
    pub replay: Option<String>,
    /// With --replay: 1x is the recorded speed, 10x ten times it, max does not wait
    #[arg(long, value_name = "SPEED", default_value = "1x", requires = "replay",
        value_parser = speed)]
    pub speed: Speed,
    /// With --replay: begin anew at the end
    #[arg(long = "loop", requires = "replay")]
    pub repeat_for_ever: bool,
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was recorded.
    Times(f64),
    /// Without waiting.
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
        Ok(times) if times > 0.0 && times.is_finite() => Ok(Speed::Times(times)),
        _ => Err(format!("Invalid speed '{text}', write for example 1x, 0.5x or max.")),
    }
}

/// What `mqtt-rr` has beyond the payload.
#[derive(Args, Debug)]
#[command(next_help_heading = "Message")]
pub struct RequestArgs {
    /// Topic the response comes to
    #[arg(short = 'e', long, value_name = "TOPIC", value_parser = parse::response_topic)]
    pub response_topic: Option<String>,
    /// Print the time between request and response
    #[arg(long)]
    pub latency: bool,
}

impl PayloadArgs {
    /// How many of the ways to give a payload are used.
    pub fn count(&self) -> usize {
        let given =
            [self.message.is_some(), self.file.is_some(), self.stdin_file, self.null_message];
        given.iter().filter(|is_given| **is_given).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_factors_or_max() {
        assert_eq!(speed("2.5x"), Ok(Speed::Times(2.5)));
        assert_eq!(speed("max"), Ok(Speed::Max));
        for wrong in ["0x", "-1x", "fast", "infx"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }
}
