//! Steps in a row, and a batch on its way through them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::aboard::Meter;
use super::step::{Fall, Step, Verdict};
use crate::delivery::{Delivery, Duty};
use crate::message::{Fields, Message, MessageId, Pointer};

/// Steps that a batch passes in this order.
#[derive(Clone, Default)]
pub(super) struct Chain {
    steps: Arc<[Step]>,
    id: Option<Arc<Fields>>,
    /// Measures how long batches wait before it; only before the fan-out.
    pub(super) meter: Option<Arc<Meter>>,
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
    state: State,
}

#[derive(Debug)]
enum State {
    Going(Message),
    /// Waits to be shown to the same step again.
    Held(Message),
    Fallen(Message, Fall),
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
        Self { steps: steps.into(), id: id.map(|pointer| Arc::new(Fields::new([pointer]))), meter: None }
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
        Self { steps, id: self.id.clone(), meter: None }
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
        let piece = |(origin, message)| Piece { origin, state: State::Going(message) };
        Passage { pieces: messages.into_iter().enumerate().map(piece).collect(), next: 0 }
    }

    /// Takes a batch through the steps, until the end or until a step asks for a pause. Blocking.
    #[must_use]
    pub(super) fn advance(&self, mut passage: Passage) -> Progress {
        while let Some(step) = self.steps.get(passage.next) {
            if let Some(pause) = passage.apply(step) {
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
    /// Shows a step what it has not decided on; gives the longest pause it asked for.
    fn apply(&mut self, step: &Step) -> Option<Duration> {
        // After a pause only what was held is shown again.
        let resuming = self.pieces.iter().any(|piece| matches!(piece.state, State::Held(_)));
        let mut shown = Vec::with_capacity(self.pieces.len());
        let mut places = Vec::with_capacity(self.pieces.len());
        for piece in std::mem::take(&mut self.pieces) {
            let origin = piece.origin;
            match piece.state {
                State::Held(message) => show(&mut shown, &mut places, origin, message),
                State::Going(message) if !resuming => show(&mut shown, &mut places, origin, message),
                state => places.push((origin, Some(state))),
            }
        }
        let verdicts = if shown.is_empty() { Vec::new() } else { step.run(shown) };
        self.collect(places, verdicts)
    }

    fn collect(&mut self, places: Vec<(usize, Option<State>)>, verdicts: Vec<Verdict>) -> Option<Duration> {
        let mut verdicts = verdicts.into_iter();
        let mut pause = None;
        self.pieces.reserve(places.len());
        for (origin, state) in places {
            let mut push = |state| self.pieces.push(Piece { origin, state });
            match state {
                Some(state) => push(state),
                None => match verdicts.next().expect("a step gives one verdict a message") {
                    Verdict::Pass(message) => push(State::Going(message)),
                    Verdict::Split(parts) => parts.into_iter().for_each(|part| push(State::Going(part))),
                    Verdict::Fall(message, fall) => push(State::Fallen(message, fall)),
                    Verdict::Hold(message, delay) => {
                        pause = pause.max(Some(delay));
                        push(State::Held(message));
                    }
                },
            }
        }
        pause
    }

    /// Goes on in another chain: at the step of the same name, or where that is gone at the first of its followers that is there.
    pub(super) fn change_over(&mut self, from: &Chain, to: &Chain) {
        let rest = from.steps.get(self.next..).unwrap_or_default();
        let place = |step: &Step| to.steps.iter().position(|other| other.stage == step.stage);
        let next = rest.iter().find_map(place).unwrap_or(to.steps.len());
        if rest.first().is_none_or(|held| place(held).is_none()) {
            // Nobody holds them any more.
            let released = |piece: Piece| Piece { state: piece.state.released(), ..piece };
            self.pieces = std::mem::take(&mut self.pieces).into_iter().map(released).collect();
        }
        self.next = next;
    }

    /// The messages alone, in order, with why those fell that did: for who has no duties (test cases, parked messages).
    pub(super) fn into_fates(self) -> impl Iterator<Item = (Message, Option<Fall>)> {
        self.pieces.into_iter().map(|piece| match piece.state {
            State::Going(message) | State::Held(message) => (message, None),
            State::Fallen(message, fall) => (message, Some(fall)),
        })
    }

    /// Joins each message with its duty again. A step that split a message into nothing dropped it.
    pub(super) fn into_outcome(self, duties: Vec<Duty>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut pieces = self.pieces.into_iter().peekable();
        for (origin, duty) in duties.into_iter().enumerate() {
            let mut messages = Vec::with_capacity(1);
            let mut falls = Vec::with_capacity(1);
            while let Some(piece) = pieces.next_if(|piece| piece.origin == origin) {
                let (message, fall) = match piece.state {
                    State::Going(message) | State::Held(message) => (message, None),
                    State::Fallen(message, fall) => (message, Some(fall)),
                };
                messages.push(message);
                falls.push(fall);
            }
            outcome.add(messages, falls, duty);
        }
        outcome
    }
}

impl State {
    fn released(self) -> Self {
        match self {
            Self::Held(message) => Self::Going(message),
            state => state,
        }
    }
}

fn show(shown: &mut Vec<Message>, places: &mut Vec<(usize, Option<State>)>, origin: usize, message: Message) {
    shown.push(message);
    places.push((origin, None));
}

impl Outcome {
    fn add(&mut self, mut messages: Vec<Message>, falls: Vec<Option<Fall>>, duty: Duty) {
        let deliveries = match (messages.len(), messages.pop()) {
            (1, Some(message)) => vec![Delivery::from_parts(message, duty)],
            (_, Some(last)) => {
                messages.push(last.clone());
                Delivery::from_parts(last, duty).split(messages)
            }
            // Nothing is left of it: dropping the duty would deliver it again.
            (_, None) => return crate::delivery::settle_duties([duty], crate::ledger::Outcome::Dropped),
        };
        for (delivery, fall) in deliveries.into_iter().zip(falls) {
            match fall {
                None => self.passed.push(delivery),
                Some(fall) => self.fallen.push((delivery, fall)),
            }
        }
    }
}
