//! A sink in use: written to, with its counters, its health and its circuit.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::circuit::Circuit;
use crate::message::Message;
use crate::sink::{Sink, StageError, Written};
use crate::telemetry::{Counter, Health, Telemetry};

/// A sink, and how it is.
pub(super) struct Writer {
    /// `sinks.NAME`.
    pub(super) stage: Arc<str>,
    /// The destination.
    pub(super) sink: Box<dyn Sink>,
    /// Its counters and health.
    pub(super) telemetry: Telemetry,
    /// Whether the last write went well.
    pub(super) up: bool,
    /// Whether it may be tried.
    pub(super) circuit: Circuit,
}

impl Writer {
    /// Writes a batch, and notes how the sink is.
    pub(super) async fn write(&mut self, messages: &[Message]) -> Result<Written, StageError> {
        let written = self.sink.write(messages).await;
        self.up = written.is_ok();
        match &written {
            Err(failure) => {
                self.circuit.fail();
                self.note_down(failure);
            }
            Ok(written) => {
                self.circuit.close();
                self.note_up();
                let sink = [("sink", &*self.stage)];
                self.telemetry.count(Counter::DuplicateMessages, &sink, written.duplicates);
                self.telemetry.count(Counter::UnheardMessages, &sink, written.unheard);
                for (_, reason) in &written.refused {
                    self.telemetry.count(Counter::RejectedMessages, &[("step", &*self.stage), ("code", &*reason.code)], 1);
                }
            }
        }
        written
    }

    /// Notes that the sink works.
    pub(super) fn note_up(&self) {
        if self.telemetry.set_health(&self.stage, Health::Up) {
            info!(sink = %self.stage, "the sink is up");
        }
    }

    /// Notes that it does not, and why.
    pub(super) fn note_down(&self, failure: &StageError) {
        self.telemetry.count(Counter::StageFailures, &[("stage", &self.stage), ("code", &failure.code)], 1);
        if !self.telemetry.set_health(&self.stage, Health::Down(failure.message.clone())) {
            return;
        }
        if failure.needs_operator {
            error!(sink = %self.stage, code = failure.code, cause = %failure, "the sink needs a person to mend it");
        } else {
            warn!(sink = %self.stage, code = failure.code, cause = %failure, "the sink is down; trying again");
        }
    }
}
