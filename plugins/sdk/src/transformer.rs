//! A step that may replace, split or drop a message.

use std::time::Duration;

use crate::manifest::Manifest;
use crate::message::{Batch, Message};
use crate::packed::Packed;
use crate::reason::Reason;
use crate::settings::{self, Settings};

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on unchanged. Costs nothing: not a byte is copied.
    Keep,
    /// It goes on with this body.
    Replace(Vec<u8>),
    /// Each body becomes a message of its own, in this order; the host takes 4,096 of one message at most. The original counts as delivered once all of them are. An empty list
    /// is the same as [`Outcome::Drop`].
    Split(Vec<Vec<u8>>),
    /// Done with on purpose: acknowledged, nothing is sent on.
    Drop,
    /// It will never pass: dead-lettered with this reason, whose text must not hold content.
    Reject(Reason),
    /// It may pass later: the host calls again with it after this long, a minute at most. Messages behind it wait, because order
    /// is kept.
    RetryAfter(Duration),
}

/// What becomes of a message that goes on in no form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done with on purpose.
    Drop,
    /// It will never pass.
    Reject(Reason),
    /// It may pass after so many milliseconds.
    RetryAfter(u32),
}

/// One message that goes on in no form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which message, counted from 0 in the order of the batch.
    pub index: u32,
    /// What becomes of it.
    pub fate: Fate,
}

/// The sparse answer that crosses the boundary: a message that is named nowhere goes on unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whose body is replaced, ascending. An index that stands here several times is split.
    pub replaced: Vec<u32>,
    /// The new bodies: item `i` is the body for `replaced[i]`.
    pub bodies: Packed,
    /// The messages that do not go on, ascending, none that stands in `replaced`.
    pub verdicts: Vec<Verdict>,
}

impl Answer {
    /// Adds what becomes of message `index`. Call it by ascending index, once for each.
    pub fn add(&mut self, index: u32, outcome: Outcome) {
        let fate = match outcome {
            Outcome::Keep => return,
            Outcome::Replace(body) => return self.replace(index, &body),
            Outcome::Split(bodies) if bodies.is_empty() => Fate::Drop,
            Outcome::Split(bodies) => return bodies.iter().for_each(|body| self.replace(index, body)),
            Outcome::Drop => Fate::Drop,
            Outcome::Reject(reason) => Fate::Reject(reason),
            Outcome::RetryAfter(pause) => Fate::RetryAfter(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX)),
        };
        self.verdicts.push(Verdict { index, fate });
    }

    fn replace(&mut self, index: u32, body: &[u8]) {
        self.replaced.push(index);
        self.bodies.push(body);
    }
}

/// A step that may replace, split or drop a message.
///
/// Export it with [`transformer!`](crate::transformer!).
pub trait Transformer: Sized + 'static {
    /// Its name: lower case, digits and `-`, e.g. `reshape`.
    const NAME: &'static str;
    /// Its version, by Semantic Versioning: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const DESCRIPTION: &'static str;
    /// The metadata keys it wants to see. What is not listed is not copied. Default: none.
    const READS: &'static [&'static str] = &[];

    /// Its settings; [`NoSettings`](crate::NoSettings) where it has none.
    type Settings: Settings;

    /// Makes it ready. Called once on each instance, before the first message. Several instances exist at a time and each may be
    /// replaced at any moment: keep nothing in memory that has to outlive a call.
    ///
    /// # Errors
    /// Settings that do not go together. The pipeline's start, or the swap, is refused with this reason.
    fn configure(settings: Self::Settings) -> Result<Self, Reason>;

    /// Says what becomes of a message.
    fn transform(&self, message: &Message<'_>) -> Outcome;

    /// Decides on a batch. Only worth overriding where messages are cheaper to look at together.
    fn transform_batch(&self, batch: &Batch) -> Answer {
        let mut answer = Answer::default();
        for (index, message) in (0..).zip(batch.messages()) {
            answer.add(index, self.transform(&message));
        }
        answer
    }

    /// What the host is told. Not to be overridden.
    fn manifest() -> Manifest {
        Manifest::of::<Self::Settings>(Self::NAME, Self::VERSION, Self::DESCRIPTION, Self::READS)
    }

    /// Makes it ready from the JSON text that the host gives. Not to be overridden.
    ///
    /// # Errors
    /// The setting that is wrong, by its pointer, or what [`Transformer::configure`] says.
    fn from_settings(json: &str) -> Result<Self, Reason> {
        Self::configure(settings::read(json)?)
    }
}
