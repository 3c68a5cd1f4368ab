//! What can go wrong in the password tool: one line for the user, with the cure, and an exit code.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mqtt_auth::{HashError, UsernameError};

use super::Exit;

/// Why nothing was done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// As the last, in words that need nothing more.
    Objection(String),
    Username(UsernameError),
    EmptyPassword,
    LongPassword,
    PasswordsDiffer,
    /// No terminal to ask on, and no password on standard input.
    NothingToAsk,
    Prompt(io::Error),
    Hash(HashError),
    NoRandomness(getrandom::Error),
    MissingFile(PathBuf),
    SymbolicLink {
        path: PathBuf,
        target: PathBuf,
    },
    NotAFile(PathBuf),
    NotUtf8 {
        path: PathBuf,
        line: usize,
    },
    /// A line of the file stands in the way.
    Line {
        path: PathBuf,
        line: u32,
        what: String,
    },
    UnknownUser {
        path: PathBuf,
        user: String,
    },
    /// Another instance holds the lock.
    Locked(PathBuf),
    KeepOwner {
        path: PathBuf,
        error: io::Error,
    },
    MountPoint(PathBuf),
    Io {
        /// What was tried: "read", "write".
        verb: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    Output(io::Error),
}

impl Failure {
    pub(crate) fn io(verb: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { verb, path: path.to_owned(), error }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::PasswordsDiffer => Exit::PasswordsDiffer,
            Self::Hash(_) | Self::NoRandomness(_) => Exit::NoHash,
            _ => Exit::Error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what} (see mqtt-passwd --help)"),
            Self::Objection(text) => f.write_str(text),
            Self::Username(error) => error.fmt(f),
            Self::EmptyPassword => f.write_str("the password is empty; choose one"),
            Self::LongPassword => {
                f.write_str("the password is longer than 65535 bytes, the most MQTT can carry")
            }
            Self::PasswordsDiffer => f.write_str("Passwords do not match."),
            Self::NothingToAsk => f.write_str(
                "no terminal to ask for the password on; give it with -b (mqtt-passwd -b FILE USER \
                 PASSWORD) or send it to standard input, twice, each on a line",
            ),
            Self::Prompt(error) => write!(
                f,
                "cannot ask for the password: {error}; give it with -b (mqtt-passwd -b FILE USER \
                 PASSWORD)"
            ),
            Self::Hash(error) => write!(f, "Unable to hash password: {error}"),
            Self::NoRandomness(error) => {
                write!(f, "Unable to hash password: no random bytes for a salt: {error}")
            }
            Self::MissingFile(path) => write!(
                f,
                "{} does not exist; make it with: mqtt-passwd -c FILE USER",
                path.display()
            ),
            Self::SymbolicLink { path, target } => write!(
                f,
                "{} is a symbolic link to {}, which is not followed; name the file itself",
                path.display(),
                target.display()
            ),
            Self::NotAFile(path) => {
                write!(f, "{} is not a regular file; name another one", path.display())
            }
            Self::NotUtf8 { path, line } => write!(
                f,
                "{} line {line}: not UTF-8; convert the file, for example with iconv",
                path.display()
            ),
            Self::Line { path, line, what } => {
                write!(f, "{} line {line}: {what}", path.display())
            }
            Self::UnknownUser { path, user } => {
                write!(f, "user {user:?} not found in {}", path.display())
            }
            Self::Locked(path) => write!(
                f,
                "another mqtt-passwd is writing in the folder of {}; try again when it is done",
                path.display()
            ),
            Self::KeepOwner { path, error } => write!(
                f,
                "cannot keep the owner of {}: {error}; run as its owner or with sudo",
                path.display()
            ),
            Self::MountPoint(path) => write!(
                f,
                "{} is a mount point and cannot be replaced in one step; mount its folder instead \
                 of the file",
                path.display()
            ),
            Self::Io { verb, path, error } => {
                write!(f, "cannot {verb} {}: {error}", path.display())?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; run as the owner or with sudo")
                    }
                    io::ErrorKind::NotFound => f.write_str("; make the folder first"),
                    _ => Ok(()),
                }
            }
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}
