//! The seam between the store and whatever holds its bytes: one directory of named files.
//! `disk_os.rs` is the real one, `disk_mem.rs` the simulated one. Nothing here knows the log's
//! format.

use std::fmt;
use std::io;

/// One directory of files, as much of it as the store needs.
///
/// Full disks and read-only file systems are reported as `io::ErrorKind::StorageFull`,
/// `QuotaExceeded` and
/// `ReadOnlyFilesystem`; the store treats these as passing.
pub trait Disk: Send + Sync + 'static {
    /// An open file. Closed when dropped.
    type File: DiskFile;
    /// Proof of exclusive ownership. Released when dropped.
    type Lock: Send;

    /// Takes the directory's lock without waiting.
    fn lock(&self) -> Result<Self::Lock, LockError>;
    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file of length 0 for reading and writing, emptying one that exists.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Renames a file. The store never renames onto an existing name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. Open files stay readable.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals survive a power cut.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that can still be written, as far as the file system tells.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset` as far as the file reaches; returns the bytes read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes the file's bytes and length survive a power cut.
    fn sync_data(&self) -> io::Result<()>;
}

/// Why a directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else has it; `holder` is what they wrote into the lock file, e.g. `process 812`.
    Held {
        /// Who holds the lock.
        holder: String,
    },
    /// The lock file could not be used.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { holder } => write!(f, "in use by {holder}"),
            LockError::Io(error) => write!(f, "cannot lock: {error}"),
        }
    }
}

impl std::error::Error for LockError {}
