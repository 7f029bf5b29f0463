//! Further copies of the broadcast, and what explains each of them.
//!
//! A list has no memory: what was broadcast and not acknowledged when the host or a connection died is broadcast again. So a copy is explained by
//! the publisher, who sent the message again, or by a fault of such a kind between the copy before it and itself; where that one came late, from
//! when the message was sent. Any other copy is a defect.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::arrivals::Arrivals;
use crate::publisher::Published;
use crate::script::Fault;

/// What a fault held back still travels for so long after its end.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A fault that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    /// When it was healed.
    pub(crate) until: Duration,
}

/// Further copies, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// What explains them, and how many there are of each.
    pub(crate) by_cause: BTreeMap<String, u64>,
    /// Messages with a copy that nothing explains.
    pub(crate) unexplained: BTreeSet<u64>,
}

impl Copies {
    /// Sorts the further copies in a list.
    pub(crate) fn of(list: &[u64], published: &Published, arrivals: &Arrivals, happened: &[Happened]) -> Self {
        let (mut copies, mut last, mut again) = (Self::default(), HashMap::new(), published.again.clone());
        for (index, number) in list.iter().enumerate() {
            let Some(before) = last.insert(*number, index) else { continue };
            // Faults first: they explain any number of copies, and the publisher only as many as it sent.
            // What was parked twice, because a confirmation was lost, comes twice at once, and long after that.
            let from = arrivals.not_before(before).min(published.not_before(*number));
            let fault = between(happened, from, arrivals.not_after(index));
            let cause = fault.or_else(|| {
                let left = again.get_mut(number).filter(|left| **left > 0)?;
                *left -= 1;
                Some("published again, because its confirmation was lost".to_owned())
            });
            match cause {
                Some(cause) => *copies.by_cause.entry(cause).or_default() += 1,
                None => drop(copies.unexplained.insert(*number)),
            }
        }
        copies
    }
}

/// The first fault in a span of time that can make a copy.
fn between(happened: &[Happened], from: Duration, until: Duration) -> Option<String> {
    let inside = |happened: &&Happened| {
        happened.fault.can_double() && happened.from <= until && happened.until.saturating_add(AFTERMATH) >= from
    };
    happened.iter().find(inside).map(|happened| happened.fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Server;

    fn happened(fault: Fault, from: u64, until: u64) -> Happened {
        Happened { fault, from: Duration::from_secs(from), until: Duration::from_secs(until) }
    }

    /// All sent at this second, and some again.
    fn published(second: u64, again: &[(u64, u64)]) -> Published {
        Published::of(Duration::from_secs(second), again)
    }

    #[test]
    fn a_copy_is_explained_by_a_fault_between_it_and_the_one_before() {
        let arrivals = Arrivals::of(&[(0, 0), (10, 2), (20, 3)]);
        let copies = |faults: &[Happened]| Copies::of(&[0, 1, 1], &published(10, &[]), &arrivals, faults);
        assert_eq!(
            copies(&[happened(Fault::KillHost, 12, 14)]).by_cause,
            BTreeMap::from([("kill -9 of the host".to_owned(), 1)])
        );
        for cannot in [
            happened(Fault::KillHost, 21, 22),
            happened(Fault::SwapCipher, 12, 14),
            happened(Fault::StopHost, 12, 14),
            happened(Fault::Pause(Server::Postgres), 12, 14),
        ] {
            assert_eq!(copies(&[cannot]), Copies { by_cause: BTreeMap::new(), unexplained: BTreeSet::from([1]) }, "{cannot:?}");
        }
    }

    #[test]
    fn what_a_fault_explains_does_not_use_up_what_the_publisher_sent_again() {
        // The broker dies: it delivers the message again, and the publisher, who got no confirmation, sends it again right behind that.
        let arrivals = Arrivals::of(&[(0, 0), (10, 1), (20, 3)]);
        let killed = happened(Fault::Kill(Server::RabbitMq), 11, 12);
        let copies = Copies::of(&[7, 7, 7], &published(1, &[(7, 1)]), &arrivals, &[killed]);
        assert_eq!(copies.unexplained, BTreeSet::new());
    }

    #[test]
    fn the_publisher_explains_as_many_copies_as_it_sent_and_no_more() {
        let arrivals = Arrivals::of(&[(0, 0), (1, 3)]);
        let copies = Copies::of(&[7, 7, 7], &published(1, &[(7, 1)]), &arrivals, &[]);
        assert_eq!((copies.by_cause.values().sum::<u64>(), copies.unexplained.len()), (1, 1));
    }

    #[test]
    fn what_comes_late_may_have_been_doubled_on_its_way() {
        let arrivals = Arrivals::of(&[(0, 0), (20, 0), (21, 2)]);
        let killed = happened(Fault::Kill(Server::RabbitMq), 11, 12);
        let copies = |sent| Copies::of(&[7, 7], &published(sent, &[]), &arrivals, &[killed]);
        assert_eq!((copies(10).unexplained.len(), copies(15).unexplained.len()), (0, 1));
    }
}
