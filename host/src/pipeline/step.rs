//! One step of a generation: a component, and what its failure means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::aboard::Meter;
use super::seal::{SealedBody, Sealer};
use crate::config::OnError;
use crate::message::{Message, Reason};
use crate::plugin::{Failure, Fate, Fault, FaultKind, Transformer, Turn, Validator};
use crate::source::Refusal;
use crate::telemetry::{Counter, Telemetry};

/// Pause before a step that cannot be called is tried again.
const UNAVAILABLE: Duration = Duration::from_millis(500);

/// A step, ready to be called from any thread.
#[derive(Clone)]
pub(super) struct Step {
    /// `steps.NAME`, for health, dead letters and logs.
    pub(super) stage: Arc<str>,
    /// Digest of its plugin.
    pub(super) digest: Arc<str>,
    /// What its failure means.
    pub(super) on_error: OnError,
    /// The work itself.
    pub(super) work: Work,
    /// Where its refusals and faults are counted; none for messages that are only tried.
    pub(super) books: Option<Books>,
}

/// Where a step counts.
#[derive(Clone)]
pub(super) struct Books {
    /// The counters of the pipeline.
    pub(super) telemetry: Telemetry,
    /// The books of the generation.
    pub(super) meter: Arc<Meter>,
}

/// What a step does, by its kind.
#[derive(Clone)]
pub(super) enum Work {
    /// Says yes or no.
    Validate(Validator),
    /// Replaces, splits or drops.
    Transform(Transformer),
    /// Seals a field.
    Seal(Arc<Sealer>),
}

/// What a step made of one message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on as it is.
    Pass,
    /// It goes on with this body.
    Replace(Bytes),
    /// It goes on with this body, in which one more field is sealed.
    Seal(SealedBody),
    /// It goes on as several, with these bodies.
    Split(Vec<Bytes>),
    /// It may pass later.
    Hold(Duration),
    /// It goes no further.
    Fall(Box<Fall>),
}

impl Verdict {
    fn fall(fall: Fall) -> Self {
        Self::Fall(Box::new(fall))
    }
}

/// Why a message goes no further.
#[derive(Clone, Debug)]
pub(super) enum Fall {
    /// Let go on purpose.
    Dropped,
    /// It will never pass.
    Refused(Refusal),
    /// The step failed, and its failure must stop the line.
    Halted(Refusal),
}

impl Step {
    /// Runs the step over a batch, and blocks for the turn. The verdicts are those of the messages, in order; what a short turn does not suffice
    /// for is held for no time.
    #[must_use]
    pub(super) fn run(&self, batch: &[&Message], turn: Turn) -> Vec<Verdict> {
        let verdicts = match &self.work {
            Work::Validate(validator) => self.judge(batch, validator.in_turn(turn).validate(batch), turn, |()| Verdict::Pass),
            Work::Transform(transformer) => {
                let fates = batch.iter().zip(transformer.in_turn(turn).transform(batch));
                fates.map(|(message, fate)| self.decide(message, fate, turn)).collect()
            }
            Work::Seal(sealer) => self.judge(batch, sealer.seal(batch, turn), turn, Verdict::Seal),
        };
        self.count_refusals(&verdicts);
        verdicts
    }

    fn judge<A>(
        &self,
        batch: &[&Message],
        answers: Vec<Result<A, Failure>>,
        turn: Turn,
        well: impl Fn(A) -> Verdict,
    ) -> Vec<Verdict> {
        let verdict = |(message, answer): (&&Message, Result<A, Failure>)| match answer {
            Ok(answer) => well(answer),
            Err(failure) => self.failed(message, failure, turn),
        };
        batch.iter().zip(answers).map(verdict).collect()
    }

    fn decide(&self, message: &Message, fate: Fate, turn: Turn) -> Verdict {
        match fate {
            Fate::Keep => Verdict::Pass,
            Fate::Replace(body) => Verdict::Replace(body),
            Fate::Split(bodies) => Verdict::Split(bodies),
            Fate::Drop => Verdict::fall(Fall::Dropped),
            Fate::RetryAfter(delay) => Verdict::Hold(delay),
            Fate::Reject(reason) => self.failed(message, Failure::Rejected(reason), turn),
            Fate::Fault(fault) => self.failed(message, Failure::Fault(fault), turn),
        }
    }

    fn failed(&self, message: &Message, failure: Failure, turn: Turn) -> Verdict {
        match failure {
            Failure::Rejected(reason) => Verdict::fall(Fall::Refused(self.refusal(reason))),
            Failure::Fault(fault) if fault.kind == FaultKind::Unavailable => self.hold(&fault, turn),
            Failure::Fault(fault) => self.faulted(message, &fault),
        }
    }

    /// No instance, no key, or no time: that says nothing about the message.
    fn hold(&self, fault: &Fault, turn: Turn) -> Verdict {
        debug!(step = %self.stage, cause = %fault.message, ?turn, "the step cannot be called now");
        Verdict::Hold(if turn == Turn::Short { Duration::ZERO } else { UNAVAILABLE })
    }

    fn faulted(&self, message: &Message, fault: &Fault) -> Verdict {
        let name = fault.kind.name();
        if let Some(Books { telemetry, .. }) = &self.books {
            telemetry.count(Counter::StepFaults, &[("step", &self.stage), ("fault", name)], 1);
            warn!(step = %self.stage, fault = name, message.id = message.label(), cause = %fault.message, "a step failed on a message");
        }
        let reason = Reason::new(name, fault.message.clone());
        match self.on_error {
            OnError::Reject => Verdict::fall(Fall::Refused(self.refusal(reason))),
            OnError::Halt => Verdict::fall(Fall::Halted(self.refusal(reason))),
            OnError::Pass => {
                if let Some(Books { telemetry, meter }) = &self.books {
                    telemetry.count(Counter::PassedMessages, &[("step", &self.stage)], 1);
                    // It goes on, and is an error of the generation all the same.
                    meter.refuse(1);
                }
                Verdict::Pass
            }
        }
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal { stage: Arc::clone(&self.stage), reason, plugin: Some(Arc::clone(&self.digest)) }
    }

    fn count_refusals(&self, verdicts: &[Verdict]) {
        let Some(Books { telemetry, .. }) = &self.books else { return };
        for verdict in verdicts {
            if let Verdict::Fall(fall) = verdict
                && let Fall::Refused(refusal) = &**fall
            {
                let labels = [("step", &*self.stage), ("code", &*refusal.reason.code)];
                telemetry.count(Counter::RejectedMessages, &labels, 1);
            }
        }
    }
}
