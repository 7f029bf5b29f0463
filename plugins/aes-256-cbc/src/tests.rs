use tidegate_plugin::testing::{Item, open, seal, settings_problems};
use tidegate_plugin::{Cipher, Key, Packed};

use super::{Aes256Cbc, Mode, TAG};

/// `00..1f`, the key of the original's known answer.
fn key() -> Key<'static> {
    Key::software(&(0..32).collect::<Vec<u8>>())
}

/// `00..0f`, its initialization vector.
const IV: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn item<'a>(context: &'a str, bytes: &'a [u8]) -> Item<'a> {
    Item { nonce: IV, context: context.as_bytes(), bytes }
}

fn step(settings: &str) -> Aes256Cbc {
    Aes256Cbc::from_settings(settings).unwrap()
}

#[test]
fn bare_it_gives_the_originals_known_answer() {
    // xoChr2dXj+XBBH5XcJ6DUw== in base64.
    let known = [0xc6, 0x80, 0xa1, 0xaf, 0x67, 0x57, 0x8f, 0xe5, 0xc1, 0x04, 0x7e, 0x57, 0x70, 0x9e, 0x83, 0x53];
    let bare = step(r#"{"authenticate":false}"#);
    assert_eq!(seal(&bare, &key(), &[item("", b"Hello, world!")]).unwrap(), [known]);
    assert_eq!(open(&bare, &key(), &[item("", &known)]).unwrap(), [Ok(b"Hello, world!".to_vec())]);
}

#[test]
fn bare_it_has_a_name_of_its_own() {
    assert_eq!(step("{}").parameters().cipher, "aes-256-cbc");
    assert_eq!(step(r#"{"authenticate":false}"#).parameters().cipher, "aes-256-cbc-bare");
}

#[test]
fn what_is_sealed_opens_again_empty_and_long_ones_too() {
    let step = step("{}");
    let long = vec![7; 100_000];
    let plain: [&[u8]; 4] = [b"Hello, world!", b"", &[0; 16], &long];
    let sealed = seal(&step, &key(), &plain.map(|plain| item("row", plain))).unwrap();
    assert!(sealed.iter().zip(plain).all(|(sealed, plain)| sealed.len() == (plain.len() / 16 + 1) * 16 + TAG));
    let items: Vec<_> = sealed.iter().map(|sealed| item("row", sealed)).collect();
    assert_eq!(open(&step, &key(), &items).unwrap(), plain.map(|plain| Ok(plain.to_vec())));
}

#[test]
fn the_stored_form_of_today_opens_for_ever() {
    // Made with another implementation: HKDF and HMAC of Python's `hmac`, AES-256-CBC of OpenSSL.
    let sealed = hex("620854ae9f0becd936b89f3ee08a03b88632a1097ec107a56d8631eb7e85e73e49f167bda84574cdf79eeae71861f821");
    assert_eq!(seal(&step("{}"), &key(), &[item("id-1/content", b"Hello, world!")]).unwrap().remove(0), sealed);
    assert_eq!(open(&step("{}"), &key(), &[item("id-1/content", &sealed)]).unwrap(), [Ok(b"Hello, world!".to_vec())]);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_flipped_bit_another_context_nonce_or_key_is_rejected_and_its_neighbours_open() {
    let step = step("{}");
    let sealed = seal(&step, &key(), &[item("row 1", b"Hello, world!")]).unwrap().remove(0);
    let rejected = |key: &Key<'_>, forged: Item<'_>| {
        let opened = open(&step, key, &[item("row 1", &sealed), forged, item("row 1", &sealed)]).unwrap();
        assert_eq!(opened[1].as_ref().unwrap_err().code, "not_authentic");
        opened[0].is_ok() && opened[2].is_ok()
    };
    for bit in 0..sealed.len() * 8 {
        let mut forged = sealed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(rejected(&key(), item("row 1", &forged)));
    }
    assert!(rejected(&key(), item("row 2", &sealed)));
    assert!(rejected(&key(), Item { nonce: &[9; 16], ..item("row 1", &sealed) }));
    assert!(!rejected(&Key::software(&[1; 32]), item("row 1", &sealed)));
}

#[test]
fn what_moves_between_context_and_vector_is_rejected() {
    let step = step("{}");
    let sealed = seal(&step, &key(), &[item("ab", b"x")]).unwrap().remove(0);
    let shifted: Vec<u8> = b"b".iter().chain(IV).copied().take(16).collect();
    let forged = Item { nonce: &shifted, context: b"a", bytes: &sealed };
    assert!(open(&step, &key(), &[forged]).unwrap()[0].is_err());
}

#[test]
fn what_is_shorter_than_a_tag_is_rejected() {
    let step = step("{}");
    for length in [0, 1, 31, 32, 33, 47] {
        assert!(open(&step, &key(), &[item("", &vec![0; length])]).unwrap()[0].is_err());
    }
}

#[test]
fn what_is_authentic_and_yet_no_ciphertext_is_rejected_alone() {
    let text: Packed = [b"no whole block"].iter().collect();
    let [iv, context]: [Packed; 2] = [[IV].iter().collect(), [b""].iter().collect()];
    let tag = super::Keys::of(&key()).authentication.hmac_sha256(&super::authenticated(&iv, &context, text.iter())).unwrap();
    let made = [text.bytes, tag.bytes].concat();
    let whole = seal(&step("{}"), &key(), &[item("", b"x")]).unwrap().remove(0);
    let opened = open(&step("{}"), &key(), &[item("", &whole), item("", &made), item("", &whole)]).unwrap();
    assert_eq!(opened[1].as_ref().unwrap_err().code, "malformed");
    assert_eq!([&opened[0], &opened[2]], [&Ok(b"x".to_vec()); 2]);
}

#[test]
fn a_wrong_length_fails_the_call() {
    let items: Packed = [b"x"].iter().collect();
    let short: Packed = [[0; 12]].iter().collect();
    assert_eq!(step("{}").seal(&key(), &short, &items, &items).unwrap_err().code, "wrong_length");
}

#[test]
fn the_schema_and_the_settings_say_the_same() {
    assert_eq!(settings_problems::<Mode>(), Vec::<String>::new());
}
