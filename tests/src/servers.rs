//! The servers, and databases of one's own on them.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::OnceLock;
use std::thread;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tidegate_harness::postgres::Durability;
use tidegate_harness::servers::Servers;

use crate::host::command;
use crate::names::unique;

/// All three, shared by all tests of this program: a test that stops or kills a server starts one of its own
/// (`tidegate_harness::redis::Redis::start()` and its like).
pub(crate) fn shared() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Servers::start(Durability::NoFsync).unwrap())
}

/// Address of the broker.
pub(crate) fn amqp_url() -> String {
    shared().amqp_url()
}

/// Address of Redis.
pub(crate) fn redis_url() -> String {
    shared().redis_url()
}

/// Address of a database that databases may be made from.
pub(crate) fn database_url() -> String {
    shared().database_url()
}

/// The address of a database of one's own. Dropping it drops the database.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    name: String,
    server: String,
}

impl Deref for Database {
    type Target = str;

    fn deref(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Database {
    /// Brings it to the document's schema, as an operator does.
    pub(crate) fn migrate(&self) {
        let output = command(&std::env::temp_dir(), &["migrate", "--database", &self.url], b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Connections to it.
    pub(crate) async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.url).await.unwrap()
    }
}

/// An empty database on the shared server.
pub(crate) async fn fresh_database() -> Database {
    fresh_database_on(&database_url()).await
}

/// An empty database on this server.
pub(crate) async fn fresh_database_on(server: &str) -> Database {
    let name = unique("db").replace('-', "_");
    let mut connection = PgConnection::connect(server).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let (base, options) = server.split_once('?').map_or((server, None), |(base, options)| (base, Some(options)));
    let base = base.rsplit_once('/').unwrap().0;
    let url = format!("{base}/{name}{}", options.map(|options| format!("?{options}")).unwrap_or_default());
    Database { url, name, server: server.to_owned() }
}

/// A database of one's own at the document's schema.
pub(crate) async fn migrated_database() -> Database {
    let database = fresh_database().await;
    database.migrate();
    database
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let options: PgConnectOptions = self.server.parse().unwrap();
        afterwards(async move {
            // A server that a test has killed took the database with it.
            let Ok(mut connection) = PgConnection::connect_with(&options).await else { return };
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.map(drop).unwrap_or_default();
        });
    }
}

/// Runs a clean-up to its end, from a `drop` inside of a test's own runtime.
pub(crate) fn afterwards(work: impl Future<Output = ()> + Send + 'static) {
    let run = move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    // A clean-up that fails must not hide why the test failed.
    thread::spawn(run).join().unwrap_or_default();
}
