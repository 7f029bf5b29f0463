//! What is owed to the broker on one connection: acknowledgements in order, up to the first message that is not settled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::Acker;
use lapin::options::BasicAckOptions;
use tokio::sync::watch;
use tokio::time::timeout;

use super::envelope::Gathered;
use super::fault;
use crate::delivery::{Delivery, Mark, Window};
use crate::ledger::Ledger;
use crate::lifecycle::Stop;
use crate::source::StageError;

/// A share of the window that is worth an acknowledgement by itself: each costs a quorum queue an entry of its log, and the lanes settle a batch
/// each at its own time.
const WORTH: u64 = 16;
/// Longest wait of what is less, while more of the window is out.
const SOON: Duration = Duration::from_millis(2);

/// Why a connection is done with.
#[derive(Debug)]
pub(super) enum End {
    /// All that was taken is acknowledged, and nothing more is to be taken.
    Settled,
    /// Somebody let a delivery go without an answer: the rest of the window can never be acknowledged.
    Abandoned,
    /// The connection, its channel or its consumer is lost.
    Lost(StageError),
}

/// The window of one connection, with what acknowledges its messages.
pub(super) struct Receipts {
    window: Arc<Window>,
    ledger: Arc<Ledger>,
    owed: Mutex<Owed>,
    /// Held while an acknowledgement goes out.
    going_out: tokio::sync::Mutex<()>,
    timeout: Duration,
}

#[derive(Default)]
struct Owed {
    /// Messages acknowledged.
    acked: u64,
    /// One for each message taken and not acknowledged, in order.
    ackers: VecDeque<Acker>,
}

impl Receipts {
    pub(super) fn new(ledger: Arc<Ledger>, timeout: Duration) -> Self {
        Self {
            window: Window::new(Arc::clone(&ledger)),
            ledger,
            owed: Mutex::default(),
            going_out: tokio::sync::Mutex::default(),
            timeout,
        }
    }

    /// Takes messages into the window.
    pub(super) fn take(&self, batch: Gathered) -> Vec<Delivery> {
        self.ledger.receive_again(batch.redelivered);
        self.lock().ackers.extend(batch.ackers);
        self.window.take(batch.messages)
    }

    /// Tells how many messages the broker may have sent ahead.
    pub(super) fn set_limit(&self, messages: u16) {
        self.window.set_limit(messages.into());
    }

    /// How many messages were taken and are not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.window.next() - self.lock().acked
    }

    /// No acknowledgement goes out before this is dropped.
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.going_out.lock().await
    }

    /// Waits until all that was taken is settled, acknowledged or not. False where that can never be.
    pub(super) async fn settled(&self) -> bool {
        let taken = self.taken();
        // The window that sends the marks is ours, so this cannot fail.
        let mark = self.window.marks().wait_for(|mark| mark.abandoned || mark.settled_below >= taken).await.map(|mark| *mark);
        mark.is_ok_and(|mark| !mark.abandoned)
    }

    /// How many messages were taken.
    pub(super) fn taken(&self) -> u64 {
        self.window.next()
    }

    /// Acknowledges what is settled, until something ends it. After `last`, that is when nothing is owed any more.
    pub(super) async fn pass(&self, last: &Stop) -> End {
        let mut marks = self.window.marks();
        loop {
            let mark = *marks.borrow_and_update();
            if let Err(fault) = self.acknowledge(mark.settled_below).await {
                return End::Lost(fault);
            }
            if mark.abandoned {
                return End::Abandoned;
            }
            let is_last = last.is_cancelled();
            if is_last && self.unacknowledged() == 0 {
                return End::Settled;
            }
            tokio::select! {
                // The window that sends the marks is ours, so this cannot fail.
                _ = marks.changed() => self.gather(&mut marks).await,
                () = last.cancelled(), if !is_last => {}
            }
        }
    }

    /// Waits until what is settled is worth an acknowledgement, or is all that was taken; not for long.
    async fn gather(&self, marks: &mut watch::Receiver<Mark>) {
        let enough = async {
            loop {
                // Copied first: who sends a mark has locked the window.
                let mark = *marks.borrow_and_update();
                if self.is_worth(mark) || marks.changed().await.is_err() {
                    return;
                }
            }
        };
        drop(timeout(SOON, enough).await);
    }

    fn is_worth(&self, mark: Mark) -> bool {
        let settled = mark.settled_below.saturating_sub(self.lock().acked);
        mark.abandoned || mark.settled_below >= self.taken() || settled >= self.window.limit() / WORTH
    }

    /// Acknowledges what is settled by now.
    pub(super) async fn pass_settled(&self) -> Result<(), StageError> {
        let mark = *self.window.marks().borrow();
        self.acknowledge(mark.settled_below).await
    }

    /// One acknowledgement for all messages below a sequence number.
    async fn acknowledge(&self, below: u64) -> Result<(), StageError> {
        let (messages, acker) = {
            let owed = self.lock();
            let messages = usize::try_from(below.saturating_sub(owed.acked)).unwrap_or(usize::MAX);
            let acker = messages.checked_sub(1).and_then(|last| owed.ackers.get(last).cloned());
            (messages, acker)
        };
        let Some(acker) = acker else { return Ok(()) };
        let _going_out = self.going_out.lock().await;
        let acked = super::link::answer(self.timeout, "acknowledging", acker.ack(BasicAckOptions { multiple: true })).await?;
        if !acked {
            return Err(fault::new("connection_lost", "acknowledging: the channel is closed"));
        }
        let mut owed = self.lock();
        owed.ackers.drain(..messages);
        owed.acked += messages as u64;
        drop(owed);
        self.ledger.acknowledge(messages as u64);
        Ok(())
    }

    /// Closes the account: what is not acknowledged goes back to the broker. Says how many messages those are.
    pub(super) fn give_back(self) -> u64 {
        let left = self.unacknowledged();
        self.ledger.give_back(left);
        left
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::delivery::settle;
    use crate::ledger::Outcome;

    /// Deliveries that no channel stands behind: acknowledging them succeeds at once.
    fn batch(count: u64) -> Gathered {
        let mut batch = Gathered::default();
        let delivery = |tag| lapin::message::Delivery::mock(tag, "".into(), "queue".into(), false, b"{}".to_vec());
        (1..=count).for_each(|tag| batch.push(delivery(tag)));
        batch
    }

    fn receipts() -> (Arc<Ledger>, Receipts) {
        let ledger = Arc::new(Ledger::default());
        (Arc::clone(&ledger), Receipts::new(ledger, Duration::from_secs(1)))
    }

    #[tokio::test]
    async fn what_is_settled_is_acknowledged_and_the_rest_is_given_back() {
        let (ledger, receipts) = receipts();
        let mut deliveries = receipts.take(batch(5));
        let rest = deliveries.split_off(3);
        settle(deliveries, Outcome::Delivered);
        let last = Stop::new();
        last.cancel();
        let passing = tokio::time::timeout(Duration::from_millis(50), receipts.pass(&last)).await;
        assert!(passing.is_err(), "two messages are still owed");
        assert_eq!(ledger.balance().acked, 3);
        assert_eq!(receipts.give_back(), 2);
        let balance = ledger.balance();
        assert_eq!((balance.received, balance.acked, balance.returned, balance.in_flight), (5, 3, 2, 0));
        settle(rest, Outcome::Delivered);
        assert_eq!(ledger.balance().acked, 3);
    }

    #[tokio::test]
    async fn what_was_settled_while_acknowledgements_were_held_back_is_acknowledged_afterwards() {
        let (ledger, receipts) = receipts();
        let mut deliveries = receipts.take(batch(5));
        let rest = deliveries.split_off(3);
        let quiet = receipts.hold().await;
        settle(deliveries, Outcome::Delivered);
        let waited = tokio::time::timeout(Duration::from_millis(50), receipts.settled()).await;
        assert!(waited.is_err(), "two messages are not settled");
        assert_eq!(ledger.balance().acked, 0);
        drop(quiet);
        receipts.pass_settled().await.unwrap();
        receipts.pass_settled().await.unwrap();
        assert_eq!(ledger.balance().acked, 3);
        settle(rest, Outcome::Parked);
        assert!(receipts.settled().await);
        drop(receipts.take(batch(1)));
        assert!(!receipts.settled().await, "a delivery was let go");
    }

    #[tokio::test]
    async fn what_settles_little_by_little_is_acknowledged_together_and_soon() {
        let (ledger, receipts) = receipts();
        receipts.set_limit(32);
        let mut deliveries = receipts.take(batch(6)).into_iter();
        let mut settle_next = |count| settle(deliveries.by_ref().take(count), Outcome::Delivered);
        let is_worth = || receipts.is_worth(*receipts.window.marks().borrow());
        settle_next(1);
        assert!(!is_worth(), "one of 32, and five are out");
        settle_next(1);
        assert!(is_worth(), "a sixteenth of the window");
        receipts.pass_settled().await.unwrap();
        settle_next(1);
        assert!(!is_worth(), "two are acknowledged");
        let last = Stop::new();
        let soon = async {
            while ledger.balance().acked < 3 {
                sleep(SOON).await;
            }
        };
        let passed = tokio::select! {
            _ = receipts.pass(&last) => false,
            waited = timeout(Duration::from_secs(10), soon) => waited.is_ok(),
        };
        assert!(passed, "little is acknowledged all the same");
        settle_next(3);
        assert!(is_worth(), "nothing else is out");
    }

    #[tokio::test]
    async fn it_ends_when_nothing_is_owed_after_the_last() {
        let (ledger, receipts) = receipts();
        let deliveries = receipts.take(batch(4));
        let last = Stop::new();
        let settling = async {
            last.cancel();
            tokio::task::yield_now().await;
            settle(deliveries, Outcome::Delivered);
        };
        let (end, ()) = tokio::join!(receipts.pass(&last), settling);
        assert!(matches!(end, End::Settled), "{end:?}");
        assert_eq!((ledger.balance().acked, receipts.give_back()), (4, 0));
    }

    #[tokio::test]
    async fn an_abandoned_delivery_ends_the_connection_and_nothing_after_it_is_acknowledged() {
        let (ledger, receipts) = receipts();
        let mut deliveries = receipts.take(batch(3));
        let (last, abandoned) = (deliveries.split_off(2), deliveries.pop());
        settle(deliveries, Outcome::Delivered);
        drop(abandoned);
        settle(last, Outcome::Delivered);
        assert!(matches!(receipts.pass(&Stop::new()).await, End::Abandoned));
        assert_eq!((ledger.balance().acked, receipts.give_back()), (1, 2));
    }
}
