//! Asks for passwords: on a terminal without echo, else one a line from standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::exit::Failure;

/// The password to log in with.
pub(super) fn password(user: &str) -> Result<String, Failure> {
    let password = ask(&format!("Password for {user}: "))?.filter(|text| !text.is_empty());
    password.ok_or_else(|| Failure::new("Error: Empty password.\nError getting password."))
}

/// The user to log in as.
pub(super) fn user() -> Result<String, Failure> {
    let mut stderr = io::stderr();
    let _ = stderr.write_all(b"username: ").and_then(|()| stderr.flush());
    let user = line()?.filter(|text| !text.is_empty());
    user.ok_or_else(|| Failure::new("Error: Empty user name."))
}

/// A password that is to be set, asked for twice; `None` when it is empty.
pub(super) fn new_password(user: &str) -> Result<Option<String>, Failure> {
    let first = ask(&format!("New password for {user}: "))?.filter(|text| !text.is_empty());
    let Some(first) = first else { return Ok(None) };
    let second = ask(&format!("Reenter password for {user}: "))?;
    match second.as_ref() == Some(&first) {
        true => Ok(Some(first)),
        false => Err(Failure::new("Error: Passwords do not match.")),
    }
}

/// `None` at the end of the input.
fn ask(prompt: &str) -> Result<Option<String>, Failure> {
    let failed =
        |error: io::Error| Failure::new(format!("Error: Unable to read the password: {error}"));
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map(Some).map_err(failed);
    }
    let mut stderr = io::stderr();
    // Without stderr there is nobody to ask; the answer may come all the same.
    let _ = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    line()
}

/// A line from stdin; `None` at the end.
fn line() -> Result<Option<String>, Failure> {
    let failed =
        |error: io::Error| Failure::new(format!("Error: Unable to read the input: {error}"));
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line).map_err(failed)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
