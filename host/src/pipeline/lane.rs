//! A sink's own track: it writes, retries, parks or discards, and never waits for another lane.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use super::carry::Stepped;
use super::circuit::Circuit;
use super::dead_letter::{Desk, Refused, hand_in};
use super::parking::Parking;
use super::stages;
use crate::backoff::Backoff;
use crate::config::{OnFailure, SinkPlan};
use crate::delivery::{Delivery, Duty, settle_duties};
use crate::ledger::Outcome;
use crate::lifecycle::Stop;
use crate::message::Message;
use crate::sink::{Sink, StageError, Written};
use crate::source::{BUSY, Pace, Refusal};
use crate::telemetry::{Counter, Health, Telemetry};

/// Pause between two proofs of an idle sink that is down.
const PROOF: Duration = Duration::from_secs(1);

/// How often a lane that waits for its sink looks at how full the window is.
const PRESSING: Duration = Duration::from_millis(50);

/// How long what is to be parked waits for more: each time it costs the broker a write and a confirmation, however little it is.
const GATHER: Duration = Duration::from_millis(50);

/// What a lane runs by; it may change while the lane runs.
#[derive(Clone)]
pub(super) struct LaneSettings {
    /// The sink.
    pub(super) sink: SinkPlan,
    /// The sink is opened anew where this differs from what is open.
    pub(super) number: u64,
}

/// Which of its settings a lane has open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opened {
    /// Their number.
    pub(super) number: u64,
    /// How long nothing was written because of it.
    pub(super) took: Duration,
}

/// A lane's writer.
pub(super) struct Lane {
    /// Writes, and tells how it is.
    pub(super) writer: Writer,
    /// What it runs by.
    pub(super) settings: watch::Receiver<LaneSettings>,
    /// Tells which of them are open.
    pub(super) opened: watch::Sender<Opened>,
    /// What the sink cannot take, or could not before.
    pub(super) parking: Parking,
    /// How batches are cut.
    pub(super) pace: watch::Receiver<Pace>,
    /// Where refused deliveries go.
    pub(super) desk: Desk,
    /// Ends every wait.
    pub(super) stop: Stop,
}

/// A sink, and how it is.
pub(super) struct Writer {
    /// `sinks.NAME`.
    pub(super) stage: Arc<str>,
    /// The destination.
    pub(super) sink: Box<dyn Sink>,
    /// Its counters and health.
    pub(super) telemetry: Telemetry,
    /// Whether the last write went well.
    pub(super) up: bool,
    /// Whether it may be tried.
    pub(super) circuit: Circuit,
}

/// A batch that the sink must answer for.
struct Batch {
    messages: Vec<Message>,
    duties: Vec<Duty>,
    generation: u64,
}

impl Batch {
    /// Whether the window has little room left.
    fn is_pressing(&self) -> bool {
        self.duties.first().is_some_and(Duty::is_pressing)
    }

    /// Waits until it has.
    async fn pressing(&self) {
        while !self.is_pressing() {
            sleep(PRESSING).await;
        }
    }
}

impl Lane {
    /// Writes what comes, until the steps before it have ended. What was parked before goes first.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Stepped>) {
        self.prove().await;
        if !self.look_for_parked().await {
            return;
        }
        loop {
            let due = self.parking.due();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = changed(&mut self.settings) => self.adopt().await,
                // Before the next batch: else a steady stream would only ever be parked, and nothing stored.
                () = sleep_until(due) => self.recover().await,
                batch = batches.recv() => match batch {
                    Some(batch) => self.take(batch, &mut batches).await,
                    None => return,
                },
                () = sleep(PROOF), if !self.writer.up => self.prove().await,
            }
            // One batch a turn, or what is parked would go out while the window stands full.
            if let Ok(batch) = batches.try_recv() {
                self.take(batch, &mut batches).await;
            }
        }
    }

    /// Runs by what holds now. A sink whose settings differ is closed and opened anew, between two writes.
    async fn adopt(&mut self) {
        let LaneSettings { sink, number } = self.settings.borrow_and_update().clone();
        if self.parking.follow() && !self.look_for_parked().await {
            return;
        }
        if number == self.opened.borrow().number {
            return;
        }
        let begun = Instant::now();
        // The old one goes first: two cannot listen on one address.
        std::mem::replace(&mut self.writer.sink, Box::new(Closed)).close().await;
        self.writer.sink = stages::make_sink(&sink, &self.writer.telemetry);
        self.writer.circuit.close();
        self.prove().await;
        info!(sink = %self.writer.stage, took = ?begun.elapsed(), "the sink was opened anew with its new settings");
        self.opened.send_replace(Opened { number, took: begun.elapsed() });
    }

    /// Writes nothing, which proves that the sink works: an idle pipeline knows how it is as well.
    async fn prove(&mut self) {
        // A failure is noted as the stage's health, and there is no message that could be hurt by it.
        drop(self.writer.write(&[]).await);
    }

    /// Before the first batch: whatever an earlier run parked is older. False when the stop came first.
    async fn look_for_parked(&mut self) -> bool {
        let mut backoff = Backoff::default();
        let mut told = false;
        while let Err(failure) = self.parking.look().await {
            // Once: the source reports the same outage, and for how long.
            if !std::mem::replace(&mut told, true) {
                warn!(sink = %self.writer.stage, cause = %failure, "the parking queue cannot be looked at; trying again until it can");
            }
            if !backoff.wait(&self.stop).await {
                return false;
            }
        }
        self.note_parked();
        true
    }

    /// Takes a batch, joined with what waits behind it, and for parking also with what comes soon, unless the sink may be tried before.
    async fn take(&mut self, mut stepped: Stepped, batches: &mut mpsc::Receiver<Stepped>) {
        let most = self.pace.borrow().max_messages;
        let until = self.parking.is_parked().then(|| self.parking.due().min(Instant::now() + GATHER));
        while stepped.deliveries.len() < most {
            let more = match until {
                Some(until) if !stepped.is_pressing() => timeout_at(until, batches.recv()).await.ok().flatten(),
                _ => batches.try_recv().ok(),
            };
            let Some(more) = more else { break };
            stepped.deliveries.extend(more.deliveries);
            stepped.generation = more.generation;
        }
        let (messages, duties) = stepped.deliveries.into_iter().map(Delivery::into_parts).unzip();
        let batch = Batch { messages, duties, generation: stepped.generation };
        if self.parking.is_parked() {
            self.park(batch, "parked_before", "older messages of this sink are parked").await;
        } else {
            self.write(batch).await;
        }
    }

    /// Writes a batch, or does with it what `on_failure` says.
    async fn write(&mut self, batch: Batch) {
        let begun = Instant::now();
        loop {
            if self.writer.circuit.is_open() && self.settings.borrow().sink.on_failure == OnFailure::Discard {
                return self.discard(batch);
            }
            let failure = match self.writer.write(&batch.messages).await {
                Ok(written) => return self.settle(batch, written).await,
                Err(failure) => failure,
            };
            let on_failure = self.settings.borrow().sink.on_failure;
            match on_failure {
                OnFailure::Discard => return self.discard(batch),
                OnFailure::Park(after) if begun.elapsed() >= after || batch.is_pressing() => {
                    return self.park(batch, &failure.code, &failure.message).await;
                }
                OnFailure::Park(_) | OnFailure::Block => {}
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = changed(&mut self.settings) => self.adopt().await,
                () = sleep_until(self.writer.circuit.next()) => {}
                // Before the window is full, and the other lanes get nothing any more.
                () = batch.pressing(), if matches!(on_failure, OnFailure::Park(_)) => {
                    return self.park(batch, &failure.code, &failure.message).await;
                }
            }
        }
    }

    async fn settle(&mut self, batch: Batch, written: Written) {
        if written.refused.is_empty() {
            return settle_duties(batch.duties, Outcome::Delivered);
        }
        let mut refused = Vec::with_capacity(written.refused.len());
        let mut delivered = Vec::with_capacity(batch.duties.len());
        let mut reasons = written.refused.into_iter().peekable();
        for (index, (message, duty)) in batch.messages.into_iter().zip(batch.duties).enumerate() {
            match reasons.next_if(|(refused, _)| *refused == index) {
                None => delivered.push(duty),
                Some((_, reason)) => {
                    let refusal = Refusal { stage: Arc::clone(&self.writer.stage), reason, plugin: None };
                    refused.push(Refused {
                        delivery: Delivery::from_parts(message, duty),
                        refusal,
                        generation: batch.generation,
                    });
                }
            }
        }
        settle_duties(delivered, Outcome::Delivered);
        hand_in(&self.desk, refused).await;
    }

    fn discard(&self, batch: Batch) {
        warn!(sink = %self.writer.stage, messages = batch.messages.len(), "discarded");
        self.writer.telemetry.count(Counter::DiscardedMessages, &[("sink", &self.writer.stage)], batch.messages.len() as u64);
        settle_duties(batch.duties, Outcome::Dropped);
    }

    async fn park(&mut self, batch: Batch, code: &str, cause: &str) {
        let Batch { messages, duties, generation } = batch;
        let deliveries = messages.into_iter().zip(duties).map(|(message, duty)| Delivery::from_parts(message, duty)).collect();
        self.parking.park(deliveries, generation, (code, cause), &self.stop).await;
        self.note_parked();
    }

    /// Tries to store what is parked, oldest first.
    async fn recover(&mut self) {
        if !self.parking.finds_parked().await {
            return;
        }
        let stage = &self.writer.stage;
        match self.parking.recover(&mut self.writer.sink, &self.stop).await {
            Ok(recovered) => {
                self.writer.telemetry.count(Counter::RecoveredMessages, &[("sink", stage)], recovered);
                self.writer.note_up();
            }
            // Not the sink's fault: another replica, or a connection that is being given up, has the letters.
            Err(failure) if failure.code == BUSY => {
                debug!(sink = %stage, cause = %failure, "what is parked is not to be had now")
            }
            Err(failure) => self.writer.note_down(&failure),
        }
        self.note_parked();
    }

    fn note_parked(&self) {
        self.writer.telemetry.set_parked(&self.settings.borrow().sink.name, self.parking.is_parked());
    }
}

/// Waits for other settings; for ever, where nobody is left who could send them.
async fn changed(settings: &mut watch::Receiver<LaneSettings>) {
    if settings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// In the place of a sink that is closed, until the next one is open.
struct Closed;

#[async_trait]
impl Sink for Closed {
    async fn write(&mut self, _: &[Message]) -> Result<Written, StageError> {
        Err(StageError { code: "closed".into(), message: "the sink is being opened anew".into(), needs_operator: false })
    }
}

impl Writer {
    async fn write(&mut self, messages: &[Message]) -> Result<Written, StageError> {
        let written = self.sink.write(messages).await;
        self.up = written.is_ok();
        match &written {
            Err(failure) => {
                self.circuit.fail();
                self.note_down(failure);
            }
            Ok(written) => {
                self.circuit.close();
                self.note_up();
                let sink = [("sink", &*self.stage)];
                self.telemetry.count(Counter::DuplicateMessages, &sink, written.duplicates);
                self.telemetry.count(Counter::UnheardMessages, &sink, written.unheard);
                for (_, reason) in &written.refused {
                    self.telemetry.count(Counter::RejectedMessages, &[("step", &*self.stage), ("code", &*reason.code)], 1);
                }
            }
        }
        written
    }

    fn note_up(&self) {
        if self.telemetry.set_health(&self.stage, Health::Up) {
            info!(sink = %self.stage, "the sink is up");
        }
    }

    fn note_down(&self, failure: &StageError) {
        self.telemetry.count(Counter::StageFailures, &[("stage", &self.stage), ("code", &failure.code)], 1);
        if !self.telemetry.set_health(&self.stage, Health::Down(failure.message.clone())) {
            return;
        }
        if failure.needs_operator {
            error!(sink = %self.stage, code = failure.code, cause = %failure, "the sink needs a person to mend it");
        } else {
            warn!(sink = %self.stage, code = failure.code, cause = %failure, "the sink is down; trying again");
        }
    }
}
