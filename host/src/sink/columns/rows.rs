//! Rows out of messages: the columns' values of a whole batch, column by column, and the messages that can never be a row.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Column, Value};
use crate::message::{Fields, Found, Message, Place, Pointer, Reason, SealedField};
use crate::source::StageError;

/// The columns of one sink, ready to be filled from many messages.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<Filled>,
    /// Every pointer that a column reads, looked up in one pass.
    fields: Fields,
}

/// One column, and what it needs of a message.
#[derive(Clone, Debug)]
struct Filled {
    column: Column,
    /// Which of the fields is the column's value; only for a column that reads the body.
    field: Option<usize>,
    must_be_sealed: bool,
}

/// The rows of a batch.
#[derive(Debug, Default)]
pub struct Rows<'a> {
    /// Which message of the batch each row came from, ascending.
    pub messages: Vec<usize>,
    /// Per column one value a row, `None` for NULL.
    pub values: Vec<Vec<Option<Cow<'a, str>>>>,
    /// The messages that can never be a row, by ascending index, and why.
    pub refused: Vec<(usize, Reason)>,
}

impl Rows<'_> {
    /// One row's values in the order of the columns; empty past the last row.
    pub fn row(&self, index: usize) -> impl Iterator<Item = Option<&str>> {
        self.values.iter().filter_map(move |column| column.get(index)).map(Option::as_deref)
    }
}

impl Columns {
    /// Prepares the columns. `require_sealed` names those whose field must be sealed.
    ///
    /// # Errors
    /// Fails when `require_sealed` names what is no column, or one that takes no field of the body: nothing could then hold it back.
    pub fn new(columns: &[Column], require_sealed: &[String]) -> Result<Self, StageError> {
        let guarded = |name: &String| columns.iter().any(|column| column.name == *name && column.value.pointer().is_some());
        if let Some(name) = require_sealed.iter().find(|name| !guarded(name)) {
            let message = format!("`require_sealed` names {name:?}, which is no column that takes a field of the body");
            return Err(StageError { code: "settings".into(), message, needs_operator: true });
        }
        let mut indexes = 0..;
        let prepare = |column: &Column| Filled {
            field: column.value.pointer().and_then(|_| indexes.next()),
            must_be_sealed: require_sealed.contains(&column.name),
            column: column.clone(),
        };
        let filled: Vec<Filled> = columns.iter().map(prepare).collect();
        Ok(Self { columns: filled, fields: Fields::new(columns.iter().filter_map(|column| column.value.pointer())) })
    }

    /// Names of the columns, in the order of [`Rows::values`].
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|column| column.column.name.as_str())
    }

    /// Which columns nearly always have one value for all rows of a batch, in the order of [`Rows::values`].
    pub fn are_common(&self) -> impl Iterator<Item = bool> {
        self.columns.iter().map(|column| column.column.value.is_common())
    }

    /// Where a column's value comes from in the body; none for a column that does not read it.
    #[must_use]
    pub fn pointer(&self, name: &str) -> Option<&Pointer> {
        self.columns.iter().find(|column| column.column.name == name).and_then(|column| column.column.value.pointer())
    }

    /// The rows of a batch. A message that can be no row is refused, and the others are not held up by it.
    #[must_use]
    pub fn rows<'a>(&'a self, batch: &'a [Message]) -> Rows<'a> {
        let mut rows = Rows {
            messages: Vec::with_capacity(batch.len()),
            values: self.columns.iter().map(|_| Vec::with_capacity(batch.len())).collect(),
            refused: Vec::new(),
        };
        let mut row = Vec::with_capacity(self.columns.len());
        let mut finder = Finder { fields: &self.fields, known: None, places: Vec::new(), found: Vec::new() };
        for (index, message) in batch.iter().enumerate() {
            match finder.find(message).and_then(|found| self.fill(message, found, &mut row)) {
                Ok(()) => {
                    rows.messages.push(index);
                    rows.values.iter_mut().zip(row.drain(..)).for_each(|(column, value)| column.push(value));
                }
                Err(reason) => rows.refused.push((index, reason)),
            }
        }
        rows
    }

    /// Fills `row` with the values of one message, in which `found` are the JSON texts of the fields.
    fn fill<'a>(
        &'a self,
        message: &'a Message,
        found: &[Option<&'a str>],
        row: &mut Vec<Option<Cow<'a, str>>>,
    ) -> Result<(), Reason> {
        row.clear();
        for column in &self.columns {
            row.push(column.value(message, found)?);
        }
        Ok(())
    }
}

/// Finds the fields of one message after the other.
struct Finder<'f, 'a> {
    fields: &'f Fields,
    /// Where the outlines that the messages bring have these fields; none where they do not have all of them.
    known: Option<(&'a Arc<Fields>, Option<Vec<usize>>)>,
    places: Vec<Place>,
    found: Found<'a>,
}

impl<'a> Finder<'_, 'a> {
    fn find(&mut self, message: &'a Message) -> Result<&[Option<&'a str>], Reason> {
        self.found.clear();
        if self.fields.pointers().is_empty() {
            return Ok(&self.found);
        }
        let outline = message.outline.as_ref().inspect(|outline| self.know(outline.fields()));
        match outline.zip(self.known.as_ref().and_then(|(_, indexes)| indexes.as_deref())) {
            Some((outline, indexes)) => self.found.extend(indexes.iter().map(|index| outline.text(&message.body, *index))),
            None => {
                self.places.clear();
                let text = self.fields.locate(&message.body, &mut self.places).map_err(|error| not_json(&error))?;
                self.found.extend(self.places.drain(..).map(|place| text.get(place?)));
            }
        }
        Ok(&self.found)
    }

    /// Nearly always all messages of a batch bring the same.
    fn know(&mut self, fields: &'a Arc<Fields>) {
        if self.known.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, fields)) {
            self.known = Some((fields, fields.indexes(self.fields.pointers())));
        }
    }
}

impl Filled {
    /// The value, without what no database can hold.
    fn value<'a>(&'a self, message: &'a Message, found: &[Option<&'a str>]) -> Result<Option<Cow<'a, str>>, Reason> {
        let value = match &self.column.value {
            Value::Pointer { pointer, default } => {
                if self.must_be_sealed && seal_of(message, pointer).is_none() {
                    return Err(self.about("not_sealed", "must be sealed, and the host has not seen it sealed"));
                }
                let raw = self.field.and_then(|index| *found.get(index)?);
                let value =
                    raw.map(text_of).transpose().map_err(|()| self.about("lone_surrogate", "holds half a surrogate pair"))?;
                match value.flatten() {
                    // What stands in a JSON text as it is holds no control character.
                    Some(Cow::Borrowed(text)) => return Ok(Some(Cow::Borrowed(text))),
                    other => other.or(default.as_deref().map(Cow::Borrowed)),
                }
            }
            Value::Metadata { key } if key == "message-id" => message.id.as_ref().map(|id| Cow::Borrowed(id.as_str())),
            Value::Metadata { key } => message.properties.get(key),
            Value::Constant { text } => Some(Cow::Borrowed(&**text)),
            Value::IsSealed { pointer } => {
                Some(Cow::Borrowed(if seal_of(message, pointer).is_some() { "true" } else { "false" }))
            }
            Value::KeyId { pointer } => seal_of(message, pointer).map(|seal| Cow::Borrowed(&*seal.key_id)),
        };
        if value.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(self.about("nul_not_storable", "holds U+0000, which the database cannot store"));
        }
        Ok(value)
    }

    /// A reason about this column's value.
    fn about(&self, code: &'static str, what: &str) -> Reason {
        let reason = Reason::new(code, format!("the value of column {:?} {what}", self.column.name));
        match self.column.value.pointer() {
            Some(pointer) => reason.at(pointer),
            None => reason,
        }
    }
}

fn seal_of<'a>(message: &'a Message, pointer: &Pointer) -> Option<&'a SealedField> {
    message.sealed.iter().find(|seal| seal.pointer == *pointer)
}

/// The text of a JSON string, the JSON text of anything else, nothing for `null`. Fails on half a surrogate pair, the one thing that
/// a well-formed JSON string may say and no text can hold.
fn text_of(text: &str) -> Result<Option<Cow<'_, str>>, ()> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok((text != "null").then_some(Cow::Borrowed(text)));
    };
    if !inner.contains('\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    serde_json::from_str::<String>(text).map(|text| Some(Cow::Owned(text))).map_err(|_| ())
}

fn not_json(error: &serde_json::Error) -> Reason {
    // The parser's own words may quote a key, hence only the place.
    Reason::new("not_json", format!("the body is no JSON text (line {}, column {})", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::{MessageId, NoProperties, Outline, Outlines, Properties};

    fn pointer(text: &str) -> Pointer {
        text.parse().expect("a pointer")
    }

    fn column(name: &str, value: Value) -> Column {
        Column { name: name.to_owned(), value }
    }

    fn at(name: &str, text: &str) -> Column {
        column(name, Value::Pointer { pointer: pointer(text), default: None })
    }

    fn message(body: &'static str) -> Message {
        Message::new(None, Bytes::from_static(body.as_bytes()), Arc::new(NoProperties))
    }

    fn first_row(columns: &[Column], message: Message) -> Result<Vec<Option<String>>, Reason> {
        let columns = Columns::new(columns, &[]).expect("columns");
        let batch = [message];
        let mut rows = columns.rows(&batch);
        match rows.refused.pop() {
            Some((_, reason)) => Err(reason),
            None => Ok(rows.row(0).map(|value| value.map(str::to_owned)).collect()),
        }
    }

    fn code(columns: &[Column], body: &'static str) -> (String, Option<String>) {
        let reason = first_row(columns, message(body)).expect_err("refused");
        (reason.code.into_owned(), reason.pointer)
    }

    #[test]
    fn a_string_gives_its_text_and_anything_else_its_json_as_it_stands() {
        let columns = [at("a", "/a"), at("b", "/b"), at("c", "/c"), at("d", "/d"), at("e", "/e")];
        let body = r#"{"a":"x\"\u0041\n😀","b":{"k": [1,  2]},"c":1.50,"d":"","e":true}"#;
        let row = first_row(&columns, message(body)).expect("a row");
        let expected = ["x\"A\n😀", r#"{"k": [1,  2]}"#, "1.50", "", "true"];
        assert_eq!(row, expected.map(|text| Some(text.to_owned())));
    }

    #[test]
    fn a_body_whose_outline_has_every_field_is_not_read_again() {
        let columns = [at("a", "/a"), at("b", "/b")];
        let outlined = |pointers: &[&str]| {
            let pointers: Vec<Pointer> = pointers.iter().map(|text| pointer(text)).collect();
            // Of another body of this length, so that it shows who was asked.
            let mut outlines = Outlines::with_capacity(&Arc::new(Fields::new(&pointers)), 1);
            let number = outlines.read(br#"{"b":"x","a":"y"}"#).expect("JSON");
            let outline = Outline::new(&Arc::new(outlines), number);
            Message { outline: Some(outline), ..message(r#"{"a":"x","b":"y"}"#) }
        };
        let row = |a: &str, b: &str| Ok(vec![Some(a.to_owned()), Some(b.to_owned())]);
        assert_eq!(first_row(&columns, outlined(&["/none", "/b", "/a"])), row("y", "x"));
        assert_eq!(first_row(&columns, outlined(&["/a"])), row("x", "y"));
    }

    #[test]
    fn what_is_missing_or_null_is_the_default_or_null() {
        let with_default = Value::Pointer { pointer: pointer("/n"), default: Some("MainServer".into()) };
        let columns = [column("n", with_default), at("m", "/n"), at("o", "/message/none")];
        for body in ["{}", r#"{"n":null}"#] {
            assert_eq!(first_row(&columns, message(body)), Ok(vec![Some("MainServer".into()), None, None]), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_refused_without_its_content() {
        let reason = first_row(&[at("a", "/a")], message("{\"a\": secret}")).expect_err("refused");
        assert_eq!((reason.code.as_ref(), reason.message.contains("secret")), ("not_json", false));
    }

    #[test]
    fn a_body_that_no_column_reads_need_not_be_json() {
        let columns = [column("c", Value::Constant { text: "x".into() })];
        assert_eq!(first_row(&columns, message("\u{1}")), Ok(vec![Some("x".into())]));
    }

    #[test]
    fn what_no_database_can_hold_is_refused_with_its_pointer() {
        let columns = [at("content", "/message/content")];
        let refused = |code: &str| (code.to_owned(), Some("/message/content".to_owned()));
        assert_eq!(code(&columns, r#"{"message":{"content":"a\u0000b"}}"#), refused("nul_not_storable"));
        assert_eq!(code(&columns, r#"{"message":{"content":"\ud800"}}"#), refused("lone_surrogate"));
        let with_default = Value::Pointer { pointer: pointer("/message/content"), default: Some("a\0b".into()) };
        assert_eq!(code(&[column("content", with_default)], "{}"), refused("nul_not_storable"));
    }

    #[test]
    fn an_escaped_nul_inside_json_text_is_kept() {
        let row = first_row(&[at("o", "/o")], message(r#"{"o":{"a":"\u0000"}}"#));
        assert_eq!(row, Ok(vec![Some(r#"{"a":"\u0000"}"#.into())]));
    }

    #[test]
    fn one_refusal_leaves_the_other_rows_in_order() {
        let columns = Columns::new(&[at("id", "/id")], &[]).expect("columns");
        let batch = [r#"{"id":"0"}"#, "", r#"{"id":"2"}"#, r#"{"id":"\u0000"}"#, r#"{"id":"4"}"#].map(message);
        let rows = columns.rows(&batch);
        assert_eq!(rows.messages, [0, 2, 4]);
        assert_eq!(rows.values, [["0", "2", "4"].map(|id| Some(Cow::Borrowed(id)))]);
        assert_eq!(rows.refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
    }

    #[derive(Debug)]
    struct Routed;

    impl Properties for Routed {
        fn get(&self, key: &str) -> Option<Cow<'_, str>> {
            (key == "routing-key").then_some(Cow::Borrowed("orders"))
        }
    }

    #[test]
    fn metadata_and_the_message_id_come_from_beside_the_body() {
        let metadata = |key: &str| Value::Metadata { key: key.into() };
        let columns = [column("m", metadata("message-id")), column("r", metadata("routing-key")), column("x", metadata("none"))];
        let routed = |id| Message::new(id, Bytes::new(), Arc::new(Routed));
        assert_eq!(first_row(&columns, routed(MessageId::new("m-1"))), Ok(vec![Some("m-1".into()), Some("orders".into()), None]));
        assert_eq!(first_row(&columns, routed(None)), Ok(vec![None, Some("orders".into()), None]));
    }

    #[test]
    fn only_what_the_host_saw_sealed_counts_as_sealed() {
        let here = || pointer("/message/content");
        let columns = [
            at("content", "/message/content"),
            column("is_encrypted", Value::IsSealed { pointer: here() }),
            column("key_id", Value::KeyId { pointer: here() }),
        ];
        let columns = Columns::new(&columns, &["content".to_owned()]).expect("columns");
        let claims = message(r#"{"message":{"content":"tg1.aes-256-gcm.k1.AAAA","is_encrypted":true}}"#);
        let mut sealed = claims.clone();
        sealed.sealed.push(SealedField { pointer: here(), key_id: "k1".into() });
        let batch = [claims, sealed];
        let rows = columns.rows(&batch);
        assert_eq!(rows.messages, [1]);
        assert_eq!(rows.row(0).skip(1).collect::<Vec<_>>(), [Some("true"), Some("k1")]);
        let (index, reason) = rows.refused.first().expect("the claim is refused");
        assert_eq!((*index, &*reason.code, reason.pointer.as_deref()), (0, "not_sealed", Some("/message/content")));
    }

    #[test]
    fn a_missing_field_that_must_be_sealed_is_refused_too() {
        let columns = Columns::new(&[at("content", "/c")], &["content".to_owned()]).expect("columns");
        assert_eq!(columns.rows(&[message("{}")]).refused.len(), 1);
    }

    #[test]
    fn require_sealed_that_guards_nothing_is_an_error() {
        let columns = [column("c", Value::Constant { text: "x".into() })];
        for name in ["c", "content"] {
            assert!(Columns::new(&columns, &[name.to_owned()]).expect_err("refused").needs_operator, "{name}");
        }
    }
}
