//! The password file on disk: read without following a symbolic link, locked against a second
//! instance, replaced in one step with its mode and owner kept. What stands in it is `run.rs`.
//!
//! The lock is on the folder: the file itself is replaced, so a lock on it would end half-way, and
//! a lock file would have to stay behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::failure::Failure;

/// Mode of a new file: its owner may read and write.
const NEW_FILE_MODE: u32 = 0o600;
/// How long to wait for another instance. It holds the lock for milliseconds, longer only while
/// `-U` hashes many users, and never while it asks for a password.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A place for a password file, which may exist or not. Its folder exists.
pub(crate) struct Place {
    path: PathBuf,
    folder_path: PathBuf,
    folder: File,
}

/// A file that exists.
pub(crate) struct Existing {
    pub(crate) contents: String,
    metadata: fs::Metadata,
}

impl Place {
    pub(crate) fn new(path: PathBuf) -> Result<Self, Failure> {
        let folder_path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folder =
            File::open(&folder_path).map_err(|error| Failure::io("open", &folder_path, error))?;
        Ok(Self { path, folder_path, folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same place with `.backup` behind the file's name.
    pub(crate) fn backup_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".backup");
        PathBuf::from(name)
    }

    /// Keeps other instances out until this place is dropped.
    pub(crate) fn lock(&self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            match flock(&self.folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_WAIT => {
                    thread::sleep(LOCK_RETRY);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Failure::Locked(self.path.clone()));
                }
                Err(error) => return Err(Failure::io("lock", &self.folder_path, error.into())),
            }
        }
    }

    /// The file, or `None` when there is none.
    pub(crate) fn read(&self) -> Result<Option<Existing>, Failure> {
        let path = &self.path;
        // NONBLOCK, so that opening a FIFO returns and can be refused.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).expect("open flags of Unix fit a C int");
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) => {
                return match (fs::read_link(path), error.kind()) {
                    (Ok(target), _) => Err(Failure::SymbolicLink { path: path.clone(), target }),
                    (Err(_), io::ErrorKind::NotFound) => Ok(None),
                    (Err(_), _) => Err(Failure::io("read", path, error)),
                };
            }
        };
        let metadata = file.metadata().map_err(|error| Failure::io("read", path, error))?;
        if !metadata.is_file() {
            return Err(Failure::NotAFile(path.clone()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| Failure::io("read", path, error))?;
        let contents = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            Failure::NotUtf8 { path: path.clone(), line }
        })?;
        Ok(Some(Existing { contents, metadata }))
    }

    /// Puts new contents in the file's place: after a crash at any moment there is the old file or
    /// the new one, whole.
    pub(crate) fn write(&self, contents: &str, old: Option<&Existing>) -> Result<(), Failure> {
        self.replace(&self.path, contents, old)
    }

    /// Keeps the old file's contents beside it, with the same mode and owner.
    pub(crate) fn write_backup(&self, old: &Existing) -> Result<(), Failure> {
        self.replace(&self.backup_path(), &old.contents, Some(old))
    }

    fn replace(&self, path: &Path, contents: &str, old: Option<&Existing>) -> Result<(), Failure> {
        let failed = |error| Failure::io("write", path, error);
        let (mut file, temporary) = Temporary::create(&self.folder_path)?;
        if let Some(Existing { metadata, .. }) = old {
            let new = file.metadata().map_err(failed)?;
            if (new.uid(), new.gid()) != (metadata.uid(), metadata.gid()) {
                fchown(&file, Some(metadata.uid()), Some(metadata.gid()))
                    .map_err(|error| Failure::KeepOwner { path: path.to_owned(), error })?;
            }
            let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
            file.set_permissions(mode).map_err(failed)?;
        }
        file.write_all(contents.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        temporary.rename(path).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Failure::MountPoint(path.to_owned()),
            _ => failed(error),
        })?;
        self.folder.sync_all().map_err(failed)
    }
}

impl Existing {
    /// True when users other than owner and group may read the file.
    pub(crate) fn is_open_to_others(&self) -> bool {
        self.metadata.mode() & 0o004 != 0
    }
}

/// A file that vanishes unless it is renamed.
struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    fn create(folder: &Path) -> Result<(File, Self), Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Failure::NoRandomness)?;
        let name = format!(".mqtt-passwd.{:016x}.tmp", u64::from_ne_bytes(random));
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(NEW_FILE_MODE).open(&path);
        let file = file.map_err(|error| Failure::io("write in", folder, error))?;
        Ok((file, Self { path: Some(path) }))
    }

    fn rename(mut self, to: &Path) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        fs::rename(path, to)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The failure that led here is what the user is told about.
            let _ = fs::remove_file(path);
        }
    }
}
