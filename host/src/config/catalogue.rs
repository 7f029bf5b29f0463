//! Every key that the reader asked for, with its default: what pipeline.toml must explain.

use std::collections::BTreeMap;

use super::text::Span;

/// The keys of a file, by path with placeholder names, e.g. `steps.NAME.limits.timeout`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    keys: BTreeMap<String, Known>,
}

/// What is known of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What holds without it, as it would be written; `required` where it must be there, `optional` where it is one of several forms.
    pub default: String,
    /// Where the file has it.
    pub places: Vec<Span>,
}

impl Catalogue {
    /// Each key and what is known of it, by path.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.keys.iter().map(|(path, known)| (path.as_str(), known))
    }

    /// Adds what was found elsewhere.
    pub fn merge(&mut self, other: Self) {
        for (path, known) in other.keys {
            let places = std::mem::take(&mut self.keys.entry(path.clone()).or_default().places);
            let places = places.into_iter().chain(known.places).collect();
            self.keys.insert(path, Known { default: known.default, places });
        }
    }

    pub(super) fn note(&mut self, path: String, default: &str, place: Option<Span>) {
        let known = self.keys.entry(path).or_default();
        default.clone_into(&mut known.default);
        known.places.extend(place);
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
