//! A progress bar on stderr, only where a person sees it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::print::tell;
use indicatif::{ProgressBar, ProgressStyle};

/// Counts messages. `None` where nobody sees it: the bar asks for the time with each step.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar for `total` messages, or a counter when the number is not known. Hidden unless
    /// `is_wanted`, and unless stderr is a terminal.
    pub fn new(total: Option<u64>, is_wanted: bool) -> Self {
        if !is_wanted || !io::stderr().is_terminal() {
            return Self(None);
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{bar:30} {pos}/{len} {per_sec} {eta}"),
            None => (ProgressBar::new_spinner(), "{spinner} {pos} messages, {per_sec}, {elapsed}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    /// One more message has gone out.
    #[inline]
    pub fn step(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// A line above the bar.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| tell!("{text}")),
            None => tell!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
