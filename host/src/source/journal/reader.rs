//! Reading the journal, over a connection that never waits for the writer's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio::sync::Mutex;

use super::{Recorded, Stored, file};
use crate::message::{Message, MessageId};
use crate::source::StageError;
use crate::sqlite_file::Failure;

const READ: &str = "SELECT sequence, message_id, properties, received_at, body FROM messages
    WHERE queue = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";

const COUNT: &str = "SELECT count(*) FROM messages WHERE queue = ?1";

const LAST: &str = "SELECT max(sequence) FROM messages WHERE queue = ?1";

const QUEUES: &str = "SELECT queue, count(*) FROM messages GROUP BY queue";

/// Reads one journal.
#[derive(Debug)]
pub(super) struct Reader {
    file: PathBuf,
    /// Taken for each read and put back after one that went well: one that fails or is cancelled leaves nothing half-read behind.
    connection: Mutex<Option<SqliteConnection>>,
}

impl Reader {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), connection: Mutex::new(None) }
    }

    pub(super) async fn read(
        &self,
        queue: &str,
        after: i64,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, StageError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.take(&mut slot).await?;
        let limit = i64::try_from(max_messages).unwrap_or(i64::MAX);
        let read = collect(&mut connection, queue, after, limit, max_bytes).await;
        let stored = read.map_err(|error| Failure::of(&error, &self.file))?;
        *slot = Some(connection);
        Ok(stored)
    }

    pub(super) async fn count(&self, queue: &str) -> Result<u64, StageError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.take(&mut slot).await?;
        let count = count(&mut connection, queue).await.map_err(|error| Failure::of(&error, &self.file))?;
        *slot = Some(connection);
        Ok(count)
    }

    pub(super) async fn last(&self, queue: &str) -> Result<Option<i64>, StageError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.take(&mut slot).await?;
        let last = sqlx::query_scalar(LAST).bind(queue).fetch_one(&mut connection).await;
        let last = last.map_err(|error| Failure::of(&error, &self.file))?;
        *slot = Some(connection);
        Ok(last)
    }

    pub(super) async fn queues(&self) -> Result<BTreeMap<String, u64>, StageError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.take(&mut slot).await?;
        let rows = sqlx::query_as::<_, (String, i64)>(QUEUES).fetch_all(&mut connection).await;
        let rows = rows.map_err(|error| Failure::of(&error, &self.file))?;
        *slot = Some(connection);
        Ok(rows.into_iter().map(|(queue, count)| (queue, u64::try_from(count).unwrap_or_default())).collect())
    }

    async fn take(&self, slot: &mut Option<SqliteConnection>) -> Result<SqliteConnection, StageError> {
        match slot.take() {
            Some(connection) => Ok(connection),
            None => Ok(file::opening(&self.file).connect().await?),
        }
    }
}

/// Counts a queue's messages.
pub(super) async fn count(connection: &mut SqliteConnection, queue: &str) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(COUNT).bind(queue).fetch_one(connection).await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

async fn collect(
    connection: &mut SqliteConnection,
    queue: &str,
    after: i64,
    limit: i64,
    max_bytes: usize,
) -> Result<Vec<Stored>, sqlx::Error> {
    let mut rows = sqlx::query(READ).bind(queue).bind(after).bind(limit).fetch(connection);
    let (mut stored, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.try_next().await? {
        let next = of_row(&row)?;
        bytes = bytes.saturating_add(next.message.body.len());
        stored.push(next);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(stored)
}

fn of_row(row: &SqliteRow) -> Result<Stored, sqlx::Error> {
    let id: Option<&str> = row.try_get(1)?;
    let properties = Recorded::of_row(row.try_get(2)?, row.try_get(3)?);
    let body = Bytes::from(row.try_get::<Vec<u8>, _>(4)?);
    Ok(Stored { sequence: row.try_get(0)?, message: Message::new(id.and_then(MessageId::new), body, Arc::new(properties)) })
}
