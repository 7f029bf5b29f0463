//! A message that goes through the steps of a generation alone: what becomes of it, with nothing taken and nothing sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chain::{Chain, Progress};
use super::generation::Generation;
use super::step::Fall;
use crate::message::Message;
use crate::plugin::Turn;
use crate::source::Refusal;

/// What becomes of a message. What a sink itself says of it is known only once a [`Courier`](super::Courier) has delivered it.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Sinks that at least a part of it reaches, by name, and what each of them gets.
    pub reached: BTreeMap<Arc<str>, Vec<Message>>,
    /// Sinks on whose own steps all of it is dropped. What is dropped before the fan-out reaches none, and is not counted here.
    pub dropped: Vec<Arc<str>>,
    /// Why it, or a part of it, is refused: by the steps in their order, then by sinks.
    pub refused: Vec<Refusal>,
    /// Whether a step failed on it whose failure stops the pipeline.
    pub halted: bool,
    /// Whether a step asked to be shown it again later.
    pub held: bool,
    /// Sinks that have it, durably. None while it is only tried.
    pub had: Vec<Arc<str>>,
}

impl Trial {
    /// Whether nothing of it was refused or held back.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.refused.is_empty() && !self.held && !self.halted
    }

    /// Whether every sink that it reaches has it, or a step dropped it on purpose.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_clear() && self.reached.keys().all(|sink| self.had.contains(sink))
    }

    /// Takes messages through a chain; gives those that pass.
    fn pass(&mut self, chain: &Chain, messages: Vec<Message>) -> Vec<Message> {
        let Progress::Done(outcome) = chain.advance(chain.enter(messages), Turn::Whole) else {
            self.held = true;
            return Vec::new();
        };
        for (_, fall) in outcome.fallen {
            match fall {
                Fall::Dropped => {}
                Fall::Refused(refusal) => self.refused.push(refusal),
                Fall::Halted(refusal) => {
                    self.halted = true;
                    self.refused.push(refusal);
                }
            }
        }
        outcome.passed
    }

    /// Takes messages through the steps of one sink.
    fn pass_lane(&mut self, sink: &Arc<str>, chain: &Chain, messages: Vec<Message>) {
        let refused = self.refused.len();
        let passed = self.pass(chain, messages);
        if !passed.is_empty() {
            self.reached.insert(Arc::clone(sink), passed);
        } else if self.refused.len() == refused && !self.held {
            self.dropped.push(Arc::clone(sink));
        }
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
        trial.pass_lane(name, chain, passed.clone());
    }
    trial
}
