//! Waiting for a condition, with an end.

use std::thread;
use std::time::{Duration, Instant};

use crate::{Failure, Result};

/// A moment after which nobody waits any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    began: Instant,
    longest: Duration,
}

impl Deadline {
    /// Ends this long from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "real processes run by the real clock")]
    pub fn after(longest: Duration) -> Self {
        Self { began: Instant::now(), longest }
    }

    /// How long it has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.elapsed() >= self.longest
    }
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// Fails after `longest`, naming `what` was waited for, or at once when the question fails.
pub fn wait_for<T>(what: &str, longest: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Deadline::after(longest);
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if deadline.is_over() {
            return Err(Failure::new(format!("waited {longest:?} for {what}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
