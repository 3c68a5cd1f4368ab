//! A segmented append-only log behind a small disk trait.
