//! Storing: a transaction a batch, and the row that is refused alone.

use std::ops::Range;
use std::time::Duration;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection, raw_sql};
use tokio::time::timeout;

use super::{Settings, refusal, table};
use crate::message::{Message, Reason};
use crate::sink::columns::{Columns, Rows, Value};
use crate::sink::report::Report;
use crate::sink::{StageError, Written};
use crate::sqlite_file::{Failure, Identity, Opening, make_private, quoted, sync_folder};

/// Most rows of one statement.
const STATEMENT_ROWS: usize = 64;
/// Longest time that a batch may take beside its waits for a lock: a disk that answers no sooner hangs.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite takes at most this many parameters a statement.
const MAX_PARAMETERS: usize = 32_766;

/// One table of one file.
#[derive(Debug)]
pub(super) struct Store {
    settings: Settings,
    insert: Insert,
    /// Taken for each write and put back after one that went well: a write that fails or is cancelled leaves no transaction behind.
    pub(super) link: Option<Link>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: SqliteConnection,
    identity: Identity,
}

/// What became of the rows.
#[derive(Debug, Default)]
struct Outcome {
    /// Indexes of rows, ascending, and why they are refused.
    refused: Vec<(usize, Reason)>,
    stored: u64,
}

/// The statement, for any number of rows.
#[derive(Debug)]
struct Insert {
    head: String,
    row: String,
    tail: String,
    /// Per column, whether it takes 0 or 1.
    flags: Vec<bool>,
}

impl Store {
    pub(super) fn new(settings: Settings) -> Self {
        let insert = Insert::new(&settings);
        Self { settings, insert, link: None }
    }

    pub(super) async fn write(&mut self, columns: &Columns, batch: &[Message], report: &Report) -> Result<Written, StageError> {
        let rows = columns.rows(batch);
        // An empty batch goes on: the transaction without rows proves that the file can be written.
        if rows.messages.is_empty() && !batch.is_empty() {
            return Ok(Written { refused: rows.refused, ..Written::default() });
        }
        // A batch may have to wait for a lock twice: to begin, and to commit.
        let longest = self.settings.timeout.saturating_mul(2).saturating_add(DISK_TIMEOUT);
        let outcome = timeout(longest, self.store(&rows, report)).await;
        let late = |_| StageError {
            code: "timeout".into(),
            message: format!("{} did not answer in time", self.settings.file.display()),
            needs_operator: false,
        };
        let Outcome { refused, stored } = outcome.map_err(late)??;
        let written = rows.messages.len() - refused.len();
        let of_batch = |(row, reason)| rows.messages.get(row).map(|message| (*message, reason));
        let mut all: Vec<(usize, Reason)> =
            refused.into_iter().filter_map(of_batch).chain(rows.refused.iter().cloned()).collect();
        all.sort_by_key(|(message, _)| *message);
        Ok(Written { refused: all, duplicates: (written as u64).saturating_sub(stored), unheard: 0 })
    }

    async fn store(&mut self, rows: &Rows<'_>, report: &Report) -> Result<Outcome, StageError> {
        let mut link = self.link(report).await?;
        let outcome = self.transact(&mut link.connection, rows, 0..rows.messages.len()).await;
        let outcome = match outcome {
            // Only the commit can still blame a row: a deferred constraint, which does not say whose it is.
            Err(error) if refusal::of(&error, &self.settings.columns).is_some() => {
                self.one_by_one(&mut link.connection, rows).await
            }
            outcome => outcome,
        };
        let outcome = outcome.map_err(|error| Failure::of(&error, &self.settings.file))?;
        self.link = Some(link);
        Ok(outcome)
    }

    async fn link(&mut self, report: &Report) -> Result<Link, StageError> {
        let file = &self.settings.file;
        if let Some(link) = self.link.take().filter(|link| link.identity.is_still(file)) {
            return Ok(link);
        }
        let failed = |error: std::io::Error| Failure::of_io(&error, file);
        let made = make_private(file).map_err(failed)?;
        let opening = if made { Opening::own } else { Opening::of };
        let mut connection = opening(file, self.settings.timeout).connect().await?;
        let identity = Identity::of(file);
        table::prepare(&mut connection, &self.settings).await?;
        if made {
            sync_folder(file).map_err(failed)?;
        }
        report.connected(&file.display().to_string());
        Ok(Link { connection, identity })
    }

    /// Stores a range of rows in one transaction.
    async fn transact(
        &self,
        connection: &mut SqliteConnection,
        rows: &Rows<'_>,
        range: Range<usize>,
    ) -> Result<Outcome, sqlx::Error> {
        raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let mut outcome = Outcome::default();
        let step = STATEMENT_ROWS.min(MAX_PARAMETERS / self.insert.flags.len().max(1)).max(1);
        for start in range.clone().step_by(step) {
            let piece = start..(start + step).min(range.end);
            self.store_piece(connection, rows, piece, &mut outcome).await?;
        }
        raw_sql("COMMIT").execute(connection).await?;
        Ok(outcome)
    }

    /// Stores a piece by one statement; where a row of it is refused, row by row.
    async fn store_piece(
        &self,
        connection: &mut SqliteConnection,
        rows: &Rows<'_>,
        piece: Range<usize>,
        outcome: &mut Outcome,
    ) -> Result<(), sqlx::Error> {
        match self.insert.run(connection, rows, piece.clone()).await {
            Ok(stored) => outcome.stored += stored,
            Err(error) => {
                let Some(reason) = refusal::of(&error, &self.settings.columns) else { return Err(error) };
                if piece.len() == 1 {
                    outcome.refused.push((piece.start, reason));
                    return Ok(());
                }
                for row in piece {
                    Box::pin(self.store_piece(connection, rows, row..row + 1, outcome)).await?;
                }
            }
        }
        Ok(())
    }

    /// Stores each row in a transaction of its own, after a commit that failed.
    async fn one_by_one(&self, connection: &mut SqliteConnection, rows: &Rows<'_>) -> Result<Outcome, sqlx::Error> {
        let mut outcome = Outcome::default();
        raw_sql("ROLLBACK").execute(&mut *connection).await?;
        for row in 0..rows.messages.len() {
            match self.transact(connection, rows, row..row + 1).await {
                Ok(alone) => {
                    outcome.stored += alone.stored;
                    outcome.refused.extend(alone.refused);
                }
                Err(error) => {
                    let Some(reason) = refusal::of(&error, &self.settings.columns) else { return Err(error) };
                    raw_sql("ROLLBACK").execute(&mut *connection).await?;
                    outcome.refused.push((row, reason));
                }
            }
        }
        Ok(outcome)
    }
}

impl Insert {
    fn new(settings: &Settings) -> Self {
        let names: Vec<String> = settings.columns.iter().map(|column| quoted(&column.name)).collect();
        let conflict = |name: &String| format!(" ON CONFLICT ({}) DO NOTHING", quoted(name));
        Self {
            head: format!("INSERT INTO {} ({}) VALUES ", quoted(&settings.table), names.join(", ")),
            row: format!("({})", vec!["?"; names.len()].join(", ")),
            tail: settings.idempotent_by.as_ref().map(conflict).unwrap_or_default(),
            flags: settings.columns.iter().map(|column| matches!(column.value, Value::IsSealed { .. })).collect(),
        }
    }

    /// Inserts a range of rows; says how many were not there yet.
    async fn run(&self, connection: &mut SqliteConnection, rows: &Rows<'_>, range: Range<usize>) -> Result<u64, sqlx::Error> {
        let statement = format!("{}{}{}", self.head, vec![self.row.as_str(); range.len()].join(", "), self.tail);
        let mut arguments = SqliteArguments::default();
        for row in range {
            for (value, is_flag) in rows.row(row).zip(&self.flags) {
                let added = match value {
                    Some(text) if *is_flag => arguments.add(i64::from(text == "true")),
                    value => arguments.add(value),
                };
                added.map_err(sqlx::Error::Encode)?;
            }
        }
        let query = sqlx::query_with(AssertSqlSafe(statement), arguments);
        Ok(query.execute(connection).await?.rows_affected())
    }
}
