//! Every key of the reference pipeline.toml, edited one after the other under load: the class that `plan` announces is what happens, and what
//! did not change is not connected again.

mod embedded;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_harness::host::Host;
use toml::Table;

use crate::host::{answer, command};
use crate::trial::save;

/// One edit of one key.
struct Edit {
    /// The key, as the file has it.
    key: &'static str,
    /// What it is set to, as TOML; empty: it is taken away.
    value: String,
    /// The class that must be announced; none where the file would be wrong.
    class: Option<&'static str>,
    /// The gate that must refuse it.
    gate: Option<&'static str>,
}

fn edit(key: &'static str, value: impl Into<String>, class: &'static str) -> Edit {
    Edit { key, value: value.into(), class: Some(class), gate: (class == "restart").then_some("parse") }
}

/// An edit that makes sense only together with others.
fn refused(key: &'static str, value: impl Into<String>, class: &'static str, gate: &'static str) -> Edit {
    Edit { gate: Some(gate), ..edit(key, value, class) }
}

/// An edit that no running host may take up, because the file would be wrong.
fn wrong(key: &'static str, value: impl Into<String>) -> Edit {
    Edit { key, value: value.into(), class: None, gate: Some("parse") }
}

impl Edit {
    /// The key, as the plan of the running profile has it.
    fn planned(&self) -> &'static str {
        self.key.strip_prefix("profile.embedded.").unwrap_or(self.key)
    }

    /// The stage that it belongs to: `source.KIND` or `sinks.NAME`.
    fn stage(&self) -> String {
        let mut parts = self.planned().split('.');
        [parts.next().unwrap(), parts.next().unwrap_or_default()].join(".")
    }

    fn apply(&self, text: &str) -> String {
        let mut table: Table = text.parse().unwrap();
        let (path, name) = self.key.rsplit_once('.').map_or((vec![], self.key), |(path, name)| (path.split('.').collect(), name));
        let mut inner = &mut table;
        for part in path {
            inner = inner.entry(part).or_insert_with(|| Table::new().into()).as_table_mut().unwrap();
        }
        if self.value.is_empty() {
            inner.remove(name).unwrap_or_else(|| panic!("there is no {} to take away", self.key));
        } else {
            let parsed: Table = format!("value = {}", self.value).parse().unwrap_or_else(|error| panic!("{}: {error}", self.key));
            inner.insert(name.to_owned(), parsed["value"].clone());
        }
        table.to_string()
    }
}

/// The same file with its keys in the order in which edited ones are written.
fn in_order(text: &str) -> String {
    text.parse::<Table>().unwrap().to_string()
}

/// A host whose file is edited.
struct Editor<'a> {
    host: &'a Host,
    folder: PathBuf,
    profile: &'a [&'a str],
    stages: &'a [&'a str],
}

impl Editor<'_> {
    fn save(&self, text: &str) {
        save(&self.folder.join("pipeline.toml"), text.as_bytes());
    }

    fn ask(&self, what: &str) -> (i32, Value) {
        // The file may name another address by now.
        let host = self.host.admin().to_string();
        answer(&command(&self.folder, &[&[what, "--json", "--host", &host], self.profile].concat(), b""))
    }

    fn connects(&self) -> Vec<u64> {
        let metrics = self.host.get("/metrics").unwrap().text();
        self.stages.iter().map(|stage| connects(&metrics, stage)).collect()
    }

    /// Makes each edit and takes it back, and looks at what happened each time.
    fn make_all(&self, original: &str, edits: &[Edit]) {
        for edit in edits {
            let edited = edit.apply(original);
            assert_ne!(edited, original, "{} is no edit", edit.key);
            self.make(edit, &edited);
            if edit.gate.is_some() {
                self.save(original);
                assert_eq!(self.ask("reload").1["events"][0]["outcome"], "unchanged", "{}", edit.key);
            } else {
                self.make(edit, original);
            }
        }
    }

    fn make(&self, edit: &Edit, text: &str) {
        let before = self.connects();
        self.save(text);
        let (code, plan) = self.ask("plan");
        let plan = &plan["events"][0];
        let (_, event) = self.ask("reload");
        let event = &event["events"][0];
        let refused = edit.gate.is_some();
        assert_eq!(code, if refused { 78 } else { 2 }, "{}: {plan:#}", edit.key);
        assert_eq!(event["outcome"], if refused { "refused" } else { "swapped" }, "{}: {event:#}", edit.key);
        let refusing = event["gates"].as_array().unwrap().iter().find(|gate| gate["verdict"] == "refused");
        assert_eq!(refusing.map(|gate| gate["gate"].as_str().unwrap()), edit.gate, "{}: {event:#}", edit.key);
        for told in [plan, event] {
            let expected = edit.class.map(|class| (edit.planned().to_owned(), class.to_owned()));
            assert_eq!(changes(told), BTreeMap::from_iter(expected), "{}: {told:#}", edit.key);
        }
        if !refused {
            assert_eq!((&event["swap"]["redelivered"], &event["swap"]["balanced"]), (&0.into(), &true.into()), "{event:#}");
        }
        for ((stage, before), after) in self.stages.iter().zip(before).zip(self.connects()) {
            let reopened = edit.class == Some("reconnect") && *stage == edit.stage();
            assert_eq!(after - before, u64::from(reopened), "{}: connections of {stage}", edit.key);
        }
    }
}

fn connects(metrics: &str, stage: &str) -> u64 {
    let of = |line: &&str| line.starts_with("tidegate_stage_connects_total") && line.contains(&format!("stage=\"{stage}\""));
    metrics.lines().find(of).map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn changes(event: &Value) -> BTreeMap<String, String> {
    let changes = event["changes"].as_array().unwrap().iter();
    changes.map(|change| (change["key"].as_str().unwrap().to_owned(), change["class"].as_str().unwrap().to_owned())).collect()
}

/// A key without the names that its author chose.
fn general(key: &str) -> String {
    let key = key.strip_prefix("profile.embedded.").unwrap_or(key);
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        ["steps", _, "settings", ..] => "steps.*.settings".to_owned(),
        ["steps" | "sinks", _, rest @ ..] if rest.get(1) == Some(&"columns") => format!("{}.*.{}.columns", parts[0], rest[0]),
        ["key_rings", _, "keys", _, rest @ ..] => format!("key_rings.*.keys.*.{}", rest.join(".")),
        [table @ ("steps" | "sinks" | "key_rings"), _, rest @ ..] => format!("{table}.*.{}", rest.join(".")),
        ["test", ..] => "test".to_owned(),
        parts => parts.join("."),
    }
}

/// Every key of the shipped file, those that are commented out included.
fn reference() -> BTreeSet<String> {
    let shipped = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline.toml")).unwrap();
    let lines = shipped.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => key,
        _ => line,
    });
    let table: Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    let mut keys = BTreeSet::new();
    flatten("", &table, &mut keys);
    keys
}

fn flatten(path: &str, table: &Table, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value.as_table() {
            Some(inner) if !key.contains(".settings") && !key.contains(".columns") => flatten(&key, inner, keys),
            _ => drop(keys.insert(general(&key))),
        }
    }
}

#[test]
fn no_key_of_the_reference_goes_without_an_edit() {
    let (served, embedded) = (served::edits(&served::Places::default()), embedded::edits(&embedded::Places::default()));
    let mut edited: BTreeSet<String> = served.iter().chain(&embedded).map(|edit| general(edit.key)).collect();
    // It has a test of its own, because it changes who takes up the edits after it.
    edited.insert("reload.watch".to_owned());
    let reference = reference();
    assert!(reference.len() > 60, "{reference:#?}");
    let without: Vec<&String> = reference.difference(&edited).collect();
    assert_eq!(without, Vec::<&String>::new());
}
