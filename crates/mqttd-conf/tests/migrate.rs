//! Configurations as people have them, of several ages and makers, and what `mqttd migrate` says of
//! each line: `tests/real/*.golden`. `MQTTD_BLESS=1` rewrites the golden files.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mqttd_conf::{Disk, Migration, Verdict};

fn judged(path: &Path) -> String {
    let migration = Migration::of(&Disk, path);
    let mut text = String::new();
    for line in &migration.lines {
        let (word, why) = match &line.verdict {
            Verdict::Same => ("same", None),
            Verdict::Mapped(why) => ("mapped", Some(why)),
            Verdict::Ignored(why) => ("ignored", Some(why)),
            Verdict::Refused(why) => ("refused", Some(why)),
        };
        write!(text, "{word:<8} {}: {}", line.place, line.text.trim_end()).unwrap();
        text.push_str(&why.map_or_else(String::new, |why| format!("  # {why}")));
        text.push('\n');
    }
    for error in &migration.others {
        writeln!(text, "refused  {error}").unwrap();
    }
    let word = if migration.is_accepted() { "starts" } else { "does not start" };
    writeln!(text, "{word}").unwrap();
    text
}

#[test]
fn configurations_of_real_brokers_are_judged_line_by_line() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/real")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    assert!(files.len() >= 9, "{} files", files.len());
    for file in files {
        support::check_golden(&file.with_extension("golden"), &judged(&file));
    }
}

/// A line of the file that is no comment is never passed over.
#[test]
fn every_line_has_its_verdict() {
    for entry in std::fs::read_dir("tests/real").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let found = judged(&path);
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{}:{}: ", path.display(), number + 1);
            assert!(found.contains(&place), "{place}{line}\n{found}");
        }
    }
}
