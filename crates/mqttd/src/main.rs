//! `mqttd`, the broker: arguments → configuration → run → exit code.
//!
//! `docs/ARCHITECTURE.md` is the map; `run.rs` tells start and stop from top to bottom.

#![forbid(unsafe_code)]

mod args;
mod authenticate;
mod certificates;
mod clock;
mod daemon;
mod durability;
mod exit;
mod inherited;
mod listen;
mod live;
mod lobby;
mod logging;
mod mailbox;
mod migrate;
mod notify;
mod panics;
mod permit;
mod placement;
mod ports;
mod privileges;
mod reload;
mod run;
mod shard;
mod signals;
mod store_tool;
mod sys;
mod waiting;
mod watch;
mod wording;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::Exit;

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
    if let Some(args::Command::Migrate { config_file }) = &args.command {
        return match migrate::migrate(config_file, &mut std::io::stdout().lock()) {
            Ok(exit) => exit.into(),
            Err(error) => {
                eprintln!("mqttd: {error}");
                Exit::Failed.into()
            }
        };
    }
    if let Some(args::Command::Store { task }) = &args.command {
        return store_tool::run(task);
    }
    match run::run(&args) {
        Ok(()) => Exit::Stopped.into(),
        Err(ended) => {
            eprintln!("mqttd: {:#}", ended.error);
            ended.exit.into()
        }
    }
}
