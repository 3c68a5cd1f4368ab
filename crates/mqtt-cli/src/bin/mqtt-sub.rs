//! Prints messages; see [`mqtt_cli::subscribe`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_cli::run::main(mqtt_cli::subscribe::run)
}
