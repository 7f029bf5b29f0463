//! Components that cannot be used: each is refused before a message meets it, in words that say what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A component that exports an instance of that name with functions which do nothing.
fn exporting(name: &str, functions: &[&str]) -> String {
    let exports: String = functions.iter().map(|function| format!("(export \"{function}\" (func $f))")).collect();
    format!(
        "(component
            (core module $m (func (export \"f\")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\")))
            (instance $e {exports})
            (instance $l (export \"describe\" (func $f)) (export \"configure\" (func $f)))
            (export \"{name}\" (instance $e))
            (export \"tidegate:plugin/lifecycle@0.1.0\" (instance $l)))"
    )
}

#[test]
fn a_file_that_is_no_component_is_refused_by_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        engine().load_file(&path).unwrap_err().code()
    };
    assert_eq!(refused("empty.wasm", b""), "plugin_empty");
    assert_eq!(refused("text.wasm", b"hello"), "plugin_not_wasm");
    assert_eq!(refused("core.wasm", &wat::parse_str("(module)").unwrap()), "plugin_core_module");
    assert_eq!(refused("half.wasm", b"\0asm\x0d\0\x01\0\xff\xff\xff"), "plugin_invalid");
    let whole = fs::read(plugin_file("validate-message")).unwrap();
    assert_eq!(refused("cut.wasm", &whole[..whole.len() / 2]), "plugin_invalid");
    assert_eq!(engine().load_file(&folder.path().join("none.wasm")).unwrap_err().code(), "plugin_missing");
    let error = engine().load_file(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("is a folder, not a file"), "{error}");
    assert_eq!(engine().load_file(std::path::Path::new("/dev/zero")).unwrap_err().code(), "plugin_no_file");
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.wasm");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything: then the content is what is refused.
    let code = engine().load_file(&path).unwrap_err().code();
    assert!(["plugin_no_permission", "plugin_not_wasm"].contains(&code), "{code}");
}

#[test]
fn a_component_that_is_no_step_says_what_it_exports() {
    let error = load_error("(component)");
    assert_eq!(error.code(), "plugin_no_kind");
    assert!(error.to_string().contains("exports nothing"), "{error}");
    let error = load_error(&exporting("wasi:cli/run@0.2.0", &["run"]));
    assert!(error.to_string().contains("`wasi:cli/run@0.2.0`"), "{error}");
}

#[test]
fn a_component_of_two_kinds_is_refused() {
    let both = "(component
        (instance $e)
        (export \"tidegate:plugin/validation@0.1.0\" (instance $e))
        (export \"tidegate:plugin/sealing@0.1.0\" (instance $e)))";
    let error = load_error(both);
    assert_eq!(error.code(), "plugin_several_kinds");
    assert!(error.to_string().contains("cipher") && error.to_string().contains("validator"), "{error}");
}

#[test]
fn a_component_of_another_line_is_refused() {
    let line = |version: &str| load_error(&exporting(&format!("tidegate:plugin/validation{version}"), &["validate"])).to_string();
    assert_eq!(line("@0.2.0"), "the component needs line 0.2 of `tidegate:plugin`, this host offers 0.1");
    assert!(line("@1.0.0").contains("line 1.0.0"));
    assert!(line("").contains("without a version"));
}

#[test]
fn an_export_that_is_missing_or_of_another_type_is_named() {
    let error = load_error(&exporting("tidegate:plugin/sealing@0.1.0", &["seal"]));
    assert_eq!(error.to_string(), "the component exports no `sealing.parameters` and `sealing.open`, which every cipher needs");
    let error = load_error(&exporting("tidegate:plugin/validation@0.1.0", &["validate"]));
    assert_eq!(error.code(), "plugin_export_type");
}

#[test]
fn imports_that_are_not_offered_are_named_with_what_is() {
    let importing = |import: &str| {
        let component = exporting("tidegate:plugin/validation@0.1.0", &["validate"]);
        load_error(&component.replacen("(component", &format!("(component {import}"), 1))
    };
    let error = importing("(import \"wasi:clocks/wall-clock@0.2.0\" (instance (export \"now\" (func (result u64)))))");
    assert_eq!(error.code(), "plugin_unknown_import");
    let text = error.to_string();
    assert!(text.contains("needs `wasi:clocks/wall-clock@0.2.0`, this host offers `tidegate:plugin/log@0.1`"), "{text}");
    let error = importing("(import \"tidegate:plugin/log@0.1.0\" (instance (export \"shout\" (func))))");
    assert!(error.to_string().contains("`tidegate:plugin/log.shout`"), "{error}");
    let error = importing("(import \"tidegate:plugin/clock@0.2.0\" (instance (export \"now\" (func (result u64)))))");
    assert!(error.to_string().contains("`tidegate:plugin/clock@0.2.0`"), "{error}");
    let error = importing("(import \"tidegate:plugin/crypto@0.1.0\" (instance (export \"key\" (type (sub resource)))))");
    assert!(error.to_string().contains("to a validator"), "{error}");
    let error = importing("(import \"tidegate:plugin/clock@0.1.0\" (instance (export \"now\" (func (result string)))))");
    assert_eq!(error.code(), "plugin_import_type");
    assert!(importing("(import \"run\" (func))").to_string().contains("`run`"));
}

/// A validator by its names alone, whose code does this as it starts.
fn starting_with(module_fields: &str) -> LoadError {
    let component = exporting("tidegate:plugin/validation@0.1.0", &["validate"]);
    load_error(&component.replacen("(core module $m", &format!("(core module $m {module_fields}"), 1))
}

#[test]
fn a_component_that_breaks_off_as_it_starts_is_refused() {
    let error = starting_with("(start $s) (func $s unreachable)");
    assert_eq!(error.code(), "plugin_start");
    assert!(error.to_string().contains("`start` trapped"), "{error}");
    let error = starting_with("(start $s) (func $s (loop br 0))");
    assert!(error.to_string().contains("longer than the host's own limit for loading"), "{error}");
    let error = starting_with("(start $s) (func $s call $s)");
    assert!(error.to_string().contains("call stack"), "{error}");
    let error = starting_with("(memory 20000)");
    assert!(error.to_string().contains("wanted 1310720000 bytes of memory"), "{error}");
}
