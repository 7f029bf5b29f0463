//! The newest messages, for those who look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::message::Message;

/// Messages that are kept beside the replay, so that a viewer who falls a little behind misses nothing.
const FOLLOWED: usize = 1024;
/// Most bytes that are kept; the oldest messages make room.
const MAX_BYTES: usize = 64 << 20;

/// A message as it is shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// Its place, from 1 on; restarts with the process.
    pub(super) sequence: u64,
    id: Option<String>,
    body: Bytes,
    time: SystemTime,
}

/// A message as JSON: `body` where it is text, else `base64`.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    sequence: u64,
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    time: String,
}

impl Shown {
    pub(super) fn line(&self) -> Line<'_> {
        let body = std::str::from_utf8(&self.body).ok();
        Line {
            sequence: self.sequence,
            id: self.id.as_deref(),
            body,
            base64: body.is_none().then(|| STANDARD.encode(&self.body)),
            time: humantime::format_rfc3339_millis(self.time).to_string(),
        }
    }
}

/// The newest messages. Whoever reads them holds nobody up: who is too slow finds that some are gone.
#[derive(Debug)]
pub(super) struct Ring {
    /// Tells one life of the ring from the next, since the places restart.
    pub(super) life: u64,
    replay: usize,
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    messages: VecDeque<Arc<Shown>>,
    bytes: usize,
    newest: u64,
}

/// What a reader finds behind its place.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Messages that are gone already.
    pub(super) missed: u64,
    /// The next ones, oldest first.
    pub(super) messages: Vec<Arc<Shown>>,
}

impl Ring {
    pub(super) fn new(replay: usize) -> Self {
        let life = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        Self { life: u64::try_from(life).unwrap_or_default(), replay, kept: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Adds a batch; says whether anybody looks.
    pub(super) fn push(&self, batch: &[Message]) -> bool {
        let time = SystemTime::now();
        let mut kept = self.lock();
        for message in batch {
            kept.newest += 1;
            // A copy, since the message's bytes may be a small piece of a large buffer that would be kept whole.
            let body = Bytes::copy_from_slice(&message.body);
            let id = message.id.as_ref().map(|id| id.as_str().to_owned());
            kept.bytes += body.len();
            let shown = Shown { sequence: kept.newest, id, body, time };
            kept.messages.push_back(Arc::new(shown));
        }
        kept.trim(self.replay.max(FOLLOWED));
        let newest = kept.newest;
        drop(kept);
        self.newest.send_replace(newest);
        self.newest.receiver_count() > 0
    }

    /// The newest messages, as many as a late viewer sees.
    pub(super) fn recent(&self) -> Vec<Arc<Shown>> {
        let kept = self.lock();
        let skipped = kept.messages.len().saturating_sub(self.replay);
        kept.messages.iter().skip(skipped).cloned().collect()
    }

    /// Where a viewer begins who has seen nothing.
    pub(super) fn start(&self) -> u64 {
        let kept = self.lock();
        let shown = self.replay.min(kept.messages.len());
        kept.newest - shown as u64
    }

    /// What lies behind a place, `max` messages at most.
    pub(super) fn behind(&self, place: u64, max: usize) -> Behind {
        let kept = self.lock();
        let oldest = kept.newest + 1 - kept.messages.len() as u64;
        let wanted = place.min(kept.newest) + 1;
        let next = wanted.max(oldest);
        let skipped = usize::try_from(next - oldest).unwrap_or(usize::MAX);
        Behind { missed: next - wanted, messages: kept.messages.iter().skip(skipped).take(max).cloned().collect() }
    }

    /// Changes when messages are added.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn trim(&mut self, most: usize) {
        while self.messages.len() > most || (self.bytes > MAX_BYTES && self.messages.len() > 1) {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, NoProperties};

    fn messages(count: usize, bytes: usize) -> Vec<Message> {
        vec![Message::new(MessageId::new("m"), Bytes::from(vec![b'x'; bytes]), Arc::new(NoProperties)); count]
    }

    fn sequences(messages: &[Arc<Shown>]) -> Vec<u64> {
        messages.iter().map(|shown| shown.sequence).collect()
    }

    #[test]
    fn a_late_viewer_sees_the_newest_and_a_slow_one_learns_what_it_missed() {
        let ring = Ring::new(3);
        ring.push(&messages(2000, 1));
        assert_eq!(sequences(&ring.recent()), [1998, 1999, 2000]);
        assert_eq!(ring.start(), 1997);
        let behind = ring.behind(100, 2);
        assert_eq!((behind.missed, sequences(&behind.messages)), (2000 - 1024 - 100, vec![977, 978]));
        assert_eq!(ring.behind(2000, 9).messages.len(), 0);
    }

    #[test]
    fn the_bytes_that_are_kept_are_bounded() {
        let ring = Ring::new(100);
        for _ in 0..20 {
            ring.push(&messages(1, 10 << 20));
        }
        assert_eq!(ring.recent().len(), 6);
    }

    #[test]
    fn an_empty_ring_has_nothing_behind_any_place() {
        let ring = Ring::new(3);
        let behind = ring.behind(0, 9);
        assert_eq!((behind.missed, behind.messages.len(), ring.start()), (0, 0, 0));
    }

    #[test]
    fn what_is_no_text_is_shown_as_base64() {
        let ring = Ring::new(1);
        ring.push(&[Message::new(None, Bytes::from_static(b"\xff\0"), Arc::new(NoProperties))]);
        let line = serde_json::to_value(ring.recent()[0].line()).unwrap();
        assert_eq!((&line["base64"], line.get("body")), (&serde_json::json!("/wA="), None));
    }
}
