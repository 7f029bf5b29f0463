//! Probation: a new generation that refuses much more than the one before is taken back by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::aboard::Tally;
use crate::pipeline::generation::Generation;

/// How often a new generation is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Fewer messages prove nothing.
const MIN_MESSAGES: u64 = 20;

/// A new generation that is being watched.
pub(super) struct Probation {
    generation: Arc<Generation>,
    /// What the generation before refused.
    before: Tally,
    max_error_percent: f64,
    until: Instant,
    next_look: Instant,
}

impl Probation {
    /// Watches `generation`, which came after `before`.
    #[must_use]
    pub(super) fn new(generation: Arc<Generation>, before: Tally, max_error_percent: u64, length: Duration) -> Self {
        let now = Instant::now();
        let max_error_percent = max_error_percent as f64;
        Self { generation, before, max_error_percent, until: now + length, next_look: now + LOOK }
    }

    /// Whether it is over.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// When it is to be looked at next.
    #[must_use]
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Why the generation has to go; none as long as it may stay.
    #[must_use]
    pub(super) fn failure(&mut self) -> Option<String> {
        self.next_look = Instant::now() + LOOK;
        let now = self.generation.meter.tally();
        let (refused, before) = (now.percent(), self.before.percent());
        let is_worse = now.began >= MIN_MESSAGES && refused > before + self.max_error_percent;
        is_worse.then(|| {
            format!(
                "on probation generation {} refused {} of {} messages ({refused:.1} %), the one before {before:.1} %",
                self.generation.number, now.refused, now.began
            )
        })
    }
}
