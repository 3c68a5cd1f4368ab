//! A durable store for opaque records: a segmented append-only log behind a small [`Disk`] trait.
//!
//! Records have a caller-chosen [`RecordId`] and a body. [`Store::put`] and [`Store::kill`] stage
//! changes,
//! [`Store::commit`] hands them to the disk as one atomic batch, [`Store::sync`] makes everything
//! committed
//! survive a power cut. The byte format is drawn in `docs/store-format.md`. The store knows
//! nothing of what
//! the records mean, reads no clock and starts no thread.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

mod backup;
mod commit;
mod disk;

pub mod disk_mem;
mod disk_os;
mod error;
mod frame;
mod index;
mod log_reader;
mod open;
mod report;
mod reserve;
mod rewrite;
mod scan;
mod segment;
mod store;
mod sync;

pub use backup::Snapshot;
pub use disk::{Disk, DiskFile, LockError};

pub use disk_mem::{DiskMem, PowerCut};
pub use disk_os::DiskOs;
pub use error::StoreError;
pub use report::{Hole, HoleKind, OpenReport, Stats, TornTail};
pub use segment::FORMAT_VERSION;
pub use store::{
    Change, Committed, MAX_BATCH_BYTES, MAX_RECORD_BYTES, Mode, Options, RecordId, Store,
};
pub use sync::{SyncDone, SyncJob};
