//! `[profile.NAME]`: a table that is laid over the file.
//!
//! Tables are laid into tables, key by key; anything else replaces what was there. Where exactly one kind may stand (under `source`
//! and under each sink) naming a kind takes the place of another. `sinks.NAME = false` removes a sink.

use super::problem::{Code, Problem, known, nearest};
use super::text::Span;
use super::tree::{Entry, Node, Table, Value};

/// The kinds of sources, as they are written.
pub(super) const SOURCE_KINDS: [&str; 2] = ["rabbitmq", "http"];
/// The kinds of sinks, as they are written.
pub(super) const SINK_KINDS: [&str; 4] = ["redis", "postgres", "sqlite", "live"];
/// Keys of a sink that may stand in the table of its kind as well.
const LANE_KEYS: [&str; 3] = ["through", "on_failure", "park_after"];

/// A file with its profiles taken out.
#[derive(Debug)]
pub(super) struct Layers {
    /// What stands outside of every profile.
    pub(super) base: Node,
    /// The profiles, in file order.
    pub(super) profiles: Vec<Entry>,
}

impl Layers {
    /// Takes the profiles out of a file. What is wrong with them as such goes to `problems`.
    pub(super) fn split(mut root: Node, problems: &mut Vec<Problem>) -> Self {
        let profiles = root.table_mut().and_then(|table| table.remove("profile"));
        let profiles = profiles.map(|entry| tables_of(entry, problems)).unwrap_or_default();
        let mut layers = Self { base: root, profiles };
        lift_lane_keys(&mut layers.base, problems);
        layers.profiles.iter_mut().for_each(|profile| lift_lane_keys(&mut profile.node, problems));
        layers
    }

    /// The file as it is under a profile, or without one.
    ///
    /// # Errors
    /// Fails when there is no such profile.
    pub(super) fn merged(&self, profile: Option<&str>) -> Result<Node, Problem> {
        let mut root = self.base.clone();
        let Some(wanted) = profile else { return Ok(root) };
        let found = self.profiles.iter().find(|entry| entry.name == wanted);
        let overlay = found.and_then(|entry| entry.node.table()).ok_or_else(|| self.unknown(wanted))?;
        if let Some(table) = root.table_mut() {
            lay_root(table, overlay);
        }
        Ok(root)
    }

    fn unknown(&self, wanted: &str) -> Problem {
        let names = || self.profiles.iter().map(|entry| entry.name.as_str());
        Problem::new(Code::UnknownProfile, format!("there is no profile `{}`", wanted.escape_debug()))
            .path("profile")
            .suggest(nearest(wanted, names()))
            .help(known("profile", names()))
    }
}

fn tables_of(entry: Entry, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let not_a_table = |path: String, node: &Node| {
        Problem::new(Code::WrongType, format!("`{path}` must be a table, is {}", node.value.type_name()))
            .at(node.span)
            .path(path)
            .help("write `[profile.NAME.…]`")
    };
    let Value::Table(table) = entry.node.value else {
        problems.push(not_a_table("profile".to_owned(), &entry.node));
        return Vec::new();
    };
    let (tables, others): (Vec<Entry>, Vec<Entry>) = table.entries.into_iter().partition(|entry| entry.node.table().is_some());
    problems.extend(others.iter().map(|entry| not_a_table(format!("profile.{}", entry.name), &entry.node)));
    tables
}

/// Moves `sinks.NAME.KIND.through` to `sinks.NAME.through`, and the like: they belong to the lane, and must outlive a change of kind.
fn lift_lane_keys(root: &mut Node, problems: &mut Vec<Problem>) {
    let Some(sinks) = root.table_mut().and_then(|table| table.get_mut("sinks")).and_then(|entry| entry.node.table_mut()) else {
        return;
    };
    for sink in sinks.entries.iter_mut() {
        let name = sink.name.clone();
        let Some(table) = sink.node.table_mut() else { continue };
        let kinds = table.entries.iter_mut().filter(|entry| SINK_KINDS.contains(&entry.name.as_str()));
        let lifted: Vec<Entry> = kinds
            .filter_map(|kind| kind.node.table_mut())
            .flat_map(|kind| LANE_KEYS.iter().filter_map(|key| kind.remove(key)).collect::<Vec<_>>())
            .collect();
        for entry in lifted {
            match table.get(&entry.name) {
                None => table.entries.push(entry),
                Some(earlier) => problems.push(twice(&name, &entry, earlier.key)),
            }
        }
    }
}

fn twice(sink: &str, entry: &Entry, earlier: Span) -> Problem {
    Problem::new(Code::DuplicateKey, format!("`{}` of the sink `{sink}` is given twice", entry.name))
        .at(entry.key)
        .path(format!("sinks.{sink}.{}", entry.name))
        .earlier(Some(earlier), "here as well")
        .help(format!("keep the one in `[sinks.{sink}]`"))
}

fn lay_root(base: &mut Table, overlay: &Table) {
    for entry in &overlay.entries {
        match (entry.name.as_str(), base.get_mut(&entry.name).and_then(|entry| entry.node.table_mut()), entry.node.table()) {
            ("source", Some(base), Some(overlay)) => lay_kind(base, overlay, &SOURCE_KINDS),
            ("sinks", Some(base), Some(overlay)) => overlay.entries.iter().for_each(|sink| lay_sink(base, sink)),
            _ => lay_entry(base, entry),
        }
    }
}

fn lay_sink(sinks: &mut Table, sink: &Entry) {
    match (sinks.get_mut(&sink.name).and_then(|entry| entry.node.table_mut()), &sink.node.value) {
        (Some(_), Value::Boolean(false)) => drop(sinks.remove(&sink.name)),
        (Some(base), Value::Table(overlay)) => lay_kind(base, overlay, &SINK_KINDS),
        _ => lay_entry(sinks, sink),
    }
}

fn lay_kind(base: &mut Table, overlay: &Table, kinds: &[&str]) {
    let is_kind = |entry: &Entry| kinds.contains(&entry.name.as_str());
    if overlay.entries.iter().any(is_kind) {
        base.entries.retain(|entry| !is_kind(entry) || overlay.get(&entry.name).is_some());
    }
    overlay.entries.iter().for_each(|entry| lay_entry(base, entry));
}

fn lay_entry(base: &mut Table, overlay: &Entry) {
    match (base.get_mut(&overlay.name), overlay.node.table()) {
        (Some(Entry { node: Node { value: Value::Table(table), .. }, .. }), Some(overlay)) => {
            overlay.entries.iter().for_each(|entry| lay_entry(table, entry));
        }
        (Some(entry), _) => *entry = overlay.clone(),
        (None, _) => base.entries.push(overlay.clone()),
    }
}
