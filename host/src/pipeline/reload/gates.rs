//! The gates that a change has passed so far, with what each said and how long it took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Gate, GateResult, Verdict};

/// The record of one change on its way through the gates.
#[derive(Debug, Default)]
pub struct Gates {
    took: BTreeMap<Gate, Duration>,
    results: Vec<GateResult>,
}

impl Gates {
    /// Does a part of a gate's work, and counts its time.
    pub fn time<T>(&mut self, gate: Gate, work: impl FnOnce() -> T) -> T {
        let begun = now();
        let done = work();
        self.spend(gate, begun.elapsed());
        done
    }

    /// Counts time for a gate.
    pub fn spend(&mut self, gate: Gate, took: Duration) {
        *self.took.entry(gate).or_default() += took;
    }

    /// Notes what a gate said.
    pub fn note(&mut self, gate: Gate, verdict: Verdict, details: Vec<String>) {
        let millis = self.took.get(&gate).copied().unwrap_or_default().as_secs_f64() * 1000.0;
        self.results.push(GateResult { gate, verdict, millis, details });
    }

    /// Notes that a gate let it pass.
    pub fn pass(&mut self, gate: Gate) {
        self.note(gate, Verdict::Passed, Vec::new());
    }

    /// Notes what a gate found that `force` may overrule: nothing to look at, nothing wrong, or reasons against. Says whether to go on.
    #[must_use]
    pub fn decide(&mut self, gate: Gate, against: Option<Vec<String>>, force: bool) -> bool {
        match against {
            None => self.note(gate, Verdict::Skipped, Vec::new()),
            Some(reasons) if reasons.is_empty() => self.pass(gate),
            Some(reasons) => self.note(gate, if force { Verdict::Forced } else { Verdict::Refused }, reasons),
        }
        self.results.last().is_none_or(|result| result.verdict != Verdict::Refused)
    }

    /// Every gate that was reached, in order.
    #[must_use]
    pub fn into_results(self) -> Vec<GateResult> {
        self.results
    }

    /// Why it was refused: the first reason of the gate that said no.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let refused = self.results.iter().find(|result| result.verdict == Verdict::Refused)?;
        let first = refused.details.first().map_or("", String::as_str);
        let more = refused.details.len().saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        Some(format!("the gate {} refused: {first}{more}", refused.gate))
    }
}

/// Compiling takes real time, off the async threads; paused clocks of tests are of no use there.
#[expect(clippy::disallowed_methods, reason = "a duration that is only shown, measured on a blocking thread")]
pub(in crate::pipeline) fn now() -> Instant {
    Instant::now()
}
