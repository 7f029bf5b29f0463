//! A message that goes through the steps of a generation alone: what would become of it, with nothing taken and nothing sent.

use std::sync::Arc;

use super::chain::{Chain, Progress};
use super::generation::Generation;
use super::step::Fall;
use crate::message::Message;
use crate::source::Refusal;

/// What would become of a message. What a sink itself would say of it is not known.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Sinks that at least a part of it would reach, by name.
    pub reached: Vec<Arc<str>>,
    /// Why it, or a part of it, would be refused, in the order of the steps.
    pub refused: Vec<Refusal>,
    /// Whether a step failed on it whose failure stops the pipeline.
    pub halted: bool,
    /// Whether a step asked to be shown it again later.
    pub held: bool,
}

impl Trial {
    /// Takes messages through a chain; gives those that pass.
    fn pass(&mut self, chain: &Chain, messages: Vec<Message>) -> Vec<Message> {
        let passage = match chain.advance(chain.enter(messages)) {
            Progress::Done(passage) => passage,
            Progress::Held(..) => {
                self.held = true;
                return Vec::new();
            }
        };
        let mut passed = Vec::new();
        for (message, fall) in passage.into_fates() {
            match fall {
                None => passed.push(message),
                Some(Fall::Dropped) => {}
                Some(Fall::Refused(refusal)) => self.refused.push(refusal),
                Some(Fall::Halted(refusal)) => {
                    self.halted = true;
                    self.refused.push(refusal);
                }
            }
        }
        passed
    }
}

/// Takes a message through the steps before the fan-out, and then through those of one lane, or of all. Blocking.
#[must_use]
pub fn try_message(generation: &Generation, message: Message, lane: Option<&str>) -> Trial {
    let mut trial = Trial::default();
    let passed = trial.pass(&generation.through, vec![message]);
    if passed.is_empty() {
        return trial;
    }
    for (name, chain) in generation.lanes.iter().filter(|(name, _)| lane.is_none_or(|lane| lane == &***name)) {
        if !trial.pass(chain, passed.clone()).is_empty() {
            trial.reached.push(Arc::clone(name));
        }
    }
    trial
}
