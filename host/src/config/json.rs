//! Values of the file as JSON: for what has a meaning outside of the host, such as a plugin's settings.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};

use super::field::Field;
use super::problem::Code;
use super::tree::Value;

type Spans = BTreeMap<String, (usize, usize)>;

/// A table as a JSON object; `spans` gets the place of each value by JSON pointer.
pub(super) fn object(field: &Field<'_>, spans: &mut Spans) -> Option<Json> {
    if field.node.table().is_none() {
        field.note_wrong_type("a table", &format!("write `[{}]`, or `{{ key = value }}`", field.path));
        return None;
    }
    Some(convert(field, "", spans))
}

/// Any value as JSON; `null` where it cannot be.
pub(super) fn value(field: &Field<'_>) -> Json {
    convert(field, "", &mut Spans::new())
}

fn convert(field: &Field<'_>, pointer: &str, spans: &mut Spans) -> Json {
    spans.insert(pointer.to_owned(), field.node.span.into());
    match &field.node.value {
        Value::Text(_) => field.text().map_or(Json::Null, Json::String),
        Value::Integer(Some(integer)) => Json::from(*integer),
        Value::Integer(None) => {
            field.note(Code::OutOfRange, format!("`{}` does not fit 64 bits", field.path), "write it as a string");
            Json::Null
        }
        Value::Decimal(decimal) => Number::from_f64(*decimal).map_or_else(
            || {
                field.note(Code::OutOfRange, format!("`{}` is not finite", field.path), "JSON has no word for it");
                Json::Null
            },
            Json::Number,
        ),
        Value::Boolean(boolean) => Json::Bool(*boolean),
        Value::Date(date) => Json::String(date.clone()),
        Value::List(_) => Json::Array(
            field
                .elements()
                .iter()
                .enumerate()
                .map(|(index, element)| convert(element, &format!("{pointer}/{index}"), spans))
                .collect(),
        ),
        Value::Table(_) => Json::Object(members(field, pointer, spans)),
    }
}

fn members(field: &Field<'_>, pointer: &str, spans: &mut Spans) -> Map<String, Json> {
    let member = |(name, member): (&str, Field<'_>)| {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        (name.to_owned(), convert(&member, &format!("{pointer}/{escaped}"), spans))
    };
    field.members().into_iter().map(member).collect()
}
