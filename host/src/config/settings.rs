//! Every key that holds, with its value as far as it may be shown: what a later reading is compared with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::interpolate::{Piece, Sources, pieces};
use super::mask::mask;
use super::tree::{KeyPath, Node, Value};

/// Shown instead of what came from outside.
const HIDDEN: &str = "(from outside)";
/// Defaults that mean: nothing is there.
const NOTHING: [&str; 5] = ["none", "any", "required", "optional", "{}"];

/// Every key that was read, by its path as a person writes it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    keys: BTreeMap<String, Setting>,
    /// Files that keys name, and that could not be read.
    missing: Vec<(String, PathBuf)>,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// As it would be written; what came from outside, and passwords, are not shown.
    pub(super) shown: String,
    /// What it is compared by, so that no secret is kept.
    digest: [u8; 32],
}

impl Setting {
    fn new(shown: String, value: &str) -> Self {
        Self { shown, digest: digest(value.as_bytes()) }
    }
}

impl Settings {
    pub(super) fn keys(&self) -> &BTreeMap<String, Setting> {
        &self.keys
    }

    /// Notes a key that the file has: a table leaf by leaf.
    pub(super) fn note(&mut self, path: &KeyPath, node: &Node, sources: &Sources<'_>) {
        match &node.value {
            Value::Table(table) => {
                for entry in &table.entries {
                    self.note(&path.key(&entry.name), &entry.node, sources);
                }
            }
            // As if it were not there.
            Value::List(list) if list.is_empty() => {}
            _ => self.insert(path, setting(node, sources)),
        }
    }

    /// Notes a value in the one way in which it is compared, whatever way it is written in.
    pub(super) fn note_value(&mut self, path: &KeyPath, value: &str) {
        let key = path.to_string();
        let shown = match self.keys.get(&key) {
            Some(present) if present.shown == HIDDEN => HIDDEN.to_owned(),
            _ => value.to_owned(),
        };
        self.keys.insert(key, Setting::new(shown, value));
    }

    /// Notes what holds without a key.
    pub(super) fn note_default(&mut self, path: &KeyPath, default: &str) {
        if !NOTHING.contains(&default) {
            self.insert(path, Setting::new(default.to_owned(), default));
        }
    }

    /// Adds the content of the file that a key names to what the key is compared by.
    pub(super) fn note_content(&mut self, path: &str, file: &Path) {
        let Some(setting) = self.keys.get_mut(path) else { return };
        match std::fs::read(file) {
            Ok(content) => {
                let content = digest(&content);
                setting.shown = format!("{} (sha256:{})", setting.shown, short(&content));
                setting.digest = digest(&[setting.digest, content].concat());
            }
            Err(_) => self.missing.push((path.to_owned(), file.to_owned())),
        }
    }

    /// Looks again at files that could not be read: a key ring with `create = true` makes its file after it was looked for.
    pub fn look_again(&mut self) {
        for (path, file) in std::mem::take(&mut self.missing) {
            self.note_content(&path, &file);
        }
    }

    fn insert(&mut self, path: &KeyPath, setting: Setting) {
        self.keys.insert(path.to_string(), setting);
    }
}

/// A value that is no table.
fn setting(node: &Node, sources: &Sources<'_>) -> Setting {
    let (value, from_outside) = written(node, sources);
    let shown = if from_outside { HIDDEN.to_owned() } else { mask(&value) };
    Setting::new(shown, &value)
}

/// A value as it would be written, and whether any of it comes from outside.
fn written(node: &Node, sources: &Sources<'_>) -> (String, bool) {
    match &node.value {
        Value::Text(raw) => {
            let pieces = pieces(raw).unwrap_or_default();
            let from_outside = pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_)));
            // What cannot be filled in has its own error.
            (sources.fill(&pieces, &mut |_: PathBuf| ()).unwrap_or_else(|_| raw.clone()), from_outside)
        }
        Value::Integer(integer) => (integer.map_or_else(String::new, |integer| integer.to_string()), false),
        Value::Decimal(decimal) => (decimal.to_string(), false),
        Value::Boolean(boolean) => (boolean.to_string(), false),
        Value::Date(date) => (date.clone(), false),
        Value::List(list) => {
            let (parts, outside): (Vec<String>, Vec<bool>) = list.iter().map(|node| written(node, sources)).unzip();
            (format!("[{}]", parts.join(", ")), outside.contains(&true))
        }
        Value::Table(table) => {
            let part = |(name, (value, outside)): (&str, (String, bool))| (format!("{name} = {value}"), outside);
            let parts = table.entries.iter().map(|entry| part((&entry.name, written(&entry.node, sources))));
            let (parts, outside): (Vec<String>, Vec<bool>) = parts.unzip();
            (format!("{{ {} }}", parts.join(", ")), outside.contains(&true))
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn short(digest: &[u8; 32]) -> String {
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
