//! The emergency brake: a step with `on_error = "halt"` failed, and nothing more is taken until a person has looked.

use std::sync::{Arc, OnceLock};

use tracing::error;

use crate::lifecycle::Stop;
use crate::source::Refusal;
use crate::telemetry::{Health, Telemetry};

/// Shared by all who may pull it.
#[derive(Clone)]
pub(super) struct Halt {
    reason: Arc<OnceLock<String>>,
    intake: Stop,
    telemetry: Telemetry,
}

impl Halt {
    /// A brake that ends the intake.
    #[must_use]
    pub(super) fn new(intake: Stop, telemetry: Telemetry) -> Self {
        Self { reason: Arc::default(), intake, telemetry }
    }

    /// Pulls it. The first reason stays.
    pub(super) fn pull(&self, refusal: &Refusal) {
        let reason = format!("halted by {}: {}", refusal.stage, refusal.reason.code);
        if self.reason.set(reason.clone()).is_ok() {
            error!(step = %refusal.stage, code = %refusal.reason.code, cause = %refusal.reason.message, "the pipeline is halted; what it holds stays with the broker");
            self.telemetry.set_health(&refusal.stage, Health::Down(reason));
        }
        self.intake.cancel();
    }

    /// Why the pipeline is halted, if it is.
    #[must_use]
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}
