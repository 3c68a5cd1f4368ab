//! The seed of a random run, which must be known when the run fails.

/// Prints the seed when the run that it stands for panics.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed: {}", self.0);
        }
    }
}
