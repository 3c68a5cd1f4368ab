//! The command lines of `mqtt-pub`, `mqtt-sub` and `mqtt-rr`: one module for each concern, one row
//! for each flag.
//!
//! [`line`] brings Mosquitto's spelling into clap's, [`defaults`] reads the files with default
//! options. What the options lead to is decided elsewhere.

pub mod connection;
pub mod defaults;
pub mod line;
pub mod mosquitto;
pub mod output;
pub mod parse;
pub mod property;
pub mod publish;
pub mod secret;
pub mod session;
pub mod subscribe;
pub mod tls;

use clap::{Args, CommandFactory, FromArgMatches, Parser};

/// `mqtt-pub` publishes messages.
#[derive(Parser, Debug)]
#[allow(missing_docs, reason = "each field is described where its struct is")]
#[command(
    name = "mqtt-pub",
    version,
    about = "Publish messages to an MQTT broker",
    override_usage = "mqtt-pub [-h HOST] -t TOPIC -m MESSAGE   (or -f FILE, -s, -n)\n       \
        mqtt-pub [-h HOST] -t TOPIC -l < LINES\n       \
        mqtt-pub [-h HOST] --replay FILE",
    after_help = publish::EXAMPLES,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct PubCli {
    #[command(flatten)]
    pub payload: publish::PayloadArgs,
    #[command(flatten)]
    pub publish: publish::PublishArgs,
    #[command(flatten)]
    pub connection: connection::ConnectionArgs,
    #[command(flatten)]
    pub session: session::SessionArgs,
    #[command(flatten)]
    pub secret: secret::SecretArgs,
    #[command(flatten)]
    pub tls: tls::TlsArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
}

/// `mqtt-sub` prints messages.
#[derive(Parser, Debug)]
#[allow(missing_docs, reason = "each field is described where its struct is")]
#[command(
    name = "mqtt-sub",
    version,
    about = "Print the messages that an MQTT broker sends for some topics",
    override_usage = "mqtt-sub [-h HOST] -t TOPIC [-t TOPIC]… [-v]",
    after_help = subscribe::EXAMPLES,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct SubCli {
    #[command(flatten)]
    pub subscribe: subscribe::SubscribeArgs,
    #[command(flatten)]
    pub watch: subscribe::WatchArgs,
    #[command(flatten)]
    pub output: output::OutputArgs,
    #[command(flatten)]
    pub stream: output::StreamArgs,
    #[command(flatten)]
    pub connection: connection::ConnectionArgs,
    #[command(flatten)]
    pub session: session::SessionArgs,
    #[command(flatten)]
    pub secret: secret::SecretArgs,
    #[command(flatten)]
    pub tls: tls::TlsArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
}

/// `mqtt-rr` sends a request and prints the response.
#[derive(Parser, Debug)]
#[allow(missing_docs, reason = "each field is described where its struct is")]
#[command(
    name = "mqtt-rr",
    version,
    about = "Send a request through an MQTT broker and print the answer",
    override_usage = "mqtt-rr [-h HOST] -t TOPIC -e ANSWER-TOPIC -m MESSAGE   (or -f FILE, -s, -n)",
    after_help = publish::REQUEST_EXAMPLES,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct RrCli {
    #[command(flatten)]
    pub payload: publish::PayloadArgs,
    #[command(flatten)]
    pub request: publish::RequestArgs,
    #[command(flatten)]
    pub subscription: subscribe::OptionArgs,
    #[command(flatten)]
    pub output: output::OutputArgs,
    #[command(flatten)]
    pub connection: connection::ConnectionArgs,
    #[command(flatten)]
    pub session: session::SessionArgs,
    #[command(flatten)]
    pub secret: secret::SecretArgs,
    #[command(flatten)]
    pub tls: tls::TlsArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
}

/// Flags about the tool itself.
#[derive(Args, Debug)]
#[command(next_help_heading = "General")]
pub struct GeneralArgs {
    /// Print each packet that is sent and received
    #[arg(short = 'd', long)]
    pub debug: bool,
    /// Print no error messages
    #[arg(long)]
    pub quiet: bool,
    /// Read default options from FILE instead of the usual place, one "flag value" a line
    #[arg(short = 'o', long = "options-file", value_name = "FILE")]
    pub options_file: Option<String>,
    /// Use the options below [NAME] in ~/.config/mqtt-profiles
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Print this help
    #[arg(long, action = clap::ArgAction::HelpShort)]
    pub help: Option<bool>,
    /// Print the version
    #[arg(long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
    /// Write a man page or completions and exit
    #[arg(long, value_name = "WHAT", hide = true, value_enum)]
    pub generate: Option<crate::generate::Generate>,
}

/// Which of the tools, and under which name it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persona {
    /// The last part of argv\[0\]: `mqtt-pub`, `mosquitto_pub`, …
    pub name: String,
    /// The name is one of Mosquitto's, so its messages and exit codes are wanted to the letter.
    pub is_mosquitto: bool,
}

impl Persona {
    /// Reads it from argv\[0\].
    pub fn of(argv0: &str) -> Self {
        let name = argv0.rsplit('/').next().unwrap_or(argv0).to_owned();
        Self { is_mosquitto: name.starts_with("mosquitto_"), name }
    }
}

/// A tool's command line.
pub trait Tool: CommandFactory + FromArgMatches {
    /// The default options files are looked for under this name and its Mosquitto counterpart.
    const FILES: [&'static str; 2];
    /// The flags that each tool has.
    fn general(&self) -> &GeneralArgs;
    /// Words stand behind the flags, which are the tool's own business.
    const HAS_WORDS: bool = false;
    /// Takes those words.
    fn take_words(&mut self, _words: &[String]) {}
}

impl Tool for PubCli {
    const FILES: [&'static str; 2] = ["mqtt-pub", "mosquitto_pub"];
    fn general(&self) -> &GeneralArgs {
        &self.general
    }
}

impl Tool for SubCli {
    const FILES: [&'static str; 2] = ["mqtt-sub", "mosquitto_sub"];
    fn general(&self) -> &GeneralArgs {
        &self.general
    }
}

impl Tool for RrCli {
    const FILES: [&'static str; 2] = ["mqtt-rr", "mosquitto_rr"];
    fn general(&self) -> &GeneralArgs {
        &self.general
    }
}

/// What the command line came to when it is not a run: help, or an error that has been composed.
#[derive(Debug)]
pub enum Stop {
    /// Text for stdout and the exit code.
    Print(String, i32),
    /// A mistake of the user; exit code 1.
    Usage(String),
}

/// Reads a tool's command line: the default options files, then argv.
pub fn read<T: Tool>(persona: &Persona, argv: &[String]) -> Result<T, Stop> {
    let command = T::command();
    let words_at = if T::HAS_WORDS { line::operands_at(&command, argv) } else { argv.len() };
    let given = line::normalise(&command, persona, &argv[..words_at]).map_err(Stop::Usage)?;
    let file = line::last_value(&given, "--options-file");
    if line::is_repeated(&given, "--options-file") {
        return Err(Stop::Usage("Duplicate -o argument given.".to_owned()));
    }
    let mut defaults = defaults::read(file.as_deref(), &T::FILES).map_err(Stop::Usage)?;
    if let Some(name) = line::last_value(&given, "--profile") {
        defaults.extend(defaults::profile(&name).map_err(Stop::Usage)?);
    }
    let mut all = vec![persona.name.clone()];
    all.extend(line::normalise(&command, persona, &defaults).map_err(Stop::Usage)?);
    all.extend(given);
    let command = command.bin_name(persona.name.clone());
    let matches = command.try_get_matches_from(all).map_err(|error| stop(persona, &error))?;
    let mut tool = T::from_arg_matches(&matches).map_err(|error| stop(persona, &error))?;
    tool.take_words(&argv[words_at..]);
    Ok(tool)
}

fn stop(persona: &Persona, error: &clap::Error) -> Stop {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let shown = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    match error.kind() {
        // Mosquitto's tools exit with 1 after --help and --version.
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Stop::Print(error.render().to_string(), i32::from(persona.is_mosquitto))
        }
        ErrorKind::UnknownArgument => {
            let mut text = format!("Unknown option '{}'.", shown(ContextKind::InvalidArg));
            let near = shown(ContextKind::SuggestedArg);
            if !near.is_empty() && !persona.is_mosquitto {
                text.push_str(&format!(" Did you mean '{near}'?"));
            }
            Stop::Usage(text)
        }
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(source) => Stop::Usage(source.to_string()),
            None => Stop::Usage(plain(error)),
        },
        ErrorKind::InvalidValue if persona.is_mosquitto => {
            let flag = shown(ContextKind::InvalidArg);
            let flag = flag.split(' ').next().unwrap_or(&flag);
            let value = shown(ContextKind::InvalidValue);
            Stop::Usage(format!("Unknown value '{value}' for {flag}."))
        }
        ErrorKind::ArgumentConflict if persona.is_mosquitto => {
            Stop::Usage(format!("{} cannot be used here.", shown(ContextKind::InvalidArg)))
        }
        _ => Stop::Usage(plain(error)),
    }
}

/// clap's own words, without its prefix and its usage lines.
fn plain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\nUsage:").next().unwrap_or(text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sound() {
        PubCli::command().debug_assert();
        SubCli::command().debug_assert();
        RrCli::command().debug_assert();
    }

    #[test]
    fn names_decide_about_the_persona() {
        assert!(Persona::of("/usr/bin/mosquitto_pub").is_mosquitto);
        assert!(!Persona::of("target/debug/mqtt-pub").is_mosquitto);
    }
}
