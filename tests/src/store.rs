//! What arrived at Redis and PostgreSQL.

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::names::unique;
use crate::servers::{afterwards, redis_url};

/// A Redis key that is deleted when this is dropped.
pub(crate) struct Key {
    pub(crate) name: String,
    url: String,
    connection: MultiplexedConnection,
}

impl Key {
    /// A fresh one on the shared server.
    pub(crate) async fn fresh() -> Self {
        Self::on(&redis_url()).await
    }

    /// A fresh one on this server.
    pub(crate) async fn on(url: &str) -> Self {
        let connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        Self { name: unique("key"), url: url.to_owned(), connection }
    }

    /// The same key over a fresh connection.
    pub(crate) async fn reconnected(&self) -> Self {
        let mut again = Self::on(&self.url).await;
        again.name.clone_from(&self.name);
        again
    }

    /// A connection to its server.
    pub(crate) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// The whole list.
    pub(crate) async fn list(&self) -> Vec<Vec<u8>> {
        self.connection().lrange(&self.name, 0, -1).await.unwrap()
    }

    /// How long the list is.
    pub(crate) async fn length(&self) -> usize {
        self.connection().llen(&self.name).await.unwrap()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        afterwards(async move {
            // A server that a test has ended took the key with it.
            let Ok(client) = redis::Client::open(url) else { return };
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return };
            connection.del::<_, ()>(name).await.unwrap_or_default();
        });
    }
}

/// A row of the document's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) sub_id: String,
    pub(crate) publisher_info: Option<String>,
    pub(crate) server_name: String,
    pub(crate) message_content: String,
    pub(crate) is_encrypted: bool,
}

/// All rows in the order in which they were stored.
pub(crate) async fn rows(pool: &PgPool) -> Vec<Row> {
    let columns =
        "SELECT id, sub_id, publisher_info, server_name, message_content, is_encrypted FROM messages ORDER BY message_id";
    sqlx::query(columns).fetch_all(pool).await.unwrap().iter().map(Row::read).collect()
}

impl Row {
    fn read(row: &PgRow) -> Self {
        Self {
            id: row.get("id"),
            sub_id: row.get("sub_id"),
            publisher_info: row.get("publisher_info"),
            server_name: row.get("server_name"),
            message_content: row.get("message_content"),
            is_encrypted: row.get("is_encrypted"),
        }
    }
}

/// How many rows there are.
pub(crate) async fn row_count(pool: &PgPool) -> usize {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM messages").fetch_one(pool).await.unwrap();
    usize::try_from(count).unwrap()
}
