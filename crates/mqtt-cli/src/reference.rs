//! `docs/reference/mqtt-*.md`, made from the tables of arguments, from Mosquitto's flags and from
//! `manual.rs`; a test keeps the files up to date.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use crate::args::mosquitto::{self, Since};
use crate::generate::{examples, usage};
use crate::manual::{Manual, Section};

const COLUMNS: usize = 100;

const MADE_FROM: &str = "<!-- Made from crates/mqtt-cli/src (args, manual.rs); change it there and
     run MQTTD_BLESS=1 cargo test -p mqtt-cli --test manual -->";

/// The reference of a tool in Markdown.
pub fn markdown(manual: &Manual) -> String {
    let command = (manual.command)();
    let name = manual.name;
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut out = format!("# {name}\n\n{MADE_FROM}\n\n{about}.\n\n");
    indented(&mut out, &usage(command.clone()));
    let text = format!(
        "`{name} --help` prints the flags. The column *Mosquitto* says since which version its \
         tool has a flag, spelt as in bold there; a dash means that it is ours alone. A remark \
         says what is different here."
    );
    paragraph(&mut out, &text);
    for heading in headings(&command) {
        let _ = write!(out, "\n## {heading}\n\n| flag | meaning | Mosquitto | remark |\n");
        out.push_str("|---|---|---|---|\n");
        let rows = arguments(&command).filter(|arg| heading_of(arg) == heading);
        for arg in rows {
            flag(&mut out, manual, arg);
        }
    }
    for part in manual.sections {
        section(&mut out, part);
    }
    out.push_str("\n## Examples\n\n");
    indented(&mut out, &examples(&command));
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The flags that users see, and those that are refused by name.
pub fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && arg.get_id() != "generate")
}

/// Each way to write the flag.
pub fn spellings(arg: &Arg) -> Vec<String> {
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    let long = arg.get_long().map(|name| format!("--{name}"));
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let aliases = aliases.into_iter().map(|name| format!("--{name}"));
    short.into_iter().chain(long).chain(aliases).collect()
}

fn heading_of(arg: &Arg) -> &str {
    arg.get_help_heading().unwrap_or("Options")
}

fn headings(command: &Command) -> Vec<String> {
    let mut headings = Vec::new();
    for arg in arguments(command) {
        let heading = heading_of(arg).to_owned();
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

fn flag(out: &mut String, manual: &Manual, arg: &Arg) {
    let spellings = spellings(arg);
    let known = mosquitto::find(manual.letter, &spellings);
    let written: Vec<String> = spellings
        .iter()
        .map(|text| match known.is_some_and(|known| known.spellings.contains(&text.as_str())) {
            true => format!("**`{text}`**"),
            false => format!("`{text}`"),
        })
        .collect();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = match arg.get_value_names() {
        Some([name, ..]) if takes_value => format!(" *{name}*"),
        _ => String::new(),
    };
    let since = match known.map(|known| known.since) {
        Some(Since::V2_0) => "2.0",
        Some(Since::V2_1) => "2.1",
        None => "–",
    };
    let difference = known.map_or("", |known| known.difference);
    let meaning = cell(&meaning(arg, takes_value));
    let written = written.join(" ");
    let _ = writeln!(out, "| {written}{value} | {meaning} | {since} | {} |", cell(difference));
}

/// The help, with the values it may have and the one it has when it is not given.
fn meaning(arg: &Arg, takes_value: bool) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if !takes_value {
        return text;
    }
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() && !arg.is_hide_possible_values_set() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    if let [default] = arg.get_default_values() {
        let _ = write!(text, " (default: `{}`)", default.to_string_lossy());
    }
    text
}

fn section(out: &mut String, section: &Section) {
    let _ = writeln!(out, "\n## {}", section.title);
    for text in section.text.lines() {
        out.push('\n');
        paragraph(out, &escaped(text));
    }
    if !section.rows.is_empty() {
        out.push_str("\n| | |\n|---|---|\n");
        for (term, meaning) in section.rows {
            let _ = writeln!(out, "| `{}` | {} |", term.replace('|', "\\|"), cell(meaning));
        }
    }
}

fn cell(text: &str) -> String {
    escaped(text).replace('|', "\\|").replace('\n', " ")
}

/// Without letting the text become Markdown; what is in backquotes stays code.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut is_code = false;
    for char in text.chars() {
        is_code ^= char == '`';
        if matches!(char, '<' | '[' | '*' | '_' | '\\') && !is_code {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn indented(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "    {line}");
    }
    out.push('\n');
}

fn paragraph(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > COLUMNS {
            out.push('\n');
            width = 0;
        }
        if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out.push('\n');
}
