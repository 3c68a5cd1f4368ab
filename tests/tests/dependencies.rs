//! What dependencies have to be like, by `deny.toml`: `scripts/dependencies`. The advisories it is
//! asked about here are made up, for the real list is not in the repository.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mqttd_tests::place::{self, TempDir};

fn check(advisories: Option<&Path>) -> Option<Output> {
    if Command::new("python3").arg("--version").output().is_err() {
        place::say_skipped(module_path!(), "no python3");
        return None;
    }
    let mut command = Command::new(place::project_root().join("scripts/dependencies"));
    command.env_remove("ADVISORY_DB").args(advisories);
    Some(command.output().expect("the script can be started"))
}

fn said(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    format!("{}{complaint}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn licences_sources_and_versions_are_as_wanted() {
    let Some(output) = check(None) else { return };
    assert!(output.status.success(), "{}", said(&output));
}

/// An advisory about a crate that the broker has in some version 1.x.
fn advise(folder: &Path, id: &str, more: &str, versions: &str) {
    let folder = folder.join("crates/bytes");
    fs::create_dir_all(&folder).unwrap();
    let head = format!("[advisory]\nid = \"{id}\"\npackage = \"bytes\"\ndate = \"2026-01-02\"\n");
    let text = format!("```toml\n{head}{more}\n[versions]\n{versions}\n```\n\n# Made up\n");
    fs::write(folder.join(format!("{id}.md")), text).unwrap();
}

#[test]
fn an_advisory_is_found_when_it_concerns_the_version_in_use() {
    let folder = TempDir::new();
    advise(folder.path(), "RUSTSEC-1", "", "patched = [\">= 1.0.1\"]");
    advise(folder.path(), "RUSTSEC-2", "", "patched = [\"^0.4.3\", \">= 1.0.0-rc.1, < 2\"]");
    advise(folder.path(), "RUSTSEC-3", "", "patched = []\nunaffected = [\"<= 2.0.0\"]");
    advise(folder.path(), "RUSTSEC-4", "withdrawn = \"2026-01-03\"", "patched = []");
    advise(folder.path(), "RUSTSEC-5", "informational = \"unmaintained\"", "patched = []");
    let Some(output) = check(Some(folder.path())) else { return };
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("RUSTSEC-5, unmaintained") && text.contains("5 advisories"), "{text}");
    for other in 1..5 {
        assert!(!text.contains(&format!("RUSTSEC-{other},")), "{text}");
    }

    advise(folder.path(), "RUSTSEC-6", "", "patched = [\">= 2.0.0\"]\nunaffected = [\"< 1.0.0\"]");
    advise(folder.path(), "RUSTSEC-7", "informational = \"unsound\"", "patched = [\"~1.0\"]");
    let Some(output) = check(Some(folder.path())) else { return };
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("RUSTSEC-6, vulnerable") && text.contains("RUSTSEC-7, unsound"),
        "{text}"
    );
}

#[test]
fn a_folder_without_advisories_is_not_taken_for_good_news() {
    let folder = TempDir::new();
    fs::create_dir(folder.path().join("crates")).unwrap();
    let Some(output) = check(Some(folder.path())) else { return };
    assert!(!output.status.success() && said(&output).contains("no advisories"), "{output:?}");
}
