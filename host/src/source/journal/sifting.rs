//! A side queue that is being gone through. A move is one transaction: a letter is on one queue or on the other, whatever dies.

use std::sync::Arc;

use async_trait::async_trait;

use super::mailbox::{TAKEN_BYTES, entry};
use super::{Entry, Journal};
use crate::source::{Destination, Letter, Lying, MoveError, SideQueue, Sifting, StageError};

/// A side queue that is being gone through.
#[derive(Debug)]
pub(super) struct Sieve {
    journal: Journal,
    queue: Arc<str>,
    total: u64,
    /// Place of the last letter that lay there at the opening: replayed messages that are refused again come behind it.
    last: i64,
    /// All up to here was given.
    given: i64,
}

impl Sieve {
    pub(super) async fn open(journal: Journal, queue: &SideQueue) -> Result<Self, StageError> {
        let queue = journal.side_queue(queue);
        let last = journal.last(&queue).await?.unwrap_or(0);
        let total = journal.count(&queue).await?;
        Ok(Self { journal, queue, total, last, given: 0 })
    }
}

#[async_trait]
impl Sifting for Sieve {
    fn total(&self) -> u64 {
        self.total
    }

    async fn next(&mut self, max: usize) -> Result<Vec<Lying>, StageError> {
        if self.given >= self.last {
            return Ok(Vec::new());
        }
        let mut stored = self.journal.read(&self.queue, self.given, max, TAKEN_BYTES).await?;
        stored.retain(|stored| stored.sequence <= self.last);
        self.given = stored.last().map_or(self.last, |last| last.sequence);
        Ok(stored.into_iter().map(|stored| Lying { place: stored.sequence, message: stored.message }).collect())
    }

    async fn move_to(&mut self, to: &Destination, letters: Vec<(i64, Letter)>) -> Result<(), MoveError> {
        let to = match to {
            Destination::Source => Arc::clone(self.journal.queue()),
            Destination::Side(side) => self.journal.side_queue(side),
        };
        let (places, entries): (Vec<i64>, Vec<Entry>) = letters.iter().map(|(place, letter)| (*place, entry(letter))).unzip();
        self.journal.take_out(&self.queue, places, Some((to, entries))).await.map_err(|cause| MoveError { moved: 0, cause })
    }

    async fn discard(&mut self, places: &[i64]) -> Result<(), StageError> {
        self.journal.take_out(&self.queue, places.to_vec(), None).await
    }

    async fn leave(self: Box<Self>) -> Result<(), StageError> {
        Ok(())
    }
}
