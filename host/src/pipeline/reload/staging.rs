//! The gate `stages`: what would be opened anew can be reached, and nothing that is parked would be left behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::config::{self, Change, Plan, SinkKind, SinkPlan, SourcePlan};
use crate::pipeline::{Pipeline, stages};
use crate::source::rabbitmq;
use crate::telemetry::Telemetry;

/// What stands against the change; none where no stage is touched.
pub(super) async fn check(pipeline: &Pipeline, plan: &Plan, changes: &[Change]) -> Option<Vec<String>> {
    let running = pipeline.running();
    let old = running.plan();
    let reopened = config::reopened_sinks(changes);
    let opened: Vec<&SinkPlan> = plan.sinks.iter().filter(|sink| is_opened(sink, old, &reopened)).collect();
    let gone: Vec<&SinkPlan> = old.sinks.iter().filter(|sink| find(plan, &sink.name).is_none()).collect();
    let source = config::reopens_source(changes);
    if opened.is_empty() && gone.is_empty() && !source {
        return None;
    }
    let mut against = Vec::new();
    for sink in opened {
        against.extend(prove_sink(sink, find(old, &sink.name)).await);
    }
    if source {
        against.extend(prove_source(&plan.source, &old.source).await);
    }
    let stays = |sink: &SinkPlan| gone.iter().any(|gone| gone.name == sink.name) || (source && moves(&old.source, &plan.source));
    for sink in old.sinks.iter().filter(|sink| stays(sink) && pipeline.telemetry.is_parked(&sink.name)) {
        against.push(format!(
            "sinks.{}: messages are parked for it, and would stay on their queue; let them be stored first",
            sink.name
        ));
    }
    Some(against)
}

fn find<'a>(plan: &'a Plan, name: &str) -> Option<&'a SinkPlan> {
    plan.sinks.iter().find(|sink| *sink.name == *name)
}

fn is_opened(sink: &SinkPlan, old: &Plan, reopened: &BTreeSet<Arc<str>>) -> bool {
    find(old, &sink.name).is_none() || reopened.contains(&sink.name)
}

/// Opens a sink beside the one that runs, and closes it again.
async fn prove_sink(sink: &SinkPlan, old: Option<&SinkPlan>) -> Option<String> {
    if let (SinkKind::Live(new), Some(SinkKind::Live(old))) = (&sink.kind, old.map(|old| &old.kind))
        && new.listen == old.listen
    {
        // Two cannot listen on one address.
        return None;
    }
    let mut proof = stages::make_sink(sink, &Telemetry::default());
    let written = proof.write(&[]).await;
    proof.close().await;
    written.err().map(|failure| format!("sinks.{}: {failure}", sink.name))
}

async fn prove_source(source: &SourcePlan, old: &SourcePlan) -> Option<String> {
    let name = stages::source_name(source);
    let failure = match (source, old) {
        (SourcePlan::RabbitMq(settings), _) => rabbitmq::prove(settings).await.err().map(|failure| failure.to_string()),
        (SourcePlan::Http(new), SourcePlan::Http(old)) if new.listen == old.listen => None,
        (SourcePlan::Http(new), _) => {
            let bound = TcpListener::bind(new.listen).await;
            bound.err().map(|error| format!("cannot listen on {}: {error}", new.listen))
        }
    };
    failure.map(|failure| format!("{name}: {failure}"))
}

/// Whether the side queues of the source are others from then on.
fn moves(old: &SourcePlan, new: &SourcePlan) -> bool {
    match (old, new) {
        (SourcePlan::RabbitMq(old), SourcePlan::RabbitMq(new)) => (&old.uri, &old.queue) != (&new.uri, &new.queue),
        (SourcePlan::Http(old), SourcePlan::Http(new)) => (&old.journal, &old.queue) != (&new.journal, &new.queue),
        _ => true,
    }
}
