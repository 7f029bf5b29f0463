//! A side queue that is being gone through, on a connection of its own.
//!
//! A move is two things to the broker: a letter is published and confirmed on the one queue, and then acknowledged on the other. What dies
//! in between leaves a letter on both, never on neither, and few of them: see [`TOGETHER`]. AMQP's transactions are no way out. They
//! have no confirmations: the broker acknowledges although it has returned the letter, and a node that dies while it commits may have
//! done the one and not the other, which loses what confirmations would only double.

use std::collections::BTreeSet;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::link::Link;
use super::mailbox::Mailbox;
use super::taking::Reader;
use super::{declare, fault, letter};
use crate::source::{BUSY, Destination, Letter, Lying, MoveError, SideQueue, Sifting, StageError};

/// Letters that are confirmed together before they are taken out of their queue: as many may lie on both when this process dies.
const TOGETHER: usize = 16;

/// Letters that are read together when only their order matters.
const READ_ON: usize = 256;
/// Letters that are given back together: so many keep their order on a quorum queue.
const GIVEN_BACK_TOGETHER: usize = 32;
/// Longest wait for those to lie on the queue again.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
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
    /// Tags of the letters that were given and not taken out.
    held: BTreeSet<u64>,
    /// The first tag of the consumer that now reads.
    since: u64,
    warned: bool,
    /// Whether the last letter that was read had been given back before.
    among_returned: bool,
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
        Ok(Self {
            mailbox,
            link,
            queue,
            name,
            total,
            given: 0,
            reader,
            held: BTreeSet::new(),
            since: 0,
            warned: false,
            among_returned: false,
        })
    }

    fn is_at_the_end(&self) -> bool {
        self.given >= self.total
    }

    async fn read(&mut self, max: usize) -> Result<Vec<lapin::message::Delivery>, StageError> {
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        let turn = reader.turn;
        let batch = reader.next(&self.link, &self.name, max).await?;
        if reader.turn != turn {
            self.since = batch.first().map_or(self.since, |first| first.delivery_tag);
        }
        self.given += batch.len() as u64;
        self.held.extend(batch.iter().map(|delivery| delivery.delivery_tag));
        self.among_returned = batch.last().is_some_and(|delivery| letter::returns(&delivery.properties) > 0);
        Ok(batch)
    }

    /// A queue of our own never drops what is given back; one that somebody else has declared may.
    async fn warn_of_returns(&mut self, batch: &[lapin::message::Delivery]) -> Result<(), StageError> {
        let returns = batch.iter().map(|delivery| letter::returns(&delivery.properties)).max().unwrap_or(0);
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
            if self.held.remove(&tag) && tag >= self.since {
                reader.held = reader.held.saturating_sub(1);
            }
        }
        reader.sync(&self.link, doing).await
    }
}

/// Gives letters back a few at a time, each time waiting until they lie on the queue again. A quorum queue puts what is given back behind
/// what was given back before, and within one giving back it keeps the order of a few letters only.
async fn give_back(link: &Link, reader: &mut Reader, name: &str, mut held: BTreeSet<u64>) -> Result<(), StageError> {
    let doing = "giving letters back";
    // Nobody may get again what is given back before the rest is.
    link.answer(doing, reader.channel.basic_cancel(reader.consumer.tag(), Default::default())).await?;
    // What the broker has sent and nobody has read yet.
    while let Some(Some(Ok(unread))) = reader.consumer.next().now_or_never() {
        held.insert(unread.delivery_tag);
    }
    let mut lying = count(link, reader, name).await?;
    let held: Vec<u64> = held.into_iter().collect();
    let mut patient = true;
    for few in held.chunks(GIVEN_BACK_TOGETHER) {
        let Some(last) = few.last() else { continue };
        link.answer(doing, reader.channel.basic_nack(*last, BasicNackOptions { multiple: true, requeue: true })).await?;
        lying += few.len() as u64;
        // Once only in vain: somebody else takes them at once.
        patient = patient && lies(link, reader, name, lying).await?;
    }
    Ok(())
}

/// Waits until so many letters lie on the queue; false when they do not in time.
async fn lies(link: &Link, reader: &Reader, name: &str, letters: u64) -> Result<bool, StageError> {
    let until = Instant::now() + GIVEN_BACK_WITHIN;
    while count(link, reader, name).await? < letters {
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(true)
}

async fn count(link: &Link, reader: &Reader, name: &str) -> Result<u64, StageError> {
    Ok(declare::look(link, &reader.channel, name).await?.message_count().into())
}

fn taken_by_another(name: &str) -> StageError {
    fault::new(BUSY, format!("somebody else is taking letters from the queue `{name}`: try again when they are done"))
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
        let left = usize::try_from(self.total.saturating_sub(self.given)).unwrap_or(usize::MAX);
        let batch = self.read(max.min(left)).await?;
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

    async fn leave(mut self: Box<Self>) -> Result<(), StageError> {
        // A quorum queue gives out first what was given back to it, and puts what is given back behind that: what is held must not get
        // behind letters that are newer. Other queues put a letter back to its place, and never say that it was given back.
        while self.among_returned && !self.read(READ_ON).await?.is_empty() {}
        let Self { link, name, reader, held, .. } = *self;
        if let Some(mut reader) = reader {
            give_back(&link, &mut reader, &name, held).await?;
        }
        link.close().await;
        Ok(())
    }
}
