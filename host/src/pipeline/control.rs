//! A lane, for whoever changes it while it runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::change::Underway;
use super::lane::{LaneSettings, Opened};
use crate::config::SinkPlan;
use crate::lifecycle::Stop;

/// The far end of what a lane watches and tells.
pub(super) struct Control {
    /// Name of its sink.
    pub(super) name: Arc<str>,
    /// What it runs by.
    pub(super) settings: watch::Sender<LaneSettings>,
    /// Which of its settings it has open.
    pub(super) opened: watch::Receiver<Opened>,
    /// Ends it.
    pub(super) stop: Stop,
}

impl Control {
    /// Tells the lane what holds now.
    pub(super) fn change(&self, sink: &SinkPlan, reopen: bool) -> Option<Underway> {
        let number = self.settings.borrow().number + u64::from(reopen);
        self.settings.send_replace(LaneSettings { sink: sink.clone(), number });
        reopen.then(|| Underway::Sink { stage: format!("sinks.{}", self.name), number, opened: self.opened.clone() })
    }
}
