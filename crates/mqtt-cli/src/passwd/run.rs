//! What `mqtt-passwd` does. Each job asks first, then locks, reads, edits and writes, so that
//! nobody waits for a person who is typing, and a failure leaves the file as it was.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::PathBuf;

use mqtt_auth::{Change, PASSWORD_BYTES_MAX, PasswordHash, PasswordText, Scheme};

use super::args::Job;
use super::failure::Failure;
use super::file::{Existing, Place};
use super::prompt;

pub(super) fn run(job: Job) -> Result<(), Failure> {
    match job {
        Job::Print { user, password, scheme } => {
            let hash = hash_given_or_asked(password, scheme)?;
            say(&format!("{user}:{hash}"))
        }
        Job::Set { file, is_new_file, user, password, scheme } => {
            let place = Place::new(file)?;
            // Looked at before asking, so that nobody types a password for nothing.
            if place.read()?.is_none() && !is_new_file {
                return Err(Failure::MissingFile(place.path().to_owned()));
            }
            let hash = hash_given_or_asked(password, scheme)?;
            set(&place, is_new_file, &user, &hash)
        }
        Job::Delete { file, user } => delete(file, &user),
        Job::Upgrade { file, scheme } => upgrade(file, scheme),
    }
}

fn set(place: &Place, is_new_file: bool, user: &str, hash: &PasswordHash) -> Result<(), Failure> {
    place.lock()?;
    let old = place.read()?;
    let mut text = match &old {
        Some(old) if is_new_file => {
            back_up(place, old)?;
            PasswordText::default()
        }
        Some(old) => PasswordText::parse(&old.contents),
        None if is_new_file => PasswordText::default(),
        None => return Err(Failure::MissingFile(place.path().to_owned())),
    };
    let change = text.set(user, &hash.to_string()).map_err(Failure::Username)?;
    place.write(&text.to_string(), old.as_ref())?;
    warn_if_open(place, old.as_ref());
    match change {
        Change::Added => say(&format!("Adding password for user {user}")),
        Change::Updated => say(&format!("Updating password for user {user}")),
    }
}

/// `-c` overwrites, as Mosquitto's help says and scripts rely on. Users who would be lost that way
/// are kept beside the new file.
fn back_up(place: &Place, old: &Existing) -> Result<(), Failure> {
    let users = PasswordText::parse(&old.contents).entries().count();
    if users > 0 {
        place.write_backup(old)?;
        eprintln!(
            "Warning: {} existed with {users} user{}; the old file is kept as {}. Without -c a \
             user is added.",
            place.path().display(),
            plural(users),
            place.backup_path().display()
        );
    }
    Ok(())
}

fn delete(file: PathBuf, user: &str) -> Result<(), Failure> {
    let place = Place::new(file)?;
    place.lock()?;
    let path = place.path().to_owned();
    let old = place.read()?.ok_or_else(|| Failure::MissingFile(path.clone()))?;
    let mut text = PasswordText::parse(&old.contents);
    if !text.remove(user) {
        return Err(Failure::UnknownUser { path, user: user.to_owned() });
    }
    place.write(&text.to_string(), Some(&old))?;
    say(&format!("Deleting user {user}"))
}

fn upgrade(file: PathBuf, scheme: Scheme) -> Result<(), Failure> {
    let place = Place::new(file)?;
    place.lock()?;
    let path = place.path().to_owned();
    let old = place.read()?.ok_or_else(|| Failure::MissingFile(path.clone()))?;
    let old_text = PasswordText::parse(&old.contents);
    let mut text = old_text.clone();
    let mut lines = HashMap::new();
    let (mut hashed, mut left) = (0, 0);
    for entry in old_text.entries() {
        let refused = |what: String| Failure::Line { path: path.clone(), line: entry.line, what };
        if let Some(first) = lines.insert(entry.user, entry.line) {
            let user = entry.user;
            return Err(refused(format!(
                "user {user:?} stands on line {first} already; delete one of the two lines"
            )));
        }
        match PasswordHash::parse(entry.value) {
            Ok(_) => left += 1,
            // A damaged hash must not become somebody's password.
            Err(error) if PasswordHash::looks_like(entry.value) => {
                return Err(refused(error.to_string()));
            }
            Err(_) => {
                let hash = hash(entry.value.as_bytes(), scheme)?;
                text.set(entry.user, &hash.to_string())
                    .map_err(|error| refused(error.to_string()))?;
                hashed += 1;
            }
        }
    }
    for warning in old_text.warnings() {
        eprintln!("Warning: {} {warning}", path.display());
    }
    if hashed > 0 {
        place.write(&text.to_string(), Some(&old))?;
    }
    warn_if_open(&place, Some(&old));
    say(&format!("Hashed {hashed} password{}", plural(hashed)))?;
    match left {
        0 => Ok(()),
        left => say(&format!("Left {left} alone that {} hashed already", was(left))),
    }
}

fn hash_given_or_asked(given: Option<Vec<u8>>, scheme: Scheme) -> Result<PasswordHash, Failure> {
    let password = match given {
        Some(password) => password,
        None => prompt::ask()?,
    };
    hash(&password, scheme)
}

fn hash(password: &[u8], scheme: Scheme) -> Result<PasswordHash, Failure> {
    if password.is_empty() {
        return Err(Failure::EmptyPassword);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::LongPassword);
    }
    let mut salt = vec![0; scheme.salt_bytes()];
    getrandom::fill(&mut salt).map_err(Failure::NoRandomness)?;
    PasswordHash::create(scheme, password, &salt).map_err(Failure::Hash)
}

fn warn_if_open(place: &Place, old: Option<&Existing>) {
    if old.is_some_and(Existing::is_open_to_others) {
        eprintln!(
            "Warning: every user of this machine can read {0}; close it with: chmod o-rwx {0}",
            place.path().display()
        );
    }
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(Failure::Output)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn was(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}
