//! A cipher: AES-256-CBC, authenticated by HMAC-SHA-256 (encrypt-then-MAC), or bare as the original's rows have it.
//!
//! Authenticated: the ring's key gives two keys by HKDF, one to encrypt and one to authenticate. An item is the ciphertext and a tag of 32
//! bytes, HMAC-SHA-256 over the context's length (8 bytes, big endian), the context, the initialization vector and the ciphertext. The tag is checked in
//! constant time before anything is decrypted.
//!
//! Bare (`authenticate = false`): the ciphertext alone, directly under the ring's key. A wrong key gives garbage 1 time in 256 instead of an error,
//! and the context binds nothing: it is there for `format = "original"` and for nothing new.

use std::hint::black_box;

use serde::Deserialize;
use tidegate_plugin::{Cipher, Key, Opening, Packed, Parameters, Reason, Rejection, Settings};

/// Length of a block and of an initialization vector, in bytes.
const BLOCK: usize = 16;

/// Length of a tag, in bytes.
const TAG: usize = 32;

/// Which of these it is cannot be told apart.
const NOT_AUTHENTIC: &str = "does not open: forged, damaged, or sealed under another key or for another context";

/// `settings` of the step.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Mode {
    /// Append a tag, and open nothing without one. Default: true.
    pub authenticate: bool,
}

impl Default for Mode {
    fn default() -> Self {
        Self { authenticate: true }
    }
}

impl Settings for Mode {
    const SCHEMA: &'static str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "authenticate": {
      "description": "Append a tag, and open nothing without one. Without it the form is that of the original, for its rows alone.",
      "type": "boolean", "default": true
    }
  }
}"#;
}

/// The step.
#[derive(Clone, Copy, Debug)]
pub struct Aes256Cbc {
    mode: Mode,
}

impl Cipher for Aes256Cbc {
    const NAME: &'static str = "aes-256-cbc";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Seals with AES-256-CBC and HMAC-SHA-256, or writes and reads the original's form.";

    type Settings = Mode;

    fn configure(mode: Mode) -> Result<Self, Reason> {
        Ok(Self { mode })
    }

    fn parameters(&self) -> Parameters {
        // What cannot open the other's items has another name.
        let cipher = if self.mode.authenticate { "aes-256-cbc" } else { "aes-256-cbc-bare" };
        Parameters { cipher: cipher.to_owned(), nonce_bytes: 16, key_bytes: 32 }
    }

    fn seal(&self, key: &Key<'_>, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Reason> {
        if !self.mode.authenticate {
            return Ok(key.aes_cbc_encrypt(nonces, plain)?);
        }
        let keys = Keys::of(key);
        let ciphertexts = keys.encryption.aes_cbc_encrypt(nonces, plain)?;
        let tags = keys.authentication.hmac_sha256(&authenticated(nonces, contexts, ciphertexts.iter()))?;
        let mut sealed = Packed::with_capacity(plain.len(), ciphertexts.bytes.len() + tags.bytes.len());
        for (ciphertext, tag) in ciphertexts.iter().zip(tags.iter()) {
            sealed.push_with(|bytes| bytes.extend(ciphertext.iter().chain(tag)));
        }
        Ok(sealed)
    }

    fn open(&self, key: &Key<'_>, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opening, Reason> {
        if self.mode.authenticate { open(&Keys::of(key), nonces, contexts, sealed) } else { open_bare(key, nonces, sealed) }
    }
}

/// The two keys that the ring's key gives.
struct Keys {
    encryption: Key<'static>,
    authentication: Key<'static>,
}

impl Keys {
    fn of(key: &Key<'_>) -> Self {
        Self {
            encryption: key.derive("tidegate aes-256-cbc encryption"),
            authentication: key.derive("tidegate aes-256-cbc authentication"),
        }
    }
}

/// What the tags stand for. The length before the context keeps context and vector apart.
fn authenticated<'a>(nonces: &Packed, contexts: &Packed, ciphertexts: impl Iterator<Item = &'a [u8]>) -> Packed {
    let mut items = Packed::default();
    for ((nonce, context), ciphertext) in nonces.iter().zip(contexts.iter()).zip(ciphertexts) {
        items.push_with(|bytes| {
            bytes.extend((context.len() as u64).to_be_bytes());
            bytes.extend(context.iter().chain(nonce).chain(ciphertext));
        });
    }
    items
}

fn open(keys: &Keys, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opening, Reason> {
    // What is too short for a tag is compared with an empty one, and so never authentic.
    let parts: Vec<_> = sealed
        .iter()
        .map(|item| item.split_last_chunk::<TAG>().map_or((item, &[][..]), |(text, tag)| (text, &tag[..])))
        .collect();
    let tags = keys.authentication.hmac_sha256(&authenticated(nonces, contexts, parts.iter().map(|(text, _)| *text)))?;
    let authentic: Vec<bool> = parts.iter().zip(tags.iter()).map(|((_, tag), expected)| same(tag, expected)).collect();
    let kept = |index: &usize| authentic.get(*index) == Some(&true);
    let ivs = nonces.iter().enumerate().filter(|(index, _)| kept(index)).map(|(_, iv)| iv).collect();
    let texts = parts.iter().enumerate().filter(|(index, _)| kept(index)).map(|(_, (text, _))| text).collect();
    let opened = keys.encryption.aes_cbc_decrypt(&ivs, &texts)?;
    // What was decrypted are the authentic items, in their order.
    let mut decrypted = (0..).zip(opened.items.iter());
    let mut opening = Opening::default();
    for (index, authentic) in (0..).zip(authentic) {
        let plain = match authentic.then(|| decrypted.next()).flatten() {
            Some((at, _)) if opened.failed.contains(&at) => {
                Err(rejection(index, "malformed", "authentic, and yet no ciphertext of AES-256-CBC"))
            }
            Some((_, plain)) => Ok(plain),
            None => Err(rejection(index, "not_authentic", NOT_AUTHENTIC)),
        };
        opening.plain.push(plain.as_ref().copied().unwrap_or_default());
        opening.rejected.extend(plain.err());
    }
    Ok(opening)
}

fn open_bare(key: &Key<'_>, nonces: &Packed, sealed: &Packed) -> Result<Opening, Reason> {
    let opened = key.aes_cbc_decrypt(nonces, sealed)?;
    let message = format!("does not decrypt: damaged, no whole blocks of {BLOCK} bytes, or encrypted under another key");
    let rejected = opened.failed.into_iter().map(|index| rejection(index, "not_decrypted", &message)).collect();
    Ok(Opening { plain: opened.items, rejected })
}

fn rejection(index: u32, code: &str, message: &str) -> Rejection {
    Rejection { index, reason: Reason::new(code, message) }
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

tidegate_plugin::cipher!(Aes256Cbc);

#[cfg(test)]
mod tests;
