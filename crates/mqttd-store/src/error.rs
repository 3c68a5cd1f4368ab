//! Why the store refused, in one enum. What was found damaged at opening is not an error: see
//! `report.rs`.

use std::fmt;
use std::io;

/// Why an operation of the store failed.
#[derive(Debug)]
pub enum StoreError {
    /// Another process (or another `Store` of this one) has the directory open.
    Locked {
        /// Who, as far as they said, e.g. `process 812`.
        holder: String,
    },
    /// A file was written by a newer version of this program.
    NewerFormat {
        /// The file's name.
        file: String,
        /// The version it names.
        version: u32,
    },
    /// Segments of two different stores lie in one directory.
    Mixed {
        /// A file that does not fit its neighbours.
        file: String,
    },
    /// The disk is full or over quota. Nothing of the batch was kept; a later commit may succeed.
    DiskFull,
    /// The file system is read-only. Nothing of the batch was kept; a later commit may succeed.
    ReadOnly,
    /// A record or batch exceeds its bound; see `MAX_RECORD_BYTES` and `MAX_BATCH_BYTES`.
    TooLarge {
        /// Bytes that were asked for.
        bytes: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// A sync failed earlier: what the device holds is unknown, so nothing more is promised.
    SyncFailed {
        /// What the failed sync said.
        reason: String,
    },
    /// A sync begun with `begin_sync` has not been given back to `finish_sync`.
    SyncOutstanding,
    /// A record's bytes no longer verify. The record is lost.
    Damaged {
        /// The record.
        id: u64,
        /// The file it was in.
        file: String,
        /// Where in the file.
        offset: u64,
    },
    /// No such live record.
    NotFound {
        /// The record.
        id: u64,
    },
    /// The operating system refused for another reason. After a commit: nothing of the batch was
    /// kept.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl StoreError {
    /// True when the same commit may succeed later without reopening the store.
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::DiskFull | StoreError::ReadOnly | StoreError::Io { .. })
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
            _ => StoreError::Io { doing, error },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Locked { holder } => write!(f, "the store is in use by {holder}"),
            StoreError::NewerFormat { file, version } => write!(
                f,
                "{file} has store format {version}, this program reads up to {}",
                crate::FORMAT_VERSION
            ),
            StoreError::Mixed { file } => {
                write!(f, "{file} belongs to another store than the files beside it")
            }
            StoreError::DiskFull => f.write_str("the disk is full"),
            StoreError::ReadOnly => f.write_str("the file system is read-only"),
            StoreError::TooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes are more than the limit of {limit}")
            }
            StoreError::SyncFailed { reason } => {
                write!(f, "a sync failed and the store stopped: {reason}")
            }
            StoreError::SyncOutstanding => f.write_str("an earlier sync has not been finished"),
            StoreError::Damaged { id, file, offset } => {
                write!(f, "record {id:#x} in {file} at {offset} is damaged")
            }
            StoreError::NotFound { id } => write!(f, "no record {id:#x}"),
            StoreError::Io { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
