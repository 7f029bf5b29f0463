//! A cipher step: the host finds the field, picks the key and draws the nonces; the component does the arithmetic.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{error, warn};

use crate::config::{SealFormat, SealPlan};
use crate::keys::{self, Binder, Key, KeyRing, Sealed, Uses};
use crate::message::{Fields, Message, Outline, Pointer, Reason, SealedField};
use crate::plugin::{Cipher, Failure, Fault, FaultKind, Packed, Turn};

/// A batch with more bytes is cut, so that no packed argument can outgrow its 32-bit ends.
const MAX_CALL_BYTES: usize = 1 << 30;

/// Seals one field of each message.
pub(super) struct Sealer {
    cipher: Cipher,
    ring: Arc<KeyRing>,
    field: Pointer,
    /// Looked for while the body is read; the first is the field.
    fields: Arc<Fields>,
    /// The field alone, for a body in which not all of them can be looked for.
    alone: Arc<Fields>,
    binder: Binder,
    format: SealFormat,
}

/// A field in clear, and where it and others stand in the body.
struct Clear<'a> {
    text: Cow<'a, str>,
    place: Range<usize>,
    outline: Outline,
}

/// A body with its field sealed.
#[derive(Clone, Debug)]
pub(super) struct SealedBody {
    /// All of it.
    pub(super) body: Bytes,
    /// What is sealed now.
    pub(super) field: SealedField,
    /// Where fields stand in it.
    pub(super) outline: Outline,
}

impl Sealer {
    /// A sealer of the plan's field under the active key of `ring`. It has to read each body: where those behind it find what they want, `others`, it notes
    /// in the same pass.
    #[must_use]
    pub(super) fn new(cipher: Cipher, ring: Arc<KeyRing>, plan: &SealPlan, others: &BTreeSet<&Pointer>) -> Self {
        let SealPlan { field, format, .. } = plan;
        let others = others.iter().copied().filter(|other| *other != field);
        Self {
            cipher,
            ring,
            fields: Arc::new(Fields::new(std::iter::once(field).chain(others))),
            alone: Arc::new(Fields::new([field])),
            binder: Binder::new(field),
            field: field.clone(),
            format: *format,
        }
    }

    /// The field that it seals.
    #[must_use]
    pub(super) fn field(&self) -> &Pointer {
        &self.field
    }

    /// Seals the field of each message, or says why it cannot be sealed. Blocks for the turn.
    #[must_use]
    pub(super) fn seal(&self, batch: &[&Message], turn: Turn) -> Vec<Result<SealedBody, Failure>> {
        let bytes: usize = batch.iter().map(|message| message.body.len()).sum();
        let (head, tail) = batch.split_at(batch.len() / 2);
        if bytes > MAX_CALL_BYTES && !head.is_empty() {
            return [self.seal(head, turn), self.seal(tail, turn)].into_iter().flatten().collect();
        }
        self.seal_together(batch, turn)
    }

    fn seal_together(&self, batch: &[&Message], turn: Turn) -> Vec<Result<SealedBody, Failure>> {
        let clear: Vec<_> = batch.iter().map(|message| self.find(message)).collect();
        let found = || clear.iter().zip(batch).filter_map(|(clear, message)| Some((clear.as_ref().ok()?, *message)));
        let count = found().count();
        let mut sealed = match self.draw(count) {
            Ok(nonces) => self.call(&nonces, found(), turn),
            Err(fault) => vec![Err(Failure::Fault(fault)); count],
        }
        .into_iter();
        let finish = |clear: Result<Clear<'_>, Failure>| {
            clear?;
            sealed.next().expect("a cipher gives one answer an item")
        };
        clear.into_iter().map(finish).collect()
    }

    fn find<'a>(&self, message: &'a Message) -> Result<Clear<'a>, Failure> {
        let refuse = |code, text: &str| Failure::Rejected(Reason::new(code, text).at(&self.field));
        let outline = Outline::read(&self.fields, &message.body)
            .or_else(|_| Outline::read(&self.alone, &message.body))
            .map_err(|_| refuse("not_json", "the body is no JSON, so that no field can be sealed"))?;
        let found = outline.place(0).zip(outline.text(&message.body, 0));
        let (place, raw) = found.ok_or_else(|| refuse("missing", "the field that must be sealed is missing"))?;
        // Anything but a string is sealed as its JSON text.
        let text = match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            None => Cow::Borrowed(raw),
            Some(text) if !text.contains('\\') => Cow::Borrowed(text),
            Some(_) => serde_json::from_str::<String>(raw)
                .map(Cow::Owned)
                .map_err(|_| refuse("not_text", "the field holds a lone surrogate and is no text"))?,
        };
        Ok(Clear { text, place, outline })
    }

    /// One nonce an item, all in one call of the operating system; the original's form has a static one.
    fn draw(&self, count: usize) -> Result<Packed, Fault> {
        let length = self.cipher.parameters().nonce_bytes;
        let key = self.ring.active();
        let bytes = match (self.format, key.iv) {
            (SealFormat::Tg1, _) => {
                check_uses(key, count)?;
                keys::draw_nonces(count, length).map_err(|error| unavailable(error.to_string()))?
            }
            (SealFormat::Original, Some(iv)) => iv.repeat(count),
            (SealFormat::Original, None) => return Err(unavailable(format!("key {} has no `iv`", key.id))),
        };
        Ok(pack(bytes.chunks(length.max(1))))
    }

    fn call<'a>(
        &self,
        nonces: &Packed,
        items: impl Iterator<Item = (&'a Clear<'a>, &'a Message)> + Clone,
        turn: Turn,
    ) -> Vec<Result<SealedBody, Failure>> {
        let bindings: Vec<[u8; 16]> = items.clone().map(|(_, message)| self.binder.bind(message.id.as_ref())).collect();
        let contexts = match self.format {
            SealFormat::Tg1 => pack(bindings.iter().map(<[u8; 16]>::as_slice)),
            SealFormat::Original => pack(bindings.iter().map(|_| [].as_slice())),
        };
        let plain = pack(items.clone().map(|(clear, _)| clear.text.as_bytes()));
        let key = self.ring.active();
        let sealed = self.cipher.in_turn(turn).seal(&key.material, nonces, &contexts, &plain);
        let mut drawn = bindings.iter().zip(nonces.iter());
        let mut places = plain.iter().zip(items);
        let finish = |answer: Result<Bytes, Failure>| {
            let (plain, (clear, message)) = places.next().expect("a cipher gives one answer an item");
            let drawn = drawn.next().expect("each item has its nonce");
            let ciphertext = check_sealed(answer?, plain)?;
            Ok(self.replace(message, clear, key, drawn, &ciphertext))
        };
        sealed.into_iter().map(finish).collect()
    }

    /// Puts the sealed text where the field stood; every other byte of the body stays, so that what was sealed before still is.
    fn replace(
        &self,
        message: &Message,
        clear: &Clear<'_>,
        key: &Key,
        (binding, nonce): (&[u8; 16], &[u8]),
        ciphertext: &[u8],
    ) -> SealedBody {
        let part = |range| message.body.get(range).unwrap_or_default();
        let payload = (binding.len() + nonce.len() + ciphertext.len()).div_ceil(3) * 4;
        // Either form fits: names of the cipher and the key in front, or a line feed, escaped, after each 72 characters.
        let mut body = Vec::with_capacity(message.body.len() + 80 + payload + payload / 36);
        body.extend_from_slice(part(0..clear.place.start));
        body.push(b'"');
        match self.format {
            SealFormat::Tg1 => {
                Sealed::write(&mut body, &self.cipher.parameters().cipher, &key.id, binding, nonce, ciphertext);
            }
            // The only character of either form that JSON escapes is the original's line feed.
            SealFormat::Original => {
                body.extend_from_slice(keys::original::wrap_base64(ciphertext).replace('\n', "\\n").as_bytes());
            }
        }
        body.push(b'"');
        let outline = clear.outline.clone().with_string_at(&clear.place, body.len() - clear.place.start);
        body.extend_from_slice(part(clear.place.end..message.body.len()));
        SealedBody { body: body.into(), field: SealedField { pointer: self.field.clone(), key_id: key.id.to_shared() }, outline }
    }
}

/// A cipher that gives back nothing, or what it was given, has sealed nothing: such an answer is never stored. Only a text of a block or
/// more is looked for in a longer answer, because the start of a short one can be met by chance.
fn check_sealed(answer: Bytes, plain: &[u8]) -> Result<Bytes, Failure> {
    let in_clear = answer == plain || (plain.len() >= 16 && answer.starts_with(plain));
    if answer.is_empty() || in_clear {
        let message = "the cipher gave back nothing, or the content in clear".to_owned();
        return Err(Failure::Fault(Fault { kind: FaultKind::Nonsense, message }));
    }
    Ok(answer)
}

/// A key that has sealed too much seals no more.
fn check_uses(key: &Key, count: usize) -> Result<(), Fault> {
    match key.count_uses(count as u64) {
        Uses::Fine | Uses::RotateSoon { first: false, .. } => Ok(()),
        Uses::RotateSoon { used, first: true } => {
            warn!(key = %key.id, used, "the key has sealed half of what it may: make another one active");
            Ok(())
        }
        Uses::Exhausted { used } => {
            error!(key = %key.id, used, "the key is used up: make another one active");
            Err(unavailable(format!("key {} is used up", key.id)))
        }
    }
}

fn pack<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Packed {
    Packed::collect(items).expect("a call is cut far below the bytes that packed ends can count")
}

fn unavailable(message: String) -> Fault {
    Fault { kind: FaultKind::Unavailable, message }
}
