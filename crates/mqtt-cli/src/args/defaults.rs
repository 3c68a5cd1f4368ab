//! The files with default options: one `flag value` a line, `#` begins a comment line.
//!
//! `$XDG_CONFIG_HOME/NAME`, else `$HOME/.config/NAME`, first of our own name, else of Mosquitto's.
//! A file named with `-o` takes their place. Options on the command line win.

use std::path::PathBuf;
use std::{env, fs, io};

/// The words of the file, as they would stand on the command line.
///
/// # Errors
/// The file can't be read. A usual file that does not exist is no error, one named with `-o` is.
pub fn read(named: Option<&str>, names: &[&str; 2]) -> Result<Vec<String>, String> {
    if let Some(path) = named {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("Unable to read the options file \"{path}\": {error}."))?;
        return Ok(words(&text));
    }
    let Some(folder) = config_folder() else { return Ok(Vec::new()) };
    for name in names {
        let path = folder.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(words(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Also when ~/.config is a file: there are no defaults then.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => {
                let path = path.display();
                return Err(format!("Unable to read the options file \"{path}\": {error}."));
            }
        }
    }
    Ok(Vec::new())
}

/// The file with named profiles, in the folder of the other ones.
const PROFILES: &str = "mqtt-profiles";

/// The words of a profile: the lines below `[NAME]` in the file `mqtt-profiles`.
///
/// # Errors
/// The file can't be read or has no such profile; says which ones it has.
pub fn profile(name: &str) -> Result<Vec<String>, String> {
    let folder = config_folder().ok_or("--profile needs $HOME or $XDG_CONFIG_HOME.")?;
    let path = folder.join(PROFILES);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("Unable to read the profiles in {}: {error}.", path.display()))?;
    section(&text, name).ok_or_else(|| {
        let known: Vec<&str> = text.lines().filter_map(heading).collect();
        let (path, known) = (path.display(), known.join(", "));
        format!("There is no profile '{name}' in {path}; it has: {known}.")
    })
}

fn heading(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']')
}

fn section(text: &str, name: &str) -> Option<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| heading(line) != Some(name));
    lines.next()?;
    let lines: Vec<&str> = lines.take_while(|line| heading(line).is_none()).collect();
    Some(words(&lines.join("\n")))
}

pub(crate) fn config_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))
}

/// Splits each line into the flag and the rest; a property's rest is split again.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in text.lines() {
        let line = line.trim_end_matches('\r');
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (flag, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim(), ""));
        // Mosquitto's manual also writes the long flags without their dashes.
        let flag = if flag.starts_with('-') { flag.to_owned() } else { format!("--{flag}") };
        let is_property = matches!(flag.as_str(), "-D" | "--property");
        words.push(flag);
        if is_property {
            words.extend(rest.split_whitespace().map(str::to_owned));
        } else if !rest.is_empty() {
            words.push(rest.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        let text =
            "# mine\n-h broker\n\n-d\n--will-payload gone for  good\r\n-D publish content-type a\n";
        assert_eq!(
            words(text),
            [
                "-h",
                "broker",
                "-d",
                "--will-payload",
                "gone for  good",
                "-D",
                "publish",
                "content-type",
                "a"
            ]
        );
    }

    #[test]
    fn a_profile_is_a_section() {
        let text = "-h outside\n[home]\n-h pi\n# mine\n-u me\n\n[work]\n-h broker\n[empty]\n";
        assert_eq!(section(text, "home").unwrap(), ["-h", "pi", "-u", "me"]);
        assert_eq!(section(text, "work").unwrap(), ["-h", "broker"]);
        assert_eq!(section(text, "empty").unwrap(), [""; 0]);
        assert_eq!(section(text, "other"), None);
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = read(Some("/nonexistent/options"), &["a", "b"]).unwrap_err();
        assert!(error.contains("/nonexistent/options"), "{error}");
    }
}
