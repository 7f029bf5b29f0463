//! Why a row is refused: by SQLite's code and the column that it names, without the value.

use std::borrow::Cow;

use crate::message::Reason;
use crate::sink::columns::{Column, Value};
use crate::sqlite_file::{blames_the_row, code_name, result_code};

/// Codes whose text is SQLite's own. Others may be a trigger's, who may quote a value.
const SPOKEN_BY_SQLITE: [i32; 7] = [275, 787, 1299, 1555, 2067, 2579, 3091];

/// The reason, where the error is a row's fault.
pub(super) fn of(error: &sqlx::Error, columns: &[Column]) -> Option<Reason> {
    let code = result_code(error).filter(|code| blames_the_row(*code))?;
    let words = error.as_database_error().map(|error| error.message()).filter(|_| SPOKEN_BY_SQLITE.contains(&code));
    let message =
        words.map_or_else(|| "the database refuses the row".to_owned(), |words| format!("the database refuses the row: {words}"));
    let reason = Reason { code: Cow::Owned(code_name(code)), message, pointer: None };
    let column = words.and_then(|words| words.rsplit(['.', ' ']).next());
    match columns.iter().find(|candidate| Some(candidate.name.as_str()) == column).map(|column| &column.value) {
        Some(Value::Pointer { pointer, .. }) => Some(reason.at(pointer)),
        _ => Some(reason),
    }
}
