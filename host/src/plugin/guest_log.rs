//! Log lines of a step: few enough, short enough, and under the step's name.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::reason::printable;

/// Longest line, in bytes.
const LINE_BYTES: usize = 1024;
/// Most lines of one step in a second.
const LINES: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The one log of a step: all its instances share the allowance.
#[derive(Debug)]
pub(super) struct GuestLog {
    step: Arc<str>,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

/// What the allowance says to one more line.
#[derive(Debug, PartialEq, Eq)]
enum Allowance {
    /// Write it, after saying how many were left out.
    Write {
        suppressed: u64,
    },
    Suppress,
}

impl GuestLog {
    pub(super) fn new(step: Arc<str>) -> Self {
        Self { step, window: Mutex::new(Window { since: Instant::now(), lines: 0, suppressed: 0 }) }
    }

    /// Writes one line, unless the step has said enough for this second.
    pub(super) fn line(&self, level: Level, line: &str) {
        let Allowance::Write { suppressed } = self.allowance(Instant::now()) else { return };
        let step = &*self.step;
        if suppressed > 0 {
            warn!(step, suppressed, "the step logs more than {LINES} lines a second; the rest was left out");
        }
        let line = printable(line, LINE_BYTES);
        match level {
            Level::Debug => debug!(step, "{line}"),
            Level::Info => info!(step, "{line}"),
            Level::Warn => warn!(step, "{line}"),
            Level::Error => error!(step, "{line}"),
        }
    }

    fn allowance(&self, now: Instant) -> Allowance {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.since) >= WINDOW {
            window.since = now;
            window.lines = 0;
        }
        if window.lines >= LINES {
            window.suppressed += 1;
            return Allowance::Suppress;
        }
        window.lines += 1;
        Allowance::Write { suppressed: std::mem::take(&mut window.suppressed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_write_a_hundred_lines_a_second() {
        let log = GuestLog::new("noisy".into());
        let start = Instant::now();
        for _ in 0..LINES {
            assert_eq!(log.allowance(start), Allowance::Write { suppressed: 0 });
        }
        assert_eq!(log.allowance(start), Allowance::Suppress);
        assert_eq!(log.allowance(start + WINDOW / 2), Allowance::Suppress);
        assert_eq!(log.allowance(start + WINDOW * 2), Allowance::Write { suppressed: 2 });
        assert_eq!(log.allowance(start + WINDOW * 2), Allowance::Write { suppressed: 0 });
    }
}
