//! `tidegate bench`, as the author of a plugin uses it: what it prints, and how it exits. Figures are looked at, times never judged.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::host::{answer, command, plugins};

/// Two that pass, one that does not, and a blank line.
const SAMPLES: &str = r#"{"id":"u","sub_id":"s","message":{"content":"Hello, world!"}}

{"id":"u","sub_id":"s","message":{"content":"a secret word"}}
{"id":"u","message":{"content":"no session"}}
"#;

fn bench(samples: &str, plugin: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("samples.jsonl"), samples).unwrap();
    let plugin = plugins().join(plugin).display().to_string();
    let fixed = ["bench", plugin.as_str(), "--input", "samples.jsonl", "--batch", "1,4", "--seconds", "0.05"];
    command(folder.path(), &[&fixed, arguments].concat(), b"")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn an_author_sees_what_became_of_the_samples_and_never_what_they_hold() {
    let output = bench(SAMPLES, "validate-message.wasm", &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("validate: 2 accepted, 1 rejected (missing)"), "{said}");
    assert!(!said.contains("secret") && !said.contains("session"), "{said}");
}

#[test]
fn a_program_gets_a_row_for_each_batch_size_and_each_call_of_a_cipher() {
    let (code, json) = answer(&bench(SAMPLES, "aes-256-gcm.wasm", &["--json"]));
    assert_eq!(code, 0);
    let rows: Vec<_> =
        json["figures"].as_array().unwrap().iter().map(|row| (row["call"].as_str(), row["batch"].as_u64())).collect();
    let [seal, open] = [Some("seal"), Some("open")];
    assert_eq!(rows, [(seal, Some(1)), (open, Some(1)), (seal, Some(4)), (open, Some(4))], "{json:#}");
    assert_eq!((&json["outcomes"]["seal"]["sealed"], &json["outcomes"]["open"]["opened"]), (&Value::from(3), &Value::from(3)));
    for row in json["figures"].as_array().unwrap() {
        for figure in ["instructions", "in_bytes", "out_bytes", "memory_bytes"] {
            assert!(row[figure].as_u64() > Some(0), "{figure} of {row:#}");
        }
    }
}

#[test]
fn each_mistake_has_its_exit_code_and_says_what_to_do() {
    let (no_samples, wrong_setting) = (bench("\n", "reshape.wasm", &[]), ["--settings", r#"{"redcat":[]}"#]);
    assert_eq!(no_samples.status.code(), Some(2));
    assert!(said(&no_samples).contains("samples.jsonl holds no sample"), "{}", said(&no_samples));
    let wrong_setting = bench(SAMPLES, "reshape.wasm", &wrong_setting);
    assert_eq!(wrong_setting.status.code(), Some(78));
    assert!(said(&wrong_setting).contains("`redcat` is no setting of this plugin"), "{}", said(&wrong_setting));
    let missing = bench(SAMPLES, "none.wasm", &[]);
    assert_eq!(missing.status.code(), Some(78), "{}", said(&missing));
    let not_granted = bench(SAMPLES, "saboteur-clock.wasm", &[]);
    assert_eq!(not_granted.status.code(), Some(78));
    assert!(said(&not_granted).contains("--grant clock"), "{}", said(&not_granted));
    assert_eq!(bench(SAMPLES, "saboteur-clock.wasm", &["--grant", "clock"]).status.code(), Some(0));
}

#[test]
fn a_step_that_fails_is_told_by_line_and_not_measured() {
    let samples = "{}\n{\"id\":\"1\",\"sabotage\":\"panic\"}\n";
    let output = bench(samples, "saboteur-validator.wasm", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("first at that of line 2") && said(&output).contains("faulted (trap)"), "{}", said(&output));
}

#[test]
fn settings_can_come_from_a_step_of_a_pipeline() {
    let folder = TempDir::new().unwrap();
    let plugin = plugins().join("validate-message.wasm").display().to_string();
    let file = format!(
        "[source.http]\n[sinks.web.live]\n[pipeline]\nthrough = [\"short\"]\n\
         [steps.short]\nplugin = \"{plugin}\"\nsettings = {{ content_max_bytes = 5 }}\n"
    );
    fs::write(folder.path().join("pipeline.toml"), file).unwrap();
    fs::write(folder.path().join("samples.jsonl"), SAMPLES).unwrap();
    let bench = |step: &str| {
        let arguments = ["bench", &plugin, "--input", "samples.jsonl", "--pipeline", "pipeline.toml", "--step", step];
        command(folder.path(), &[arguments.as_slice(), &["--batch", "1", "--seconds", "0.05"]].concat(), b"")
    };
    assert!(said(&bench("short")).contains("1 rejected (missing), 2 rejected (too_large)"), "{}", said(&bench("short")));
    assert_eq!(bench("long").status.code(), Some(78));
}
