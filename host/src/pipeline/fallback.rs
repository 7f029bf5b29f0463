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
use crate::config::OnFailure;
use crate::delivery::{Duty, settle_duties};
use crate::ledger::Outcome;
use crate::lifecycle::Stop;
use crate::sink::{StageError, Written};
use crate::source::Pace;
use crate::telemetry::{Counter, Telemetry};

/// What a sink may take at any time without being called slow.
const STALL: Duration = Duration::from_secs(1);
/// How long it may take where its messages are only let go.
const DISCARD_AFTER: Duration = Duration::from_secs(2);
/// How long what is to be parked waits for more: each time it costs the broker a write and a confirmation, however little it is.
pub(super) const GATHER: Duration = Duration::from_millis(50);

/// Why what comes behind parked messages is parked.
pub(super) const BEHIND: Cause<'static> =
    Cause { code: "parked_before", message: "older messages of this sink are parked", attempt: None };

/// A lane's way around its sink.
pub(super) struct Fallback {
    /// `sinks.NAME`.
    pub(super) stage: Arc<str>,
    /// Where to park.
    pub(super) depot: Depot,
    /// How batches are cut.
    pub(super) pace: watch::Receiver<Pace>,
    /// Its counters.
    pub(super) telemetry: Telemetry,
}

impl Fallback {
    /// Joins a batch with what waits behind it, and until then with what comes.
    pub(super) async fn join(
        &self,
        mut stepped: Stepped,
        batches: &mut mpsc::Receiver<Stepped>,
        until: Option<Instant>,
    ) -> Batch {
        let most = self.pace.borrow().max_messages;
        while stepped.deliveries.len() < most {
            let more = match until {
                Some(until) if !stepped.is_pressing() => timeout_at(until, batches.recv()).await.ok().flatten(),
                _ => batches.try_recv().ok(),
            };
            let Some(more) = more else { break };
            stepped.deliveries.extend(more.deliveries);
            stepped.generation = more.generation;
        }
        stepped.into()
    }

    /// Parks a batch.
    pub(super) async fn park(&self, batch: Batch, cause: Cause<'_>) {
        if !self.telemetry.is_parked(&self.depot.sink) {
            let Cause { code, message, .. } = cause;
            warn!(sink = %self.depot.sink, code, cause = message, "parking: what comes for this sink waits on a queue of its own");
            self.telemetry.set_parked(&self.depot.sink, true);
        }
        let generation = batch.generation;
        self.depot.park(batch.into_deliveries(), generation, cause).await;
    }

    /// Lets a batch go, and counts it.
    pub(super) fn discard(&self, batch: Batch) {
        warn!(sink = %self.stage, messages = batch.messages.len(), "discarded");
        self.telemetry.count(Counter::DiscardedMessages, &[("sink", &self.stage)], batch.messages.len() as u64);
        settle_duties(batch.duties, Outcome::Dropped);
    }

    /// Takes a batch away from the sink, whose failure means this.
    pub(super) async fn take(&self, batch: Batch, on_failure: OnFailure, cause: Cause<'_>) {
        match on_failure {
            OnFailure::Discard => self.discard(batch),
            OnFailure::Park(_) | OnFailure::Block => self.park(batch, cause).await,
        }
    }

    /// Runs what a sink has to do. What comes meanwhile waits, but no longer than this: then it is taken away, until the sink is done. Says
    /// whether anything was.
    pub(super) async fn beside<T>(
        &self,
        work: impl Future<Output = T>,
        patience: Option<Duration>,
        on_failure: OnFailure,
        batches: &mut mpsc::Receiver<Stepped>,
    ) -> (T, bool) {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return (done, false),
            () = sleep_for(patience) => {}
        }
        let ended = Stop::new();
        tokio::join!(ending(work, &ended), self.take_all(on_failure, batches, &ended))
    }

    /// Goes on with an attempt to write a batch that takes too long: the batch is taken away, and what comes behind it. It gives the marks of
    /// the parked letters whose messages the sink has taken in the end.
    pub(super) async fn relieve(
        &self,
        attempt: impl Future<Output = Result<Written, StageError>>,
        batch: Batch,
        on_failure: OnFailure,
        batches: &mut mpsc::Receiver<Stepped>,
    ) -> HashSet<String> {
        // Without an id of its own the attempt cannot be told from others, and what it writes is written again.
        let id = draw_id().unwrap_or_default();
        let parts = depot::parts(&batch.duties);
        let cause = Cause { code: "slow", message: "the sink takes long, and is still being tried", attempt: Some(&id) };
        let ended = Stop::new();
        let around = async {
            self.take(batch, on_failure, cause).await;
            self.take_all(on_failure, batches, &ended).await;
        };
        let (written, ()) = tokio::join!(ending(attempt, &ended), around);
        match written {
            Ok(written) if !id.is_empty() => depot::taken(&id, &parts, &written.refused),
            _ => HashSet::new(),
        }
    }

    /// Takes away what comes, until the sink is done. Says whether there was anything.
    pub(super) async fn take_all(&self, on_failure: OnFailure, batches: &mut mpsc::Receiver<Stepped>, ended: &Stop) -> bool {
        let mut any = false;
        while let Some(Some(stepped)) = ended.run_until_cancelled(batches.recv()).await {
            any = true;
            let batch = self.join(stepped, batches, Some(Instant::now() + GATHER)).await;
            self.take(batch, on_failure, BEHIND).await;
        }
        any
    }
}

/// Does a sink's work, and tells when it is done.
pub(super) async fn ending<T>(work: impl Future<Output = T>, ended: &Stop) -> T {
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
