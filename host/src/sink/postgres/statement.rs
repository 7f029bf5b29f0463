//! The one statement that stores a batch, as text. Values never stand in it: they travel as one array a column.

use std::fmt::Write;

use super::table::Table;
use crate::source::StageError;

/// A name as SQL wants it, whatever stands in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table of the settings, `name` or `schema.name`, quoted.
pub(super) fn quoted_table(table: &str) -> Result<String, StageError> {
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || part.contains('\0')) {
        let message = format!("`table` is written `name` or `schema.name`, and {table:?} is neither");
        return Err(StageError { code: "settings".into(), message, needs_operator: true });
    }
    Ok(parts.into_iter().map(quoted).collect::<Vec<_>>().join("."))
}

/// Stores the rows in the order of the arrays.
pub(super) fn insert(table: &Table, idempotent_by: Option<&str>) -> String {
    let columns = || table.columns.iter();
    let names = joined(columns().map(|column| quoted(&column.name)));
    let values = joined(columns().enumerate().map(|(index, column)| column.cast(&format!("u.c{index}"))));
    let arrays = joined((1..=table.columns.len()).map(|index| format!("${index}::text[]")));
    let aliases = joined((0..table.columns.len()).map(|index| format!("c{index}")));
    let mut sql = format!(
        "INSERT INTO {} ({names}) SELECT {values} FROM UNNEST({arrays}) WITH ORDINALITY AS u({aliases}, row_number) ORDER BY u.row_number",
        table.name
    );
    if let Some(column) = idempotent_by {
        // Writing to a String cannot fail.
        write!(sql, " ON CONFLICT ({}) DO NOTHING", quoted(column)).expect("a String takes any text");
    }
    sql
}

fn joined(pieces: impl Iterator<Item = String>) -> String {
    pieces.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::postgres::table::Column;

    fn table() -> Table {
        let column = |name: &str, type_name: &str, is_bytea| Column {
            name: name.into(),
            type_name: type_name.into(),
            is_bytea,
            longest: None,
        };
        let columns =
            vec![column("id", "character varying", false), column("a\"; --", "bytea", true), column("at", "jsonb", false)];
        Table { name: "\"public\".\"messages\"".into(), columns }
    }

    #[test]
    fn a_batch_is_one_statement_whatever_its_size() {
        insta::assert_snapshot!(insert(&table(), Some("id")), @r#"INSERT INTO "public"."messages" ("id", "a""; --", "at") SELECT u.c0::character varying, convert_to(u.c1, 'UTF8'), u.c2::jsonb FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u(c0, c1, c2, row_number) ORDER BY u.row_number ON CONFLICT ("id") DO NOTHING"#);
    }

    #[test]
    fn without_an_id_nothing_is_a_conflict() {
        assert!(!insert(&table(), None).contains("CONFLICT"));
    }

    #[test]
    fn a_table_name_cannot_leave_its_quotes() {
        assert_eq!(quoted_table("messages").ok().as_deref(), Some(r#""messages""#));
        assert_eq!(quoted_table("audit.Messages").ok().as_deref(), Some(r#""audit"."Messages""#));
        let injected = quoted_table(r#"messages"; DROP TABLE messages; --"#);
        assert_eq!(injected.ok().as_deref(), Some(r#""messages""; DROP TABLE messages; --""#));
        for wrong in ["", "a.", ".a", "a.b.c", "a\0"] {
            assert!(quoted_table(wrong).is_err(), "{wrong:?}");
        }
    }
}
