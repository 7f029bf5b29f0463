//! Taking a batch through a chain, with the pauses that steps ask for: where it is, while that takes no time to speak of, else off the async threads.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::chain::{Chain, Outcome, Parcel, Passage, Progress};
use super::generation::Generation;
use super::track::Track;
use crate::delivery::Delivery;
use crate::lifecycle::{Stop, blocking};
use crate::message::Message;
use crate::plugin::Turn;

/// A step that holds the line is logged this often.
const REMINDER: Duration = Duration::from_secs(60);

/// Where a batch goes on that a step holds while a newer generation comes into force.
#[derive(Clone)]
pub(super) struct Succession {
    /// What is current.
    pub(super) tracks: watch::Receiver<Arc<Track>>,
    /// The sink whose own steps these are; none before the fan-out.
    pub(super) lane: Option<Arc<str>>,
}

impl Succession {
    /// Waits for another generation than this; for ever, where nobody is left who could bring one.
    async fn after(&mut self, number: u64) -> Arc<Generation> {
        let newer = self.tracks.wait_for(|track| track.generation.number != number).await;
        match newer.map(|track| Arc::clone(&track.generation)) {
            Ok(generation) => generation,
            Err(_) => pending().await,
        }
    }

    fn chain(&self, generation: &Generation) -> Chain {
        self.lane.as_ref().map_or_else(|| generation.through.clone(), |lane| generation.lane(lane))
    }
}

/// Takes deliveries through the chain of a generation. None when the stop came first, or the host's own code panicked: the messages then
/// stay with the broker.
pub(super) async fn pass(
    mut generation: Arc<Generation>,
    mut succession: Succession,
    deliveries: Vec<Delivery>,
    stop: &Stop,
) -> Option<(Outcome<Delivery>, Arc<Generation>)> {
    let mut chain = succession.chain(&generation);
    let since = chain.meter.as_ref().and_then(|meter| meter.ready());
    if chain.is_empty() {
        chain.begun(since);
        return Some((Outcome { passed: deliveries, fallen: Vec::new() }, generation));
    }
    let mut progress = enter(&chain, deliveries, since).await?;
    let mut reminder = Reminder::default();
    loop {
        let (mut passage, pause) = match progress {
            Progress::Done(outcome) => return Some((outcome, generation)),
            Progress::Held(passage, pause) => (passage, pause),
        };
        reminder.tell(pause);
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            newer = succession.after(generation.number) => {
                // A mended step mends what waits for it.
                let successor = succession.chain(&newer);
                passage.change_over(&chain, &successor);
                (chain, generation) = (successor, newer);
            }
            () = sleep(pause) => {}
        }
        progress = advance(&chain, passage).await?;
    }
}

/// As [`pass`], for messages without duties, on this chain alone.
pub(super) async fn pass_messages(chain: Chain, messages: Vec<Message>, stop: &Stop) -> Option<Outcome<Message>> {
    let mut progress = enter(&chain, messages, None).await?;
    let mut reminder = Reminder::default();
    loop {
        let (passage, pause) = match progress {
            Progress::Done(outcome) => return Some(outcome),
            Progress::Held(passage, pause) => (passage, pause),
        };
        reminder.tell(pause);
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = sleep(pause) => {}
        }
        progress = advance(&chain, passage).await?;
    }
}

async fn enter<P: Parcel>(chain: &Chain, parcels: Vec<P>, since: Option<Instant>) -> Option<Progress<P>> {
    let turn = chain.turn(&parcels);
    let entered = chain.clone();
    let enter = move || {
        entered.begun(since);
        entered.advance(entered.enter(parcels), turn)
    };
    match run(turn, enter).await? {
        // The short turn did not suffice.
        Progress::Held(passage, pause) if turn == Turn::Short && pause.is_zero() => advance(chain, passage).await,
        progress => Some(progress),
    }
}

async fn advance<P: Parcel>(chain: &Chain, passage: Passage<P>) -> Option<Progress<P>> {
    let chain = chain.clone();
    run(Turn::Whole, move || chain.advance(passage, Turn::Whole)).await
}

/// Says from time to time that a step holds the line.
#[derive(Default)]
struct Reminder {
    last: Option<Instant>,
}

impl Reminder {
    fn tell(&mut self, pause: Duration) {
        if self.last.is_none_or(|at| at.elapsed() >= REMINDER) {
            warn!(pause = ?pause, "a step asked for a retry; the messages behind it wait");
            self.last = Some(Instant::now());
        }
    }
}

async fn run<P: Parcel>(turn: Turn, work: impl FnOnce() -> Progress<P> + Send + 'static) -> Option<Progress<P>> {
    let ran = match turn {
        Turn::Short => catch_unwind(AssertUnwindSafe(work)).map_err(drop),
        Turn::Whole => blocking(work).await.map_err(drop),
    };
    // The panic itself has told what and where.
    ran.inspect_err(|()| error!("a step's call panicked in the host; its batch stays with the broker")).ok()
}
