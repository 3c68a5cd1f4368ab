//! `mqtt-ctrl`: sends commands to a broker's control topics and prints the answers.
//!
//! [`args`] is the command line, [`dynsec`] makes requests of words, [`exchange`] brings them to
//! the broker, [`answer`] prints what comes back, [`init`] writes the first file of dynamic
//! security and [`file`] changes it. [`shell`] asks for commands one after the other. What the
//! broker does with them is what Mosquitto's plugin `mosquitto_dynamic_security` does.

pub mod answer;
pub mod args;
pub mod dynsec;
pub mod exchange;
mod file;
pub mod init;
mod prompt;
mod shell;

use clap::CommandFactory as _;
use serde_json::{Value, json};

use self::args::CtrlCli;
use crate::args::Persona;
use crate::exit::{Exit, Failure};
use crate::print::{say, tell};

/// Where a module listens.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Requests are published here, answers come to `…/response`.
    pub topic: &'static str,
    /// What it is called in messages.
    pub name: &'static str,
}

const DYNSEC: Endpoint =
    Endpoint { topic: "$CONTROL/dynamic-security/v1", name: "dynamic security" };
const BROKER: Endpoint = Endpoint { topic: "$CONTROL/broker/v1", name: "control API" };

/// Runs the tool.
///
/// # Errors
/// What to say, and the exit code.
pub async fn run(cli: CtrlCli, persona: Persona) -> Result<Exit, Failure> {
    if cli.words.is_empty() {
        return shell::run(cli, persona).await;
    }
    let [module, command, words @ ..] = cli.words.as_slice() else {
        say!("{}", CtrlCli::command().render_help());
        return Ok(Exit::Failure);
    };
    let is_file_command = module.eq_ignore_ascii_case("dynsec")
        && ["setclientpassword", "help", "init"].contains(&command.to_ascii_lowercase().as_str());
    if cli.file.is_some() && !is_file_command {
        let text = "-f (a file instead of a broker) works with dynsec setClientPassword only.";
        return Err(Failure::usage(&persona, text));
    }
    let (endpoint, request) = match module.to_ascii_lowercase().as_str() {
        "dynsec" => match command.to_ascii_lowercase().as_str() {
            "help" => {
                say!("{}", dynsec::help(&persona.name));
                return Ok(Exit::Success);
            }
            "init" => return init::run(words, &persona),
            "setclientpassword" if cli.file.is_some() => {
                let path = cli.file.clone().unwrap_or_default();
                return file::set_password(path, words, &persona);
            }
            _ => (DYNSEC, dynsec::request(command, words)?),
        },
        "broker" => match command.to_ascii_lowercase().as_str() {
            "help" => {
                say!("listListeners    ports, protocols and addresses");
                say!("listPlugins      plugins and the topics they listen on");
                return Ok(Exit::Success);
            }
            "listplugins" => (BROKER, json!({ "command": "listPlugins" })),
            "listlisteners" => (BROKER, json!({ "command": "listListeners" })),
            _ => return Err(unknown_command(command)),
        },
        _ => {
            let text = format!("Error: Module '{module}' not supported.");
            return Err(Failure { text, exit: Exit::NoModule });
        }
    };
    warn_about_plain_text(&cli, &persona);
    let answer = exchange::exchange(&cli, &persona, endpoint, &request).await;
    let printed = answer.and_then(|answer| answer::print(&answer));
    match printed {
        Ok(()) => Ok(Exit::Success),
        // Mosquitto's tool is content with having asked.
        Err(failure) if persona.is_mosquitto && failure.exit == Exit::Failure => {
            tell!("{}", failure.text);
            Ok(Exit::Success)
        }
        Err(failure) => Err(failure),
    }
}

pub(crate) fn unknown_command(command: &str) -> Failure {
    Failure { text: format!("Command '{command}' not recognised."), exit: Exit::NoCommand }
}

/// Passwords travel in these requests.
fn warn_about_plain_text(cli: &CtrlCli, persona: &Persona) {
    let connection = &cli.connection;
    let is_here = connection.unix.is_some()
        || matches!(connection.host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
    let port = connection.port.filter(|&port| port != 0);
    if cli.tls.is_wanted(port) || cli.general.quiet && !persona.is_mosquitto {
        return;
    }
    if persona.is_mosquitto {
        tell!("Warning: You are running mosquitto_ctrl without encryption.");
        tell!(
            "This means all of the configuration changes you are making are visible on the \
             network, including passwords.\n"
        );
    } else if !is_here {
        tell!(
            "Warning: without TLS everybody on the way to {} can read this, passwords too; give \
             --tls or --cafile FILE.",
            connection.host()
        );
    }
}

/// The object behind `key`, if it is one.
pub(crate) fn object<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| value.is_object())
}
