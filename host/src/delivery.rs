//! The duty to answer for a message, exactly once.
//!
//! A source opens a [`Window`] a connection and takes messages into it. Each [`Delivery`] is settled by value; once all that a message
//! became is settled, and all before it, the window's mark passes it and the source acknowledges up to the mark.

use std::borrow::{Borrow, BorrowMut};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ledger::{Ledger, Outcome};
use crate::message::Message;

/// The messages of one connection that are not all answered yet, in the order in which they came.
#[derive(Debug)]
pub struct Window {
    ledger: Arc<Ledger>,
    open: Mutex<Open>,
    mark: watch::Sender<Mark>,
    /// Most messages that may be in it.
    limit: AtomicU64,
}

/// How far a window is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// All messages below this sequence number are settled.
    pub settled_below: u64,
    /// Somebody dropped a delivery unsettled: this window will never be answered whole. The source reconnects, and the broker
    /// delivers again what is left.
    pub abandoned: bool,
}

#[derive(Debug, Default)]
struct Open {
    /// Sequence number of the first slot.
    base: u64,
    /// How many duties each message still has.
    duties: VecDeque<u32>,
    abandoned: bool,
}

impl Window {
    /// A window of a new connection; sequence numbers start at 0. How many messages may be in it is not known: see [`Self::set_limit`].
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { ledger, open: Mutex::default(), mark: watch::Sender::default(), limit: AtomicU64::new(u64::MAX) })
    }

    /// Takes messages in. The first becomes the sequence number [`Self::next`] told before.
    #[must_use]
    pub fn take(self: &Arc<Self>, messages: impl IntoIterator<Item = Message>) -> Vec<Delivery> {
        let mut open = self.lock();
        let deliveries: Vec<Delivery> = messages
            .into_iter()
            .map(|message| {
                let sequence = open.base + open.duties.len() as u64;
                open.duties.push_back(1);
                Delivery { message, duty: Duty { window: Arc::clone(self), sequence, lane: None, generation: 0, open: true } }
            })
            .collect();
        drop(open);
        self.ledger.receive(deliveries.len() as u64);
        deliveries
    }

    /// The sequence number of the next message taken in.
    #[must_use]
    pub fn next(&self) -> u64 {
        let open = self.lock();
        open.base + open.duties.len() as u64
    }

    /// Watches how far the window is answered.
    #[must_use]
    pub fn marks(&self) -> watch::Receiver<Mark> {
        self.mark.subscribe()
    }

    /// Tells how many messages may be in it at a time. Default: nobody knows.
    pub fn set_limit(&self, messages: u64) {
        self.limit.store(messages, Ordering::Relaxed);
    }

    /// How many messages may be in it at a time.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many messages are not settled yet.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.lock().duties.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, open: &Open) {
        let mark = Mark { settled_below: open.base, abandoned: open.abandoned };
        self.mark.send_if_modified(|current| std::mem::replace(current, mark) != mark);
    }
}

impl Open {
    fn slot(&mut self, sequence: u64) -> Option<&mut u32> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.duties.get_mut(index)
    }

    fn multiply(&mut self, sequence: u64, by: usize) {
        if let Some(duties) = self.slot(sequence) {
            *duties += u32::try_from(by).unwrap_or(u32::MAX) - 1;
        }
    }

    fn answer(&mut self, sequence: u64) {
        if let Some(duties) = self.slot(sequence) {
            *duties = duties.saturating_sub(1);
        }
        while self.duties.front() == Some(&0) {
            self.duties.pop_front();
            self.base += 1;
        }
    }
}

/// A message, and the duty to answer for it.
///
/// Dropping a delivery unsettled means "not answered": the message stays with the broker, who delivers it again. A panic, a
/// cancelled task or a forgotten branch can delay a message, never lose one.
#[derive(Debug)]
#[must_use = "an unsettled delivery is delivered again"]
pub struct Delivery {
    /// What travels.
    pub message: Message,
    duty: Duty,
}

/// The duty alone, while its message is elsewhere: in a step, or in a sink's hands. Dropped open, it counts as not answered.
#[derive(Debug)]
#[must_use = "an open duty is delivered again"]
pub struct Duty {
    window: Arc<Window>,
    sequence: u64,
    /// The lane that must answer; none before the fan-out, when an answer is every lane's.
    lane: Option<Arc<str>>,
    /// The generation that its message began on.
    generation: u64,
    open: bool,
}

impl Delivery {
    /// Takes message and duty apart, so that a batch of messages can be handed on as a slice.
    pub fn into_parts(self) -> (Message, Duty) {
        (self.message, self.duty)
    }

    /// Puts a message, perhaps changed, and its duty together again.
    pub fn from_parts(message: Message, duty: Duty) -> Self {
        Self { message, duty }
    }

    /// Notes the generation that the message begins on.
    pub fn begin(&mut self, generation: u64) {
        self.duty.generation = generation;
    }

    /// The lane that must answer; none before the fan-out.
    #[must_use]
    pub fn lane(&self) -> Option<&str> {
        self.duty.lane.as_deref()
    }

    /// Whether both are duties for the same upstream message: parts of a split.
    #[must_use]
    pub fn is_part_of_same(&self, other: &Self) -> bool {
        self.duty.is_part_of_same(&other.duty)
    }

    /// As [`Duty::is_pressing`].
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        self.duty.is_pressing()
    }

    /// Replaces the message by several that must all be answered. An empty list settles it as dropped.
    pub fn split(mut self, messages: Vec<Message>) -> Vec<Self> {
        if messages.is_empty() {
            settle([self], Outcome::Dropped);
            return Vec::new();
        }
        self.duty.multiply(messages.len());
        let lane = self.duty.lane.clone();
        self.duty.window.ledger.add_split(lane.as_deref(), messages.len() as u64 - 1);
        messages.into_iter().map(|message| Self { message, duty: self.duty.twin(lane.clone()) }).collect()
    }
}

impl Borrow<Message> for Delivery {
    fn borrow(&self) -> &Message {
        &self.message
    }
}

impl BorrowMut<Message> for Delivery {
    fn borrow_mut(&mut self) -> &mut Message {
        &mut self.message
    }
}

impl Duty {
    /// Whether half of the window that it belongs to is out: who holds its message up much longer holds up every lane.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        self.window.outstanding() >= self.window.limit().div_ceil(2)
    }

    /// Whether both are for the same upstream message.
    #[must_use]
    pub fn is_part_of_same(&self, other: &Self) -> bool {
        self.sequence == other.sequence && Arc::ptr_eq(&self.window, &other.window)
    }

    fn multiply(&mut self, by: usize) {
        self.window.lock().multiply(self.sequence, by);
        // From here on the twins carry the duty.
        self.open = false;
    }

    fn twin(&self, lane: Option<Arc<str>>) -> Self {
        Self { window: Arc::clone(&self.window), sequence: self.sequence, lane, generation: self.generation, open: true }
    }
}

/// Gives each lane a delivery of every message, in order; the shares come in the order of `lanes`. Without lanes the messages are settled as
/// dropped.
#[must_use]
pub fn fan_out(deliveries: Vec<Delivery>, lanes: &[Arc<str>]) -> Vec<Vec<Delivery>> {
    let Some((last, others)) = lanes.split_last() else {
        settle(deliveries, Outcome::Dropped);
        return Vec::new();
    };
    let mut shares: Vec<Vec<Delivery>> = others.iter().map(|_| Vec::with_capacity(deliveries.len())).collect();
    let mut share = Vec::with_capacity(deliveries.len());
    let mut deliveries = deliveries.into_iter().peekable();
    while let Some(first) = deliveries.next() {
        let window = Arc::clone(&first.duty.window);
        let mut messages = 0;
        let mut open = window.lock();
        let mut next = Some(first);
        // One lock and one count serve all that came over the same connection: nearly always the whole batch.
        while let Some(mut delivery) = next {
            open.multiply(delivery.duty.sequence, lanes.len());
            messages += 1;
            for (lane, share) in others.iter().zip(&mut shares) {
                share.push(Delivery { message: delivery.message.clone(), duty: delivery.duty.twin(Some(Arc::clone(lane))) });
            }
            delivery.duty.lane = Some(Arc::clone(last));
            share.push(delivery);
            next = deliveries.next_if(|delivery| Arc::ptr_eq(&delivery.duty.window, &window));
        }
        drop(open);
        window.ledger.fan_out(lanes.iter().map(|lane| &**lane), messages);
    }
    shares.push(share);
    shares
}

/// Answers for a batch at once, every delivery with the same outcome.
pub fn settle(deliveries: impl IntoIterator<Item = Delivery>, outcome: Outcome) {
    settle_duties(deliveries.into_iter().map(|delivery| delivery.duty), outcome);
}

/// As [`settle`], for duties whose messages are elsewhere.
pub fn settle_duties(duties: impl IntoIterator<Item = Duty>, outcome: Outcome) {
    let mut duties = duties.into_iter().peekable();
    while let Some(first) = duties.next() {
        let (window, lane, generation) = (Arc::clone(&first.window), first.lane.clone(), first.generation);
        let mut answered = 0;
        let mut open = window.lock();
        let mut next = Some(first);
        // One lock and one count serve all that came over the same connection for the same lane: nearly always the whole batch.
        while let Some(mut duty) = next {
            duty.open = false;
            open.answer(duty.sequence);
            answered += 1;
            let is_like = |duty: &Duty| Arc::ptr_eq(&duty.window, &window) && duty.lane == lane && duty.generation == generation;
            next = duties.next_if(is_like);
        }
        // The count comes before the mark: whoever sees the acknowledgement sees what it rests on.
        window.ledger.answer(lane.as_deref(), generation, outcome, answered);
        window.publish(&open);
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut open = self.window.lock();
        open.abandoned = true;
        self.window.publish(&open);
        self.window.ledger.answer(self.lane.as_deref(), self.generation, Outcome::Abandoned, 1);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::NoProperties;

    fn window(lanes: &[&str]) -> (Arc<Ledger>, Arc<Window>) {
        let ledger = Arc::new(Ledger::default());
        lanes.iter().for_each(|lane| ledger.open_lane(lane));
        (Arc::clone(&ledger), Window::new(ledger))
    }

    fn messages(count: usize) -> Vec<Message> {
        vec![Message::new(None, Bytes::from_static(b"{}"), Arc::new(NoProperties)); count]
    }

    fn settled_below(window: &Window) -> u64 {
        window.marks().borrow().settled_below
    }

    #[test]
    fn the_mark_passes_a_message_only_after_all_before_it() {
        let (ledger, window) = window(&["a"]);
        let mut deliveries = window.take(messages(3));
        let first = deliveries.remove(0);
        settle(deliveries, Outcome::Delivered);
        assert_eq!(settled_below(&window), 0);
        settle([first], Outcome::DeadLettered);
        assert_eq!(settled_below(&window), 3);
        ledger.acknowledge(3);
        assert!(ledger.balance().balanced, "{:?}", ledger.balance());
    }

    #[test]
    fn a_message_is_settled_when_each_lane_has_answered() {
        let (ledger, window) = window(&["a", "b"]);
        let lanes: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut lanes = fan_out(window.take(messages(1)), &lanes).into_iter();
        settle(lanes.next().into_iter().flatten(), Outcome::Delivered);
        assert_eq!(settled_below(&window), 0);
        settle(lanes.next().into_iter().flatten(), Outcome::Parked);
        assert_eq!(settled_below(&window), 1);
        ledger.acknowledge(1);
        assert!(ledger.balance().balanced, "{:?}", ledger.balance());
    }

    #[test]
    fn every_part_of_a_split_message_must_be_answered() {
        let (ledger, window) = window(&["a"]);
        let parts = window.take(messages(1)).remove(0).split(messages(3));
        let mut parts = parts.into_iter();
        settle(parts.by_ref().take(2), Outcome::Delivered);
        assert_eq!(settled_below(&window), 0);
        settle(parts, Outcome::Dropped);
        assert_eq!(settled_below(&window), 1);
        ledger.acknowledge(1);
        assert!(ledger.balance().balanced, "{:?}", ledger.balance());
    }

    #[test]
    fn half_a_window_that_is_out_presses() {
        let (_, window) = window(&["a"]);
        let mut deliveries = window.take(messages(2));
        let is_pressing = |deliveries: &[Delivery]| deliveries.first().is_some_and(Delivery::is_pressing);
        assert!(!is_pressing(&deliveries), "nobody knows how many there may be");
        window.set_limit(4);
        assert!(is_pressing(&deliveries));
        settle(deliveries.pop(), Outcome::Delivered);
        window.set_limit(3);
        assert!(is_pressing(&deliveries), "the first is not settled, and so neither counts as answered");
        window.set_limit(5);
        assert!(!is_pressing(&deliveries));
        settle(deliveries, Outcome::Delivered);
    }

    #[test]
    fn a_dropped_delivery_marks_its_window_abandoned_and_is_never_passed() {
        let (ledger, window) = window(&["a"]);
        let mut deliveries = window.take(messages(2));
        drop(deliveries.remove(0));
        settle(deliveries, Outcome::Delivered);
        assert_eq!(*window.marks().borrow(), Mark { settled_below: 0, abandoned: true });
        ledger.give_back(window.outstanding());
        assert!(ledger.balance().balanced, "{:?}", ledger.balance());
    }
}
