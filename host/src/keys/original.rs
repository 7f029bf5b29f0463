//! The original's stored form: AES-256-CBC with PKCS#7 padding under a key and one static initialization vector, as base64 with a line
//! feed every 72 characters and one at the end.
//!
//! **This form is not authenticated.** Whoever can write to the table can change what is read from it, and equal contents look equal. It is
//! opened so that rows of the original stay readable, and written only with `format = "original"`.
//!
//! Nothing in the form says which key sealed it, and a wrong key is not always noticed: one garbage in 256 has a padding that looks
//! right. So what is opened must be UTF-8 as well, which content always was; and where several keys of a ring open a value to different
//! texts, none of them is taken. A wrong key still passes for a short value now and then (one key, one block of ciphertext: about once in a
//! million tries), which is one of the reasons why new rows are written in another form.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};

use super::id::KeyId;
use super::key::Key;
use super::ring::KeyRing;

/// Characters of a line in the original's base64.
const LINE: usize = 72;

const BLOCK: usize = 16;

/// Why a value in the original's form cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginalError {
    /// The key is not one of the original's.
    #[error("key `{0}` has no `iv`, which rows of the original need")]
    NoIv(KeyId),
    /// The ring has no key of the original's.
    #[error("no key of ring `{0}` has an `iv`, which rows of the original need")]
    NoKeyWithIv(String),
    /// The key is not one of AES-256.
    #[error("key `{id}` has {found} bytes; rows of the original need 32")]
    KeyLength {
        /// Id of the key.
        id: KeyId,
        /// How long it is.
        found: usize,
    },
    /// The text is no base64.
    #[error("not in the original's form: no base64")]
    NotBase64,
    /// The text does not hold whole blocks.
    #[error("not in the original's form: {0} bytes, which are no whole blocks of 16")]
    NotBlocks(usize),
    /// The wrong key, or a damaged value.
    #[error("does not open: sealed under another key, or damaged")]
    DoesNotOpen,
    /// More than one key opens it, to different texts.
    #[error("keys {} open it to different texts, and nothing tells which is right", .0.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(" and "))]
    Ambiguous(Vec<KeyId>),
}

/// Opens a value under one key. What comes out is UTF-8, and not proven to be what was sealed.
///
/// # Errors
/// Fails when the text is not in the original's form, or the key is not the one that sealed it (nearly always, see the module).
pub fn open(text: &str, key: &Key) -> Result<Vec<u8>, OriginalError> {
    decrypt(&ciphertext(text)?, key)
}

/// Opens a value under whichever key of the ring does, and says which: those with an `iv` are tried, the active one first.
///
/// # Errors
/// Fails when the text is not in the original's form, no key opens it, or several do with different results.
pub fn open_with_ring<'ring>(text: &str, ring: &'ring KeyRing) -> Result<(Vec<u8>, &'ring Key), OriginalError> {
    let sealed = ciphertext(text)?;
    let candidates: Vec<&Key> = ring.iter().filter(|key| key.iv.is_some()).collect();
    if candidates.is_empty() {
        return Err(OriginalError::NoKeyWithIv(ring.name().to_owned()));
    }
    let mut opened: Option<(Vec<u8>, &Key)> = None;
    let mut wrong = OriginalError::DoesNotOpen;
    for key in candidates {
        match (decrypt(&sealed, key), &opened) {
            (Ok(plain), None) => opened = Some((plain, key)),
            (Ok(plain), Some((other, first))) if plain != *other => {
                return Err(OriginalError::Ambiguous(vec![first.id.clone(), key.id.clone()]));
            }
            (Ok(_) | Err(OriginalError::DoesNotOpen), _) => {}
            (Err(error), _) => wrong = error,
        }
    }
    opened.ok_or(wrong)
}

/// Writes the form from what the cipher gave.
#[must_use]
pub fn wrap_base64(ciphertext: &[u8]) -> String {
    // 54 bytes make a line of 72 characters.
    const LINE_BYTES: usize = LINE / 4 * 3;
    let lines = ciphertext.len().div_ceil(LINE_BYTES);
    let mut text = String::with_capacity(ciphertext.len().div_ceil(3) * 4 + lines);
    for line in ciphertext.chunks(LINE_BYTES) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text
}

fn ciphertext(text: &str) -> Result<Vec<u8>, OriginalError> {
    let symbols: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = STANDARD_PAD_INDIFFERENT.decode(symbols).map_err(|_| OriginalError::NotBase64)?;
    match bytes.len() {
        0 => Err(OriginalError::NotBlocks(0)),
        length if length % BLOCK != 0 => Err(OriginalError::NotBlocks(length)),
        _ => Ok(bytes),
    }
}

fn decrypt(sealed: &[u8], key: &Key) -> Result<Vec<u8>, OriginalError> {
    let iv = key.iv.as_ref().ok_or_else(|| OriginalError::NoIv(key.id.clone()))?;
    let material = key.material.expose();
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(material, iv)
        .map_err(|_| OriginalError::KeyLength { id: key.id.clone(), found: material.len() })?;
    let plain = cipher.decrypt_padded_vec::<Pkcs7>(sealed).map_err(|_| OriginalError::DoesNotOpen)?;
    match std::str::from_utf8(&plain) {
        Ok(_) => Ok(plain),
        Err(_) => Err(OriginalError::DoesNotOpen),
    }
}

#[cfg(test)]
mod tests;
