//! The reserve: a file of zeros that becomes the next segment when the disk is full, so that
//! deaths (which
//! free space in the end) can still be written.

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;

pub(crate) const NAME: &str = "reserve";

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What there is of a reserve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reserve {
    #[default]
    Missing,
    Ready,
    /// A file of that name with other bytes than zeros in it: never used, replaced by a new one.
    Spoilt,
}

/// Looks at the reserve. Its bytes may be those of a segment whose name did not reach the device.
pub(crate) fn inspect<D: Disk>(disk: &D) -> Result<Reserve, StoreError> {
    let file = disk.open(NAME).map_err(StoreError::io("opening"))?;
    let mut buf = vec![0; ZEROS.len()];
    let mut at = 0;
    loop {
        let read = file.read_at(at, &mut buf).map_err(StoreError::io("reading"))?;
        if read == 0 {
            return Ok(if at > 0 { Reserve::Ready } else { Reserve::Spoilt });
        }
        if buf[..read] != ZEROS[..read] {
            return Ok(Reserve::Spoilt);
        }
        at += read as u64;
    }
}

/// Makes the reserve of `bytes` bytes. On failure nothing of it stays.
pub(crate) fn create<D: Disk>(disk: &D, bytes: u64) -> Result<(), StoreError> {
    zero_filled(disk, NAME, bytes).map(|_| ())
}

/// Makes a file of `bytes` zeros whose space is taken. On failure nothing of it stays.
pub(crate) fn zero_filled<D: Disk>(
    disk: &D,
    name: &str,
    bytes: u64,
) -> Result<D::File, StoreError> {
    let file = disk.create(name).map_err(StoreError::io("creating"))?;
    let mut at = 0;
    while at < bytes {
        let part = &ZEROS[..(bytes - at).min(ZEROS.len() as u64) as usize];
        if let Err(error) = file.write_at(at, part) {
            drop(file);
            let _ = disk.remove(name);
            return Err(StoreError::io("filling a new file")(error));
        }
        at += part.len() as u64;
    }
    Ok(file)
}
