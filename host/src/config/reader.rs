//! Reading a table key by key. Problems are noted and reading goes on; a key that nobody asked for is a problem too.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::Catalogue;
use super::field::{Field, format_size};
use super::interpolate::Sources;
use super::problem::{Code, Problem, enumerate, nearest};
use super::settings::Settings;
use super::text::Span;
use super::tree::{Entry, KeyPath, Node, Table, Value};

/// What is read once for the whole file: the surroundings, and what was found.
pub(super) struct Context<'a> {
    pub(super) sources: Sources<'a>,
    /// Whether variables and files are looked at. Not for a profile that is not chosen: its variables may well be unset.
    pub(super) looks_outside: bool,
    pub(super) found: RefCell<Found>,
}

/// What reading found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    pub(super) catalogue: Catalogue,
    /// Every file that the text names, for whoever watches for changes.
    pub(super) files: BTreeSet<PathBuf>,
    /// Every key that holds, for whoever compares two readings.
    pub(super) settings: Settings,
    /// Keys that nobody asked for, reported once all keys are known.
    strays: Vec<Stray>,
}

#[derive(Debug)]
struct Stray {
    path: KeyPath,
    key: Span,
    name: String,
    known: Vec<&'static str>,
}

impl<'a> Context<'a> {
    pub(super) fn new(sources: Sources<'a>, looks_outside: bool) -> Self {
        Self { sources, looks_outside, found: RefCell::default() }
    }

    pub(super) fn note(&self, problem: Problem) {
        self.found.borrow_mut().problems.push(problem);
    }

    pub(super) fn note_file(&self, file: PathBuf) {
        self.found.borrow_mut().files.insert(file);
    }

    /// Notes a file whose content matters to the key that names it.
    pub(super) fn note_content(&self, path: &KeyPath, file: PathBuf) {
        if self.looks_outside {
            self.found.borrow_mut().settings.note_content(&path.to_string(), &file);
        }
        self.note_file(file);
    }

    /// Reads the root table.
    pub(super) fn read<T>(&self, root: &Node, read: impl FnOnce(&Reader<'_>) -> T) -> T {
        let empty = Table::default();
        let table = root.table().unwrap_or(&empty);
        Reader::over(self, table, root.span, KeyPath::default(), String::new(), read)
    }

    /// What was found, strays included.
    pub(super) fn into_found(self) -> Found {
        let mut found = self.found.into_inner();
        let strays = std::mem::take(&mut found.strays);
        let problems: Vec<Problem> = strays.iter().map(|stray| stray.problem(&found.catalogue)).collect();
        found.problems.extend(problems);
        found
    }
}

impl Stray {
    fn problem(&self, catalogue: &Catalogue) -> Problem {
        let known = format!("known here: {}", enumerate(self.known.iter().copied()));
        let near = nearest(&self.name, self.known.iter().copied());
        let elsewhere = catalogue.tables_with(&self.name);
        let help = match (near, elsewhere.as_slice()) {
            (None, [table, ..]) => format!("`{}` belongs to `[{table}]`; {known}", self.name),
            _ => known,
        };
        Problem::new(Code::UnknownKey, format!("unknown key `{}`", self.path))
            .at(self.key)
            .path(&self.path)
            .suggest(near)
            .help(help)
    }
}

/// In the catalogue, a key that is one of several forms.
pub(super) const OPTIONAL: &str = "optional";

/// A table that is being read.
pub(super) struct Reader<'a> {
    context: &'a Context<'a>,
    table: &'a Table,
    span: Span,
    path: KeyPath,
    /// The path with placeholders for names, for the catalogue.
    pattern: String,
    seen: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    /// Reads a table, and notes each key of it that was not asked for.
    pub(super) fn over<T>(
        context: &Context<'_>,
        table: &Table,
        span: Span,
        path: KeyPath,
        pattern: String,
        read: impl FnOnce(&Reader<'_>) -> T,
    ) -> T {
        let reader = Reader { context, table, span, path, pattern, seen: RefCell::default() };
        let value = read(&reader);
        let known = reader.seen.into_inner();
        let strays = table.entries.iter().filter(|entry| !known.contains(&entry.name.as_str())).map(|entry| Stray {
            path: reader.path.key(&entry.name),
            key: entry.key,
            name: entry.name.clone(),
            known: known.clone(),
        });
        context.found.borrow_mut().strays.extend(strays);
        value
    }

    /// Asks for a key, and says in the catalogue what holds without it.
    pub(super) fn key(&self, name: &'static str, default: &str) -> Option<Field<'_>> {
        let pattern = self.pattern_of(name);
        self.context.found.borrow_mut().catalogue.note(pattern.clone(), default, self.key_span(name));
        self.note_setting(name, default);
        self.plain_key(name, pattern)
    }

    fn note_setting(&self, name: &str, default: &str) {
        let (path, settings) = (self.path.key(name), &mut self.context.found.borrow_mut().settings);
        match self.table.get(name) {
            Some(entry) => settings.note(&path, &entry.node, &self.context.sources),
            None => settings.note_default(&path, default),
        }
    }

    /// Notes a value in the one way in which it is compared, whatever way it is written in.
    fn note_value(&self, name: &str, value: &str) {
        self.context.found.borrow_mut().settings.note_value(&self.path.key(name), value);
    }

    fn plain_key(&self, name: &'static str, pattern: String) -> Option<Field<'_>> {
        self.seen.borrow_mut().push(name);
        self.table.get(name).map(|entry| self.field_of(entry, pattern))
    }

    /// Asks for a key that must be there.
    pub(super) fn required(&self, name: &'static str, help: &str) -> Option<Field<'_>> {
        let field = self.key(name, "required");
        if field.is_none() {
            self.note_missing(name, help);
        }
        field
    }

    pub(super) fn note_missing(&self, name: &str, help: &str) {
        let table = if self.pattern.is_empty() { "the file".to_owned() } else { format!("`{}`", self.path) };
        let problem = Problem::new(Code::MissingKey, format!("{table} needs `{name}`")).path(self.path.key(name)).help(help);
        self.context.note(self.placed(problem));
    }

    /// The problem, placed at this table; the root has no place.
    pub(super) fn placed(&self, problem: Problem) -> Problem {
        if self.pattern.is_empty() { problem } else { problem.at(self.span) }
    }

    pub(super) fn note(&self, problem: Problem) {
        self.context.note(problem);
    }

    pub(super) fn path(&self) -> &KeyPath {
        &self.path
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.table.get(name).is_some()
    }

    /// Where a key stands.
    pub(super) fn key_span(&self, name: &str) -> Option<Span> {
        self.table.get(name).map(|entry| entry.key)
    }

    /// Whether the table has keys that were not asked for so far.
    pub(super) fn has_others(&self) -> bool {
        let seen = self.seen.borrow();
        self.table.names().any(|name| !seen.iter().any(|key| key == &name))
    }

    fn pattern_of(&self, name: &str) -> String {
        if self.pattern.is_empty() { name.to_owned() } else { format!("{}.{name}", self.pattern) }
    }

    fn field_of<'b>(&'b self, entry: &'b Entry, pattern: String) -> Field<'b> {
        Field { context: self.context, node: &entry.node, key: entry.key, path: self.path.key(&entry.name), pattern }
    }

    /// Reads the table under a key; one that is not there is read as an empty one, so that its defaults hold.
    pub(super) fn section<T>(&self, name: &'static str, read: impl FnOnce(&Reader<'_>) -> T) -> T {
        let (empty, pattern) = (Table::default(), self.pattern_of(name));
        let field = self.plain_key(name, pattern.clone());
        let path = self.path.key(name);
        match field.as_ref().map(|field| (field, &field.node.value)) {
            Some((field, Value::Table(table))) => Reader::over(self.context, table, field.node.span, path, pattern, read),
            Some((field, _)) => {
                field.note_wrong_type("a table", &format!("write `[{path}]`"));
                Reader::over(self.context, &empty, field.node.span, path, pattern, read)
            }
            None => Reader::over(self.context, &empty, self.span, path, pattern, read),
        }
    }

    /// Reads the table under a key where it is there.
    pub(super) fn optional_section<T>(&self, name: &'static str, read: impl FnOnce(&Reader<'_>) -> T) -> Option<T> {
        self.seen.borrow_mut().push(name);
        self.has(name).then(|| self.section(name, read))
    }

    /// The fields of the table under a key that have names of the author's own; `placeholder` stands for the name in the catalogue.
    pub(super) fn named<T>(
        &self,
        name: &'static str,
        placeholder: &str,
        mut read: impl FnMut(&Arc<str>, &Field<'_>) -> Option<T>,
    ) -> Vec<T> {
        let pattern = format!("{}.{placeholder}", self.pattern_of(name));
        let Some(field) = self.plain_key(name, self.pattern_of(name)) else { return Vec::new() };
        let Value::Table(table) = &field.node.value else {
            field.note_wrong_type("a table", &format!("write `[{}.NAME]`", field.path));
            return Vec::new();
        };
        let fields = table.entries.iter().map(|entry| {
            let path = field.path.key(&entry.name);
            let field = Field { context: self.context, node: &entry.node, key: entry.key, path, pattern: pattern.clone() };
            (Arc::from(entry.name.as_str()), field)
        });
        fields.filter_map(|(name, field)| read(&name, &field)).collect()
    }

    /// Says in the catalogue what holds without a key that is read by other means.
    pub(super) fn declare(&self, name: &'static str, default: &str) {
        self.context.found.borrow_mut().catalogue.note(self.pattern_of(name), default, self.key_span(name));
        self.note_setting(name, default);
    }

    /// Whether anything stands in the table under a key.
    pub(super) fn has_entries(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|entry| entry.node.table().is_none_or(|table| !table.entries.is_empty()))
    }

    /// Notes a key that must not stand here because of another.
    pub(super) fn refuse(&self, name: &str, why: &str) {
        if let Some(span) = self.key_span(name) {
            self.note(Problem::new(Code::ConflictingKeys, why).at(span).path(self.path.key(name)).help("remove it"));
        }
    }

    // Values with a default: what stands in the file where it is well, else the default.

    pub(super) fn text(&self, name: &'static str, default: &str, max_bytes: usize) -> String {
        let text = self.key(name, default).and_then(|field| field.short_text(max_bytes));
        text.unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn boolean(&self, name: &'static str, default: bool) -> bool {
        self.key(name, &default.to_string()).and_then(|field| field.boolean()).unwrap_or(default)
    }

    pub(super) fn count(&self, name: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.key(name, &default.to_string()).and_then(|field| field.count(range)).unwrap_or(default)
    }

    pub(super) fn duration(&self, name: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let shown = humantime::format_duration(default).to_string();
        let duration = self.key(name, &shown).and_then(|field| field.duration(range)).unwrap_or(default);
        self.note_value(name, &humantime::format_duration(duration).to_string());
        duration
    }

    pub(super) fn size(&self, name: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let size = self.key(name, &format_size(default)).and_then(|field| field.size(range)).unwrap_or(default);
        self.note_value(name, &format_size(size));
        size
    }

    pub(super) fn word<T: Copy>(&self, name: &'static str, default: &str, words: &[(&str, T)], fallback: T) -> T {
        self.key(name, default).and_then(|field| field.word(words)).unwrap_or(fallback)
    }

    /// An address to listen on; without one, the port on this machine alone.
    pub(super) fn listen(&self, port: u16) -> SocketAddr {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.key("listen", &default.to_string()).and_then(|field| field.address()).unwrap_or(default)
    }

    /// A path relative to the folder of the file.
    pub(super) fn file(&self, name: &'static str, default: &str) -> PathBuf {
        let path = self.key(name, default).and_then(|field| field.file());
        path.unwrap_or_else(|| self.context.sources.folder.join(default))
    }

    /// A file that must be there when its key is.
    pub(super) fn existing_file(&self, name: &'static str) -> Option<PathBuf> {
        let field = self.key(name, "none")?;
        let path = field.file()?;
        if self.context.looks_outside && !path.is_file() {
            let help = "the path is relative to the folder of this file";
            field.note(Code::UnreadableFile, format!("there is no file `{}`", field.shown_file(&path)), help);
        }
        self.context.note_content(&field.path, path.clone());
        Some(path)
    }

    /// A list of names; empty where the key is missing.
    pub(super) fn names(&self, name: &'static str) -> Vec<Arc<str>> {
        self.key(name, "none").and_then(|field| field.names()).unwrap_or_default()
    }
}
