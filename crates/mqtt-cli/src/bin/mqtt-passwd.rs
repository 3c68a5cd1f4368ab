//! `mqtt-passwd`, also under the name `mosquitto_passwd`: keeps password files. All of it is in
//! `mqtt_cli::passwd`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_cli::passwd::main(std::env::args_os()).into()
}
