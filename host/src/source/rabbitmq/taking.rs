//! A side queue that is being emptied, on a connection of its own.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Consumer};
use tokio::time::timeout;

use super::inflow::received;
use super::link::Link;
use super::{declare, fault, letter};
use crate::message::Message;
use crate::source::{self, SideQueue, StageError, Taking};

/// Letters that the broker sends ahead of being asked.
const PREFETCH: u16 = 2000;
/// How long a batch that is not full waits for letters that are on their way.
const LINGER: Duration = Duration::from_millis(2);

/// A side queue that is being emptied. Dropping it cuts its connection, and the broker takes back what was not removed.
pub(super) struct Shelf {
    link: Link,
    queue: SideQueue,
    name: String,
    /// None as long as the queue does not exist.
    reader: Option<Reader>,
    /// What acknowledges all letters given so far.
    last: Option<Acker>,
}

/// Reads a queue to its end, without removing anything.
pub(super) struct Reader {
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    /// Letters given and not removed that count against the consumer's prefetch.
    pub(super) held: usize,
    /// How many consumers there have been before this one.
    pub(super) turn: u32,
    /// Whether letters come to it: somebody else may have been there first, who holds letters that nobody can see. On a quorum queue with a single
    /// active consumer the broker counts him alone, and not those who wait behind him.
    is_served: bool,
}

impl Shelf {
    pub(super) fn new(link: Link, queue: SideQueue, name: String) -> Self {
        Self { link, queue, name, reader: None, last: None }
    }

    /// Whoever reads holds the queue's lock until his connection ends. Two who came at the same moment would both see nobody before them, and the one
    /// who is not served would take a queue for empty whose letters the other holds.
    async fn reader(&self) -> Result<Option<Reader>, StageError> {
        if !declare::exists(&self.link, &self.name).await? {
            return Ok(None);
        }
        if !declare::lock(&self.link, &self.name).await? {
            return Err(busy(&self.name));
        }
        let Some(before) = declare::find(&self.link, &self.name).await? else { return Ok(None) };
        let reader = Reader::open(&self.link, &self.name).await?;
        Ok(Some(Reader { is_served: before.consumer_count() == 0, ..reader }))
    }
}

async fn consume(link: &Link, channel: &Channel, name: &str, turn: u32) -> Result<Consumer, StageError> {
    link.answer("setting the prefetch", channel.basic_qos(PREFETCH, BasicQosOptions { global: false })).await?;
    // A quorum queue takes back what its consumers held in the order of their names.
    let tag = format!("tidegate-{turn:010}");
    let consumed = channel.basic_consume(name.into(), tag.into(), BasicConsumeOptions::default(), FieldTable::default());
    link.answer(&format!("consuming the queue `{name}`"), consumed).await
}

impl Reader {
    /// Starts to read a queue that exists.
    pub(super) async fn open(link: &Link, name: &str) -> Result<Self, StageError> {
        let channel = link.channel().await?;
        let consumer = consume(link, &channel, name, 0).await?;
        Ok(Self { channel, consumer, held: 0, turn: 0, is_served: true })
    }

    /// Waits until the broker has seen what was acknowledged or given back: that has no answer, but whatever is answered after it says so.
    pub(super) async fn sync(&self, link: &Link, doing: &str) -> Result<(), StageError> {
        link.answer(doing, self.channel.basic_qos(PREFETCH, BasicQosOptions { global: false })).await
    }

    /// The next letters, which then count as held; none when the queue has no more.
    pub(super) async fn next(&mut self, link: &Link, name: &str, max: usize) -> Result<Vec<Delivery>, StageError> {
        if self.held >= usize::from(PREFETCH) {
            // This consumer gets no more before something is removed: one beside it does.
            let cancelled = self.channel.basic_cancel(self.consumer.tag(), Default::default());
            link.answer("cancelling the consumer", cancelled).await?;
            self.turn += 1;
            self.consumer = consume(link, &self.channel, name, self.turn).await?;
            self.held = 0;
        }
        let mut batch = match self.first(link, name).await? {
            Some(first) => vec![first],
            None => return Ok(Vec::new()),
        };
        while batch.len() < max {
            match timeout(LINGER, self.consumer.next()).await {
                Ok(next) => batch.push(received(next)?),
                Err(_) => break,
            }
        }
        self.held += batch.len();
        self.is_served = true;
        Ok(batch)
    }

    /// The next letter; none when the queue has no more.
    async fn first(&mut self, link: &Link, name: &str) -> Result<Option<Delivery>, StageError> {
        // A letter may be on its way between the queue and the channel while the queue is counted. It is there before the next answer.
        for _ in 0..2 {
            if let Some(ready) = self.consumer.next().now_or_never() {
                return received(ready).map(Some);
            }
            let found = declare::look(link, &self.channel, name).await?;
            if found.message_count() > 0 {
                let waited = timeout(link.timeout(), self.consumer.next()).await;
                return received(waited.map_err(|_| busy(name))?).map(Some);
            }
            // A consumer before this one, of another replica or of a lost connection, may hold letters that nobody can see.
            // (A quorum queue counts our own of the turns before as well, as long as letters that they were given are not removed.)
            if found.consumer_count() > 1 + self.turn || !self.is_served {
                return Err(busy(name));
            }
        }
        self.consumer.next().now_or_never().map(received).transpose()
    }
}

fn busy(name: &str) -> StageError {
    fault::new(source::BUSY, format!("the queue `{name}` is being emptied by somebody else"))
}

#[async_trait]
impl Taking for Shelf {
    async fn next(&mut self, max: usize) -> Result<Vec<Message>, StageError> {
        if self.reader.is_none() {
            self.reader = self.reader().await?;
        }
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        let batch = reader.next(&self.link, &self.name, max.max(1)).await?;
        let (messages, ackers): (Vec<_>, Vec<_>) = batch.into_iter().map(|delivery| letter::open(&self.queue, delivery)).unzip();
        self.last = ackers.into_iter().next_back().or_else(|| self.last.take());
        Ok(messages)
    }

    async fn remove(&mut self) -> Result<(), StageError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let Some(acker) = self.last.take() else { return Ok(()) };
        let doing = "removing letters";
        if !self.link.answer(doing, acker.ack(BasicAckOptions { multiple: true })).await? {
            return Err(fault::new("connection_lost", format!("{doing}: the channel is closed")));
        }
        reader.held = 0;
        reader.sync(&self.link, doing).await
    }
}
