//! Probation: a new generation that refuses much more than the one before is taken back by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::aboard::Tally;
use crate::pipeline::generation::Generation;

/// How often a new generation is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Fewer messages prove nothing.
const MIN_MESSAGES: u64 = 20;

/// A new generation that is being watched.
pub(super) struct Probation {
    generation: Arc<Generation>,
    /// What the generation before refused.
    before: Tally,
    max_error_percent: f64,
    until: Instant,
}

impl Probation {
    /// Watches `generation`, which came after `before`.
    #[must_use]
    pub(super) fn new(generation: Arc<Generation>, before: Tally, max_error_percent: u64, length: Duration) -> Self {
        Self { generation, before, max_error_percent: max_error_percent as f64, until: Instant::now() + length }
    }

    /// Whether it is over.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Why the generation has to go; none as long as it may stay.
    #[must_use]
    pub(super) fn failure(&self) -> Option<String> {
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
