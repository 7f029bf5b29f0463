//! The last reloads of a pipeline, and their counts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Event, Verdict};
use crate::telemetry::{Counter, Telemetry, Timer};

/// How many are kept.
const KEPT: usize = 100;

/// The last reloads. Cheap to clone; the clones are one history.
#[derive(Clone, Debug)]
pub struct History {
    telemetry: Telemetry,
    events: Arc<Mutex<VecDeque<Event>>>,
}

impl History {
    /// An empty one, which counts in this telemetry.
    #[must_use]
    pub fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, events: Arc::default() }
    }

    /// The last reloads, oldest first: 100 at most.
    #[must_use]
    pub fn list(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Keeps an event, and counts it.
    pub fn push(&self, event: Event) {
        self.count(&event);
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// Counts an event without keeping it: nothing came of it.
    pub(super) fn count(&self, event: &Event) {
        let labels = [("outcome", event.outcome.name()), ("trigger", event.trigger.name())];
        self.telemetry.count(Counter::Reloads, &labels, 1);
        for gate in event.gates.iter().filter(|gate| gate.verdict == Verdict::Refused) {
            self.telemetry.count(Counter::GateRefusals, &[("gate", gate.gate.name())], 1);
        }
        let took = Duration::try_from_secs_f64(event.millis / 1000.0).unwrap_or_default();
        self.telemetry.time(Timer::ReloadSeconds, took);
        if let Some(pause) = event.swap.as_ref().and_then(|swap| swap.pause) {
            self.telemetry.time(Timer::SwapPauseSeconds, Duration::from_micros(pause.max_micros));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::reload::{Gate, GateResult, Outcome, Pause, Swap, Trigger};

    fn refused(number: u64) -> Event {
        let gate = GateResult { gate: Gate::Tests, verdict: Verdict::Refused, millis: 1.0, details: Vec::new() };
        Event {
            pipeline: "p".to_owned(),
            at: String::new(),
            trigger: Trigger::File,
            outcome: Outcome::Refused,
            from: number,
            to: number,
            reason: None,
            changes: Vec::new(),
            gates: vec![gate],
            swap: None,
            millis: 3.0,
        }
    }

    #[test]
    fn the_last_hundred_are_kept_and_all_are_counted() {
        let telemetry = Telemetry::default();
        let history = History::new(telemetry.clone());
        (0..150).for_each(|number| history.push(refused(number)));
        let numbers: Vec<u64> = history.list().iter().map(|event| event.from).collect();
        assert_eq!(numbers, (50..150).collect::<Vec<_>>());
        let text = telemetry.exposition([]);
        for line in [
            "tidegate_reloads_total{pipeline=\"pipeline\",outcome=\"refused\",trigger=\"file\"} 150",
            "tidegate_gate_refusals_total{pipeline=\"pipeline\",gate=\"tests\"} 150",
            "tidegate_reload_seconds_count{pipeline=\"pipeline\"} 150",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
    #[test]
    fn the_longest_pause_of_a_swap_is_timed_and_an_idle_swap_has_none() {
        let telemetry = Telemetry::default();
        let history = History::new(telemetry.clone());
        let pause = Pause { workers: 2, p50_micros: 10, p99_micros: 900, max_micros: 1000 };
        let swapped = |pause| Event { outcome: Outcome::Swapped, swap: Some(Swap { pause, ..Swap::default() }), ..refused(1) };
        history.push(swapped(Some(pause)));
        history.push(swapped(None));
        let text = telemetry.exposition([]);
        assert!(text.contains("tidegate_swap_pause_seconds_sum{pipeline=\"pipeline\"} 0.001\n"), "{text}");
        assert!(text.contains("tidegate_swap_pause_seconds_count{pipeline=\"pipeline\"} 1\n"), "{text}");
    }

    #[test]
    fn a_time_that_is_none_is_no_panic() {
        let history = History::new(Telemetry::default());
        history.push(Event { millis: f64::NAN, ..refused(1) });
        assert_eq!(history.list().len(), 1);
    }
}
