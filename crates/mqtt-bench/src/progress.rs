//! Progress on a terminal; nothing anywhere else.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that tells how far the run is.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows something if that is wanted and stderr is a terminal.
    pub(crate) fn new(is_wanted: bool) -> Self {
        let is_shown = is_wanted && stderr().is_terminal();
        Self { bar: if is_shown { ProgressBar::no_length() } else { ProgressBar::hidden() } }
    }

    /// Something new begins; `goal` is where it ends, if that is known.
    pub(crate) fn begin(&self, what: &'static str, goal: Option<u64>) {
        let template = match goal {
            Some(_) => "{msg} [{bar:30}] {human_pos}/{human_len} {per_sec} {eta}",
            None => "{msg} {spinner} {human_pos} {per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        match goal {
            Some(goal) => self.bar.set_length(goal),
            None => self.bar.unset_length(),
        }
        self.bar.reset();
        self.bar.set_message(what);
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    /// So far.
    pub(crate) fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Gone without a trace.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
