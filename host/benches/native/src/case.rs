//! What one leg drains, by what, and into what.

use clap::ValueEnum;

use crate::load::{BODY_BYTES, QueueType, Trouble};

/// A pipeline that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runner {
    /// Written by hand, in batches.
    Native,
    /// The same once more: what the two differ by is the machine's mood.
    NativeAgain,
    /// The host, its validation, transformation and encryption in sandboxes.
    Host,
    /// The host without a single step.
    HostWithoutSteps,
    /// Written by hand, one message at a time, as the original does it.
    Original,
    /// The host, while a component of it is swapped again and again.
    #[value(skip)]
    Swapping,
}

impl Runner {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeAgain => "native again",
            Self::Host => "host",
            Self::HostWithoutSteps => "host without steps",
            Self::Original => "one by one",
            Self::Swapping => "host, swapped",
        }
    }
}

/// One leg. [`Case::new`] is the common one; the rest differ from it in a field or two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) runner: Runner,
    pub(crate) queue_type: QueueType,
    pub(crate) messages: usize,
    pub(crate) body_bytes: usize,
    /// Which messages are no good.
    pub(crate) trouble: Trouble,
    /// Steps before the fan-out; those of the lane come on top. The host's alone.
    pub(crate) steps: usize,
    /// Lists at Redis that each message goes to, beside the table.
    pub(crate) lists: usize,
    /// Processes on one queue.
    pub(crate) replicas: usize,
    /// Pipelines in one process, each with a queue and lists of its own. The host's alone.
    pub(crate) pipelines: usize,
    /// Whether it works beside the dead letters that were made before, instead of beside none.
    pub(crate) beside_letters: bool,
    /// Whether a leg is measured from its start, less what a start costs, because windows hold much of it before the first message arrives.
    pub(crate) whole: bool,
    /// Whether a leg is measured from the moment when a fifth has arrived: until then what starts side by side is not all there yet, and touches its
    /// memory for the first time.
    pub(crate) warm: bool,
}

impl Case {
    /// Messages of the usual size, all good, one process, one list and the table.
    pub(crate) fn new(runner: Runner, queue_type: QueueType, messages: usize) -> Self {
        Self {
            runner,
            queue_type,
            messages,
            body_bytes: BODY_BYTES,
            trouble: Trouble::None,
            steps: 1,
            lists: 1,
            replicas: 1,
            pipelines: 1,
            beside_letters: false,
            whole: false,
            warm: false,
        }
    }

    /// How many messages reach every list.
    pub(crate) fn broadcast(&self) -> usize {
        match self.trouble {
            Trouble::Missing { .. } => self.messages - self.letters(),
            _ => self.messages,
        }
    }

    /// How many rows there are in the end.
    pub(crate) fn rows(&self) -> usize {
        self.messages - self.letters()
    }

    /// How many messages become dead letters.
    pub(crate) fn letters(&self) -> usize {
        match self.trouble {
            Trouble::None => 0,
            Trouble::Missing { every } | Trouble::Row { every } => (self.messages + every - 1 - every / 2) / every,
        }
    }

    /// The messages of one of the pipelines.
    pub(crate) fn share(&self, pipeline: usize) -> std::ops::Range<usize> {
        self.messages * pipeline / self.pipelines..self.messages * (pipeline + 1) / self.pipelines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_messages_once() {
        let case = Case { pipelines: 7, ..Case::new(Runner::Host, QueueType::Classic, 1000) };
        let all: Vec<usize> = (0..7).flat_map(|pipeline| case.share(pipeline)).collect();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_refused_before_the_fan_out_reaches_nothing_and_a_refused_row_was_broadcast() {
        let case = Case::new(Runner::Host, QueueType::Classic, 1000);
        let missing = Case { trouble: Trouble::Missing { every: 100 }, ..case };
        assert_eq!((missing.letters(), missing.rows(), missing.broadcast()), (10, 990, 990));
        let row = Case { trouble: Trouble::Row { every: 100 }, ..case };
        assert_eq!((row.letters(), row.rows(), row.broadcast()), (10, 990, 1000));
        for (every, messages) in [(1, 1000), (2, 7), (100, 50), (100, 51)] {
            let case = Case { trouble: Trouble::Missing { every }, messages, ..case };
            assert_eq!(case.letters(), (0..messages).filter(|index| case.trouble.strikes(*index)).count(), "{every}, {messages}");
        }
    }
}
