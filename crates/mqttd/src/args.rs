//! The command line of `mqttd`: Mosquitto's flags and their readable forms.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::generate::Generate;
use crate::logging::Verbosity;
use crate::store_tool::Task;

/// An MQTT broker.
#[derive(Debug, Parser)]
#[command(
    name = "mqttd",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    about = "An MQTT broker for MQTT 3.1, 3.1.1 and 5.0, with Mosquitto's configuration files",
    after_help = "Examples:\n  \
        mqttd                              local clients on port 1883, no password\n  \
        mqttd -c /etc/mqttd/mqttd.conf     as the file says; SIGHUP reads it again\n  \
        mqttd -p 1884 -v                   another port, and every packet in the log\n  \
        mqttd -c my.conf --test-config     check the file and exit\n  \
        mqttd reload -c my.conf            have the running broker take it\n  \
        mqttd store import-mosquitto /var/lib/mosquitto/mosquitto.db /var/lib/mqttd\n\n\
        Exit codes: 0 stopped as asked; 1 a port can't be opened; 3 wrong option or\n\
        configuration; 13 a password or ACL file can't be read."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Configuration file; without one, only this machine can connect, without a password
    #[arg(short = 'c', long = "config-file", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,

    /// Run in the background
    #[arg(short = 'd', long)]
    pub(crate) daemon: bool,

    /// Port for local clients, when the configuration has no listener; may be repeated
    #[arg(short = 'p', long = "port", value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,

    /// Log every packet, whatever log_type says
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,

    /// Log nothing, whatever the configuration says
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,

    /// Check the configuration and exit: 0 if it is right, 3 if not
    #[arg(long)]
    pub(crate) test_config: bool,

    /// Write the man page or a shell's completions to the standard output
    #[arg(long, value_name = "WHAT")]
    pub(crate) generate: Option<Generate>,

    /// Set by `-d` for the process it starts
    #[arg(long, hide = true)]
    pub(crate) in_background: bool,
}

/// What `mqttd` does instead of being a broker.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the configuration, then have the running broker take it; exits with 3 if it is wrong
    Reload {
        /// The broker's configuration file, whose pid_file tells which process it is
        #[arg(short = 'c', long = "config-file", value_name = "FILE")]
        config_file: Option<PathBuf>,
        /// The broker's process number
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(2..))]
        pid: Option<i32>,
    },
    /// Look after the store of a broker with `persistence true`
    Store {
        #[command(subcommand)]
        task: Task,
    },
    /// Say for every line of a mosquitto.conf what it means here; exits with 3 if one is refused
    Migrate {
        /// The configuration file
        #[arg(value_name = "FILE")]
        config_file: PathBuf,
    },
}

impl Args {
    /// What `-v` and `-q` say.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Configured,
        }
    }
}
