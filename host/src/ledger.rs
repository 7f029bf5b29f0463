//! What became of every message, in numbers that must balance.
//!
//! At any moment `received = acked + returned + in flight`; and at rest, for each lane,
//! `received + split = delivered + parked + dead-lettered + dropped + abandoned + absent`, where `absent` counts what went by before the lane
//! was there, or after it was gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// How a lane answered for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink confirmed it.
    Delivered,
    /// It lies on the sink's parking queue, confirmed by the broker.
    Parked,
    /// It lies on the dead-letter queue, confirmed by the broker.
    DeadLettered,
    /// A step, or `on_failure = "discard"`, let it go on purpose.
    Dropped,
    /// Nobody answered: it stays with the broker, who delivers it again.
    Abandoned,
}

impl Outcome {
    /// Every outcome, in the order of the ledger's columns.
    pub const ALL: [Self; 5] = [Self::Delivered, Self::Parked, Self::DeadLettered, Self::Dropped, Self::Abandoned];

    /// The name in metrics, logs and `/status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::DeadLettered => "dead_lettered",
            Self::Dropped => "dropped",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One lane's column.
#[derive(Debug, Default)]
struct Column {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    split: AtomicU64,
    /// What the fan-out gave it.
    entered: AtomicU64,
    /// What was answered for every lane before this one was opened, less what was split then.
    before: AtomicI64,
}

/// The counters of one pipeline. They outlive generations.
#[derive(Debug, Default)]
pub struct Ledger {
    received: AtomicU64,
    acked: AtomicU64,
    returned: AtomicU64,
    redelivered: AtomicU64,
    /// Messages behind the fan-out.
    fanned_out: AtomicU64,
    /// What was answered before the fan-out, less what was split there.
    answered_before: AtomicI64,
    lanes: RwLock<BTreeMap<Arc<str>, Arc<Column>>>,
}

/// The ledger at one moment, as `/status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Messages taken from the source, redeliveries included.
    pub received: u64,
    /// Messages acknowledged to the broker.
    pub acked: u64,
    /// Messages that went back to the broker unanswered: a lost connection, or a stop.
    pub returned: u64,
    /// Messages between the two.
    pub in_flight: u64,
    /// Of the messages received, those that the broker says it delivered before.
    pub redelivered: u64,
    /// Per lane, messages by outcome.
    pub lanes: BTreeMap<String, LaneBalance>,
    /// Whether the numbers add up as far as they can at this moment: no lane has answered more than it was given, and with
    /// nothing in flight none owes an answer. Lanes may still hold messages that a lost connection has returned.
    pub balanced: bool,
}

/// One lane's column at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneBalance {
    /// Further messages that transformers made by splitting.
    pub split: u64,
    /// Messages that went by without it: before it was opened, or after it was closed.
    pub absent: i64,
    /// Messages by outcome.
    #[serde(flatten)]
    pub outcomes: BTreeMap<String, u64>,
}

impl Ledger {
    /// Opens a lane's column; the same name always gives the same column.
    pub fn open_lane(&self, name: &str) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(name.into()).or_insert_with(|| {
            let before = AtomicI64::new(self.answered_before.load(Ordering::Relaxed));
            Arc::new(Column { before, ..Column::default() })
        });
    }

    /// Counts messages taken from the source.
    pub fn receive(&self, messages: u64) {
        self.received.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts, of the messages received, those that the broker says it delivered before.
    pub fn receive_again(&self, messages: u64) {
        self.redelivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages acknowledged to the broker.
    pub fn acknowledge(&self, messages: u64) {
        self.acked.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages that went back to the broker unanswered.
    pub fn give_back(&self, messages: u64) {
        self.returned.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts the further messages of a split; without a lane, each lane has them.
    pub fn add_split(&self, lane: Option<&str>, messages: u64) {
        self.in_columns(lane, -1, |column| &column.split, messages);
    }

    /// Counts messages that the fan-out gave to these lanes.
    pub fn fan_out<'a>(&self, to: impl Iterator<Item = &'a str>, messages: u64) {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        for column in to.filter_map(|name| lanes.get(name)) {
            column.entered.fetch_add(messages, Ordering::Relaxed);
        }
        self.fanned_out.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts a lane's answers; without a lane, the answer is every lane's.
    pub fn answer(&self, lane: Option<&str>, outcome: Outcome, messages: u64) {
        self.in_columns(lane, 1, |column| column.cell(outcome), messages);
    }

    fn in_columns(&self, lane: Option<&str>, sign: i64, cell: impl Fn(&Column) -> &AtomicU64, messages: u64) {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if lane.is_none() {
            self.answered_before.fetch_add(sign * i64::try_from(messages).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
        for (_, column) in lanes.iter().filter(|(name, _)| lane.is_none_or(|lane| ***name == *lane)) {
            cell(column).fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// Reads the ledger.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        // Answers are read before what they answer for, so that a running pipeline never seems to have answered too much.
        let fanned_out = self.fanned_out.load(Ordering::Relaxed);
        let lanes: BTreeMap<String, LaneBalance> =
            lanes.iter().map(|(name, column)| (name.to_string(), column.read(fanned_out))).collect();
        let (acked, returned) = (self.acked.load(Ordering::Relaxed), self.returned.load(Ordering::Relaxed));
        let received = self.received.load(Ordering::Relaxed);
        let answered = acked + returned;
        let in_flight = received.saturating_sub(answered);
        let balanced = answered <= received && lanes.values().all(|lane| lane.balances(received, in_flight + returned));
        let redelivered = self.redelivered.load(Ordering::Relaxed);
        Balance { received, acked, returned, in_flight, redelivered, lanes, balanced }
    }
}

impl Balance {
    /// Whether the books can be closed: nothing is in flight, and every lane has answered for all that it was given. True after a
    /// stop, when nobody holds a delivery any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.balanced && self.in_flight == 0 && self.lanes.values().all(|lane| lane.answered() == lane.due(self.received))
    }
}

impl LaneBalance {
    fn answered(&self) -> u64 {
        self.outcomes.values().sum()
    }

    fn due(&self, received: u64) -> u64 {
        (received + self.split).saturating_add_signed(-self.absent)
    }

    fn balances(&self, received: u64, unanswered: u64) -> bool {
        let (answered, due) = (self.answered(), self.due(received));
        if unanswered == 0 { answered == due } else { answered <= due }
    }
}

impl Column {
    fn cell(&self, outcome: Outcome) -> &AtomicU64 {
        let [delivered, parked, dead_lettered, dropped, abandoned] = &self.outcomes;
        match outcome {
            Outcome::Delivered => delivered,
            Outcome::Parked => parked,
            Outcome::DeadLettered => dead_lettered,
            Outcome::Dropped => dropped,
            Outcome::Abandoned => abandoned,
        }
    }

    fn read(&self, fanned_out: u64) -> LaneBalance {
        let count = |outcome: &Outcome| (outcome.name().to_owned(), self.cell(*outcome).load(Ordering::Relaxed));
        let outcomes = Outcome::ALL.iter().map(count).collect();
        let missed = fanned_out.saturating_sub(self.entered.load(Ordering::Relaxed));
        let absent = i64::try_from(missed).unwrap_or(i64::MAX) + self.before.load(Ordering::Relaxed);
        LaneBalance { outcomes, split: self.split.load(Ordering::Relaxed), absent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_connection_returned_may_still_be_in_a_lane_until_the_books_are_closed() {
        let ledger = Ledger::default();
        ledger.open_lane("history");
        ledger.receive(2);
        ledger.fan_out(["history"].into_iter(), 2);
        ledger.give_back(2);
        let balance = ledger.balance();
        assert!(balance.balanced && !balance.is_closed(), "{balance:?}");
        ledger.answer(Some("history"), Outcome::Abandoned, 2);
        assert!(ledger.balance().is_closed());
    }

    #[test]
    fn a_lane_that_answers_too_much_or_too_little_is_seen() {
        let ledger = Ledger::default();
        ledger.open_lane("history");
        ledger.receive(1);
        ledger.acknowledge(1);
        assert!(!ledger.balance().balanced, "one answer is missing");
        ledger.answer(None, Outcome::Delivered, 1);
        assert!(ledger.balance().is_closed());
        ledger.answer(None, Outcome::Delivered, 1);
        assert!(!ledger.balance().balanced, "one answer is too much");
    }

    #[test]
    fn a_lane_that_comes_later_owes_nothing_for_what_went_by() {
        let ledger = Ledger::default();
        ledger.open_lane("history");
        ledger.receive(4);
        ledger.answer(None, Outcome::DeadLettered, 1);
        ledger.fan_out(["history"].into_iter(), 1);
        ledger.open_lane("archive");
        ledger.fan_out(["history", "archive"].into_iter(), 1);
        ledger.answer(Some("history"), Outcome::Delivered, 2);
        ledger.answer(Some("archive"), Outcome::Delivered, 1);
        ledger.answer(None, Outcome::Dropped, 1);
        ledger.acknowledge(4);
        let balance = ledger.balance();
        assert!(balance.is_closed(), "{balance:?}");
        assert_eq!(balance.lanes.get("archive").map(|lane| lane.absent), Some(2));
        // A lane that has gone goes on to be absent.
        ledger.receive(1);
        ledger.fan_out(["history"].into_iter(), 1);
        ledger.answer(Some("history"), Outcome::Delivered, 1);
        ledger.acknowledge(1);
        assert!(ledger.balance().is_closed(), "{:?}", ledger.balance());
    }
}
