//! What guests answer, held against the rules of the interface before anything is done with it.

use std::time::Duration;

use bytes::Bytes;

use super::fault::{Failure, Fault};
use super::packed::{Malformed, Packed};
use crate::message::Reason;

/// Most messages that one message may be split into: an answer of a few bytes must not become millions of messages.
pub const MAX_SPLIT: usize = 4096;
/// Longest wait that a transformer may ask for.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// What a transformer makes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on unchanged.
    Keep,
    /// It goes on with this body.
    Replace(Bytes),
    /// Each of these goes on in its place, in this order; two at least, [`MAX_SPLIT`] at most.
    Split(Vec<Bytes>),
    /// Done with on purpose.
    Drop,
    /// It will never pass.
    Reject(Reason),
    /// It may pass later: to be given to the step again after this long, 60 seconds at most.
    RetryAfter(Duration),
    /// The step failed at it.
    Fault(Fault),
}

/// An item that is refused.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) index: u32,
    pub(super) reason: Reason,
}

/// A transformer's sparse answer.
#[derive(Debug)]
pub(super) struct Transformed {
    pub(super) replaced: Vec<u32>,
    pub(super) bodies: Result<Packed, Malformed>,
    pub(super) verdicts: Vec<Verdict>,
}

/// A message that goes on in no form.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) index: u32,
    pub(super) fate: Verdicted,
}

#[derive(Debug)]
pub(super) enum Verdicted {
    Drop,
    Reject(Reason),
    RetryAfter(u32),
}

/// What a cipher opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) plain: Result<Packed, Malformed>,
    pub(super) rejected: Vec<Rejection>,
}

/// Why an answer is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("it names item {index} of {count}")]
    Unknown { index: u32, count: usize },
    #[error("item {0} is named twice or out of order")]
    Order(u32),
    #[error("item {0} is both replaced and not let on")]
    Both(u32),
    #[error("{got} items were given for {wanted}")]
    Count { got: usize, wanted: usize },
    #[error("item {0} is split into more than {MAX_SPLIT}")]
    Split(u32),
    #[error("item {0} is to wait for more than 60 seconds")]
    Wait(u32),
    #[error("a packed list: {0}")]
    Packed(#[from] Malformed),
}

/// Names `index` once more: it must lie behind the last one and within the batch.
fn ascending(last: &mut Option<u32>, index: u32, count: usize) -> Result<(), Nonsense> {
    if index as usize >= count {
        return Err(Nonsense::Unknown { index, count });
    }
    if last.is_some_and(|last| index <= last) {
        return Err(Nonsense::Order(index));
    }
    *last = Some(index);
    Ok(())
}

/// One verdict for each of `count` messages.
pub(super) fn verdicts(count: usize, rejections: Vec<Rejection>) -> Result<Vec<Result<(), Failure>>, Nonsense> {
    let mut verdicts: Vec<_> = (0..count).map(|_| Ok(())).collect();
    let mut last = None;
    for Rejection { index, reason } in rejections {
        ascending(&mut last, index, count)?;
        if let Some(verdict) = verdicts.get_mut(index as usize) {
            *verdict = Err(Failure::Rejected(reason));
        }
    }
    Ok(verdicts)
}

/// One fate for each of `count` messages.
pub(super) fn fates(count: usize, answer: Transformed) -> Result<Vec<Fate>, Nonsense> {
    let bodies = answer.bodies?;
    if bodies.len() != answer.replaced.len() {
        return Err(Nonsense::Count { got: bodies.len(), wanted: answer.replaced.len() });
    }
    let mut fates: Vec<_> = (0..count).map(|_| Fate::Keep).collect();
    let mut last = 0;
    for (index, body) in answer.replaced.into_iter().zip(bodies.into_items()) {
        let fate = fates.get_mut(index as usize).ok_or(Nonsense::Unknown { index, count })?;
        if index < last {
            return Err(Nonsense::Order(index));
        }
        last = index;
        add_body(fate, body, index)?;
    }
    let mut last = None;
    for Verdict { index, fate: verdict } in answer.verdicts {
        ascending(&mut last, index, count)?;
        match fates.get_mut(index as usize) {
            Some(fate @ Fate::Keep) => *fate = decided(verdict, index)?,
            _ => return Err(Nonsense::Both(index)),
        }
    }
    Ok(fates)
}

fn add_body(fate: &mut Fate, body: Bytes, index: u32) -> Result<(), Nonsense> {
    match fate {
        Fate::Replace(first) => *fate = Fate::Split(vec![std::mem::take(first), body]),
        Fate::Split(bodies) if bodies.len() >= MAX_SPLIT => return Err(Nonsense::Split(index)),
        Fate::Split(bodies) => bodies.push(body),
        _ => *fate = Fate::Replace(body),
    }
    Ok(())
}

fn decided(verdict: Verdicted, index: u32) -> Result<Fate, Nonsense> {
    match verdict {
        Verdicted::Drop => Ok(Fate::Drop),
        Verdicted::Reject(reason) => Ok(Fate::Reject(reason)),
        Verdicted::RetryAfter(milliseconds) => match Duration::from_millis(milliseconds.into()) {
            wait if wait > MAX_RETRY => Err(Nonsense::Wait(index)),
            wait => Ok(Fate::RetryAfter(wait)),
        },
    }
}

/// One sealed item for each of `count`.
pub(super) fn sealed(count: usize, items: Result<Packed, Malformed>) -> Result<Vec<Result<Bytes, Failure>>, Nonsense> {
    let items = items?;
    match items.len() == count {
        true => Ok(items.into_items().map(Ok).collect()),
        false => Err(Nonsense::Count { got: items.len(), wanted: count }),
    }
}

/// One opened item, or why not, for each of `count`.
pub(super) fn opened(count: usize, opening: Opening) -> Result<Vec<Result<Bytes, Failure>>, Nonsense> {
    let mut items = sealed(count, opening.plain)?;
    let mut last = None;
    for Rejection { index, reason } in opening.rejected {
        ascending(&mut last, index, count)?;
        if let Some(item) = items.get_mut(index as usize) {
            *item = Err(Failure::Rejected(reason));
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(index: u32) -> Rejection {
        Rejection { index, reason: Reason::new("bad", "") }
    }

    fn transformed(replaced: &[u32], verdicts: Vec<(u32, Verdicted)>) -> Transformed {
        let bodies: Vec<_> = (0..replaced.len()).map(|body| body.to_string()).collect();
        Transformed {
            replaced: replaced.to_vec(),
            bodies: Ok(Packed::collect(bodies.iter().map(String::as_bytes)).unwrap()),
            verdicts: verdicts.into_iter().map(|(index, fate)| Verdict { index, fate }).collect(),
        }
    }

    #[test]
    fn a_message_that_is_named_nowhere_goes_on() {
        let answers = verdicts(3, vec![rejection(1)]).unwrap();
        assert_eq!(answers, [Ok(()), Err(Failure::Rejected(Reason::new("bad", ""))), Ok(())]);
        let answers = fates(4, transformed(&[0, 2, 2, 2], vec![(1, Verdicted::Drop)])).unwrap();
        let split = Fate::Split(vec!["1".into(), "2".into(), "3".into()]);
        assert_eq!(answers, [Fate::Replace("0".into()), Fate::Drop, split, Fate::Keep]);
    }

    #[test]
    fn an_answer_that_breaks_the_rules_is_refused() {
        assert_eq!(verdicts(2, vec![rejection(2)]), Err(Nonsense::Unknown { index: 2, count: 2 }));
        assert_eq!(verdicts(2, vec![rejection(1), rejection(1)]), Err(Nonsense::Order(1)));
        assert_eq!(fates(2, transformed(&[1, 0], vec![])), Err(Nonsense::Order(0)));
        assert_eq!(fates(2, transformed(&[5], vec![])), Err(Nonsense::Unknown { index: 5, count: 2 }));
        assert_eq!(fates(2, transformed(&[0], vec![(0, Verdicted::Drop)])), Err(Nonsense::Both(0)));
        assert_eq!(fates(2, transformed(&[], vec![(0, Verdicted::RetryAfter(60_001))])), Err(Nonsense::Wait(0)));
        assert_eq!(fates(1, transformed(&[0; MAX_SPLIT + 1], vec![])), Err(Nonsense::Split(0)));
        let uneven = Transformed { replaced: vec![0, 1], ..transformed(&[0], vec![]) };
        assert_eq!(fates(2, uneven), Err(Nonsense::Count { got: 1, wanted: 2 }));
        let malformed = Transformed { bodies: Err(Malformed::Decreasing(1)), ..transformed(&[0], vec![]) };
        assert_eq!(fates(2, malformed), Err(Nonsense::Packed(Malformed::Decreasing(1))));
        assert_eq!(
            sealed(2, Packed::collect([b"a".as_slice()]).map_err(|_| Malformed::Decreasing(0))),
            Err(Nonsense::Count { got: 1, wanted: 2 })
        );
    }

    #[test]
    fn what_does_not_open_says_why_and_the_rest_is_given() {
        let plain = Ok(Packed::collect([b"one".as_slice(), b""]).unwrap());
        let items = opened(2, Opening { plain, rejected: vec![rejection(1)] }).unwrap();
        assert_eq!(items, [Ok("one".into()), Err(Failure::Rejected(Reason::new("bad", "")))]);
    }
}
