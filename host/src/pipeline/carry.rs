//! From the source to the lanes: batches go through the steps in parallel and come out in order.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, watch};

use super::chain::Outcome;
use super::dead_letter::{Desk, Refused, hand_in};
use super::generation::Generation;
use super::halt::Halt;
use super::passing::pass;
use super::step::Fall;
use crate::delivery::{self, Delivery};
use crate::ledger;
use crate::lifecycle::Stop;

/// Deliveries behind steps, with the generation that they went through.
pub(super) struct Stepped {
    /// What goes on.
    pub(super) deliveries: Vec<Delivery>,
    /// Number of the generation.
    pub(super) generation: u64,
}

/// What the carrying of batches needs, before the fan-out and in each lane.
#[derive(Clone)]
pub(super) struct Carrier {
    /// The generation that new batches begin on.
    pub(super) current: watch::Receiver<Arc<Generation>>,
    /// The sink whose own steps these are; none before the fan-out.
    pub(super) lane: Option<Arc<str>>,
    /// Where refused deliveries go.
    pub(super) desk: Desk,
    /// Pulled by a step whose failure must stop the line.
    pub(super) halt: Halt,
    /// Batches that are in the steps at one time.
    pub(super) workers: usize,
    /// Most messages of a batch, before one more source batch is joined to it.
    pub(super) max_messages: usize,
    /// Ends pauses that steps asked for.
    pub(super) stop: Stop,
}

impl Carrier {
    /// Carries until the source has ended and everything it gave has left the steps, or until the halt.
    pub(super) async fn carry(self, mut batches: mpsc::Receiver<Vec<Delivery>>, onward: Onward) {
        let mut inside = FuturesOrdered::new();
        loop {
            let stepped = tokio::select! {
                biased;
                Some(stepped) = inside.next() => stepped,
                batch = next_batch(&mut batches, self.max_messages), if inside.len() < self.workers => match batch {
                    Some(batch) => {
                        inside.push_back(self.step(batch));
                        continue;
                    }
                    None => match inside.next().await {
                        Some(stepped) => stepped,
                        None => return,
                    },
                },
            };
            // A batch that did not come through stops the line: what is behind it must not overtake it.
            let Some(stepped) = stepped else { return };
            onward.send(stepped).await;
        }
    }

    /// Takes one batch through the steps and deals with what falls. None when the line must stop.
    async fn step(&self, batch: Vec<Delivery>) -> Option<Stepped> {
        // A batch ends on the generation that it began on.
        let generation = Arc::clone(&self.current.borrow());
        let chain = self.lane.as_ref().map_or_else(|| generation.through.clone(), |lane| generation.lane(lane));
        let outcome = pass(chain, batch, &self.stop).await?;
        if let Some(refusal) = outcome.halted() {
            self.halt.pull(&refusal);
            return None;
        }
        self.drop_out(outcome.fallen, generation.number).await;
        Some(Stepped { deliveries: outcome.passed, generation: generation.number })
    }

    async fn drop_out(&self, fallen: Vec<(Delivery, Fall)>, generation: u64) {
        let (mut dropped, mut refused) = (Vec::new(), Vec::new());
        for (delivery, fall) in fallen {
            match fall {
                Fall::Dropped => dropped.push(delivery),
                Fall::Refused(refusal) | Fall::Halted(refusal) => refused.push(Refused { delivery, refusal, generation }),
            }
        }
        delivery::settle(dropped, ledger::Outcome::Dropped);
        hand_in(&self.desk, refused).await;
    }
}

/// The next batch, joined with what waits behind it: a source that is faster than the steps gives many small ones, and every batch
/// costs the same call, statement and wake-up whatever its size. Dropping the future loses nothing.
async fn next_batch(batches: &mut mpsc::Receiver<Vec<Delivery>>, max_messages: usize) -> Option<Vec<Delivery>> {
    let mut batch = batches.recv().await?;
    while batch.len() < max_messages {
        let Ok(more) = batches.try_recv() else { break };
        batch.extend(more);
    }
    Some(batch)
}

impl Outcome {
    fn halted(&self) -> Option<crate::source::Refusal> {
        self.fallen.iter().find_map(|(_, fall)| if let Fall::Halted(refusal) = fall { Some(refusal.clone()) } else { None })
    }
}

/// Where stepped batches go.
pub(super) enum Onward {
    /// To every lane.
    Lanes(Vec<(Arc<str>, mpsc::Sender<Vec<Delivery>>)>),
    /// To the lane's writer.
    Writer(mpsc::Sender<Stepped>),
}

impl Onward {
    async fn send(&self, stepped: Stepped) {
        if stepped.deliveries.is_empty() {
            return;
        }
        match self {
            // A writer that is gone leaves its deliveries with the broker.
            Self::Writer(writer) => drop(writer.send(stepped).await),
            Self::Lanes(lanes) => fan_out(lanes, stepped.deliveries).await,
        }
    }
}

async fn fan_out(lanes: &[(Arc<str>, mpsc::Sender<Vec<Delivery>>)], deliveries: Vec<Delivery>) {
    let names: Vec<Arc<str>> = lanes.iter().map(|(name, _)| Arc::clone(name)).collect();
    let mut shares: Vec<Vec<Delivery>> = lanes.iter().map(|_| Vec::with_capacity(deliveries.len())).collect();
    for delivery in deliveries {
        delivery.fan_out(&names).into_iter().zip(&mut shares).for_each(|(twin, share)| share.push(twin));
    }
    for ((_, lane), share) in lanes.iter().zip(shares) {
        // The channel holds a whole window, so that no lane ever waits for another here; a lane that is gone leaves its deliveries with the broker.
        drop(lane.send(share).await);
    }
}
