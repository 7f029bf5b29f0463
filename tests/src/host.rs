//! The host under a pipeline of the shipped shape: queue, key and table of its own, the real program between them.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use tempfile::TempDir;
use tidegate_harness::host::{Arguments, Host, run};
use tidegate_harness::pipeline::{Ends, Pipeline};
use tidegate_harness::postgres::Postgres;
use tidegate_harness::redis::Redis;

use crate::broker::{Queue, Taken};
use crate::servers::{Database, amqp_url, fresh_database_on, migrated_database, redis_url};
use crate::store::{self, Key, Row};

/// Longest wait for what a host has to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The folder that cargo built this program into: `target`.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}

/// The host program, as cargo built it.
pub(crate) fn program() -> PathBuf {
    let program = target().join("debug/tidegate");
    assert!(program.is_file(), "there is no {}: run `cargo xtask test`", program.display());
    program
}

/// The folder of the components.
pub(crate) fn plugins() -> PathBuf {
    let plugins = target().join("plugins");
    assert!(plugins.is_dir(), "there is no {}: run `cargo xtask test`", plugins.display());
    plugins
}

/// Compiled components, shared by all tests so that each is compiled once.
pub(crate) fn cache() -> PathBuf {
    target().join("tidegate-test-cache")
}

/// One pipeline with its far ends. Change `pipeline` before the start.
pub(crate) struct Rig {
    pub(crate) pipeline: Pipeline,
    pub(crate) queue: Queue,
    pub(crate) key: Key,
    pub(crate) pool: PgPool,
    pub(crate) folder: TempDir,
    pub(crate) database: Database,
    host: Option<Host>,
}

impl Rig {
    /// The shipped shape on a classic queue, not started yet.
    pub(crate) async fn shipped() -> Self {
        Self::on(Queue::classic().await).await
    }

    /// The shipped shape on this queue, not started yet.
    pub(crate) async fn on(queue: Queue) -> Self {
        let (key, database) = (Key::fresh().await, migrated_database().await);
        let ends =
            Ends { amqp_url: &amqp_url(), queue: &queue.name, redis_url: &redis_url(), key: &key.name, database_url: &database };
        let pipeline = Pipeline::shipped(ends, &plugins(), &cache()).unwrap();
        let pool = database.pool().await;
        Self { pipeline, queue, key, pool, folder: TempDir::new().unwrap(), database, host: None }
    }

    /// Stores into a server of the test's own, which may fail. Before the start.
    pub(crate) async fn store_into(&mut self, server: &Postgres) {
        let database = fresh_database_on(&server.url()).await;
        database.migrate();
        self.pipeline.sinks = self.pipeline.sinks.replace(&self.database.to_string(), &database.to_string());
        (self.pool, self.database) = (database.pool().await, database);
    }

    /// Broadcasts through a server of the test's own, which may fail. Before the start.
    pub(crate) async fn broadcast_through(&mut self, server: &Redis) {
        let key = Key::on(&server.url()).await;
        self.pipeline.sinks = self.pipeline.sinks.replace(&redis_url(), &server.url()).replace(&self.key.name, &key.name);
        self.key = key;
    }

    /// Gives a sink these further lines. Before the start.
    pub(crate) fn adjust(&mut self, sink: &str, lines: &str) {
        let head = format!("[sinks.{sink}]\n");
        assert!(self.pipeline.sinks.contains(&head), "{}", self.pipeline.sinks);
        self.pipeline.sinks = self.pipeline.sinks.replace(&head, &format!("{head}{lines}\n"));
    }

    /// Starts the host and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.launch();
        self.host().wait_ready().unwrap();
    }

    /// Starts the host without waiting.
    pub(crate) fn launch(&mut self) {
        self.launch_with(&["run"]);
    }

    /// Starts the host with these arguments, without waiting.
    pub(crate) fn launch_with(&mut self, arguments: &[&str]) {
        self.pipeline.write(self.folder.path()).unwrap();
        let arguments = Arguments {
            program: program(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            folder: self.folder.path().to_owned(),
            variables: Vec::new(),
            admin_port: self.pipeline.admin_port,
        };
        self.host = Some(Host::launch(arguments).unwrap());
    }

    /// The running host.
    pub(crate) fn host(&mut self) -> &mut Host {
        self.host.as_mut().expect("the host was started")
    }

    /// Waits until so many messages are acknowledged and none is in flight, and sees that the ledger balances.
    pub(crate) fn settled(&mut self, messages: u64) -> Value {
        let what = format!("{messages} messages to be acknowledged");
        let ledger = self.host().wait_until(&what, PATIENCE, |host| {
            let ledger = host.status()?["ledger"].take();
            let done = ledger["acked"].as_u64() >= Some(messages) && ledger["in_flight"] == 0;
            Ok(done.then_some(ledger))
        });
        let ledger = ledger.unwrap();
        assert_eq!(ledger["balanced"], true, "{ledger:#}");
        assert_eq!(ledger["acked"], messages, "{ledger:#}");
        ledger
    }

    /// SIGTERM: it must end with 0, with a ledger that balances and always did, and leave nothing on the queue.
    pub(crate) async fn stop(&mut self) {
        let status = self.host().terminate().unwrap();
        let log = self.host().log();
        assert!(status.success(), "{status}\n{log}");
        assert!(log.contains("stopped; the ledger balances") && !log.contains("the ledger does not balance"), "{log}");
        assert_eq!(self.queue.depth(&self.queue.name).await, 0, "messages left on the queue");
    }

    /// What the broadcast sink gave to Redis.
    pub(crate) async fn broadcast(&self) -> Vec<Vec<u8>> {
        self.key.list().await
    }

    /// The rows as they are stored.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        store::rows(&self.pool).await
    }

    /// The rows, each sealed and its content opened with `tidegate open`.
    pub(crate) async fn opened_rows(&self) -> Vec<Row> {
        let mut rows = self.rows().await;
        let sealed: Vec<&str> = rows.iter().map(|row| row.message_content.as_str()).collect();
        let opened = self.open(&sealed);
        assert_eq!(opened.len(), rows.len());
        for (row, plain) in rows.iter_mut().zip(opened) {
            assert!(row.is_encrypted && row.message_content.starts_with("tg1.aes-256-gcm."), "{row:?}");
            row.message_content = plain.expect("what this host sealed opens");
        }
        rows
    }

    /// `tidegate open`: each value's plaintext, or none.
    pub(crate) fn open(&self, values: &[&str]) -> Vec<Option<String>> {
        let output = command(self.folder.path(), &["open", "--json"], values.join("\n").as_bytes());
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The dead letters, once there are so many.
    pub(crate) async fn dead(&self, count: usize) -> Vec<Taken> {
        self.queue.take(&self.queue.dead(), count).await
    }
}

/// Runs a command of the host to its end.
pub(crate) fn command(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    run(&program(), folder, arguments, &[], input).unwrap()
}

/// The exit code of a command with `--json`, and what it printed.
pub(crate) fn answer(output: &Output) -> (i32, Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), answer)
}

/// A number of a lane in a ledger.
pub(crate) fn lane(ledger: &Value, lane: &str, outcome: &str) -> u64 {
    ledger["lanes"][lane][outcome].as_u64().unwrap_or_else(|| panic!("no {lane}/{outcome} in {ledger:#}"))
}
