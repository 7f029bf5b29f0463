//! Taking a batch through a chain, off the async threads, with the pauses that steps ask for.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::chain::{Chain, Outcome, Passage, Progress};
use crate::delivery::{Delivery, Duty};
use crate::lifecycle::{Stop, blocking};
use crate::message::Message;

/// A step that holds the line is logged this often.
const REMINDER: Duration = Duration::from_secs(60);

/// Takes deliveries through a chain. None when the stop came first, or the host's own code panicked: the messages then stay with the
/// broker.
pub(super) async fn pass(chain: Chain, deliveries: Vec<Delivery>, stop: &Stop) -> Option<Outcome> {
    let ready = chain.meter.as_ref().and_then(|meter| meter.ready());
    if chain.is_empty() {
        chain.begun(ready);
        return Some(Outcome { passed: deliveries, fallen: Vec::new() });
    }
    let (messages, duties): (Vec<Message>, Vec<Duty>) = deliveries.into_iter().map(Delivery::into_parts).unzip();
    Some(go(chain, messages, ready, stop).await?.into_outcome(duties))
}

/// As [`pass`], for messages without duties.
pub(super) async fn pass_messages(chain: Chain, messages: Vec<Message>, stop: &Stop) -> Option<Passage> {
    go(chain, messages, None, stop).await
}

async fn go(chain: Chain, messages: Vec<Message>, ready: Option<Instant>, stop: &Stop) -> Option<Passage> {
    let entering = chain.clone();
    let enter = move || {
        entering.begun(ready);
        entering.advance(entering.enter(messages))
    };
    let mut progress = run(enter).await?;
    let mut reminded: Option<Instant> = None;
    loop {
        let (passage, pause) = match progress {
            Progress::Done(passage) => return Some(passage),
            Progress::Held(passage, pause) => (passage, pause),
        };
        if reminded.is_none_or(|at| at.elapsed() >= REMINDER) {
            warn!(pause = ?pause, "a step asked for a retry; the messages behind it wait");
            reminded = Some(Instant::now());
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = sleep(pause) => {}
        }
        let again = chain.clone();
        progress = run(move || again.advance(passage)).await?;
    }
}

async fn run(work: impl FnOnce() -> Progress + Send + 'static) -> Option<Progress> {
    let ran = blocking(work).await;
    ran.inspect_err(|failure| error!(%failure, "a step's call panicked in the host; its batch stays with the broker")).ok()
}
