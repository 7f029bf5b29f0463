//! What came of one reload: what `tidegate reload` prints, `/status` keeps and the log says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Change;

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `tidegate reload`, over the admin HTTP.
    Reload,
    /// `tidegate rollback`, over the admin HTTP.
    Rollback,
    /// The probation of a new generation: it refused too much.
    Probation,
    /// `tidegate plan`: everything but the swap.
    Plan,
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new generation runs.
    Swapped,
    /// The generation before runs again.
    RolledBack,
    /// Nothing differs from what runs.
    Unchanged,
    /// A gate said no: what ran runs on as it was.
    Refused,
    /// `tidegate plan`: it would be swapped.
    Planned,
}

/// What every change must pass, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The file is read, and means something that can run; no changed key needs a restart.
    Parse,
    /// Each plugin is a component and compiles.
    Compile,
    /// What it imports and exports fits the WIT line and its kind, and its digest is the pinned one.
    Link,
    /// It imports nothing that pipeline.toml does not grant.
    Capabilities,
    /// Its settings fit its own schema, `configure` takes them, and its keys are there.
    Settings,
    /// A cipher opens what it sealed itself.
    Seal,
    /// The pipeline's own `[[test]]` cases.
    Tests,
    /// The last real messages go through old and new alike.
    Preflight,
    /// Stages that are opened anew can be reached, and nothing that is parked would be left behind.
    Stages,
}

/// What a gate said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Passed,
    /// There was nothing to look at.
    Skipped,
    /// No.
    Refused,
    /// No, and `--force` went on all the same.
    Forced,
}

/// One gate's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// Which.
    pub gate: Gate,
    /// What it said.
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub millis: f64,
    /// What it found, a line each: reasons of a refusal, differences of the preflight. Never content.
    pub details: Vec<String>,
}

/// How the swap itself went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// How long the workers' first batches on the new generation waited, from being ready to being in the first step. None where the
    /// pipeline was idle: there was nothing to hold up.
    pub pause: Option<Pause>,
    /// Messages taken and not acknowledged when the pointer moved.
    pub in_flight: u64,
    /// Messages that had begun on the old generation when the pointer moved, and finished on it.
    pub finished_on_old: u64,
    /// Messages that the broker delivered again from the swap until the last message had left the old generation.
    pub redelivered: u64,
    /// Whether the ledger balanced.
    pub balanced: bool,
    /// Stages that were opened, closed or opened anew.
    pub stages: Vec<StageChange>,
}

/// Pauses over the workers, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// How many workers began a batch on the new generation while it was watched.
    pub workers: usize,
    /// Median.
    pub p50_micros: u64,
    /// 99th percentile.
    pub p99_micros: u64,
    /// Longest.
    pub max_micros: u64,
}

/// What happened to a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageChange {
    /// `source.KIND` or `sinks.NAME`.
    pub stage: String,
    /// `opened`, `closed` or `reopened`.
    pub action: StageAction,
    /// How long the stage took nothing, in milliseconds.
    pub millis: f64,
    /// Messages that were not settled in time and stay with the broker. Only for a source.
    pub left: u64,
}

/// What was done to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageAction {
    /// It is new.
    Opened,
    /// It is gone; what it held was settled first.
    Closed,
    /// It was drained and opened with its new settings.
    Reopened,
}

/// What came of one reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Name of the pipeline.
    pub pipeline: String,
    /// When it ended, RFC 3339.
    pub at: String,
    /// What asked for it.
    pub trigger: Trigger,
    /// How it ended.
    pub outcome: Outcome,
    /// The generation that ran before.
    pub from: u64,
    /// The generation that runs now; the same where nothing was swapped.
    pub to: u64,
    /// Why it was refused, or why it was rolled back; one sentence.
    pub reason: Option<String>,
    /// What differs, in order of the keys.
    pub changes: Vec<Change>,
    /// Every gate that was reached, in order.
    pub gates: Vec<GateResult>,
    /// How the swap went; none where there was none.
    pub swap: Option<Swap>,
    /// From the trigger to the end, in milliseconds.
    pub millis: f64,
}

impl Outcome {
    /// The name in logs, metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::RolledBack => "rolled_back",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Planned => "planned",
        }
    }
}

impl Trigger {
    /// The name in logs, metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Reload => "reload",
            Self::Rollback => "rollback",
            Self::Probation => "probation",
            Self::Plan => "plan",
        }
    }
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: [Self; 9] = [
        Self::Parse,
        Self::Compile,
        Self::Link,
        Self::Capabilities,
        Self::Settings,
        Self::Seal,
        Self::Tests,
        Self::Preflight,
        Self::Stages,
    ];

    /// The name in logs, metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Compile => "compile",
            Self::Link => "link",
            Self::Capabilities => "capabilities",
            Self::Settings => "settings",
            Self::Seal => "seal",
            Self::Tests => "tests",
            Self::Preflight => "preflight",
            Self::Stages => "stages",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// Whether a person must look at it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.outcome == Outcome::Refused
    }
}
