//! SQLite as a sink, for the embedded profile: the document's table in a file, made when missing.

use std::path::PathBuf;
use std::time::Duration;

use super::columns::Column;

/// Settings of `[sinks.NAME.sqlite]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The database file, made when missing. Default: `data/messages.db`, beside pipeline.toml.
    pub file: PathBuf,
    /// The table; the default one is made when missing. Default: `messages`.
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
