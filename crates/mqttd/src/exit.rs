//! How the broker ends.

use std::process::ExitCode;

/// Mosquitto's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Stopped as asked, or the configuration is right.
    Stopped = 0,
    /// A listener can't be opened, or something else outside the configuration is wrong.
    Failed = 1,
    /// A wrong option or configuration.
    Configuration = 3,
    /// A password or ACL file can't be read.
    File = 13,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code it ends the broker with.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

/// Gives an error its exit code.
pub(crate) trait Ends<T> {
    fn ends(self, exit: Exit) -> Result<T, Ended>;
}

impl<T, E: Into<anyhow::Error>> Ends<T> for Result<T, E> {
    fn ends(self, exit: Exit) -> Result<T, Ended> {
        self.map_err(|error| Ended { exit, error: error.into() })
    }
}
