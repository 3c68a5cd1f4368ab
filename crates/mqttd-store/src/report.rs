//! What the store tells about itself: what it found when it was opened, and its running numbers.

use std::fmt;

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments that count.
    pub segments: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// Live records handed over.
    pub records: u64,
    /// Batches applied.
    pub batches: u64,
    /// Sequence number of the last batch found; commits go on behind it.
    pub lsn: u64,
    /// The end of the log that was cut, if its last batch was not whole.
    pub torn: Option<TornTail>,
    /// Damage and gaps elsewhere, in log order. Empty after any clean stop and after any crash of
    /// the process.
    pub holes: Vec<Hole>,
}

/// A last batch that had not been written whole. Nothing of it was synced, and nothing of it was
/// kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub file: String,
    /// Where the cut batch began.
    pub offset: u64,
    /// Bytes cut.
    pub bytes: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TornTail { file, offset, bytes } = self;
        write!(f, "{file}: cut {bytes} bytes at {offset}, a batch that was not written whole")
    }
}

/// A place of the log that does not verify, or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The segment file.
    pub file: String,
    /// First damaged byte.
    pub offset: u64,
    /// Damaged bytes; 0 when it is a whole file or a run of batches that is missing.
    pub bytes: u64,
    /// What is gone.
    pub kind: HoleKind,
}

/// What a hole took with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoleKind {
    /// Part of a batch whose extent is known: `lost` of its `of` frames; the others were kept.
    Frames {
        /// Sequence number of the batch.
        batch: u64,
        /// Frames that did not verify.
        lost: u32,
        /// Frames the batch had.
        of: u32,
    },
    /// The beginning of a batch, perhaps whole batches; `kept` frames in the neighbourhood were
    /// kept.
    Batches {
        /// Frames that verified.
        kept: u32,
    },
    /// The segment's header only; its records were read without it.
    Header,
    /// Batches `first..=last` are nowhere.
    Missing {
        /// First missing sequence number.
        first: u64,
        /// Last missing sequence number.
        last: u64,
    },
    /// The whole segment file is missing.
    Segment,
    /// The file's header names another segment than its name does: renamed by somebody. It was
    /// left alone.
    Misnamed {
        /// The number in its header.
        says: u64,
    },
    /// Records that verified at opening no longer did when they were needed.
    Records {
        /// How many.
        lost: u32,
    },
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AFTER: &str = "records are lost, killed or older ones may have come back";
        let Hole { file, offset, bytes, kind } = self;
        match kind {
            HoleKind::Frames { batch, lost, of } => write!(
                f,
                "{file}: {bytes} damaged bytes at {offset}, {lost} of {of} frames of batch \
                 {batch}: {AFTER}"
            ),
            HoleKind::Batches { kept } => write!(
                f,
                "{file}: {bytes} damaged bytes at {offset}, {kept} frames around them kept: {AFTER}"
            ),
            HoleKind::Header => {
                write!(f, "{file}: damaged header, its records were read without it")
            }
            HoleKind::Missing { first, last } => {
                write!(f, "{file}: batches {first} to {last} are missing before {offset}: {AFTER}")
            }
            HoleKind::Segment => write!(f, "{file}: the file is missing: {AFTER}"),
            HoleKind::Misnamed { says } => {
                write!(f, "{file}: is segment {says} by its header, was not read")
            }
            HoleKind::Records { lost } => {
                write!(f, "{file}: {lost} records became unreadable and are lost")
            }
        }
    }
}

/// Running numbers of a store. Counters start at 0 when it is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records alive now, staged ones included.
    pub live_records: u64,
    /// Bytes of log that hold them.
    pub live_bytes: u64,
    /// Bytes of log in use, dead ones included.
    pub log_bytes: u64,
    /// Segments in use.
    pub segments: u64,
    /// Bytes of record bodies the caller put.
    pub caller_bytes: u64,
    /// Bytes handed to the disk: frames, headers, fillings, copies.
    pub written_bytes: u64,
    /// Of these, survivors copied forward.
    pub rewritten_bytes: u64,
    /// Batches the caller committed.
    pub commits: u64,
    /// Commits that were refused.
    pub refused: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Records lost because their bytes no longer verified.
    pub damaged_records: u64,
}

impl Stats {
    /// Bytes written per byte the caller put; `None` before the first put.
    pub fn write_amplification(&self) -> Option<f64> {
        (self.caller_bytes > 0).then(|| self.written_bytes as f64 / self.caller_bytes as f64)
    }
}
