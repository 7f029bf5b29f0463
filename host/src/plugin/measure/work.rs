//! A step with samples, ready to be given again and again.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::gauge::Gauge;
use super::tally::Outcome;
use super::time::nanoseconds;
use crate::message::{Message, NoProperties};
use crate::plugin::{Cipher, Failure, Fault, FaultKind, Packed, Step, TooLong};
use crate::secret::Secret;

/// What the host binds to an item.
const CONTEXT_BYTES: usize = 16;

/// What a step is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A validator's only call.
    Validate,
    /// A transformer's only call.
    Transform,
    /// A cipher's call on the way in.
    Seal,
    /// A cipher's call on the way out.
    Open,
}

impl Call {
    /// Its name in the interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Transform => "transform",
            Self::Seal => "seal",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One call's samples.
enum Chunk {
    Messages(Vec<Message>),
    Items { nonces: Packed, contexts: Packed, items: Packed },
}

/// A step with samples, cut into batches of one size.
pub struct Work {
    step: Step,
    call: Call,
    /// Guards nothing: drawn for these samples, and thrown away.
    key: Secret,
    chunks: Vec<Chunk>,
    messages: usize,
}

impl Work {
    /// What a step can be asked to do with these bodies, in batches of this size: a cipher has two calls, and opens what it has sealed. The last
    /// batch is filled up from the start, so that all have the same size. The messages have no metadata.
    ///
    /// # Errors
    /// Fails when a cipher does not seal what it would have to open, or the bodies are too long together.
    pub fn of(step: &Step, bodies: &[Bytes], batch: usize) -> Result<Vec<Self>, Fault> {
        let batch = batch.max(1);
        let messages = bodies.len().div_ceil(batch) * batch;
        let filled: Vec<Bytes> = bodies.iter().cycle().take(messages).cloned().collect();
        let work = |call, key, chunks| Self { step: step.clone(), call, key, chunks, messages };
        let plain = |call| {
            let message = |body: &Bytes| Message::new(None, body.clone(), Arc::new(NoProperties));
            let chunks = filled.chunks(batch).map(|bodies| Chunk::Messages(bodies.iter().map(message).collect()));
            work(call, Secret::new([]), chunks.collect())
        };
        match step {
            Step::Validator(_) => Ok(vec![plain(Call::Validate)]),
            Step::Transformer(_) => Ok(vec![plain(Call::Transform)]),
            Step::Cipher(cipher) => {
                let key = Secret::new(random(cipher.parameters().key_bytes)?);
                let seal: Vec<Chunk> = filled.chunks(batch).map(|bodies| items(cipher, bodies)).collect::<Result<_, _>>()?;
                let open = seal.iter().map(|chunk| sealed(cipher, &key, chunk)).collect::<Result<_, _>>()?;
                Ok(vec![work(Call::Seal, key.clone(), seal), work(Call::Open, key, open)])
            }
        }
    }

    /// What the step is asked.
    #[must_use]
    pub fn call(&self) -> Call {
        self.call
    }

    /// How many messages one pass has.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Gives every batch to the step once.
    pub fn pass(&self) {
        for chunk in &self.chunks {
            match (&self.step, chunk) {
                (Step::Validator(step), Chunk::Messages(batch)) => drop(black_box(step.validate(batch))),
                (Step::Transformer(step), Chunk::Messages(batch)) => drop(black_box(step.transform(batch))),
                (Step::Cipher(step), Chunk::Items { .. }) => drop(black_box(self.cipher(step, chunk))),
                _ => {}
            }
        }
    }

    /// What becomes of each message of a pass, in order.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        let outcomes = self.chunks.iter().flat_map(|chunk| -> Vec<Outcome> {
            match (&self.step, chunk) {
                (Step::Validator(step), Chunk::Messages(batch)) => {
                    step.validate(batch).iter().map(|answer| outcome(answer, Outcome::Accepted)).collect()
                }
                (Step::Transformer(step), Chunk::Messages(batch)) => step.transform(batch).iter().map(Outcome::from).collect(),
                (Step::Cipher(step), Chunk::Items { .. }) => {
                    let done = if self.call == Call::Open { Outcome::Opened } else { Outcome::Sealed };
                    self.cipher(step, chunk).iter().map(|answer| outcome(answer, done.clone())).collect()
                }
                _ => Vec::new(),
            }
        });
        outcomes.collect()
    }

    /// Nanoseconds of one message, over passes that take at least this long together.
    #[must_use]
    pub fn time(&self, at_least: Duration) -> f64 {
        nanoseconds(self.messages, at_least, || self.pass())
    }

    /// What one pass costs an instance that is warm. Only worth asking of samples at which the step does not fail, and of a step whose instances
    /// are not replaced in between.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        self.pass();
        let before = self.step.gauge();
        self.pass();
        self.step.gauge().since(before)
    }

    fn cipher(&self, cipher: &Cipher, chunk: &Chunk) -> Vec<Result<Bytes, Failure>> {
        let Chunk::Items { nonces, contexts, items } = chunk else { return Vec::new() };
        match self.call {
            Call::Open => cipher.open(&self.key, nonces, contexts, items),
            _ => cipher.seal(&self.key, nonces, contexts, items),
        }
    }
}

impl fmt::Debug for Work {
    /// Sizes alone: samples may be content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("call", &self.call).field("messages", &self.messages).finish_non_exhaustive()
    }
}

fn outcome<T>(answer: &Result<T, Failure>, done: Outcome) -> Outcome {
    answer.as_ref().err().map_or(done, Outcome::from)
}

/// Bodies as what a cipher is to seal: with nonces that are drawn, as the host draws them.
fn items(cipher: &Cipher, bodies: &[Bytes]) -> Result<Chunk, Fault> {
    let length = cipher.parameters().nonce_bytes;
    let nonces = random(length * bodies.len())?;
    let contexts = random(CONTEXT_BYTES * bodies.len())?;
    let nonces = (0..bodies.len()).map(|index| nonces.get(index * length..(index + 1) * length).unwrap_or_default());
    Ok(Chunk::Items {
        nonces: Packed::collect(nonces).map_err(too_long)?,
        contexts: Packed::collect(contexts.chunks(CONTEXT_BYTES)).map_err(too_long)?,
        items: Packed::collect(bodies.iter().map(|body| &**body)).map_err(too_long)?,
    })
}

/// What a cipher makes of them. An item that it refuses is empty.
fn sealed(cipher: &Cipher, key: &Secret, chunk: &Chunk) -> Result<Chunk, Fault> {
    let Chunk::Items { nonces, contexts, items } = chunk else { return Ok(Chunk::Messages(Vec::new())) };
    let sealed: Vec<Bytes> = cipher.seal(key, nonces, contexts, items).into_iter().map(|item| item.unwrap_or_default()).collect();
    let items = Packed::collect(sealed.iter().map(|item| &**item)).map_err(too_long)?;
    Ok(Chunk::Items { nonces: nonces.clone(), contexts: contexts.clone(), items })
}

fn random(count: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; count];
    let refused = |error| Fault::new(FaultKind::Unavailable, format!("the operating system gives no random bytes: {error}"));
    getrandom::fill(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

fn too_long(problem: TooLong) -> Fault {
    Fault::new(FaultKind::Memory, problem.to_string())
}
