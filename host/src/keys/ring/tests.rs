//! A ring is whole and right, or an error that says what to do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::secret::Secret;

fn inline(id: &str, key: &[u8]) -> InlineKey {
    InlineKey { id: id.to_owned(), key: Secret::from(STANDARD.encode(key).as_str()), iv: None }
}

fn load_inline(active: &str, keys: Vec<InlineKey>) -> Result<KeyRing, String> {
    KeyRing::load("messages", &KeyRingPlan::Inline { active: active.to_owned(), keys }).map_err(|error| error.to_string())
}

fn load_file(path: &Path, create: bool) -> Result<KeyRing, String> {
    KeyRing::load("messages", &KeyRingPlan::File { path: path.to_owned(), create }).map_err(|error| error.to_string())
}

fn ids(ring: &KeyRing) -> Vec<&str> {
    ring.iter().map(|key| key.id.as_str()).collect()
}

#[test]
fn the_active_key_comes_first_and_every_key_is_found() {
    let ring = load_inline("b", vec![inline("c", &[3; 32]), inline("b", &[2; 32]), inline("a", &[1; 32])]).unwrap();
    assert_eq!((ring.name(), ring.active().id.as_str(), ids(&ring)), ("messages", "b", vec!["b", "c", "a"]));
    assert_eq!(ring.find("a").unwrap().material.expose(), [1; 32]);
    assert_eq!(ring.find(&ring.active().id).unwrap().material.expose(), [2; 32]);
    assert!(ring.find("d").is_none());
}

#[test]
fn an_inline_ring_that_is_wrong_says_how() {
    let wrong = |active: &str, keys| load_inline(active, keys).unwrap_err();
    assert!(wrong("a", vec![]).starts_with("key ring `messages`: there are no keys"));
    assert_eq!(
        wrong("x", vec![inline("a", &[1; 32]), inline("b", &[1; 32])]),
        "key ring `messages`: `active` names no key of the ring; there is a, b"
    );
    assert_eq!(wrong("a", vec![inline("a", &[1; 32]), inline("a", &[2; 32])]), "key ring `messages`: key `a` is there twice");
    assert!(wrong("a.b", vec![inline("a.b", &[1; 32])]).contains("a key has a wrong id"));
    assert_eq!(
        wrong("a", vec![inline("a", &[])]),
        "key ring `messages`: key `a` is empty; an empty key never switches sealing off"
    );
    assert!(wrong("a", vec![inline("a", &[0; 32])]).contains("all zeros"));
    let garbage = InlineKey { key: Secret::new(vec![0xff; 40]), ..inline("a", &[1; 32]) };
    assert!(wrong("a", vec![garbage]).contains("`key` of key `a` is not base64"));
}

#[test]
fn a_key_of_another_length_than_the_cipher_takes_is_named_with_both() {
    let ring = load_inline("a", vec![inline("a", &[1; 32]), inline("b", &[1; 26])]).unwrap();
    let error = ring.check_length(32).unwrap_err().to_string();
    assert_eq!(error, "key ring `messages`: key `b` has 26 bytes; expected 32, which is what the cipher takes");
    assert!(load_inline("a", vec![inline("a", &[1; 64])]).unwrap().check_length(64).is_ok());
}

#[test]
fn the_files_of_keys_generate_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let fresh = generate::generate().unwrap();
    fs::write(&path, fresh.file_text().as_bytes()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let ring = load_file(&path, false).unwrap();
    assert_eq!(ids(&ring), [fresh.id.as_str()]);
    assert!(ring.check_length(Key::BYTES).is_ok());
}

#[test]
fn a_missing_file_is_made_once_and_then_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/keys.toml");
    let error = load_file(&path, false).unwrap_err();
    assert!(error.contains("the file is missing") && error.contains("create = true"), "{error}");
    let first = load_file(&path, true).unwrap();
    let again = load_file(&path, true).unwrap();
    assert_eq!(first.active().id, again.active().id);
    assert_eq!(first.active().material, again.active().material);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn starts_at_once_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let rings: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load_file(&path, true).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(rings.iter().all(|ring| ring.active().material == rings[0].active().material));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_there_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(load_file(&path, true).unwrap_err().contains("the file is empty"));
    assert_eq!(fs::read(&path).unwrap(), b"");
    let link = folder.path().join("link");
    symlink("nowhere", &link).unwrap();
    assert!(load_file(&link, true).unwrap_err().contains("a link to a file that does not exist"));
    assert!(load_file(folder.path(), true).unwrap_err().contains("this is not a file"));
}

#[test]
fn a_problem_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, "active = \"k\"\n[keys.k]\nkei = \"x\"\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = load_file(&path, false).unwrap_err();
    let expected =
        format!("key ring `messages` ({} line 3): unknown key `kei`; expected `key`, `iv` and `created`", path.display());
    assert_eq!(error, expected);
}

#[test]
fn a_reload_goes_on_counting() {
    let key = *b"the key of a test that reloads!!";
    let ring = || load_inline("k", vec![inline("k", &key)]).unwrap();
    assert_eq!(
        ring().active().count_uses(crate::keys::Uses::LIMIT),
        crate::keys::Uses::RotateSoon { used: 1 << 32, first: true }
    );
    assert_eq!(ring().active().count_uses(1), crate::keys::Uses::Exhausted { used: 1 << 32 });
}

#[test]
fn debug_shows_no_key() {
    let ring = load_inline("k", vec![inline("k", b"0123456789abcdef0123456789abcdef")]).unwrap();
    let shown = format!("{ring:?}");
    assert!(!shown.contains("012345") && !shown.contains("48, 49") && !shown.contains("MDEy"), "{shown}");
}
