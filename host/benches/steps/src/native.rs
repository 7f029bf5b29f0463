//! The same work without a sandbox.
//!
//! validate-message, reshape and aes-256-cbc are the plugins' own code, called through the SDK's traits on batches that are packed already. AES-256-GCM
//! is written by hand, as the native pipeline of `tidegate-bench` has it: the cipher is made once, and each item is sealed into a buffer of its own.
//! All of it uses this machine's AES instructions.

use std::hint::black_box;

use aes_256_cbc::Aes256Cbc;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use bytes::Bytes;
use reshape::Reshape;
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};
use tidegate_plugin::{Batch, Cipher, Key, Packed, Reason, Transformer, Validator};
use validate_message::ValidateMessage;

use crate::case::Case;

/// It guards nothing.
const KEY: [u8; 32] = [7; 32];
/// What the host binds to an item.
const CONTEXT_BYTES: usize = 16;

/// One pass over every sample, to be repeated.
pub(crate) type Pass = Box<dyn FnMut()>;

/// The items of one call of a cipher.
struct Items {
    nonces: Packed,
    contexts: Packed,
    items: Packed,
}

/// The case, in batches of this size.
pub(crate) fn pass(case: Case, batch: usize) -> Result<Pass> {
    match case {
        Case::Validate => validate(case, batch),
        Case::Keep | Case::Replace => transform(case, batch),
        Case::GcmSeal => gcm_seal(case, batch),
        Case::GcmOpen => gcm_open(case, batch),
        Case::CbcSeal | Case::CbcOpen => cbc(case, batch),
    }
}

fn validate(case: Case, batch: usize) -> Result<Pass> {
    let step = ValidateMessage::from_settings(&case.settings().to_string()).map_err(refused)?;
    let batches = batches(case, batch);
    Ok(Box::new(move || batches.iter().for_each(|batch| drop(black_box(step.validate_batch(batch))))))
}

fn transform(case: Case, batch: usize) -> Result<Pass> {
    let step = Reshape::from_settings(&case.settings().to_string()).map_err(refused)?;
    let batches = batches(case, batch);
    Ok(Box::new(move || batches.iter().for_each(|batch| drop(black_box(step.transform_batch(batch))))))
}

fn gcm_seal(case: Case, batch: usize) -> Result<Pass> {
    let cipher = Aes256Gcm::new(&KEY.into());
    let chunks = items(&case.bodies(), batch, 12);
    chunks.iter().try_for_each(|chunk| sealed(&cipher, chunk).map(drop))?;
    Ok(Box::new(move || chunks.iter().for_each(|chunk| drop(black_box(sealed(&cipher, chunk))))))
}

fn gcm_open(case: Case, batch: usize) -> Result<Pass> {
    let cipher = Aes256Gcm::new(&KEY.into());
    let mut chunks = items(&case.bodies(), batch, 12);
    for chunk in &mut chunks {
        chunk.items = sealed(&cipher, chunk)?.iter().collect();
    }
    chunks.iter().try_for_each(|chunk| opened(&cipher, chunk).map(drop))?;
    Ok(Box::new(move || chunks.iter().for_each(|chunk| drop(black_box(opened(&cipher, chunk))))))
}

fn cbc(case: Case, batch: usize) -> Result<Pass> {
    let step = Aes256Cbc::from_settings(&case.settings().to_string()).map_err(refused)?;
    let key = Key::software(&KEY);
    let mut chunks = items(&case.bodies(), batch, 16);
    if case == Case::CbcSeal {
        return Ok(Box::new(move || {
            for Items { nonces, contexts, items } in &chunks {
                drop(black_box(step.seal(&key, nonces, contexts, items)));
            }
        }));
    }
    for chunk in &mut chunks {
        chunk.items = step.seal(&key, &chunk.nonces, &chunk.contexts, &chunk.items).map_err(refused)?;
    }
    Ok(Box::new(move || {
        for Items { nonces, contexts, items } in &chunks {
            drop(black_box(step.open(&key, nonces, contexts, items)));
        }
    }))
}

fn sealed(cipher: &Aes256Gcm, chunk: &Items) -> Result<Vec<Vec<u8>>> {
    let items = chunk.nonces.iter().zip(chunk.contexts.iter()).zip(chunk.items.iter());
    let sealed = items.map(|((nonce, aad), msg)| {
        let nonce = Nonce::try_from(nonce).doing("taking a nonce")?;
        cipher.encrypt(&nonce, Payload { msg, aad }).doing("sealing")
    });
    sealed.collect()
}

fn opened(cipher: &Aes256Gcm, chunk: &Items) -> Result<Vec<Vec<u8>>> {
    let items = chunk.nonces.iter().zip(chunk.contexts.iter()).zip(chunk.items.iter());
    let opened = items.map(|((nonce, aad), msg)| {
        let nonce = Nonce::try_from(nonce).doing("taking a nonce")?;
        cipher.decrypt(&nonce, Payload { msg, aad }).doing("opening")
    });
    opened.collect()
}

fn batches(case: Case, batch: usize) -> Vec<Batch> {
    let bodies = case.bodies();
    let pack = |bodies: &[Bytes]| Batch { bodies: bodies.iter().collect(), metadata: Vec::new() };
    filled(&bodies, batch).chunks(batch).map(pack).collect()
}

/// Nonces are counted: a key that is thrown away may seal with any.
fn items(bodies: &[Bytes], batch: usize, nonce_bytes: usize) -> Vec<Items> {
    let filled = filled(bodies, batch);
    let chunks = filled.chunks(batch).map(|bodies| {
        let numbered = |length: usize| -> Packed {
            (0..bodies.len() as u128).map(|number| number.to_le_bytes().into_iter().take(length).collect::<Vec<_>>()).collect()
        };
        Items { nonces: numbered(nonce_bytes), contexts: numbered(CONTEXT_BYTES), items: bodies.iter().collect() }
    });
    chunks.collect()
}

/// The bodies, filled up from the start to whole batches, as the sandbox gets them.
fn filled(bodies: &[Bytes], batch: usize) -> Vec<Bytes> {
    let messages = bodies.len().div_ceil(batch) * batch;
    bodies.iter().cycle().take(messages).cloned().collect()
}

fn refused(reason: Reason) -> Failure {
    Failure::new(format!("the plugin's own code refuses: {} ({})", reason.message, reason.code))
}
