//! What arrived, held against what was sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::publisher::is_refused;

/// One destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Messages that should be there and are not.
    pub(crate) missing: Vec<u64>,
    /// Messages that should not be there.
    pub(crate) strange: Vec<u64>,
    /// Messages that are there more than once, and how often beyond the first time.
    pub(crate) doubled: BTreeMap<u64, u64>,
    /// Messages that first arrived behind a later one.
    pub(crate) late: Vec<u64>,
}

impl Count {
    /// Counts what arrived, in the order in which it did.
    pub(crate) fn of(arrived: &[u64], expected: impl Iterator<Item = u64>) -> Self {
        let expected: BTreeSet<u64> = expected.collect();
        let mut count = Self::default();
        let mut seen = BTreeSet::new();
        let mut newest = None;
        for number in arrived {
            if !seen.insert(*number) {
                *count.doubled.entry(*number).or_default() += 1;
                continue;
            }
            if !expected.contains(number) {
                count.strange.push(*number);
            }
            if newest.is_some_and(|newest| newest > *number) {
                count.late.push(*number);
            }
            newest = newest.max(Some(*number));
        }
        count.missing = expected.difference(&seen).copied().collect();
        count
    }

    /// Further copies in all.
    pub(crate) fn copies(&self) -> u64 {
        self.doubled.values().sum()
    }
}

/// Messages that go to the sinks.
pub(crate) fn good(messages: u64) -> impl Iterator<Item = u64> {
    (0..messages).filter(|number| !is_refused(*number))
}

/// Messages that are dead-lettered.
pub(crate) fn bad(messages: u64) -> impl Iterator<Item = u64> {
    (0..messages).filter(|number| is_refused(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_strange_doubled_or_late_is_seen() {
        let count = Count::of(&[0, 1, 3, 2, 3, 3, 9], 0..5);
        assert_eq!(count.missing, [4]);
        assert_eq!(count.strange, [9]);
        assert_eq!((count.doubled.clone(), count.copies()), (BTreeMap::from([(3, 2)]), 2));
        assert_eq!(count.late, [2]);
        assert_eq!(Count::of(&[0, 1, 2], 0..3), Count::default());
    }

    #[test]
    fn a_copy_behind_later_ones_is_doubled_and_not_late() {
        let count = Count::of(&[0, 1, 2, 0, 1, 2, 3], 0..4);
        assert_eq!((count.late, count.doubled.len()), (vec![], 3));
    }
}
