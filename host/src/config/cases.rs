//! `[[test]]`: messages that go through the real steps when the file is checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;

use super::field::Field;
use super::json;
use super::plan::{Expect, Expected, TestCase};
use super::problem::{Code, Problem};
use super::reader::{OPTIONAL, Reader};
use super::tree::Value;
use crate::message::Pointer;

const OUTCOMES: &str = "one of `expect.deliver = [\"sink\"]`, `expect.dead_letter = { step = \"…\" }` and `expect.drop = true`";

/// Reads the test cases, in file order.
pub(super) fn read(file: &Reader<'_>) -> Vec<TestCase> {
    let Some(field) = file.key("test", "none") else { return Vec::new() };
    let cases = field.list("a list of tables", "write `[[test]]`").unwrap_or_default();
    cases.iter().filter_map(|field| field.table("write `[[test]]`", |table| case(field, table)).flatten()).collect()
}

fn case(field: &Field<'_>, table: &Reader<'_>) -> Option<TestCase> {
    let name = table.required("name", "a sentence that says what must happen").and_then(|field| field.short_text(200));
    let input = input(table);
    let message_id = table.key("message_id", "none").and_then(|field| field.short_text(255));
    let expect = table.required("expect", OUTCOMES);
    let expect = expect.and_then(|field| field.table(OUTCOMES, |table| expectation(&field, table)).flatten());
    Some(TestCase { name: name?, input: input?, message_id, expect: expect?, span: field.node.span.into() })
}

fn input(table: &Reader<'_>) -> Option<Vec<u8>> {
    let text = table.key("input", OPTIONAL);
    let encoded = table.key("input_base64", OPTIONAL);
    match (text, encoded) {
        (Some(_), Some(_)) => {
            table.refuse("input_base64", "`input` and `input_base64` exclude each other");
            None
        }
        (Some(field), None) => field.text().map(String::into_bytes),
        (None, Some(field)) => {
            let decoded = BASE64.decode(field.text()?.trim()).ok();
            if decoded.is_none() {
                field.note(Code::BadBase64, format!("`{}` is no base64", field.path), "`base64 -w0 FILE` prints it");
            }
            decoded
        }
        (None, None) => {
            table.note_missing("input", "the body as text, or `input_base64` for bytes that are no text");
            None
        }
    }
}

fn expectation(field: &Field<'_>, table: &Reader<'_>) -> Option<Expect> {
    let deliver = table.key("deliver", OPTIONAL);
    let dead_letter = table.key("dead_letter", OPTIONAL);
    let drop = table.key("drop", OPTIONAL);
    match (deliver, dead_letter, drop) {
        (Some(field), None, None) => deliveries(&field),
        (None, Some(field), None) => field.table("write `{ step = \"…\" }`", self::dead_letter).flatten(),
        (None, None, Some(field)) => match field.boolean()? {
            true => Some(Expect::Drop),
            false => {
                field.note(Code::EmptyExpectation, "`expect.drop = false` expects nothing", OUTCOMES);
                None
            }
        },
        (None, None, None) if table.has_others() => None,
        (None, None, None) => {
            field.note(Code::EmptyExpectation, "the test case expects nothing", OUTCOMES);
            None
        }
        _ => {
            field.note(Code::ConflictingKeys, "a test case expects one outcome", OUTCOMES);
            None
        }
    }
}

fn deliveries(field: &Field<'_>) -> Option<Expect> {
    let mut sinks: BTreeMap<Arc<str>, Vec<(Pointer, Expected)>> = BTreeMap::new();
    match &field.node.value {
        Value::Table(_) => {
            for (name, sink) in field.members() {
                let help = format!("write `expect.deliver.{name} = {{ \"/pointer\" = \"value\" }}`");
                if sink.node.table().is_none() {
                    sink.note_wrong_type("a table of comparisons", &help);
                }
                let comparisons = sink.members().into_iter().filter_map(|(pointer, value)| comparison(pointer, &value));
                sinks.insert(name.into(), comparisons.collect());
            }
        }
        Value::List(_) => sinks.extend(field.names()?.into_iter().map(|name| (name, Vec::new()))),
        _ => field.note_wrong_type("a list of sinks, or a table", OUTCOMES),
    }
    if sinks.is_empty() && field.is_empty() {
        field.note(Code::EmptyExpectation, "`expect.deliver` names no sink", "name the sinks that the message must reach");
    }
    Some(Expect::Deliver(sinks))
}

fn comparison(pointer: &str, field: &Field<'_>) -> Option<(Pointer, Expected)> {
    let Ok(place) = pointer.parse::<Pointer>() else {
        let problem = Problem::new(Code::BadPointer, format!("`{}` is no JSON pointer", pointer.escape_debug()));
        let near = format!("/{}", pointer.replace('.', "/"));
        field.context.note(problem.at(field.key).path(&field.path).suggest(Some(near)));
        return None;
    };
    let single = field.members();
    let expected = match single.as_slice() {
        [("sealed", only)] if only.is_true() => Expected::Sealed,
        [("missing", only)] if only.is_true() => Expected::Missing,
        _ => Expected::Value(json::value(field)),
    };
    Some((place, expected))
}

fn dead_letter(table: &Reader<'_>) -> Option<Expect> {
    let step = table.required("step", "the step that rejects the message").and_then(|field| field.text());
    let code = table.key("code", OPTIONAL).and_then(|field| field.short_text(64));
    let pointer = table.key("pointer", OPTIONAL).and_then(|field| field.pointer());
    Some(Expect::DeadLetter { step: step?.into(), code, pointer })
}
