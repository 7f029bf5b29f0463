//! Opening what was sealed: the way back, for a person who may read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::keys::{self, Key, KeyRing, Sealed};
use crate::message::{MessageId, Pointer};
use crate::plugin::{Cipher, Failure, Packed};

/// The ciphers and key rings of a generation.
#[derive(Clone, Default)]
pub struct Opener {
    /// By the name in the stored form.
    pub ciphers: BTreeMap<String, Cipher>,
    /// Every ring of the pipeline.
    pub rings: Vec<Arc<KeyRing>>,
    /// Every field that a step of the pipeline seals.
    pub fields: Vec<Pointer>,
}

/// Why a stored value does not open. Never holds content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is neither the sealed form nor the original's.
    #[error("{0}")]
    Form(String),
    /// No step of the pipeline brings the cipher.
    #[error(
        "it was sealed by the cipher `{0}`, which no step of this pipeline brings: declare a step with that plugin, used or not"
    )]
    UnknownCipher(String),
    /// No ring of the pipeline has the key.
    #[error("it was sealed under the key `{0}`, which is in no key ring of this pipeline")]
    UnknownKey(String),
    /// The cipher refuses it: forged, damaged, or sealed under another key of the same id.
    #[error("it does not open under the key `{key}`: {cause}")]
    Refused {
        /// Id of the key.
        key: String,
        /// What the cipher says.
        cause: String,
    },
    /// What was sealed is no text.
    #[error("it opens, but what was sealed is no UTF-8 text")]
    NotText,
}

impl Opener {
    /// Whether a value says that it was sealed for this message; opening it proves that it says so truly. A value that is not in the
    /// sealed form is bound to nothing.
    #[must_use]
    pub fn is_bound_to(&self, value: &str, id: Option<&MessageId>) -> bool {
        Sealed::parse(value).is_ok_and(|sealed| self.fields.iter().any(|field| sealed.is_bound_to(id, field)))
    }

    /// Opens stored values, in order. Blocking.
    #[must_use]
    pub fn open(&self, values: &[String]) -> Vec<Result<String, OpenError>> {
        let mut opened: Vec<Option<Result<String, OpenError>>> = vec![None; values.len()];
        // Values of one cipher and key are opened in one call.
        let mut groups: BTreeMap<(String, String), Vec<(usize, Sealed<'_>)>> = BTreeMap::new();
        for ((index, value), slot) in values.iter().enumerate().zip(&mut opened) {
            if value.starts_with("tg") {
                match Sealed::parse(value) {
                    Ok(sealed) => {
                        groups.entry((sealed.cipher.to_owned(), sealed.key_id.to_owned())).or_default().push((index, sealed))
                    }
                    Err(error) => *slot = Some(Err(OpenError::Form(error.to_string()))),
                }
            } else {
                *slot = Some(self.open_original(value));
            }
        }
        for ((cipher, key), group) in groups {
            let answers = self.open_group(&cipher, &key, &group);
            for ((index, _), answer) in group.iter().zip(answers) {
                if let Some(slot) = opened.get_mut(*index) {
                    *slot = Some(answer);
                }
            }
        }
        opened.into_iter().map(|answer| answer.expect("every value was answered above")).collect()
    }

    fn open_group(&self, cipher: &str, key_id: &str, group: &[(usize, Sealed<'_>)]) -> Vec<Result<String, OpenError>> {
        let failed = |error: OpenError| vec![Err(error); group.len()];
        let Some(cipher) = self.ciphers.get(cipher) else { return failed(OpenError::UnknownCipher(cipher.to_owned())) };
        let keys: Vec<&Key> = self.rings.iter().filter_map(|ring| ring.find(key_id)).collect();
        let mut answers = failed(OpenError::UnknownKey(key_id.to_owned()));
        // Two rings may use the same id: a value opens under the one that fits.
        for key in keys {
            let missing: Vec<usize> = (0..group.len()).filter(|index| answers.get(*index).is_some_and(Result::is_err)).collect();
            let sealed: Vec<&Sealed<'_>> =
                missing.iter().filter_map(|index| group.get(*index).map(|(_, sealed)| sealed)).collect();
            for (index, answer) in missing.iter().zip(call(cipher, key, &sealed)) {
                if let Some(slot) = answers.get_mut(*index) {
                    *slot = answer;
                }
            }
        }
        answers
    }

    /// Nothing in the original's form says which ring it belongs to: a value that several open differently is not guessed at.
    fn open_original(&self, value: &str) -> Result<String, OpenError> {
        let rings = self.rings.iter().filter(|ring| ring.iter().any(|key| key.iv.is_some()));
        let (mut opened, mut cause) =
            (BTreeSet::new(), "no key ring has a key with an `iv` for values of the original".to_owned());
        for ring in rings {
            match keys::original::open_with_ring(value, ring) {
                Ok((plain, _)) => drop(opened.insert(plain)),
                Err(error) => cause = error.to_string(),
            }
        }
        let form =
            |cause: &str| OpenError::Form(format!("it is not of the form `tg1.…`, and as a value of the original: {cause}"));
        match (opened.len(), opened.pop_first()) {
            (0, _) | (_, None) => Err(form(&cause)),
            (1, Some(plain)) => String::from_utf8(plain).map_err(|_| OpenError::NotText),
            (_, Some(_)) => Err(form("keys of several rings open it to different texts")),
        }
    }
}

/// Opens values of one cipher under one key.
fn call(cipher: &Cipher, key: &Key, sealed: &[&Sealed<'_>]) -> Vec<Result<String, OpenError>> {
    let length = cipher.parameters().nonce_bytes;
    let refused = |cause: String| OpenError::Refused { key: key.id.as_str().to_owned(), cause };
    let parts: Vec<Option<(&[u8], &[u8])>> = sealed.iter().map(|sealed| sealed.nonce_and_sealed(length).ok()).collect();
    let nonces = Packed::collect(parts.iter().map(|part| part.map_or(&[][..], |(nonce, _)| nonce)));
    let ciphertexts = Packed::collect(parts.iter().map(|part| part.map_or(&[][..], |(_, ciphertext)| ciphertext)));
    let contexts = Packed::collect(sealed.iter().map(|sealed| sealed.binding().as_slice()));
    let (Ok(nonces), Ok(contexts), Ok(ciphertexts)) = (nonces, contexts, ciphertexts) else {
        return vec![Err(refused("too much at once".to_owned())); sealed.len()];
    };
    let answers = cipher.open(&key.material, &nonces, &contexts, &ciphertexts);
    let read = |answer: Result<Bytes, Failure>| match answer {
        Ok(plain) => String::from_utf8(plain.to_vec()).map_err(|_| OpenError::NotText),
        Err(Failure::Rejected(reason)) => Err(refused(reason.message)),
        Err(Failure::Fault(fault)) => Err(refused(format!("the cipher failed ({}): {}", fault.kind.name(), fault.message))),
    };
    answers.into_iter().map(read).collect()
}
