//! `tidegate migrate`: brings a PostgreSQL database to the document's schema, or adopts one that has it.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{Connection, Executor, SqlSafeStr};
use tracing::info;

use crate::postgres_options::{self, PostgresAddressError};
use crate::secret::Secret;

/// In order. A file that was ever released is never edited: the server keeps its checksum.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "document schema", include_str!("../../../migrations/0001_document_schema.sql")),
    (2, "identity", include_str!("../../../migrations/0002_identity.sql")),
    (3, "source message", include_str!("../../../migrations/0003_source_message.sql")),
    (4, "views and cleanup", include_str!("../../../migrations/0004_views_and_cleanup.sql")),
];

/// Where sqlx, and its command line too, keeps what was applied.
const HISTORY: &str = "_sqlx_migrations";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing about notices that something exists already, and no wait for ever behind a long query: whoever waits for a table holds up
/// everyone who comes after.
const SESSION: &str = "SET client_min_messages = warning; SET lock_timeout = '30s'";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied now, in order, e.g. `1 document schema`.
    pub applied: Vec<String>,
    /// How many were there already.
    pub already: usize,
}

/// Why the database could not be brought up to date. What one migration does is done whole or not at all, and running again goes on there.
#[derive(Debug, thiserror::Error)]
pub enum MigrateFailure {
    /// The address is wrong.
    #[error(transparent)]
    Address(#[from] PostgresAddressError),
    /// Nobody answers there.
    #[error("cannot reach PostgreSQL at {server}: {cause}")]
    Unreachable {
        /// User, host, port and database.
        server: String,
        /// What the network says.
        cause: String,
    },
    /// The server does not let this user in.
    #[error("PostgreSQL at {server} refuses the connection: {message}")]
    Refused {
        /// User, host, port and database.
        server: String,
        /// What the server says.
        message: String,
    },
    /// The user lacks rights.
    #[error("not permitted: {message}{}", remedies.iter().map(|remedy| format!("; {remedy}")).collect::<String>())]
    NotPermitted {
        /// What the server says.
        message: String,
        /// What would have to be done, with the statement that gives a missing right.
        remedies: Vec<String>,
    },
    /// The server is a standby.
    #[error("PostgreSQL at {server} is read-only: migrate the primary")]
    ReadOnly {
        /// User, host, port and database.
        server: String,
    },
    /// Others hold the tables.
    #[error(
        "others hold the tables, or migrate too, for longer than 30 s; try again when it is quieter, it goes on where it stopped"
    )]
    Busy,
    /// A newer host was here.
    #[error("the database has migration {0}, which this version of tidegate does not know: a newer one was here, so use that")]
    Newer(i64),
    /// Not the same migrations.
    #[error("migration {0} is recorded in the database with another content: it comes from another program or a changed file")]
    Changed(i64),
    /// A migration does not fit what is there.
    #[error("migration {migration} fails: {message}{}", hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}")))]
    Failed {
        /// Which one; `0` before the first.
        migration: i64,
        /// What the server says.
        message: String,
        /// What it says to do about it.
        hint: Option<String>,
    },
}

/// Applies what is missing. Two at once wait for each other. Connects to the server itself: through a pooler in transaction mode the lock
/// would not hold.
///
/// # Errors
/// Fails when the server cannot be reached, the user lacks rights (the error names them), or a table of the same name is not the document's.
///
/// # Cancel safety
/// Dropping the future leaves the migration at hand undone and the ones before it done.
pub async fn migrate(uri: &Secret) -> Result<Migrated, MigrateFailure> {
    let mut options = postgres_options::parse(uri)?;
    if options.get_application_name().is_none() {
        options = options.application_name("tidegate migrate");
    }
    let server = postgres_options::describe(&options);
    let mut connection = connect(&options, &server).await?;
    let migrated = match Box::pin(apply(&mut connection)).await {
        Ok(migrated) => migrated,
        Err(error) => return Err(explain(error, &server, &mut connection).await),
    };
    info!(server, applied = migrated.applied.len(), already = migrated.already, "the database is up to date");
    // The work is committed: how the farewell goes does not matter.
    drop(connection.close().await);
    Ok(migrated)
}

async fn connect(options: &PgConnectOptions, server: &str) -> Result<PgConnection, MigrateFailure> {
    let unreachable = |cause: String| MigrateFailure::Unreachable { server: server.to_owned(), cause };
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        Ok(Err(sqlx::Error::Database(error))) => {
            Err(MigrateFailure::Refused { server: server.to_owned(), message: error.message().to_owned() })
        }
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Ok(Ok(connection)) => Ok(connection),
    }
}

/// Under one lock from the first look to the last change, so that what is reported is what this call did.
async fn apply(connection: &mut PgConnection) -> Result<Migrated, MigrateError> {
    connection.execute(SESSION).await?;
    connection.lock().await?;
    let mut migrator = Migrator::with_migrations(migrations());
    // It is held already.
    migrator.set_locking(false);
    connection.ensure_migrations_table(HISTORY).await?;
    let before: Vec<i64> = connection.list_applied_migrations(HISTORY).await?.iter().map(|done| done.version).collect();
    migrator.run_direct(None, connection, false).await?;
    connection.unlock().await?;
    let (already, applied): (Vec<_>, Vec<_>) = MIGRATIONS.into_iter().partition(|(version, ..)| before.contains(version));
    let applied = applied.into_iter().map(|(version, name, _)| format!("{version} {name}")).collect();
    Ok(Migrated { applied, already: already.len() })
}

fn migrations() -> Vec<Migration> {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    MIGRATIONS.into_iter().map(migration).collect()
}

/// By the server's code and not by its words, which may be in any language.
async fn explain(error: MigrateError, server: &str, connection: &mut PgConnection) -> MigrateFailure {
    let (error, migration) = match error {
        MigrateError::VersionMissing(version) => return MigrateFailure::Newer(version),
        MigrateError::VersionMismatch(version) => return MigrateFailure::Changed(version),
        MigrateError::Execute(error) => (error, 0),
        MigrateError::ExecuteMigration(error, migration) => (error, migration),
        other => return MigrateFailure::Failed { migration: 0, message: other.to_string(), hint: None },
    };
    let sqlx::Error::Database(database) = &error else {
        return MigrateFailure::Unreachable { server: server.to_owned(), cause: error.to_string() };
    };
    let message = database.message().to_owned();
    match database.code().as_deref() {
        Some("42501" | "3F000") => MigrateFailure::NotPermitted { message, remedies: remedies(connection).await },
        Some("55P03") => MigrateFailure::Busy,
        Some("25006") => MigrateFailure::ReadOnly { server: server.to_owned() },
        _ => {
            let hint = database.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::hint).map(str::to_owned);
            MigrateFailure::Failed { migration, message, hint }
        }
    }
}

/// Who owns what the running user would have to own. Handing it over instead would make the owner of whoever writes rows.
const OWNERS: &str = "
    SELECT format('run this as %I, who owns %s', owner::regrole, string_agg(name, ', ' ORDER BY name))
    FROM (
        SELECT relowner, pg_class.oid::regclass::text FROM pg_class
        WHERE pg_class.oid IN (to_regclass('messages'), to_regclass('encryption_keys'), to_regclass('recent_messages'),
                               to_regclass('message_statistics'), to_regclass('_sqlx_migrations'))
        UNION ALL
        SELECT proowner, pg_proc.oid::regprocedure::text FROM pg_proc
        WHERE pg_proc.oid = to_regprocedure('cleanup_old_messages(integer)')
    ) AS owned (owner, name)
    WHERE NOT pg_has_role(owner, 'USAGE')
    GROUP BY owner";

/// Every other right that the running user lacks, as the statement that gives it.
const GRANTS: &str = "
    SELECT format('let a superuser run: CREATE SCHEMA AUTHORIZATION %I', current_user) WHERE current_schema() IS NULL
    UNION ALL
    SELECT format('let the owner of the schema run: GRANT CREATE ON SCHEMA %I TO %I', current_schema(), current_user)
    WHERE NOT has_schema_privilege(current_schema(), 'CREATE')";

/// What would have to be done. Without it the refusal just comes without its remedy.
async fn remedies(connection: &mut PgConnection) -> Vec<String> {
    for query in [OWNERS, GRANTS] {
        let found = sqlx::query_scalar(query).fetch_all(&mut *connection).await.unwrap_or_default();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded_under_its_number_and_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeMap<String, ()> = names.filter(|name| name.ends_with(".sql")).map(|name| (name, ())).collect();
        let embedded = MIGRATIONS.map(|(version, name, _)| (format!("{version:04}_{}.sql", name.replace(' ', "_")), ()));
        assert_eq!(files, BTreeMap::from(embedded));
        assert!(MIGRATIONS.is_sorted_by_key(|(version, ..)| *version));
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_is_named_without_the_password() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let uri = Secret::from(format!("host=127.0.0.1 port={port} dbname=rtmc user=u password=s3cret").as_str());
        let failure = migrate(&uri).await.unwrap_err();
        assert!(matches!(failure, MigrateFailure::Unreachable { .. }));
        let shown = format!("{failure} {failure:?}");
        assert!(shown.contains(&format!("u@127.0.0.1:{port}/rtmc")) && !shown.contains("s3cret"), "{shown}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_said_before_anything_is_tried() {
        let failure = migrate(&Secret::from("nonsense")).await.unwrap_err();
        assert!(matches!(failure, MigrateFailure::Address(PostgresAddressError::NeitherForm)));
    }

    #[test]
    fn what_is_not_permitted_comes_with_its_remedy() {
        let remedies = vec!["run this as rtmc, who owns messages".to_owned()];
        let failure = MigrateFailure::NotPermitted { message: "must be owner of table messages".to_owned(), remedies };
        assert_eq!(failure.to_string(), "not permitted: must be owner of table messages; run this as rtmc, who owns messages");
    }
}
