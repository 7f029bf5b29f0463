//! The file as a tree of values, each with its place in the text. Nothing in it has a meaning yet.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::problem::{Code, Problem};
use super::text::{Span, Text};

/// A value and its place. The place of a table is its header, of a table without one its key.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// A value as it stands in the file: strings are not interpolated yet.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// None when it does not fit 64 bits.
    Integer(Option<i64>),
    Decimal(f64),
    Boolean(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The type in words, with its article.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Decimal(_) => "a decimal number",
            Self::Boolean(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// A table, in file order.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) key: Span,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.name == name)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.name == name)?;
        Some(self.entries.remove(index))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The table under a name, where there is one.
    pub(super) fn table(&self, name: &str) -> Option<&Self> {
        self.get(name).and_then(|entry| entry.node.table())
    }
}

impl Node {
    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Where the value at a path stands, or the nearest thing above it that does.
    pub(super) fn locate(&self, path: &KeyPath) -> Span {
        let mut node = self;
        for segment in &path.0 {
            let Some(next) = node.step(segment) else { break };
            node = next;
        }
        node.span
    }

    /// The text at a path, as it stands in the file.
    fn raw(&self, path: &KeyPath) -> Option<&str> {
        let mut node = self;
        for segment in &path.0 {
            node = node.step(segment)?;
        }
        match &node.value {
            Value::Text(raw) => Some(raw),
            _ => None,
        }
    }

    /// A value for a message: as it stands in the file where it was interpolated, because what came from outside is not shown.
    pub(super) fn shown(&self, path: &KeyPath, value: impl fmt::Display) -> String {
        let raw = self.raw(path).filter(|raw| raw.contains("${"));
        raw.map_or_else(|| value.to_string(), ToOwned::to_owned).escape_debug().to_string()
    }

    fn step(&self, segment: &Segment) -> Option<&Self> {
        match (&self.value, segment) {
            (Value::Table(table), Segment::Key(name)) => table.get(name).map(|entry| &entry.node),
            (Value::List(list), Segment::Index(index)) => list.get(*index),
            _ => None,
        }
    }

    /// Calls for every key and value below, the node included.
    pub(super) fn visit(&self, each: &mut impl FnMut(Span)) {
        each(self.span);
        match &self.value {
            Value::Table(table) => table.entries.iter().for_each(|entry| {
                each(entry.key);
                entry.node.visit(each);
            }),
            Value::List(list) => list.iter().for_each(|node| node.visit(each)),
            _ => (),
        }
    }
}

/// The way to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl KeyPath {
    /// The path of these keys, from the root.
    pub(super) fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.into_iter().map(|key| Segment::Key(key.to_owned())).collect())
    }

    pub(super) fn key(&self, name: &str) -> Self {
        self.with(Segment::Key(name.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            let dot = if position > 0 { "." } else { "" };
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(name) if is_bare(name) => write!(f, "{dot}{name}")?,
                Segment::Key(name) => write!(f, "{dot}{name:?}")?,
            }
        }
        Ok(())
    }
}

fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Parses a text.
///
/// # Errors
/// Everything that is no TOML. What else may be wrong shows once the text parses: guesses about half a table only confuse.
pub(super) fn parse(text: &Text) -> Result<Node, Vec<Problem>> {
    let (root, errors) = DeTable::parse_recoverable(text.content());
    if errors.is_empty() {
        let root = convert_table(root.get_ref());
        return Ok(Node { span: Span::default(), value: Value::Table(root) });
    }
    Err(causes(text, errors.iter().map(|error| syntax_problem(text, error))))
}

/// The problems without those that only follow from one before: one slip makes the parser stumble several times on a line, and each key
/// of a table that stands twice may stand twice as well.
fn causes(text: &Text, all: impl Iterator<Item = Problem>) -> Vec<Problem> {
    let mut causes: Vec<Problem> = Vec::new();
    let mut told_up_to = 0;
    for problem in all {
        let offset = problem.span.map_or(0, |span| span.offset);
        if offset < told_up_to && !causes.is_empty() {
            continue;
        }
        let rest = text.content().get(offset..).unwrap_or_default();
        let end = if problem.code == Code::DuplicateKey && problem.earlier.is_some() { "\n[" } else { "\n" };
        told_up_to = offset + rest.find(end).unwrap_or(rest.len()) + 1;
        causes.push(problem);
    }
    causes
}

fn syntax_problem(text: &Text, error: &toml::de::Error) -> Problem {
    let span = text.clamp(error.span().map_or(Span { offset: text.content().len(), length: 0 }, Span::from));
    if error.message() == "duplicate key" {
        return duplicate_problem(text, span);
    }
    let message = match error.message() {
        unclosed if unclosed.starts_with("invalid") && unclosed.ends_with("expected `\"`") => "a string is opened and not closed",
        other => other,
    };
    Problem::new(Code::SyntaxError, message).at(span).help("the rest is read once this is TOML; its grammar: https://toml.io")
}

fn duplicate_problem(text: &Text, span: Span) -> Problem {
    let name = text.content().get(span.offset..span.end()).unwrap_or_default();
    let line_of = |offset: usize| {
        let start = text.content().get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        text.content().get(start..).and_then(|rest| rest.lines().next()).map(|line| (start, line.trim()))
    };
    let header = line_of(span.offset).filter(|(_, line)| line.starts_with('['));
    let earlier = header.and_then(|(start, line)| {
        let mut offset = 0;
        text.content().split_inclusive('\n').find_map(|other| {
            let place = offset;
            offset += other.len();
            (place < start && other.trim() == line).then_some(Span { offset: place, length: line.len() })
        })
    });
    Problem::new(Code::DuplicateKey, format!("`{name}` stands in the file twice"))
        .at(span)
        .earlier(earlier, "here first")
        .help("a table or key may be written once: put the two together, or rename one")
}

fn convert_table(table: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            name: key.get_ref().to_string(),
            key: key.span().into(),
            node: Node { span: value.span().into(), value: convert(value.get_ref()) },
        })
        .collect();
    // The parser sorts by name; people read in file order. A table that was first mentioned by a table inside it stands there.
    entries.sort_by_key(Entry::first_offset);
    Table { entries }
}

impl Entry {
    fn first_offset(&self) -> usize {
        let mut first = self.key.offset;
        self.node.visit(&mut |span| first = first.min(span.offset));
        first
    }
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok()),
        DeValue::Float(float) => Value::Decimal(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => {
            Value::List(list.iter().map(|node| Node { span: node.span().into(), value: convert(node.get_ref()) }).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_in_file_order_and_numbers_keep_their_value() {
        let text = Text::new("t.toml", "z = 0x1_0\na.b = 1.5\n[m]\n[c.y]\n[c]\nx = 99999999999999999999\n");
        let root = parse(&text).unwrap();
        let names: Vec<&str> = root.table().unwrap().names().collect();
        assert_eq!(names, ["z", "a", "m", "c"]);
        assert!(matches!(root.table().unwrap().get("z").unwrap().node.value, Value::Integer(Some(16))));
        assert!(matches!(root.table().unwrap().table("c").unwrap().get("x").unwrap().node.value, Value::Integer(None)));
    }

    #[test]
    fn a_text_of_endless_depth_is_an_error_and_no_crash() {
        for text in [
            format!("a = {}", "[".repeat(100_000)),
            format!("{}a = 1", "a.".repeat(100_000)),
            format!("[{}a]", "a.".repeat(100_000)),
        ] {
            assert!(parse(&Text::new("t.toml", text)).is_err());
        }
    }

    #[test]
    fn a_path_quotes_what_is_no_bare_key() {
        assert_eq!(KeyPath::of(["sinks", "a b"]).index(2).key("c").to_string(), "sinks.\"a b\"[2].c");
    }
}
