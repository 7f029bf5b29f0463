//! Reloading: one at a time, the latest wins, and whatever fails leaves what runs as it was.

mod event;
mod gates;
mod history;
mod making;
mod probation;
mod reconciler;
mod staging;
mod swapping;

pub use event::{Event, Gate, GateResult, Outcome, Pause, StageAction, StageChange, Swap, Trigger, Verdict};
pub use gates::Gates;
pub(super) use gates::now;
pub use history::History;
pub(super) use reconciler::Reconciler;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// What somebody asks of a pipeline that runs.
#[derive(Debug)]
pub struct Request {
    /// Who asks: one of `Signal`, `Reload`, `Rollback`, `Plan`.
    pub trigger: Trigger,
    /// Go on where the gates `preflight` and `stages` refuse.
    pub force: bool,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Event>,
}

/// What can be gone back to, and whether what runs is being watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The generation before, while it is kept ready.
    pub rollback_to: Option<u64>,
    /// Whether the present generation is on probation.
    pub on_probation: bool,
}

/// The way to ask a running pipeline for a reload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
}

impl Reloader {
    /// A way to ask, and where the requests arrive.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, arriving) = mpsc::channel(16);
        (Self { requests }, arriving)
    }

    /// Asks, and waits for what comes of it. None when the pipeline has stopped.
    pub async fn ask(&self, trigger: Trigger, force: bool) -> Option<Event> {
        let (reply, event) = oneshot::channel();
        self.requests.send(Request { trigger, force, reply }).await.ok()?;
        event.await.ok()
    }
}
