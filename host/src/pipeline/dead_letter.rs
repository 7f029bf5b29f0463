//! Dead letters: what can never succeed goes to `<queue>.dead`, and is settled once the broker has confirmed it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::postbox::Postbox;
use crate::backoff::Backoff;
use crate::delivery::{Delivery, settle};
use crate::keys::{self, RandomError};
use crate::ledger::Outcome;
use crate::lifecycle::Stop;
use crate::message::Message;
use crate::source::{Letter, Refusal, SideQueue, StageError, header};

/// Letters that are confirmed together.
const WINDOW: usize = 1000;
/// Random bytes of an id.
const ID_BYTES: usize = 16;

/// A delivery that is refused, with what its letter says.
#[derive(Debug)]
pub(super) struct Refused {
    /// The message and its duty.
    pub(super) delivery: Delivery,
    /// Who refused it, and why.
    pub(super) refusal: Refusal,
    /// The generation that refused it.
    pub(super) generation: u64,
}

/// Who writes letters and has them confirmed.
#[derive(Clone)]
pub(super) struct Office {
    /// Name of the pipeline.
    pub(super) pipeline: Arc<str>,
    /// Where the letters go.
    pub(super) postbox: Postbox,
}

/// The desk where refused deliveries are handed in. The office settles them.
pub(super) type Desk = mpsc::Sender<Vec<Refused>>;

impl Office {
    /// Writes what is handed in, until every desk is gone, or the stop.
    pub(super) async fn work(self, mut refused: mpsc::Receiver<Vec<Refused>>, stop: Stop) {
        while let Some(mut batch) = refused.recv().await {
            while batch.len() < WINDOW {
                let Ok(more) = refused.try_recv() else { break };
                batch.extend(more);
            }
            if !self.settle(batch, &stop).await {
                return;
            }
        }
    }

    /// Tries until the broker has confirmed all; false when the stop came first, and the messages stay with the broker.
    async fn settle(&self, batch: Vec<Refused>, stop: &Stop) -> bool {
        let letter = |refused: &Refused| {
            self.letter(refused.delivery.message.clone(), &refused.refusal, refused.generation, refused.delivery.lane())
        };
        let letters: Vec<Letter> = batch.iter().map(letter).collect();
        let mut backoff = Backoff::default();
        let mut told = false;
        while let Err(error) = self.postbox.mailbox().put(&SideQueue::Dead, &letters).await {
            if !std::mem::replace(&mut told, true) {
                warn!(letters = letters.len(), code = error.code, cause = %error, "dead letters are not confirmed; trying again until they are");
            }
            if !backoff.wait(stop).await {
                return false;
            }
        }
        info!(letters = letters.len(), "dead-lettered");
        settle(batch.into_iter().map(|refused| refused.delivery), Outcome::DeadLettered);
        true
    }

    /// Puts letters at once: for messages that have no delivery, because they come from the parking queue of this lane.
    ///
    /// # Errors
    /// Fails when the broker did not confirm them.
    pub(super) async fn put(&self, refused: Vec<(Message, Refusal)>, generation: u64, lane: &str) -> Result<(), StageError> {
        if refused.is_empty() {
            return Ok(());
        }
        let letters: Vec<Letter> =
            refused.into_iter().map(|(message, refusal)| self.letter(message, &refusal, generation, Some(lane))).collect();
        self.postbox.mailbox().put(&SideQueue::Dead, &letters).await
    }

    fn letter(&self, message: Message, refusal: &Refusal, generation: u64, lane: Option<&str>) -> Letter {
        let reason = &refusal.reason;
        let mut headers = vec![
            (header::PIPELINE, self.pipeline.to_string()),
            (header::STAGE, refusal.stage.to_string()),
            (header::CODE, reason.code.to_string()),
            (header::REASON, reason.message.clone()),
            (header::GENERATION, generation.to_string()),
            (header::TIME, humantime::format_rfc3339_millis(SystemTime::now()).to_string()),
        ];
        headers.extend(reason.pointer.clone().map(|pointer| (header::POINTER, pointer)));
        headers.extend(refusal.plugin.as_ref().map(|digest| (header::PLUGIN, digest.to_string())));
        headers.extend(lane.map(|lane| (header::LANE, lane.to_owned())));
        headers.extend(history(&message));
        Letter { message, headers }
    }
}

/// The letter's own id, and what its message has been through before.
fn history(message: &Message) -> Vec<(&'static str, String)> {
    let said = |name: &str| message.properties.get(&format!("header:{name}"));
    let before: u32 = said(header::ATTEMPTS).and_then(|attempts| attempts.parse().ok()).unwrap_or(0);
    let mut headers = vec![(header::ATTEMPTS, before.saturating_add(1).to_string())];
    headers.extend(said(header::LETTER).map(|letter| (header::PREVIOUS_LETTER, letter.into_owned())));
    match draw_id() {
        Ok(id) => headers.push((header::LETTER, id)),
        // The letter counts for more than its id.
        Err(error) => warn!(%error, "a dead letter gets no id of its own"),
    }
    headers
}

/// An id that nothing else has: 32 hexadecimal digits.
pub(super) fn draw_id() -> Result<String, RandomError> {
    Ok(keys::draw_nonces(1, ID_BYTES)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Hands deliveries in at a desk.
pub(super) async fn hand_in(desk: &Desk, refused: Vec<Refused>) {
    // Were the office gone, dropping the deliveries leaves them with the broker.
    if !refused.is_empty() && desk.send(refused).await.is_err() {
        warn!("the dead-letter office has closed; the messages stay with the broker");
    }
}
