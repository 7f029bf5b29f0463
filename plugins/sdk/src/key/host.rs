//! The key as the host offers it to a component.

use super::{Failure, Key, Opened};
use crate::bindings::sealing::tidegate::plugin::crypto;
use crate::packed::Packed;

/// Lent for a call, or derived and owned.
pub(super) enum Handle<'a> {
    Lent(&'a crypto::Key),
    Owned(crypto::Key),
}

impl<'a> Key<'a> {
    /// The key that the host lends for a call.
    #[must_use]
    #[doc(hidden)]
    pub fn lent(key: &'a crypto::Key) -> Self {
        Self(Handle::Lent(key))
    }
}

impl Handle<'_> {
    fn key(&self) -> &crypto::Key {
        match self {
            Self::Lent(key) => key,
            Self::Owned(key) => key,
        }
    }

    pub(super) fn aes_gcm_seal(&self, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Failure> {
        self.key().aes_gcm_seal(nonces, contexts, plain).map_err(failure)
    }

    pub(super) fn aes_gcm_open(&self, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opened, Failure> {
        self.key().aes_gcm_open(nonces, contexts, sealed).map(opened).map_err(failure)
    }

    pub(super) fn aes_cbc_encrypt(&self, ivs: &Packed, plain: &Packed) -> Result<Packed, Failure> {
        self.key().aes_cbc_encrypt(ivs, plain).map_err(failure)
    }

    pub(super) fn aes_cbc_decrypt(&self, ivs: &Packed, sealed: &Packed) -> Result<Opened, Failure> {
        self.key().aes_cbc_decrypt(ivs, sealed).map(opened).map_err(failure)
    }

    pub(super) fn hmac_sha256(&self, items: &Packed) -> Result<Packed, Failure> {
        self.key().hmac_sha256(items).map_err(failure)
    }

    pub(super) fn derive(&self, purpose: &str) -> Handle<'static> {
        Handle::Owned(self.key().derive(purpose))
    }

    pub(super) fn expose(&self) -> Result<Vec<u8>, Failure> {
        self.key().expose().map_err(failure)
    }
}

fn opened(opened: crypto::Opened) -> Opened {
    Opened { items: opened.items, failed: opened.failed }
}

fn failure(failure: crypto::Failure) -> Failure {
    match failure {
        crypto::Failure::Malformed => Failure::Malformed,
        crypto::Failure::WrongLength => Failure::WrongLength,
        crypto::Failure::TooLong => Failure::TooLong,
        crypto::Failure::Denied => Failure::Denied,
    }
}
