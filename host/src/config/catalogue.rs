//! Every key that the reader asked for, with its default: what pipeline.toml must explain.

use std::collections::BTreeMap;

/// The keys of a file, by path with placeholder names, e.g. `steps.NAME.limits.timeout`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    keys: BTreeMap<String, String>,
}

impl Catalogue {
    /// Each key and its default, as it would be written; `required` where there is none.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().map(|(path, default)| (path.as_str(), default.as_str()))
    }

    /// The default of a key.
    #[must_use]
    pub fn default_of(&self, path: &str) -> Option<&str> {
        self.keys.get(path).map(String::as_str)
    }

    /// Adds the keys of another file.
    pub fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    pub(super) fn note(&mut self, path: String, default: &str) {
        self.keys.insert(path, default.to_owned());
    }

    /// The tables that have a key of this name, for somebody who wrote it in the wrong place.
    pub(super) fn tables_with(&self, key: &str) -> Vec<&str> {
        self.keys
            .keys()
            .filter_map(|path| path.rsplit_once('.'))
            .filter(|(_, last)| *last == key)
            .map(|(table, _)| table)
            .collect()
    }
}
