//! The table: made or checked when the file is opened, so that what is missing is said in words.

use sqlx::{SqliteConnection, raw_sql};

use super::Settings;
use crate::sink::StageError;
use crate::sqlite_file::{Failure, quoted};

/// The one table that is made when missing.
const DEFAULT: &str = "messages";

const SCHEMA: &str = include_str!("schema.sql");

const COLUMNS: &str = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0";

const IS_UNIQUE: &str = "SELECT EXISTS (
    SELECT 1 FROM pragma_index_list(?1) AS list
    WHERE list.\"unique\" = 1 AND list.partial = 0
    AND (SELECT count(*) FROM pragma_index_info(list.name)) = 1
    AND (SELECT lower(name) FROM pragma_index_info(list.name)) = lower(?2)
) OR (
    SELECT count(*) = 1 AND max(lower(name)) = lower(?2) FROM pragma_table_xinfo(?1) WHERE pk > 0
)";

/// Sees to it that the rows of the settings fit the table.
pub(super) async fn prepare(connection: &mut SqliteConnection, settings: &Settings) -> Result<(), StageError> {
    let failed = |error: sqlx::Error| StageError::from(Failure::of(&error, &settings.file));
    let mut there = columns(connection, settings).await.map_err(failed)?;
    if there.is_empty() && settings.table == DEFAULT {
        raw_sql(SCHEMA).execute(&mut *connection).await.map_err(failed)?;
        there = columns(connection, settings).await.map_err(failed)?;
    }
    check_columns(settings, &there)?;
    let Some(name) = &settings.idempotent_by else { return Ok(()) };
    let unique = sqlx::query_scalar::<_, bool>(IS_UNIQUE).bind(&settings.table).bind(name);
    if unique.fetch_one(connection).await.map_err(failed)? {
        return Ok(());
    }
    let table = quoted(&settings.table);
    let remedy = format!("CREATE UNIQUE INDEX ON {table}: on {} alone", quoted(name));
    Err(wrong(settings, "no_unique_index", &format!("`idempotent_by` = {name:?} needs a unique index ({remedy})")))
}

async fn columns(connection: &mut SqliteConnection, settings: &Settings) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(COLUMNS).bind(&settings.table).fetch_all(connection).await
}

fn check_columns(settings: &Settings, there: &[String]) -> Result<(), StageError> {
    if there.is_empty() {
        return Err(wrong(settings, "no_such_table", "does not exist; only `messages` is made when missing"));
    }
    if settings.columns.is_empty() {
        return Err(wrong(settings, "settings", "gets no column: `columns` is empty"));
    }
    let has = |name: &str| there.iter().any(|column| column.eq_ignore_ascii_case(name));
    if let Some(missing) = settings.columns.iter().find(|column| !has(&column.name)) {
        let what = format!("has no column {:?}; it has {}", missing.name, there.join(", "));
        return Err(wrong(settings, "no_such_column", &what));
    }
    match &settings.idempotent_by {
        Some(name) if !settings.columns.iter().any(|column| column.name == *name) => {
            Err(wrong(settings, "settings", &format!("gets no value for `idempotent_by` = {name:?}: it is not among `columns`")))
        }
        _ => Ok(()),
    }
}

fn wrong(settings: &Settings, code: &str, what: &str) -> StageError {
    let message = format!("{}: table {:?} {what}", settings.file.display(), settings.table);
    StageError { code: code.to_owned(), message, needs_operator: true }
}
