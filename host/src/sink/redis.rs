//! Redis as a sink: one pipeline a batch, over one connection of its own.

mod address;
mod commands;
mod failure;

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Value};
use tokio::time::timeout;

use super::report::Report;
use super::{Sink, StageError, Written};
use crate::message::Message;
use crate::secret::Secret;
use crate::telemetry::Telemetry;

/// Settings of `[sinks.NAME.redis]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `redis://` or `rediss://` address, with credentials and database. Default: `redis://127.0.0.1:6379`.
    pub uri: Secret,
    /// PEM file with the certificate authorities to trust for `rediss`, instead of the system's. Default: none.
    pub ca_file: Option<std::path::PathBuf>,
    /// How a message is handed over. Default: `list`.
    pub mode: Mode,
    /// The key, or the channel of `pubsub`. Default: `send_global_message`.
    pub key: String,
    /// Longest wait for a connection, and for an answer. Default: 5s.
    pub timeout: Duration,
}

/// How a message is handed over to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `RPUSH`. With a cap, the list is kept at its newest `max_length` entries. Default: no cap.
    List {
        /// Most entries to keep.
        max_length: Option<u64>,
    },
    /// `SET`: one slot, overwritten; the server must be Redis 6.2 or newer. Default: no time to live.
    Set {
        /// Time to live.
        ttl: Option<Duration>,
    },
    /// `PUBLISH`.
    PubSub,
    /// `XADD` with fields `body` and, where there is one, `id`; capped approximately (`MAXLEN ~`). Default: 1000000.
    Stream {
        /// Most entries to keep.
        max_length: u64,
    },
}

/// Hands messages over to Redis.
///
/// A batch whose answer fails or stays away is written again as a whole by whoever retries it: what of it was done already is then
/// there twice.
#[derive(Debug)]
pub struct RedisSink {
    settings: Settings,
    report: Report,
    /// Taken for each write and put back after an answer without failure, so that a write that fails or is cancelled leaves no
    /// connection with a half-read answer behind.
    connection: Option<MultiplexedConnection>,
}

impl RedisSink {
    /// A sink that connects at the first write. `stage` is its name in health and metrics, e.g. `sinks.broadcast`.
    #[must_use]
    pub fn new(settings: Settings, stage: &str, telemetry: Telemetry) -> Self {
        Self { settings, report: Report::new(stage, telemetry), connection: None }
    }

    async fn deliver(&mut self, batch: &[Message]) -> Result<Written, StageError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if batch.is_empty() {
            self.prove(&mut connection).await?;
            self.connection = Some(connection);
            return Ok(Written::default());
        }
        let pipeline = commands::pipeline(&self.settings, batch);
        match timeout(self.settings.timeout, pipeline.query_async::<Vec<Value>>(&mut connection)).await {
            Ok(Ok(replies)) => {
                self.connection = Some(connection);
                Ok(commands::written(&self.settings.mode, &replies))
            }
            Ok(Err(error)) => Err(self.explain(&error, connection).await),
            Err(_) => Err(failure::timed_out(&address::label(&self.settings), self.settings.timeout)),
        }
    }

    /// Proves that the server answers, and that the key holds nothing that the writes would fail on.
    async fn prove(&self, connection: &mut MultiplexedConnection) -> Result<(), StageError> {
        let at = address::label(&self.settings);
        let asking = redis::cmd("TYPE").arg(&self.settings.key).to_owned();
        let asked = timeout(self.settings.timeout, asking.query_async::<String>(connection)).await;
        let found = asked.map_err(|_| failure::timed_out(&at, self.settings.timeout))?;
        let found = found.map_err(|error| failure::of(&error, &at))?;
        let fits = match &self.settings.mode {
            Mode::List { .. } => ["none", "list"].contains(&&*found),
            Mode::Stream { .. } => ["none", "stream"].contains(&&*found),
            // SET overwrites whatever is there, and a channel is no key.
            Mode::Set { .. } | Mode::PubSub => true,
        };
        if fits { Ok(()) } else { Err(failure::wrong_type(&self.settings, &found)) }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StageError> {
        let at = address::label(&self.settings);
        let connecting = async {
            let client = address::client(&self.settings).await?;
            // The time is kept here, over the whole of it: name, TCP, TLS, AUTH, SELECT.
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            connection.map_err(|error| failure::of(&error, &at))
        };
        let connection = timeout(self.settings.timeout, connecting).await;
        let connection = connection.unwrap_or_else(|_| Err(failure::timed_out(&at, self.settings.timeout)))?;
        self.report.connected(&at);
        Ok(connection)
    }

    /// What a failed pipeline means. Gives the connection up, after one last question where that tells the operator what to mend.
    async fn explain(&self, error: &RedisError, mut connection: MultiplexedConnection) -> StageError {
        let failure = failure::of(error, &address::label(&self.settings));
        if failure.code != failure::WRONG_TYPE {
            return failure;
        }
        let asking = redis::cmd("TYPE").arg(&self.settings.key).to_owned();
        let found = timeout(self.settings.timeout, asking.query_async::<String>(&mut connection)).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_else(|| "value of another type".to_owned());
        failure::wrong_type(&self.settings, &found)
    }
}

#[async_trait]
impl Sink for RedisSink {
    async fn write(&mut self, batch: &[Message]) -> Result<Written, StageError> {
        let outcome = self.deliver(batch).await;
        self.report.tell(&outcome);
        outcome
    }
}
