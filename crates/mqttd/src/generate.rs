//! `mqttd --generate`: the man page and the shells' completions, from the table of the command
//! line. What the table does not say (signals, files) stands here.

use std::io::{self, Write};

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::Args;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

const SIGNALS: [(&str, &str); 5] = [
    ("SIGTERM, SIGINT", "Stop: clients are told, what is persistent is brought to the device."),
    (
        "SIGHUP",
        "Read the configuration and the files it names again; the same as mqttd reload. Listeners \
         are opened and closed, the clients of all others stay. A mistake keeps everything as it \
         is, and the log says what it is.",
    ),
    ("SIGUSR1", "Bring the log of the persistent state to the device now."),
    ("SIGUSR2", "Write the subscriptions to the standard output."),
    (
        "SIGRTMIN",
        "Open the log file anew, after it has been moved away. Signal 34, in a static program 35.",
    ),
];

const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "LISTEN_FDS, LISTEN_PID",
        "Sockets of the service manager, taken by address: see \
      systemd.socket(5). Without -d.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Where the service manager hears of start, reload, stop, and \
      that the broker lives: see sd_notify(3).",
    ),
    ("PUID, PGID", "Numbers of the user and group to become when started as root."),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/mqttd/mqttd.conf",
        "The configuration of the service. It includes \
      /etc/mqttd/conf.d/*.conf.",
    ),
    (
        "/etc/mosquitto/mosquitto.conf",
        "The configuration of the service when the package \
      mqttd-mosquitto is installed.",
    ),
    ("/var/lib/mqttd", "Retained messages, sessions and their queues."),
    ("/var/log/mqttd", "Log files."),
];

const SEE_ALSO: &str = "mqttd.conf(5), mqtt-pub(1), mqtt-sub(1), mqtt-rr(1), mqtt-passwd(1)";

/// Writes it to `out`.
pub(crate) fn write(what: Generate, out: &mut impl Write) -> io::Result<()> {
    let mut command = Args::command();
    let shell = match what {
        Generate::Man => return man_page(command, out),
        Generate::Bash => Shell::Bash,
        Generate::Zsh => Shell::Zsh,
        Generate::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "mqttd", &mut script);
    out.write_all(&script)
}

fn man_page(mut command: Command, out: &mut impl Write) -> io::Result<()> {
    command.build();
    let man = Man::new(command.clone()).section("8").manual("System administration");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    commands(&mut roff, "mqttd", &command);
    section(&mut roff, "SIGNALS", &SIGNALS);
    section(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    section(&mut roff, "FILES", &FILES);
    roff.to_writer(out)?;
    // Examples and exit codes, as --help has them.
    man.render_extra_section(out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(SEE_ALSO)]);
    roff.to_writer(out)
}

/// Each subcommand that has none below it, with what its arguments mean.
fn commands(roff: &mut Roff, name: &str, command: &Command) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let name = format!("{name} {}", below.get_name());
        if below.has_subcommands() {
            commands(roff, &name, below);
            continue;
        }
        let usage = below.clone().render_usage().to_string();
        let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
        roff.control("TP", []);
        roff.text([bold(usage)]);
        let about = below.get_about().map(ToString::to_string).unwrap_or_default();
        roff.text([roman(format!("{about}."))]);
        for argument in below.get_arguments() {
            let is_general = matches!(argument.get_id().as_str(), "help" | "version");
            let Some(help) = argument.get_help().filter(|_| !is_general) else { continue };
            roff.control("br", []);
            roff.text([bold(argument.to_string()), roman(format!(": {help}."))]);
        }
    }
}

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*text)]);
    }
}
