//! Asking for a reload, a rollback or a plan over HTTP, and who may.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Shown;
use crate::listener::error;
use crate::pipeline::Pipeline;
use crate::pipeline::reload::{Event, Trigger};
use crate::secret::Secret;

/// Longest body of a request.
const MAX_BODY: usize = 64 << 10;

/// The body of `POST /reload`, `/rollback` and `/plan`; it may be empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Name of the pipeline. Default: every one.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// Go on where the gates `preflight` and `stages` refuse. Default: false.
    #[serde(default)]
    pub force: bool,
}

/// What came of it, one event a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The events.
    pub events: Vec<Event>,
}

/// Who may ask: whoever shows the token; without one, the programs of this machine.
#[derive(Clone)]
struct Porter {
    token: Option<Secret>,
    bound: SocketAddr,
}

pub(super) fn routes(token: Option<Secret>, bound: SocketAddr) -> Router<Shown> {
    Router::new()
        .route("/reload", post(|state, body| ask(Trigger::Reload, state, body)))
        .route("/rollback", post(|state, body| ask(Trigger::Rollback, state, body)))
        .route("/plan", post(|state, body| ask(Trigger::Plan, state, body)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Porter { token, bound }, admit))
}

async fn admit(State(porter): State<Porter>, request: Request, next: Next) -> Response {
    match porter.objection(request.headers()) {
        None => next.run(request).await,
        Some((status, why)) => error(status, why),
    }
}

impl Porter {
    fn objection(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let Some(token) = &self.token else {
            let why = "this address is not loopback: set `[admin] token` to be able to ask from elsewhere";
            return (!self.bound.ip().is_loopback()).then_some((StatusCode::FORBIDDEN, why));
        };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let is_right = shown.is_some_and(|shown| bool::from(shown.ct_eq(token.expose())));
        (!is_right).then_some((StatusCode::UNAUTHORIZED, "show the token of `[admin] token`: `Authorization: Bearer …`"))
    }
}

async fn ask(trigger: Trigger, State(shown): State<Shown>, body: Bytes) -> Response {
    let asked = match parse(&body) {
        Ok(asked) => asked,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem),
    };
    let pipelines: Vec<&Pipeline> = shown.pipelines.iter().filter(|pipeline| is_meant(pipeline, &asked)).collect();
    if pipelines.is_empty() {
        let names: Vec<&str> = shown.pipelines.iter().map(|pipeline| &*pipeline.name).collect();
        let name = asked.pipeline.unwrap_or_default().escape_debug().to_string();
        return error(StatusCode::NOT_FOUND, &format!("no pipeline is called `{name}`; there are: {}", names.join(", ")));
    }
    let mut events = Vec::with_capacity(pipelines.len());
    for pipeline in pipelines {
        match pipeline.reloader.ask(trigger, asked.force).await {
            Some(event) => events.push(event),
            None => {
                let problem = format!("the pipeline {} has stopped", pipeline.name);
                return error(StatusCode::SERVICE_UNAVAILABLE, &problem);
            }
        }
    }
    let status = if events.iter().any(Event::is_refused) { StatusCode::CONFLICT } else { StatusCode::OK };
    (status, Json(Answered { events })).into_response()
}

fn parse(body: &[u8]) -> Result<Asked, String> {
    if body.is_empty() {
        return Ok(Asked::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| format!("the body must be `{{\"pipeline\": \"NAME\", \"force\": false}}`: {error}"))
}

fn is_meant(pipeline: &Pipeline, asked: &Asked) -> bool {
    asked.pipeline.as_ref().is_none_or(|name| *pipeline.name == **name)
}
