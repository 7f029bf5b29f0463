//! The view's four paths: the page, the events, the newest as JSON, and nothing else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::page;
use super::ring::{Ring, Shown};
use crate::lifecycle::Stop;
use crate::listener;

/// Most viewers at a time.
const MAX_VIEWERS: usize = 64;
/// Messages that a viewer takes from the ring at a time.
const PIECE: usize = 64;
/// How often a quiet stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
struct Shared {
    ring: Arc<Ring>,
    viewers: Arc<Semaphore>,
    stop: Stop,
}

/// The routes.
pub(super) fn router(ring: Arc<Ring>, stop: Stop) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/events", get(show_events))
        .route("/recent", get(show_recent))
        .fallback(async || listener::error(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || listener::error(StatusCode::METHOD_NOT_ALLOWED, "this view only shows"))
        .with_state(Shared { ring, viewers: Arc::new(Semaphore::new(MAX_VIEWERS)), stop })
}

/// Keeps browsers from guessing types, from storing what they saw, and from telling others whence they came.
fn guarded(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let headers: [(HeaderName, &'static str); 4] = [
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    headers.into_iter().for_each(|(name, value)| drop(response.headers_mut().insert(name, HeaderValue::from_static(value))));
    response
}

async fn show_page() -> Response {
    guarded(([(header::CONTENT_SECURITY_POLICY, page::POLICY.as_str())], Html(page::PAGE.as_str())))
}

async fn show_recent(State(shared): State<Shared>) -> Response {
    let recent = shared.ring.recent();
    let lines: Vec<_> = recent.iter().map(|shown| shown.line()).collect();
    guarded(axum::Json(lines))
}

async fn show_events(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Ok(permit) = Arc::clone(&shared.viewers).try_acquire_owned() else {
        return listener::error(StatusCode::SERVICE_UNAVAILABLE, "too many look already");
    };
    let seen = headers.get("last-event-id").and_then(|value| seen(value.to_str().ok()?, shared.ring.life));
    let viewer = Viewer {
        place: seen.unwrap_or_else(|| shared.ring.start()),
        newest: shared.ring.newest(),
        ring: shared.ring,
        pending: VecDeque::new(),
        _permit: permit,
    };
    let events = events(viewer).take_until(shared.stop.cancelled_owned());
    guarded(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The place that a viewer who comes back has seen, unless it was in another life.
fn seen(text: &str, life: u64) -> Option<u64> {
    let (of_life, place) = text.split_once('-')?;
    if of_life.parse() == Ok(life) { place.parse().ok() } else { None }
}

/// Somebody who looks.
struct Viewer {
    ring: Arc<Ring>,
    newest: watch::Receiver<u64>,
    /// All up to here was sent, or is gone.
    place: u64,
    pending: VecDeque<Arc<Shown>>,
    _permit: OwnedSemaphorePermit,
}

fn events(viewer: Viewer) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(viewer, |mut viewer| async move { viewer.next().await.map(|event| (Ok(event), viewer)) })
}

impl Viewer {
    /// The next event; none when the sink is gone.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(shown) = self.pending.pop_front() {
                return Some(event(self.ring.life, &shown));
            }
            self.newest.borrow_and_update();
            let behind = self.ring.behind(self.place, PIECE);
            self.pending = behind.messages.into();
            self.place = self.pending.back().map_or(self.place, |last| last.sequence);
            if behind.missed > 0 {
                return Some(Event::default().event("lagged").data(format!("{{\"missed\":{}}}", behind.missed)));
            }
            if self.pending.is_empty() {
                self.newest.changed().await.ok()?;
            }
        }
    }
}

fn event(life: u64, shown: &Shown) -> Event {
    let data = serde_json::to_string(&shown.line()).expect("texts and numbers are JSON");
    Event::default().id(format!("{life}-{}", shown.sequence)).data(data)
}
