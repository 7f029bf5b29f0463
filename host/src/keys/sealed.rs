//! The stored form of sealed content: `tg1.<cipher>.<key id>.<payload>`.
//!
//! The payload is base64url without padding of `binding ‖ nonce ‖ what the cipher gave` (ciphertext and tag). The parts in front say
//! how to open it, so that rows outlive configurations: ciphers and keys may change from row to row.
//!
//! The *binding* is what the cipher gets as associated data (the WIT's context): the first 16 bytes of SHA-256 over a domain, the
//! message id and the field's pointer, each with its length. It ties a value to its place, so that whoever can write to the table cannot
//! move a value from one row or field to another unseen. It stands in the payload, and not only in the cipher's arithmetic, for two
//! reasons: `tidegate open` can open a value that someone pasted, without its row; and a reader who has the row can compare
//! ([`Sealed::is_bound_to`]) before opening and say "moved" instead of "forged". It cannot be exchanged, because the cipher authenticates it.
//! It gives away nothing that the row does not: the id is a column beside it. 16 bytes suffice, since a second message id with the same
//! binding takes 2^128 tries.
//!
//! What the binding does not do: values of messages without id are bound to their field alone and can be exchanged among each other;
//! and opening without comparing proves that the value was sealed here, not that it belongs where it was found.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::id::KeyId;
use crate::message::{MessageId, Pointer};

/// Starts every value of this version.
const PREFIX: &str = "tg1.";

/// Separates this use of SHA-256 from every other.
const DOMAIN: &[u8] = b"tidegate sealed binding 1\0";

/// How long a binding is.
pub const BINDING_BYTES: usize = 16;

/// A sealed value, taken apart. Nothing in it is proven before the cipher has opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Name of the cipher that sealed it.
    pub cipher: &'a str,
    /// Id of the key that sealed it.
    pub key_id: &'a str,
    /// `binding ‖ nonce ‖ ciphertext and tag`, at least as long as a binding.
    payload: Vec<u8>,
}

/// Why a text is no sealed value of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// In clear, or in the original's form.
    #[error("not a sealed value: it does not start with `tg1.`")]
    NotSealed,
    /// A form that came after this host.
    #[error("written by a newer host: this one reads `tg1`, the value says `tg{version}`")]
    Newer {
        /// The version that the value names.
        version: u32,
    },
    /// Cut short, or something else altogether.
    #[error("damaged: expected `tg1.<cipher>.<key id>.<payload>`")]
    Parts,
    /// The cipher's name breaks the grammar.
    #[error("damaged: a cipher's name has 1 to 32 characters of a-z, 0-9 and `-`")]
    Cipher,
    /// The key id breaks the grammar.
    #[error("damaged: a key id has 1 to 32 characters of a-z, A-Z, 0-9, `-` and `_`")]
    KeyId,
    /// The payload is no base64url.
    #[error("damaged: the payload is not base64url without padding")]
    Payload,
    /// The payload cannot hold what it must.
    #[error("damaged: the payload has {found} bytes; expected at least {expected}")]
    Short {
        /// How long it is.
        found: usize,
        /// How long it must be at least.
        expected: usize,
    },
}

impl<'a> Sealed<'a> {
    /// Takes a stored value apart. White space is not trimmed: nothing writes any.
    ///
    /// # Errors
    /// Fails when the text is not in the stored form, or in one of a newer host.
    pub fn parse(text: &'a str) -> Result<Self, SealedError> {
        let rest = text.strip_prefix(PREFIX).ok_or_else(|| other_version(text))?;
        let mut parts = rest.split('.');
        let (Some(cipher), Some(key_id), Some(payload), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(SealedError::Parts);
        };
        if !is_cipher_name(cipher) {
            return Err(SealedError::Cipher);
        }
        if !KeyId::fits(key_id) {
            return Err(SealedError::KeyId);
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| SealedError::Payload)?;
        match payload.len() {
            BINDING_BYTES.. => Ok(Self { cipher, key_id, payload }),
            found => Err(SealedError::Short { found, expected: BINDING_BYTES }),
        }
    }

    /// Appends the stored form. `cipher` fits [`is_cipher_name`]; `sealed` is what the cipher gave for this nonce and, as context, this
    /// binding.
    pub fn write(text: &mut Vec<u8>, cipher: &str, key_id: &KeyId, binding: &[u8; BINDING_BYTES], nonce: &[u8], sealed: &[u8]) {
        for part in [PREFIX, cipher, ".", key_id.as_str(), "."] {
            text.extend_from_slice(part.as_bytes());
        }
        let mut base64 = Base64 { text, carried: [0; 3], count: 0 };
        for part in [binding.as_slice(), nonce, sealed] {
            base64.push(part);
        }
        base64.finish();
    }

    /// What the value was bound to when it was sealed: the cipher's context.
    #[must_use]
    pub fn binding(&self) -> &[u8; BINDING_BYTES] {
        self.payload.first_chunk().expect("parse refuses a payload shorter than a binding")
    }

    /// The nonce, of the length that the cipher takes, and what the cipher gave.
    ///
    /// # Errors
    /// Fails when the payload is too short to hold such a nonce.
    pub fn nonce_and_sealed(&self, nonce_bytes: usize) -> Result<(&[u8], &[u8]), SealedError> {
        let rest = self.payload.get(BINDING_BYTES..).unwrap_or_default();
        let short = SealedError::Short { found: self.payload.len(), expected: BINDING_BYTES.saturating_add(nonce_bytes) };
        rest.split_at_checked(nonce_bytes).ok_or(short)
    }

    /// Whether the value says that it was sealed for this field of this message. Opening it proves that it says so truly.
    #[must_use]
    pub fn is_bound_to(&self, id: Option<&MessageId>, field: &Pointer) -> bool {
        *self.binding() == binding(id, field)
    }
}

/// Whether a cipher may be called so: 1 to 32 characters of `a-z`, `0-9` and `-`.
#[must_use]
pub fn is_cipher_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(allowed)
}

/// Tells a newer form from a text that is none.
fn other_version(text: &str) -> SealedError {
    let version = text.strip_prefix("tg").and_then(|rest| rest.split_once('.')).map(|(version, _)| version);
    let plain = version.filter(|version| !version.starts_with(['0', '+']));
    match plain.and_then(|version| version.parse().ok()) {
        Some(version) if version > 1 => SealedError::Newer { version },
        _ => SealedError::NotSealed,
    }
}

/// What a value of this field of this message is bound to. For many messages use a [`Binder`].
#[must_use]
pub fn binding(id: Option<&MessageId>, field: &Pointer) -> [u8; BINDING_BYTES] {
    Binder::new(field).bind(id)
}

/// Makes the bindings of one field.
#[derive(Clone, Debug)]
pub struct Binder {
    field: String,
    /// What is hashed: kept, so that the next one has the room.
    text: Vec<u8>,
}

impl Binder {
    /// For this field.
    #[must_use]
    pub fn new(field: &Pointer) -> Self {
        Self { field: field.to_string(), text: Vec::new() }
    }

    /// What a value of this message is bound to; without an id, to the field alone.
    #[must_use]
    pub fn bind(&mut self, id: Option<&MessageId>) -> [u8; BINDING_BYTES] {
        self.text.clear();
        self.text.extend_from_slice(DOMAIN);
        self.text.push(id.is_some().into());
        for part in id.map(MessageId::as_str).into_iter().chain([self.field.as_str()]) {
            // With its length in front, so that no two pairs of texts are hashed alike.
            self.text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            self.text.extend_from_slice(part.as_bytes());
        }
        *Sha256::digest(&self.text).first_chunk().expect("SHA-256 gives 32 bytes")
    }
}

/// Encodes several slices as if they were one, without joining them first.
struct Base64<'a> {
    text: &'a mut Vec<u8>,
    /// Bytes that do not yet make a group of three.
    carried: [u8; 3],
    count: usize,
}

impl Base64<'_> {
    fn push(&mut self, mut bytes: &[u8]) {
        while let (1.., Some((byte, rest))) = (self.count, bytes.split_first()) {
            self.carry(*byte);
            bytes = rest;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % 3);
        self.encode(whole);
        for byte in rest {
            self.carry(*byte);
        }
    }

    fn carry(&mut self, byte: u8) {
        if let Some(place) = self.carried.get_mut(self.count) {
            *place = byte;
            self.count += 1;
        }
        if self.count == self.carried.len() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let (carried, count) = (self.carried, std::mem::take(&mut self.count));
        self.encode(carried.get(..count).unwrap_or_default());
    }

    /// Straight into its place: `encode_string` goes through a buffer of a kibibyte, which it clears each time.
    fn encode(&mut self, bytes: &[u8]) {
        let start = self.text.len();
        self.text.resize(start + (bytes.len() * 4).div_ceil(3), 0);
        let room = self.text.get_mut(start..).unwrap_or_default();
        URL_SAFE_NO_PAD.encode_slice(bytes, room).expect("the room is made for it");
    }
}

#[cfg(test)]
mod tests;
