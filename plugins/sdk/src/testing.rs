//! Unit-testing a step natively, without a component and without a host. Not there in builds for wasm32.
//!
//! ```
//! # use tidegate_plugin::{Message, NoSettings, Reason, Validator};
//! # struct NotEmpty;
//! # impl Validator for NotEmpty {
//! #     const NAME: &'static str = "not-empty";
//! #     const VERSION: &'static str = "0.1.0";
//! #     const DESCRIPTION: &'static str = "Lets only messages with a body pass.";
//! #     type Settings = NoSettings;
//! #     fn configure(_: NoSettings) -> Result<Self, Reason> { Ok(Self) }
//! #     fn validate(&self, message: &Message<'_>) -> Result<(), Reason> {
//! #         if message.body.is_empty() { Err(Reason::new("empty", "the body is empty")) } else { Ok(()) }
//! #     }
//! # }
//! use tidegate_plugin::testing::{Incoming, verdicts};
//!
//! let step = NotEmpty::from_settings("{}").unwrap();
//! let answers = verdicts(&step, &[Incoming::new("x"), Incoming::new("")]);
//! assert_eq!(answers[0], Ok(()));
//! assert_eq!(answers[1].as_ref().unwrap_err().code, "empty");
//! ```

mod schema;

pub use schema::settings_problems;

use crate::cipher::Cipher;
use crate::key::Key;
use crate::log::Level;
use crate::message::{Batch, Column};
use crate::packed::Packed;
use crate::reason::Reason;
use crate::transformer::{Answer, Fate, Outcome, Transformer};
use crate::validator::Validator;

/// A message on its way into a step.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    body: Vec<u8>,
    metadata: Vec<(String, Vec<u8>)>,
}

impl Incoming {
    /// A message without metadata.
    #[must_use]
    pub fn new(body: impl AsRef<[u8]>) -> Self {
        Self { body: body.as_ref().to_vec(), metadata: Vec::new() }
    }

    /// The same message with a metadata value. The step sees it only if its `READS` lists the key, as with the host.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.metadata.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    fn value(&self, key: &str) -> &[u8] {
        self.metadata.iter().find(|(name, _)| name == key).map_or(&[], |(_, value)| value)
    }
}

/// The batch that the host would make of these messages, for a step that reads these keys.
#[must_use]
pub fn batch(messages: &[Incoming], reads: &[&str]) -> Batch {
    let column =
        |key: &&str| Column { key: (*key).to_owned(), values: messages.iter().map(|message| message.value(key)).collect() };
    Batch { bodies: messages.iter().map(|message| &message.body).collect(), metadata: reads.iter().map(column).collect() }
}

/// What a validator says of each message.
///
/// # Panics
/// When the answer breaks the rules of the boundary, which only an override of `validate_batch` can do.
#[must_use]
pub fn verdicts<V: Validator>(step: &V, messages: &[Incoming]) -> Vec<Result<(), Reason>> {
    let mut verdicts = vec![Ok(()); messages.len()];
    let rejections = step.validate_batch(&batch(messages, V::READS));
    assert!(rejections.is_sorted_by(|a, b| a.index < b.index), "rejections ascend, each message at most once");
    for rejection in rejections {
        *verdicts.get_mut(rejection.index as usize).expect("a rejection names a message of the batch") = Err(rejection.reason);
    }
    verdicts
}

/// What a transformer makes of each message.
///
/// # Panics
/// When the answer breaks the rules of the boundary, which only an override of `transform_batch` can do.
#[must_use]
pub fn outcomes<T: Transformer>(step: &T, messages: &[Incoming]) -> Vec<Outcome> {
    let Answer { replaced, bodies, verdicts } = step.transform_batch(&batch(messages, T::READS));
    assert!(replaced.is_sorted() && replaced.len() == bodies.len(), "as many bodies as messages are replaced, ascending");
    assert!(verdicts.is_sorted_by(|a, b| a.index < b.index), "verdicts ascend, each message at most once");
    let mut outcomes = vec![Outcome::Keep; messages.len()];
    for (index, body) in replaced.iter().zip(bodies.iter()) {
        let outcome = outcomes.get_mut(*index as usize).expect("a replacement names a message of the batch");
        *outcome = match std::mem::replace(outcome, Outcome::Keep) {
            Outcome::Replace(first) => Outcome::Split(vec![first, body.to_vec()]),
            Outcome::Split(mut bodies) => {
                bodies.push(body.to_vec());
                Outcome::Split(bodies)
            }
            _ => Outcome::Replace(body.to_vec()),
        };
    }
    for verdict in verdicts {
        let outcome = outcomes.get_mut(verdict.index as usize).expect("a verdict names a message of the batch");
        assert!(*outcome == Outcome::Keep, "a message is not both replaced and judged");
        *outcome = match verdict.fate {
            Fate::Drop => Outcome::Drop,
            Fate::Reject(reason) => Outcome::Reject(reason),
            Fate::RetryAfter(milliseconds) => Outcome::RetryAfter(std::time::Duration::from_millis(milliseconds.into())),
        };
    }
    outcomes
}

/// An item on its way into a cipher.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// What the host drew for it.
    pub nonce: &'a [u8],
    /// What the host binds to it.
    pub context: &'a [u8],
    /// What is sealed, or opened.
    pub bytes: &'a [u8],
}

/// Seals one by one batch: as many items as were given.
///
/// # Errors
/// What the cipher says.
///
/// # Panics
/// When the answer has another number of items.
pub fn seal<C: Cipher>(step: &C, key: &Key<'_>, items: &[Item<'_>]) -> Result<Vec<Vec<u8>>, Reason> {
    let [nonces, contexts, plain] = lists(items);
    let sealed = step.seal(key, &nonces, &contexts, &plain)?;
    assert_eq!(sealed.len(), items.len(), "as many items are sealed as were given");
    Ok(sealed.iter().map(<[u8]>::to_vec).collect())
}

/// Opens in one batch: what each item holds, or why it does not open.
///
/// # Errors
/// What the cipher says of the call as a whole.
///
/// # Panics
/// When the answer breaks the rules of the boundary.
pub fn open<C: Cipher>(step: &C, key: &Key<'_>, items: &[Item<'_>]) -> Result<Vec<Result<Vec<u8>, Reason>>, Reason> {
    let [nonces, contexts, sealed] = lists(items);
    let opening = step.open(key, &nonces, &contexts, &sealed)?;
    assert_eq!(opening.plain.len(), items.len(), "as many items are opened as were given");
    assert!(opening.rejected.is_sorted_by(|a, b| a.index < b.index), "rejections ascend, each item at most once");
    let mut opened: Vec<_> = opening.plain.iter().map(|item| Ok(item.to_vec())).collect();
    for rejection in opening.rejected {
        let item = opened.get_mut(rejection.index as usize).expect("a rejection names an item of the call");
        assert_eq!(*item, Ok(Vec::new()), "an item that is rejected is empty");
        *item = Err(rejection.reason);
    }
    Ok(opened)
}

fn lists(items: &[Item<'_>]) -> [Packed; 3] {
    [
        items.iter().map(|item| item.nonce).collect(),
        items.iter().map(|item| item.context).collect(),
        items.iter().map(|item| item.bytes).collect(),
    ]
}

/// What this thread has logged since it was last asked, as the step wrote it.
#[must_use]
pub fn logged() -> Vec<(Level, String)> {
    crate::log::backend::take()
}

/// Stops the clock of this thread, and so of this test, at a time.
pub fn stop_clock(milliseconds_since_epoch: u64) {
    crate::clock::backend::stop_at(milliseconds_since_epoch);
}
