//! One key of a ring.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use zeroize::Zeroizing;

use super::error::KeyProblem;
use super::id::KeyId;
use super::uses::{Counter, Uses};
use crate::secret::Secret;

/// One key. Cloning shares the use counter.
#[derive(Clone)]
pub struct Key {
    /// Its name in the ring and in every value that it seals.
    pub id: KeyId,
    /// The key itself, [`Key::BYTES`] long unless the ring's cipher takes another length.
    pub material: Secret,
    /// The static initialization vector, for rows of the original only.
    pub iv: Option<[u8; 16]>,
    /// When it was made, as an RFC 3339 time. Informative.
    pub created: Option<Arc<str>>,
    uses: Arc<Counter>,
}

impl Key {
    /// How long a key is unless the cipher takes another length.
    pub const BYTES: usize = 32;
    /// Shortest key that any ring takes, in bytes: less can be searched through.
    pub const MIN_BYTES: usize = 16;
    /// Longest key that any cipher may ask for, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// A key from its base64 texts.
    pub(super) fn read(id: KeyId, key: &[u8], iv: Option<&[u8]>) -> Result<Self, KeyProblem> {
        let material = decode(&id, "`key`", key)?;
        if material.is_empty() {
            return Err(KeyProblem::EmptyKey(id.to_string()));
        }
        let iv = iv.map(|text| decode(&id, "`iv`", text)).transpose()?;
        let iv = iv.map(|iv| <[u8; 16]>::try_from(iv.as_slice()).map_err(|_| iv.len())).transpose();
        let iv = iv.map_err(|found| KeyProblem::IvLength { key: id.to_string(), found })?;
        Self::new(id, material, iv)
    }

    fn new(id: KeyId, material: Zeroizing<Vec<u8>>, iv: Option<[u8; 16]>) -> Result<Self, KeyProblem> {
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&material.len()) {
            let expected = format!("{}, or what the cipher takes, from {} to {}", Self::BYTES, Self::MIN_BYTES, Self::MAX_BYTES);
            return Err(KeyProblem::Length { key: id.to_string(), found: material.len(), expected });
        }
        if material.iter().all(|byte| *byte == 0) {
            return Err(KeyProblem::ZeroKey(id.to_string()));
        }
        let uses = Counter::of(&material);
        Ok(Self { id, material: Secret::new(material.to_vec()), iv, created: None, uses })
    }

    /// Counts `count` values that are about to be sealed under this key with a random nonce of 12 bytes, as AES-GCM takes it, and says
    /// whether that is still safe. A count that is refused is not added.
    #[must_use = "a key that is used up must not seal"]
    pub fn count_uses(&self, count: u64) -> Uses {
        self.uses.add(count)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id.as_str()).field("has_iv", &self.iv.is_some()).finish_non_exhaustive()
    }
}

/// Standard base64, padded or not; white space does not count, because files and environments wrap lines and end with one.
fn decode(id: &KeyId, part: &'static str, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let mut symbols = Zeroizing::new(Vec::with_capacity(text.len()));
    symbols.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    // With room for all of it, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(symbols.len() + 3));
    STANDARD_PAD_INDIFFERENT
        .decode_vec(symbols.as_slice(), &mut bytes)
        .map_err(|_| KeyProblem::Base64 { key: id.to_string(), part })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn read(key: &str, iv: Option<&str>) -> Result<Key, KeyProblem> {
        Key::read(KeyId::new("k1").unwrap(), key.as_bytes(), iv.map(str::as_bytes))
    }

    #[test]
    fn padding_and_white_space_do_not_matter() {
        let padded = STANDARD.encode([7_u8; 32]);
        let bare = padded.trim_end_matches('=').to_owned();
        let wrapped = format!("  {}\r\n{}\n", &padded[..20], &padded[20..]);
        for text in [padded, bare, wrapped] {
            assert_eq!(read(&text, None).unwrap().material.expose(), [7_u8; 32]);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(read("", None), Err(KeyProblem::EmptyKey(_))));
        assert!(matches!(read(" \n", None), Err(KeyProblem::EmptyKey(_))));
        assert!(matches!(read("not base64!", None), Err(KeyProblem::Base64 { part: "`key`", .. })));
        assert!(matches!(read("-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_", None), Err(KeyProblem::Base64 { .. })));
        assert!(matches!(read(&STANDARD.encode([0_u8; 32]), None), Err(KeyProblem::ZeroKey(_))));
        assert!(matches!(read(&STANDARD.encode([1_u8; 15]), None), Err(KeyProblem::Length { found: 15, .. })));
        assert!(matches!(read(&STANDARD.encode([1_u8; 129]), None), Err(KeyProblem::Length { found: 129, .. })));
    }

    #[test]
    fn an_initialization_vector_has_16_bytes() {
        let key = STANDARD.encode([7_u8; 32]);
        assert_eq!(read(&key, Some(&STANDARD.encode([3_u8; 16]))).unwrap().iv, Some([3; 16]));
        assert!(matches!(read(&key, Some("")), Err(KeyProblem::IvLength { found: 0, .. })));
        assert!(matches!(read(&key, Some(&STANDARD.encode([3_u8; 12]))), Err(KeyProblem::IvLength { found: 12, .. })));
        assert!(matches!(read(&key, Some("?")), Err(KeyProblem::Base64 { part: "`iv`", .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let key =
            read(&STANDARD.encode(b"0123456789abcdef0123456789abcdef"), Some(&STANDARD.encode(b"fedcba9876543210"))).unwrap();
        assert_eq!(format!("{key:?}"), r#"Key { id: "k1", has_iv: true, .. }"#);
    }
}
