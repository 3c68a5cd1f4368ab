//! The password tool. `args.rs` is its command line, `run.rs` what it does, `prompt.rs` asks for a
//! password, `file.rs` locks, reads and replaces the file, `failure.rs` says what went wrong.
//! The file's grammar and the hashes are the crate `mqtt-auth`.

mod args;
mod failure;
mod file;
mod prompt;
mod run;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

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
    let outcome = args::parse(args).and_then(|request| match request {
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
            eprintln!("Error: {failure}");
            failure.exit()
        }
    }
}

/// The command-line definition, for man pages and shell completions.
pub fn command() -> clap::Command {
    <args::Args as clap::CommandFactory>::command()
}
