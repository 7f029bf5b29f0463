//! The same arithmetic in software, for unit tests of ciphers. Not hardened: never seal with it what matters.

use std::marker::PhantomData;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{Failure, Key, Opened};
use crate::packed::Packed;

/// The bytes of the key, in clear.
pub(super) struct Handle<'a> {
    bytes: Vec<u8>,
    exposed: bool,
    // The host's handle borrows; this one has the same shape.
    lifetime: PhantomData<&'a ()>,
}

impl Key<'static> {
    /// A key for unit tests, of any length. [`Key::expose`] is denied.
    #[must_use]
    pub fn software(bytes: &[u8]) -> Self {
        Self(Handle { bytes: bytes.to_vec(), exposed: false, lifetime: PhantomData })
    }

    /// A key for unit tests of a step that is granted `expose_key = true`.
    #[must_use]
    pub fn software_exposed(bytes: &[u8]) -> Self {
        Self(Handle { bytes: bytes.to_vec(), exposed: true, lifetime: PhantomData })
    }
}

impl Handle<'_> {
    pub(super) fn aes_gcm_seal(&self, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Failure> {
        same_length(&[nonces, contexts, plain])?;
        let cipher = self.gcm()?;
        let items = nonces.iter().zip(contexts.iter()).zip(plain.iter());
        items
            .map(|((nonce, aad), msg)| {
                cipher.encrypt(&fixed::<12>(nonce)?.into(), Payload { msg, aad }).map_err(|_| Failure::TooLong)
            })
            .collect()
    }

    pub(super) fn aes_gcm_open(&self, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opened, Failure> {
        same_length(&[nonces, contexts, sealed])?;
        let cipher = self.gcm()?;
        let items = nonces.iter().zip(contexts.iter()).zip(sealed.iter());
        let plain = items.map(|((nonce, aad), msg)| Ok(cipher.decrypt(&fixed::<12>(nonce)?.into(), Payload { msg, aad }).ok()));
        Ok(opened(plain.collect::<Result<_, _>>()?))
    }

    pub(super) fn aes_cbc_encrypt(&self, ivs: &Packed, plain: &Packed) -> Result<Packed, Failure> {
        same_length(&[ivs, plain])?;
        let key = fixed::<32>(&self.bytes)?;
        let items = ivs.iter().zip(plain.iter());
        items
            .map(|(iv, item)| {
                let encryptor = cbc::Encryptor::<Aes256>::new(&key.into(), &fixed::<16>(iv)?.into());
                Ok(encryptor.encrypt_padded_vec::<Pkcs7>(item))
            })
            .collect()
    }

    pub(super) fn aes_cbc_decrypt(&self, ivs: &Packed, sealed: &Packed) -> Result<Opened, Failure> {
        same_length(&[ivs, sealed])?;
        let key = fixed::<32>(&self.bytes)?;
        let items = ivs.iter().zip(sealed.iter());
        let plain = items.map(|(iv, item)| {
            let decryptor = cbc::Decryptor::<Aes256>::new(&key.into(), &fixed::<16>(iv)?.into());
            Ok(decryptor.decrypt_padded_vec::<Pkcs7>(item).ok())
        });
        Ok(opened(plain.collect::<Result<_, _>>()?))
    }

    pub(super) fn hmac_sha256(&self, items: &Packed) -> Result<Packed, Failure> {
        let mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.bytes).map_err(|_| Failure::WrongLength)?;
        Ok(items.iter().map(|item| mac.clone().chain_update(item).finalize().into_bytes()).collect())
    }

    pub(super) fn derive(&self, purpose: &str) -> Handle<'static> {
        let mut bytes = vec![0; 32];
        hkdf::Hkdf::<Sha256>::new(None, &self.bytes)
            .expand(purpose.as_bytes(), &mut bytes)
            .expect("32 bytes are within what HKDF-SHA-256 gives");
        Handle { bytes, exposed: self.exposed, lifetime: PhantomData }
    }

    pub(super) fn expose(&self) -> Result<Vec<u8>, Failure> {
        if self.exposed { Ok(self.bytes.clone()) } else { Err(Failure::Denied) }
    }

    fn gcm(&self) -> Result<Aes256Gcm, Failure> {
        Ok(Aes256Gcm::new(&fixed::<32>(&self.bytes)?.into()))
    }
}

fn same_length(lists: &[&Packed]) -> Result<(), Failure> {
    let differs = lists.windows(2).any(|pair| matches!(pair, [a, b] if a.len() != b.len()));
    if differs { Err(Failure::Malformed) } else { Ok(()) }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Failure> {
    bytes.try_into().map_err(|_| Failure::WrongLength)
}

fn opened(plain: Vec<Option<Vec<u8>>>) -> Opened {
    let failed = (0..).zip(&plain).filter_map(|(index, item)| item.is_none().then_some(index)).collect();
    Opened { items: plain.into_iter().map(Option::unwrap_or_default).collect(), failed }
}
