//! Man pages and shell completions, from the tables of arguments and from `manual.rs`.

use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::manual::{Manual, Section};

/// What `--generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

/// Writes it to `out`.
///
/// # Errors
/// Writing fails.
pub fn write(what: Generate, manual: &Manual, out: &mut impl Write) -> io::Result<()> {
    let shell = match what {
        Generate::Man => return man_page(manual, out),
        Generate::Bash => Shell::Bash,
        Generate::Zsh => Shell::Zsh,
        Generate::Fish => Shell::Fish,
    };
    // At once, so that a shell which reads only the beginning is no panic in the generator.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut (manual.command)(), manual.name, &mut script);
    out.write_all(&script)
}

fn man_page(manual: &Manual, out: &mut impl Write) -> io::Result<()> {
    let mut page = Vec::new();
    let command = (manual.command)();
    let (usage, examples) = (usage(command.clone()), examples(&command));
    let man = Man::new(command).manual("MQTT tools");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    verbatim(&mut roff, &usage);
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    for section in manual.sections {
        add_section(&mut roff, section);
    }
    roff.control("SH", ["EXAMPLES"]);
    verbatim(&mut roff, &examples);
    roff.to_writer(&mut page)?;
    out.write_all(&page)
}

fn add_section(roff: &mut Roff, section: &Section) {
    roff.control("SH", [section.title.to_uppercase().as_str()]);
    for paragraph in section.text.lines() {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    for (term, meaning) in section.rows {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
}

fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// The lines of the usage, one way to call the tool each.
pub(crate) fn usage(mut command: Command) -> String {
    let text = command.render_usage().to_string();
    let text = text.strip_prefix("Usage: ").unwrap_or(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

/// What stands below `Examples:` at the end of `--help`, up to the first blank line.
pub(crate) fn examples(command: &Command) -> String {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}
