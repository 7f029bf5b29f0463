//! Progress of long work: a spinner on a terminal, nothing elsewhere, where the log says what was done.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says what is being done, and goes away when dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Starts a line. Without a terminal it draws nothing.
    pub(super) fn start(what: impl Into<String>) -> Self {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner()).with_message(what.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Says how far it is.
    pub(super) fn tell(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
