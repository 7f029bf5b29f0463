//! `tidegate migrate`: the PostgreSQL databases of pipelines, brought to this version's schema.

use clap::Args;

use super::load::Files;
use super::migrate;
use super::progress::Progress;
use super::{Failure, say};
use crate::config::{SinkKind, SinkPlan};

/// Arguments of `tidegate migrate`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// The database to migrate, with a role that may create tables. Default: that of each PostgreSQL sink.
    #[arg(long, env = "TIDEGATE_MIGRATE_URL", value_name = "URI", hide_env_values = true)]
    database: Option<String>,
}

/// Migrates every database once.
pub(super) async fn migrate(arguments: Arguments) -> Result<(), Failure> {
    let mut uris = Vec::new();
    match &arguments.database {
        Some(uri) => uris.push(uri.as_str().into()),
        None => uris.extend(arguments.files.load()?.iter().flat_map(|loaded| loaded.plan.sinks.iter()).filter_map(uri)),
    }
    uris.dedup();
    if uris.is_empty() {
        return Err(Failure::Config("no sink of these files is a PostgreSQL; name a database with --database".to_owned()));
    }
    for uri in uris {
        let progress = Progress::start("migrating");
        let migrated = migrate::migrate(&uri).await;
        drop(progress);
        let done = migrated.map_err(|error| Failure::Running(error.to_string()))?;
        for name in &done.applied {
            say(&format!("applied {name}\n"));
        }
        say(&format!("the schema is up to date ({} applied now, {} before)\n", done.applied.len(), done.already));
    }
    Ok(())
}

fn uri(sink: &SinkPlan) -> Option<crate::secret::Secret> {
    match &sink.kind {
        SinkKind::Postgres(settings) => Some(settings.uri.clone()),
        _ => None,
    }
}
