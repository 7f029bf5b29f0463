//! The table as the catalog has it, checked before anything is written to it.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::Settings;
use super::statement::{quoted, quoted_table};
use crate::source::StageError;

/// What is known of the table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its name as SQL wants it, with its schema.
    pub(super) name: String,
    /// The columns that are written, in the order of the settings.
    pub(super) columns: Vec<Column>,
}

/// One column that is written.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type without its length: a cast to `varchar(3)` would cut the text short in silence, the assignment refuses it.
    pub(super) type_name: String,
    /// Bytes take the text as it is, and not as PostgreSQL's notation for bytes.
    pub(super) is_bytea: bool,
    /// Most characters of `varchar(n)` and `char(n)`.
    pub(super) longest: Option<usize>,
}

impl Column {
    /// The expression that makes the column's type out of a text.
    pub(super) fn cast(&self, text: &str) -> String {
        if self.is_bytea { format!("convert_to({text}, 'UTF8')") } else { format!("{text}::{}", self.type_name) }
    }
}

const TABLE: &str = "
    SELECT c.oid::int8, c.relkind::text, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
           EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass($1)";

/// A domain is followed to the type under it: casting to a domain over `varchar(3)` would cut the text short too.
const COLUMNS: &str = "
    SELECT a.attname::text, pg_catalog.format_type(base.oid, -1), base.oid::int8, a.atttypmod,
           a.attgenerated::text <> '' OR a.attidentity::text = 'a',
           a.attnotnull AND NOT a.atthasdef AND a.attidentity::text = ''
    FROM pg_catalog.pg_attribute a
    CROSS JOIN LATERAL (
        WITH RECURSIVE under (oid, typtype, typbasetype) AS (
            SELECT t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
            UNION ALL
            SELECT t.oid, t.typtype, t.typbasetype
            FROM under JOIN pg_catalog.pg_type t ON t.oid = under.typbasetype WHERE under.typtype = 'd'
        )
        SELECT under.oid FROM under WHERE under.typtype <> 'd'
    ) base
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// The unique indexes on a column alone that `ON CONFLICT` would take, and whether each serves: a deferrable one makes the statement
/// fail, and under `NULLS NOT DISTINCT` two messages without an id would be one.
const UNIQUE: &str = "
    SELECT i.indimmediate AND NOT COALESCE((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = $1::oid AND a.attname = $2 AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
      AND i.indpred IS NULL AND i.indexprs IS NULL";

const BYTEA: i64 = 17;
const BPCHAR: i64 = 1042;
const VARCHAR: i64 = 1043;

/// One column of the catalog.
struct Known {
    column: Column,
    /// The database alone writes it.
    is_generated: bool,
    /// A row must say what it is.
    is_required: bool,
}

/// Why a table cannot be read: the connection broke, or somebody must mend the table or the settings.
pub(super) enum Unfit {
    Lost(sqlx::Error),
    Wrong(StageError),
}

impl From<sqlx::Error> for Unfit {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<StageError> for Unfit {
    fn from(error: StageError) -> Self {
        Self::Wrong(error)
    }
}

/// Reads the catalog, in one transaction so that a pooler keeps it on one server connection, and checks what the settings say.
pub(super) async fn read(connection: &mut PgConnection, settings: &Settings, names: &[&str]) -> Result<Table, Unfit> {
    let wanted = quoted_table(&settings.table)?;
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let found = sqlx::query_as::<_, (i64, String, String, bool)>(TABLE).bind(&wanted).persistent(false);
    let Some((oid, kind, name, has_trigger)) = found.fetch_optional(&mut *transaction).await? else {
        return Err(undefined_table(&wanted).into());
    };
    let is_table = matches!(kind.as_str(), "r" | "p");
    let known = columns(&mut transaction, oid).await?;
    check(&name, names, &known, is_table && !has_trigger)?;
    if let Some(column) = &settings.idempotent_by {
        if !names.contains(&column.as_str()) {
            return Err(wrong("settings", format!("`idempotent_by` names {column:?}, and `columns` does not fill it")).into());
        }
        // A view has no index of its own; there the server itself says whether it can tell a conflict.
        let serving = sqlx::query_scalar::<_, bool>(UNIQUE).bind(oid).bind(column).persistent(false);
        let serving = serving.fetch_all(&mut *transaction).await?;
        if is_table && (serving.is_empty() || serving.contains(&false)) {
            return Err(no_unique_index(&name, column, serving.is_empty()).into());
        }
    }
    transaction.commit().await?;
    let columns = names.iter().filter_map(|name| known.get(*name)).map(|known| known.column.clone()).collect();
    Ok(Table { name, columns })
}

async fn columns(connection: &mut PgConnection, oid: i64) -> Result<BTreeMap<String, Known>, sqlx::Error> {
    let query = sqlx::query_as::<_, (String, String, i64, i32, bool, bool)>(COLUMNS).bind(oid).persistent(false);
    let rows = query.fetch_all(connection).await?;
    let known = |(name, type_name, type_oid, modifier, is_generated, is_required): (String, String, i64, i32, bool, bool)| {
        let has_length = matches!(type_oid, BPCHAR | VARCHAR);
        // The catalog counts its own header of 4 bytes into the length; -1 is none.
        let longest = usize::try_from(modifier - 4).ok().filter(|_| has_length);
        let column = Column { name: name.clone(), type_name, is_bytea: type_oid == BYTEA, longest };
        (name, Known { column, is_generated, is_required })
    };
    Ok(rows.into_iter().map(known).collect())
}

fn check(table: &str, names: &[&str], known: &BTreeMap<String, Known>, must_be_whole: bool) -> Result<(), StageError> {
    if names.is_empty() {
        return Err(wrong("settings", "`columns` is empty: nothing would be stored".to_owned()));
    }
    let missing = listed(names.iter().copied().filter(|name| !known.contains_key(*name)));
    if !missing.is_empty() {
        let all = listed(known.keys().map(String::as_str));
        return Err(wrong("undefined_column", format!("the table {table} has no column {missing}; it has {all}")));
    }
    let generated = listed(names.iter().copied().filter(|name| known.get(*name).is_some_and(|known| known.is_generated)));
    if !generated.is_empty() {
        return Err(wrong(
            "generated_column",
            format!("the database itself writes column {generated} of the table {table}: take it out of `columns`"),
        ));
    }
    let forgotten = known.iter().filter(|(name, known)| known.is_required && !names.contains(&name.as_str()));
    let forgotten = listed(forgotten.map(|(name, _)| name.as_str()));
    if must_be_whole && !forgotten.is_empty() {
        let message =
            format!("column {forgotten} of the table {table} is NOT NULL without a default, and `columns` does not fill it");
        return Err(wrong("unfilled_column", message));
    }
    Ok(())
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

fn undefined_table(table: &str) -> StageError {
    wrong(
        "undefined_table",
        format!("the table {table} does not exist: `tidegate migrate` makes the default one; any other must be made by hand"),
    )
}

fn no_unique_index(table: &str, column: &str, is_missing: bool) -> StageError {
    let column = quoted(column);
    let message = if is_missing {
        format!(
            "the table {table} has no unique index on {column} alone, which `idempotent_by` needs (a partial one does not serve): run \
             `tidegate migrate`, or CREATE UNIQUE INDEX ON {table} ({column})"
        )
    } else {
        format!(
            "the table {table} has a unique index on {column} that is deferrable or NULLS NOT DISTINCT, with which `idempotent_by` would \
             fail or lose what has no id: replace it by CREATE UNIQUE INDEX ON {table} ({column})"
        )
    };
    wrong("no_unique_index", message)
}

fn wrong(code: &str, message: String) -> StageError {
    StageError { code: code.into(), message, needs_operator: true }
}
