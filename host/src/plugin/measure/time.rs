//! Time of something that is done again and again.

use std::time::Duration;

use tokio::time::Instant;

/// Nanoseconds of one message, when `pass` deals with `messages` of them and is done for at least this long.
pub fn nanoseconds(messages: usize, at_least: Duration, mut pass: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut passes = 0_u32;
    loop {
        pass();
        passes = passes.saturating_add(1);
        let elapsed = start.elapsed();
        if elapsed >= at_least {
            return elapsed.as_secs_f64() * 1e9 / f64::from(passes) / messages.max(1) as f64;
        }
    }
}

/// Several measurements of one thing. Other work on the machine makes some of them longer, and none shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// As many lie above as below.
    pub median: f64,
    /// The one that was disturbed least.
    pub least: f64,
}

impl Spread {
    /// Of these; zeros where there are none.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let at = |index: usize| figures.get(index).copied().unwrap_or_default();
        let median = if figures.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) };
        Self { median, least: at(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_the_least() {
        assert_eq!(Spread::of(vec![9.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0 });
        assert_eq!(Spread::of(vec![4.0, 2.0]), Spread { median: 3.0, least: 2.0 });
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn a_pass_is_done_at_least_once() {
        let mut passes = 0;
        assert!(nanoseconds(0, Duration::ZERO, || passes += 1) >= 0.0);
        assert_eq!(passes, 1);
    }
}
