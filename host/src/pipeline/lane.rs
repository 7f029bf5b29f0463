//! A sink's own track: it writes, retries, parks or discards, and never waits for another lane.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::batch::{Batch, is_pressing, pressing};
use super::carry::Stepped;
use super::dead_letter::{Desk, Refused, hand_in};
use super::depot::Cause;
use super::fallback::{Aside, BEHIND, Fallback, GATHER, Refusals, Relieved, overdue, patience};
use super::parking::Parking;
use super::stages;
use super::writer::Writer;
use crate::backoff::Backoff;
use crate::config::{OnFailure, SinkPlan};
use crate::delivery::{Delivery, settle_duties};
use crate::ledger::Outcome;
use crate::lifecycle::Stop;
use crate::message::Message;
use crate::sink::{Sink, StageError, Written};
use crate::source::{BUSY, Refusal};
use crate::telemetry::Counter;

/// Pause between two proofs of an idle sink that is down.
const PROOF: Duration = Duration::from_secs(1);

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
    /// What the sink could not take before.
    pub(super) parking: Parking,
    /// Where messages go that it cannot take now.
    pub(super) fallback: Fallback,
    /// Where refused deliveries go.
    pub(super) desk: Desk,
    /// Ends every wait.
    pub(super) stop: Stop,
}

/// How an attempt to write a batch ended.
enum Attempt {
    /// It is answered for.
    Done,
    /// The sink could not take it.
    Failed(Batch, StageError),
    /// This is to be written next: it could not be parked, and all that was is stored.
    GivenBack(Batch),
}

impl Lane {
    /// Writes what comes, until the steps before it have ended. What was parked before goes first.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Stepped>) {
        self.prove(&mut batches).await;
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
                () = sleep_until(due) => self.recover(&mut batches).await,
                batch = batches.recv() => match batch {
                    Some(batch) => self.take(batch, &mut batches).await,
                    None => return,
                },
                // What is parked proves it as well.
                () = sleep(PROOF), if !self.writer.up && !self.parking.is_parked() => self.prove(&mut batches).await,
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
        self.writer.up = false;
        // Whoever holds messages meanwhile holds them no longer than that; a server that needs more is proven afterwards.
        drop(timeout(PROOF, self.writer.write(&[])).await);
        info!(sink = %self.writer.stage, took = ?begun.elapsed(), "the sink was opened anew with its new settings");
        self.opened.send_replace(Opened { number, took: begun.elapsed() });
    }

    /// Writes nothing, which proves that the sink works: an idle pipeline knows how it is as well.
    async fn prove(&mut self, batches: &mut mpsc::Receiver<Stepped>) {
        let on_failure = self.settings.borrow().sink.on_failure;
        let proving = self.writer.write(&[]);
        // A failure is noted as the stage's health, and there is no message that could be hurt by it.
        let (_, aside) = self.fallback.beside(proving, patience(on_failure), on_failure, batches).await;
        if let Some(held) = self.follow_up(aside, on_failure).await {
            self.write(held, batches).await;
        }
    }

    /// What was parked beside the sink's work is known from now on, and what could not be is parked now, or given back as [`Self::park`] does.
    async fn follow_up(&mut self, Aside { any, held }: Aside, on_failure: OnFailure) -> Option<Batch> {
        if any && on_failure != OnFailure::Discard {
            self.parking.begin(HashSet::new());
        }
        self.park(held?, BEHIND).await
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
    async fn take(&mut self, stepped: Stepped, batches: &mut mpsc::Receiver<Stepped>) {
        if self.parking.may_be_behind() && !self.look_for_parked().await {
            return;
        }
        let until = self.parking.is_parked().then(|| self.parking.due().min(Instant::now() + GATHER));
        let mut batch = Some(self.fallback.join(stepped, batches, until).await);
        if self.parking.is_parked()
            && let Some(parked) = batch.take()
        {
            batch = self.park(parked, BEHIND).await;
        }
        if let Some(batch) = batch {
            self.write(batch, batches).await;
        }
    }

    /// Writes a batch, or does with it what `on_failure` says.
    async fn write(&mut self, mut batch: Batch, batches: &mut mpsc::Receiver<Stepped>) {
        let begun = Instant::now();
        loop {
            if self.writer.circuit.is_open() && self.settings.borrow().sink.on_failure == OnFailure::Discard {
                return self.fallback.discard(batch);
            }
            let failure;
            (batch, failure) = match self.attempt(batch, batches).await {
                Attempt::Done => return,
                Attempt::Failed(batch, failure) => (batch, failure),
                Attempt::GivenBack(back) => {
                    batch = back;
                    continue;
                }
            };
            let on_failure = self.settings.borrow().sink.on_failure;
            if on_failure == OnFailure::Discard {
                return self.fallback.discard(batch);
            }
            let is_over = matches!(on_failure, OnFailure::Park(after) if begun.elapsed() >= after || is_pressing(&batch.duties));
            if !is_over {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = changed(&mut self.settings) => { self.adopt().await; continue }
                    () = sleep_until(self.writer.circuit.next()) => continue,
                    // Before the window is full, and the other lanes get nothing any more.
                    () = pressing(&batch.duties), if matches!(on_failure, OnFailure::Park(_)) => {}
                }
            }
            match self.park(batch, because(&failure)).await {
                Some(back) => batch = back,
                None => return,
            }
        }
    }

    /// Writes a batch once, and settles it. An attempt that takes too long goes on, but its messages, and those that come meanwhile, wait for it no
    /// longer.
    async fn attempt(&mut self, mut batch: Batch, batches: &mut mpsc::Receiver<Stepped>) -> Attempt {
        let on_failure = self.settings.borrow().sink.on_failure;
        let ended = {
            let mut writing = pin!(self.writer.write(&batch.messages));
            tokio::select! {
                biased;
                written = &mut writing => Ok(written),
                () = overdue(on_failure, &batch.duties) => {
                    let relieved = Batch {
                        messages: batch.messages.clone(),
                        duties: std::mem::take(&mut batch.duties),
                        generation: batch.generation,
                    };
                    Err(self.fallback.relieve(writing, relieved, on_failure, batches).await)
                }
            }
        };
        match ended {
            Ok(written) => self.conclude(batch, written).await,
            Err(relieved) => self.follow_up_attempt(relieved, on_failure).await,
        }
    }

    async fn conclude(&mut self, batch: Batch, written: Result<Written, StageError>) -> Attempt {
        match written {
            Ok(written) => {
                self.settle(batch, written).await;
                Attempt::Done
            }
            Err(failure) => Attempt::Failed(batch, failure),
        }
    }

    /// An attempt that took long has ended.
    async fn follow_up_attempt(&mut self, relieved: Relieved, on_failure: OnFailure) -> Attempt {
        let Relieved { written, held, aside, taken } = relieved;
        if on_failure != OnFailure::Discard && (held.is_none() || written.is_ok()) {
            self.parking.begin(taken);
        }
        if let Some(held) = held {
            // Not all of it is parked, and nothing has come behind it.
            return self.conclude(held, written).await;
        }
        self.follow_up(aside, on_failure).await.map_or(Attempt::Done, Attempt::GivenBack)
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

    /// Parks a batch; at the stop it stays with the broker. Where the broker refuses it until the sink is back and has taken all that is parked, the
    /// batch is given back, to be written.
    async fn park(&mut self, mut batch: Batch, cause: Cause<'_>) -> Option<Batch> {
        let mut refusals = Refusals::default();
        while let Err((back, failure)) = self.fallback.park(batch, cause).await {
            batch = back;
            if !refusals.wait(&self.writer.stage, &failure, &self.stop).await {
                return None;
            }
            // Some of it may be on the queue all the same. A queue that may hold no more has room again once something of it is stored.
            self.parking.begin(HashSet::new());
            if self.parking.due() <= Instant::now() {
                let recovered = self.parking.recover(&mut self.writer.sink).await;
                self.note_recovered(recovered);
            }
            if !self.parking.is_parked() {
                self.note_parked();
                return Some(batch);
            }
        }
        self.parking.begin(HashSet::new());
        None
    }

    /// Tries to store what is parked, oldest first.
    async fn recover(&mut self, batches: &mut mpsc::Receiver<Stepped>) {
        if !self.parking.finds_parked().await {
            return;
        }
        let recovering = self.parking.recover(&mut self.writer.sink);
        let (recovered, aside) = self.fallback.beside(recovering, Some(GATHER), OnFailure::Park(GATHER), batches).await;
        self.note_recovered(recovered);
        // It may have found the queue empty just before.
        let held = self.follow_up(aside, OnFailure::Park(GATHER)).await;
        self.note_parked();
        if let Some(held) = held {
            self.write(held, batches).await;
        }
    }

    fn note_recovered(&mut self, recovered: Result<u64, StageError>) {
        let stage = &self.writer.stage;
        match recovered {
            Ok(recovered) => {
                self.writer.telemetry.count(Counter::RecoveredMessages, &[("sink", stage)], recovered);
                self.writer.up = true;
                self.writer.note_up();
            }
            // Not the sink's fault: another replica, or a connection that is being given up, has the letters.
            Err(failure) if failure.code == BUSY => {
                debug!(sink = %stage, cause = %failure, "what is parked is not to be had now")
            }
            Err(failure) => self.writer.note_down(&failure),
        }
    }

    fn note_parked(&self) {
        self.writer.telemetry.set_parked(&self.settings.borrow().sink.name, self.parking.is_parked());
    }
}

fn because(failure: &StageError) -> Cause<'_> {
    Cause { code: &failure.code, message: &failure.message, attempt: None }
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
