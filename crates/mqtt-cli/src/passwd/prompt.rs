//! Asks for a new password, twice. On a terminal without echo; from a pipe or file, as
//! `mosquitto_passwd` does, the first two lines of standard input, without prompts.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use mqtt_auth::PASSWORD_BYTES_MAX;

use super::failure::Failure;

/// A password that was given twice the same. It may still be empty or too long.
pub(super) fn ask() -> Result<Vec<u8>, Failure> {
    let (first, second) =
        if io::stdin().is_terminal() { from_terminal()? } else { from_lines(io::stdin().lock())? };
    if first == second { Ok(first) } else { Err(Failure::PasswordsDiffer) }
}

fn from_terminal() -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let ask = |prompt| rpassword::prompt_password(prompt).map_err(Failure::Prompt);
    let first = ask("Password: ")?;
    if first.is_empty() {
        return Err(Failure::EmptyPassword);
    }
    let second = ask("Reenter password: ")?;
    Ok((first.into_bytes(), second.into_bytes()))
}

fn from_lines(mut input: impl io::BufRead) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let first = read_line(&mut input)?.ok_or(Failure::NothingToAsk)?;
    let second = read_line(&mut input)?.ok_or(Failure::PasswordsDiffer)?;
    Ok((first, second))
}

/// One line without its end; `None` at the end of the input.
fn read_line(input: &mut impl io::BufRead) -> Result<Option<Vec<u8>>, Failure> {
    // Room for the longest password with its line end, and one byte to see that it is too long.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    let mut line = Vec::new();
    let read = input.by_ref().take(most).read_until(b'\n', &mut line);
    if read.map_err(Failure::Prompt)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::LongPassword);
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_make_a_password_given_twice() {
        for input in ["pw\npw\n", "pw\npw", "pw\r\npw\r\n", "pw\npw\nmore"] {
            let (first, second) = from_lines(input.as_bytes()).unwrap();
            assert_eq!((&first[..], &second[..]), (&b"pw"[..], &b"pw"[..]));
        }
        let (first, _) = from_lines(&b" \xff \n \xff \n"[..]).unwrap();
        assert_eq!(first, b" \xff ");
        assert!(matches!(from_lines(&b""[..]), Err(Failure::NothingToAsk)));
        assert!(matches!(from_lines(&b"pw\n"[..]), Err(Failure::PasswordsDiffer)));
    }

    #[test]
    fn a_line_is_bounded_on_both_sides() {
        let input = |length| format!("{0}\r\n{0}\n", "x".repeat(length));
        let longest = input(PASSWORD_BYTES_MAX);
        assert_eq!(from_lines(longest.as_bytes()).unwrap().1.len(), PASSWORD_BYTES_MAX);
        let longer = input(PASSWORD_BYTES_MAX + 1);
        assert!(matches!(from_lines(longer.as_bytes()), Err(Failure::LongPassword)));
    }
}
