//! The arithmetic that ciphers ask of the host, over packed items. Nothing here knows wasmtime, plugins or rings.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::packed::{Packed, TooLong};
use crate::secret::Secret;

const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

/// Why a call is refused. None of these depends on the content of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The lists differ in their number of items.
    Malformed,
    /// The key, a nonce or an initialization vector has another length than the algorithm takes.
    WrongLength,
    /// The items are longer than the answer can hold.
    TooLong,
}

impl From<TooLong> for Refusal {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// What opening gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// As many items as were given; empty where an item failed.
    pub(super) items: Packed,
    /// The items that failed, ascending.
    pub(super) failed: Vec<u32>,
}

/// Seals each item with AES-256-GCM: ciphertext and tag.
pub(super) fn aes_gcm_seal(key: &Secret, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Refusal> {
    let cipher = gcm(key)?;
    same_length(&[nonces, contexts, plain])?;
    let mut sealed = Packed::with_capacity(plain.len(), plain.byte_len() + plain.len() * TAG_BYTES);
    for ((nonce, context), item) in nonces.iter().zip(contexts.iter()).zip(plain.iter()) {
        let nonce = <&Nonce<Aes256Gcm>>::try_from(nonce).map_err(|_| Refusal::WrongLength)?;
        let mut outcome = Ok(());
        sealed.push_with(|buffer| outcome = gcm_append(&cipher, nonce, context, item, buffer))?;
        outcome?;
    }
    Ok(sealed)
}

fn gcm_append(
    cipher: &Aes256Gcm,
    nonce: &Nonce<Aes256Gcm>,
    context: &[u8],
    item: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let start = buffer.len();
    buffer.extend_from_slice(item);
    let (_, body) = buffer.split_at_mut(start);
    let tag = cipher.encrypt_inout_detached(nonce, context, body.into()).map_err(|_| Refusal::TooLong)?;
    buffer.extend_from_slice(&tag);
    Ok(())
}

/// The inverse of [`aes_gcm_seal`].
pub(super) fn aes_gcm_open(key: &Secret, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opened, Refusal> {
    let cipher = gcm(key)?;
    same_length(&[nonces, contexts, sealed])?;
    let mut opened = Opened { items: Packed::with_capacity(sealed.len(), sealed.byte_len()), failed: Vec::new() };
    for ((nonce, context), item) in nonces.iter().zip(contexts.iter()).zip(sealed.iter()) {
        let nonce = <&Nonce<Aes256Gcm>>::try_from(nonce).map_err(|_| Refusal::WrongLength)?;
        opened.push(gcm_open(&cipher, nonce, context, item).as_ref().map(|plain| plain.as_slice()))?;
    }
    Ok(opened)
}

fn gcm_open(cipher: &Aes256Gcm, nonce: &Nonce<Aes256Gcm>, context: &[u8], item: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (body, tag) = item.split_at_checked(item.len().checked_sub(TAG_BYTES)?)?;
    let tag = <&Tag<Aes256Gcm>>::try_from(tag).ok()?;
    let mut plain = Zeroizing::new(body.to_vec());
    cipher.decrypt_inout_detached(nonce, context, plain.as_mut_slice().into(), tag).ok()?;
    Some(plain)
}

/// Encrypts each item with AES-256-CBC and PKCS#7 padding.
pub(super) fn aes_cbc_encrypt(key: &Secret, ivs: &Packed, plain: &Packed) -> Result<Packed, Refusal> {
    same_length(&[ivs, plain])?;
    let mut sealed = Packed::with_capacity(plain.len(), plain.byte_len() + plain.len() * BLOCK_BYTES);
    for (iv, item) in ivs.iter().zip(plain.iter()) {
        let cipher = cbc::Encryptor::<aes::Aes256>::new_from_slices(key.expose(), iv).map_err(|_| Refusal::WrongLength)?;
        sealed.push(&cipher.encrypt_padded_vec::<Pkcs7>(item))?;
    }
    Ok(sealed)
}

/// The inverse of [`aes_cbc_encrypt`]. It does not authenticate: a wrong key gives garbage once in 256 times.
pub(super) fn aes_cbc_decrypt(key: &Secret, ivs: &Packed, sealed: &Packed) -> Result<Opened, Refusal> {
    same_length(&[ivs, sealed])?;
    let mut opened = Opened::default();
    for (iv, item) in ivs.iter().zip(sealed.iter()) {
        let cipher = cbc::Decryptor::<aes::Aes256>::new_from_slices(key.expose(), iv).map_err(|_| Refusal::WrongLength)?;
        let plain = cipher.decrypt_padded_vec::<Pkcs7>(item).ok().map(Zeroizing::new);
        opened.push(plain.as_ref().map(|plain| plain.as_slice()))?;
    }
    Ok(opened)
}

/// HMAC-SHA-256 of each item.
pub(super) fn hmac_sha256(key: &Secret, items: &Packed) -> Result<Packed, Refusal> {
    let keyed = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key.expose()).map_err(|_| Refusal::WrongLength)?;
    let mut tags = Packed::with_capacity(items.len(), items.len() * 32);
    for item in items.iter() {
        let mut mac = keyed.clone();
        mac.update(item);
        tags.push(&mac.finalize().into_bytes())?;
    }
    Ok(tags)
}

/// A key of 32 bytes for another purpose: HKDF-SHA-256 without salt, `purpose` as info.
pub(super) fn derive(key: &Secret, purpose: &str) -> Secret {
    let mut derived = Zeroizing::new([0; 32]);
    hkdf::Hkdf::<Sha256>::new(None, key.expose())
        .expand(purpose.as_bytes(), derived.as_mut_slice())
        .expect("32 bytes are fewer than the 8160 that HKDF-SHA-256 can give");
    Secret::new(derived.as_slice())
}

fn gcm(key: &Secret) -> Result<Aes256Gcm, Refusal> {
    Aes256Gcm::new_from_slice(key.expose()).map_err(|_| Refusal::WrongLength)
}

fn same_length(lists: &[&Packed]) -> Result<(), Refusal> {
    let mut lengths = lists.iter().map(|list| list.len());
    let first = lengths.next();
    match lengths.all(|length| Some(length) == first) {
        true => Ok(()),
        false => Err(Refusal::Malformed),
    }
}

impl Opened {
    fn push(&mut self, item: Option<&[u8]>) -> Result<(), TooLong> {
        if item.is_none() {
            self.failed.push(u32::try_from(self.items.len()).map_err(|_| TooLong)?);
        }
        self.items.push(item.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn packed(items: &[&[u8]]) -> Packed {
        Packed::collect(items.iter().copied()).unwrap()
    }

    fn key() -> Secret {
        Secret::new([7; 32])
    }

    #[test]
    fn gcm_gives_what_the_standard_gives() {
        // The Galois/Counter Mode of Operation (McGrew and Viega), test case 16.
        let key = Secret::new(hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"));
        let nonce = hex("cafebabefacedbaddecaf888");
        let context = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let sealed = aes_gcm_seal(&key, &packed(&[&nonce]), &packed(&[&context]), &packed(&[&plain])).unwrap();
        let expected = hex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        assert_eq!(sealed.get(0).unwrap(), expected);
        let opened = aes_gcm_open(&key, &packed(&[&nonce]), &packed(&[&context]), &sealed).unwrap();
        assert_eq!((opened.items.get(0).unwrap(), opened.failed), (plain.as_slice(), vec![]));
    }

    #[test]
    fn cbc_gives_what_the_standard_gives() {
        // NIST SP 800-38A, F.2.5, first block; the rest of ours is padding.
        let key = Secret::new(hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"));
        let ivs = hex("000102030405060708090a0b0c0d0e0f");
        let plain = hex("6bc1bee22e409f96e93d7e117393172a");
        let sealed = aes_cbc_encrypt(&key, &packed(&[&ivs]), &packed(&[&plain])).unwrap();
        assert_eq!(sealed.get(0).unwrap()[..16], hex("f58c4c04d6e5f1ba779eabfb5f7bfbd6"));
        assert_eq!(sealed.byte_len(), 32);
        let opened = aes_cbc_decrypt(&key, &packed(&[&ivs]), &sealed).unwrap();
        assert_eq!(opened.items.get(0).unwrap(), plain);
    }

    #[test]
    fn hmac_and_hkdf_give_what_their_documents_give() {
        // RFC 4231, case 2; RFC 5869, case 3.
        let tags = hmac_sha256(&Secret::from("Jefe"), &packed(&[b"what do ya want for nothing?"])).unwrap();
        assert_eq!(tags.get(0).unwrap(), hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
        let derived = derive(&Secret::new([0x0b; 22]), "");
        assert_eq!(derived.expose(), hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"));
    }

    #[test]
    fn an_item_that_does_not_open_fails_alone() {
        let (nonces, contexts) = (packed(&[&[1; 12], &[2; 12], &[3; 12]]), packed(&[b"a", b"b", b"c"]));
        let sealed = aes_gcm_seal(&key(), &nonces, &contexts, &packed(&[b"one", b"two", b"three"])).unwrap();
        let mut items: Vec<_> = sealed.iter().map(<[u8]>::to_vec).collect();
        items[1][0] ^= 1;
        items[2].truncate(3);
        let damaged = Packed::collect(items.iter().map(Vec::as_slice)).unwrap();
        let opened = aes_gcm_open(&key(), &nonces, &contexts, &damaged).unwrap();
        assert_eq!(opened.failed, [1, 2]);
        assert_eq!(opened.items.iter().collect::<Vec<_>>(), [b"one".as_slice(), b"", b""]);
        let moved = aes_gcm_open(&key(), &nonces, &packed(&[b"x", b"b", b"c"]), &sealed).unwrap();
        assert_eq!(moved.failed, [0], "a sealed item does not open in another context");
    }

    #[test]
    fn lists_and_lengths_that_do_not_fit_are_refused() {
        let (one, two) = (packed(&[&[1; 12]]), packed(&[b"a", b"b"]));
        assert_eq!(aes_gcm_seal(&key(), &one, &two, &two), Err(Refusal::Malformed));
        assert_eq!(aes_gcm_seal(&Secret::from("short"), &two, &two, &two), Err(Refusal::WrongLength));
        assert_eq!(aes_gcm_seal(&key(), &two, &two, &two), Err(Refusal::WrongLength));
        assert_eq!(aes_gcm_open(&key(), &two, &two, &two), Err(Refusal::WrongLength));
        assert_eq!(aes_cbc_encrypt(&key(), &one, &one), Err(Refusal::WrongLength));
        assert_eq!(aes_cbc_decrypt(&key(), &one, &two), Err(Refusal::Malformed));
        assert_eq!(aes_cbc_decrypt(&key(), &packed(&[&[1; 16]]), &packed(&[b"no block"])).unwrap().failed, [0]);
    }
}
