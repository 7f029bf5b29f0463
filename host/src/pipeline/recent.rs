//! The last real messages, for the preflight of the next change.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::message::Message;

/// Most bytes that are kept, whatever their number.
const MAX_BYTES: usize = 4 << 20;
/// A longer message is not kept.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// At full rate a batch is looked at this often: the cost of it must not be felt.
const EVERY: Duration = Duration::from_millis(10);

/// The last messages that the source took. Copies share the bytes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    messages: VecDeque<Message>,
    bytes: usize,
    capacity: usize,
    last: Option<Instant>,
}

impl Recent {
    /// Keeps so many messages from now on.
    pub(super) fn resize(&self, capacity: usize) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.capacity = capacity;
        ring.shrink();
    }

    /// Notes a batch, or not: where somebody looks at the ring just now, or looked a moment ago, it is left out.
    pub(super) fn note(&self, batch: &[Delivery]) {
        let Ok(mut ring) = self.ring.try_lock() else { return };
        let is_full = ring.messages.len() >= ring.capacity;
        if ring.capacity == 0 || (is_full && ring.last.is_some_and(|last| last.elapsed() < EVERY)) {
            return;
        }
        ring.last = Some(Instant::now());
        let newest = batch.len().saturating_sub(ring.capacity);
        for delivery in batch.iter().skip(newest).filter(|delivery| delivery.message.original.len() <= MAX_MESSAGE_BYTES) {
            ring.bytes += delivery.message.original.len();
            ring.messages.push_back(delivery.message.clone());
        }
        ring.shrink();
    }

    /// The messages, oldest first, as they came.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).messages.iter().cloned().collect()
    }
}

impl Ring {
    fn shrink(&mut self) {
        while self.messages.len() > self.capacity || self.bytes > MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.original.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::delivery::{Window, settle};
    use crate::ledger::{Ledger, Outcome};
    use crate::message::NoProperties;

    fn note(recent: &Recent, bodies: &[Vec<u8>]) {
        let window = Window::new(Arc::new(Ledger::default()));
        let message = |body: &Vec<u8>| Message::new(None, Bytes::from(body.clone()), Arc::new(NoProperties));
        let deliveries = window.take(bodies.iter().map(message));
        recent.note(&deliveries);
        settle(deliveries, Outcome::Dropped);
    }

    fn lengths(recent: &Recent) -> Vec<usize> {
        recent.messages().iter().map(|message| message.body.len()).collect()
    }

    #[tokio::test]
    async fn the_newest_are_kept_by_number_and_by_bytes() {
        let recent = Recent::default();
        note(&recent, &[vec![0; 1]]);
        assert_eq!(lengths(&recent), [0; 0], "nothing is kept before somebody wants it");
        recent.resize(3);
        note(&recent, &[vec![0; 1], vec![0; 2], vec![0; 3], vec![0; 4]]);
        assert_eq!(lengths(&recent), [2, 3, 4]);
        tokio::time::sleep(EVERY).await;
        note(&recent, &[vec![0; 5], vec![0; MAX_MESSAGE_BYTES + 1]]);
        assert_eq!(lengths(&recent), [3, 4, 5]);
        recent.resize(1000);
        note(&recent, &vec![vec![0; MAX_MESSAGE_BYTES]; 20]);
        assert_eq!(lengths(&recent), [MAX_MESSAGE_BYTES; 16]);
        recent.resize(0);
        assert_eq!(lengths(&recent), [0; 0]);
    }
}
