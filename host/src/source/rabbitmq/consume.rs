//! The source: one connection after the other, each with a window of its own, so that no acknowledgement ever meets a channel that
//! its message did not come from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::Channel;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::envelope::Gathered;
use super::inflow::Inflow;
use super::link::Link;
use super::receipts::{End, Receipts};
use super::{Settings, declare, fault};
use crate::backoff::Backoff;
use crate::lifecycle::Stop;
use crate::source::{Intake, StageError};
use crate::telemetry::{Counter, Health};

/// How often the client library is asked whether the connection stands.
const WATCH: Duration = Duration::from_millis(500);
/// When the pipeline ends, a consumer to which nothing comes for so long has nothing more.
const IDLE: Duration = Duration::from_millis(20);
/// Longest time for what comes then.
const AHEAD: Duration = Duration::from_millis(200);
/// How often the broker is asked whether it still knows the consumer.
const PULSE: Duration = Duration::from_secs(15);

/// RabbitMQ as a source.
#[derive(Debug)]
pub struct Source {
    settings: Settings,
    stage: Arc<str>,
}

impl Source {
    /// A source that has not connected yet. `stage` is its name in health, metrics and logs, e.g. `source.rabbitmq`.
    #[must_use]
    pub fn new(settings: Settings, stage: &str) -> Self {
        Self { settings, stage: stage.into() }
    }

    fn note_up(&self, intake: &Intake) {
        intake.telemetry.count(Counter::StageConnects, &[("stage", &self.stage)], 1);
        if intake.telemetry.set_health(&self.stage, Health::Up) {
            info!(stage = %self.stage, queue = self.settings.queue, prefetch = self.settings.prefetch, "consuming");
        }
    }

    fn note_down(&self, intake: &Intake, fault: &StageError, pause: Duration) {
        intake.telemetry.count(Counter::StageFailures, &[("stage", &self.stage), ("code", &fault.code)], 1);
        let news = intake.telemetry.set_health(&self.stage, Health::Down(fault.message.clone()));
        let (stage, code, cause) = (&self.stage, &fault.code, &fault.message);
        match (news, fault.needs_operator) {
            (true, true) => error!(%stage, code, cause, next_attempt = ?pause, "not consuming, and somebody must mend it"),
            (true, false) => warn!(%stage, code, cause, next_attempt = ?pause, "not consuming"),
            (false, _) => debug!(%stage, code, cause, next_attempt = ?pause, "still not consuming"),
        }
    }
}

/// Proves that a source with these settings can consume: connects, declares the queue where there is none, and leaves.
///
/// # Errors
/// Says why it cannot.
pub async fn prove(settings: &Settings) -> Result<(), StageError> {
    let link = Link::open(settings, "tidegate check").await?;
    let declared = declare::source_queue(&link, &settings.queue).await;
    link.close().await;
    declared
}

#[async_trait]
impl crate::source::Source for Source {
    async fn run(self: Box<Self>, mut intake: Intake, stop: Stop) -> u64 {
        let mut backoff = Backoff::new(self.settings.max_backoff);
        loop {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return 0,
                opened = Session::open(&self.settings, &intake) => opened,
            };
            let failure = match opened {
                Err(fault) => fault,
                Ok(session) => {
                    self.note_up(&intake);
                    let since = Instant::now();
                    match session.carry(intake, &stop).await {
                        Carried::Stopped(left) => return left,
                        Carried::Failed(fault, again) => {
                            intake = again;
                            // A connection that fails as soon as it stands must not be tried at full speed.
                            if since.elapsed() > self.settings.max_backoff {
                                backoff.reset();
                            }
                            fault
                        }
                    }
                }
            };
            let pause = backoff.pause();
            self.note_down(&intake, &failure, pause);
            tokio::select! {
                biased;
                () = stop.cancelled() => return 0,
                () = sleep(pause) => {}
            }
        }
    }
}

/// One connection, from its first message to its last.
struct Session {
    link: Link,
    channel: Channel,
    inflow: Inflow,
    receipts: Receipts,
    queue: String,
}

/// How a session ended.
enum Carried {
    /// By the stop, with so many messages left to the broker.
    Stopped(u64),
    /// By a failure: the intake goes to the next session.
    Failed(StageError, Intake),
}

impl Session {
    async fn open(settings: &Settings, intake: &Intake) -> Result<Self, StageError> {
        let queue = settings.queue.clone();
        let link = Link::open(settings, "tidegate").await?;
        declare::source_queue(&link, &queue).await?;
        let channel = link.channel().await?;
        let inflow = Inflow::open(&link, channel.clone(), settings, &intake.takeovers).await?;
        let receipts = Receipts::new(Arc::clone(&intake.ledger), settings.timeout);
        receipts.set_limit(inflow.prefetch());
        Ok(Self { link, channel, inflow, receipts, queue })
    }

    /// Takes and acknowledges until something ends it.
    async fn carry(mut self, intake: Intake, stop: &Stop) -> Carried {
        let last = Stop::new();
        // An acknowledgement that is under way must not be cut off by the stop, so it goes on while the rest drains.
        let mut passing = Box::pin(self.receipts.pass(&last));
        let end = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            end = &mut passing => Some(end),
            fault = watch(&self.link, &self.channel, &self.queue) => Some(End::Lost(fault)),
            fault = take(&mut self.inflow, &self.link, &self.receipts, &intake) => fault.map(End::Lost),
        };
        let Some(end) = end else {
            let drain_timeout = intake.pace().drain_timeout;
            let rest = async {
                if let Err(fault) = take_last(&mut self.inflow, &self.link, &self.receipts, intake).await {
                    debug!(cause = fault.message, "what the broker had sent ahead could not be taken");
                }
                last.cancel();
            };
            let passed = async { tokio::join!(rest, passing.as_mut()).1 };
            drain(passed, &self.link, &self.channel, drain_timeout).await;
            drop(passing);
            // What is settled although not all of it is: it was held back as long as all of it might be.
            if let Err(fault) = self.receipts.pass_settled().await {
                debug!(cause = fault.message, "what was settled while draining could not be acknowledged");
            }
            return Carried::Stopped(self.end().await);
        };
        drop(passing);
        let taken = self.receipts.taken();
        let left = self.end().await;
        Carried::Failed(failure(end, taken, left), intake)
    }

    /// Closes the connection and the account. What the broker did not see acknowledged it delivers again.
    async fn end(self) -> u64 {
        self.link.close().await;
        self.receipts.give_back()
    }
}

fn failure(end: End, taken: u64, left: u64) -> StageError {
    match end {
        End::Lost(fault) => {
            debug!(taken, returned = left, "the connection is lost");
            fault
        }
        End::Abandoned | End::Settled => {
            error!(taken, returned = left, "a delivery was let go without an answer; the broker delivers again what is left");
            fault::new("abandoned", "a delivery was let go without an answer")
        }
    }
}

/// Waits until all that was taken is acknowledged, as long as there is hope.
async fn drain(passing: impl Future<Output = End>, link: &Link, channel: &Channel, limit: Duration) {
    tokio::select! {
        biased;
        end = passing => match end {
            End::Settled => {}
            End::Abandoned => warn!("a delivery was let go without an answer while draining"),
            End::Lost(fault) => warn!(code = fault.code, cause = fault.message, "the connection was lost while draining"),
        },
        fault = lost(link, channel) => warn!(code = fault.code, cause = fault.message, "the connection was lost while draining"),
        () = sleep(limit) => warn!(drain_timeout = ?limit, "not everything was settled in time"),
    }
}

/// Returns once the client library knows that the connection or the channel is gone.
async fn lost(link: &Link, channel: &Channel) -> StageError {
    while link.is_up() && channel.status().connected() {
        sleep(WATCH).await;
    }
    fault::new("connection_lost", "the connection is closed")
}

/// Returns once the connection is gone, or the broker does not know the consumer any more.
async fn watch(link: &Link, channel: &Channel, queue: &str) -> StageError {
    let pulse = async {
        loop {
            sleep(PULSE).await;
            match declare::look(link, channel, queue).await {
                // Brokers have lost consumers without a word to them.
                Ok(seen) if seen.consumer_count() == 0 => {
                    return fault::new("consumer_lost", "the broker has forgotten the consumer");
                }
                Ok(_) => {}
                Err(fault) => return fault,
            }
        }
    };
    tokio::select! {
        fault = lost(link, channel) => fault,
        fault = pulse => fault,
    }
}

/// Takes batches until the consumer fails; none when nobody wants batches any more.
async fn take(inflow: &mut Inflow, link: &Link, receipts: &Receipts, intake: &Intake) -> Option<StageError> {
    // The room is asked for first: a batch that would have to wait for it could be larger, and would be lost with the connection.
    while let Ok(room) = intake.batches.reserve().await {
        let pace = intake.pace();
        let batch = match inflow.gather(pace.max_messages.max(1), pace.linger).await {
            Ok(batch) => batch,
            Err(fault) => return Some(fault),
        };
        inflow.note(&batch);
        room.send(receipts.take(batch));
        // Behind the batch, so that a stop in between leaves nothing unanswered.
        if let Err(fault) = inflow.fit(link, receipts).await {
            return Some(fault);
        }
    }
    None
}

/// Takes what the broker has sent ahead: given back, it would only be delivered again.
///
/// What is on its way to a consumer when that is cancelled a quorum queue takes back in no order. At the end of the pipeline a consumer is therefore
/// cancelled only while nothing can be on its way to it, because its window is full and nothing is acknowledged. Where it is not full, the few
/// messages that still come are given back, in order, by the end of the connection. Where another source follows in this process,
/// the consumer is always cancelled: a swap has the broker deliver nothing again. A host that waits for its turn gets it with that. Where the window
/// is full, and so nothing more can come, what is out is settled before, and nothing overtakes it.
async fn take_last(inflow: &mut Inflow, link: &Link, receipts: &Receipts, intake: Intake) -> Result<(), StageError> {
    let most = intake.pace().max_messages.max(1);
    let quiet = receipts.hold().await;
    let mut ready = Vec::from_iter(inflow.take_begun());
    if intake.ending.is_cancelled() {
        ready.extend(gather_ahead(inflow, most).await);
    }
    for batch in ready {
        match intake.batches.reserve().await {
            Ok(room) => room.send(receipts.take(batch)),
            Err(_) => return Ok(()),
        }
    }
    let is_full = inflow.is_full(receipts.unacknowledged());
    if is_full && !receipts.settled().await {
        return Ok(());
    }
    let cancels = is_full || !intake.ending.is_cancelled();
    if cancels {
        inflow.cancel(link).await?;
    }
    drop(quiet);
    if cancels {
        take_rest(inflow, receipts, intake).await;
    }
    Ok(())
}

/// What is ready, until nothing has come for a moment.
async fn gather_ahead(inflow: &mut Inflow, most: usize) -> Vec<Gathered> {
    let until = Instant::now() + AHEAD;
    let mut batches = Vec::new();
    let mut batch = Gathered::default();
    while let Ok(Some(Ok(delivery))) = timeout(IDLE.min(until - Instant::now()), inflow.next()).await {
        batch.push(delivery);
        if batch.len() >= most {
            batches.push(std::mem::take(&mut batch));
        }
    }
    batches.extend((batch.len() > 0).then_some(batch));
    batches
}

/// Takes what a cancelled consumer still has.
async fn take_rest(inflow: &mut Inflow, receipts: &Receipts, intake: Intake) {
    let most = intake.pace().max_messages.max(1);
    loop {
        let mut batch = Gathered::default();
        while batch.len() < most {
            match inflow.next().await {
                Some(Ok(delivery)) => batch.push(delivery),
                // Both end the stream: nothing comes behind them.
                Some(Err(_)) | None => break,
            }
        }
        let is_last = batch.len() < most;
        match intake.batches.reserve().await {
            Ok(room) if batch.len() > 0 => room.send(receipts.take(batch)),
            Ok(_) | Err(_) => return,
        }
        if is_last {
            return;
        }
    }
}
