//! What becomes of messages while their sink is busy or cannot take them: they wait, are parked or are let go, as `on_failure` says.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::batch::{self, Batch};
use super::carry::Stepped;
use super::dead_letter::draw_id;
use super::depot::{self, Cause, Depot};
use crate::backoff::Backoff;
use crate::config::OnFailure;
use crate::delivery::{Duty, settle_duties};
use crate::ledger::Outcome;
use crate::lifecycle::Stop;
use crate::sink::{StageError, Written};
use crate::source::{BATCH_BYTES, Pace};
use crate::telemetry::{Counter, Telemetry};

/// What a sink may take at any time without being called slow.
const STALL: Duration = Duration::from_secs(1);
/// How long it may take where its messages are only let go.
const DISCARD_AFTER: Duration = Duration::from_secs(2);
/// How long what is to be parked waits for more: each time it costs the broker a write and a confirmation, however little it is.
pub(super) const GATHER: Duration = Duration::from_millis(50);

/// Most batches that a sink takes at once where they wait for it: each write waits for an answer, however little it is.
const AT_ONCE: usize = 4;

/// Why what comes behind parked messages is parked.
pub(super) const BEHIND: Cause<'static> =
    Cause { code: "parked_before", message: "older messages of this sink are parked", attempt: None };

/// Whether more may be joined to a batch. Of large messages one batch is enough.
fn has_room(messages: usize, bytes: usize, most: usize) -> bool {
    messages < most || (messages < most.saturating_mul(AT_ONCE) && bytes < BATCH_BYTES)
}

/// A lane's way around its sink.
pub(super) struct Fallback {
    /// `sinks.NAME`.
    stage: Arc<str>,
    /// Where to park.
    depot: Depot,
    /// How batches are cut.
    pace: watch::Receiver<Pace>,
    telemetry: Telemetry,
    /// Ends every wait.
    stop: Stop,
}

impl Fallback {
    /// The way around the sink `stage`, `sinks.NAME`.
    #[must_use]
    pub(super) fn new(stage: &str, depot: Depot, pace: watch::Receiver<Pace>, telemetry: &Telemetry, stop: &Stop) -> Self {
        Self { stage: stage.into(), depot, pace, telemetry: telemetry.clone(), stop: stop.clone() }
    }

    /// Joins a batch with what waits behind it, and until then with what comes. A sink that is behind takes several batches at once.
    pub(super) async fn join(
        &self,
        mut stepped: Stepped,
        batches: &mut mpsc::Receiver<Stepped>,
        until: Option<Instant>,
    ) -> Batch {
        let most = self.pace.borrow().max_messages;
        let mut bytes = stepped.bytes();
        while has_room(stepped.deliveries.len(), bytes, most) {
            let more = match until {
                Some(until) if stepped.deliveries.len() < most && !stepped.is_pressing() => {
                    timeout_at(until, batches.recv()).await.ok().flatten()
                }
                _ => batches.try_recv().ok(),
            };
            let Some(more) = more else { break };
            bytes += more.bytes();
            stepped.deliveries.extend(more.deliveries);
            stepped.generation = more.generation;
        }
        stepped.into()
    }

    /// Parks a batch.
    ///
    /// # Errors
    /// Gives it back where the broker has not confirmed it.
    pub(super) async fn park(&self, batch: Batch, cause: Cause<'_>) -> Result<(), (Batch, StageError)> {
        if !self.telemetry.is_parked(&self.depot.sink) {
            let Cause { code, message, .. } = cause;
            warn!(sink = %self.depot.sink, code, cause = message, "parking: what comes for this sink waits on a queue of its own");
            self.telemetry.set_parked(&self.depot.sink, true);
        }
        self.depot.park(batch, cause).await
    }

    /// Lets a batch go, and counts it.
    pub(super) fn discard(&self, batch: Batch) {
        warn!(sink = %self.stage, messages = batch.messages.len(), "discarded");
        self.telemetry.count(Counter::DiscardedMessages, &[("sink", &self.stage)], batch.messages.len() as u64);
        settle_duties(batch.duties, Outcome::Dropped);
    }

    /// Takes a batch away from the sink, whose failure means this. What cannot be parked before the sink is done is given back.
    async fn take(&self, mut batch: Batch, on_failure: OnFailure, cause: Cause<'_>, ended: &Stop) -> Option<Batch> {
        if on_failure == OnFailure::Discard {
            self.discard(batch);
            return None;
        }
        let mut refusals = Refusals::default();
        while let Err((back, failure)) = self.park(batch, cause).await {
            batch = back;
            if !refusals.wait(&self.stage, &failure, ended).await {
                return Some(batch);
            }
        }
        None
    }

    /// Runs what a sink has to do. What comes meanwhile waits, but no longer than this: then it is taken away, until the sink is done.
    pub(super) async fn beside<T>(
        &self,
        work: impl Future<Output = T>,
        patience: Option<Duration>,
        on_failure: OnFailure,
        batches: &mut mpsc::Receiver<Stepped>,
    ) -> (T, Aside) {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return (done, Aside::default()),
            () = sleep_for(patience) => {}
        }
        let ended = self.stop.child_token();
        tokio::join!(ending(work, &ended), self.take_all(on_failure, batches, &ended))
    }

    /// Goes on with an attempt to write a batch that takes too long: the batch is taken away, and what comes behind it.
    pub(super) async fn relieve(
        &self,
        attempt: impl Future<Output = Result<Written, StageError>>,
        batch: Batch,
        on_failure: OnFailure,
        batches: &mut mpsc::Receiver<Stepped>,
    ) -> Relieved {
        // Without an id of its own the attempt cannot be told from others, and what it writes is written again.
        let id = draw_id().unwrap_or_default();
        let parts = depot::parts(&batch.duties);
        let cause = Cause { code: "slow", message: "the sink takes long, and is still being tried", attempt: Some(&id) };
        let ended = self.stop.child_token();
        let around = async {
            match self.take(batch, on_failure, cause, &ended).await {
                None => (None, self.take_all(on_failure, batches, &ended).await),
                held => (held, Aside::default()),
            }
        };
        let (written, (held, aside)) = tokio::join!(ending(attempt, &ended), around);
        let taken = match &written {
            Ok(written) if !id.is_empty() => depot::taken(&id, &parts, &written.refused),
            _ => HashSet::new(),
        };
        Relieved { written, held, aside, taken }
    }

    /// Takes away what comes, until the sink is done.
    async fn take_all(&self, on_failure: OnFailure, batches: &mut mpsc::Receiver<Stepped>, ended: &Stop) -> Aside {
        let mut aside = Aside::default();
        while let Some(Some(stepped)) = ended.run_until_cancelled(batches.recv()).await {
            let batch = self.join(stepped, batches, Some(Instant::now() + GATHER)).await;
            aside.any = true;
            aside.held = self.take(batch, on_failure, BEHIND, ended).await;
            if aside.held.is_some() {
                break;
            }
        }
        aside
    }
}

/// What was taken away while a sink was busy.
#[derive(Default)]
pub(super) struct Aside {
    /// Whether there was anything.
    pub(super) any: bool,
    /// What could not be parked; older than what comes next.
    pub(super) held: Option<Batch>,
}

/// How an attempt ended that took long.
pub(super) struct Relieved {
    /// What the sink says of its batch.
    pub(super) written: Result<Written, StageError>,
    /// The batch, where it could not be taken away.
    pub(super) held: Option<Batch>,
    /// What came behind it.
    pub(super) aside: Aside,
    /// Marks of the parked letters whose messages the sink has taken in the end.
    pub(super) taken: HashSet<String>,
}

/// Parking that the broker does not confirm, and the pauses between.
#[derive(Default)]
pub(super) struct Refusals {
    backoff: Backoff,
    told: bool,
}

impl Refusals {
    /// Waits before the next attempt; false when this was ended first.
    pub(super) async fn wait(&mut self, sink: &str, failure: &StageError, ended: &Stop) -> bool {
        // Once: it may be for as long as the broker is down.
        if !std::mem::replace(&mut self.told, true) {
            warn!(sink, code = failure.code, cause = %failure, "parking is not confirmed; trying again until it is");
        }
        self.backoff.wait(ended).await
    }
}

/// Does a sink's work, and tells when it is done.
async fn ending<T>(work: impl Future<Output = T>, ended: &Stop) -> T {
    let done = work.await;
    ended.cancel();
    done
}

/// How long messages wait for a sink that is busy, where its failure means this; none where they wait for ever.
pub(super) fn patience(on_failure: OnFailure) -> Option<Duration> {
    match on_failure {
        OnFailure::Block => None,
        OnFailure::Park(after) => Some(after.max(STALL)),
        OnFailure::Discard => Some(DISCARD_AFTER),
    }
}

/// Waits until a sink has been at it for too long: for all of its messages' patience, or, where the window presses, just for longer than usual.
pub(super) async fn overdue(on_failure: OnFailure, duties: &[Duty]) {
    let Some(patience) = patience(on_failure) else { return pending().await };
    sleep(STALL).await;
    tokio::select! {
        () = batch::pressing(duties) => {}
        () = sleep(patience.saturating_sub(STALL)) => {}
    }
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_is_behind_takes_several_batches_at_once_unless_they_are_large() {
        assert!(has_room(127, usize::MAX, 128), "its first batch is always whole");
        assert!(has_room(128, 0, 128) && has_room(511, BATCH_BYTES - 1, 128) && !has_room(512, 0, 128));
        assert!(!has_room(128, BATCH_BYTES, 128));
        assert!(has_room(usize::MAX - 1, 0, usize::MAX / 2));
    }
}
