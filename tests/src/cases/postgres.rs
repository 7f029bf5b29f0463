//! PostgreSQL as a sink: what is stored, what is refused, and what a failure leaves behind.

mod failures;
mod refusals;
mod rows;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};
use tidegate::message::{Message, MessageId, NoProperties, Pointer};
use tidegate::sink::columns::{Column, Value};
use tidegate::sink::postgres::{PostgresSink, Settings};
use tidegate::sink::{Sink, StageError};
use tidegate::telemetry::Telemetry;

use crate::servers::{Database, fresh_database};

const TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time that a write may take: one wait for the connection, one for the answer, and the machine's mood.
const BOUND: Duration = Duration::from_secs(8);

/// A database of one's own with one table.
struct Store {
    database: Database,
    pool: PgPool,
}

impl Store {
    /// A database on which this was run.
    async fn with(sql: &str) -> Self {
        let database = fresh_database().await;
        let pool = database.pool().await;
        let store = Self { database, pool };
        store.run(sql).await;
        store
    }

    async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    /// One column of all rows, in the order in which they were stored: the table must have a `bigserial` named `n`.
    async fn column(&self, column: &str) -> Vec<Option<String>> {
        let sql = format!("SELECT ({column})::text FROM t ORDER BY n");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.pool).await.unwrap()
    }

    /// A sink for table `t` that takes `/name` of the body into each column.
    fn sink(&self, columns: &[&str]) -> PostgresSink {
        sink(self.settings(columns))
    }

    fn settings(&self, columns: &[&str]) -> Settings {
        settings(&self.database, columns)
    }
}

fn sink(settings: Settings) -> PostgresSink {
    PostgresSink::new(settings, "sinks.history", Telemetry::default())
}

fn settings(url: &str, columns: &[&str]) -> Settings {
    Settings {
        uri: url.into(),
        table: "t".to_owned(),
        columns: columns.iter().map(|name| column(name)).collect(),
        idempotent_by: None,
        require_sealed: Vec::new(),
        timeout: TIMEOUT,
    }
}

/// A column that takes the body's field of the same name.
fn column(name: &str) -> Column {
    Column { name: name.to_owned(), value: Value::Pointer { pointer: pointer(&format!("/{name}")), default: None } }
}

/// A column that takes the message id.
fn id_column(name: &str) -> Column {
    Column { name: name.to_owned(), value: Value::Metadata { key: "message-id".to_owned() } }
}

fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

fn message(body: impl Into<String>) -> Message {
    Message::new(None, body.into().into(), Arc::new(NoProperties))
}

/// A message whose field `v` is this text.
fn value(text: &str) -> Message {
    message(serde_json::json!({ "v": text }).to_string())
}

fn with_id(id: &str, mut message: Message) -> Message {
    message.id = MessageId::new(id);
    message
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

/// A write that must fail, within the bound.
async fn failure(sink: &mut PostgresSink, batch: &[Message]) -> StageError {
    let started = tokio::time::Instant::now();
    let error = sink.write(batch).await.expect_err("the write fails");
    assert!(started.elapsed() < BOUND, "{error} after {:?}", started.elapsed());
    assert!(!error.message.contains("tidegate:tidegate") && !error.message.contains("secret"), "{error}");
    error
}
