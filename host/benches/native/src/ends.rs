//! The far ends of one leg: queues, lists and a table of its own, and what has arrived there.

use std::collections::BTreeSet;
use std::path::Path;

use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sqlx::{Connection, PgConnection};
use tidegate_harness::failure::While;
use tidegate_harness::host;
use tidegate_harness::servers::Servers;
use tidegate_harness::{Failure, Result};

use crate::case::Case;
use crate::load;
use crate::native::{self, Settings};

/// The name of the queue and of the first list.
pub(crate) const NAME: &str = "tidegate-bench";
/// The name of the queue that has dead letters beside it.
const BESIDE_LETTERS: &str = "tidegate-bench-letters";
/// Bytes of bodies that may be taken and not acknowledged, as the host has it where nothing else is said.
const WINDOW_BYTES: usize = 256 << 20;
/// Most messages of a window, as the host has it.
const WINDOW: u16 = 2048;

/// Connections to look with, and the names that the pipelines are given.
pub(crate) struct Ends {
    /// For pipelines of the common case.
    pub(crate) settings: Settings,
    /// For filling and looking.
    pub(crate) channel: Channel,
    /// The root processes of RabbitMQ, Redis and PostgreSQL, where they were started here.
    pub(crate) servers: [Option<u32>; 3],
    redis: MultiplexedConnection,
    database: PgConnection,
    /// Queues and lists that were ever made.
    used: BTreeSet<(String, Vec<String>)>,
}

impl Ends {
    /// Connects, and makes the database.
    pub(crate) async fn open(servers: &Servers, program: &Path, workspace: &Path) -> Result<Self> {
        let (amqp_url, redis_url, server_url) = (servers.amqp_url(), servers.redis_url(), servers.database_url());
        let mut server = PgConnection::connect(&server_url).await.doing("connecting to PostgreSQL")?;
        for statement in ["DROP DATABASE IF EXISTS tidegate_bench WITH (FORCE)", "CREATE DATABASE tidegate_bench"] {
            sqlx::raw_sql(statement).execute(&mut server).await.doing(statement)?;
        }
        let database_url = own_database(servers);
        let database = PgConnection::connect(&database_url).await.doing("connecting to PostgreSQL")?;
        let migrated = host::run(program, workspace, &["migrate", "--database", &database_url], &[], b"")?;
        if !migrated.status.success() {
            return Err(Failure::new(String::from_utf8_lossy(&migrated.stderr)));
        }
        let (channel, redis) = (load::channel(&amqp_url).await?, native::connect_redis(&redis_url).await?);
        let (queue, keys) = (NAME.to_owned(), vec![NAME.to_owned()]);
        let used = BTreeSet::from([(queue.clone(), keys.clone())]);
        let settings = Settings { amqp_url, queue, redis_url, keys, database_url, prefetch: WINDOW };
        Ok(Self { settings, channel, servers: roots(servers), redis, database, used })
    }

    /// What one of a case's pipelines takes from and gives to.
    pub(crate) fn of(&self, case: &Case, pipeline: usize) -> Settings {
        let base = if case.beside_letters { BESIDE_LETTERS } else { NAME };
        let queue = if pipeline == 0 { base.to_owned() } else { format!("{base}-{pipeline}") };
        let key = |list: usize| if list == 0 { queue.clone() } else { format!("{queue}-list{list}") };
        let fitting = u16::try_from(WINDOW_BYTES / case.body_bytes).unwrap_or(WINDOW);
        Settings { keys: (0..case.lists).map(key).collect(), prefetch: fitting.min(WINDOW), queue, ..self.settings.clone() }
    }

    /// Empties everything, and declares the case's queues; letters that the case works beside stay where they are.
    pub(crate) async fn prepare(&mut self, case: &Case) -> Result<()> {
        for pipeline in 0..case.pipelines {
            let of = self.of(case, pipeline);
            self.used.insert((of.queue, of.keys));
        }
        self.clear().await?;
        for pipeline in 0..case.pipelines {
            load::declare(&self.channel, &self.of(case, pipeline).queue, case.queue_type).await?;
        }
        Ok(())
    }

    /// Empties everything and fills the case's queues.
    pub(crate) async fn fill(&mut self, case: &Case) -> Result<()> {
        self.prepare(case).await?;
        for pipeline in 0..case.pipelines {
            load::fill(&self.channel, &self.of(case, pipeline).queue, case, case.share(pipeline)).await?;
        }
        Ok(())
    }

    /// Empties everything but the letters that cases work beside.
    pub(crate) async fn clear(&mut self) -> Result<()> {
        for (queue, keys) in &self.used {
            let parked = (0..keys.len())
                .map(|list| if list == 0 { ".parked.broadcast".to_owned() } else { format!(".parked.list{list}") });
            let dead = (queue != BESIDE_LETTERS).then(|| ".dead".to_owned());
            for side in ["", ".parked.history"].map(str::to_owned).into_iter().chain(parked).chain(dead) {
                let name = format!("{queue}{side}");
                self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.doing("deleting a queue")?;
            }
            for key in keys {
                self.redis.unlink::<_, ()>(key).await.doing("deleting a key")?;
            }
        }
        for statement in ["TRUNCATE messages RESTART IDENTITY", "CHECKPOINT"] {
            sqlx::raw_sql(statement).execute(&mut self.database).await.doing(statement)?;
        }
        Ok(())
    }

    /// Takes away the letters that cases worked beside.
    pub(crate) async fn forget_letters(&self) -> Result<()> {
        let name = format!("{BESIDE_LETTERS}.dead");
        self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.doing("deleting a queue").map(drop)
    }

    /// How many messages lie at Redis: of a pipeline's lists the shortest counts. Without lists they are all there.
    pub(crate) async fn broadcast(&mut self, case: &Case) -> Result<usize> {
        if case.lists == 0 {
            return Ok(case.broadcast());
        }
        let lengths = self.lengths(case).await?;
        Ok(lengths.chunks(case.lists).filter_map(|lists| lists.iter().min()).sum())
    }

    /// How many entries each list has, pipeline by pipeline.
    pub(crate) async fn lengths(&mut self, case: &Case) -> Result<Vec<usize>> {
        if case.lists == 0 {
            return Ok(Vec::new());
        }
        let mut lengths = redis::pipe();
        for key in (0..case.pipelines).flat_map(|pipeline| self.of(case, pipeline).keys) {
            lengths.llen(key);
        }
        lengths.query_async(&mut self.redis).await.doing("looking at Redis")
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

    /// How many messages lie on the case's queues, or on those beside them that this is the end of the name of.
    pub(crate) async fn waiting(&self, case: &Case, side: &str) -> Result<usize> {
        let mut all = 0;
        for pipeline in 0..case.pipelines {
            all += self.look(&format!("{}{side}", self.of(case, pipeline).queue)).await?.0;
        }
        Ok(all)
    }

    /// Messages and consumers of a queue; none where there is no such queue.
    pub(crate) async fn look(&self, queue: &str) -> Result<(usize, usize)> {
        // A queue that is missing closes the channel: hence one of its own.
        let channel = load::channel(&self.settings.amqp_url).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        Ok(declared.map_or((0, 0), |queue| (queue.message_count() as usize, queue.consumer_count() as usize)))
    }

    /// Connects to PostgreSQL again, which was stopped in between.
    pub(crate) async fn reconnect(&mut self, servers: &Servers) -> Result<()> {
        self.servers = roots(servers);
        self.database = PgConnection::connect(&own_database(servers)).await.doing("connecting to PostgreSQL")?;
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

/// The database that is dropped and made anew.
fn own_database(servers: &Servers) -> String {
    let url = servers.database_url();
    let base = url.rsplit_once('/').map_or(url.as_str(), |(base, _)| base);
    format!("{base}/tidegate_bench")
}

fn roots(servers: &Servers) -> [Option<u32>; 3] {
    [
        servers.rabbitmq.own().and_then(|server| server.service.pid().ok()),
        servers.redis.own().and_then(|server| server.service.pid().ok()),
        servers.postgres.own().and_then(|server| server.service.pid().ok()),
    ]
}
