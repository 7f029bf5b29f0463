//! The swap itself, and watching how it went: the last messages leave the old generation, the first batches begin on the new one, stages
//! open and close.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::error;

use super::{StageAction, StageChange, Swap};
use crate::config::{self, Change as Changed, Plan};
use crate::pipeline::change::{Change, Underway};
use crate::pipeline::generation::Generation;
use crate::pipeline::{Pipeline, Running, stages};
use crate::source::StageError;
use crate::source::journal::Journal;
use crate::telemetry::Health;

/// Longest wait for the last messages to leave the old generation: a lane whose sink is down may hold them for long.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the first batches on the new generation; an idle pipeline has none.
const BEGIN_WITHIN: Duration = Duration::from_millis(20);
/// Longest wait for a source that is opened to say how it is.
const UP_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(2);
/// Longest wait for a stage beyond its own time limits.
const STAGE_WITHIN: Duration = Duration::from_secs(60);

/// Puts `next` in place of what runs. None when the pipeline has stopped.
pub(super) async fn swap(
    pipeline: &Pipeline,
    works: &mpsc::Sender<Change>,
    next: Running,
    changed: &[Changed],
    journal: &mut Option<Journal>,
) -> Result<Option<Swap>, StageError> {
    let old = pipeline.running();
    let source = open_source(next.plan(), changed, journal).await?;
    let before = pipeline.ledger.balance();
    let aboard = old.generation.meter.aboard();
    let (reply, underway) = oneshot::channel();
    next.generation.meter.watch(next.generation.workers);
    let generation = Arc::clone(&next.generation);
    let change =
        Change { loaded: next.loaded, generation: next.generation, source, reopened: config::reopened_sinks(changed), reply };
    if works.send(change).await.is_err() {
        return Ok(None);
    }
    let Ok(underway) = underway.await else { return Ok(None) };
    let mut swap = Swap { in_flight: before.in_flight, ..Swap::default() };
    swap.finished_on_old = leave(&old.generation, aboard).await;
    swap.pause = begin(&generation).await;
    swap.stages = finish(pipeline, underway).await;
    let after = pipeline.ledger.balance();
    swap.redelivered = after.redelivered - before.redelivered;
    swap.balanced = after.balanced;
    if !after.balanced {
        error!(balance = ?after, "the ledger does not balance");
    }
    Ok(Some(swap))
}

/// The source opened with its new settings, before the old one is touched; none where it stays.
async fn open_source(
    plan: &Plan,
    changed: &[Changed],
    journal: &mut Option<Journal>,
) -> Result<Option<stages::SourceStage>, StageError> {
    if !config::reopens_source(changed) {
        return Ok(None);
    }
    let stage = stages::open_source(&plan.source, journal.as_ref()).await?;
    *journal = stage.journal.clone();
    Ok(Some(stage))
}

/// Waits until nobody is on the old generation; says how many messages finished on it.
async fn leave(old: &Generation, aboard: u64) -> u64 {
    if old.meter.empty(Instant::now() + LEAVE_WITHIN).await { aboard } else { aboard.saturating_sub(old.meter.aboard()) }
}

async fn begin(new: &Generation) -> Option<super::Pause> {
    // Whether they have all begun or not: what was measured is told.
    drop(timeout(BEGIN_WITHIN, new.meter.measured()).await);
    new.meter.pause()
}

async fn finish(pipeline: &Pipeline, underway: Vec<Underway>) -> Vec<StageChange> {
    let mut done = Vec::with_capacity(underway.len());
    for one in underway {
        match one {
            Underway::Done(change) => done.push(change),
            Underway::Told(told) => {
                let told = timeout(STAGE_WITHIN, told).await.ok().and_then(Result::ok);
                let Some(mut change) = told else { continue };
                if change.action == StageAction::Reopened {
                    change.millis += until_up(pipeline, &change.stage).await;
                }
                done.push(change);
            }
            Underway::Sink { stage, number, mut opened } => {
                let waited = timeout(STAGE_WITHIN, opened.wait_for(|opened| opened.number >= number)).await;
                let took = waited.ok().and_then(|opened| opened.ok().map(|opened| opened.took));
                let change = |took: Duration| {
                    let millis = took.as_secs_f64() * 1000.0;
                    StageChange { stage, action: StageAction::Reopened, millis, left: 0 }
                };
                done.extend(took.map(change));
            }
        }
    }
    done
}

/// Waits until a stage has told that it is up, or down; says how long, in milliseconds.
async fn until_up(pipeline: &Pipeline, stage: &str) -> f64 {
    let begun = Instant::now();
    while begun.elapsed() < UP_WITHIN && pipeline.telemetry.stages().get(stage) == Some(&Health::Starting) {
        sleep(LOOK).await;
    }
    begun.elapsed().as_secs_f64() * 1000.0
}
