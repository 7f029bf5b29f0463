//! A dead letter, as a person sees it.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::message::{Message, MessageId};
use crate::source::header;

/// A letter on the dead-letter queue.
#[derive(Clone, Debug)]
pub(super) struct DeadLetter {
    /// Counts from 1, the oldest, at the moment of looking.
    pub(super) position: u64,
    /// By which its queue knows it while it is sifted.
    pub(super) place: i64,
    /// The message, with the headers that say why it is here.
    pub(super) message: Message,
}

impl DeadLetter {
    /// One of Tidegate's headers; none where it is missing.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.message.properties.get(&format!("header:{name}")).map(std::borrow::Cow::into_owned)
    }

    /// The message's id.
    pub(super) fn id(&self) -> Option<&str> {
        self.message.id.as_ref().map(MessageId::as_str)
    }

    /// How often it was tried. Letters that do not say were tried once.
    pub(super) fn attempts(&self) -> u64 {
        self.header(header::ATTEMPTS).and_then(|attempts| attempts.parse().ok()).unwrap_or(1)
    }

    /// The sink in whose lane it was refused; none where that was before the fan-out, or where it does not say.
    pub(super) fn lane(&self) -> Option<String> {
        let of_sink = || Some(self.header(header::STAGE)?.strip_prefix("sinks.")?.to_owned());
        self.header(header::LANE).or_else(of_sink)
    }

    /// The generation that refused it; none where it does not say.
    pub(super) fn generation(&self) -> Option<u64> {
        self.header(header::GENERATION)?.parse().ok()
    }

    /// When it was written; none where it does not say, or not in a form that can be read.
    pub(super) fn time(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339_weak(&self.header(header::TIME)?).ok()
    }

    /// The message as it was, to be sent again.
    pub(super) fn again(&self) -> Message {
        // A part of a message that a step had split has an id of its own; what is sent again is the whole.
        let original = self.message.properties.get("message-id").and_then(|id| MessageId::new(&id));
        let id = original.or_else(|| self.message.id.clone());
        Message { id, ..self.message.clone() }
    }

    /// The message's bytes as they came.
    pub(super) fn bytes(&self) -> usize {
        self.message.original.len()
    }

    /// All but what it holds, and but its properties.
    pub(super) fn summary(&self) -> Map<String, Value> {
        let summary = json!({
            "position": self.position,
            "id": self.id(),
            "letter": self.header(header::LETTER),
            "time": self.header(header::TIME),
            "pipeline": self.header(header::PIPELINE),
            "stage": self.header(header::STAGE),
            "lane": self.header(header::LANE),
            "code": self.header(header::CODE),
            "reason": self.header(header::REASON),
            "pointer": self.header(header::POINTER),
            "plugin": self.header(header::PLUGIN),
            "generation": self.generation(),
            "attempts": self.attempts(),
            "previous_letter": self.header(header::PREVIOUS_LETTER),
            "bytes": self.bytes(),
        });
        match summary {
            Value::Object(summary) => summary,
            _ => Map::new(),
        }
    }

    /// What came with the body, and none of Tidegate's own headers.
    pub(super) fn properties(&self) -> Map<String, Value> {
        let ours = |key: &str| key.strip_prefix("header:").is_some_and(|name| name.starts_with(header::PREFIX));
        self.message.properties.all().into_iter().filter(|(key, _)| !ours(key)).collect()
    }
}

/// Text for a line on a terminal: a message must not move the cursor, or colour what it is not.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char.escape_debug().to_string() } else { char.to_string() }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use bytes::Bytes;

    use super::*;
    use crate::source::journal::Recorded;

    /// A letter with these headers.
    pub(crate) fn letter(id: &str, headers: &[(&str, &str)]) -> DeadLetter {
        let values = headers.iter().map(|(name, value)| (format!("header:{name}"), (*value).to_owned()));
        let properties = Recorded::new(values, UNIX_EPOCH);
        let message = Message::new(MessageId::new(id), Bytes::from_static(b"{\"secret\":1}"), Arc::new(properties));
        DeadLetter { position: 1, place: 1, message }
    }

    #[test]
    fn the_summary_says_why_and_never_what() {
        let letter = letter("m-1", &[(header::CODE, "too_long"), (header::STAGE, "steps.validate"), ("tenant", "acme")]);
        let summary = Value::Object(letter.summary()).to_string();
        assert!(summary.contains("too_long") && summary.contains("m-1") && !summary.contains("secret"), "{summary}");
        assert_eq!((letter.attempts(), letter.bytes()), (1, 12));
        assert_eq!(letter.properties().keys().collect::<Vec<_>>(), ["header:tenant", "timestamp"]);
    }

    #[test]
    fn a_message_cannot_write_on_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc ü"), "a\\u{1b}[2Jb\\nc ü");
    }
}
