//! Shared by the tests of this crate: golden files, and what a configuration changes in words.

use std::fmt::Write as _;
use std::path::Path;

use mqttd_conf::{Config, Source};

/// Compares with a file, or writes it when `MQTTD_BLESS=1`.
pub(crate) fn check_golden(path: &Path, found: &str) {
    if std::env::var_os("MQTTD_BLESS").is_some_and(|value| value == "1") {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(path, found).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        wanted == found,
        "{} is not up to date; MQTTD_BLESS=1 rewrites it\n---- found\n{found}\n---- changes\n{}",
        path.display(),
        added_lines(&wanted, found)
    );
}

/// The outcome of a load: errors, or warnings and what differs from the default.
#[allow(dead_code)]
pub(crate) fn outcome(source: &dyn Source, path: &Path) -> String {
    let mut out = String::new();
    match Config::load(source, path) {
        Err(errors) => {
            for error in errors {
                let _ = writeln!(out, "error {error}");
            }
        }
        Ok((config, warnings)) => {
            for warning in warnings {
                let _ = writeln!(out, "warning {warning}");
            }
            let default = format!("{:#?}", Config::default());
            out.push_str(&added_lines(&default, &format!("{config:#?}")));
        }
    }
    out
}

/// The lines of `new` that a shortest edit adds to `old`.
pub(crate) fn added_lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // common[i][j]: length of the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while j < new.len() {
        if i < old.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            i += 1;
        } else {
            let _ = writeln!(out, "{}", new[j]);
            j += 1;
        }
    }
    out
}
