//! Sends a request and prints the response; see [`mqtt_cli::request`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_cli::run::main(mqtt_cli::request::run)
}
