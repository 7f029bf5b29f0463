//! `[sinks.NAME.KIND.columns]`: which column takes what.

use super::field::Field;
use super::problem::{Code, Problem, nearest};
use super::reader::{OPTIONAL, Reader};
use super::sinks::MAX_NAME_BYTES;
use super::tree;
use crate::message::Pointer;
use crate::sink::columns::{Column, Value};

/// The metadata that every source gives, beside `header:NAME`.
const METADATA: [&str; 12] = [
    "message-id",
    "correlation-id",
    "content-type",
    "content-encoding",
    "timestamp",
    "type",
    "app-id",
    "user-id",
    "reply-to",
    "routing-key",
    "exchange",
    "source",
];
const FORMS: &str = "write \"/pointer\", or one of { pointer = \"/…\", default = \"…\" }, { metadata = \"…\" }, { constant = \"…\" }, \
                     { sealed = \"/…\" }, { key_id = \"/…\" }";

/// Reads the columns, in file order.
pub(super) fn read(kind: &Reader<'_>) -> Vec<Column> {
    kind.declare("columns", "required");
    let columns = kind.named("columns", "COLUMN", |name, field| {
        let well = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0');
        if !well {
            field.note(Code::BadName, "this is no name of a column", format!("1 to {MAX_NAME_BYTES} bytes"));
        }
        Some(Column { name: name.to_string(), value: value(field)? })
    });
    check_columns(kind, &columns);
    columns
}

fn check_columns(kind: &Reader<'_>, columns: &[Column]) {
    if !kind.has_entries("columns") {
        let path = kind.path().key("columns");
        let problem = Problem::new(Code::NoColumns, format!("`{path}` maps no column")).path(&path);
        let problem = match kind.key_span("columns") {
            Some(span) => problem.at(span),
            None => kind.placed(problem),
        };
        kind.note(problem.help(format!("say which column takes what, e.g. `[{path}]` and `id = \"/id\"`")));
    }
    for (index, column) in columns.iter().enumerate() {
        let twin = columns.iter().take(index).find(|other| other.name.eq_ignore_ascii_case(&column.name));
        if let Some(twin) = twin {
            let path = kind.path().key("columns").key(&column.name);
            let problem = Problem::new(Code::DuplicateKey, format!("`{}` and `{}` differ by case alone", twin.name, column.name));
            kind.note(kind.placed(problem.path(path)).help("databases take them for one column: drop one"));
        }
    }
}

fn value(field: &Field<'_>) -> Option<Value> {
    match &field.node.value {
        tree::Value::Text(_) => Some(Value::Pointer { pointer: field.pointer()?, default: None }),
        tree::Value::Table(_) => field.table("", |table| inline(field, table)).flatten(),
        _ => {
            field.note_wrong_type("a JSON pointer or a table", FORMS);
            None
        }
    }
}

fn inline(field: &Field<'_>, table: &Reader<'_>) -> Option<Value> {
    let default = table.key("default", OPTIONAL);
    let pointer = table.key("pointer", OPTIONAL);
    let metadata = table.key("metadata", OPTIONAL);
    let constant = table.key("constant", OPTIONAL);
    let sealed = table.key("sealed", OPTIONAL);
    let key_id = table.key("key_id", OPTIONAL);
    let named = [&pointer, &metadata, &constant, &sealed, &key_id].into_iter().flatten().count();
    if named != 1 {
        let code = if named == 0 { Code::MissingKey } else { Code::ConflictingKeys };
        if named > 0 || !table.has_others() {
            field.note(code, format!("`{}` must say one thing, says {named}", field.path), FORMS);
        }
        return None;
    }
    if pointer.is_none() {
        table.refuse("default", "`default` is only for `pointer`");
    }
    let place = |field: Field<'_>| field.pointer();
    pointer
        .and_then(place)
        .map(|pointer| Value::Pointer { pointer, default: default.and_then(|field| field.text()) })
        .or_else(|| metadata.and_then(|field| self::metadata(&field)))
        .or_else(|| constant.and_then(|field| field.text()).map(|text| Value::Constant { text }))
        .or_else(|| sealed.and_then(place).map(|pointer| Value::IsSealed { pointer }))
        .or_else(|| key_id.and_then(place).map(|pointer| Value::KeyId { pointer }))
}

fn metadata(field: &Field<'_>) -> Option<Value> {
    let key = field.short_text(255 + "header:".len())?;
    let known = METADATA.contains(&key.as_str()) || key.strip_prefix("header:").is_some_and(|name| !name.is_empty());
    if !known {
        let problem = field.problem(Code::UnknownValue, format!("`{}` names no metadata", field.path));
        let help = format!("one of {}, and `header:NAME`", METADATA.map(|key| format!("`{key}`")).join(", "));
        field.context.note(problem.suggest(nearest(&key, METADATA)).help(help));
    }
    known.then_some(Value::Metadata { key })
}

/// The pointer that a column takes from the body, as it is.
pub(super) fn body_pointer(column: &Column) -> Option<&Pointer> {
    match &column.value {
        Value::Pointer { pointer, .. } => Some(pointer),
        _ => None,
    }
}
