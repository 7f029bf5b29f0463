//! Asking for a reload, a rollback or a plan over HTTP, and who may.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Shown;
use crate::listener::error;
use crate::pipeline::Pipeline;
use crate::pipeline::reload::{Event, Trigger};
use crate::secret::Secret;

/// Longest body of a request.
const MAX_BODY_KIB: usize = 64;

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

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// One a pipeline that answered.
    pub events: Vec<Event>,
    /// Which pipelines have stopped and did not answer; none when all did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
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
        .layer(DefaultBodyLimit::max(MAX_BODY_KIB << 10))
        .route_layer(from_fn_with_state(Porter { token, bound }, admit))
}

async fn admit(State(porter): State<Porter>, request: Request, next: Next) -> Response {
    match porter.refusal(request.headers()) {
        None => next.run(request).await,
        Some(refusal) => refusal,
    }
}

impl Porter {
    /// What whoever may not ask is answered; none for whoever may.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let Some(token) = &self.token else {
            let why = "this address is not loopback, and there is no token: set `[admin] token` to be able to ask";
            return (!self.bound.ip().is_loopback()).then(|| error(StatusCode::FORBIDDEN, why));
        };
        if bearer(headers).is_some_and(|shown| shown.ct_eq(token.expose()).into()) {
            return None;
        }
        let mut refusal = error(
            StatusCode::UNAUTHORIZED,
            "this needs the token of `[admin] token`, as the header `Authorization: Bearer TOKEN`",
        );
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(refusal)
    }
}

/// The token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

async fn ask(trigger: Trigger, State(shown): State<Shown>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return error(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {MAX_BODY_KIB} KiB"));
        }
        Err(rejection) => return error(rejection.status(), &rejection.body_text()),
    };
    let asked = match parse(&body) {
        Ok(asked) => asked,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem),
    };
    match meant(&shown, &asked) {
        Ok(pipelines) => answer(ask_all(&pipelines, trigger, asked.force).await),
        Err(problem) => error(StatusCode::NOT_FOUND, &problem),
    }
}

fn parse(body: &[u8]) -> Result<Asked, String> {
    if body.is_empty() {
        return Ok(Asked::default());
    }
    let problem = |error| format!("the body is not of the form {{\"pipeline\": \"NAME\", \"force\": false}}: {error}");
    serde_json::from_slice(body).map_err(problem)
}

/// The pipelines that are asked.
fn meant<'a>(shown: &'a Shown, asked: &Asked) -> Result<Vec<&'a Pipeline>, String> {
    let Some(name) = &asked.pipeline else { return Ok(shown.pipelines.iter().collect()) };
    let named: Vec<&Pipeline> = shown.pipelines.iter().filter(|pipeline| *pipeline.name == **name).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let names: Vec<String> = shown.pipelines.iter().map(|pipeline| format!("`{}`", pipeline.name)).collect();
    Err(format!("no pipeline is called `{}`; there are: {}", name.escape_debug(), names.join(", ")))
}

/// Asks them side by side: one that takes its time does not hold up the others.
async fn ask_all(pipelines: &[&Pipeline], trigger: Trigger, force: bool) -> Answered {
    let asking = pipelines.iter().map(|pipeline| async { (&pipeline.name, pipeline.reloader.ask(trigger, force).await) });
    let (mut events, mut stopped) = (Vec::with_capacity(pipelines.len()), Vec::new());
    for (name, event) in join_all(asking).await {
        match event {
            Some(event) => events.push(event),
            None => stopped.push(format!("`{name}`")),
        }
    }
    let error = (!stopped.is_empty()).then(|| format!("stopped, and so not to be asked: {}", stopped.join(", ")));
    Answered { events, error }
}

fn answer(answered: Answered) -> Response {
    let status = match &answered {
        Answered { error: Some(_), .. } => StatusCode::SERVICE_UNAVAILABLE,
        Answered { events, .. } if events.iter().any(Event::is_refused) => StatusCode::CONFLICT,
        _ => StatusCode::OK,
    };
    (status, Json(answered)).into_response()
}
