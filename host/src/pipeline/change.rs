//! A change on its way into the tasks of a run, and the stages that are not done at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::generation::Generation;
use super::lane::Opened;
use super::reload::StageChange;
use super::stages::SourceStage;
use crate::config::Loaded;

/// A change that has passed every gate.
pub(super) struct Change {
    /// What runs from now on.
    pub(super) loaded: Arc<Loaded>,
    /// Its steps.
    pub(super) generation: Arc<Generation>,
    /// The source, opened with its new settings; none where the present one stays.
    pub(super) source: Option<SourceStage>,
    /// Names of sinks that are opened anew.
    pub(super) reopened: BTreeSet<Arc<str>>,
    /// Where the stages are told that are not done at once.
    pub(super) reply: oneshot::Sender<Vec<Underway>>,
}

/// A stage that is being opened, closed or opened anew.
pub(super) enum Underway {
    /// A lane whose sink is opened anew.
    Sink {
        /// `sinks.NAME`.
        stage: String,
        /// Number of the settings to wait for.
        number: u64,
        /// Tells which are open.
        opened: watch::Receiver<Opened>,
    },
    /// Told when it is done.
    Told(oneshot::Receiver<StageChange>),
    /// Done already.
    Done(StageChange),
}
