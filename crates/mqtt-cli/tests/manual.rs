//! The references in `docs/reference` are those the tables make (`MQTTD_BLESS=1` rewrites them),
//! our tables have every flag of Mosquitto's, and man pages and completions come from them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mqtt_cli::args::mosquitto::FLAGS;
use mqtt_cli::manual::MANUALS;
use mqtt_cli::reference::{arguments, markdown, spellings};

fn program(name: &str) -> &'static str {
    match name {
        "mqtt-pub" => env!("CARGO_BIN_EXE_mqtt-pub"),
        "mqtt-sub" => env!("CARGO_BIN_EXE_mqtt-sub"),
        "mqtt-rr" => env!("CARGO_BIN_EXE_mqtt-rr"),
        "mqtt-ctrl" => env!("CARGO_BIN_EXE_mqtt-ctrl"),
        "mqtt-passwd" => env!("CARGO_BIN_EXE_mqtt-passwd"),
        other => panic!("no such tool: {other}"),
    }
}

fn stdout(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_references_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for manual in MANUALS {
        let path = folder.join(manual.name).with_extension("md");
        let made = markdown(manual);
        if std::env::var_os("MQTTD_BLESS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == made,
            "{} is stale: MQTTD_BLESS=1 cargo test -p mqtt-cli --test manual",
            path.display()
        );
    }
}

#[test]
fn every_flag_of_mosquittos_is_one_flag_of_ours() {
    for flag in FLAGS {
        for letter in flag.tools.chars() {
            let manual = MANUALS.iter().find(|manual| manual.letter == letter).unwrap();
            let command = (manual.command)();
            for spelling in flag.spellings {
                let having = arguments(&command)
                    .filter(|arg| spellings(arg).iter().any(|it| it == spelling));
                assert_eq!(having.count(), 1, "{} {spelling}", manual.name);
            }
        }
    }
}

#[test]
fn every_flag_has_a_help_line_and_a_group() {
    for manual in MANUALS {
        for arg in arguments(&(manual.command)()) {
            let (name, id) = (manual.name, arg.get_id());
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name} {id}: no help");
            assert!(!help.ends_with('.'), "{name} {id}: {help}");
        }
    }
}

#[test]
fn man_pages_have_every_flag_and_every_section() {
    for manual in MANUALS {
        let page = stdout(program(manual.name), &["--generate", "man"]);
        let plain = page.replace("\\-", "-");
        for arg in arguments(&(manual.command)()).filter(|arg| !arg.is_hide_set()) {
            let long = format!("--{}", arg.get_long().unwrap());
            assert!(plain.contains(&long), "{}: {long} is missing", manual.name);
        }
        for section in manual.sections {
            assert!(page.contains(&section.title.to_uppercase()), "{}", section.title);
        }
        for heading in ["SYNOPSIS", "EXAMPLES"] {
            assert!(page.contains(heading), "{}: {heading}", manual.name);
        }
    }
}

/// Each shell that is installed takes its script.
#[test]
fn completions_are_scripts_their_shells_can_read() {
    for manual in MANUALS {
        for shell in ["bash", "zsh", "fish"] {
            let script = stdout(program(manual.name), &["--generate", shell]);
            for arg in arguments(&(manual.command)()).filter(|arg| !arg.is_hide_set()) {
                let long = arg.get_long().unwrap();
                assert!(script.contains(long), "{} {shell}: {long} is missing", manual.name);
            }
            let checking = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn();
            // A shell that is not installed can't be asked.
            let Ok(mut checking) = checking else { continue };
            checking.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(checking.wait().unwrap().success(), "{} {shell}", manual.name);
        }
    }
}
