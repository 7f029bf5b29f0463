//! How a sink is: told to the telemetry, and to the log when it is news.

use tracing::{error, info, warn};

use super::StageError;
use crate::telemetry::{Counter, Health, Telemetry};

/// Tells of one sink.
#[derive(Debug)]
pub(super) struct Report {
    stage: String,
    telemetry: Telemetry,
    up: bool,
}

impl Report {
    pub(super) fn new(stage: &str, telemetry: Telemetry) -> Self {
        telemetry.set_health(stage, Health::Starting);
        Self { stage: stage.to_owned(), telemetry, up: false }
    }

    /// A connection stands. `to` names the server, without credentials.
    pub(super) fn connected(&self, to: &str) {
        self.telemetry.count(Counter::StageConnects, &[("stage", &self.stage)], 1);
        info!(stage = self.stage, to, "connected");
    }

    /// How a write ended. The batch itself is the caller's: whoever retries or parks it counts it.
    pub(super) fn tell<T>(&mut self, outcome: &Result<T, StageError>) {
        match outcome {
            Ok(_) if self.up => {}
            Ok(_) => {
                self.telemetry.set_health(&self.stage, Health::Up);
                self.up = true;
            }
            Err(failure) => {
                self.up = false;
                let news = self.telemetry.set_health(&self.stage, Health::Down(failure.message.clone()));
                match (news, failure.needs_operator) {
                    (false, _) => {}
                    (true, true) => error!(stage = self.stage, code = failure.code, "{failure}"),
                    (true, false) => warn!(stage = self.stage, code = failure.code, "{failure}"),
                }
            }
        }
    }
}
