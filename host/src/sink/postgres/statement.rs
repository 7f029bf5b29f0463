//! The one statement that stores a batch. Values never stand in its text: they travel as one array a column, or, where all rows have the same, as
//! one value.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use sqlx::Arguments;
use sqlx::postgres::PgArguments;

use super::table::Table;
use crate::sink::columns::Rows;
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

/// The statement that stores rows, in the order of their arrays.
pub(super) struct Insert {
    pub(super) sql: Arc<str>,
    /// Of each column, whether it travels as one value for all rows instead of an array.
    is_once: Vec<bool>,
}

impl Insert {
    /// `is_once` says it of each column of the table; a statement in which all do has no rows, and so none does then.
    pub(super) fn new(table: &Table, idempotent_by: Option<&str>, mut is_once: Vec<bool>) -> Self {
        if is_once.iter().all(|once| *once) {
            is_once.fill(false);
        }
        Self { sql: sql(table, idempotent_by, &is_once).into(), is_once }
    }

    /// Whether the rows are alike where they have to be.
    pub(super) fn fits(&self, rows: &Rows<'_>, range: &Range<usize>) -> bool {
        let is_alike = |values: &[Option<Cow<'_, str>>]| values.iter().all(|value| Some(value) == values.first());
        self.columns(rows, range).all(|(values, once)| !once || is_alike(values))
    }

    /// An array or a value for each column.
    pub(super) fn arguments(&self, rows: &Rows<'_>, range: &Range<usize>) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        // Four bytes in front of each value and some twenty in front of each array: nothing has to grow, and be copied, on the way.
        let length = |value: &Option<Cow<'_, str>>| value.as_deref().map_or(0, str::len) + 4;
        let size = |(values, once): (&[_], bool)| {
            32 + values.iter().take(if once { 1 } else { values.len() }).map(length).sum::<usize>()
        };
        arguments.reserve(self.is_once.len(), self.columns(rows, range).map(size).sum());
        for (values, once) in self.columns(rows, range) {
            let added = if once { arguments.add(values.first().and_then(Option::as_deref)) } else { arguments.add(values) };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }

    /// The values of each column, and whether they travel as one.
    fn columns<'r, 'a>(
        &self,
        rows: &'r Rows<'a>,
        range: &Range<usize>,
    ) -> impl Iterator<Item = (&'r [Option<Cow<'a, str>>], bool)> {
        let values = rows.values.iter().map(|column| column.get(range.clone()).unwrap_or_default());
        values.zip(self.is_once.iter().copied())
    }
}

fn sql(table: &Table, idempotent_by: Option<&str>, is_once: &[bool]) -> String {
    let columns = || table.columns.iter().zip(is_once).enumerate();
    let each = || columns().filter(|(_, (_, once))| !**once).map(|(index, _)| index);
    let names = joined(columns().map(|(_, (column, _))| quoted(&column.name)));
    // A subquery is evaluated once for the statement, what stands beside it once for each row.
    let values = joined(columns().map(|(index, (column, once))| match once {
        true => format!("(SELECT {})", column.cast(&format!("${}::text", index + 1))),
        false => column.cast(&format!("u.c{index}")),
    }));
    let arrays = joined(each().map(|index| format!("${}::text[]", index + 1)));
    let aliases = joined(each().map(|index| format!("c{index}")));
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

    fn insert(idempotent_by: Option<&str>, is_once: [bool; 3]) -> String {
        Insert::new(&table(), idempotent_by, is_once.to_vec()).sql.to_string()
    }

    #[test]
    fn a_batch_is_one_statement_whatever_its_size() {
        insta::assert_snapshot!(insert(Some("id"), [false; 3]), @r#"INSERT INTO "public"."messages" ("id", "a""; --", "at") SELECT u.c0::character varying, convert_to(u.c1, 'UTF8'), u.c2::jsonb FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u(c0, c1, c2, row_number) ORDER BY u.row_number ON CONFLICT ("id") DO NOTHING"#);
    }

    #[test]
    fn without_an_id_nothing_is_a_conflict() {
        assert!(!insert(None, [false; 3]).contains("CONFLICT"));
    }

    #[test]
    fn a_column_that_is_the_same_for_all_rows_travels_once() {
        insta::assert_snapshot!(insert(None, [false, true, true]), @r#"INSERT INTO "public"."messages" ("id", "a""; --", "at") SELECT u.c0::character varying, (SELECT convert_to($2::text, 'UTF8')), (SELECT $3::text::jsonb) FROM UNNEST($1::text[]) WITH ORDINALITY AS u(c0, row_number) ORDER BY u.row_number"#);
        assert_eq!(insert(None, [true; 3]), insert(None, [false; 3]), "the rows must be counted by something");
    }

    #[test]
    fn rows_that_differ_in_such_a_column_do_not_fit() {
        let insert = Insert::new(&table(), None, vec![false, true, true]);
        let column = |values: [Option<&'static str>; 3]| values.map(|value| value.map(Cow::Borrowed)).to_vec();
        let values = vec![column([Some("1"), Some("2"), None]), column([None; 3]), column([Some("k1"), Some("k1"), Some("k2")])];
        let rows = Rows { messages: vec![0, 1, 2], values, refused: Vec::new() };
        assert!([0..0, 0..2, 1..2, 2..3].iter().all(|range| insert.fits(&rows, range)));
        assert!([0..3, 1..3].iter().all(|range| !insert.fits(&rows, range)));
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
