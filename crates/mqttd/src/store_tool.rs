//! `mqttd store …`: what can be done with a store beside running a broker on it.
//!
//! Reading order: this file, `json`, `layout`, `files`, then the tasks.

mod backup;
mod check;
mod files;
mod json;
mod layout;
mod legal;
mod lines;
mod mosquitto;
mod mosquitto_db;
mod mosquitto_export;
mod switch;
mod transfer;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

/// `mqttd store TASK`. DIR is `persistence_location`, or the folder `mqttd.store` inside it.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Read everything and say what is damaged: exit code 0 nothing, 2 something, 1 not readable
    Check {
        /// persistence_location of the broker, which must not run
        dir: PathBuf,
    },
    /// Say what the store holds, how large it is, and for whom most messages wait
    Stats {
        /// persistence_location of the broker, which must not run
        dir: PathBuf,
    },
    /// Write every record as a line of JSON to the standard output
    Export {
        /// persistence_location of the broker, which must not run
        dir: PathBuf,
    },
    /// Make a store of what `export` has written
    Import {
        /// Where the new store is made; there must be none
        dir: PathBuf,
        /// File with lines of JSON; the standard input without it
        file: Option<PathBuf>,
        /// Shards of the new store; as many as the exported one had without it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
        shards: Option<u8>,
    },
    /// Copy the store, also while the broker runs
    Backup {
        /// persistence_location of the broker
        dir: PathBuf,
        /// Folder for the copy; made if needed, and there must be no store in it
        to: PathBuf,
    },
    /// Make a store of a mosquitto.db (versions 5 and 6): retained messages, sessions,
    /// subscriptions, queues
    ImportMosquitto {
        /// Usually /var/lib/mosquitto/mosquitto.db; mosquitto must not run
        #[arg(required_unless_present = "config_file")]
        file: Option<PathBuf>,
        /// Where the new store is made; beside FILE without it
        dir: Option<PathBuf>,
        /// Shards of the new store; one for each core without it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
        shards: Option<u8>,
        /// A mosquitto.conf that says both: takes the database over unless there is a store already
        #[arg(short = 'c', long, value_name = "CONF", conflicts_with_all = ["file", "dir"])]
        config_file: Option<PathBuf>,
    },
    /// Write the store as a mosquitto.db (version 6), for the way back to mosquitto 2; a file that
    /// is there is kept as FILE.before-mqttd
    ExportMosquitto {
        /// persistence_location of the broker, which must not run
        #[arg(required_unless_present = "config_file")]
        dir: Option<PathBuf>,
        /// What mosquitto will read; mosquitto.db in DIR without it
        file: Option<PathBuf>,
        /// A mosquitto.conf that says both: puts the store aside afterwards, as
        /// mqttd.store.exported, and does nothing where there is none
        #[arg(short = 'c', long, value_name = "CONF", conflicts_with_all = ["dir", "file"])]
        config_file: Option<PathBuf>,
    },
}

/// What goes from one broker to the other, for the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sessions: usize,
    subscriptions: usize,
    /// Counted for each session.
    messages: usize,
    retained: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, subscriptions, messages, retained } = self;
        write!(
            f,
            "{sessions} sessions, {subscriptions} subscriptions, {messages} waiting messages, \
             {retained} retained messages"
        )
    }
}

/// How a task that could be done has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// The store is damaged.
    Damaged,
}

/// Does the task. Exit code 0: done, and nothing is wrong; 1: could not be done; 2: damage was
/// found.
pub(crate) fn run(task: &Task) -> ExitCode {
    let done = match task {
        Task::Check { dir } => check::check(dir),
        Task::Stats { dir } => check::stats(dir),
        Task::Export { dir } => transfer::export(dir),
        Task::Import { dir, file, shards } => transfer::import(dir, file.as_deref(), *shards),
        Task::Backup { dir, to } => backup::backup(dir, to),
        Task::ImportMosquitto { file, dir, shards, config_file } => {
            switch::import(file.as_deref(), dir.as_deref(), *shards, config_file.as_deref())
        }
        Task::ExportMosquitto { dir, file, config_file } => {
            switch::export(dir.as_deref(), file.as_deref(), config_file.as_deref())
        }
    };
    match done {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Damaged) => ExitCode::from(2),
        Err(error) => {
            eprintln!("mqttd store: {error:#}");
            ExitCode::FAILURE
        }
    }
}
