//! Taking in: each request becomes entries of the journal, and is answered once they are durable.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Settings;
use super::condition::{Condition, Part};
use super::forms::{Form, FormError};
use crate::lifecycle::Stop;
use crate::listener;
use crate::message::MessageId;
use crate::source::journal::{AppendError, Entry, Journal, Recorded};

/// All requests together hold at most this many KiB of bodies; the next ones wait for their turn.
const HELD_KIB: usize = 256 << 10;
/// A batch may be this long at least, however short a single message must be.
const BATCH_BYTES: usize = 16 << 20;
/// Longest wait for a turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest headers that are kept with a message, in bytes.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// When to come again after a 503, in seconds.
const RETRY_AFTER: &str = "1";

const HELP: &str = "Tidegate takes messages here.

POST /messages         the body is one message; its id in the header Message-Id (or X-Message-Id)
                       with content-type application/x-ndjson: a message a line
POST /messages/batch   a message a line, or a JSON array with a message an element

202 {\"accepted\": n} means that they lie durably in the journal.
";

/// Headers that are no part of a message: they steer the connection, or are secrets.
const LEFT_OUT: [HeaderName; 15] = [
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Post {
    journal: Journal,
    stage: String,
    max_body_bytes: usize,
    max_waiting: u64,
    condition: Arc<Condition>,
    stop: Stop,
    turns: Semaphore,
}

/// Why a request is not taken.
#[derive(Debug)]
enum Refused {
    BadRequest(String),
    Slow,
    TooLarge(String),
    HeadersTooLarge,
    Unavailable(String),
}

impl From<FormError> for Refused {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Invalid(words) => Self::BadRequest(words),
            FormError::TooLarge(words) => Self::TooLarge(words),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::BadRequest(words) => listener::error(StatusCode::BAD_REQUEST, &words),
            Self::Slow => listener::error(StatusCode::REQUEST_TIMEOUT, "the body did not come within 30 seconds"),
            Self::TooLarge(words) => listener::error(StatusCode::PAYLOAD_TOO_LARGE, &words),
            Self::HeadersTooLarge => {
                let words = format!("the headers are longer than {MAX_HEADER_BYTES} bytes");
                listener::error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &words)
            }
            Self::Unavailable(words) => {
                let mut response = listener::error(StatusCode::SERVICE_UNAVAILABLE, &words);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
                response
            }
        }
    }
}

/// The routes.
pub(super) fn router(shared: Post) -> Router {
    Router::new()
        .route("/", get(async || HELP))
        .route("/messages", post(take_messages))
        .route("/messages/batch", post(take_batch))
        .fallback(async || listener::error(StatusCode::NOT_FOUND, "there is nothing here; GET / says what there is"))
        .method_not_allowed_fallback(async || listener::error(StatusCode::METHOD_NOT_ALLOWED, "messages come by POST"))
        .with_state(Arc::new(shared))
}

async fn take_messages(State(shared): State<Arc<Post>>, request: Request) -> Response {
    let form = Form::of_messages(content_type(request.headers()));
    answer(shared.take(request, form).await)
}

async fn take_batch(State(shared): State<Arc<Post>>, request: Request) -> Response {
    let form = Form::of_batch(content_type(request.headers()));
    answer(shared.take(request, form).await)
}

fn answer(taken: Result<usize, Refused>) -> Response {
    match taken {
        Ok(accepted) => (StatusCode::ACCEPTED, axum::Json(serde_json::json!({ "accepted": accepted }))).into_response(),
        Err(refused) => refused.into_response(),
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

impl Post {
    pub(super) fn new(settings: &Settings, journal: Journal, stage: &str, condition: Arc<Condition>, stop: Stop) -> Self {
        Self {
            journal,
            stage: stage.to_owned(),
            max_body_bytes: settings.max_body_bytes,
            max_waiting: settings.max_waiting,
            condition,
            stop,
            turns: Semaphore::new(HELD_KIB),
        }
    }

    async fn take(&self, request: Request, form: Form) -> Result<usize, Refused> {
        let (head, body) = request.into_parts();
        let id = message_id(&head.headers, form)?;
        let properties = Arc::new(self.recorded(&head.headers, form)?);
        let longest = if form == Form::One { self.max_body_bytes } else { self.max_body_bytes.max(BATCH_BYTES) };
        // Once it is being stored, the stop does not cut it off: what is durable must not be answered as if it were not.
        let (body, _turn) = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Refused::Unavailable("the pipeline is stopping".into())),
            read = self.read(&head.headers, body, longest) => read?,
        };
        let entry = |body| Entry { id: id.clone(), body, properties: Arc::clone(&properties) };
        let entries: Vec<Entry> = form.cut(&body, self.max_body_bytes)?.into_iter().map(entry).collect();
        let accepted = entries.len();
        self.store(entries).await?;
        Ok(accepted)
    }

    async fn read(&self, headers: &HeaderMap, body: Body, longest: usize) -> Result<(Bytes, SemaphorePermit<'_>), Refused> {
        let turn = self.turn(headers, longest).await?;
        let body = timeout(BODY_TIMEOUT, read(body, longest)).await.map_err(|_| Refused::Slow)??;
        Ok((body, turn))
    }

    /// Waits until there is room in memory for the body.
    async fn turn(&self, headers: &HeaderMap, longest: usize) -> Result<SemaphorePermit<'_>, Refused> {
        let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if said.is_some_and(|said| said > longest) {
            return Err(too_long(longest));
        }
        let kib = said.unwrap_or(longest).div_ceil(1024).min(HELD_KIB);
        let turn = timeout(TURN_TIMEOUT, self.turns.acquire_many(u32::try_from(kib).unwrap_or(u32::MAX))).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| Refused::Unavailable("too many requests at a time".into()))
    }

    async fn store(&self, entries: Vec<Entry>) -> Result<(), Refused> {
        match self.journal.append(self.journal.queue(), entries, Some(self.max_waiting)).await {
            Ok(()) => {
                self.condition.works(Part::Storing);
                Ok(())
            }
            Err(AppendError::Full { waiting }) => {
                Err(Refused::Unavailable(format!("{waiting} messages wait already, and {} may", self.max_waiting)))
            }
            Err(AppendError::Stage(failure)) => {
                self.condition.journal_fails(Part::Storing, &failure);
                Err(Refused::Unavailable(format!("the journal cannot be written now ({})", failure.code)))
            }
        }
    }

    /// What the request says of its messages.
    fn recorded(&self, headers: &HeaderMap, form: Form) -> Result<Recorded, Refused> {
        let mut values = vec![("source".to_owned(), self.stage.clone())];
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            let value = headers.get(&name).map(|value| text(&name, value)).transpose()?;
            values.extend(value.map(|value| (name.as_str().to_owned(), value)));
        }
        if form != Form::One {
            // The request's type is that of the batch.
            values.push((header::CONTENT_TYPE.as_str().to_owned(), "application/json".to_owned()));
        }
        let kept = headers.iter().filter(|(name, _)| !LEFT_OUT.contains(name));
        for (name, value) in kept {
            values.push((format!("header:{name}"), text(name, value)?));
        }
        let bytes: usize = values.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_HEADER_BYTES {
            return Err(Refused::HeadersTooLarge);
        }
        Ok(Recorded::new(values, SystemTime::now()))
    }
}

fn text(name: &HeaderName, value: &HeaderValue) -> Result<String, Refused> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::to_owned).map_err(|_| Refused::BadRequest(format!("the header {name} is not UTF-8")))
}

/// The id that the request gives its message. One that cannot be kept is refused: without it the message would be stored twice
/// when it comes twice.
fn message_id(headers: &HeaderMap, form: Form) -> Result<Option<MessageId>, Refused> {
    let given = headers.get("message-id").or_else(|| headers.get("x-message-id"));
    let Some(given) = given else { return Ok(None) };
    if form != Form::One {
        let words = "a batch takes no Message-Id: each of its messages needs an id of its own, in its body";
        return Err(Refused::BadRequest(words.into()));
    }
    let id = std::str::from_utf8(given.as_bytes()).ok().and_then(MessageId::new);
    let words = format!("Message-Id must be UTF-8 of 1 to {} bytes", MessageId::MAX_BYTES);
    id.map(Some).ok_or(Refused::BadRequest(words))
}

async fn read(body: Body, longest: usize) -> Result<Bytes, Refused> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refused::BadRequest("the body broke off".into()))?;
        if whole.len() + chunk.len() > longest {
            return Err(too_long(longest));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn too_long(longest: usize) -> Refused {
    Refused::TooLarge(format!("the body is longer than {longest} bytes"))
}
