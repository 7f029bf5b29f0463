//! PostgreSQL as a sink: one `INSERT … SELECT FROM UNNEST` a batch.

use std::time::Duration;

use super::columns::Column;
use crate::secret::Secret;

/// Settings of `[sinks.NAME.postgres]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `postgres://` address with credentials, database and `sslmode`, or the libpq form `host=… dbname=…`. Required.
    pub uri: Secret,
    /// The table, `name` or `schema.name`. Default: `messages`.
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
