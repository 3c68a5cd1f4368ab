//! The seam through which files are read: the broker hands in [`Disk`], tests hand in [`Memory`].
//! Nothing else in this crate touches the file system.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where configuration files come from.
pub trait Source {
    /// The bytes of one file.
    ///
    /// # Errors
    /// Whatever reading it gave.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The paths of the entries of one folder, in any order.
    ///
    /// # Errors
    /// Whatever listing it gave.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Whether a file of this name exists.
    fn exists(&self, path: &Path) -> bool;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// Files held in memory, by path.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Memory {
    /// Adds a file, or replaces it.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Memory {
        self.files.insert(path.into(), content.into());
        self
    }
}

impl Source for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let inside = self.files.keys().filter(|file| file.parent() == Some(path));
        let inside: Vec<PathBuf> = inside.cloned().collect();
        if inside.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(inside) }
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
}
