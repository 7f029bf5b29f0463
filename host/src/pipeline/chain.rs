//! Steps in a row, and a batch on its way through them.

use std::borrow::{Borrow, BorrowMut};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::aboard::Meter;
use super::effort::Effort;
use super::seal::SealedBody;
use super::step::{Fall, Step, Verdict};
use crate::delivery::Delivery;
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

/// What a chain takes through its steps: messages alone, or deliveries.
pub(super) trait Parcel: BorrowMut<Message> + Send + 'static {
    /// Replaces it by the parts that its message was split into.
    fn split(self, parts: Vec<Message>) -> Vec<Self>
    where
        Self: Sized;
}

impl Parcel for Message {
    fn split(self, parts: Vec<Message>) -> Vec<Self> {
        parts
    }
}

impl Parcel for Delivery {
    fn split(self, parts: Vec<Message>) -> Vec<Self> {
        Self::split(self, parts)
    }
}

/// A batch between two steps. Parts of one upstream message stay together, in order.
#[derive(Debug)]
pub(super) struct Passage<P> {
    parcels: Vec<P>,
    /// One for each of them.
    states: Vec<State>,
    /// The step that comes next.
    next: usize,
}

#[derive(Debug)]
enum State {
    Going,
    /// Waits to be shown to the same step again.
    Held,
    Fallen(Box<Fall>),
}

/// How far a batch came.
#[derive(Debug)]
pub(super) enum Progress<P> {
    /// Through all steps.
    Done(Outcome<P>),
    /// A step asked for a pause: go on with the same passage after it.
    Held(Passage<P>, Duration),
}

/// A batch behind its last step.
#[derive(Debug)]
pub(super) struct Outcome<P> {
    /// What goes on, in order.
    pub(super) passed: Vec<P>,
    /// What goes no further, in order.
    pub(super) fallen: Vec<(P, Fall)>,
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
    pub(super) fn enter<P: Parcel>(&self, mut parcels: Vec<P>) -> Passage<P> {
        if let Some(fields) = &self.id {
            let messages = parcels.iter_mut().map(BorrowMut::borrow_mut);
            let without: fn(&&mut Message) -> bool = |message| message.id.is_none();
            messages.filter(without).for_each(|message| message.id = id_in(fields, &message.body));
        }
        Passage { states: parcels.iter().map(|_| State::Going).collect(), parcels, next: 0 }
    }

    /// The turn that suffices for these messages, as far as can be told.
    #[must_use]
    pub(super) fn turn<P: Parcel>(&self, parcels: &[P]) -> Turn {
        self.effort.turn(parcels.iter().map(Borrow::borrow))
    }

    /// Takes a batch through the steps, until the end or until a step asks for a pause; for none, where the turn does not suffice. Blocks for
    /// the turn.
    #[must_use]
    pub(super) fn advance<P: Parcel>(&self, passage: Passage<P>, turn: Turn) -> Progress<P> {
        let (begun, messages) = (Instant::now(), passage.parcels.len());
        let progress = self.step(passage, turn);
        self.effort.note(messages, begun.elapsed());
        progress
    }

    fn step<P: Parcel>(&self, mut passage: Passage<P>, turn: Turn) -> Progress<P> {
        while let Some(step) = self.steps.get(passage.next) {
            if let Some(pause) = passage.apply(step, turn) {
                return Progress::Held(passage, pause);
            }
            passage.next += 1;
        }
        Progress::Done(passage.into_outcome())
    }
}

fn id_in(fields: &Fields, body: &[u8]) -> Option<MessageId> {
    let raw = fields.find(body).ok()?.into_iter().next()??;
    let text: String = serde_json::from_str(raw).ok()?;
    MessageId::new(&text)
}

impl<P: Parcel> Passage<P> {
    /// Shows a step what it has not decided on; gives the longest pause it asked for. Messages stay where they are: what a step lets
    /// pass unchanged, as most do, costs nothing here.
    fn apply(&mut self, step: &Step, turn: Turn) -> Option<Duration> {
        // After a pause only what was held is shown again.
        let resuming = self.states.iter().any(|state| matches!(state, State::Held));
        let is_shown = |state: &State| if resuming { matches!(state, State::Held) } else { matches!(state, State::Going) };
        let shown = self.parcels.iter().zip(&self.states).filter(|(_, state)| is_shown(state));
        let shown: Vec<&Message> = shown.map(|(parcel, _)| parcel.borrow()).collect();
        if shown.is_empty() {
            return None;
        }
        let mut verdicts = step.run(&shown, turn).into_iter();
        let (mut pause, mut splits) = (None, Vec::new());
        let parcels = self.parcels.iter_mut().zip(&mut self.states).enumerate();
        for (place, (parcel, state)) in parcels.filter(|(_, (_, state))| is_shown(state)) {
            *state = State::Going;
            match verdicts.next().expect("a step gives one verdict a message") {
                Verdict::Pass => {}
                Verdict::Replace(body) => parcel.borrow_mut().replace_body(body),
                Verdict::Seal(SealedBody { body, sealed, outline }) => parcel.borrow_mut().seal(body, sealed, outline),
                Verdict::Split(bodies) => splits.push((place, bodies)),
                Verdict::Fall(fall) => *state = State::Fallen(fall),
                Verdict::Hold(delay) => {
                    *state = State::Held;
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
        let whole = std::mem::take(&mut self.parcels).into_iter().zip(std::mem::take(&mut self.states));
        for (place, (parcel, state)) in whole.enumerate() {
            let Some((_, bodies)) = splits.next_if(|(split, _)| *split == place) else {
                self.parcels.push(parcel);
                self.states.push(state);
                continue;
            };
            let message = parcel.borrow();
            let parts = bodies.into_iter().enumerate().map(|(index, body)| message.part(index, body)).collect();
            self.parcels.extend(parcel.split(parts));
            self.states.resize_with(self.parcels.len(), || State::Going);
        }
    }

    /// Goes on in another chain: at the step of the same name, or where that is gone at the first of its followers that is there.
    pub(super) fn change_over(&mut self, from: &Chain, to: &Chain) {
        let rest = from.steps.get(self.next..).unwrap_or_default();
        let place = |step: &Step| to.steps.iter().position(|other| other.stage == step.stage);
        let next = rest.iter().find_map(place).unwrap_or(to.steps.len());
        if rest.first().is_none_or(|held| place(held).is_none()) {
            // Nobody holds them any more.
            let held = self.states.iter_mut().filter(|state| matches!(state, State::Held));
            held.for_each(|state| *state = State::Going);
        }
        self.next = next;
    }

    fn into_outcome(self) -> Outcome<P> {
        if !self.states.iter().any(|state| matches!(state, State::Fallen(_))) {
            // As nearly always: nothing is moved.
            return Outcome { passed: self.parcels, fallen: Vec::new() };
        }
        let mut outcome = Outcome { passed: Vec::with_capacity(self.parcels.len()), fallen: Vec::new() };
        for (parcel, state) in self.parcels.into_iter().zip(self.states) {
            match state {
                State::Going | State::Held => outcome.passed.push(parcel),
                State::Fallen(fall) => outcome.fallen.push((parcel, *fall)),
            }
        }
        outcome
    }
}
