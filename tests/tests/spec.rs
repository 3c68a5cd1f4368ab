//! `docs/spec/*.tsv` say for every normative statement of MQTT 3.1.1 and 5.0 where it is
//! implemented and which tests would fail without it. Here: that no statement is missing, that
//! every file, name and test function they point to exists, and that `docs/spec-coverage.md` is
//! what they give. `MQTTD_BLESS=1 cargo test -p mqttd-tests --test spec` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use mqttd_tests::place::project_root;

/// One row of a table.
struct Row {
    id: String,
    concerns: String,
    words: String,
    /// `path#name`
    places: Vec<String>,
    /// `path::function`
    tests: Vec<String>,
    why: String,
}

/// Section and number of its last statement, in the standard's order (OASIS Standard, 29 October
/// 2014). Numbers run from 1.
const MQTT_3_1_1: &[(&str, u32)] = &[
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// The same of the OASIS Standard of 7 March 2019. 2.2.1 has no statement 1.
const MQTT_5_0: &[(&str, u32)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2.0", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

fn statements(sections: &[(&str, u32)]) -> Vec<String> {
    let ids = sections
        .iter()
        .flat_map(|(section, last)| (1..=*last).map(move |number| format!("{section}-{number}")));
    ids.collect()
}

fn complete(version: &str) -> Vec<String> {
    if version == "3.1.1" {
        return statements(MQTT_3_1_1);
    }
    let mut ids = statements(MQTT_5_0);
    ids.retain(|id| id != "2.2.1-1");
    ids
}

const VERSIONS: [&str; 2] = ["5.0", "3.1.1"];

fn rows(version: &str) -> Vec<Row> {
    let path = project_root().join(format!("docs/spec/mqtt-{version}.tsv"));
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [id, concerns, words, places, tests, why] = fields[..] else {
            panic!("{}: six fields, please: {line}", path.display());
        };
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Row {
            id: id.into(),
            concerns: concerns.into(),
            words: words.into(),
            places: list(places),
            tests: list(tests),
            why: why.into(),
        }
    };
    lines.map(row).collect()
}

/// Texts of the files of the tree, read once.
#[derive(Default)]
struct Files(BTreeMap<String, Option<String>>);

impl Files {
    fn text(&mut self, path: &str) -> Option<&str> {
        let read = || fs::read_to_string(project_root().join(path)).ok();
        self.0.entry(path.to_owned()).or_insert_with(read).as_deref()
    }
}

/// Does the word stand in the text, not as a part of a longer one?
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |it: char| it.is_alphanumeric() || it == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// A test function: its name behind `fn`, a test attribute within the lines above it.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        let is_it = line.trim_start_matches("async ").starts_with(&head);
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
        is_it && above.into_iter().any(|line| line.contains("test"))
    })
}

/// Every place that `make mutants` breaks is there, and so is the test that must notice.
#[test]
fn every_mutant_applies() {
    let script = project_root().join("scripts/mutants");
    let said = std::process::Command::new(script).arg("--check").output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn every_statement_has_its_row_and_only_one() {
    for version in VERSIONS {
        let listed: Vec<String> = rows(version).into_iter().map(|row| row.id).collect();
        let once: BTreeSet<&String> = listed.iter().collect();
        assert_eq!(once.len(), listed.len(), "{version}: listed twice");
        assert_eq!(listed, complete(version), "{version}: in the standard's order, none left out");
    }
}

#[test]
fn what_the_rows_point_to_is_there() {
    let mut files = Files::default();
    let mut wrong = Vec::new();
    for version in VERSIONS {
        for row in rows(version) {
            let mut say = |what: String| wrong.push(format!("{version} {}: {what}", row.id));
            for place in &row.places {
                let (path, name) = place.split_once('#').expect("path#name");
                match files.text(path) {
                    None => say(format!("{path} is not there")),
                    Some(text) if !has_word(text, name) => say(format!("no {name} in {path}")),
                    Some(_) => {}
                }
            }
            for test in &row.tests {
                let (path, name) = test.split_once("::").expect("path::function");
                match files.text(path) {
                    None => say(format!("{path} is not there")),
                    Some(text) if !has_test(text, name) => say(format!("no test {name} in {path}")),
                    Some(_) => {}
                }
            }
            if row.places.is_empty() {
                say("no file".into());
            }
            if row.tests.is_empty() && row.why.is_empty() {
                say("neither a test nor a reason why there is none".into());
            }
            if !["server", "client", "both"].contains(&row.concerns.as_str()) {
                say(format!("concerns whom? '{}'", row.concerns));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn markdown() -> String {
    let mut out = String::from(
        "# Every normative statement of MQTT 5.0 and 3.1.1\n\n\
         Where each statement of the two OASIS standards is implemented, and the tests that fail \
         without it.\nThe words are ours; the standard's are at \
         <https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html> and\n\
         <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/mqtt-v3.1.1.html>.\n\n\
         Made from [`docs/spec/`](spec/) by `tests/tests/spec.rs`, which also checks that no \
         statement is missing and\nthat every file, name and test exists. Change the tables, then \
         run\n`MQTTD_BLESS=1 cargo test -p mqttd-tests --test spec`.\n\n\
         MQTT 3.1 has no numbered statements; what differs from 3.1.1 stands as named predicates \
         in\n`crates/mqtt-proto/src/version.rs` and is tested where they are used.\n",
    );
    for version in VERSIONS {
        let rows = rows(version);
        let tested = rows.iter().filter(|row| !row.tests.is_empty()).count();
        let count = rows.len();
        let _ = write!(out, "\n## MQTT {version}\n\n{count} statements, {tested} with tests.\n\n");
        out.push_str("| statement | concerns | in our words | implemented in | tests |\n");
        out.push_str("|---|---|---|---|---|\n");
        for row in &rows {
            let place = |it: &String| {
                let (path, name) = it.split_once('#').expect("path#name");
                format!("[`{name}`](../{path})")
            };
            let test = |it: &String| {
                let (path, name) = it.split_once("::").expect("path::function");
                format!("[`{name}`](../{path})")
            };
            let mut tests: Vec<String> = row.tests.iter().map(test).collect();
            if !row.why.is_empty() {
                tests.push(row.why.clone());
            }
            let places: Vec<String> = row.places.iter().map(place).collect();
            let _ = writeln!(
                out,
                "| MQTT-{} | {} | {} | {} | {} |",
                row.id,
                row.concerns,
                row.words,
                places.join(", "),
                tests.join(", ")
            );
        }
    }
    out
}

#[test]
fn the_document_is_made_from_the_tables() {
    let path = project_root().join("docs/spec-coverage.md");
    let made = markdown();
    if std::env::var_os("MQTTD_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    // A long diff helps nobody.
    let differs = there.lines().zip(made.lines()).find(|(one, other)| one != other);
    assert!(
        there == made,
        "docs/spec-coverage.md is not what docs/spec/ gives (MQTTD_BLESS=1 writes it): {differs:?}"
    );
}

#[test]
fn the_checks_see_what_is_wrong() {
    let text = "#[test]\n#[ignore = \"x\"]\nfn good() {}\nfn helper() {}\n#[tokio::test]\n\
                async fn waits() {}\n";
    assert!(has_test(text, "good") && has_test(text, "waits"));
    assert!(!has_test(text, "helper") && !has_test(text, "goo") && !has_test(text, "missing"));
    assert!(has_word("fn begin(", "begin") && !has_word("fn begins(", "begin"));
    assert_eq!((complete("5.0").len(), complete("3.1.1").len()), (251, 141));
}
