//! A cipher step: the host finds the field, picks the key and draws the nonces; the component does the arithmetic.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{error, warn};

use crate::config::{SealFormat, SealPlan};
use crate::keys::{self, Binder, Key, KeyRing, Sealed, Uses};
use crate::message::{Fields, Message, Outline, Outlines, Place, Pointer, Reason, SealedField, Seals};
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

/// A field in clear, and where it stands in the body.
struct Clear<'a> {
    text: Cow<'a, str>,
    place: Range<usize>,
    /// The body's number among those of whose fields all could be looked for.
    outline: Option<usize>,
}

/// A body with its field sealed.
#[derive(Clone, Debug)]
pub(super) struct SealedBody {
    /// All of it.
    pub(super) body: Bytes,
    /// What is sealed in it now.
    pub(super) sealed: Seals,
    /// Where fields stand in it; none where not all of them could be looked for.
    pub(super) outline: Option<Outline>,
}

/// Bodies that are sealed together: one buffer, one list of places and one of sealed fields serve all of them.
struct Writing {
    bodies: Vec<u8>,
    outlines: Outlines,
    field: SealedField,
    /// What was sealed in the last message before, and what is now.
    sealed: Option<(Seals, Seals)>,
}

/// A body in the buffer.
struct Written {
    place: Range<usize>,
    sealed: Seals,
    outline: Option<usize>,
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
        let mut outlines = Outlines::with_capacity(&self.fields, batch.len());
        let clear: Vec<_> = batch.iter().map(|message| self.find(message, &mut outlines)).collect();
        let found = || clear.iter().zip(batch).filter_map(|(clear, message)| Some((clear.as_ref().ok()?, *message)));
        let count = found().count();
        let mut writing = self.writing(outlines, found());
        let mut sealed = match self.draw(count) {
            Ok(nonces) => self.call(&nonces, found(), turn, &mut writing),
            Err(fault) => (0..count).map(|_| Err(Failure::Fault(fault.clone()))).collect(),
        }
        .into_iter();
        let (bodies, outlines) = (Bytes::from(writing.bodies), Arc::new(writing.outlines));
        let finish = |clear: Result<Clear<'_>, Failure>| {
            clear?;
            let Written { place, sealed, outline } = sealed.next().expect("a cipher gives one answer an item")?;
            let outline = outline.map(|number| Outline::new(&outlines, number));
            Ok(SealedBody { body: bodies.slice(place), sealed, outline })
        };
        clear.into_iter().map(finish).collect()
    }

    fn find<'a>(&self, message: &'a Message, outlines: &mut Outlines) -> Result<Clear<'a>, Failure> {
        let refuse = |code, text: &str| Failure::Rejected(Reason::new(code, text).at(&self.field));
        let outline = outlines.read(&message.body).ok();
        let place = match outline {
            Some(number) => outlines.place(number, 0),
            None => {
                self.find_alone(message).map_err(|_| refuse("not_json", "the body is no JSON, so that no field can be sealed"))?
            }
        };
        let found = place.and_then(|place| Some((std::str::from_utf8(message.body.get(place.clone())?).ok()?, place)));
        let (raw, place) = found.ok_or_else(|| refuse("missing", "the field that must be sealed is missing"))?;
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

    fn find_alone(&self, message: &Message) -> Result<Place, serde_json::Error> {
        let mut places = Vec::with_capacity(1);
        self.alone.locate(&message.body, &mut places)?;
        Ok(places.pop().flatten())
    }

    /// Room for these, sealed.
    fn writing<'a>(&self, outlines: Outlines, items: impl Iterator<Item = (&'a Clear<'a>, &'a Message)>) -> Writing {
        // Either form fits: names of the cipher and the key in front, or a line feed, escaped, after each 72 characters. What the cipher adds, and the
        // nonce and the binding, are a few blocks.
        let room = |(clear, message): (&Clear<'_>, &Message)| message.body.len() + 240 + clear.text.len() * 7 / 5;
        Writing {
            bodies: Vec::with_capacity(items.map(room).sum()),
            outlines,
            field: SealedField { pointer: self.field.clone(), key_id: self.ring.active().id.to_shared() },
            sealed: None,
        }
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
        writing: &mut Writing,
    ) -> Vec<Result<Written, Failure>> {
        let mut binder = self.binder.clone();
        let bindings: Vec<[u8; 16]> = items.clone().map(|(_, message)| binder.bind(message.id.as_ref())).collect();
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
            Ok(writing.replace(message, clear, |text| self.write(text, key, drawn, &ciphertext)))
        };
        sealed.into_iter().map(finish).collect()
    }

    /// Writes the sealed text as it stands in JSON, without quotes.
    fn write(&self, text: &mut Vec<u8>, key: &Key, (binding, nonce): (&[u8; 16], &[u8]), ciphertext: &[u8]) {
        match self.format {
            SealFormat::Tg1 => Sealed::write(text, &self.cipher.parameters().cipher, &key.id, binding, nonce, ciphertext),
            // The only character of either form that JSON escapes is the original's line feed.
            SealFormat::Original => {
                text.extend_from_slice(keys::original::wrap_base64(ciphertext).replace('\n', "\\n").as_bytes());
            }
        }
    }
}

impl Writing {
    /// Puts a sealed text where the field stood; every other byte of the body stays, so that what was sealed before still is.
    fn replace(&mut self, message: &Message, clear: &Clear<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Written {
        let part = |range| message.body.get(range).unwrap_or_default();
        let start = self.bodies.len();
        self.bodies.extend_from_slice(part(0..clear.place.start));
        self.bodies.push(b'"');
        write(&mut self.bodies);
        self.bodies.push(b'"');
        if let Some(number) = clear.outline {
            self.outlines.put_string(number, &clear.place, self.bodies.len() - start - clear.place.start);
        }
        self.bodies.extend_from_slice(part(clear.place.end..message.body.len()));
        Written { place: start..self.bodies.len(), sealed: self.seals(&message.sealed), outline: clear.outline }
    }

    /// One field more than before.
    fn seals(&mut self, before: &Seals) -> Seals {
        if let Some((known, now)) = &self.sealed
            && known.is_same_as(before)
        {
            return now.clone();
        }
        let mut now = before.clone();
        now.push(self.field.clone());
        self.sealed = Some((before.clone(), now.clone()));
        now
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

fn pack<'a>(items: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> Packed {
    Packed::collect(items).expect("a call is cut far below the bytes that packed ends can count")
}

fn unavailable(message: String) -> Fault {
    Fault { kind: FaultKind::Unavailable, message }
}
