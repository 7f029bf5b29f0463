//! Plan to stages: the source with its side queues, and the sinks.

use std::sync::Arc;

use crate::config::{SinkKind, SinkPlan, SourcePlan};
use crate::sink::Sink;
use crate::sink::live::LiveSink;
use crate::sink::postgres::PostgresSink;
use crate::sink::redis::RedisSink;
use crate::sink::sqlite::SqliteSink;
use crate::source::journal::{self, Journal};
use crate::source::{Mailbox, Source, StageError, http, rabbitmq};
use crate::telemetry::Telemetry;

/// A source and the side queues that it keeps.
pub(super) struct SourceStage {
    /// The source.
    pub(super) source: Box<dyn Source>,
    /// Its side queues.
    pub(super) mailbox: Arc<dyn Mailbox>,
    /// Its journal, where it has one: it stays open while the source is opened anew.
    pub(super) journal: Option<Journal>,
}

/// The source's stage: `source.KIND`.
#[must_use]
pub(super) fn source_name(plan: &SourcePlan) -> &'static str {
    match plan {
        SourcePlan::RabbitMq(_) => "source.rabbitmq",
        SourcePlan::Http(_) => "source.http",
    }
}

/// Opens the source. A broker is not contacted yet; a journal is, unless it is the one that is `held` already.
///
/// # Errors
/// Fails when the journal cannot be opened.
pub(super) async fn open_source(plan: &SourcePlan, held: Option<&Journal>) -> Result<SourceStage, StageError> {
    let name = source_name(plan);
    match plan {
        SourcePlan::RabbitMq(settings) => {
            let mailbox = Arc::new(rabbitmq::Mailbox::new(settings.clone(), name));
            let source = Box::new(rabbitmq::Source::new(settings.clone(), name));
            Ok(SourceStage { source, mailbox, journal: None })
        }
        SourcePlan::Http(settings) => {
            let journal = match held.filter(|journal| journal.is_of(&settings.journal, &settings.queue)) {
                Some(journal) => journal.clone(),
                None => Journal::open(&settings.journal, &settings.queue).await?,
            };
            let mailbox = Arc::new(journal::Mailbox::new(journal.clone()));
            let source = Box::new(http::HttpSource::new(settings.clone(), journal.clone(), name));
            Ok(SourceStage { source, mailbox, journal: Some(journal) })
        }
    }
}

/// Makes a sink. Nothing is contacted yet.
#[must_use]
pub(super) fn make_sink(plan: &SinkPlan, telemetry: &Telemetry) -> Box<dyn Sink> {
    let stage = format!("sinks.{}", plan.name);
    let telemetry = telemetry.clone();
    match plan.kind.clone() {
        SinkKind::Redis(settings) => Box::new(RedisSink::new(settings, &stage, telemetry)),
        SinkKind::Postgres(settings) => Box::new(PostgresSink::new(settings, &stage, telemetry)),
        SinkKind::Sqlite(settings) => Box::new(SqliteSink::new(settings, &stage, telemetry)),
        SinkKind::Live(settings) => Box::new(LiveSink::new(settings, &stage, telemetry)),
    }
}
