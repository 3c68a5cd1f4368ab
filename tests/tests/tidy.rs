//! Laws of the house that a program can check: which crate may import which, what pure crates may
//! name, sizes, headers, links of the documentation. `docs/STYLE.md` says why.
//!
//! What offended when a law came is listed in `tests/tidy.allow`, which may only shrink:
//! `MQTTD_BLESS=1 cargo test -p mqttd-tests --test tidy` lowers its numbers and never raises them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mqttd_tests::place::project_root;

/// Each crate and what it may import of ours. An import points to an earlier row.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("mqtt-proto", &[]),
    ("mqttd-store", &[]),
    ("mqtt-net", &[]),
    ("mqtt-auth", &["mqtt-proto"]),
    ("mqttd-core", &["mqtt-proto", "mqtt-auth"]),
    ("mqttd-conf", &["mqtt-auth"]),
    ("mqtt-client", &["mqtt-proto", "mqtt-net", "mqtt-auth"]),
    ("mqtt-cli", &["mqtt-client", "mqtt-auth", "mqtt-net", "mqtt-proto"]),
    ("mqtt-bench", &["mqtt-client", "mqtt-net", "mqtt-proto"]),
    ("mqttd-durability", &["mqtt-proto", "mqttd-store", "mqttd-core", "mqttd-conf"]),
    (
        "mqttd-sim",
        &["mqtt-proto", "mqtt-auth", "mqttd-store", "mqttd-core", "mqttd-conf", "mqttd-durability"],
    ),
    (
        "mqttd-fuzz",
        &[
            "mqtt-proto",
            "mqtt-auth",
            "mqtt-net",
            "mqttd-conf",
            "mqttd-core",
            "mqttd-store",
            "mqtt-cli",
        ],
    ),
    (
        "mqttd",
        &[
            "mqtt-proto",
            "mqtt-auth",
            "mqtt-net",
            "mqttd-conf",
            "mqttd-core",
            "mqttd-store",
            "mqttd-durability",
        ],
    ),
];

/// Crates that read no clock, socket, file or random source.
const PURE: [&str; 3] = ["mqtt-proto", "mqtt-auth", "mqttd-core"];

/// Crates that make programs.
const PROGRAMS: [&str; 4] = ["mqtt-cli", "mqtt-bench", "mqttd", "mqttd-sim"];

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file, its test module not counted.
const FILE_LINES_MAX: usize = 700;
/// The same for a list of rows that says so with [`DICTIONARY`].
const DICTIONARY_LINES_MAX: usize = 1500;
const DICTIONARY: &str = "// tidy: dictionary";

/// A source file.
struct Source {
    /// From the project's root on.
    path: String,
    text: String,
}

impl Source {
    /// The crate in whose `src` it is.
    fn crate_name(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        rest.starts_with("src/").then_some(name)
    }

    /// Its lines in front of the test module.
    fn product_lines(&self) -> Vec<&str> {
        self.text.lines().take_while(|line| *line != "#[cfg(test)]").collect()
    }

    /// Numbered lines in front of the test module, without comments.
    fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.product_lines().into_iter().enumerate();
        lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// One offence for each line of the product that holds one of the words.
    fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let found = self.product_code().filter(|(_, line)| words.iter().any(|it| holds(line, it)));
        found.map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim())).collect()
    }
}

/// Whether the line holds the word, not as the end of a longer one.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || it == '_')
    })
}

/// Every file below the folder, hidden ones and build output left out.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_output = ["target", "run", "__pycache__", "node_modules"].contains(&&*name);
        if name.starts_with('.') || is_output {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// All files of the project, from its root on, in order.
fn all_files() -> Vec<String> {
    let root = project_root();
    let mut found = Vec::new();
    files(&root, &mut found);
    let inside = |path: PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let mut paths: Vec<_> = found.into_iter().map(inside).collect();
    paths.sort();
    paths
}

fn sources() -> Vec<Source> {
    let rust = all_files().into_iter().filter(|path| path.ends_with(".rs"));
    let all: Vec<_> = rust.map(|path| Source { text: read(&path), path }).collect();
    assert!(all.len() > 100, "only {} source files found", all.len());
    all
}

fn read(path: &str) -> String {
    fs::read_to_string(project_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn none(law: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{law}:\n{}", offences.join("\n"));
}

/// The names of ours in a section of a manifest.
fn imports(manifest: &str, section: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if inside {
            let name: String =
                line.chars().take_while(|it| it.is_alphanumeric() || *it == '-').collect();
            if IMPORTS.iter().any(|(ours, _)| *ours == name) {
                found.insert(name);
            }
        }
    }
    found
}

#[test]
fn imports_point_to_earlier_rows() {
    let place = |name: &str| IMPORTS.iter().position(|(ours, _)| *ours == name);
    let mut offences = Vec::new();
    for entry in fs::read_dir(project_root().join("crates")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_str().unwrap().to_owned();
        let Some(at) = place(&name) else {
            offences.push(format!("{name} has no row in IMPORTS"));
            continue;
        };
        let manifest = read(&format!("crates/{name}/Cargo.toml"));
        for import in imports(&manifest, "dependencies") {
            if !IMPORTS[at].1.contains(&&*import) || place(&import) >= Some(at) {
                offences.push(format!("{name} imports {import}"));
            }
        }
        for import in imports(&manifest, "dev-dependencies") {
            if PROGRAMS.contains(&&*import) {
                offences.push(format!("the tests of {name} import {import}"));
            }
        }
    }
    let tests = imports(&read("tests/Cargo.toml"), "dependencies");
    offences.extend(tests.iter().map(|import| format!("the process-level tests import {import}")));
    none("An import points to an earlier row", offences);
}

#[test]
fn every_library_and_program_forbids_unsafe_code() {
    let is_root = |path: &&String| {
        let inside = path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/"));
        inside.is_some_and(|(_, file)| {
            ["lib.rs", "main.rs"].contains(&file)
                || (file.starts_with("bin/") && file.ends_with(".rs"))
        })
    };
    let files = all_files();
    let roots: Vec<_> = files.iter().filter(is_root).collect();
    assert!(roots.len() > IMPORTS.len(), "roots of crates were not found: {roots:?}");
    let lacks = |path: &&&String| !read(path).contains("#![forbid(unsafe_code)]");
    let offences = roots.iter().filter(lacks).map(|path| path.to_string()).collect();
    none("Libraries and programs say #![forbid(unsafe_code)]", offences);
}

/// What a Client can reach must not be able to panic: clippy denies it there.
#[test]
fn pure_crates_deny_what_could_panic() {
    let lints = ["arithmetic_side_effects", "indexing_slicing", "string_slice"];
    let lints = lints.iter().chain(&["unwrap_used", "expect_used", "panic", "unreachable"]);
    let mut offences = Vec::new();
    for (name, lint) in PURE.iter().flat_map(|name| lints.clone().map(move |lint| (name, lint))) {
        if !read(&format!("crates/{name}/src/lib.rs")).contains(&format!("clippy::{lint}")) {
            offences.push(format!("{name} does not deny clippy::{lint}"));
        }
    }
    none("Pure crates deny what could panic", offences);
}

#[test]
fn pure_crates_touch_nothing() {
    let words = ["std::", "SystemTime", "Instant::now", "rand::", "getrandom", "tokio", "unsafe"];
    let mut offences = Vec::new();
    for name in PURE {
        let head = read(&format!("crates/{name}/src/lib.rs"));
        for law in ["#![cfg_attr(not(test), no_std)]", "#![forbid(unsafe_code)]"] {
            if !head.contains(law) {
                offences.push(format!("crates/{name}/src/lib.rs lacks {law}"));
            }
        }
    }
    for source in sources() {
        if source.crate_name().is_some_and(|name| PURE.contains(&name)) {
            let found = source.lines_with(&words);
            offences.extend(found.into_iter().filter(|line| !line.contains("unsafe_code")));
        }
    }
    none("Pure crates name no clock, socket, file or random source", offences);
}

#[test]
fn only_programs_print_and_exit() {
    let words = ["anyhow", "println!", "print!", "eprintln!", "eprint!", "process::exit"];
    let mut offences = Vec::new();
    for source in sources() {
        if source.crate_name().is_some_and(|name| !PROGRAMS.contains(&name)) {
            offences.extend(source.lines_with(&words));
        }
    }
    none("anyhow, print and exit belong to mqttd, mqtt-cli and mqtt-bench", offences);
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!", "unimplemented!", "dbg!"];
    let mut offences = Vec::new();
    for source in sources().iter().filter(|it| it.path != "tests/tests/tidy.rs") {
        offences.extend(source.lines_with(&words));
        for (index, line) in source.text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX", "HACK"] {
                let numbered = line.split_once(&format!("{word}(#")).is_some_and(|(_, rest)| {
                    rest.starts_with(|first: char| first.is_ascii_digit())
                });
                if holds(line, word) && !numbered {
                    offences.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
                }
            }
        }
    }
    none("Work that is left names an issue: TODO(#12)", offences);
}

#[test]
fn every_file_says_what_lives_there() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//!"));
    none("A file begins with a //! header", silent.map(|source| source.path).collect());
}

#[test]
fn names_say_what_a_file_is_about() {
    let empty = ["utils", "util", "common", "types", "helpers", "misc", "manager", "handler"];
    let stem = |path: &str| Path::new(path).file_stem().unwrap().to_str().unwrap().to_owned();
    let offences = sources().into_iter().map(|source| source.path);
    let offences = offences.filter(|path| empty.contains(&&*stem(path))).collect();
    none("A file is named after what is in it", offences);
}

/// Offences by law and file, with the line of the first.
type Found = BTreeMap<(&'static str, String), (usize, usize)>;

fn sizes_and_unwraps() -> Found {
    let mut found = Found::new();
    let mut offend = |law, source: &Source, line: usize| {
        let count = found.entry((law, source.path.clone())).or_insert((0, line));
        count.0 += 1;
    };
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                offend("columns", &source, index + 1);
            }
        }
        let is_dictionary = source.text.lines().any(|line| line == DICTIONARY);
        let max = if is_dictionary { DICTIONARY_LINES_MAX } else { FILE_LINES_MAX };
        let lines = source.product_lines();
        if lines.len() > max {
            offend("file-lines", &source, lines.len());
        }
        for (start, _) in long_functions(&lines) {
            offend("function-lines", &source, start);
        }
        if source.crate_name().is_some() {
            for (number, line) in source.product_code() {
                if line.contains(".unwrap()") {
                    offend("unwrap", &source, number);
                }
            }
        }
    }
    found
}

/// First line and length of functions that are too long. Formatted code closes a function with a
/// brace under its first letter.
fn long_functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut words = line.split([' ', '(']);
        let modifiers = ["pub", "crate)", "super)", "const", "async", "extern", "\"C\"", ""];
        let Some("fn") = words.find(|word| !modifiers.contains(word)) else { continue };
        let end = format!("{indent}}}");
        let Some(length) = lines[index..].iter().position(|line| *line == end) else { continue };
        if length + 1 > FUNCTION_LINES_MAX {
            found.push((index + 1, length + 1));
        }
    }
    found
}

#[test]
fn sizes_and_unwraps_beyond_the_list_of_exceptions() {
    let found = sizes_and_unwraps();
    let path = project_root().join("tests/tidy.allow");
    let mut allowed = BTreeMap::new();
    for line in fs::read_to_string(&path).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let [law, file, count] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("tests/tidy.allow: not 'LAW FILE COUNT': {line}");
        };
        allowed.insert((law.to_owned(), file.to_owned()), count.parse::<usize>().unwrap());
    }
    let mut offences = Vec::new();
    for ((law, file), (count, line)) in &found {
        let most = allowed.get(&((*law).to_owned(), file.clone())).copied().unwrap_or(0);
        if *count > most {
            offences.push(format!("{file}:{line}: {law}: {count}, {most} allowed"));
        }
    }
    if std::env::var_os("MQTTD_BLESS").is_some() {
        let mut text =
            String::from("# LAW FILE COUNT: see tests/tests/tidy.rs. May only shrink.\n");
        for ((law, file), most) in &allowed {
            let now = found.iter().find(|((l, f), _)| l == law && f == file);
            let count = now.map_or(0, |(_, (count, _))| *count).min(*most);
            if count > 0 {
                text.push_str(&format!("{law} {file} {count}\n"));
            }
        }
        fs::write(&path, text).unwrap();
    }
    let laws = format!(
        "At most {COLUMNS_MAX} columns, {FUNCTION_LINES_MAX} lines a function, {FILE_LINES_MAX} a \
         file; unwrap only in tests"
    );
    none(&laws, offences);
}

#[test]
fn the_finder_of_long_functions_finds_them() {
    let body = "    x();\n".repeat(FUNCTION_LINES_MAX - 2);
    let fits = format!("pub(crate) async fn a(b: u8) {{\n{body}}}");
    let long = format!("impl A {{\n    fn b() {{\n{body}    x();\n    }}\n}}");
    assert_eq!(long_functions(&fits.lines().collect::<Vec<_>>()), []);
    assert_eq!(long_functions(&long.lines().collect::<Vec<_>>()), [(2, FUNCTION_LINES_MAX + 1)]);
}

/// Links `[text](target)` of a Markdown text.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The anchors of a text's headings, as they are made where Markdown is shown.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |it: &char| it.is_alphanumeric() || "-_ ".contains(*it);
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

fn documents() -> Vec<String> {
    let documents: Vec<_> = all_files().into_iter().filter(|path| path.ends_with(".md")).collect();
    assert!(documents.len() >= 10, "{documents:?}");
    documents
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let root = project_root();
    let mut offences = Vec::new();
    for document in documents() {
        let text = read(&document);
        for link in links(&text).into_iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => root.join(&document),
                _ => root.join(&document).parent().unwrap().join(file),
            };
            let is_there = path.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&path).is_ok_and(|it| anchors(&it).contains(anchor)));
            if !is_there {
                offences.push(format!("{document}: {link}"));
            }
        }
    }
    none("A link leads to a file and heading that exist", offences);
}

/// `turn.rs`, `mqttd/src/run.rs` and the like in the documents: a file of the project ends so.
#[test]
fn files_that_documents_name_exist() {
    let all = all_files();
    let mut offences = Vec::new();
    let mut count = 0;
    for document in documents() {
        for word in read(&document).split('`').skip(1).step_by(2) {
            let name = word.split("::").next().unwrap_or_default();
            if !name.ends_with(".rs") || name.contains([' ', '*']) {
                continue;
            }
            count += 1;
            if !all.iter().any(|path| path == name || path.ends_with(&format!("/{name}"))) {
                offences.push(format!("{document}: {word}"));
            }
        }
    }
    assert!(count > 50, "ARCHITECTURE.md alone names more files than {count}");
    none("A file that a document names exists", offences);
}

#[test]
fn scripts_stop_at_the_first_failure() {
    let scripts = all_files().into_iter().filter(|path| path.starts_with("scripts/"));
    for script in scripts.chain([".ci/run".to_owned()]) {
        let text = read(&script);
        assert!(text.starts_with("#!/usr/bin/env bash\n"), "{script}");
        assert!(text.contains("\nset -euo pipefail\n"), "{script}");
        let mode = fs::metadata(project_root().join(&script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
    }
}
