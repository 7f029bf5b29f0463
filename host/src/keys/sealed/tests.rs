//! What is written reads back, and hostile texts are errors.

use super::*;

fn random(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).unwrap();
    buffer
}

fn id(text: &str) -> Option<MessageId> {
    MessageId::new(text)
}

fn field(text: &str) -> Pointer {
    text.parse().unwrap()
}

fn written(cipher: &str, key_id: &KeyId, binding: &[u8; BINDING_BYTES], nonce: &[u8], sealed: &[u8]) -> String {
    let mut text = Vec::new();
    Sealed::write(&mut text, cipher, key_id, binding, nonce, sealed);
    String::from_utf8(text).unwrap()
}

#[test]
fn whatever_is_written_reads_back() {
    let key_id = KeyId::new("k_2025-01").unwrap();
    for nonce_bytes in [0, 1, 2, 12, 16, 24, 64] {
        for sealed_bytes in (0..70).chain([255, 256, 257, 4096, 65_537]) {
            let bound = binding(id("m1").as_ref(), &field("/a"));
            let (nonce, sealed) = (random(nonce_bytes), random(sealed_bytes));
            let text = written("aes-256-gcm", &key_id, &bound, &nonce, &sealed);
            let whole = [bound.as_slice(), &nonce, &sealed].concat();
            assert_eq!(text, format!("tg1.aes-256-gcm.k_2025-01.{}", URL_SAFE_NO_PAD.encode(whole)));
            let parsed = Sealed::parse(&text).unwrap();
            assert_eq!((parsed.cipher, parsed.key_id, *parsed.binding()), ("aes-256-gcm", "k_2025-01", bound));
            assert_eq!(parsed.nonce_and_sealed(nonce_bytes).unwrap(), (nonce.as_slice(), sealed.as_slice()));
        }
    }
}

#[test]
fn a_value_is_bound_to_its_message_and_field_and_to_no_other() {
    let text = written("c", &KeyId::new("k").unwrap(), &binding(id("orders:42").as_ref(), &field("/message/content")), b"", b"x");
    let sealed = Sealed::parse(&text).unwrap();
    assert!(sealed.is_bound_to(id("orders:42").as_ref(), &field("/message/content")));
    assert!(!sealed.is_bound_to(id("orders:43").as_ref(), &field("/message/content")));
    assert!(!sealed.is_bound_to(id("orders:42").as_ref(), &field("/message/subject")));
    assert!(!sealed.is_bound_to(None, &field("/message/content")));
}

#[test]
fn no_two_places_share_a_binding() {
    // Neither by moving characters from one part to the other nor by an id that looks like the marker for none.
    let places = [
        (None, ""),
        (None, "/a"),
        (id("/a"), ""),
        (id("\u{1}"), "/a"),
        (id("a"), "/b"),
        (id("a/"), "/b"),
        (id("a/b"), ""),
        (id("0"), "/a"),
    ];
    let bindings: std::collections::HashSet<_> =
        places.iter().map(|(id, pointer)| binding(id.as_ref(), &field(pointer))).collect();
    assert_eq!(bindings.len(), places.len());
}

#[test]
fn bindings_stay_the_same_for_ever() {
    // Stored rows hold them. Reckoned apart from this code: the first half of SHA-256 over the bytes that the file's head describes.
    let hex = |bytes: [u8; 16]| bytes.map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(hex(binding(id("orders:42").as_ref(), &field("/message/content"))), "3c5c800cccfe71269e4af3b4e6d68d26");
    assert_eq!(hex(binding(None, &field("/message/content"))), "f5d719b5a397996c09a8b9a296705a51");
}

#[test]
fn a_newer_form_says_so() {
    assert_eq!(Sealed::parse("tg2.aes-256-gcm.k.AAAA"), Err(SealedError::Newer { version: 2 }));
    assert_eq!(Sealed::parse("tg17.whatever"), Err(SealedError::Newer { version: 17 }));
    assert!(Sealed::parse("tg2.x").unwrap_err().to_string().starts_with("written by a newer host"));
}

#[test]
fn what_is_not_sealed_says_so() {
    for text in [
        "",
        "tg",
        "tg1",
        "tg.",
        "tg0.a.b.c",
        "tg01.a.b.c",
        "tg+2.a.b.c",
        "tg-2.a",
        "TG1.a.b.c",
        " tg1.a.b.c",
        "Hello",
        "tg99999999999.a",
        "tgé.a",
    ] {
        assert_eq!(Sealed::parse(text), Err(SealedError::NotSealed), "{text:?}");
    }
}

#[test]
fn damage_is_named() {
    let payload = URL_SAFE_NO_PAD.encode([1; 16]);
    let parse = |text: String| Sealed::parse(&text).map(|_| ()).unwrap_err();
    assert_eq!(parse("tg1.".to_owned()), SealedError::Parts);
    assert_eq!(parse("tg1.a.b".to_owned()), SealedError::Parts);
    assert_eq!(parse(format!("tg1.a.b.{payload}.c")), SealedError::Parts);
    for cipher in ["", "AES", "a_b", "a b", "é", &"a".repeat(33)] {
        assert_eq!(parse(format!("tg1.{cipher}.k.{payload}")), SealedError::Cipher, "{cipher:?}");
    }
    for key_id in ["", "k k", "k/", "ü", &"k".repeat(33)] {
        assert_eq!(parse(format!("tg1.a.{key_id}.{payload}")), SealedError::KeyId, "{key_id:?}");
    }
    for payload in ["=", "AAA=", "A", "a+b/", "AA AA", "AB", "é", &format!("{payload}\n")] {
        assert_eq!(parse(format!("tg1.a.k.{payload}")), SealedError::Payload, "{payload:?}");
    }
    assert_eq!(parse("tg1.a.k.".to_owned()), SealedError::Short { found: 0, expected: 16 });
    assert_eq!(parse(format!("tg1.a.k.{}", URL_SAFE_NO_PAD.encode([1; 15]))), SealedError::Short { found: 15, expected: 16 });
    let text = format!("tg1.a.k.{payload}");
    let short = Sealed::parse(&text).unwrap();
    assert_eq!(short.nonce_and_sealed(0), Ok(([].as_slice(), [].as_slice())));
    assert_eq!(short.nonce_and_sealed(12), Err(SealedError::Short { found: 16, expected: 28 }));
    assert!(short.nonce_and_sealed(usize::MAX).is_err());
}

#[test]
fn random_damage_never_panics() {
    let text = written("aes-256-gcm", &KeyId::new("k1").unwrap(), &[7; 16], &random(12), &random(40));
    for _ in 0..20_000 {
        let noise = random(3);
        let mut bytes = text.clone().into_bytes();
        let place = usize::from(noise[0]) % bytes.len();
        bytes[place] = noise[1];
        bytes.truncate(usize::from(noise[2]).max(1));
        if let Ok(sealed) = Sealed::parse(&String::from_utf8_lossy(&bytes)) {
            drop(sealed.nonce_and_sealed(12));
        }
    }
}
