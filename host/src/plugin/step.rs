//! Steps that are ready for messages. Cheap to clone, and good for several threads at once; every call blocks its thread.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::answers::{Fate, fates, opened, sealed, verdicts};
use super::batch::Batch;
use super::fault::{Failure, Fault, FaultKind};
use super::instance::Instance;
use super::measure::Gauge;
use super::packed::Packed;
use super::pool::{MakeError, Pool, Recipe};
use super::turn::Turn;
use super::{Kind, Manifest};
use crate::message::{Message, Reason};
use crate::secret::Secret;

/// A component that is configured and warm, by its kind.
#[derive(Clone, Debug)]
pub enum Step {
    /// Says yes or no.
    Validator(Validator),
    /// Replaces, splits or drops.
    Transformer(Transformer),
    /// Seals and opens bytes.
    Cipher(Cipher),
}

/// A step that says yes or no.
#[derive(Clone)]
pub struct Validator(Caller);

/// A step that may replace, split or drop a message.
#[derive(Clone)]
pub struct Transformer(Caller);

/// A step that seals and opens bytes.
#[derive(Clone)]
pub struct Cipher(Caller, Arc<Parameters>);

/// What a cipher needs to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Its name in the stored form.
    pub cipher: String,
    /// How many random bytes each item needs, 0 to 64.
    pub nonce_bytes: usize,
    /// How long its keys are, 1 to 128 bytes.
    pub key_bytes: usize,
}

struct Ready {
    pool: Pool,
    reads: Vec<String>,
}

/// Calls a step that is ready, in turns of this length.
#[derive(Clone)]
struct Caller {
    ready: Arc<Ready>,
    turn: Turn,
}

impl Step {
    pub(super) fn ready(recipe: Recipe, manifest: &Manifest) -> Result<Self, MakeError> {
        let ready = Arc::new(Ready { pool: Pool::warm(recipe)?, reads: manifest.reads.clone() });
        let parameters = ready.pool.recipe().parameters.get().cloned().map(Arc::new);
        let caller = Caller { ready, turn: Turn::Whole };
        match (caller.ready.pool.recipe().kind, parameters) {
            (Kind::Validator, _) => Ok(Self::Validator(Validator(caller))),
            (Kind::Transformer, _) => Ok(Self::Transformer(Transformer(caller))),
            (Kind::Cipher, Some(parameters)) => Ok(Self::Cipher(Cipher(caller, parameters))),
            (Kind::Cipher, None) => Err(MakeError::Parameters("`parameters` was never called".to_owned())),
        }
    }

    /// What its next instance has cost since it was made.
    pub(super) fn gauge(&self) -> Gauge {
        match self {
            Self::Validator(Validator(caller)) | Self::Transformer(Transformer(caller)) | Self::Cipher(Cipher(caller, _)) => {
                caller.ready.pool.gauge()
            }
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Validator(_) => Kind::Validator,
            Self::Transformer(_) => Kind::Transformer,
            Self::Cipher(_) => Kind::Cipher,
        }
    }
}

impl Validator {
    /// The same step, called in turns of this length.
    #[must_use]
    pub fn in_turn(&self, turn: Turn) -> Self {
        Self(self.0.in_turn(turn))
    }

    /// One verdict for each message, in order.
    #[must_use]
    pub fn validate<M: Borrow<Message>>(&self, batch: &[M]) -> Vec<Result<(), Failure>> {
        let call = |instance: &mut Instance, run: Range<usize>| {
            let rejections = instance.validate(&self.0.ready.pack(batch, &run)?)?;
            verdicts(run.len(), rejections).map_err(|problem| Fault::nonsense("validate", problem))
        };
        self.0.answers(sizes(batch), call, |fault| Err(Failure::Fault(fault)))
    }
}

impl Transformer {
    /// The same step, called in turns of this length.
    #[must_use]
    pub fn in_turn(&self, turn: Turn) -> Self {
        Self(self.0.in_turn(turn))
    }

    /// One fate for each message, in order.
    #[must_use]
    pub fn transform<M: Borrow<Message>>(&self, batch: &[M]) -> Vec<Fate> {
        let call = |instance: &mut Instance, run: Range<usize>| {
            let answer = instance.transform(&self.0.ready.pack(batch, &run)?)?;
            fates(run.len(), answer).map_err(|problem| Fault::nonsense("transform", problem))
        };
        self.0.answers(sizes(batch), call, Fate::Fault)
    }
}

impl Cipher {
    /// The same step, called in turns of this length.
    #[must_use]
    pub fn in_turn(&self, turn: Turn) -> Self {
        Self(self.0.in_turn(turn), Arc::clone(&self.1))
    }

    /// How to call it.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.1
    }

    /// Seals each item under its nonce, bound to its context. The three lists have one length, and the key has `key_bytes`; the answer
    /// has as many entries as `plain`: ciphertext and tag, without the nonce.
    #[must_use]
    pub fn seal(&self, key: &Secret, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Vec<Result<Bytes, Failure>> {
        self.answers([nonces, contexts, plain], |instance, count, lists| match instance.seal(key, lists)? {
            Ok(items) => sealed(count, items).map(Ok).map_err(|problem| Fault::nonsense("seal", problem)),
            Err(reason) => Ok(Err(reason)),
        })
    }

    /// The inverse of [`Self::seal`]. An item that does not open (damaged, forged, another key or context) is rejected.
    #[must_use]
    pub fn open(&self, key: &Secret, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Vec<Result<Bytes, Failure>> {
        self.answers([nonces, contexts, sealed], |instance, count, lists| match instance.open(key, lists)? {
            Ok(opening) => opened(count, opening).map(Ok).map_err(|problem| Fault::nonsense("open", problem)),
            Err(reason) => Ok(Err(reason)),
        })
    }

    fn answers(
        &self,
        lists: [&Packed; 3],
        call: impl Fn(&mut Instance, usize, [&Packed; 3]) -> Result<Result<Items, Reason>, Fault>,
    ) -> Items {
        let [nonces, contexts, items] = lists;
        if nonces.len() != items.len() || contexts.len() != items.len() {
            let fault = Fault::new(FaultKind::Nonsense, "the host gave nonces, contexts and items that differ in number");
            return vec![Err(Failure::Fault(fault)); items.len()];
        }
        let sizes = (0..items.len()).map(|index| lists.iter().map(|list| list.get(index).map_or(0, <[u8]>::len)).sum());
        let call = |instance: &mut Instance, run: Range<usize>| {
            let call = |instance: &mut Instance, run: Range<usize>| match run.len() == items.len() {
                true => call(instance, run.len(), lists),
                false => call(instance, run.len(), lists.map(|list| list.slice(&run)).each_ref()),
            };
            call_in_parts(instance, run, self.0.turn, &call)
        };
        self.0.answers(sizes, call, |fault| Err(Failure::Fault(fault)))
    }
}

/// What a cipher gives: an entry for each item.
type Items = Vec<Result<Bytes, Failure>>;

/// A cipher refuses a call as a whole. Its parts are tried then, in a whole turn, so that an item which it cannot bear takes no other with it.
fn call_in_parts(
    instance: &mut Instance,
    run: Range<usize>,
    turn: Turn,
    call: &impl Fn(&mut Instance, Range<usize>) -> Result<Result<Items, Reason>, Fault>,
) -> Result<Items, Fault> {
    match call(instance, run.clone())? {
        Ok(items) => Ok(items),
        Err(reason) if run.len() <= 1 => Ok(vec![Err(Failure::Rejected(reason)); run.len()]),
        Err(_) if turn == Turn::Short => {
            Err(Fault::new(FaultKind::Unavailable, "the call is refused, and its parts are not tried"))
        }
        Err(_) => {
            let middle = run.start + run.len() / 2;
            let mut items = call_in_parts(instance, run.start..middle, turn, call)?;
            items.extend(call_in_parts(instance, middle..run.end, turn, call)?);
            Ok(items)
        }
    }
}

fn sizes<M: Borrow<Message>>(batch: &[M]) -> impl Iterator<Item = usize> {
    batch.iter().map(|message| message.borrow().body.len())
}

impl Caller {
    fn in_turn(&self, turn: Turn) -> Self {
        Self { ready: Arc::clone(&self.ready), turn }
    }

    /// As [`Pool::answers`].
    fn answers<A>(
        &self,
        sizes: impl Iterator<Item = usize>,
        call: impl Fn(&mut Instance, Range<usize>) -> Result<Vec<A>, Fault>,
        blame: impl Fn(Fault) -> A,
    ) -> Vec<A> {
        self.ready.pool.answers(self.turn, sizes, call, blame)
    }
}

impl Ready {
    fn pack<M: Borrow<Message>>(&self, batch: &[M], run: &Range<usize>) -> Result<Batch, Fault> {
        let messages = batch.get(run.clone()).unwrap_or_default();
        Batch::pack(messages, &self.reads).map_err(|problem| Fault::new(FaultKind::Memory, problem.to_string()))
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        f.debug_tuple(kind).field(&self.pool.recipe().setup.step).finish()
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.ready.show(f, "Validator")
    }
}

impl fmt::Debug for Transformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.ready.show(f, "Transformer")
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.ready.show(f, "Cipher")
    }
}

impl Parameters {
    /// Longest name, in bytes.
    const NAME_BYTES: usize = 32;

    /// What the interface allows; the error is one sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let letters = self.cipher.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !letters || !(1..=Self::NAME_BYTES).contains(&self.cipher.len()) {
            let most = Self::NAME_BYTES;
            return Err(format!("`cipher` must be lower case letters, digits and `-`, {most} at most"));
        }
        if self.nonce_bytes > 64 {
            return Err(format!("`nonce-bytes` is {}, and 64 is the most", self.nonce_bytes));
        }
        match self.key_bytes {
            1..=128 => Ok(()),
            bytes => Err(format!("`key-bytes` is {bytes}, and must be 1 to 128")),
        }
    }
}
