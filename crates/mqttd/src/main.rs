//! `mqttd`, the broker: arguments → configuration → run → exit code.
//!
//! `docs/ARCHITECTURE.md` is the map; `run.rs` tells start and stop from top to bottom.

#![forbid(unsafe_code)]

mod alarm;
mod args;
mod authenticate;
mod certificates;
mod clock;
mod control;
mod daemon;
mod drops;
mod durability;
mod exit;
mod generate;
mod guard;
mod http;
mod inherited;
mod listen;
mod live;
mod lobby;
mod logging;
mod login;
mod mailbox;
mod migrate;
mod notify;
mod panics;
mod permit;
mod placement;
mod ports;
mod privileges;
mod psk;
mod reload;
mod report;
mod run;
mod shard;
mod signals;
mod store_tool;
mod sys;
mod tell;
mod transport;
mod waiting;
mod watch;
mod wording;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::{Ended, Exit};

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to stdout and are no failure.
            let code = if error.use_stderr() { Exit::Configuration } else { Exit::Stopped };
            let _ = error.print();
            return code.into();
        }
    };
    if let Some(what) = args.generate {
        return match generate::write(what, &mut std::io::stdout().lock()) {
            Ok(()) => Exit::Stopped.into(),
            Err(error) => fail(&error),
        };
    }
    match &args.command {
        Some(args::Command::Migrate { config_file }) => {
            match migrate::migrate(config_file, &mut std::io::stdout().lock()) {
                Ok(exit) => exit.into(),
                Err(error) => fail(&error),
            }
        }
        Some(args::Command::Store { task }) => store_tool::run(task),
        Some(args::Command::Reload { config_file, pid }) => {
            match tell::reload(config_file.as_deref(), *pid) {
                Ok(pid) => {
                    println!("Process {pid} has been told; its log says how it went.");
                    Exit::Stopped.into()
                }
                Err(ended) => end(&ended),
            }
        }
        None => match run::run(&args) {
            Ok(()) => Exit::Stopped.into(),
            Err(ended) => end(&ended),
        },
    }
}

fn end(ended: &Ended) -> ExitCode {
    eprintln!("mqttd: {:#}", ended.error);
    ended.exit.into()
}

fn fail(error: &std::io::Error) -> ExitCode {
    eprintln!("mqttd: {error}");
    Exit::Failed.into()
}
