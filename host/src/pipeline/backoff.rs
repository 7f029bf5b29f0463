//! Pauses between attempts: doubling, capped, with jitter so that many hosts do not come back at once.

use std::time::Duration;

use crate::lifecycle::Stop;

/// The first pause.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Counts attempts and waits between them.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The pause before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        full.mul_f64(0.5 + jitter() / 2.0)
    }

    /// Waits before the next attempt; false when the stop came first.
    pub(super) async fn wait(&mut self, stop: &Stop) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = tokio::time::sleep(self.next()) => true,
        }
    }
}

/// A number from 0 to 1. Without randomness, the middle.
fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2, "{:?}", pauses[0]);
        assert!(pauses[19] <= LONGEST && pauses[19] >= LONGEST / 2, "{:?}", pauses[19]);
    }
}
