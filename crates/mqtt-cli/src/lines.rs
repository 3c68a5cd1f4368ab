//! Lines of stdin or a file, of any length, read on a thread of their own and handed over in
//! batches.

use std::io::{self, Read};
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Bytes asked for in one read.
const READ_BYTES: usize = 64 * 1024;

/// Batches that wait before the reading thread has to.
const BATCHES_MAX: usize = 8;

/// A reading thread.
#[derive(Debug)]
pub struct Lines {
    batches: mpsc::Receiver<io::Result<Vec<Bytes>>>,
    batch: std::vec::IntoIter<Bytes>,
}

impl Lines {
    /// Starts reading.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub fn of(input: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        thread::Builder::new().name("lines".to_owned()).spawn(move || {
            // The receiver is gone when the tool is about to end.
            let _ = read(input, |batch| sender.blocking_send(batch).is_ok());
        })?;
        Ok(Self { batches, batch: Vec::new().into_iter() })
    }

    /// The next line without its newline; `None` at the end. A last line without a newline counts.
    ///
    /// # Errors
    /// Reading failed.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(line) = self.batch.next() {
                return Ok(Some(line));
            }
            match self.batches.recv().await {
                Some(batch) => self.batch = batch?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// Reads until the end or until `give` says that nobody listens.
fn read(mut input: impl Read, give: impl Fn(io::Result<Vec<Bytes>>) -> bool) -> Option<()> {
    let mut rest = BytesMut::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let count = match input.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                give(Err(error));
                return None;
            }
        };
        if count == 0 {
            if !rest.is_empty() {
                give(Ok(vec![rest.freeze()]));
            }
            return Some(());
        }
        // Only the new bytes can hold a newline.
        let mut searched = rest.len();
        rest.extend_from_slice(&chunk[..count]);
        let mut batch = Vec::new();
        while let Some(at) = rest[searched..].iter().position(|&byte| byte == b'\n') {
            let line = rest.split_to(searched + at + 1);
            batch.push(line.freeze().slice(..searched + at));
            searched = 0;
        }
        if !batch.is_empty() && !give(Ok(batch)) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Gives its bytes in pieces of a fixed size.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    fn lines(text: &[u8], piece: usize) -> Vec<Bytes> {
        let all = RefCell::new(Vec::new());
        read(Pieces(text.to_vec(), piece), |batch| {
            all.borrow_mut().extend(batch.unwrap());
            true
        });
        all.into_inner()
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        for piece in 1..12 {
            assert_eq!(
                lines(b"a\n\nlonger line\r\nlast", piece),
                ["a", "", "longer line\r", "last"]
            );
            assert_eq!(lines(b"end\n", piece), ["end"]);
            assert_eq!(lines(b"", piece), [""; 0]);
            assert_eq!(lines(b"\n", piece), [""]);
        }
    }

    #[test]
    fn a_line_may_be_longer_than_the_buffer() {
        let long = vec![b'x'; READ_BYTES * 3];
        assert_eq!(lines(&long, usize::MAX), [Bytes::from(long.clone())]);
    }
}
