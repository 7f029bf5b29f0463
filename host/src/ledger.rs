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

    fn cell(self, cells: &[AtomicU64; Self::ALL.len()]) -> &AtomicU64 {
        let [delivered, parked, dead_lettered, dropped, abandoned] = cells;
        match self {
            Self::Delivered => delivered,
            Self::Parked => parked,
            Self::DeadLettered => dead_lettered,
            Self::Dropped => dropped,
            Self::Abandoned => abandoned,
        }
    }

    fn read(cells: &[AtomicU64; Self::ALL.len()]) -> BTreeMap<String, u64> {
        Self::ALL.iter().map(|outcome| (outcome.name().to_owned(), outcome.cell(cells).load(Ordering::Relaxed))).collect()
    }

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

/// Generations whose answers are told apart: the newest, and those before it.
const GENERATIONS: usize = 8;

/// A generation's answers, by lane.
type OfGeneration = BTreeMap<Arc<str>, [AtomicU64; Outcome::ALL.len()]>;

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
    generations: RwLock<BTreeMap<u64, OfGeneration>>,
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
    /// The same answers by the generation that the messages began on, of the last generations.
    pub generations: BTreeMap<u64, BTreeMap<String, BTreeMap<String, u64>>>,
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

    /// Opens a generation's account, and closes the oldest where there are many.
    pub fn open_generation<'a>(&self, number: u64, lanes: impl Iterator<Item = &'a Arc<str>>) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let account = generations.entry(number).or_default();
        for lane in lanes {
            account.entry(Arc::clone(lane)).or_default();
        }
        while generations.len() > GENERATIONS {
            generations.pop_first();
        }
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

    /// Counts a lane's answers for messages that began on this generation; without a lane, the answer is every lane's.
    pub fn answer(&self, lane: Option<&str>, generation: u64, outcome: Outcome, messages: u64) {
        self.in_columns(lane, 1, |column| column.cell(outcome), messages);
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        // Messages of a generation that is long gone count in their lanes alone.
        let account = generations.get(&generation).into_iter().flatten();
        for (_, cells) in account.filter(|(name, _)| lane.is_none_or(|lane| ***name == *lane)) {
            outcome.cell(cells).fetch_add(messages, Ordering::Relaxed);
        }
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
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let lanes_of =
            |account: &OfGeneration| account.iter().map(|(lane, cells)| (lane.to_string(), Outcome::read(cells))).collect();
        let generations = generations.iter().map(|(number, account)| (*number, lanes_of(account))).collect();
        Balance { received, acked, returned, in_flight, redelivered, lanes, generations, balanced }
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
        outcome.cell(&self.outcomes)
    }

    fn read(&self, fanned_out: u64) -> LaneBalance {
        let outcomes = Outcome::read(&self.outcomes);
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
        ledger.answer(Some("history"), 1, Outcome::Abandoned, 2);
        assert!(ledger.balance().is_closed());
    }

    #[test]
    fn a_lane_that_answers_too_much_or_too_little_is_seen() {
        let ledger = Ledger::default();
        ledger.open_lane("history");
        ledger.receive(1);
        ledger.acknowledge(1);
        assert!(!ledger.balance().balanced, "one answer is missing");
        ledger.answer(None, 1, Outcome::Delivered, 1);
        assert!(ledger.balance().is_closed());
        ledger.answer(None, 1, Outcome::Delivered, 1);
        assert!(!ledger.balance().balanced, "one answer is too much");
    }

    #[test]
    fn a_lane_that_comes_later_owes_nothing_for_what_went_by() {
        let ledger = Ledger::default();
        ledger.open_lane("history");
        ledger.receive(4);
        ledger.answer(None, 1, Outcome::DeadLettered, 1);
        ledger.fan_out(["history"].into_iter(), 1);
        ledger.open_lane("archive");
        ledger.fan_out(["history", "archive"].into_iter(), 1);
        ledger.answer(Some("history"), 1, Outcome::Delivered, 2);
        ledger.answer(Some("archive"), 1, Outcome::Delivered, 1);
        ledger.answer(None, 1, Outcome::Dropped, 1);
        ledger.acknowledge(4);
        let balance = ledger.balance();
        assert!(balance.is_closed(), "{balance:?}");
        assert_eq!(balance.lanes.get("archive").map(|lane| lane.absent), Some(2));
        // A lane that has gone goes on to be absent.
        ledger.receive(1);
        ledger.fan_out(["history"].into_iter(), 1);
        ledger.answer(Some("history"), 1, Outcome::Delivered, 1);
        ledger.acknowledge(1);
        assert!(ledger.balance().is_closed(), "{:?}", ledger.balance());
    }

    #[test]
    fn answers_are_told_apart_by_the_generation_that_messages_began_on() {
        let ledger = Ledger::default();
        let lanes: [Arc<str>; 2] = ["history".into(), "broadcast".into()];
        lanes.iter().for_each(|lane| ledger.open_lane(lane));
        ledger.open_generation(1, lanes.iter());
        ledger.answer(Some("history"), 1, Outcome::Delivered, 3);
        ledger.answer(None, 1, Outcome::Dropped, 1);
        ledger.open_generation(2, lanes.iter());
        ledger.answer(Some("history"), 2, Outcome::Parked, 2);
        let count = |balance: &Balance, number: u64, lane: &str, outcome: &str| balance.generations[&number][lane][outcome];
        let balance = ledger.balance();
        assert_eq!((count(&balance, 1, "history", "delivered"), count(&balance, 1, "history", "parked")), (3, 0));
        assert_eq!((count(&balance, 1, "broadcast", "dropped"), count(&balance, 2, "history", "parked")), (1, 2));
        (3..=20).for_each(|number| ledger.open_generation(number, lanes.iter()));
        ledger.answer(Some("history"), 1, Outcome::Delivered, 1);
        let balance = ledger.balance();
        assert_eq!((balance.generations.len(), balance.lanes["history"].outcomes["delivered"]), (GENERATIONS, 4));
        assert!(balance.generations.keys().eq(&(13..=20).collect::<Vec<_>>()));
    }
}
