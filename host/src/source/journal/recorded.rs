//! What came with a body, as the journal keeps it: metadata keys and their values, as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::message::{Message, Properties};
use crate::source::header;

/// Metadata keys that are copied from properties of another kind.
const KNOWN: [&str; 9] =
    ["correlation-id", "content-type", "content-encoding", "type", "app-id", "user-id", "reply-to", "routing-key", "source"];

/// Properties that the journal keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    values: BTreeMap<String, String>,
    received: SystemTime,
}

impl Recorded {
    /// Properties of a message that was received at a time. Keys are those of the WIT's `manifest.reads`; `message-id` and
    /// `timestamp` are not among them.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = (String, String)>, received: SystemTime) -> Self {
        Self { values: values.into_iter().collect(), received }
    }

    /// The properties of a message, whatever their kind, with further headers.
    pub(super) fn of(message: &Message, headers: &[(&'static str, String)]) -> Self {
        let any: &dyn std::any::Any = &*message.properties;
        let mut recorded = any.downcast_ref::<Self>().cloned().unwrap_or_else(|| Self::copied(&*message.properties));
        recorded.values.retain(|key, _| key.strip_prefix("header:").is_none_or(header::travels));
        recorded.values.extend(headers.iter().map(|(name, value)| (format!("header:{name}"), value.clone())));
        recorded
    }

    fn copied(properties: &dyn Properties) -> Self {
        let value = |key: &str| properties.get(key).map(|value| (key.to_owned(), value.into_owned()));
        let seconds = properties.get("timestamp").and_then(|text| text.parse().ok());
        let received = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        Self::new(KNOWN.into_iter().filter_map(value), received.unwrap_or_else(SystemTime::now))
    }

    /// As the file has it: a JSON object, and milliseconds since 1970.
    pub(super) fn to_row(&self) -> (String, i64) {
        let text = serde_json::to_string(&self.values).expect("a map of texts is JSON");
        let since = self.received.duration_since(UNIX_EPOCH).unwrap_or_default();
        (text, i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Out of the file. What another program wrote into it and is no JSON object of texts counts as nothing.
    pub(super) fn of_row(properties: &str, received_milliseconds: i64) -> Self {
        let milliseconds = Duration::from_millis(u64::try_from(received_milliseconds).unwrap_or_default());
        let received = UNIX_EPOCH.checked_add(milliseconds).unwrap_or(UNIX_EPOCH);
        Self { values: serde_json::from_str(properties).unwrap_or_default(), received }
    }
}

impl Properties for Recorded {
    fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        if key == "timestamp" {
            let since = self.received.duration_since(UNIX_EPOCH).unwrap_or_default();
            return Some(Cow::Owned(since.as_secs().to_string()));
        }
        let found = self.values.get(key);
        // Names of HTTP headers have no case, and are kept in lower case.
        found.or_else(|| self.values.get(&key.to_ascii_lowercase())).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn all(&self) -> serde_json::Map<String, serde_json::Value> {
        let values = self.values.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        values.chain(self.get("timestamp").map(|seconds| ("timestamp".to_owned(), seconds.into()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn recorded() -> Recorded {
        let values = [("content-type", "text/plain"), ("header:x-tenant", "a\"b\nü")];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Recorded::new(values, UNIX_EPOCH + Duration::from_millis(1_700_000_000_123))
    }

    #[test]
    fn properties_come_out_of_the_file_as_they_went_in() {
        let (text, milliseconds) = recorded().to_row();
        assert_eq!(Recorded::of_row(&text, milliseconds), recorded());
    }

    #[test]
    fn a_header_is_found_in_any_case_and_the_time_is_in_seconds() {
        let recorded = recorded();
        assert_eq!(recorded.get("header:X-Tenant").as_deref(), Some("a\"b\nü"));
        assert_eq!(recorded.get("timestamp").as_deref(), Some("1700000000"));
        assert_eq!(recorded.get("routing-key"), None);
    }

    #[test]
    fn further_headers_replace_older_ones_of_the_same_name() {
        let message = Message::new(None, Bytes::new(), Arc::new(recorded()));
        let first = Recorded::of(&message, &[("tidegate-code", "first".into())]);
        let again = Recorded::of(&Message { properties: Arc::new(first), ..message }, &[("tidegate-code", "last".into())]);
        assert_eq!(again.get("header:tidegate-code").as_deref(), Some("last"));
        assert_eq!(again.get("content-type").as_deref(), Some("text/plain"));
    }

    #[test]
    fn what_a_message_says_of_itself_under_our_names_is_dropped_and_what_a_replay_says_is_kept() {
        let forged = [("header:tidegate-pointer", "/id"), ("header:tidegate-attempts", "2"), ("header:mine", "m")];
        let forged = Recorded::new(forged.map(|(key, value)| (key.to_owned(), value.to_owned())), UNIX_EPOCH);
        let recorded = Recorded::of(&Message::new(None, Bytes::new(), Arc::new(forged)), &[(header::CODE, "c".into())]);
        let all = recorded.all();
        assert_eq!(
            all.keys().collect::<Vec<_>>(),
            ["header:mine", "header:tidegate-attempts", "header:tidegate-code", "timestamp"]
        );
    }

    #[derive(Debug)]
    struct Other;

    impl Properties for Other {
        fn get(&self, key: &str) -> Option<Cow<'_, str>> {
            match key {
                "routing-key" => Some("orders".into()),
                "timestamp" => Some("7".into()),
                _ => None,
            }
        }
    }

    #[test]
    fn properties_of_another_kind_are_copied_by_the_known_keys() {
        let recorded = Recorded::of(&Message::new(None, Bytes::new(), Arc::new(Other)), &[]);
        assert_eq!(recorded.get("routing-key").as_deref(), Some("orders"));
        assert_eq!(recorded.get("timestamp").as_deref(), Some("7"));
    }
}
