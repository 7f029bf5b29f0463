//! SQLite as a sink, for the embedded profile: the document's table in a file, made when missing.

mod refusal;
mod store;
mod table;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use self::store::Store;
use super::columns::{Column, Columns};
use super::report::Report;
use super::{Sink, StageError, Written};
use crate::message::Message;
use crate::telemetry::Telemetry;

/// Settings of `[sinks.NAME.sqlite]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The database file, made when missing, for its owner alone. Default: `data/messages.db`, beside pipeline.toml.
    pub file: PathBuf,
    /// The table. `messages` is made when missing; any other must be there, and is used as it is. Default: `messages`.
    pub table: String,
    /// Which column takes what.
    pub columns: Vec<Column>,
    /// The column with a unique index that holds the message id. Default: none.
    pub idempotent_by: Option<String>,
    /// Columns that must be sealed: a row whose field is in clear is refused. Default: none.
    pub require_sealed: Vec<String>,
    /// Longest wait for a locked database. Default: 10s.
    pub timeout: Duration,
}

/// Stores messages as rows of a SQLite file, a batch a transaction.
#[derive(Debug)]
pub struct SqliteSink {
    /// An error where the settings name what cannot be: told at each write, since it is the operator's.
    columns: Result<Columns, StageError>,
    store: Store,
    report: Report,
}

impl SqliteSink {
    /// A sink that opens its file at the first write. `stage` is its name in health and metrics, e.g. `sinks.history`.
    #[must_use]
    pub fn new(settings: Settings, stage: &str, telemetry: Telemetry) -> Self {
        let columns = Columns::new(&settings.columns, &settings.require_sealed);
        Self { columns, store: Store::new(settings), report: Report::new(stage, telemetry) }
    }
}

#[async_trait]
impl Sink for SqliteSink {
    async fn write(&mut self, batch: &[Message]) -> Result<Written, StageError> {
        let outcome = match &self.columns {
            Ok(columns) => self.store.write(columns, batch, &self.report).await,
            Err(error) => Err(error.clone()),
        };
        self.report.tell(&outcome);
        outcome
    }
}
