//! PostgreSQL as a sink: one `INSERT … SELECT FROM UNNEST` a batch.

mod failure;
mod link;
mod statement;
mod store;
mod table;

use std::time::Duration;

use async_trait::async_trait;

use self::store::Store;
use super::columns::{Column, Columns};
use super::report::Report;
use super::{Sink, StageError, Written};
use crate::message::Message;
use crate::secret::Secret;
use crate::telemetry::Telemetry;

/// Settings of `[sinks.NAME.postgres]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `postgres://` address with credentials, database and `sslmode`, or the libpq form `host=… dbname=…`. Required. Without an
    /// `sslmode` the connection may be in clear; `verify-full` alone proves whom it leads to.
    pub uri: Secret,
    /// The table, `name` or `schema.name`, as it is written in the catalog, case included. Default: `messages`.
    pub table: String,
    /// Which column takes what.
    pub columns: Vec<Column>,
    /// The column with a unique index that holds the message id: a row that is there already is not stored again. Default: none,
    /// and every delivery is stored.
    pub idempotent_by: Option<String>,
    /// Columns that must be sealed: a row whose field is in clear is refused. Default: none.
    pub require_sealed: Vec<String>,
    /// Longest wait for a connection, and for a batch to be stored. Default: 10s.
    pub timeout: Duration,
}

/// Stores messages as rows.
///
/// Each statement is its own transaction. A batch that fails half-way is written again as a whole by whoever retries it: rows with
/// an id are then there once, those without one may be there twice.
pub struct PostgresSink {
    /// An error where the settings name what cannot be: told at each write, since it is the operator's.
    columns: Result<Columns, StageError>,
    store: Store,
    report: Report,
}

impl PostgresSink {
    /// A sink that connects at the first write. `stage` is its name in health and metrics, e.g. `sinks.history`.
    #[must_use]
    pub fn new(settings: Settings, stage: &str, telemetry: Telemetry) -> Self {
        let columns = Columns::new(&settings.columns, &settings.require_sealed);
        Self { columns, store: Store::new(settings), report: Report::new(stage, telemetry) }
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn write(&mut self, batch: &[Message]) -> Result<Written, StageError> {
        let outcome = match &self.columns {
            Ok(columns) => self.store.write(columns, batch, &self.report).await,
            Err(error) => Err(error.clone()),
        };
        self.report.tell(&outcome);
        outcome
    }
}
