//! Pauses between attempts: doubling, capped, with jitter.

use std::time::Duration;

use crate::lifecycle::Stop;

/// The first pause, before jitter.
pub const FIRST: Duration = Duration::from_millis(100);

/// The longest pause, where nobody says otherwise.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that start at [`FIRST`], double, and never exceed a longest one.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses up to this one.
    #[must_use]
    pub fn new(max: Duration) -> Self {
        Self { next: FIRST.min(max), max }
    }

    /// The next pause: between half and the whole of its step, so that hosts that lost one broker do not return in one wave.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step / 2 + (step / 2).mul_f64(random_fraction())
    }

    /// Starts from the shortest pause again.
    pub fn reset(&mut self) {
        self.next = FIRST.min(self.max);
    }

    /// Waits before the next attempt; false when the stop came first.
    pub async fn wait(&mut self, stop: &Stop) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = tokio::time::sleep(self.pause()) => true,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(LONGEST)
    }
}

/// A number from 0 to 1. Without an operating system's randomness it is 1: only the jitter is lost.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(1.0, |drawn| f64::from(drawn) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_their_jitter_below_it() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let (step, pause) = (Duration::from_millis(step), backoff.pause());
            assert!(pause >= step / 2 && pause <= step, "{pause:?} for {step:?}");
        }
    }

    #[test]
    fn two_hosts_that_lost_one_broker_do_not_pause_alike() {
        let pauses = || {
            let mut backoff = Backoff::new(Duration::from_secs(1));
            std::array::from_fn::<Duration, 16, _>(|_| backoff.pause())
        };
        assert_ne!(pauses(), pauses());
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        assert!((0..10).all(|_| !backoff.pause().is_zero()));
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
