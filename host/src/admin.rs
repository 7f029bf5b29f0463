//! What the operator sees over HTTP: health, readiness, status, metrics. Never message contents.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::ledger::Balance;
use crate::lifecycle::Stop;
use crate::pipeline::{Pipeline, PluginReport};
use crate::telemetry::{Health, Telemetry};

/// What the admin HTTP shows.
#[derive(Clone)]
pub struct Shown {
    /// The pipelines of this process.
    pub pipelines: Arc<Vec<Pipeline>>,
    /// The counters of the process.
    pub telemetry: Telemetry,
}

/// `/status` of one pipeline.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Version of the host.
    pub version: &'static str,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Generation that new batches begin on.
    pub generation: u64,
    /// What became of every message.
    pub ledger: Balance,
    /// Every step's plugin.
    pub plugins: Vec<PluginReport>,
    /// How each stage is.
    pub stages: BTreeMap<String, Health>,
}

/// Serves until the stop.
///
/// # Errors
/// Fails when the listener does.
pub async fn serve(listener: TcpListener, shown: Shown, stop: Stop) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(shown);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Takes the address.
///
/// # Errors
/// Fails when it is taken, or not this machine's.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Ready is when every stage of every pipeline is up; the answer names those that are not.
async fn readyz(State(shown): State<Shown>) -> Response {
    let mut not_ready = BTreeMap::new();
    for pipeline in shown.pipelines.iter() {
        for (stage, health) in pipeline.telemetry.stages() {
            if health != Health::Up {
                not_ready.insert(format!("{}/{stage}", pipeline.name), health);
            }
        }
    }
    let ready = not_ready.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready, "not_ready": not_ready }))).into_response()
}

async fn status(State(shown): State<Shown>) -> Response {
    let mut all: Vec<Status> = shown.pipelines.iter().map(Status::of).collect();
    match (all.len(), all.pop()) {
        (1, Some(only)) => Json(only).into_response(),
        (_, last) => {
            all.extend(last);
            Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "pipelines": all })).into_response()
        }
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let ledgers: Vec<(Arc<str>, Balance)> =
        shown.pipelines.iter().map(|pipeline| (Arc::clone(&pipeline.name), pipeline.ledger.balance())).collect();
    let text = shown.telemetry.exposition(ledgers.iter().map(|(name, balance)| (&**name, balance.clone())));
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

impl Status {
    fn of(pipeline: &Pipeline) -> Self {
        let running = pipeline.running();
        let generation = &running.generation;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pipeline: pipeline.name.to_string(),
            generation: generation.number,
            ledger: pipeline.ledger.balance(),
            plugins: generation.plugins.clone(),
            stages: pipeline.telemetry.stages(),
        }
    }
}
