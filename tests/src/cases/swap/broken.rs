//! Ways to break a pipeline while it runs: what ran runs on, and the event names the gate and the reason.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::host::plugins;
use crate::servers::redis_url;
use crate::trial::{Trial, body, save};

type Deed = Box<dyn Fn(&mut Trial)>;

/// One way: what is done, the gate that refuses, and words of the reason.
struct Way {
    name: &'static str,
    deed: Deed,
    gate: &'static str,
    words: &'static str,
}

fn way(name: &'static str, gate: &'static str, words: &'static str, deed: impl Fn(&mut Trial) + 'static) -> Way {
    Way { name, deed: Box::new(deed), gate, words }
}

/// Other text in pipeline.toml.
fn text(name: &'static str, gate: &'static str, words: &'static str, from: &'static str, to: &'static str) -> Way {
    way(name, gate, words, move |trial| {
        let old = trial.rig.pipeline.text();
        let new = old.replacen(from, to, 1);
        assert_ne!(old, new, "{from}");
        save(&trial.file(), new.as_bytes());
    })
}

/// Further text at the end of pipeline.toml.
fn more(name: &'static str, gate: &'static str, words: &'static str, more: &'static str) -> Way {
    way(name, gate, words, move |trial| {
        let new = format!("{}\n{more}", trial.rig.pipeline.text());
        save(&trial.file(), new.as_bytes());
    })
}

/// Another content of the validator's file.
fn component(name: &'static str, gate: &'static str, words: &'static str, content: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Way {
    way(name, gate, words, move |trial| {
        let file = trial.component("validate-message");
        let content = content(&fs::read(&file).unwrap());
        save(&file, &content);
    })
}

/// The validator is this first-party component, with these further lines.
fn saboteur(name: &'static str, gate: &'static str, words: &'static str, plugin: &'static str, lines: &'static str) -> Way {
    way(name, gate, words, move |trial| {
        let file = plugins().join(plugin).with_extension("wasm");
        let (own, other) = (trial.component("validate-message"), file.display().to_string());
        let old = trial.rig.pipeline.text();
        let new = old.replacen(&format!("{}\"\n", own.display()), &format!("{other}\"\n{lines}"), 1);
        assert_ne!(old, new);
        save(&trial.file(), new.as_bytes());
    })
}

/// A validator by its names alone.
fn made(exports: &str, import: &str) -> Vec<u8> {
    let text = format!(
        "(component {import}
            (core module $m (func (export \"f\")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\")))
            (instance $e {exports})
            (instance $l (export \"describe\" (func $f)) (export \"configure\" (func $f)))
            (export \"tidegate:plugin/validation@0.1.0\" (instance $e))
            (export \"tidegate:plugin/lifecycle@0.1.0\" (instance $l)))"
    );
    wat::parse_str(text).unwrap()
}

fn broken_components() -> Vec<Way> {
    let unknown = "(import \"wasi:clocks/wall-clock@0.2.0\" (instance (export \"now\" (func (result u64)))))";
    vec![
        component("a file that is cut off", "compile", "invalid", |whole| whole[..whole.len() / 2].to_vec()),
        component("an empty file", "compile", "empty", |_| Vec::new()),
        component("something else than WebAssembly", "compile", "no WebAssembly", |_| b"hello".to_vec()),
        component("a core module", "compile", "core module", |_| wat::parse_str("(module)").unwrap()),
        component("a component that is no step", "link", "is no step", |_| wat::parse_str("(component)").unwrap()),
        component("a missing export", "link", "exports no", |_| made("", "")),
        component("an import that is not offered", "link", "wasi:clocks", move |_| {
            made("(export \"validate\" (func $f))", unknown)
        }),
        way("a deleted component", "parse", "there is no plugin", |trial| {
            fs::remove_file(trial.component("validate-message")).unwrap();
        }),
        way("a folder in its place", "parse", "is a folder", |trial| {
            let file = trial.component("validate-message");
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }),
        text("a validator where a cipher is named", "link", "`field`", "aes-256-gcm.wasm", "validate-message.wasm"),
        text("a cipher where a validator is named", "link", "needs `field`", "validate-message.wasm", "aes-256-gcm.wasm"),
        text(
            "another digest than the pinned one",
            "link",
            "pins",
            "[steps.reshape]\n",
            "[steps.reshape]\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n",
        ),
        saboteur("a setting that is unknown", "settings", "content_max", "validate-message", "settings = { content_max = 5 }\n"),
        saboteur(
            "a setting of another type",
            "settings",
            "content_max_bytes",
            "validate-message",
            "settings = { content_max_bytes = \"5\" }\n",
        ),
        saboteur("a trap in configure", "settings", "configure", "saboteur-validator", "settings = { configure = \"trap\" }\n"),
        saboteur("a panic in configure", "settings", "configure", "saboteur-validator", "settings = { configure = \"panic\" }\n"),
        saboteur("a spin in configure", "settings", "configure", "saboteur-validator", "settings = { configure = \"spin\" }\n"),
        saboteur("a hoard in configure", "settings", "configure", "saboteur-validator", "settings = { configure = \"hoard\" }\n"),
        saboteur(
            "a refusal in configure",
            "settings",
            "as its settings say",
            "saboteur-validator",
            "settings = { configure = \"error\" }\n",
        ),
        saboteur(
            "a validator that rejects everything",
            "preflight",
            "newly refused",
            "saboteur-validator",
            "settings = { reject_all = true }\n",
        ),
        saboteur("too little memory to start with", "link", "memory", "validate-message", "limits.memory = \"64KiB\"\n"),
    ]
}

fn broken_texts() -> Vec<Way> {
    vec![
        way("a deleted pipeline.toml", "parse", "there is no", |trial| fs::remove_file(trial.file()).unwrap()),
        way("an empty pipeline.toml", "parse", "source", |trial| save(&trial.file(), b"")),
        more("broken TOML", "parse", "pipeline.toml:", "[[["),
        more("a table that is not there", "parse", "unknown key `stepps`", "[stepps.x]\nplugin = \"x\"\n"),
        text("a key that is unknown", "parse", "did you mean `queue`", "queue =", "queu ="),
        text("a value of another type", "parse", "must be", "on_failure = \"park\"", "on_failure = 5"),
        text("a step that is not there", "parse", "no step", "[\"validate\"]", "[\"validat\"]"),
        text("a variable that is not set", "parse", "TIDEGATE_NOT_SET", "mode = \"list\"", "mode = \"${TIDEGATE_NOT_SET}\""),
        text("another name of the pipeline", "parse", "started again", "name = \"broadcast\"", "name = \"other\""),
        text("another address of the admin HTTP", "parse", "started again", "listen = \"127.0.0.1:", "listen = \"127.0.0.2:"),
        more(
            "a test that fails",
            "tests",
            "no such message",
            "[[test]]\nname = \"no such message\"\ninput = '{}'\nexpect.deliver = [\"history\"]\n",
        ),
        text(
            "a cipher that sealed and is not there any more",
            "seal",
            "would not open any more",
            "aes-256-gcm.wasm",
            "aes-256-cbc.wasm",
        ),
        way("a cipher that cannot open what it seals", "seal", "cannot open what it has sealed itself", |trial| {
            let file = plugins().join("saboteur-cipher.wasm");
            let (own, other) = (trial.component("aes-256-gcm"), file.display().to_string());
            let to = format!("{other}\"\nsettings = {{ forgetful = true }}\n");
            let new = trial.rig.pipeline.text().replacen(&format!("{}\"\n", own.display()), &to, 1);
            save(&trial.file(), new.as_bytes());
        }),
        way("a Redis that cannot be reached", "stages", "sinks.broadcast", |trial| {
            let new = trial.rig.pipeline.text().replacen(&redis_url(), "redis://127.0.0.1:1", 1);
            save(&trial.file(), new.as_bytes());
        }),
        text("a table that is not there", "stages", "nowhere", "table = \"messages\"", "table = \"nowhere\""),
        text("a column that is not there", "stages", "nothing", "sub_id = \"/sub_id\"", "nothing = \"/sub_id\""),
    ]
}

fn broken_keys() -> Vec<Way> {
    let keys = |trial: &Trial| trial.rig.folder.path().join("keys.toml");
    vec![
        way("a key file that is gone", "parse", "is gone", move |trial| fs::remove_file(keys(trial)).unwrap()),
        way("a key file that everybody may read", "settings", "mode", move |trial| {
            // Permissions are no content: what is saved differs in a comment as well.
            let text = fs::read_to_string(keys(trial)).unwrap();
            save(&keys(trial), format!("{text}# \n").as_bytes());
            fs::set_permissions(keys(trial), fs::Permissions::from_mode(0o644)).unwrap();
        }),
        way("a key file that is none", "settings", "keys.toml", move |trial| private(&keys(trial), "nonsense")),
        way("a ring without the key that sealed", "seal", "would not open any more", move |trial| {
            let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
            private(&keys(trial), &format!("active = \"fresh\"\n[keys.fresh]\nkey = \"{key}\"\n"));
        }),
    ]
}

/// Saves a file for its owner alone.
fn private(file: &std::path::Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&beside, file).unwrap();
}

/// The gate that refused, and all that it said.
fn refusal(event: &Value) -> (String, String) {
    let gates = event["gates"].as_array().unwrap();
    let refused = gates.iter().find(|gate| gate["verdict"] == "refused").unwrap_or_else(|| panic!("{event:#}"));
    let details: Vec<&str> = refused["details"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    (refused["gate"].as_str().unwrap().to_owned(), details.join("\n"))
}

/// Breaks it in every way, one after the other; in between all is as it was, and a message goes through.
async fn break_in(ways: Vec<Way>, prepare: impl FnOnce(&mut Trial)) {
    let mut trial = Trial::new().await;
    prepare(&mut trial);
    trial.rig.start();
    trial.rig.queue.publish((0..5).map(body)).await;
    trial.rig.settled(5);
    let component = trial.component("validate-message");
    let (good, keys) = (fs::read(&component).unwrap(), trial.rig.folder.path().join("keys.toml"));
    let key = fs::read_to_string(&keys).unwrap();
    for (number, way) in ways.iter().enumerate() {
        let event = trial.after(|trial| (way.deed)(trial));
        let name = way.name;
        assert_eq!(event["outcome"], "refused", "{name}: {event:#}");
        let (gate, details) = refusal(&event);
        assert_eq!(gate, way.gate, "{name}: {event:#}");
        assert!(details.contains(way.words), "{name}: {details}");
        assert!(event["reason"].as_str().is_some_and(|reason| reason.contains(&gate)), "{name}: {event:#}");
        assert_eq!((event["to"].as_u64(), trial.generation()), (Some(1), 1), "{name}");
        trial.rig.queue.publish([body(5 + number)]).await;
        trial.rig.settled(6 + number as u64);

        trial.mended(|trial| {
            if component.is_dir() {
                fs::remove_dir(&component).unwrap();
            }
            save(&component, &good);
            private(&keys, &key);
            save(&trial.file(), trial.rig.pipeline.text().as_bytes());
        });
    }
    trial.arrived(5 + ways.len()).await;
    trial.rig.stop().await;
}

#[tokio::test]
async fn a_broken_component_is_refused_and_the_old_one_serves_on() {
    break_in(broken_components(), |_| {}).await;
}

#[tokio::test]
async fn a_broken_file_is_refused_and_what_ran_serves_on() {
    break_in(broken_texts(), |_| {}).await;
}

#[tokio::test]
async fn broken_keys_are_refused_and_the_old_ones_seal_on() {
    break_in(broken_keys(), |_| {}).await;
}
