//! Publishes messages; see [`mqtt_cli::publish`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_cli::run::main(mqtt_cli::publish::run)
}
