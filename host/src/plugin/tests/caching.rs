//! The cache of compiled code: it saves time, and is never trusted further than it can be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn cached(folder: &Path) -> Component {
    let engine = Engine::new(&EngineSettings { cache: Some(folder.to_owned()), instances: 4 }).unwrap();
    engine.load_file(&plugin_file("saboteur-validator")).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn works(component: &Component) {
    let Step::Validator(validator) = component.prepare(setup(json!({}))).unwrap() else { panic!() };
    assert!(validator.validate(&batch("behave", &[])).iter().all(Result::is_ok));
}

#[test]
fn compiled_code_is_kept_for_this_user_alone_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("deep/cache");
    works(&cached(&cache));
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let [file] = files(&cache).try_into().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    works(&cached(&cache));
    assert_eq!(files(&cache), std::slice::from_ref(&file));
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_damaged_file_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    cached(folder.path());
    let [file] = files(folder.path()).try_into().unwrap();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() / 2], &whole[..20], b""] {
        fs::write(&file, damaged).unwrap();
        works(&cached(folder.path()));
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn a_file_that_others_may_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    cached(folder.path());
    let [file] = files(folder.path()).try_into().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    works(&cached(folder.path()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it was replaced");
}

#[test]
fn a_folder_that_others_may_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    works(&cached(&shared));
    assert!(files(&shared).is_empty());
    works(&cached(&shared.join("cache")));
    assert!(files(&shared.join("cache")).is_empty(), "whoever may write its parent can replace it");
}

#[test]
fn a_folder_that_cannot_be_made_costs_only_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    works(&cached(&file.join("cache")));
}

#[test]
fn code_that_counts_is_not_taken_for_code_that_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = EngineSettings { cache: Some(folder.path().to_owned()), instances: 4 };
    works(&cached(folder.path()));
    let counting = || Engine::counting(&settings).unwrap().load_file(&plugin_file("saboteur-validator")).unwrap();
    works(&counting());
    assert_eq!(files(folder.path()).len(), 2, "each has a file of its own");
    works(&counting());
    works(&cached(folder.path()));
    assert_eq!(files(folder.path()).len(), 2);
}
