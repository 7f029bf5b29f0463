//! The gate `seal`: what a cipher seals, it opens; and what the generation before has sealed, this one opens still.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::generation::Generation;
use super::seal::{SealedBody, Sealer};
use crate::message::{Fields, Message, MessageId, NoProperties, Pointer};
use crate::plugin::{Failure, Turn};

/// Sealed and opened again: nothing, a word, text that is not ASCII and holds what JSON escapes, and more than a cipher's block.
fn probes() -> [String; 4] {
    [String::new(), "probe".to_owned(), "\u{0}\"\\\n 안녕 \u{1F511}".to_owned(), "0123456789abcdef".repeat(64)]
}

/// What ciphers of `generation` seal and cannot open themselves.
pub(super) fn check_own(generation: &Generation) -> Vec<String> {
    let against = |(stage, sealer): &(Arc<str>, Arc<Sealer>)| {
        let cause = check(sealer, generation).err()?;
        Some(format!("{stage}: the cipher cannot open what it has sealed itself: {cause}"))
    };
    generation.sealers.iter().filter_map(against).collect()
}

/// What `before` seals and `generation` cannot open: stored rows that nobody could read any more.
pub(super) fn check_before(before: &Generation, generation: &Generation) -> Vec<String> {
    let against = |(stage, sealer): &(Arc<str>, Arc<Sealer>)| {
        let cause = check(sealer, generation).err()?;
        Some(format!(
            "{stage}: rows that are sealed now would not open any more: {cause}; keep the key in its ring, and the cipher in a step of its own, used or not"
        ))
    };
    before.sealers.iter().filter_map(against).collect()
}

fn check(sealer: &Sealer, opens: &Generation) -> Result<(), String> {
    let texts = probes();
    let sealed: Vec<String> = seal(sealer, &texts)?;
    for (text, opened) in texts.iter().zip(opens.opener.open(&sealed)) {
        match opened {
            Ok(opened) if opened == *text => {}
            Ok(_) => return Err("it opens to something else".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn seal(sealer: &Sealer, texts: &[String]) -> Result<Vec<String>, String> {
    let id = MessageId::new("probe");
    let message = |text: &String| {
        let body = nested(sealer.field(), text).to_string();
        Message::new(id.clone(), Bytes::from(body), Arc::new(NoProperties))
    };
    let batch: Vec<Message> = texts.iter().map(message).collect();
    let field = Fields::new([sealer.field()]);
    let text = |answer: Result<SealedBody, Failure>| {
        let SealedBody { body, .. } = answer.map_err(|failure| match failure {
            Failure::Rejected(reason) => reason.message,
            Failure::Fault(fault) => fault.message,
        })?;
        let found = field.find(&body).ok().and_then(|found| found.into_iter().next().flatten());
        found.and_then(|raw| serde_json::from_str(raw).ok()).ok_or_else(|| "it gives back no text".to_owned())
    };
    sealer.seal(&batch.iter().collect::<Vec<_>>(), Turn::Whole).into_iter().map(text).collect()
}

/// A body that holds a text at a pointer.
fn nested(pointer: &Pointer, text: &str) -> Value {
    let path = pointer.to_string();
    let names = path.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
    names.collect::<Vec<_>>().into_iter().rev().fold(json!(text), |inner, name| json!({ name: inner }))
}
