//! The words of `mosquitto_passwd` for the mistakes that it names, for callers who use that name.

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use mqtt_auth::UsernameError;

use super::args::Args;
use super::failure::Failure;

/// About a line that clap refuses; `None` where `mosquitto_passwd` only shows its usage.
pub(super) fn refused(error: &clap::Error) -> Option<String> {
    let shown = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let value = shown(ContextKind::InvalidValue).concat();
    let args = [shown(ContextKind::InvalidArg), shown(ContextKind::PriorArg)].concat();
    let is_about = |name: &str| args.iter().any(|arg| arg.starts_with(name));
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if value.is_empty() => {
            let flag = if is_about("--hash") { "-H" } else { "-I" };
            Some(format!("{flag} argument given but not enough other arguments."))
        }
        ErrorKind::InvalidValue if is_about("--hash") => {
            Some(format!("Unknown hash type '{value}'"))
        }
        ErrorKind::ValueValidation if is_about("--iterations") => {
            Some("Number of iterations must be > 0.".to_owned())
        }
        ErrorKind::ArgumentConflict => {
            let pairs = [
                ("--create", "-c", "--delete", "-D"),
                ("--create", "-c", "--upgrade", "-U"),
                ("--delete", "-D", "--upgrade", "-U"),
                ("--batch", "-b", "--delete", "-D"),
            ];
            let met = pairs.iter().find(|(one, _, other, _)| is_about(one) && is_about(other));
            met.map(|(_, one, _, other)| format!("{one} and {other} cannot be used together."))
        }
        _ => None,
    }
}

/// About words that are missing behind the flags.
pub(super) fn lacking(args: &Args) -> Option<String> {
    let (flag, wanted, what) = if args.create && args.batch {
        ("-c", 3, "password file, username, or password")
    } else if args.create {
        ("-c", 2, "password file or username")
    } else if args.delete {
        ("-D", 2, "password file or username")
    } else if args.upgrade {
        ("-U", 1, "password file")
    } else {
        return None;
    };
    (args.operands.len() < wanted).then(|| format!("{flag} argument given but {what} missing."))
}

/// About the name of a user that is to be deleted, before the file is looked at.
pub(super) fn misnamed(user: &OsStr) -> Option<Failure> {
    match mqtt_auth::check_username(user.to_str()?) {
        Err(
            error @ (UsernameError::Colon
            | UsernameError::ControlCharacter
            | UsernameError::TooLong),
        ) => Some(Failure::Username(error)),
        _ => None,
    }
}

/// The whole line for any other failure; `None` where ours says more.
pub(super) fn line(failure: &Failure) -> Option<String> {
    Some(match failure {
        Failure::Username(UsernameError::Colon) => {
            "Error: Username must not contain the ':' character.".to_owned()
        }
        Failure::Username(UsernameError::ControlCharacter) => {
            "Error: Username must not contain control characters.".to_owned()
        }
        Failure::Username(UsernameError::TooLong) => {
            "Error: Username must be less than 65536 characters long.".to_owned()
        }
        Failure::EmptyPassword => "Error: Empty password.".to_owned(),
        Failure::MissingFile(path) => format!(
            "Error: Unable to open password file {}. No such file or directory.",
            path.display()
        ),
        Failure::UnknownUser { user, .. } => {
            format!("Warning: User {user} not found in password file.")
        }
        _ => return None,
    })
}
