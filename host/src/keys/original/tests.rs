//! Rows of the original open, and wrong keys do not pass for right ones.

use aes::cipher::BlockModeEncrypt;

use super::super::{InlineKey, KeyRingPlan};
use super::*;
use crate::secret::Secret;

const KNOWN: &str = "xoChr2dXj+XBBH5XcJ6DUw==";

fn counting<const N: usize>() -> [u8; N] {
    std::array::from_fn(|index| u8::try_from(index).unwrap())
}

fn inline(id: &str, key: &[u8], iv: Option<[u8; 16]>) -> InlineKey {
    let secret = |bytes: &[u8]| Secret::from(STANDARD.encode(bytes).as_str());
    InlineKey { id: id.to_owned(), key: secret(key), iv: iv.map(|iv| secret(&iv)) }
}

fn ring(active: &str, keys: Vec<InlineKey>) -> KeyRing {
    KeyRing::load("messages", &KeyRingPlan::Inline { active: active.to_owned(), keys }).unwrap()
}

fn original() -> InlineKey {
    inline("old", &counting::<32>(), Some(counting()))
}

fn encrypt(plain: &[u8], key: &InlineKey) -> Vec<u8> {
    let (key, iv) = (STANDARD.decode(key.key.expose()).unwrap(), STANDARD.decode(key.iv.as_ref().unwrap().expose()).unwrap());
    cbc::Encryptor::<Aes256>::new_from_slices(&key, &iv).unwrap().encrypt_padded_vec::<Pkcs7>(plain)
}

#[test]
fn the_known_answer_opens_and_is_written() {
    let ring = ring("old", vec![original()]);
    for text in [KNOWN.to_owned(), format!("{KNOWN}\n"), format!(" {}\r\n{}\r\n", &KNOWN[..10], &KNOWN[10..])] {
        assert_eq!(open(&text, ring.active()).unwrap(), b"Hello, world!");
        assert_eq!(open_with_ring(&text, &ring).unwrap().0, b"Hello, world!");
    }
    assert_eq!(wrap_base64(&encrypt(b"Hello, world!", &original())), format!("{KNOWN}\n"));
}

#[test]
fn every_length_reads_back_in_lines_of_72() {
    let ring = ring("old", vec![original()]);
    for length in (0..200).chain([4095, 4096, 65_536]) {
        let plain = "é1".repeat(length);
        let text = wrap_base64(&encrypt(plain.as_bytes(), &original()));
        assert_eq!(open(&text, ring.active()).unwrap(), plain.as_bytes());
        assert_eq!(text.len(), text.capacity());
        let lines: Vec<_> = text.strip_suffix('\n').unwrap().split('\n').collect();
        let (last, whole) = lines.split_last().unwrap();
        assert!((1..=72).contains(&last.len()) && whole.iter().all(|line| line.len() == 72));
    }
    assert_eq!(wrap_base64(&[0; 54]), format!("{}\n", "A".repeat(72)), "a full last line ends once");
    assert_eq!(wrap_base64(&[]), "");
}

#[test]
fn whichever_key_of_the_ring_sealed_it_opens_it() {
    let newer = inline("newer", &[9; 32], Some([8; 16]));
    let ring = ring("active", vec![original(), newer.clone(), inline("active", &[1; 32], None)]);
    let (plain, key) = open_with_ring(KNOWN, &ring).unwrap();
    assert_eq!((plain.as_slice(), key.id.as_str()), (b"Hello, world!".as_slice(), "old"));
    let long = "a content long enough that no other key opens it by chance";
    let (plain, key) = open_with_ring(&wrap_base64(&encrypt(long.as_bytes(), &newer)), &ring).unwrap();
    assert_eq!((plain.as_slice(), key.id.as_str()), (long.as_bytes(), "newer"));
    assert_eq!(open(KNOWN, ring.active()), Err(OriginalError::NoIv(ring.active().id.clone())));
}

#[test]
fn the_same_key_under_two_ids_is_no_doubt() {
    let again = InlineKey { id: "again".to_owned(), ..original() };
    let ring = ring("again", vec![original(), again]);
    assert_eq!(open_with_ring(KNOWN, &ring).unwrap().1.id.as_str(), "again");
}

#[test]
fn a_value_that_two_keys_open_differently_is_not_guessed() {
    // With one key and two vectors that differ in the first byte, the same ciphertext opens to two texts.
    let (mut vector, key) = (counting::<16>(), original());
    vector[0] ^= 1;
    let ring = ring("old", vec![key, inline("other", &counting::<32>(), Some(vector))]);
    let error = open_with_ring(KNOWN, &ring).unwrap_err();
    assert_eq!(error.to_string(), "keys `old` and `other` open it to different texts, and nothing tells which is right");
}

#[test]
fn a_wrong_key_does_not_pass_where_the_padding_happens_to_fit() {
    // One wrong key in 256 gives a padding that looks right; what it opens to is no text.
    let sealed = wrap_base64(&encrypt("Guten Morgen, liebe Sorgen, seid ihr auch schon alle da?".as_bytes(), &original()));
    let mut bare_passes = 0;
    for index in 0..20_000_u32 {
        let mut material = [3; 32];
        material[..4].copy_from_slice(&index.to_be_bytes());
        let ring = ring("k", vec![inline("k", &material, Some(counting()))]);
        let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&material, &counting::<16>()).unwrap();
        bare_passes += u32::from(cipher.decrypt_padded_vec::<Pkcs7>(&ciphertext(&sealed).unwrap()).is_ok());
        assert_eq!(open(&sealed, ring.active()), Err(OriginalError::DoesNotOpen));
    }
    assert!(bare_passes > 20, "padding alone let {bare_passes} wrong keys pass");
}

#[test]
fn what_is_not_in_the_form_says_so() {
    let ring = ring("old", vec![original()]);
    let open = |text: &str| open_with_ring(text, &ring).map(|(plain, _)| plain);
    assert_eq!(open(""), Err(OriginalError::NotBlocks(0)));
    assert_eq!(open("\n"), Err(OriginalError::NotBlocks(0)));
    assert_eq!(open("AAAA"), Err(OriginalError::NotBlocks(3)));
    assert_eq!(open("Hello, world!"), Err(OriginalError::NotBase64));
    assert_eq!(open("tg1.a.b.c"), Err(OriginalError::NotBase64));
    assert_eq!(open("é"), Err(OriginalError::NotBase64));
    assert_eq!(open(&STANDARD.encode([0; 32])), Err(OriginalError::DoesNotOpen));
    let mut damaged = STANDARD.decode(KNOWN).unwrap();
    damaged[15] ^= 1;
    assert_eq!(open(&STANDARD.encode(damaged)), Err(OriginalError::DoesNotOpen));
}

#[test]
fn a_ring_without_such_a_key_says_what_is_missing() {
    let without = ring("k", vec![inline("k", &[1; 32], None)]);
    assert_eq!(
        open_with_ring(KNOWN, &without).unwrap_err().to_string(),
        "no key of ring `messages` has an `iv`, which rows of the original need"
    );
    let short = ring("k", vec![inline("k", &[1; 16], Some([1; 16]))]);
    assert_eq!(open_with_ring(KNOWN, &short).unwrap_err(), OriginalError::KeyLength { id: KeyId::new("k").unwrap(), found: 16 });
}
