//! The side queues, in the journal's own file.

use std::sync::Arc;

use async_trait::async_trait;

use super::sifting::Sieve;
use super::{Entry, Journal, Recorded};
use crate::message::Message;
use crate::source::{Letter, SideQueue, Sifting, StageError, Taking};

/// Most bytes of one taking, so that a queue of large messages is emptied in small pieces.
pub(super) const TAKEN_BYTES: usize = 32 << 20;

/// A journal's side queues.
#[derive(Clone, Debug)]
pub struct Mailbox {
    journal: Journal,
}

impl Mailbox {
    /// The side queues of a journal.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self { journal }
    }
}

#[async_trait]
impl crate::source::Mailbox for Mailbox {
    async fn put(&self, queue: &SideQueue, letters: &[Letter]) -> Result<(), StageError> {
        let entries = letters.iter().map(entry).collect();
        Ok(self.journal.append(&self.journal.side_queue(queue), entries, None).await?)
    }

    async fn open(&self, queue: &SideQueue) -> Result<Box<dyn Taking>, StageError> {
        let queue = self.journal.side_queue(queue);
        Ok(Box::new(Emptying { journal: self.journal.clone(), queue, removed: 0, given: 0 }))
    }

    async fn has_waiting(&self, queue: &SideQueue) -> Result<bool, StageError> {
        Ok(self.journal.last(&self.journal.side_queue(queue)).await?.is_some())
    }

    async fn sift(&self, queue: &SideQueue) -> Result<Box<dyn Sifting + '_>, StageError> {
        Ok(Box::new(Sieve::open(self.journal.clone(), queue).await?))
    }
}

pub(super) fn entry(letter: &Letter) -> Entry {
    let message = &letter.message;
    Entry { id: message.id.clone(), body: message.original.clone(), properties: Arc::new(Recorded::of(message, &letter.headers)) }
}

/// A side queue that is being emptied.
#[derive(Debug)]
struct Emptying {
    journal: Journal,
    queue: Arc<str>,
    /// All up to here is removed.
    removed: i64,
    /// All up to here was given.
    given: i64,
}

#[async_trait]
impl Taking for Emptying {
    async fn next(&mut self, max: usize) -> Result<Vec<Message>, StageError> {
        let stored = self.journal.read(&self.queue, self.given, max, TAKEN_BYTES).await?;
        self.given = stored.last().map_or(self.given, |last| last.sequence);
        Ok(stored.into_iter().map(|stored| stored.message).collect())
    }

    async fn remove(&mut self) -> Result<(), StageError> {
        if self.given > self.removed {
            self.journal.remove(&self.queue, self.removed, self.given).await?;
            self.removed = self.given;
        }
        Ok(())
    }
}
