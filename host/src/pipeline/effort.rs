//! What the batches of a chain have taken lately: by it the next one is taken through the steps where it is, or off the async threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::message::Message;
use crate::plugin::Turn;

/// Longest that a batch may be expected to take on an async thread. Handing it to another thread and back costs each of its messages up to as much
/// as the steps themselves.
const SHORT: Duration = Duration::from_micros(500);
/// Most bytes of it: what larger messages take is not to be told from what smaller ones took.
const SHORT_BYTES: usize = 256 << 10;

/// What a message has cost in each of the last two batches, in nanoseconds. The smaller one counts: a batch that the machine took its core away
/// from says nothing of the next, and what has become slow, or hangs, shows in both.
#[derive(Debug)]
pub(super) struct Effort {
    last: AtomicU64,
    before: AtomicU64,
}

impl Default for Effort {
    /// Not known yet: more than any turn is short enough for.
    fn default() -> Self {
        Self { last: AtomicU64::new(u64::MAX), before: AtomicU64::new(u64::MAX) }
    }
}

impl Effort {
    /// The turn that suffices for these messages, as far as can be told.
    pub(super) fn turn<'m>(&self, messages: impl ExactSizeIterator<Item = &'m Message>) -> Turn {
        let each = self.last.load(Ordering::Relaxed).min(self.before.load(Ordering::Relaxed));
        let expected = each.saturating_mul(messages.len() as u64);
        let bytes: usize = messages.map(|message| message.body.len()).sum();
        if Duration::from_nanos(expected) <= SHORT && bytes <= SHORT_BYTES { Turn::Short } else { Turn::Whole }
    }

    /// Notes what a batch has taken.
    pub(super) fn note(&self, messages: usize, took: Duration) {
        let each = took.as_nanos() / (messages as u128).max(1);
        let last = self.last.swap(u64::try_from(each).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.before.store(last, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::message::NoProperties;

    fn turn(effort: &Effort, count: usize, bytes: usize) -> Turn {
        let messages = vec![Message::new(None, Bytes::from(vec![b' '; bytes]), Arc::new(NoProperties)); count];
        effort.turn(messages.iter())
    }

    #[test]
    fn a_turn_is_short_where_one_of_the_last_two_batches_says_that_it_suffices() {
        let effort = Effort::default();
        assert_eq!(turn(&effort, 1, 1), Turn::Whole, "nothing is known yet");
        effort.note(100, SHORT);
        assert_eq!((turn(&effort, 100, 1), turn(&effort, 101, 1)), (Turn::Short, Turn::Whole));
        effort.note(1, Duration::from_secs(1));
        assert_eq!(turn(&effort, 100, 1), Turn::Short, "its core was taken away");
        effort.note(1, Duration::from_secs(1));
        assert_eq!(turn(&effort, 1, 1), Turn::Whole, "something hangs");
        effort.note(128, Duration::ZERO);
        assert_eq!((turn(&effort, 1, SHORT_BYTES), turn(&effort, 1, SHORT_BYTES + 1)), (Turn::Short, Turn::Whole));
    }
}
