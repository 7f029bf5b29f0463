//! From the source to the lanes: batches go through the steps in parallel and come out in order.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, watch};

use super::aboard::Aboard;
use super::chain::Outcome;
use super::dead_letter::{Desk, Refused, hand_in};
use super::generation::Generation;
use super::halt::Halt;
use super::passing::{Succession, pass};
use super::recent::Recent;
use super::step::Fall;
use super::track::{Doorway, Track};
use crate::delivery::{self, Delivery};
use crate::ledger;
use crate::lifecycle::Stop;
use crate::source::{Pace, Refusal};

/// Deliveries behind steps, with the generation that they went through.
pub(super) struct Stepped {
    /// What goes on.
    pub(super) deliveries: Vec<Delivery>,
    /// Number of the generation.
    pub(super) generation: u64,
}

impl Stepped {
    /// How long the bodies are together.
    pub(super) fn bytes(&self) -> usize {
        self.deliveries.iter().map(|delivery| delivery.message.body.len()).sum()
    }

    /// Whether the window has little room left.
    pub(super) fn is_pressing(&self) -> bool {
        self.deliveries.first().is_some_and(Delivery::is_pressing)
    }
}

/// Deliveries on their way to a lane's own steps, on the generation that they began on.
pub(super) struct Share {
    deliveries: Vec<Delivery>,
    /// The batches that it is made of; never empty.
    aboard: Vec<Arc<Aboard>>,
}

/// What the carrying of batches needs, before the fan-out and in each lane.
#[derive(Clone)]
pub(super) struct Carrier {
    /// Where refused deliveries go.
    pub(super) desk: Desk,
    /// Pulled by a step whose failure must stop the line.
    pub(super) halt: Halt,
    /// What is current.
    pub(super) tracks: watch::Receiver<Arc<Track>>,
    /// How batches are cut.
    pub(super) pace: watch::Receiver<Pace>,
    /// Ends pauses that steps asked for.
    pub(super) stop: Stop,
}

impl Carrier {
    /// Carries what the source takes through the steps before the fan-out, and on to the lanes. Each batch begins on what is current then.
    pub(super) async fn carry_all(self, mut batches: mpsc::Receiver<Vec<Delivery>>, recent: Arc<Recent>) {
        let mut inside = FuturesOrdered::new();
        loop {
            let workers = self.tracks.borrow().generation.workers;
            let stepped = tokio::select! {
                biased;
                Some(stepped) = inside.next() => stepped,
                // What comes while a batch is under way is joined; only what is more than a batch goes beside it. Each costs the same way to a thread
                // of the steps and back, however small it is.
                batch = next_batch(&mut batches, &self.pace), if inside.is_empty() || (inside.len() < workers && !batches.is_empty()) => match batch {
                    Some(batch) => {
                        recent.note(&batch);
                        // The one place at which a swap takes effect.
                        let track = Arc::clone(&self.tracks.borrow());
                        inside.push_back(self.begin(track, batch));
                        continue;
                    }
                    None => match inside.next().await {
                        Some(stepped) => stepped,
                        None => return,
                    },
                },
            };
            // A batch that did not come through stops the line: what is behind it must not overtake it.
            let Some((track, aboard, stepped)) = stepped else { return };
            fan_out(&track.lanes, stepped.deliveries, &Arc::new(aboard)).await;
        }
    }

    async fn begin(&self, track: Arc<Track>, mut batch: Vec<Delivery>) -> Option<(Arc<Track>, Aboard, Stepped)> {
        batch.iter_mut().for_each(|delivery| delivery.begin(track.generation.number));
        let aboard = Aboard::new(Arc::clone(&track.generation), batch.len());
        let stepped = self.step(None, &aboard, batch).await?;
        Some((track, aboard, stepped))
    }

    /// Carries a lane's share through the lane's own steps, until the fan-out has closed the lane and all of it is out.
    pub(super) async fn carry_lane(self, lane: Arc<str>, mut inlet: Inlet, writer: mpsc::Sender<Stepped>) {
        let mut inside = FuturesOrdered::new();
        let mut workers = 1;
        loop {
            let stepped = tokio::select! {
                biased;
                Some(stepped) = inside.next() => stepped,
                share = inlet.next(&self.pace), if inside.is_empty() || (inside.len() < workers && inlet.has_more()) => match share {
                    Some(share) => {
                        workers = share.generation().workers;
                        inside.push_back(self.step_share(&lane, share));
                        continue;
                    }
                    None => match inside.next().await {
                        Some(stepped) => stepped,
                        None => return,
                    },
                },
            };
            let Some(stepped) = stepped else { return };
            if !stepped.deliveries.is_empty() && writer.send(stepped).await.is_err() {
                // A writer that is gone leaves its deliveries with the broker.
                return;
            }
        }
    }

    async fn step_share(&self, lane: &Arc<str>, share: Share) -> Option<Stepped> {
        let aboard = share.aboard.first()?;
        self.step(Some(Arc::clone(lane)), aboard, share.deliveries).await
    }

    /// Takes one batch through the steps and deals with what falls. None when the line must stop.
    async fn step(&self, lane: Option<Arc<str>>, aboard: &Aboard, batch: Vec<Delivery>) -> Option<Stepped> {
        let succession = Succession { tracks: self.tracks.clone(), lane };
        let begun_on = Arc::clone(aboard.generation());
        let (outcome, generation) = pass(begun_on, succession, batch, &self.stop).await?;
        if let Some(refusal) = outcome.halted() {
            self.halt.pull(&refusal);
            return None;
        }
        self.drop_out(outcome.fallen, &generation).await;
        Some(Stepped { deliveries: outcome.passed, generation: generation.number })
    }

    async fn drop_out(&self, fallen: Vec<(Delivery, Fall)>, generation: &Generation) {
        if fallen.is_empty() {
            return;
        }
        let (mut dropped, mut refused) = (Vec::new(), Vec::new());
        for (delivery, fall) in fallen {
            match fall {
                Fall::Dropped => dropped.push(delivery),
                Fall::Refused(refusal) | Fall::Halted(refusal) => {
                    refused.push(Refused { delivery, refusal, generation: generation.number });
                }
            }
        }
        generation.meter.refuse(refused.len());
        delivery::settle(dropped, ledger::Outcome::Dropped);
        hand_in(&self.desk, refused).await;
    }
}

/// The next batch, joined with what waits behind it: a source that is faster than the steps gives many small ones, and every batch
/// costs the same call, statement and wake-up whatever its size. Dropping the future loses nothing.
async fn next_batch(batches: &mut mpsc::Receiver<Vec<Delivery>>, pace: &watch::Receiver<Pace>) -> Option<Vec<Delivery>> {
    let mut batch = batches.recv().await?;
    let most = pace.borrow().max_messages;
    while batch.len() < most {
        let Ok(more) = batches.try_recv() else { break };
        batch.extend(more);
    }
    Some(batch)
}

/// The way into a lane.
pub(super) struct Inlet {
    shares: mpsc::Receiver<Share>,
    /// Came first on another generation than the shares before it.
    waiting: Option<Share>,
}

impl Inlet {
    pub(super) fn new(shares: mpsc::Receiver<Share>) -> Self {
        Self { shares, waiting: None }
    }

    /// Whether one waits.
    fn has_more(&self) -> bool {
        self.waiting.is_some() || !self.shares.is_empty()
    }

    /// The next share, joined with what waits behind it on the same generation. Dropping the future loses nothing.
    async fn next(&mut self, pace: &watch::Receiver<Pace>) -> Option<Share> {
        let mut share = match self.waiting.take() {
            Some(share) => share,
            None => self.shares.recv().await?,
        };
        let most = pace.borrow().max_messages;
        while share.deliveries.len() < most {
            let Ok(more) = self.shares.try_recv() else { break };
            if !Arc::ptr_eq(share.generation(), more.generation()) {
                self.waiting = Some(more);
                break;
            }
            share.deliveries.extend(more.deliveries);
            share.aboard.extend(more.aboard);
        }
        Some(share)
    }
}

impl Share {
    fn generation(&self) -> &Arc<Generation> {
        self.aboard.first().expect("a share is made of one batch at least").generation()
    }
}

impl Outcome<Delivery> {
    fn halted(&self) -> Option<Refusal> {
        self.fallen.iter().find_map(|(_, fall)| if let Fall::Halted(refusal) = fall { Some(refusal.clone()) } else { None })
    }
}

async fn fan_out(lanes: &[Doorway], deliveries: Vec<Delivery>, aboard: &Arc<Aboard>) {
    if deliveries.is_empty() {
        return;
    }
    let names: Vec<Arc<str>> = lanes.iter().map(|lane| Arc::clone(&lane.name)).collect();
    for (lane, deliveries) in lanes.iter().zip(delivery::fan_out(deliveries, &names)) {
        let share = Share { deliveries, aboard: vec![Arc::clone(aboard)] };
        // The channel holds a whole window, so that no lane ever waits for another here; a lane that is gone leaves its deliveries with the broker.
        drop(lane.shares.send(share).await);
    }
}
