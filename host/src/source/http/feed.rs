//! Handing on: from the journal into the pipeline, and out of the journal what is settled.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use super::Settings;
use super::condition::{Condition, Part};
use crate::delivery::{Delivery, Mark, Window};
use crate::ledger::Ledger;
use crate::lifecycle::Stop;
use crate::source::journal::{Journal, Stored};
use crate::source::{BATCH_BYTES, Intake, Pace, StageError};

/// How often an idle feed looks for what another process has put into the journal.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Removal = Pin<Box<dyn Future<Output = Result<(), StageError>> + Send>>;

/// One message that is taken and not acknowledged.
#[derive(Debug)]
struct Taken {
    sequence: i64,
    bytes: usize,
}

/// Feeds one pipeline.
pub(super) struct Feed {
    journal: Journal,
    stage: String,
    condition: Arc<Condition>,
    ledger: Arc<Ledger>,
    /// None after the stop.
    batches: Option<mpsc::Sender<Vec<Delivery>>>,
    prefetch: usize,
    max_bytes: usize,
    pace: watch::Receiver<Pace>,
    window: Arc<Window>,
    marks: watch::Receiver<Mark>,
    arrivals: watch::Receiver<u64>,
    /// Messages of this window that are acknowledged.
    acknowledged: u64,
    /// What is taken in this window and not acknowledged, in order.
    taken: VecDeque<Taken>,
    taken_bytes: usize,
    /// All up to here was read.
    read: i64,
    /// All up to here is acknowledged.
    removed: i64,
    /// The removal that is under way, and how many messages it acknowledges.
    removal: Option<(usize, Removal)>,
    /// Nothing is read or removed before.
    pause_until: Option<Instant>,
    pause: Duration,
    /// The journal had nothing more when it was last read.
    drained: bool,
}

/// What the feed waits for.
enum Event {
    Stop,
    Removed(Result<(), StageError>),
    Settled,
    Room,
    Arrived,
    PauseOver,
    PipelineGone,
}

impl Feed {
    pub(super) fn new(settings: &Settings, journal: Journal, stage: &str, condition: Arc<Condition>, intake: Intake) -> Self {
        let prefetch = usize::from(settings.prefetch.max(1));
        let window = Window::new(Arc::clone(&intake.ledger));
        window.set_limit(prefetch as u64);
        Self {
            stage: stage.to_owned(),
            condition,
            ledger: intake.ledger,
            batches: Some(intake.batches),
            prefetch,
            max_bytes: settings.max_in_flight_bytes,
            pace: intake.pace,
            marks: window.marks(),
            window,
            arrivals: journal.arrivals(),
            journal,
            acknowledged: 0,
            taken: VecDeque::new(),
            taken_bytes: 0,
            read: 0,
            removed: 0,
            removal: None,
            pause_until: None,
            pause: FIRST_PAUSE,
            drained: false,
        }
    }

    /// Feeds until the stop. Dropping the future loses nothing.
    pub(super) async fn feed(&mut self, stop: &Stop) {
        loop {
            self.acknowledge();
            match self.next(stop).await {
                Event::Stop | Event::PipelineGone => return,
                Event::Room => self.hand_on(stop).await,
                event => self.note(event),
            }
        }
    }

    /// Feeds until the journal has nothing more, as far as the time allows.
    pub(super) async fn empty(&mut self, stop: &Stop) {
        let deadline = Instant::now() + self.pace.borrow().drain_timeout;
        // What came last may not have been looked at.
        self.drained = false;
        while !(self.drained && self.taken.is_empty()) {
            self.acknowledge();
            match timeout_at(deadline, self.next(stop)).await {
                Err(_) | Ok(Event::Stop | Event::PipelineGone) => return,
                Ok(Event::Room) => self.hand_on(stop).await,
                Ok(event) => self.note(event),
            }
        }
    }

    /// Takes no more, and acknowledges what settles before the time is up. Says how many messages it took and could not acknowledge.
    pub(super) async fn drain(mut self) -> u64 {
        self.batches = None;
        let deadline = Instant::now() + self.pace.borrow().drain_timeout;
        let never = Stop::new();
        loop {
            self.acknowledge();
            let abandoned = self.marks.borrow().abandoned;
            if self.taken.is_empty() || (abandoned && self.removal.is_none() && self.pause_until.is_none()) {
                break;
            }
            match timeout_at(deadline, self.next(&never)).await {
                Ok(event) => self.note(event),
                Err(_) => break,
            }
        }
        let left = self.taken.len() as u64;
        self.ledger.give_back(left);
        left
    }

    async fn next(&mut self, stop: &Stop) -> Event {
        let has_room = self.taken.len() < self.prefetch && self.taken_bytes < self.max_bytes;
        let may_read = has_room && self.pause_until.is_none() && !self.marks.borrow().abandoned;
        let (wants_room, wants_arrival) = (may_read && !self.drained, may_read && self.drained);
        let (removing, pause_until) = (self.removal.is_some(), self.pause_until);
        tokio::select! {
            biased;
            () = stop.cancelled() => Event::Stop,
            removed = finished(&mut self.removal), if removing => Event::Removed(removed),
            _ = self.marks.changed(), if !removing => Event::Settled,
            () = sleep_until(pause_until.unwrap_or_else(Instant::now)), if pause_until.is_some() => Event::PauseOver,
            room = room(self.batches.as_ref()), if wants_room => if room { Event::Room } else { Event::PipelineGone },
            () = gone(self.batches.as_ref()) => Event::PipelineGone,
            () = arrived(&mut self.arrivals), if wants_arrival => Event::Arrived,
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Removed(outcome) => self.note_removed(outcome),
            Event::Arrived => self.drained = false,
            Event::PauseOver => self.pause_until = None,
            // What is settled is looked at before each wait.
            Event::Settled | Event::Stop | Event::Room | Event::PipelineGone => {}
        }
    }

    /// Starts to remove what is settled from the journal; opens a new window where this one will never be answered whole.
    fn acknowledge(&mut self) {
        if self.removal.is_some() || self.pause_until.is_some() {
            return;
        }
        let mark = *self.marks.borrow_and_update();
        let settled = usize::try_from(mark.settled_below.saturating_sub(self.acknowledged)).unwrap_or(usize::MAX);
        let last = settled.min(self.taken.len()).checked_sub(1).and_then(|last| self.taken.get(last));
        if let Some(through) = last.map(|last| last.sequence) {
            let (journal, after) = (self.journal.clone(), self.removed);
            let removal = async move { journal.remove(journal.queue(), after, through).await };
            self.removal = Some((settled.min(self.taken.len()), Box::pin(removal)));
        } else if mark.abandoned && self.batches.is_some() {
            self.start_over();
        }
    }

    fn note_removed(&mut self, outcome: Result<(), StageError>) {
        let messages = self.removal.take().map_or(0, |(messages, _)| messages);
        match outcome {
            Ok(()) => {
                for taken in self.taken.drain(..messages.min(self.taken.len())) {
                    self.removed = taken.sequence;
                    self.taken_bytes = self.taken_bytes.saturating_sub(taken.bytes);
                }
                self.acknowledged += messages as u64;
                self.ledger.acknowledge(messages as u64);
                self.pause = FIRST_PAUSE;
                self.condition.works(Part::Storing);
            }
            Err(failure) => {
                self.condition.journal_fails(Part::Storing, &failure);
                self.hold_back();
            }
        }
    }

    /// Gives back what was taken and not answered, and takes it again, from the lowest on.
    fn start_over(&mut self) {
        let left = self.taken.len() as u64;
        warn!(stage = self.stage, messages = left, "deliveries were dropped unsettled; they are delivered again");
        self.ledger.give_back(left);
        self.window = Window::new(Arc::clone(&self.ledger));
        self.window.set_limit(self.prefetch as u64);
        self.marks = self.window.marks();
        self.taken.clear();
        self.taken_bytes = 0;
        self.acknowledged = 0;
        self.read = self.removed;
        self.drained = false;
        self.hold_back();
    }

    fn hold_back(&mut self) {
        self.pause_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Reads a batch and sends it on.
    async fn hand_on(&mut self, stop: &Stop) {
        let stored = match self.gather(stop).await {
            Ok(stored) => stored,
            Err(failure) => {
                self.condition.journal_fails(Part::Reading, &failure);
                self.hold_back();
                return;
            }
        };
        self.condition.works(Part::Reading);
        if stored.is_empty() || stop.is_cancelled() {
            return;
        }
        let Some(batches) = &self.batches else { return };
        // There was room a moment ago, and this is the only sender.
        let Ok(permit) = batches.try_reserve() else { return };
        for Stored { sequence, message } in &stored {
            self.read = *sequence;
            self.taken_bytes += message.body.len();
            self.taken.push_back(Taken { sequence: *sequence, bytes: message.body.len() });
        }
        permit.send(self.window.take(stored.into_iter().map(|stored| stored.message)));
    }

    /// What the journal has, up to a batch; waits a little for more where the batch is not full.
    async fn gather(&mut self, stop: &Stop) -> Result<Vec<Stored>, StageError> {
        let most = self.pace.borrow().max_messages.max(1).min(self.prefetch - self.taken.len());
        let bytes = BATCH_BYTES.min(self.max_bytes - self.taken_bytes);
        let mut stored = self.look(self.read, most, bytes).await?;
        let deadline = Instant::now() + self.pace.borrow().linger;
        while self.drained && !stored.is_empty() && stored.len() < most && Instant::now() < deadline {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                waited = timeout_at(deadline, self.arrivals.changed()) => if !matches!(waited, Ok(Ok(()))) { break },
            }
            let have: usize = stored.iter().map(|stored| stored.message.body.len()).sum();
            let Some(left) = bytes.checked_sub(have).filter(|left| *left > 0) else { break };
            let after = stored.last().map_or(self.read, |last| last.sequence);
            stored.extend(self.look(after, most - stored.len(), left).await?);
        }
        Ok(stored)
    }

    async fn look(&mut self, after: i64, most: usize, bytes: usize) -> Result<Vec<Stored>, StageError> {
        self.arrivals.borrow_and_update();
        let stored = self.journal.read(self.journal.queue(), after, most, bytes).await?;
        let read: usize = stored.iter().map(|stored| stored.message.body.len()).sum();
        self.drained = stored.len() < most && read < bytes;
        Ok(stored)
    }
}

async fn finished(removal: &mut Option<(usize, Removal)>) -> Result<(), StageError> {
    match removal {
        Some((_, removal)) => removal.await,
        None => pending().await,
    }
}

/// Waits for room in the pipeline; `false` when it is gone.
async fn room(batches: Option<&mpsc::Sender<Vec<Delivery>>>) -> bool {
    match batches {
        Some(batches) => batches.reserve().await.is_ok(),
        None => pending().await,
    }
}

async fn gone(batches: Option<&mpsc::Sender<Vec<Delivery>>>) {
    match batches {
        Some(batches) => batches.closed().await,
        None => pending().await,
    }
}

async fn arrived(arrivals: &mut watch::Receiver<u64>) {
    drop(tokio::time::timeout(LOOK_EVERY, arrivals.changed()).await);
}
