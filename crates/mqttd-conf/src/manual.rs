//! The manual, made from the rows: a Markdown reference and a man page. Not a word of it is
//! written twice; a test keeps `docs/reference/mqttd.conf.md` up to date.

use std::fmt::Write as _;

use crate::directive::{Directive, Meaning, Reload, Scope, Section, Status};
use crate::directives::{GROUPS, find};

const INTRODUCTION: &[&str] = &[
    "`mqttd -c FILE` reads the configuration of Mosquitto 2: one directive and its value on each \
     line. Lines that begin with `#` are comments. White space followed by `#` ends a value with \
     a warning, except where a file of the whole name exists. Line ends may be those of Windows.",
    "Flags are `true` or `false` (or `1`, `0`). Numbers may be hexadecimal (`0x10`); a leading \
     `0` makes them octal, as in C. Text and paths are the rest of the line. A line has at most \
     65535 bytes and is UTF-8.",
    "Every mistake is reported with file and line, all of them at once, and the broker does not \
     start; at a reload it keeps what it has. Text or paths given twice are mistakes; of flags \
     and numbers given twice the last one counts, with a warning.",
];

/// The reference in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# mqttd.conf\n\n<!-- Made from crates/mqttd-conf/src/directives; change the rows there \
         and run\n     MQTTD_BLESS=1 cargo test -p mqttd-conf -->\n\n",
    );
    for paragraph in INTRODUCTION {
        out.push_str(&wrapped(paragraph));
        out.push('\n');
    }
    for group in GROUPS {
        let _ = write!(out, "- [{}](#{}):", group.title, anchor(group.title));
        for row in group.rows {
            let _ = write!(out, " [`{}`](#{})", row.name, anchor(row.name));
        }
        out.push('\n');
    }
    for group in GROUPS {
        let _ = write!(out, "\n## {}\n\n{}", group.title, wrapped(group.about));
        for row in group.rows {
            out.push_str(&markdown_row(row));
        }
    }
    out
}

fn markdown_row(row: &Directive) -> String {
    let mut out = format!("\n### {}\n\n", row.name);
    if !matches!(row.status, Status::Refused(_) | Status::Unnecessary(_)) {
        let default = match row.default {
            "" => String::new(),
            default => format!(" · default: {default}"),
        };
        let line = format!("Value: {}{default} · {}", row.form(), facts(row));
        let _ = writeln!(out, "{}", wrapped(&line));
    }
    if let Some(status) = status_text(row) {
        let _ = writeln!(out, "{}", wrapped(&format!("**{status}**")));
    }
    out.push_str(&wrapped(row.help));
    let _ = writeln!(out, "\n    {}", row.example);
    if !row.aliases.is_empty() {
        let _ = writeln!(out, "\nAlso written `{}`.", row.aliases.join("`, `"));
    }
    out
}

/// Scope, repetition and reload in one line.
fn facts(row: &Directive) -> String {
    let scope = match (&row.meaning, row.scope()) {
        (Meaning::Section(Section::Listener, _), _) => "begins a listener",
        (Meaning::Section(Section::Bridge, _), _) => "begins a bridge",
        (Meaning::DefaultListener(_), _) => "the default listener",
        (_, Scope::Global) => "the broker",
        (_, Scope::Listener) => "the listener above it",
        (_, Scope::Either) => "the broker or, with `per_listener_settings`, the listener above it",
        (_, Scope::Bridge) => "the bridge above it",
    };
    let repeats = if row.repeats { " · repeatable" } else { "" };
    let reload = match row.reload {
        Reload::Live => "reloaded",
        Reload::Restart => "needs a restart",
    };
    format!("{scope}{repeats} · {reload}")
}

fn status_text(row: &Directive) -> Option<String> {
    // The options of a section work when the section does. One warning, at its first line, is
    // enough for a file, but each entry of the manual stands alone.
    let bridges = find("connection").map_or(Status::Works, |row| row.status);
    let status = match row.scope() {
        Scope::Bridge if row.status == Status::Works => bridges,
        _ => row.status,
    };
    match status {
        Status::Works => None,
        Status::Planned => Some("Checked, without effect yet.".to_owned()),
        Status::Unnecessary(why) => {
            Some(format!("Accepted with a warning, without effect: {why}."))
        }
        Status::Refused(cure) => Some(format!("Not supported: {cure}.")),
    }
}

/// GitHub's anchor of a heading.
fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            letter if letter.is_alphanumeric() || letter == '_' || letter == '-' => Some(letter),
            _ => None,
        })
        .collect()
}

/// A paragraph in lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    const COLUMNS_MAX: usize = 100;
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if width > 0 && width + 1 + letters > COLUMNS_MAX {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += letters;
    }
    out.push('\n');
    out
}

/// The man page `mqttd.conf(5)`, as source for roff.
#[must_use]
pub fn man_page() -> String {
    let mut out = String::from(
        ".TH MQTTD.CONF 5 \"\" \"mqttd\" \"File formats\"\n.SH NAME\nmqttd.conf \\- configuration \
         of the MQTT broker mqttd\n.SH DESCRIPTION\n",
    );
    for paragraph in INTRODUCTION {
        let _ = writeln!(out, ".PP\n{}", roff(paragraph));
    }
    for group in GROUPS {
        let _ = writeln!(out, ".SH \"{}\"", group.title.to_uppercase());
        let _ = writeln!(out, "{}", roff(group.about));
        for row in group.rows {
            let _ = writeln!(out, ".TP\n.B {}", roff(row.name));
            if let Some(status) = status_text(row) {
                let _ = writeln!(out, "{}", roff(&status));
            }
            let _ = writeln!(out, "{}", roff(row.help));
            if !matches!(row.status, Status::Refused(_) | Status::Unnecessary(_)) {
                let _ = writeln!(out, "Value: {}.", roff(&row.form()));
                if !row.default.is_empty() {
                    let _ = writeln!(out, "Default: {}.", roff(row.default));
                }
                let _ = writeln!(out, "({}.)", roff(&facts(row)));
            }
            if !row.aliases.is_empty() {
                let _ = writeln!(out, "Also written {}.", roff(&row.aliases.join(", ")));
            }
            let _ = writeln!(out, ".RS\n.PP\n.EX\n{}\n.EE\n.RE", roff(row.example));
        }
    }
    out.push_str(".SH SEE ALSO\n.BR mqttd (8),\n.BR mqtt-passwd (1)\n");
    out
}

/// Text for roff: code in bold, and no character of it a command.
fn roff(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut is_code = false;
    for letter in text.chars() {
        match letter {
            '`' => {
                is_code = !is_code;
                out.push_str(if is_code { "\\fB" } else { "\\fR" });
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '·' => out.push_str("\\(bu"),
            letter => out.push(letter),
        }
    }
    // A line that begins with a dot would be a request.
    if out.starts_with('.') { format!("\\&{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::rows;

    #[test]
    fn every_row_is_in_both_manuals() {
        let (page, man) = (markdown(), man_page());
        for row in rows() {
            assert!(page.contains(&format!("\n### {}\n", row.name)), "{}", row.name);
            assert!(page.contains(&format!("\n    {}\n", row.example)), "{}", row.name);
            assert!(man.contains(&format!("\n.B {}\n", roff(row.name))), "{}", row.name);
        }
    }

    #[test]
    fn lines_fit_and_are_no_roff_requests() {
        let links = |line: &&str| !line.starts_with("- [");
        for line in markdown().lines().filter(links) {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let known = [".TH", ".SH", ".PP", ".TP", ".B", ".BR", ".RS", ".RE", ".EX", ".EE"];
        for line in man_page().lines().filter(|line| line.starts_with('.')) {
            let request = line.split(' ').next().unwrap_or_default();
            assert!(known.contains(&request), "{line}");
        }
        assert_eq!(roff(".a `b-c` \\"), "\\&.a \\fBb\\-c\\fR \\e");
        assert_eq!(anchor("TLS and ciphers_tls1.3"), "tls-and-ciphers_tls13");
    }
}
