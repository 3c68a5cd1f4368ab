//! The password tool. `args.rs` is its command line, `run.rs` what it does, `prompt.rs` asks for a
//! password, `file.rs` locks, reads and replaces the file, `failure.rs` says what went wrong,
//! `mosquitto.rs` says it in that tool's words when the tool is called by its name.
//! The file's grammar and the hashes are the crate `mqtt-auth`.

mod args;
pub(crate) mod failure;
pub(crate) mod file;
mod mosquitto;
mod prompt;
mod run;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::args::Persona;

/// How the tool ends, with the numbers of `mosquitto_passwd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Wrong arguments, or a file that cannot be read or written. Nothing was changed.
    Error = 1,
    /// The two passwords typed differ. Nothing was changed.
    PasswordsDiffer = 2,
    /// The hash could not be computed. Nothing was changed.
    NoHash = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the tool with a whole command line, program name first. Errors go to stderr, one line each.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let line: Vec<OsString> = args.into_iter().collect();
    let name = line.first().map(|name| name.to_string_lossy().into_owned());
    let persona = Persona::of(name.as_deref().unwrap_or_default());
    let outcome = args::parse(&persona, &line).and_then(|request| match request {
        args::Request::Text(text) => {
            write!(io::stdout(), "{text}").map_err(failure::Failure::Output)
        }
        args::Request::Generate(what) => {
            let manual = crate::manual::of("mqtt-passwd").expect("manual.rs has every tool");
            crate::generate::write(what, manual, &mut io::stdout())
                .map_err(failure::Failure::Output)
        }
        args::Request::Job(job) => run::run(job),
    });
    match outcome {
        Ok(()) => Exit::Success,
        Err(failure) => {
            let theirs = persona.is_mosquitto.then(|| mosquitto::line(&failure)).flatten();
            eprintln!("{}", theirs.unwrap_or_else(|| format!("Error: {failure}")));
            failure.exit()
        }
    }
}

/// The command-line definition, for man pages and shell completions.
pub fn command() -> clap::Command {
    <args::Args as clap::CommandFactory>::command()
}
