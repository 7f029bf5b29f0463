//! Steps in a row, and a batch on its way through them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::aboard::Meter;
use super::effort::Effort;
use super::step::{Fall, Step, Verdict};
use crate::delivery::{Delivery, Duty};
use crate::message::{Fields, Message, MessageId, Pointer};
use crate::plugin::Turn;

/// Steps that a batch passes in this order.
#[derive(Clone, Default)]
pub(super) struct Chain {
    steps: Arc<[Step]>,
    id: Option<Arc<Fields>>,
    /// Measures how long batches wait before it; only before the fan-out.
    pub(super) meter: Option<Arc<Meter>>,
    /// What it has cost lately.
    effort: Arc<Effort>,
}

/// A batch between two steps. Pieces of one upstream message stay together, in order.
#[derive(Debug)]
pub(super) struct Passage {
    pieces: Vec<Piece>,
    /// The step that comes next.
    next: usize,
}

#[derive(Debug)]
struct Piece {
    /// Index of the upstream message in the batch.
    origin: usize,
    message: Message,
    state: State,
}

#[derive(Debug)]
enum State {
    Going,
    /// Waits to be shown to the same step again.
    Held,
    Fallen(Fall),
}

/// How far a batch came.
#[derive(Debug)]
pub(super) enum Progress {
    /// Through all steps.
    Done(Passage),
    /// A step asked for a pause: go on with the same passage after it.
    Held(Passage, Duration),
}

/// A batch behind its last step.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What goes on, in order.
    pub(super) passed: Vec<Delivery>,
    /// What goes no further.
    pub(super) fallen: Vec<(Delivery, Fall)>,
}

impl Chain {
    /// A chain of steps; `id` says where the body holds the message id, for messages that came without one.
    #[must_use]
    pub(super) fn new(steps: Vec<Step>, id: Option<&Pointer>) -> Self {
        Self { steps: steps.into(), id: id.map(|pointer| Arc::new(Fields::new([pointer]))), ..Self::default() }
    }

    /// The same chain, measured.
    #[must_use]
    pub(super) fn measured(self, meter: Arc<Meter>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Whether both have the very same steps.
    #[must_use]
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.steps, &other.steps) || (self.steps.is_empty() && other.steps.is_empty())
    }

    /// The same chain, for messages that are only tried.
    #[must_use]
    pub(super) fn quiet(&self) -> Self {
        let steps = self.steps.iter().map(|step| Step { books: None, ..step.clone() }).collect();
        Self { steps, meter: None, ..self.clone() }
    }

    /// The same chain from a stage on; without any steps where it does not stand there.
    #[must_use]
    pub(super) fn beginning_at(&self, stage: &str) -> Self {
        let steps = self.steps.iter().skip_while(|step| *step.stage != *stage).cloned().collect();
        Self { steps, ..self.clone() }
    }

    /// Notes that a batch is in it now that was ready then.
    pub(super) fn begun(&self, ready: Option<Instant>) {
        if let Some(meter) = &self.meter {
            meter.begun(ready);
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.id.is_none()
    }

    /// Starts a batch.
    #[must_use]
    pub(super) fn enter(&self, mut messages: Vec<Message>) -> Passage {
        if let Some(fields) = &self.id {
            messages
                .iter_mut()
                .filter(|message| message.id.is_none())
                .for_each(|message| message.id = id_in(fields, &message.body));
        }
        let piece = |(origin, message)| Piece { origin, message, state: State::Going };
        Passage { pieces: messages.into_iter().enumerate().map(piece).collect(), next: 0 }
    }

    /// The turn that suffices for these messages, as far as can be told.
    #[must_use]
    pub(super) fn turn(&self, messages: &[Message]) -> Turn {
        self.effort.turn(messages)
    }

    /// Takes a batch through the steps, until the end or until a step asks for a pause; for none, where the turn does not suffice. Blocks for
    /// the turn.
    #[must_use]
    pub(super) fn advance(&self, passage: Passage, turn: Turn) -> Progress {
        let (begun, messages) = (Instant::now(), passage.pieces.len());
        let progress = self.step(passage, turn);
        self.effort.note(messages, begun.elapsed());
        progress
    }

    fn step(&self, mut passage: Passage, turn: Turn) -> Progress {
        while let Some(step) = self.steps.get(passage.next) {
            if let Some(pause) = passage.apply(step, turn) {
                return Progress::Held(passage, pause);
            }
            passage.next += 1;
        }
        Progress::Done(passage)
    }
}

fn id_in(fields: &Fields, body: &[u8]) -> Option<MessageId> {
    let raw = fields.find(body).ok()?.into_iter().next()??;
    let text: String = serde_json::from_str(raw.get()).ok()?;
    MessageId::new(&text)
}

impl Passage {
    /// Shows a step what it has not decided on; gives the longest pause it asked for. Messages stay where they are: what a step lets
    /// pass unchanged, as most do, costs nothing here.
    fn apply(&mut self, step: &Step, turn: Turn) -> Option<Duration> {
        // After a pause only what was held is shown again.
        let resuming = self.pieces.iter().any(|piece| matches!(piece.state, State::Held));
        let is_shown = |state: &State| if resuming { matches!(state, State::Held) } else { matches!(state, State::Going) };
        let shown: Vec<&Message> =
            self.pieces.iter().filter(|piece| is_shown(&piece.state)).map(|piece| &piece.message).collect();
        if shown.is_empty() {
            return None;
        }
        let mut verdicts = step.run(&shown, turn).into_iter();
        let (mut pause, mut splits) = (None, Vec::new());
        for (place, piece) in self.pieces.iter_mut().enumerate().filter(|(_, piece)| is_shown(&piece.state)) {
            piece.state = State::Going;
            match verdicts.next().expect("a step gives one verdict a message") {
                Verdict::Pass => {}
                Verdict::Replace(body) => piece.message.replace_body(body),
                Verdict::Seal(sealed) => piece.message.seal(sealed.body, sealed.field, sealed.outline),
                Verdict::Split(bodies) => splits.push((place, bodies)),
                Verdict::Fall(fall) => piece.state = State::Fallen(fall),
                Verdict::Hold(delay) => {
                    piece.state = State::Held;
                    pause = pause.max(Some(delay));
                }
            }
        }
        self.split(splits);
        pause
    }

    /// Puts parts in the places of what they are parts of; `splits` are by ascending place.
    fn split(&mut self, splits: Vec<(usize, Vec<Bytes>)>) {
        if splits.is_empty() {
            return;
        }
        let mut splits = splits.into_iter().peekable();
        for (place, piece) in std::mem::take(&mut self.pieces).into_iter().enumerate() {
            let Some((_, bodies)) = splits.next_if(|(split, _)| *split == place) else {
                self.pieces.push(piece);
                continue;
            };
            let part =
                |(index, body)| Piece { origin: piece.origin, message: piece.message.part(index, body), state: State::Going };
            self.pieces.extend(bodies.into_iter().enumerate().map(part));
        }
    }

    /// Goes on in another chain: at the step of the same name, or where that is gone at the first of its followers that is there.
    pub(super) fn change_over(&mut self, from: &Chain, to: &Chain) {
        let rest = from.steps.get(self.next..).unwrap_or_default();
        let place = |step: &Step| to.steps.iter().position(|other| other.stage == step.stage);
        let next = rest.iter().find_map(place).unwrap_or(to.steps.len());
        if rest.first().is_none_or(|held| place(held).is_none()) {
            // Nobody holds them any more.
            let held = self.pieces.iter_mut().filter(|piece| matches!(piece.state, State::Held));
            held.for_each(|piece| piece.state = State::Going);
        }
        self.next = next;
    }

    /// The messages alone, in order, with why those fell that did: for who has no duties (test cases, parked messages).
    pub(super) fn into_fates(self) -> impl Iterator<Item = (Message, Option<Fall>)> {
        self.pieces.into_iter().map(|piece| (piece.message, piece.state.into_fall()))
    }

    /// Joins each message with its duty again. A step that split a message into nothing dropped it.
    pub(super) fn into_outcome(self, duties: Vec<Duty>) -> Outcome {
        let mut outcome = Outcome { passed: Vec::with_capacity(self.pieces.len()), fallen: Vec::new() };
        if self.pieces.iter().map(|piece| piece.origin).eq(0..duties.len()) {
            // Nothing was split, as nearly always: each message has the duty at its place.
            for (piece, duty) in self.pieces.into_iter().zip(duties) {
                outcome.add(Delivery::from_parts(piece.message, duty), piece.state.into_fall());
            }
            return outcome;
        }
        let mut pieces = self.pieces.into_iter().peekable();
        for (origin, duty) in duties.into_iter().enumerate() {
            let parts = std::iter::from_fn(|| pieces.next_if(|piece| piece.origin == origin));
            outcome.add_parts(parts.map(|piece| (piece.message, piece.state.into_fall())).unzip(), duty);
        }
        outcome
    }
}

impl State {
    /// Why its message goes no further; none for one that does.
    fn into_fall(self) -> Option<Fall> {
        match self {
            Self::Going | Self::Held => None,
            Self::Fallen(fall) => Some(fall),
        }
    }
}

impl Outcome {
    fn add(&mut self, delivery: Delivery, fall: Option<Fall>) {
        match fall {
            None => self.passed.push(delivery),
            Some(fall) => self.fallen.push((delivery, fall)),
        }
    }

    /// Adds what one upstream message became.
    fn add_parts(&mut self, (mut messages, falls): (Vec<Message>, Vec<Option<Fall>>), duty: Duty) {
        let deliveries = match (messages.len(), messages.pop()) {
            (1, Some(message)) => vec![Delivery::from_parts(message, duty)],
            (_, Some(last)) => {
                messages.push(last.clone());
                Delivery::from_parts(last, duty).split(messages)
            }
            // Nothing is left of it: dropping the duty would deliver it again.
            (_, None) => return crate::delivery::settle_duties([duty], crate::ledger::Outcome::Dropped),
        };
        deliveries.into_iter().zip(falls).for_each(|(delivery, fall)| self.add(delivery, fall));
    }
}
