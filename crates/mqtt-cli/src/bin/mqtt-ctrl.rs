//! Administers a broker; see [`mqtt_cli::ctrl`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_cli::run::main(mqtt_cli::ctrl::run)
}
