//! A key that the step never sees: arithmetic on it, done by the host.

#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(not(target_arch = "wasm32"))]
mod software;

#[cfg(target_arch = "wasm32")]
use host::Handle;
#[cfg(not(target_arch = "wasm32"))]
use software::Handle;

use std::fmt;

use crate::packed::Packed;
use crate::reason::Reason;

/// A key of the host's key ring, held for the length of one call.
///
/// Every function takes packed items and answers with as many, so that one call serves a batch. In native builds, and so in unit
/// tests, it is a software key: make one with [`Key::software`].
pub struct Key<'a>(Handle<'a>);

/// Why a call on a key was refused. None of these depends on the content of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The packed arguments differ in their number of items, or break the rules of [`Packed`].
    Malformed,
    /// The key, a nonce or an initialization vector has another length than the algorithm takes.
    WrongLength,
    /// An item is longer than the algorithm allows.
    TooLong,
    /// The pipeline does not grant this: see [`Key::expose`].
    Denied,
}

/// The result of opening or decrypting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// As many items as were given; empty where an item failed.
    pub items: Packed,
    /// The items that failed, ascending: forged, damaged, or sealed under another key.
    pub failed: Vec<u32>,
}

impl Key<'_> {
    /// Seals with AES-256-GCM: nonces of 12 bytes, contexts as associated data. An item of the answer is ciphertext and tag (16 bytes).
    ///
    /// # Errors
    /// [`Failure::WrongLength`] unless the key has 32 bytes and each nonce 12.
    pub fn aes_gcm_seal(&self, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Failure> {
        self.0.aes_gcm_seal(nonces, contexts, plain)
    }

    /// The inverse of [`Key::aes_gcm_seal`].
    ///
    /// # Errors
    /// As [`Key::aes_gcm_seal`]; an item that does not open is no error.
    pub fn aes_gcm_open(&self, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opened, Failure> {
        self.0.aes_gcm_open(nonces, contexts, sealed)
    }

    /// Encrypts with AES-256-CBC and PKCS#7 padding: initialization vectors of 16 bytes. It does not authenticate: compose it with
    /// [`Key::hmac_sha256`], encrypt-then-MAC.
    ///
    /// # Errors
    /// [`Failure::WrongLength`] unless the key has 32 bytes and each vector 16.
    pub fn aes_cbc_encrypt(&self, ivs: &Packed, plain: &Packed) -> Result<Packed, Failure> {
        self.0.aes_cbc_encrypt(ivs, plain)
    }

    /// The inverse of [`Key::aes_cbc_encrypt`]. Check the authentication tag before you call this.
    ///
    /// # Errors
    /// As [`Key::aes_cbc_encrypt`]; an item whose length or padding is wrong is no error.
    pub fn aes_cbc_decrypt(&self, ivs: &Packed, sealed: &Packed) -> Result<Opened, Failure> {
        self.0.aes_cbc_decrypt(ivs, sealed)
    }

    /// HMAC-SHA-256 of each item, 32 bytes each.
    ///
    /// # Errors
    /// [`Failure::Malformed`] when the items break the rules of [`Packed`].
    pub fn hmac_sha256(&self, items: &Packed) -> Result<Packed, Failure> {
        self.0.hmac_sha256(items)
    }

    /// A key of 32 bytes for another purpose, by HKDF-SHA-256 without salt, `purpose` as info. The same purpose gives the same key.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Key<'static> {
        Key(self.0.derive(purpose))
    }

    /// The key itself, for a step that brings its own algorithm.
    ///
    /// # Errors
    /// [`Failure::Denied`] unless pipeline.toml says `expose_key = true`.
    pub fn expose(&self) -> Result<Vec<u8>, Failure> {
        self.0.expose()
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the items do not belong together",
            Self::WrongLength => "the key or a nonce has a length that the algorithm does not take",
            Self::TooLong => "an item is longer than the algorithm allows",
            Self::Denied => "the pipeline does not grant the key itself: expose_key = true",
        })
    }
}

impl From<Failure> for Reason {
    fn from(failure: Failure) -> Self {
        let code = match failure {
            Failure::Malformed => "malformed",
            Failure::WrongLength => "wrong_length",
            Failure::TooLong => "too_long",
            Failure::Denied => "denied",
        };
        Self::new(code, failure.to_string())
    }
}
