//! Reads single frames of the log back, verified. Records that stand behind one another are read
//! through a
//! window, others one by one.

use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::frame::Frame;
use crate::segment::SegmentId;

const WINDOW_BYTES: usize = 256 << 10;

pub(crate) struct LogReader<D: Disk> {
    disk: Arc<D>,
    file: Option<(SegmentId, D::File)>,
    window: Vec<u8>,
    window_at: u64,
    /// Where the last frame ended: in a run the next one is probably there.
    expected: u64,
    /// Many frames will be read and nothing written meanwhile: reading ahead pays.
    run: bool,
}

impl<D: Disk> LogReader<D> {
    pub(crate) fn new(disk: Arc<D>) -> LogReader<D> {
        LogReader { disk, file: None, window: Vec::new(), window_at: 0, expected: 0, run: false }
    }

    /// The frame of `bytes` bytes at `offset`, `None` when it does not verify.
    pub(crate) fn frame(
        &mut self,
        segment: SegmentId,
        offset: u64,
        bytes: usize,
    ) -> Result<Option<Frame<'_>>, StoreError> {
        self.open(segment)?;
        let end = offset + bytes as u64;
        let inside = self.window_at <= offset && end <= self.window_at + self.window.len() as u64;
        if !inside {
            let ahead = self.expected..self.expected + WINDOW_BYTES as u64;
            let follows = self.run && ahead.contains(&offset);
            let size = if follows { bytes.max(WINDOW_BYTES) } else { bytes };
            self.fill(offset, size)?;
        }
        self.expected = end;
        let at = (offset - self.window_at) as usize;
        let window = &self.window[..self.window.len().min(at + bytes)];
        Ok(Frame::decode(window, at, offset, segment.seed()))
    }

    /// From here on many frames are read (true) or single ones between writes (false).
    pub(crate) fn set_run(&mut self, run: bool) {
        self.run = run;
        self.window.clear();
    }

    /// Lets go of the file of a segment, because it is about to be removed or reused.
    pub(crate) fn close(&mut self) {
        self.window.clear();
        self.file = None;
    }

    fn open(&mut self, segment: SegmentId) -> Result<(), StoreError> {
        if self.file.as_ref().is_none_or(|(open, _)| *open != segment) {
            let file = self.disk.open(&segment.file_name()).map_err(StoreError::io("opening"))?;
            self.file = Some((segment, file));
            self.window.clear();
            self.expected = 0;
        }
        Ok(())
    }

    fn fill(&mut self, offset: u64, bytes: usize) -> Result<(), StoreError> {
        let Some((_, file)) = &self.file else { return Ok(()) };
        self.window.resize(bytes, 0);
        self.window_at = offset;
        match file.read_at(offset, &mut self.window) {
            Ok(read) => {
                self.window.truncate(read);
                Ok(())
            }
            Err(error) => {
                self.window.clear();
                Err(StoreError::io("reading")(error))
            }
        }
    }
}
