//! Ciphers: what they seal, what they open, and that they hold a key only for the length of a call.

use super::*;
use crate::plugin::{Cipher, Failure, FaultKind, Packed, Parameters, Turn};
use crate::secret::Secret;

fn cipher(name: &str) -> Cipher {
    match step(name) {
        Step::Cipher(cipher) => cipher,
        other => panic!("{other:?}"),
    }
}

fn aes_gcm() -> Cipher {
    cipher("aes-256-gcm")
}

fn packed(items: &[&[u8]]) -> Packed {
    Packed::collect(items.iter().copied()).unwrap()
}

#[test]
fn what_is_sealed_opens_under_its_key_and_context_alone() {
    let cipher = aes_gcm();
    assert_eq!(cipher.parameters(), &Parameters { cipher: "aes-256-gcm".to_owned(), nonce_bytes: 12, key_bytes: 32 });
    let (key, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let (nonces, contexts) = (packed(&[&[1; 12], &[2; 12]]), packed(&[b"a", b"b"]));
    let plain = packed(&[b"one", b""]);
    let sealed: Vec<_> = cipher.seal(&key, &nonces, &contexts, &plain).into_iter().map(Result::unwrap).collect();
    assert_eq!(sealed.iter().map(bytes::Bytes::len).collect::<Vec<_>>(), [19, 16]);
    let sealed = Packed::collect(sealed.iter().map(|item| &item[..])).unwrap();
    assert_eq!(cipher.open(&key, &nonces, &contexts, &sealed), [Ok("one".into()), Ok("".into())]);
    let swapped = packed(&[b"a", b"a"]);
    assert!(matches!(&cipher.open(&key, &nonces, &swapped, &sealed)[..], [Ok(_), Err(Failure::Rejected(_))]));
    assert!(cipher.open(&other, &nonces, &contexts, &sealed).iter().all(|item| matches!(item, Err(Failure::Rejected(_)))));
}

#[test]
fn a_cipher_that_derives_keys_seals_and_opens_call_after_call() {
    let cipher = cipher("aes-256-cbc");
    let key = Secret::new([1; 32]);
    let nonce = vec![9; cipher.parameters().nonce_bytes];
    let (nonces, contexts) = (packed(&[&nonce, &nonce]), packed(&[b"a", b"b"]));
    for _ in 0..100 {
        let sealed = cipher.seal(&key, &nonces, &contexts, &packed(&[b"one", b"two"]));
        let mut sealed: Vec<_> = sealed.into_iter().map(|item| item.unwrap().to_vec()).collect();
        sealed[1][0] ^= 1;
        let sealed = Packed::collect(sealed.iter().map(Vec::as_slice)).unwrap();
        let opened = cipher.open(&key, &nonces, &contexts, &sealed);
        assert!(matches!(&opened[..], [Ok(plain), Err(Failure::Rejected(_))] if plain == "one"), "{opened:?}");
    }
}

#[test]
fn a_key_of_another_length_is_rejected_and_not_a_fault() {
    let items = packed(&[b"one", b"two"]);
    let nonces = packed(&[&[1; 12], &[2; 12]]);
    let answers = aes_gcm().seal(&Secret::from("short"), &nonces, &items, &items);
    assert!(answers.iter().all(|item| matches!(item, Err(Failure::Rejected(_)))), "{answers:?}");
}

#[test]
fn a_call_that_is_refused_is_not_tried_in_parts_in_a_short_turn() {
    let items = packed(&[b"one", b"two"]);
    let nonces = packed(&[&[1; 12], &[2; 12]]);
    let answers = aes_gcm().in_turn(Turn::Short).seal(&Secret::from("short"), &nonces, &items, &items);
    let unavailable = |item: &_| matches!(item, Err(Failure::Fault(Fault { kind: FaultKind::Unavailable, .. })));
    assert!(answers.len() == 2 && answers.iter().all(unavailable), "{answers:?}");
}

#[test]
fn lists_that_differ_in_length_are_the_hosts_own_mistake() {
    let answers = aes_gcm().seal(&Secret::new([1; 32]), &packed(&[]), &packed(&[]), &packed(&[b"one"]));
    assert!(matches!(&answers[..], [Err(Failure::Fault(fault))] if fault.message.contains("the host gave")));
}

#[test]
fn a_key_is_exposed_only_where_that_is_granted() {
    let plain = packed(&[b"sabotage:expose"]);
    let seal = |grants: Grants| {
        let Step::Cipher(cipher) = prepare("saboteur-cipher", Setup { grants, ..setup(json!({})) }) else { panic!() };
        cipher.seal(&Secret::new([1; 32]), &packed(&[&[1; 12]]), &packed(&[b""]), &plain).remove(0)
    };
    assert!(matches!(seal(Grants::default()), Err(Failure::Rejected(reason)) if reason.code == "denied"));
    assert!(seal(Grants { expose_key: true, ..Grants::default() }).is_ok());
}

#[test]
fn parameters_that_no_cipher_can_have_are_refused() {
    let refused = |settings: Value| {
        let error = plugin("saboteur-cipher").prepare(setup(settings)).unwrap_err();
        assert_eq!(error.code(), "plugin_parameters");
        error.to_string()
    };
    assert!(refused(json!({ "cipher": "AES.256" })).contains("`cipher`"));
    assert!(refused(json!({ "cipher": "" })).contains("`cipher`"));
    assert!(refused(json!({ "nonce_bytes": 65 })).contains("`nonce-bytes` is 65"));
    assert!(refused(json!({ "key_bytes": 0 })).contains("`key-bytes` is 0"));
    assert!(refused(json!({ "key_bytes": 129 })).contains("`key-bytes` is 129"));
}
