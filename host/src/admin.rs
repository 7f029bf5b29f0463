//! What the operator sees and asks for over HTTP: health, readiness, status, metrics, reloads. Never message contents.

mod asking;

#[cfg(test)]
mod tests;

pub use asking::{Answered, Asked};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::ledger::Balance;
use crate::lifecycle::Stop;
use crate::listener;
use crate::pipeline::reload::{Event, Standing};
use crate::pipeline::{Pipeline, PluginReport};
use crate::secret::Secret;
use crate::telemetry::{Health, Telemetry};

/// What the admin HTTP shows.
#[derive(Clone)]
pub struct Shown {
    /// The pipelines of this process.
    pub pipelines: Arc<Vec<Pipeline>>,
    /// The counters of the process.
    pub telemetry: Telemetry,
    /// What those who ask for a reload must show; without one only programs of this machine may ask.
    pub token: Option<Secret>,
}

/// `/status` of one pipeline.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the host.
    pub version: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Generation that new batches begin on.
    pub generation: u64,
    /// What can be gone back to, and whether what runs is on probation.
    pub standing: Standing,
    /// What became of every message.
    pub ledger: Balance,
    /// Every step's plugin.
    pub plugins: Vec<PluginReport>,
    /// How each stage is.
    pub stages: BTreeMap<String, Health>,
    /// The last reloads, oldest first: 100 at most.
    pub reloads: Vec<Event>,
}

/// Serves until the stop.
///
/// # Errors
/// Fails when the listener does.
pub async fn serve(listener: TcpListener, shown: Shown, stop: Stop) -> std::io::Result<()> {
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .merge(asking::routes(shown.token.clone(), bound))
        .with_state(shown);
    let router = listener::guarded(router, bound);
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
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: pipeline.name.to_string(),
            generation: generation.number,
            standing: pipeline.standing(),
            ledger: pipeline.ledger.balance(),
            plugins: generation.plugins.clone(),
            stages: pipeline.telemetry.stages(),
            reloads: pipeline.history.list(),
        }
    }
}
