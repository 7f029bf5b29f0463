//! The messages that the broker sends, over consumers that follow each other on one channel: a prefetch counts for the consumers after it, so that
//! another one takes another consumer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::allowance::Allowance;
use super::envelope::Gathered;
use super::link::Link;
use super::receipts::Receipts;
use super::{Settings, declare, fault};
use crate::source::{BATCH_BYTES, StageError, Takeovers};

/// What the broker shows as the consumer's name, with a number behind it.
const CONSUMER_TAG: &str = "tidegate";

/// Returns of a message from which on its end may be near: RabbitMQ 4 drops it after 20 where nothing else is said, and no client can ask what
/// is.
const MANY_RETURNS: u64 = 10;
/// How long a window that is to be opened waits for what is out.
const SETTLING: Duration = Duration::from_secs(2);
/// How long a window that may not change beside other consumers is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// The messages of one queue on one channel.
pub(super) struct Inflow {
    channel: Channel,
    queue: String,
    allowance: Allowance,
    /// The last one consumes; those before it are cancelled, and have messages that were sent ahead.
    consumers: VecDeque<Consumer>,
    started: u32,
    takeovers: Takeovers,
    /// Whether the last consumer has got nothing yet: until it does, another host may be the one that the broker delivers to.
    is_waiting: bool,
    /// When others were found to consume the queue too.
    beside_others: Option<Instant>,
    /// Whether it was said that messages have come back often.
    has_warned: bool,
    /// What is being gathered.
    begun: Gathered,
}

impl Inflow {
    /// Starts to consume.
    pub(super) async fn open(
        link: &Link,
        channel: Channel,
        settings: &Settings,
        takeovers: &Takeovers,
    ) -> Result<Self, StageError> {
        let found = declare::look(link, &channel, &settings.queue).await?;
        // Beside other consumers a window is not changed again: see `fit`.
        let careful = found.consumer_count() == 0;
        let allowance = Allowance::new(settings.prefetch, settings.max_in_flight_bytes, careful);
        let mut inflow = Self {
            channel,
            queue: settings.queue.clone(),
            allowance,
            consumers: VecDeque::new(),
            started: 0,
            takeovers: takeovers.clone(),
            is_waiting: true,
            beside_others: None,
            has_warned: false,
            begun: Gathered::default(),
        };
        inflow.consume(link).await?;
        Ok(inflow)
    }

    async fn consume(&mut self, link: &Link) -> Result<(), StageError> {
        let (prefetch, options) = (self.allowance.prefetch(), BasicQosOptions { global: false });
        link.answer("setting the prefetch", self.channel.basic_qos(prefetch, options)).await?;
        self.started += 1;
        let tag = format!("{CONSUMER_TAG}-{}", self.started);
        let consumed = self.channel.basic_consume(
            self.queue.as_str().into(),
            tag.into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = link.answer(&format!("consuming the queue `{}`", self.queue), consumed).await?;
        self.consumers.push_back(consumer);
        self.is_waiting = true;
        Ok(())
    }

    /// The next message; an error or none when there will be no more. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<lapin::Result<Delivery>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`].
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<lapin::Result<Delivery>>> {
        loop {
            let is_last = self.consumers.len() <= 1;
            let Some(consumer) = self.consumers.front_mut() else { return Poll::Ready(None) };
            match consumer.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                // What a cancelled consumer was sent ahead is through.
                Poll::Ready(None) if !is_last => drop(self.consumers.pop_front()),
                next => {
                    if is_last && mem::take(&mut self.is_waiting) {
                        self.takeovers.note();
                    }
                    return next;
                }
            }
        }
    }

    /// What is ready, one message at least, and what comes within `linger` while the batch is not full. Dropping the future loses nothing: see
    /// [`Self::take_begun`].
    pub(super) async fn gather(&mut self, most: usize, linger: Duration) -> Result<Gathered, StageError> {
        let first = received(self.next().await)?;
        self.begun.reserve(most);
        self.begun.push(first);
        let mut lingering = pin!(sleep(linger));
        while !self.take_ready(most)? && !linger.is_zero() {
            tokio::select! {
                biased;
                next = self.next() => self.begun.push(received(next)?),
                () = &mut lingering => break,
            }
        }
        Ok(mem::take(&mut self.begun))
    }

    /// Takes what is ready, and says whether the batch is full. A delivery of the client library is large: it goes through as few hands as can be.
    fn take_ready(&mut self, most: usize) -> Result<bool, StageError> {
        let mut context = Context::from_waker(Waker::noop());
        while self.begun.len() < most && self.begun.bytes < BATCH_BYTES {
            match self.poll_next(&mut context) {
                Poll::Ready(Some(Ok(delivery))) => self.begun.push(delivery),
                Poll::Ready(ended) => return received(ended).map(|_| false),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// What a gathering that was dropped had begun with.
    pub(super) fn take_begun(&mut self) -> Option<Gathered> {
        Some(mem::take(&mut self.begun)).filter(|begun| begun.len() > 0)
    }

    /// Notes messages that came.
    pub(super) fn note(&mut self, batch: &Gathered) {
        if batch.returns >= MANY_RETURNS && !mem::replace(&mut self.has_warned, true) {
            warn!(
                queue = self.queue,
                returns = batch.returns,
                "messages have gone back to the broker that often because hosts or connections ended; a quorum queue with a delivery limit (20 \
                 since RabbitMQ 4) drops them beyond it: raise the limit by a policy, or have the sink that holds them up park"
            );
        }
        self.allowance.note(batch.messages.iter().map(|message| message.original.len()));
    }

    /// Fits the window to the messages that came, where that is right. Dropping the future may leave nobody consuming.
    pub(super) async fn fit(&mut self, link: &Link, receipts: &Receipts) -> Result<(), StageError> {
        // Before the broker is asked: where few messages come, it would be asked about each of them.
        if !self.would_change(receipts) || self.beside_others.is_some_and(|since| since.elapsed() < AGAIN) {
            return Ok(());
        }
        // RabbitMQ 3.10 breaks a classic queue with a single active consumer when that is cancelled while another waits.
        let found = declare::look(link, &self.channel, &self.queue).await?;
        // An acknowledgement in between would let the broker send what the cancelled consumer does not take any more.
        let _quiet = receipts.hold().await;
        self.beside_others = (found.consumer_count() > 1).then(Instant::now);
        if self.beside_others.is_some() || !self.would_change(receipts) {
            return Ok(());
        }
        // A quorum queue does not count those that wait for their turn. One that gets it now must not overtake what is out, unless that takes
        // long: then it is held up, and the others behind it are not to be. Where the window closes, memory is at stake, and nothing waits.
        if self.allowance.would_open() {
            drop(timeout(SETTLING, receipts.settled()).await);
        }
        self.allowance.change();
        debug!(queue = self.queue, prefetch = self.allowance.prefetch(), "the window is fitted to the size of the messages");
        receipts.set_limit(self.prefetch());
        self.cancel(link).await?;
        self.consume(link).await
    }

    fn would_change(&self, receipts: &Receipts) -> bool {
        self.allowance.would_change(usize::try_from(receipts.unacknowledged()).unwrap_or(usize::MAX))
    }

    /// How many messages the broker may send ahead.
    pub(super) fn prefetch(&self) -> u16 {
        self.allowance.prefetch()
    }

    /// Whether the broker may send no more while so many messages are out.
    pub(super) fn is_full(&self, unacknowledged: u64) -> bool {
        unacknowledged >= u64::from(self.allowance.prefetch())
    }

    /// Consumes no more; what was sent ahead is still there.
    pub(super) async fn cancel(&self, link: &Link) -> Result<(), StageError> {
        let Some(consumer) = self.consumers.back() else { return Ok(()) };
        link.answer("cancelling the consumer", self.channel.basic_cancel(consumer.tag(), Default::default())).await
    }
}

/// A consumer that ends is a failure: the broker cancels it when the queue is deleted or moves.
pub(super) fn received(next: Option<lapin::Result<Delivery>>) -> Result<Delivery, StageError> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(fault::of_consumer(&error)),
        None => Err(fault::new("consumer_cancelled", "the broker has cancelled the consumer")),
    }
}
