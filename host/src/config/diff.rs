//! What a change of the file means: each key that differs, and how it comes into force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Loaded;
use super::settings::Setting;

/// How a changed key comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// At once; nothing is built or reopened.
    Live,
    /// The next generation of steps; no connection is touched.
    StepSwap,
    /// The stage that the key belongs to is drained and reopened, and no other.
    Reconnect,
    /// Not while the process runs.
    Restart,
}

impl Class {
    /// The name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::StepSwap => "step swap",
            Self::Reconnect => "reconnect",
            Self::Restart => "restart",
        }
    }

    /// The class of a key, by its path. None for a key that nobody has thought of: it must not pass silently.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('.').collect();
        let class = match parts.as_slice() {
            ["pipeline", "name"] | ["plugins" | "admin", ..] => Self::Restart,
            ["pipeline", "through" | "message_id" | "workers"] | ["steps" | "key_rings", ..] => Self::StepSwap,
            ["pipeline", "drain_timeout"] | ["pipeline", "batch", _] | ["reload" | "test", ..] => Self::Live,
            // These may stand in the table of the sink's kind as well.
            ["sinks", _, "on_failure" | "park_after"] | ["sinks", _, _, "on_failure" | "park_after"] => Self::Live,
            ["sinks", _, "through"] | ["sinks", _, _, "through"] => Self::StepSwap,
            ["source" | "sinks", ..] => Self::Reconnect,
            _ => return None,
        };
        Some(class)
    }
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Path of the key, e.g. `steps.validate.plugin`; of a whole table where it came or went, e.g. `sinks.history`.
    pub key: String,
    /// How it comes into force.
    pub class: Class,
    /// What held, as far as it may be shown; none where the key is new.
    pub from: Option<String>,
    /// What holds from now on; none where the key is gone.
    pub to: Option<String>,
}

type Keys = BTreeMap<String, Setting>;

/// What differs between two readings of a file, in order of the keys. A table that came or went is one change.
///
/// # Errors
/// Names every key that has no class.
pub fn diff(old: &Loaded, new: &Loaded) -> Result<Vec<Change>, Vec<String>> {
    let (old, new) = (old.settings.keys(), new.settings.keys());
    let (tables, new_tables) = (tables(old), tables(new));
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    let mut unknown = Vec::new();
    for key in old.keys().chain(new.keys()) {
        let (from, to) = (old.get(key), new.get(key));
        if from == to {
            continue;
        }
        let key = whole(key, &tables, &new_tables);
        let Some(class) = Class::of(&key) else {
            unknown.push(format!("`{key}` has no reload class: start the host again"));
            continue;
        };
        let shown = |keys: &Keys, is_there: bool| is_there.then(|| shown(keys, &key));
        let from = shown(old, old.contains_key(&key) || tables.contains(&key));
        let to = shown(new, new.contains_key(&key) || new_tables.contains(&key));
        changes.insert(key.clone(), Change { key, class, from, to });
    }
    if unknown.is_empty() { Ok(changes.into_values().collect()) } else { Err(unknown) }
}

/// Tables that come and go as a whole: `steps.NAME`, `sinks.NAME`, `sinks.NAME.KIND`, `key_rings.NAME`, `source.KIND`, `test`.
fn tables(keys: &Keys) -> BTreeSet<String> {
    let mut tables = BTreeSet::new();
    for key in keys.keys() {
        tables.extend(tables_of(key).map(str::to_owned));
    }
    tables
}

/// The tables that a key stands in, the widest first.
fn tables_of(key: &str) -> impl Iterator<Item = &str> {
    let depths: &[usize] = match key.split(['.', '[']).next() {
        Some("test") => &[1],
        Some("steps" | "key_rings" | "source") => &[2],
        Some("sinks") => &[2, 3],
        _ => &[],
    };
    depths.iter().filter_map(move |depth| {
        let end = key.match_indices(['.', '[']).nth(depth - 1).map(|(at, _)| at)?;
        key.get(..end)
    })
}

/// The key under which a difference is told: the widest table that only one side has, else the key itself. Test cases have no names of
/// their own, so all of them are one.
fn whole(key: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) -> String {
    let came_or_went = |table: &&str| *table == "test" || old.contains(*table) != new.contains(*table);
    tables_of(key).find(came_or_went).unwrap_or(key).to_owned()
}

/// A value, or what a table is in a few words.
fn shown(keys: &Keys, key: &str) -> String {
    if let Some(setting) = keys.get(key) {
        return setting.shown.clone();
    }
    let inside = |name: &str| keys.get(&format!("{key}.{name}")).map(|setting| setting.shown.clone());
    let cases = keys.keys().filter(|key| key.starts_with("test[") && key.ends_with(".name")).count();
    match key {
        "test" => format!("{cases} case(s)"),
        _ => inside("plugin").or_else(|| inside("file")).unwrap_or_else(|| kinds(keys, key)),
    }
}

/// The tables right below a table.
fn kinds(keys: &Keys, table: &str) -> String {
    let below = keys.keys().filter_map(|key| key.strip_prefix(table)?.strip_prefix('.')?.split_once('.'));
    let kinds: BTreeSet<&str> = below.map(|(kind, _)| kind).filter(|kind| *kind != "columns").collect();
    if kinds.is_empty() { "a table".to_owned() } else { kinds.into_iter().collect::<Vec<_>>().join(", ") }
}

/// Whether the source is opened anew.
#[must_use]
pub fn reopens_source(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.key.starts_with("source."))
}

/// Names of the sinks that are opened anew; those that came or went are not among them.
#[must_use]
pub fn reopened_sinks(changes: &[Change]) -> BTreeSet<Arc<str>> {
    let reconnects = changes.iter().filter(|change| change.class == Class::Reconnect);
    reconnects.filter_map(|change| Some(change.key.strip_prefix("sinks.")?.split_once('.')?.0.into())).collect()
}
