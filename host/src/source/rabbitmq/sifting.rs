//! A side queue that is being gone through, on a connection of its own.
//!
//! A move is two things to the broker: a letter is published and confirmed on the one queue, and then acknowledged on the other. What dies
//! in between leaves a letter on both, never on neither, and few of them: see [`TOGETHER`]. AMQP's transactions are no way out. They
//! have no confirmations: the broker acknowledges although it has returned the letter, and a node that dies while it commits may have
//! done the one and not the other, which loses what confirmations would only double.

use std::collections::BTreeSet;

use async_trait::async_trait;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tracing::warn;

use super::link::Link;
use super::mailbox::Mailbox;
use super::taking::Reader;
use super::{declare, fault, letter};
use crate::source::{Destination, Letter, Lying, MoveError, SideQueue, Sifting, StageError};

/// Letters that are confirmed together before they are taken out of their queue: as many may lie on both when this process dies.
const TOGETHER: usize = 16;

/// A letter that was given back this often would not be given back much more by a quorum queue with the broker's own limit of 20.
const MANY_RETURNS: i64 = 10;

/// A side queue that is being gone through. Dropping it cuts its connection, and the broker takes back what was not taken out.
pub(super) struct Sieve<'a> {
    mailbox: &'a Mailbox,
    link: Link,
    queue: SideQueue,
    name: String,
    total: u64,
    given: u64,
    /// None where the queue does not exist.
    reader: Option<Reader>,
    /// Tags of this consumer's letters that were not taken out.
    held: BTreeSet<u64>,
    /// The last such tag of each consumer before.
    earlier: Vec<u64>,
    warned: bool,
}

impl<'a> Sieve<'a> {
    pub(super) async fn open(mailbox: &'a Mailbox, queue: SideQueue) -> Result<Self, StageError> {
        let (link, name) = (mailbox.taking_link().await?, mailbox.name(&queue)?);
        let (mut total, mut reader) = (0, None);
        if let Some(found) = declare::find(&link, &name).await? {
            if found.consumer_count() > 0 {
                return Err(taken_by_another(&name));
            }
            total = u64::from(found.message_count());
            reader = Some(Reader::open(&link, &name).await?);
        }
        let (held, earlier) = (BTreeSet::new(), Vec::new());
        Ok(Self { mailbox, link, queue, name, total, given: 0, reader, held, earlier, warned: false })
    }

    fn is_at_the_end(&self) -> bool {
        self.given >= self.total
    }

    async fn read(&mut self, max: usize) -> Result<Vec<lapin::message::Delivery>, StageError> {
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        let left = usize::try_from(self.total.saturating_sub(self.given)).unwrap_or(usize::MAX);
        let turn = reader.turn;
        let batch = reader.next(&self.link, &self.name, max.min(left).max(1)).await?;
        if reader.turn != turn {
            self.earlier.extend(std::mem::take(&mut self.held).last());
        }
        self.given += batch.len() as u64;
        self.held.extend(batch.iter().map(|delivery| delivery.delivery_tag));
        Ok(batch)
    }

    /// A queue of our own never drops what is given back; one that somebody else has declared may.
    async fn warn_of_returns(&mut self, batch: &[lapin::message::Delivery]) -> Result<(), StageError> {
        let returns = batch.iter().filter_map(|delivery| letter::returns(&delivery.properties)).max().unwrap_or(0);
        if returns < MANY_RETURNS || std::mem::replace(&mut self.warned, true) {
            return Ok(());
        }
        if self.mailbox.forms().may_drop(&self.link, &self.queue, &self.name).await? {
            warn!(
                queue = self.name,
                returns,
                "letters have been given back often, and somebody else has declared this quorum queue: see that its delivery-limit is high, or the broker drops them (by default at 20)"
            );
        }
        Ok(())
    }

    /// Acknowledges letters one by one.
    async fn take_out(&mut self, places: &[i64]) -> Result<(), StageError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let doing = "taking letters out";
        for tag in places.iter().filter_map(|place| u64::try_from(*place).ok()) {
            self.link.answer(doing, reader.channel.basic_ack(tag, BasicAckOptions { multiple: false })).await?;
            if self.held.remove(&tag) {
                reader.held = reader.held.saturating_sub(1);
            }
        }
        reader.sync(&self.link, doing).await
    }
}

fn taken_by_another(name: &str) -> StageError {
    fault::new("busy", format!("somebody else is taking letters from the queue `{name}`: try again when they are done"))
}

#[async_trait]
impl Sifting for Sieve<'_> {
    fn total(&self) -> u64 {
        self.total
    }

    async fn next(&mut self, max: usize) -> Result<Vec<Lying>, StageError> {
        if self.is_at_the_end() {
            return Ok(Vec::new());
        }
        let batch = self.read(max).await?;
        if batch.is_empty() {
            // There were more when the queue was counted.
            return Err(taken_by_another(&self.name));
        }
        self.warn_of_returns(&batch).await?;
        let lying = |delivery: lapin::message::Delivery| {
            let place = i64::try_from(delivery.delivery_tag).unwrap_or(i64::MAX);
            Lying { place, message: letter::open(&self.queue, delivery).0 }
        };
        Ok(batch.into_iter().map(lying).collect())
    }

    async fn move_to(&mut self, to: &Destination, letters: Vec<(i64, Letter)>) -> Result<(), MoveError> {
        let (places, letters): (Vec<i64>, Vec<Letter>) = letters.into_iter().unzip();
        let mut moved = 0;
        for (places, letters) in places.chunks(TOGETHER).zip(letters.chunks(TOGETHER)) {
            let done = match self.mailbox.post(to, letters).await {
                Ok(()) => self.take_out(places).await,
                Err(cause) => Err(cause),
            };
            done.map_err(|cause| MoveError { moved, cause })?;
            moved += letters.len();
        }
        Ok(())
    }

    async fn discard(&mut self, places: &[i64]) -> Result<(), StageError> {
        self.take_out(places).await
    }

    async fn leave(self: Box<Self>) -> Result<(), StageError> {
        let Self { link, reader, earlier, .. } = *self;
        if let Some(reader) = reader {
            let doing = "giving letters back";
            // Nobody may get again what is given back before the rest is.
            link.answer(doing, reader.channel.basic_cancel(reader.consumer.tag(), Default::default())).await?;
            // Consumer by consumer: a quorum queue keeps the order of what is given back, not that of its places. 0 means all that is left.
            for tag in earlier.into_iter().chain([0]) {
                let options = BasicNackOptions { multiple: true, requeue: true };
                link.answer(doing, reader.channel.basic_nack(tag, options)).await?;
            }
            reader.sync(&link, doing).await?;
        }
        link.close().await;
        Ok(())
    }
}
