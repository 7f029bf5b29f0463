//! One value, read as what its key takes. Each reading notes what is wrong and then gives none.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::interpolate::{Piece, pieces};
use super::problem::{Code, Problem, enumerate, nearest};
use super::reader::{Context, Reader};
use super::text::Span;
use super::tree::{Entry, KeyPath, Node, Value};
use crate::message::Pointer;
use crate::secret::Secret;

/// A key and the value that stands beside it.
pub(super) struct Field<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) node: &'a Node,
    pub(super) key: Span,
    pub(super) path: KeyPath,
    pub(super) pattern: String,
}

/// A string value after interpolation.
pub(super) struct Filled {
    pub(super) value: String,
    /// Whether any of it came from outside, and must not be shown.
    interpolated: bool,
}

impl Filled {
    /// The value for an error: quoted, or only where it came from.
    fn shown(&self) -> String {
        if self.interpolated { "the interpolated value".to_owned() } else { format!("`{}`", self.value.escape_debug()) }
    }
}

impl Field<'_> {
    /// An error at the value.
    pub(super) fn problem(&self, code: Code, message: impl Into<String>) -> Problem {
        Problem::new(code, message).at(self.node.span).path(&self.path)
    }

    pub(super) fn note(&self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.context.note(self.problem(code, message).help(help));
    }

    pub(super) fn note_wrong_type(&self, expected: &str, help: &str) {
        let found = self.node.value.type_name();
        let problem = self.problem(Code::WrongType, format!("`{}` must be {expected}, is {found}", self.path));
        self.context.note(if help.is_empty() { problem } else { problem.help(help) });
    }

    /// The string value, interpolated; none as well where variables are not looked at.
    pub(super) fn filled(&self, expected: &str, help: &str) -> Option<Filled> {
        let Value::Text(raw) = &self.node.value else {
            self.note_wrong_type(expected, help);
            return None;
        };
        let pieces = pieces(raw).map_err(|problem| self.context.note(problem.at(self.node.span).path(&self.path))).ok()?;
        let interpolated = pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_)));
        if interpolated && !self.context.looks_outside {
            return None;
        }
        let filled = self.context.sources.fill(&pieces, &mut |file| self.context.note_file(file));
        let value = filled.map_err(|problem| self.context.note(problem.at(self.node.span).path(&self.path))).ok()?;
        Some(Filled { value, interpolated })
    }

    pub(super) fn text(&self) -> Option<String> {
        self.filled("a string", "write it in quotes").map(|filled| filled.value)
    }

    /// A text that is not empty, holds no U+0000 and has at most so many bytes.
    pub(super) fn short_text(&self, max_bytes: usize) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() || text.contains('\0') {
            let what = if text.is_empty() { "must not be empty" } else { "must not hold the character U+0000" };
            self.note(
                Code::BadValue,
                format!("`{}` {what}", self.path),
                "give it a value, or leave the key out where it has a default",
            );
            return None;
        }
        if text.len() > max_bytes {
            let message = format!("`{}` has {} bytes, {max_bytes} at most", self.path, text.len());
            self.note(Code::OutOfRange, message, "choose a shorter one");
            return None;
        }
        Some(text)
    }

    pub(super) fn secret(&self) -> Option<Secret> {
        self.short_text(64 << 10).map(|text| Secret::new(text.into_bytes()))
    }

    /// A value that is no string, written as one that is interpolated, such as `"${PREFETCH:-2048}"`.
    fn parsed_text<T: std::str::FromStr>(&self, expected: &str, help: &str) -> Option<T> {
        if !matches!(&self.node.value, Value::Text(raw) if raw.contains("${")) {
            self.note_wrong_type(expected, help);
            return None;
        }
        let filled = self.filled(expected, help)?;
        let parsed = filled.value.trim().parse().ok();
        if parsed.is_none() {
            self.note(Code::WrongType, format!("`{}` must be {expected}; {} is not", self.path, filled.shown()), help);
        }
        parsed
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Boolean(boolean) => Some(boolean),
            _ => self.parsed_text("true or false", "write `true` or `false`, without quotes"),
        }
    }

    pub(super) fn count(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let count = match self.node.value {
            Value::Integer(integer) => integer.and_then(|integer| u64::try_from(integer).ok()),
            _ => Some(self.parsed_text("a whole number", "write the digits, without quotes")?),
        };
        self.in_range(count, &range, |count| count.to_string())
    }

    fn in_range<T: PartialOrd + Copy>(
        &self,
        value: Option<T>,
        range: &RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> Option<T> {
        let inside = value.filter(|value| range.contains(value));
        if inside.is_none() {
            let bounds = format!("from {} to {}", show(*range.start()), show(*range.end()));
            self.context.note(self.problem(Code::OutOfRange, format!("`{}` must be {bounds}", self.path)));
        }
        inside
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let help = "write a number and its unit in quotes: \"250ms\", \"10s\", \"5m\", \"1h 30m\"";
        let filled = self.filled("a duration", help)?;
        match humantime::parse_duration(&filled.value) {
            Ok(duration) => self.in_range(Some(duration), &range, |bound| humantime::format_duration(bound).to_string()),
            Err(_) => {
                self.note(Code::BadDuration, format!("{} is no duration", filled.shown()), help);
                None
            }
        }
    }

    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let help = "write a number of bytes, or a number and its unit in quotes: \"512KiB\", \"64MiB\", \"1GiB\"";
        if let Value::Integer(integer) = self.node.value {
            return self.in_range(integer.and_then(|bytes| u64::try_from(bytes).ok()), &range, format_size);
        }
        let filled = self.filled("a size in bytes", help)?;
        if let Some(bytes) = parse_size(&filled.value) {
            return self.in_range(Some(bytes), &range, format_size);
        }
        self.note(Code::BadSize, format!("{} is no size", filled.shown()), help);
        None
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        let help = "write an IP address and a port: \"127.0.0.1:9600\", \"0.0.0.0:9600\" or \"[::1]:9600\"";
        let filled = self.filled("an address to listen on", help)?;
        let address = filled.value.parse().ok();
        if address.is_none() {
            self.note(Code::BadAddress, format!("{} is no address to listen on", filled.shown()), help);
        }
        address
    }

    pub(super) fn pointer(&self) -> Option<Pointer> {
        let filled = self.filled("a JSON pointer", "write \"/message/content\"")?;
        match filled.value.parse::<Pointer>() {
            Ok(pointer) => Some(pointer),
            Err(cause) => {
                let near = (!filled.interpolated).then(|| format!("/{}", filled.value.replace('.', "/")));
                let near = near.filter(|near| near.parse::<Pointer>().is_ok());
                let problem = self.problem(Code::BadPointer, format!("{} is no JSON pointer: {cause}", filled.shown()));
                self.context.note(problem.suggest(near));
                None
            }
        }
    }

    /// A path, relative to the folder of the file.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let path = self.short_text(4096)?;
        Some(self.context.sources.folder.join(path))
    }

    /// The path for a message: as it stands in the file where it was interpolated.
    pub(super) fn shown_file(&self, path: &Path) -> String {
        match &self.node.value {
            Value::Text(raw) if raw.contains("${") => raw.escape_debug().to_string(),
            _ => path.display().to_string(),
        }
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let filled = self.filled("a string", &format!("one of {}", enumerate(names())))?;
        let found = words.iter().find(|(name, _)| *name == filled.value);
        if found.is_none() {
            let problem = self.problem(Code::UnknownValue, format!("`{}` cannot be {}", self.path, filled.shown()));
            let near = nearest(&filled.value, names()).filter(|_| !filled.interpolated);
            self.context.note(problem.suggest(near).help(format!("one of {}", enumerate(names()))));
        }
        found.map(|(_, value)| *value)
    }

    /// The elements of a list.
    pub(super) fn list(&self, expected: &str, help: &str) -> Option<Vec<Field<'_>>> {
        let Value::List(list) = &self.node.value else {
            self.note_wrong_type(expected, help);
            return None;
        };
        Some(list.iter().enumerate().map(|(index, node)| self.element(index, node)).collect())
    }

    fn element<'b>(&'b self, index: usize, node: &'b Node) -> Field<'b> {
        Field { context: self.context, node, key: node.span, path: self.path.index(index), pattern: self.pattern.clone() }
    }

    /// A list of strings.
    pub(super) fn names(&self) -> Option<Vec<Arc<str>>> {
        let help = match &self.node.value {
            Value::Text(raw) => format!("write `[\"{}\"]`", raw.escape_debug()),
            _ => "write `[\"name\", \"other\"]`".to_owned(),
        };
        let list = self.list("a list of names", &help)?;
        Some(list.iter().filter_map(Field::text).map(Arc::from).collect())
    }

    /// Reads the table that is the value.
    pub(super) fn table<T>(&self, help: &str, read: impl FnOnce(&Reader<'_>) -> T) -> Option<T> {
        let Value::Table(table) = &self.node.value else {
            self.note_wrong_type("a table", help);
            return None;
        };
        Some(Reader::over(self.context, table, self.node.span, self.path.clone(), self.pattern.clone(), read))
    }

    /// The elements of a list; none of anything else.
    pub(super) fn elements(&self) -> Vec<Field<'_>> {
        let Value::List(list) = &self.node.value else { return Vec::new() };
        list.iter().enumerate().map(|(index, node)| self.element(index, node)).collect()
    }

    /// The members of a table, by name; none of anything else.
    pub(super) fn members(&self) -> Vec<(&str, Field<'_>)> {
        let entries = self.node.table().map(|table| table.entries.as_slice()).unwrap_or_default();
        entries.iter().map(|entry| (entry.name.as_str(), self.member(entry))).collect()
    }

    fn member<'b>(&'b self, entry: &'b Entry) -> Field<'b> {
        let (path, pattern) = (self.path.key(&entry.name), self.pattern.clone());
        Field { context: self.context, node: &entry.node, key: entry.key, path, pattern }
    }

    /// Whether the value is a list or a table with nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.node.value {
            Value::List(list) => list.is_empty(),
            Value::Table(table) => table.entries.is_empty(),
            _ => false,
        }
    }

    /// Whether nothing of the text stands in the file itself, not even as a default.
    pub(super) fn is_all_from_outside(&self) -> bool {
        let Value::Text(raw) = &self.node.value else { return true };
        let from_outside = |piece: &Piece<'_>| matches!(piece, Piece::Variable { default: None, .. } | Piece::File(_));
        pieces(raw).is_ok_and(|pieces| pieces.iter().all(from_outside))
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self.node.value, Value::Boolean(true))
    }

    /// Whether the text begins like this, as it stands in the file.
    pub(super) fn raw_starts_with(&self, prefix: &str) -> bool {
        matches!(&self.node.value, Value::Text(raw) if raw.starts_with(prefix))
    }

    /// The path that stands in the file, with another last name.
    pub(super) fn raw_sibling(&self, name: &str) -> String {
        let Value::Text(raw) = &self.node.value else { return name.to_owned() };
        raw.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
    }

    /// Checks a value that is a name.
    pub(super) fn check_value_is_name(&self, name: &str) -> bool {
        let well = is_name(name);
        if !well {
            self.note(Code::BadName, format!("`{}` must be a name", self.path), NAMES);
        }
        well
    }

    /// Checks the name under which the value stands.
    pub(super) fn check_name(&self, name: &str) -> bool {
        let well = is_name(name);
        if !well {
            let problem =
                Problem::new(Code::BadName, format!("`{}` is no name", name.escape_debug())).at(self.key).path(&self.path);
            self.context.note(problem.help(NAMES));
        }
        well
    }
}

const NAMES: &str = "a name starts with a-z and goes on with a-z, 0-9, `_` and `-`, 63 characters at most";

/// Whether a text follows the grammar of names: `[a-z][a-z0-9_-]{0,62}`.
pub(super) fn is_name(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(rest)
}

const UNITS: [(&str, u64); 7] =
    [("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("kb", 1_000), ("mb", 1_000_000), ("gb", 1_000_000_000), ("b", 1)];

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits)?.to_lowercase();
    let factor = if unit.is_empty() { 1 } else { UNITS.iter().find(|(name, _)| *name == unit)?.1 };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

/// A size as it would be written, e.g. `64MiB`.
pub(super) fn format_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in
            [("64MiB", Some(64 << 20)), ("1 kb", Some(1000)), ("512", Some(512)), ("3B", Some(3)), ("1.5MiB", None)]
        {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        assert_eq!(parse_size("99999999999GiB"), None);
        assert_eq!((format_size(64 << 20), format_size(1000)), ("64MiB".to_owned(), "1000".to_owned()));
    }

    #[test]
    fn names_follow_their_grammar() {
        for (name, well) in [("a", true), ("a-1_b", true), ("", false), ("A", false), ("1a", false), ("a.b", false)] {
            assert_eq!(is_name(name), well, "{name}");
        }
        assert!(!is_name(&"a".repeat(64)));
    }
}
