//! What became of samples, so that who measures sees that they do what he thinks.

use std::collections::BTreeMap;
use std::fmt;

use crate::message::Reason;
use crate::plugin::{Failure, Fate, Fault};

/// What became of one sample.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It may pass.
    Accepted,
    /// It goes on unchanged.
    Kept,
    /// It goes on with another body.
    Replaced,
    /// Several go on in its place.
    Split,
    /// Done with on purpose.
    Dropped,
    /// It is to be given again later.
    Delayed,
    /// It was sealed.
    Sealed,
    /// It was opened.
    Opened,
    /// It is refused, with this code.
    Rejected(String),
    /// The step failed at it, with this kind of fault.
    Faulted(&'static str),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Kept => f.write_str("kept"),
            Self::Replaced => f.write_str("replaced"),
            Self::Split => f.write_str("split"),
            Self::Dropped => f.write_str("dropped"),
            Self::Delayed => f.write_str("delayed"),
            Self::Sealed => f.write_str("sealed"),
            Self::Opened => f.write_str("opened"),
            Self::Rejected(code) => write!(f, "rejected ({code})"),
            Self::Faulted(kind) => write!(f, "faulted ({kind})"),
        }
    }
}

impl From<&Reason> for Outcome {
    fn from(reason: &Reason) -> Self {
        Self::Rejected(reason.code.to_string())
    }
}

impl From<&Fault> for Outcome {
    fn from(fault: &Fault) -> Self {
        Self::Faulted(fault.kind.name())
    }
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Rejected(reason) => reason.into(),
            Failure::Fault(fault) => fault.into(),
        }
    }
}

impl From<&Fate> for Outcome {
    fn from(fate: &Fate) -> Self {
        match fate {
            Fate::Keep => Self::Kept,
            Fate::Replace(_) => Self::Replaced,
            Fate::Split(_) => Self::Split,
            Fate::Drop => Self::Dropped,
            Fate::RetryAfter(_) => Self::Delayed,
            Fate::Reject(reason) => reason.into(),
            Fate::Fault(fault) => fault.into(),
        }
    }
}

/// How many samples had which outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Outcome, usize>);

impl Tally {
    /// Each outcome that there was, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (&Outcome, usize)> {
        self.0.iter().map(|(outcome, count)| (outcome, *count))
    }

    /// At how many samples the step failed.
    #[must_use]
    pub fn faulted(&self) -> usize {
        self.iter().filter(|(outcome, _)| matches!(outcome, Outcome::Faulted(_))).map(|(_, count)| count).sum()
    }
}

impl FromIterator<Outcome> for Tally {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut counts = BTreeMap::new();
        outcomes.into_iter().for_each(|outcome| *counts.entry(outcome).or_default() += 1);
        Self(counts)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_names_codes_and_counts_and_nothing_else() {
        let rejected = Outcome::from(&Reason::new("missing", "what stands here is not shown"));
        let tally: Tally = [Outcome::Accepted, rejected.clone(), Outcome::Faulted("trap"), rejected].into_iter().collect();
        assert_eq!(tally.to_string(), "1 accepted, 2 rejected (missing), 1 faulted (trap)");
        assert_eq!(tally.faulted(), 1);
    }
}
