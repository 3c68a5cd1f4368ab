//! The real disk: a directory of the operating system. Files are made readable for their owner
//! only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, fstatvfs};

use crate::disk::{Disk, DiskFile, LockError};

const LOCK_NAME: &str = "lock";

/// A directory of the operating system.
#[derive(Debug)]
pub struct DiskOs {
    path: PathBuf,
    dir: File,
}

impl DiskOs {
    /// Opens the directory at `path`, making it (and its parents) when it does not exist.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<DiskOs> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        let dir = File::open(&path)?;
        Ok(DiskOs { path, dir })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    }
}

impl Disk for DiskOs {
    type File = File;
    type Lock = File;

    fn lock(&self) -> Result<File, LockError> {
        let path = self.path.join(LOCK_NAME);
        let open = DiskOs::options().create(true).truncate(false).open(path);
        let mut file = open.map_err(LockError::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = (&mut file).take(64).read_to_string(&mut text);
                let pid = text.trim();
                let known = read.is_ok() && !pid.is_empty();
                let holder =
                    if known { format!("process {pid}") } else { "another process".into() };
                return Err(LockError::Held { holder });
            }
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        // The text only informs whoever comes second, so a full disk must not keep the first one
        // out.
        let _ = file.set_len(0);
        let _ = file.write_all(format!("{}\n", std::process::id()).as_bytes());
        Ok(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        DiskOs::options().create(true).truncate(true).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        match DiskOs::options().open(&path) {
            // A store on a read-only file system can still be read.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            opened => opened,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match FileExt::read_at(self, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
