//! The lines of a file: where each stands and what name and value it holds. Comments, line ends
//! and encoding are settled here; what a value means is not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file, for messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: u32,
}

impl Place {
    /// A place in a file.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, line: u32) -> Place {
        Place { file: Arc::from(file.into()), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
