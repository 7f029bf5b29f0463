//! A message and its identity. Knows nothing of brokers, steps or sinks.

mod fields;
mod outline;
mod pointer;
mod seals;

pub use fields::{Fields, Found};
pub use outline::{Outline, Outlines, Place};
pub use pointer::{Pointer, PointerError};
pub use seals::{SealedField, Seals};

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Upstream identity of a message, stable across its redeliveries, e.g. an AMQP `message_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// Longest id, in bytes: what an AMQP short string holds.
    pub const MAX_BYTES: usize = 255;

    /// An id, or none where the text is empty, longer than [`Self::MAX_BYTES`], or holds U+0000 (which no database stores).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let usable = !text.is_empty() && text.len() <= Self::MAX_BYTES && !text.contains('\0');
        usable.then(|| Self(text.into()))
    }

    /// The id as text. Not trusted: escape it before it is shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

/// What came with a body: the source's own properties, kept as they are so that a dead letter can carry them on.
pub trait Properties: Any + Send + Sync + fmt::Debug {
    /// One value by its metadata key, e.g. `message-id`, `routing-key`, `header:tenant` (the list stands in the WIT's `manifest.reads`).
    fn get(&self, key: &str) -> Option<Cow<'_, str>>;

    /// All that came with the body, by metadata key, for a person who looks at a dead letter. What has no plain text form keeps its
    /// structure. Default: nothing.
    fn all(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

/// Properties of a message that came with none.
#[derive(Debug)]
pub struct NoProperties;

impl Properties for NoProperties {
    fn get(&self, _key: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// UTF-8's, which some producers write and JSON does not allow.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One message, on its way from the source to the sinks. Cloning copies no bytes.
#[derive(Clone, Debug)]
pub struct Message {
    /// Stable across redeliveries of the same upstream message; none when the upstream gave none.
    pub id: Option<MessageId>,
    /// The bytes as the steps have left them.
    pub body: Bytes,
    /// The bytes as they came, for the dead-letter queue.
    pub original: Bytes,
    /// What came with the bytes.
    pub properties: Arc<dyn Properties>,
    /// The fields that are sealed in `body`. Emptied when a step replaces the body.
    pub sealed: Seals,
    /// Where fields stand in `body`; none where nobody has looked since it changed.
    pub outline: Option<Outline>,
}

impl Message {
    /// A message as a source hands it on. A UTF-8 byte order mark before the body is no part of it, and is kept in the original only.
    #[must_use]
    pub fn new(id: Option<MessageId>, original: Bytes, properties: Arc<dyn Properties>) -> Self {
        let body = if original.starts_with(BYTE_ORDER_MARK) { original.slice(BYTE_ORDER_MARK.len()..) } else { original.clone() };
        Self { id, body, original, properties, sealed: Seals::default(), outline: None }
    }

    /// Gives it another body: nothing in it counts as sealed any more.
    pub fn replace_body(&mut self, body: Bytes) {
        self.body = body;
        self.sealed = Seals::default();
        self.outline = None;
    }

    /// Gives it a body in which these fields are sealed, and every other one is as it was.
    pub fn seal(&mut self, body: Bytes, sealed: Seals, outline: Option<Outline>) {
        self.body = body;
        self.sealed = sealed;
        self.outline = outline;
    }

    /// One of the messages that it is split into, by its index. Parts get ids of their own, or a sink that is idempotent by id would keep
    /// only the first.
    #[must_use]
    pub fn part(&self, index: usize, body: Bytes) -> Self {
        let id = self.id.as_ref().and_then(|id| MessageId::new(&format!("{}.{}", id.as_str(), index + 1)));
        Self { id, body, sealed: Seals::default(), outline: None, ..self.clone() }
    }

    /// The id for logs: escaped, or `-`.
    #[must_use]
    pub fn label(&self) -> String {
        self.id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
    }
}

/// Why a message, or a row of it, is refused for good. Never holds content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A short stable name, e.g. `too_long`.
    pub code: Cow<'static, str>,
    /// One sentence for a person.
    pub message: String,
    /// Where in the body, as a JSON pointer.
    pub pointer: Option<String>,
}

impl Reason {
    /// A reason about the message as a whole.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), message: message.into(), pointer: None }
    }

    /// The same reason, about one field.
    #[must_use]
    pub fn at(mut self, pointer: &Pointer) -> Self {
        self.pointer = Some(pointer.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &'static [u8]) -> Message {
        Message::new(None, Bytes::from_static(body), Arc::new(NoProperties))
    }

    #[test]
    fn a_byte_order_mark_is_stripped_from_the_body_and_kept_in_the_original() {
        let message = message(b"\xEF\xBB\xBF{}");
        assert_eq!(&message.body[..], b"{}");
        assert_eq!(&message.original[..], b"\xEF\xBB\xBF{}");
    }

    #[test]
    fn only_a_whole_byte_order_mark_at_the_very_start_is_stripped_and_only_once() {
        for (original, body) in [
            (&b"\xEF\xBB"[..], &b"\xEF\xBB"[..]),
            (b" \xEF\xBB\xBF", b" \xEF\xBB\xBF"),
            (b"\xEF\xBB\xBF\xEF\xBB\xBF", b"\xEF\xBB\xBF"),
            (b"\xEF\xBB\xBF", b""),
            (b"", b""),
        ] {
            assert_eq!(&message(original).body[..], body);
        }
    }
}
