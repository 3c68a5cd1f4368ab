//! The reserve: a file of zeros that becomes the next segment when the disk is full, so that deaths (which
//! free space in the end) can still be written.

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;

pub(crate) const NAME: &str = "reserve";

const ZEROS: [u8; 64 << 10] = [0; 64 << 10];

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
