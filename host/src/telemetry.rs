//! What is counted, and which stage is up. A series outlives generations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter as Cell;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use crate::ledger::Balance;

/// What the host counts beside the ledger. The last word is the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Messages that a step rejected. Labels: step, code.
    RejectedMessages,
    /// Calls of a step that ended in a trap, a deadline, a limit or a nonsensical answer. Labels: step, fault.
    StepFaults,
    /// Messages that went on although their step failed, because of `on_error = "pass"`. Labels: step.
    PassedMessages,
    /// Rows that a sink already had, by message id. Labels: sink.
    DuplicateMessages,
    /// Messages published to nobody: Redis counted no receiver. Labels: sink.
    UnheardMessages,
    /// Messages let go by `on_failure = "discard"`. Labels: sink.
    DiscardedMessages,
    /// Writes that failed and were tried again or parked. Labels: stage, code.
    StageFailures,
    /// Connections that a stage opened. Labels: stage.
    StageConnects,
    /// Parked messages that the sink took later. Labels: sink.
    RecoveredMessages,
    /// Reloads that were tried. Labels: outcome, trigger.
    Reloads,
    /// Reloads that a gate refused. Labels: gate.
    GateRefusals,
}

impl Counter {
    /// Every counter, for `/metrics`.
    pub const ALL: [Self; 11] = [
        Self::RejectedMessages,
        Self::StepFaults,
        Self::PassedMessages,
        Self::DuplicateMessages,
        Self::UnheardMessages,
        Self::DiscardedMessages,
        Self::StageFailures,
        Self::StageConnects,
        Self::RecoveredMessages,
        Self::Reloads,
        Self::GateRefusals,
    ];

    /// Name (without `tidegate_` and `_total`) and help on `/metrics`.
    #[must_use]
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::RejectedMessages => ("rejected_messages", "Messages that a step rejected"),
            Self::StepFaults => ("step_faults", "Calls of a step that trapped, ran out of time or memory, or answered nonsense"),
            Self::PassedMessages => ("passed_messages", "Messages that went on although their step failed (on_error = pass)"),
            Self::DuplicateMessages => ("duplicate_messages", "Rows that a sink already had, by message id"),
            Self::UnheardMessages => ("unheard_messages", "Messages published to no receiver"),
            Self::DiscardedMessages => ("discarded_messages", "Messages let go by on_failure = discard"),
            Self::StageFailures => ("stage_failures", "Writes that failed and were tried again or parked"),
            Self::StageConnects => ("stage_connects", "Connections that a stage opened"),
            Self::RecoveredMessages => ("recovered_messages", "Parked messages that the sink took later"),
            Self::Reloads => ("reloads", "Reloads that were tried"),
            Self::GateRefusals => ("gate_refusals", "Reloads that a gate refused"),
        }
    }
}

/// What the host times. The last word is the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The longest wait of a worker's first batch on a new generation, one observation a swap.
    SwapPauseSeconds,
    /// From what asked for a reload to its end.
    ReloadSeconds,
}

impl Timer {
    /// Every timer, for `/metrics`.
    pub const ALL: [Self; 2] = [Self::SwapPauseSeconds, Self::ReloadSeconds];

    /// Name (without `tidegate_`) and help on `/metrics`.
    #[must_use]
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::SwapPauseSeconds => ("swap_pause_seconds", "Longest wait of a worker's first batch on a new generation"),
            Self::ReloadSeconds => ("reload_seconds", "From what asked for a reload to its end"),
        }
    }

    /// An empty one, with buckets for what it times.
    fn series(self) -> Timings {
        Family::new_with_constructor(match self {
            // From a microsecond to 4 seconds, by fours.
            Self::SwapPauseSeconds => || Histogram::new(exponential_buckets(0.000_001, 4.0, 12)),
            // From a millisecond to 17 minutes, by fours: plugins may be compiled first, and stages drained.
            Self::ReloadSeconds => || Histogram::new(exponential_buckets(0.001, 4.0, 11)),
        })
    }
}

type Labels = Vec<(String, String)>;
type Timings = Family<Labels, Histogram, fn() -> Histogram>;

/// The series of the process. They outlive generations.
#[derive(Debug)]
struct Families {
    counters: Vec<(Counter, Family<Labels, Cell>)>,
    timers: Vec<(Timer, Timings)>,
    generations: Family<Labels, Gauge>,
}

/// Counters and health of one pipeline. Cheap to clone; the counters are those of the whole process, labelled by pipeline.
#[derive(Clone, Debug)]
pub struct Telemetry {
    pipeline: Arc<str>,
    families: Arc<Families>,
    stages: Arc<Mutex<BTreeMap<String, Health>>>,
    /// Sinks that have messages on their parking queues.
    parked: Arc<Mutex<BTreeSet<String>>>,
}

/// Whether a stage can do its work now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum Health {
    /// It has not connected yet.
    Starting,
    /// It works.
    Up,
    /// It does not, and why.
    Down(String),
}

impl Default for Telemetry {
    fn default() -> Self {
        let counters = Counter::ALL.iter().map(|counter| (*counter, Family::default())).collect();
        let timers = Timer::ALL.iter().map(|timer| (*timer, timer.series())).collect();
        let families = Families { counters, timers, generations: Family::default() };
        Self { pipeline: "pipeline".into(), families: Arc::new(families), stages: Arc::default(), parked: Arc::default() }
    }
}

impl Telemetry {
    /// The same counters, labelled with this pipeline; its stages are its own.
    #[must_use]
    pub fn of_pipeline(&self, name: &str) -> Self {
        Self { pipeline: name.into(), families: Arc::clone(&self.families), stages: Arc::default(), parked: Arc::default() }
    }

    /// Adds to a counter. Label values must be names or codes, never content.
    pub fn count(&self, counter: Counter, labels: &[(&str, &str)], by: u64) {
        if by == 0 {
            return;
        }
        let all = [("pipeline", &*self.pipeline)].into_iter().chain(labels.iter().copied());
        let labels: Labels = all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        if let Some((_, family)) = self.families.counters.iter().find(|(known, _)| *known == counter) {
            family.get_or_create(&labels).inc_by(by);
        }
    }

    /// Adds an observation to a timer.
    pub fn time(&self, timer: Timer, took: Duration) {
        let labels = vec![("pipeline".to_owned(), self.pipeline.to_string())];
        if let Some((_, family)) = self.families.timers.iter().find(|(known, _)| *known == timer) {
            family.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// Notes which generation new batches begin on.
    pub fn set_generation(&self, number: u64) {
        let labels = vec![("pipeline".to_owned(), self.pipeline.to_string())];
        self.families.generations.get_or_create(&labels).set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Notes how a stage is, e.g. `source.rabbitmq` or `sinks.history`. Says whether that is news.
    pub fn set_health(&self, stage: &str, health: Health) -> bool {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if stages.get(stage) == Some(&health) {
            return false;
        }
        stages.insert(stage.to_owned(), health);
        true
    }

    /// Notes whether messages are parked for a sink.
    pub fn set_parked(&self, sink: &str, is_parked: bool) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        match is_parked {
            true => parked.insert(sink.to_owned()),
            false => parked.remove(sink),
        };
    }

    /// Whether messages are parked for a sink, as far as is known.
    #[must_use]
    pub fn is_parked(&self, sink: &str) -> bool {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).contains(sink)
    }

    /// Forgets a stage that is gone.
    pub fn forget_stage(&self, stage: &str) {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).remove(stage);
    }

    /// How every stage is.
    #[must_use]
    pub fn stages(&self) -> BTreeMap<String, Health> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters, and each pipeline's ledger, in the Prometheus text format.
    #[must_use]
    pub fn exposition<'a>(&self, ledgers: impl IntoIterator<Item = (&'a str, Balance)>) -> String {
        let mut registry = Registry::with_prefix("tidegate");
        for (timer, family) in &self.families.timers {
            let (name, help) = timer.describe();
            registry.register(name, help, family.clone());
        }
        for (counter, family) in &self.families.counters {
            let (name, help) = counter.describe();
            registry.register(name, help, family.clone());
        }
        registry.register("generation", "Generation that new batches begin on", self.families.generations.clone());
        let book = Book::of(ledgers);
        registry.register("ledger_messages", "Messages of a pipeline: received = acked + returned + in flight", book.messages);
        registry.register(
            "lane_messages",
            "A lane's answers, and what went by without it (absent); received + split is their sum when nothing is in flight",
            book.lanes,
        );
        registry.register(
            "generation_messages",
            "A lane's answers by the generation that the messages began on, of the last generations",
            book.generations,
        );
        registry.register("redelivered_messages", "Of the received, those that the broker delivered before", book.redelivered);
        registry.register("in_flight_messages", "Messages taken and not acknowledged yet", book.in_flight);
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be encoded");
        }
        text
    }
}

/// The ledgers as metrics.
#[derive(Default)]
struct Book {
    messages: Family<Labels, Cell>,
    redelivered: Family<Labels, Cell>,
    lanes: Family<Labels, Cell>,
    generations: Family<Labels, Cell>,
    in_flight: Family<Labels, Gauge>,
}

impl Book {
    fn of<'a>(ledgers: impl IntoIterator<Item = (&'a str, Balance)>) -> Self {
        let book = Self::default();
        for (pipeline, balance) in ledgers {
            let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            let sides = [("received", balance.received), ("acked", balance.acked), ("returned", balance.returned)];
            for (side, count) in sides {
                let labels = vec![label("pipeline", pipeline), label("side", side)];
                book.messages.get_or_create(&labels).inc_by(count);
            }
            for (lane, column) in &balance.lanes {
                let absent = u64::try_from(column.absent).unwrap_or_default();
                let further = [("split", column.split), ("absent", absent)];
                for (outcome, count) in column.outcomes.iter().map(|(name, count)| (&**name, *count)).chain(further) {
                    let labels = vec![label("pipeline", pipeline), label("lane", lane), label("outcome", outcome)];
                    book.lanes.get_or_create(&labels).inc_by(count);
                }
            }
            for (number, lanes) in &balance.generations {
                for (lane, outcomes) in lanes {
                    let labels = [label("pipeline", pipeline), label("generation", &number.to_string()), label("lane", lane)];
                    for (outcome, count) in outcomes {
                        let labels = labels.iter().cloned().chain([label("outcome", outcome)]).collect();
                        book.generations.get_or_create(&labels).inc_by(*count);
                    }
                }
            }
            book.redelivered.get_or_create(&vec![label("pipeline", pipeline)]).inc_by(balance.redelivered);
            let in_flight = i64::try_from(balance.in_flight).unwrap_or(i64::MAX);
            book.in_flight.get_or_create(&vec![label("pipeline", pipeline)]).set(in_flight);
        }
        book
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, Outcome};

    #[test]
    fn every_counter_is_on_the_exposition_under_its_own_name() {
        let telemetry = Telemetry::default();
        for counter in Counter::ALL {
            telemetry.count(counter, &[("step", "x")], 2);
            let line = format!("tidegate_{}_total{{pipeline=\"pipeline\",step=\"x\"}} 2", counter.describe().0);
            assert!(telemetry.exposition([]).contains(&line), "{line}");
        }
    }

    #[test]
    fn every_timer_is_on_the_exposition_under_its_own_name() {
        let telemetry = Telemetry::default();
        for timer in Timer::ALL {
            telemetry.time(timer, Duration::from_millis(1));
            let line = format!("tidegate_{}_count{{pipeline=\"pipeline\"}} 1", timer.describe().0);
            assert!(telemetry.exposition([]).contains(&line), "{line}");
        }
    }

    #[test]
    fn the_generation_is_on_the_exposition_and_its_series_outlives_it() {
        let telemetry = Telemetry::default().of_pipeline("p");
        telemetry.set_generation(1);
        telemetry.time(Timer::ReloadSeconds, Duration::from_secs(300));
        telemetry.set_generation(2);
        let text = telemetry.exposition([]);
        assert_eq!(text.matches("tidegate_generation{").count(), 1, "{text}");
        assert!(text.contains("tidegate_generation{pipeline=\"p\"} 2\n"), "{text}");
        // A reload of minutes is not lost in the last bucket.
        assert!(text.contains("tidegate_reload_seconds_bucket{le=\"1048.576\",pipeline=\"p\"} 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_ledger_is_on_the_exposition() {
        let ledger = Ledger::default();
        ledger.open_lane("history");
        ledger.receive(3);
        ledger.answer(None, 1, Outcome::Delivered, 2);
        let text = Telemetry::default().exposition([("p", ledger.balance())]);
        assert!(text.contains("tidegate_ledger_messages_total{pipeline=\"p\",side=\"received\"} 3"), "{text}");
        assert!(text.contains("tidegate_lane_messages_total{pipeline=\"p\",lane=\"history\",outcome=\"delivered\"} 2"), "{text}");
        assert!(text.contains("tidegate_in_flight_messages{pipeline=\"p\"} 3"), "{text}");
    }
}
