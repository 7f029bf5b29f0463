//! The far ends of one leg: a queue, a key and a table of its own, and what has arrived there.

use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sqlx::{Connection, PgConnection};
use std::path::Path;
use tidegate_harness::failure::While;
use tidegate_harness::host;
use tidegate_harness::servers::Servers;
use tidegate_harness::{Failure, Result};

use crate::load;
use crate::native::Settings;

/// Connections to look with, and the names that both pipelines are given.
pub(crate) struct Ends {
    /// For the pipelines.
    pub(crate) settings: Settings,
    /// For filling and looking.
    pub(crate) channel: Channel,
    redis: MultiplexedConnection,
    database: PgConnection,
}

impl Ends {
    /// Connects, and makes the database.
    pub(crate) async fn open(servers: &Servers, program: &Path, workspace: &Path) -> Result<Self> {
        let (amqp_url, redis_url, server_url) = (servers.amqp_url(), servers.redis_url(), servers.database_url());
        let mut server = PgConnection::connect(&server_url).await.doing("connecting to PostgreSQL")?;
        for statement in ["DROP DATABASE IF EXISTS tidegate_bench WITH (FORCE)", "CREATE DATABASE tidegate_bench"] {
            sqlx::raw_sql(statement).execute(&mut server).await.doing(statement)?;
        }
        let base = server_url.rsplit_once('/').map_or(server_url.as_str(), |(base, _)| base);
        let database_url = format!("{base}/tidegate_bench");
        let database = PgConnection::connect(&database_url).await.doing("connecting to PostgreSQL")?;
        let migrated = host::run(program, workspace, &["migrate", "--database", &database_url], &[], b"")?;
        if !migrated.status.success() {
            return Err(Failure::new(String::from_utf8_lossy(&migrated.stderr)));
        }
        let channel = load::channel(&amqp_url).await?;
        let client = redis::Client::open(redis_url.as_str()).doing("reading the address of Redis")?;
        let redis = client.get_multiplexed_async_connection().await.doing("connecting to Redis")?;
        let (queue, key) = ("tidegate-bench".to_owned(), "tidegate-bench".to_owned());
        Ok(Self { settings: Settings { amqp_url, queue, redis_url, key, database_url }, channel, redis, database })
    }

    /// Empties everything.
    pub(crate) async fn clear(&mut self) -> Result<()> {
        let queue = self.settings.queue.as_str();
        for queue in ["", ".dead", ".parked.broadcast", ".parked.history"].map(|side| format!("{queue}{side}")) {
            self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.doing("deleting a queue")?;
        }
        self.redis.del::<_, ()>(&self.settings.key).await.doing("deleting a key")?;
        for statement in ["TRUNCATE messages RESTART IDENTITY", "CHECKPOINT"] {
            sqlx::raw_sql(statement).execute(&mut self.database).await.doing(statement)?;
        }
        Ok(())
    }

    /// How many messages lie at Redis.
    pub(crate) async fn broadcast(&mut self) -> Result<usize> {
        self.redis.llen(&self.settings.key).await.doing("looking at Redis")
    }

    /// How many rows have been given a number: a look that costs nothing, and is right to a batch.
    pub(crate) async fn numbered(&mut self) -> Result<usize> {
        let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM messages_message_id_seq";
        let last: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.database).await.doing("looking at PostgreSQL")?;
        Ok(usize::try_from(last).unwrap_or_default())
    }

    /// How many rows there are, counted.
    pub(crate) async fn rows(&mut self) -> Result<usize> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM messages").fetch_one(&mut self.database).await.doing("counting rows")?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// How many messages the queue still has.
    pub(crate) async fn left(&self) -> Result<usize> {
        self.waiting("").await
    }

    /// How many messages lie on the queue, or on the one beside it that this is the end of the name of; none where there is no such queue.
    pub(crate) async fn waiting(&self, side: &str) -> Result<usize> {
        // A queue that is missing closes the channel: hence one of its own.
        let channel = load::channel(&self.settings.amqp_url).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = format!("{}{side}", self.settings.queue);
        let declared = channel.queue_declare(name.into(), options, FieldTable::default()).await;
        Ok(declared.map_or(0, |queue| queue.message_count() as usize))
    }

    /// Connects to PostgreSQL again, which was stopped in between.
    pub(crate) async fn reconnect(&mut self, servers: &Servers) -> Result<()> {
        let base = servers.database_url();
        let base = base.rsplit_once('/').map_or(base.as_str(), |(base, _)| base);
        self.database = PgConnection::connect(&format!("{base}/tidegate_bench")).await.doing("connecting to PostgreSQL")?;
        Ok(())
    }

    /// Sees that so many numbered messages are stored, once each and in order.
    pub(crate) async fn see_order(&mut self, messages: usize) -> Result<()> {
        let sql = "SELECT source_message_id FROM messages ORDER BY message_id";
        let ids: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut self.database).await.doing("reading the rows")?;
        let wrong = (0..messages).find(|number| ids.get(*number) != Some(&load::id(*number)));
        match wrong {
            None if ids.len() == messages => Ok(()),
            _ => Err(Failure::new(format!("{} rows for {messages} messages, wrong at {wrong:?}", ids.len()))),
        }
    }
}
