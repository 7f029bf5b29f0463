//! What is counted, and which stage is up. A series outlives generations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter as Cell;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::Serialize;

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
}

impl Counter {
    /// Every counter, for `/metrics`.
    pub const ALL: [Self; 8] = [
        Self::RejectedMessages,
        Self::StepFaults,
        Self::PassedMessages,
        Self::DuplicateMessages,
        Self::UnheardMessages,
        Self::DiscardedMessages,
        Self::StageFailures,
        Self::StageConnects,
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
        }
    }
}

type Labels = Vec<(String, String)>;

/// Counters and health of one process. Cheap to clone, shared by all.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Arc<Registry>,
    cells: Arc<Vec<Family<Labels, Cell>>>,
    stages: Arc<Mutex<BTreeMap<String, Health>>>,
}

/// Whether a stage can do its work now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
        let mut registry = Registry::with_prefix("tidegate");
        let cells = Counter::ALL.iter().map(|counter| {
            let family = Family::default();
            let (name, help) = counter.describe();
            registry.register(name, help, family.clone());
            family
        });
        let cells = Arc::new(cells.collect());
        Self { registry: Arc::new(registry), cells, stages: Arc::default() }
    }
}

impl Telemetry {
    /// Adds to a counter. Label values must be names or codes, never content.
    pub fn count(&self, counter: Counter, labels: &[(&str, &str)], by: u64) {
        if by == 0 {
            return;
        }
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if let Some(family) = self.cells.get(counter as usize) {
            family.get_or_create(&labels).inc_by(by);
        }
    }

    /// Notes how a stage is, e.g. `source.rabbitmq` or `sinks.history`. Says whether that is news.
    pub fn set_health(&self, stage: &str, health: Health) -> bool {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.insert(stage.to_owned(), health.clone()) != Some(health)
    }

    /// How every stage is.
    #[must_use]
    pub fn stages(&self) -> BTreeMap<String, Health> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters in the Prometheus text format.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be encoded");
        }
        text
    }
}
