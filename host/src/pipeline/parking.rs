//! A lane's parking: what its sink could not take lies on a durable queue of the source, and is stored first once the sink is back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info};

use super::dead_letter::Office;
use super::depot::Depot;
use super::generation::Generation;
use super::passing::pass_messages;
use super::step::Fall;
use super::track::Track;
use crate::backoff::Backoff;
use crate::lifecycle::Stop;
use crate::message::Message;
use crate::sink::{Sink, StageError};
use crate::source::{BUSY, Refusal, Takeovers, Taking, header};

/// How often a lane looks for what a person has put on its parking queue.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A sink's parking queue.
pub(super) struct Parking {
    depot: Depot,
    takeovers: Takeovers,
    /// How many takeovers the queue has been looked at for.
    looked: u64,
    tracks: watch::Receiver<Arc<Track>>,
    max_messages: usize,
    stop: Stop,
    /// Number of the mailbox that `state` is about.
    postbox_number: u64,
    state: State,
}

/// Whether something is parked.
enum State {
    /// Nothing: the lane writes. At `look`, somebody may have put something there.
    Empty { look: Instant },
    /// Something: all that comes is parked behind it, and the sink is tried at `next`. What is marked as `taken` is left out.
    Parked { next: Instant, backoff: Backoff, taking: Option<Box<dyn Taking>>, taken: HashSet<String> },
}

impl State {
    fn empty() -> Self {
        Self::Empty { look: Instant::now() + LOOK_EVERY }
    }

    fn parked(taken: HashSet<String>) -> Self {
        Self::Parked { next: Instant::now(), backoff: Backoff::default(), taking: None, taken }
    }
}

impl Parking {
    /// What lies at a depot; nothing is known of it yet.
    #[must_use]
    pub(super) fn new(
        depot: Depot,
        takeovers: Takeovers,
        tracks: watch::Receiver<Arc<Track>>,
        max_messages: usize,
        stop: Stop,
    ) -> Self {
        let postbox_number = depot.office.postbox.number();
        Self { depot, takeovers, looked: 0, tracks, max_messages, stop, postbox_number, state: State::empty() }
    }

    /// Whether another host may have parked something since the queue was looked at: then it must be looked at before anything is written.
    #[must_use]
    pub(super) fn may_be_behind(&mut self) -> bool {
        let count = self.takeovers.count();
        std::mem::replace(&mut self.looked, count) != count && !self.is_parked()
    }

    /// Turns to another mailbox where the source has got another one, and says so: it must be looked into then.
    #[must_use]
    pub(super) fn follow(&mut self) -> bool {
        let number = self.depot.office.postbox.number();
        let is_other = std::mem::replace(&mut self.postbox_number, number) != number;
        if is_other {
            self.state = State::empty();
        }
        is_other
    }

    /// Whether older messages are parked.
    #[must_use]
    pub(super) fn is_parked(&self) -> bool {
        matches!(self.state, State::Parked { .. })
    }

    /// When the sink should be tried again, or, where nothing is parked, when the queue should be looked at.
    #[must_use]
    pub(super) fn due(&self) -> Instant {
        match &self.state {
            State::Parked { next, .. } => *next,
            State::Empty { look } => *look,
        }
    }

    /// Whether something is parked, with a look at the queue: dead letters that are replayed for this sink alone are put there.
    pub(super) async fn finds_parked(&mut self) -> bool {
        if self.is_parked() {
            return true;
        }
        self.state = match self.depot.office.postbox.mailbox().has_waiting(&self.depot.queue).await {
            Ok(true) => {
                info!(sink = %self.depot.sink, "messages have been put on the parking queue; they are stored first");
                State::parked(HashSet::new())
            }
            Ok(false) => State::empty(),
            Err(failure) => {
                // The source reports the same outage.
                debug!(sink = %self.depot.sink, cause = %failure, "the parking queue cannot be looked at now");
                State::empty()
            }
        };
        self.is_parked()
    }

    /// Looks whether an earlier run left something parked.
    ///
    /// # Errors
    /// Fails when the source cannot be reached.
    pub(super) async fn look(&mut self) -> Result<(), StageError> {
        let mut taking = self.depot.office.postbox.mailbox().open(&self.depot.queue).await?;
        // What is looked at and not removed stays on the queue.
        let found = match taking.next(1).await {
            Ok(found) => !found.is_empty(),
            // Another replica empties it, or a connection that is lost and not yet given up: what comes is parked behind that.
            Err(failure) if failure.code == BUSY => true,
            Err(failure) => return Err(failure),
        };
        if found {
            info!(sink = %self.depot.sink, "messages are parked from before; they are stored first");
            self.state = State::parked(HashSet::new());
        }
        Ok(())
    }

    /// From now on something is parked. Of the letters with these marks the sink has taken the messages already.
    pub(super) fn begin(&mut self, taken: HashSet<String>) {
        if let State::Parked { taken: before, .. } = &mut self.state {
            before.extend(taken);
        } else {
            self.state = State::parked(taken);
        }
    }

    /// Stores the next parked messages; says how many.
    ///
    /// # Errors
    /// Fails when the sink, or the source, is still down: nothing was removed, and the next attempt is due later.
    pub(super) async fn recover(&mut self, sink: &mut Box<dyn Sink>) -> Result<u64, StageError> {
        let recovered = self.store_next(sink).await;
        match (&recovered, &mut self.state) {
            (Err(_), State::Parked { next, backoff, taking, .. }) => {
                *next = Instant::now() + backoff.pause();
                *taking = None;
            }
            (Ok(0), _) => {
                info!(sink = %self.depot.sink, "nothing is parked any more");
                self.state = State::empty();
            }
            (Ok(_), State::Parked { backoff, .. }) => *backoff = Backoff::default(),
            (_, State::Empty { .. }) => {}
        }
        recovered
    }

    async fn store_next(&mut self, sink: &mut Box<dyn Sink>) -> Result<u64, StageError> {
        let State::Parked { taking, taken, .. } = &mut self.state else { return Ok(0) };
        // First of all: for a sink that is still down no queue need be opened, and no steps run.
        sink.write(&[]).await?;
        let queue = match taking {
            Some(queue) => queue,
            None => taking.insert(self.depot.office.postbox.mailbox().open(&self.depot.queue).await?),
        };
        let mut messages = queue.next(self.max_messages).await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let count = messages.len() as u64;
        if !taken.is_empty() {
            messages.retain(|message| !is_marked(message, taken));
        }
        let generation = Arc::clone(&self.tracks.borrow().generation);
        let stored =
            Recovery { sink_name: &self.depot.sink, office: &self.depot.office, generation: &generation, stop: &self.stop };
        stored.store(messages, sink).await?;
        queue.remove().await?;
        Ok(count)
    }
}

/// Whether a letter has one of these marks.
fn is_marked(letter: &Message, marks: &HashSet<String>) -> bool {
    letter.properties.get(&format!("header:{}", header::ATTEMPT)).is_some_and(|mark| marks.contains(&*mark))
}

/// Parked messages on their way through the steps of a generation to one sink.
struct Recovery<'a> {
    sink_name: &'a Arc<str>,
    office: &'a Office,
    generation: &'a Generation,
    stop: &'a Stop,
}

impl Recovery<'_> {
    async fn store(&self, messages: Vec<Message>, sink: &mut Box<dyn Sink>) -> Result<(), StageError> {
        let mut refused = Vec::new();
        let passed = self.step(self.generation.through.clone(), messages, &mut refused).await?;
        let passed = self.step(self.generation.lane(self.sink_name), passed, &mut refused).await?;
        let written = sink.write(&passed).await?;
        let stage: Arc<str> = format!("sinks.{}", self.sink_name).into();
        for (index, reason) in written.refused {
            if let Some(message) = passed.get(index) {
                refused.push((message.clone(), Refusal { stage: Arc::clone(&stage), reason, plugin: None }));
            }
        }
        // Last of all: what fails before is tried again whole, and would write its letters again.
        self.office.put(refused, self.generation.number, self.sink_name).await
    }

    async fn step(
        &self,
        chain: super::chain::Chain,
        messages: Vec<Message>,
        refused: &mut Vec<(Message, Refusal)>,
    ) -> Result<Vec<Message>, StageError> {
        if chain.is_empty() {
            return Ok(messages);
        }
        let outcome = pass_messages(chain, messages, self.stop).await.ok_or_else(|| stayed("stopped", "the stop came first"))?;
        for (message, fall) in outcome.fallen {
            match fall {
                Fall::Dropped => {}
                Fall::Refused(refusal) => refused.push((message, refusal)),
                Fall::Halted(refusal) => return Err(stayed("halted", &refusal.reason.message)),
            }
        }
        Ok(outcome.passed)
    }
}

/// Why parked messages stay parked although the sink may be well.
fn stayed(code: &str, message: &str) -> StageError {
    StageError { code: code.to_owned(), message: message.to_owned(), needs_operator: code == "halted" }
}
