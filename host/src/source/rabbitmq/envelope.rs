//! What AMQP says of a message: its properties, and the way it came.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use lapin::types::{AMQPValue, ShortString};
use lapin::{Acker, BasicProperties};
use serde_json::{Map, Value};

use crate::message::{Message, MessageId, Properties};

/// The properties of a message as they came from the broker. Nothing is converted until it is asked for.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Content type, headers and the like.
    pub(super) properties: BasicProperties,
    /// Where it was published to; empty for the default exchange.
    pub(super) exchange: ShortString,
    /// With which key.
    pub(super) routing_key: ShortString,
    /// Whether the broker has delivered it before.
    pub(super) redelivered: bool,
}

impl Properties for Envelope {
    fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        let properties = &self.properties;
        let text = match key {
            "message-id" => properties.message_id(),
            "correlation-id" => properties.correlation_id(),
            "content-type" => properties.content_type(),
            "content-encoding" => properties.content_encoding(),
            "type" => properties.kind(),
            "app-id" => properties.app_id(),
            "user-id" => properties.user_id(),
            "reply-to" => properties.reply_to(),
            "routing-key" => return Some(self.routing_key.as_str().into()),
            "exchange" => return Some(self.exchange.as_str().into()),
            "redelivered" => return Some(if self.redelivered { "true" } else { "false" }.into()),
            "timestamp" => return properties.timestamp().map(|seconds| seconds.to_string().into()),
            _ => return self.header(key.strip_prefix("header:")?),
        };
        text.as_ref().map(|text| text.as_str().into())
    }

    fn all(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for key in KEYS {
            if let Some(value) = self.get(key) {
                all.insert(key.to_owned(), value.into());
            }
        }
        if let Some(priority) = self.properties.priority() {
            all.insert("priority".to_owned(), (*priority).into());
        }
        if let Some(expiration) = self.properties.expiration() {
            all.insert("expiration".to_owned(), expiration.as_str().into());
        }
        for (name, value) in self.properties.headers().iter().flat_map(|table| table.inner()) {
            all.insert(format!("header:{name}"), json(value));
        }
        all
    }
}

/// Keys of the properties, in the order in which AMQP has them.
const KEYS: [&str; 12] = [
    "content-type",
    "content-encoding",
    "correlation-id",
    "reply-to",
    "message-id",
    "timestamp",
    "type",
    "user-id",
    "app-id",
    "exchange",
    "routing-key",
    "redelivered",
];

/// A header's value with its structure. Bytes that are no text become text as well as they can.
fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(table) => {
            Value::Object(table.inner().iter().map(|(name, value)| (name.to_string(), json(value))).collect())
        }
        AMQPValue::DecimalValue(value) => format!("{value:?}").into(),
        AMQPValue::LongString(_) | AMQPValue::ShortString(_) | AMQPValue::ByteArray(_) => text(value).into(),
        AMQPValue::Void => Value::Null,
    }
}

impl Envelope {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.properties.headers().as_ref()?.inner().get(name).and_then(text)
    }
}

/// How often a quorum queue has taken a message back; other queues do not count it.
fn returns(properties: &BasicProperties) -> u64 {
    let count = properties.headers().as_ref().and_then(|headers| headers.inner().get("x-delivery-count")).and_then(text);
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// A header's value as text; none for what has no plain text form: tables, arrays, decimals, nothing.
fn text(value: &AMQPValue) -> Option<Cow<'_, str>> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()),
        AMQPValue::Boolean(value) => value.to_string().into(),
        AMQPValue::ShortShortInt(value) => value.to_string().into(),
        AMQPValue::ShortShortUInt(value) => value.to_string().into(),
        AMQPValue::ShortInt(value) => value.to_string().into(),
        AMQPValue::ShortUInt(value) => value.to_string().into(),
        AMQPValue::LongInt(value) => value.to_string().into(),
        AMQPValue::LongUInt(value) => value.to_string().into(),
        AMQPValue::LongLongInt(value) => value.to_string().into(),
        AMQPValue::Timestamp(value) => value.to_string().into(),
        AMQPValue::Float(value) => value.to_string().into(),
        AMQPValue::Double(value) => value.to_string().into(),
        AMQPValue::DecimalValue(_) | AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) | AMQPValue::Void => return None,
    })
}

/// Messages of a batch where nothing else is said.
const ROOM: usize = 128;

/// Messages that came together, in order.
#[derive(Default)]
pub(super) struct Gathered {
    /// What travels on.
    pub(super) messages: Vec<Message>,
    /// What acknowledges each of them.
    pub(super) ackers: Vec<Acker>,
    /// How many of them the broker says it delivered before.
    pub(super) redelivered: u64,
    /// How often a quorum queue has taken one of them back, at most.
    pub(super) returns: u64,
    /// How long their bodies are together.
    pub(super) bytes: usize,
}

impl Gathered {
    /// Makes room for that many, or for a usual batch where they may be more.
    pub(super) fn reserve(&mut self, most: usize) {
        let room = most.min(ROOM);
        self.messages.reserve(room);
        self.ackers.reserve(room);
    }

    /// Adds a message. It is taken apart at once, because a delivery of the client library is large to move.
    pub(super) fn push(&mut self, delivery: lapin::message::Delivery) {
        if delivery.redelivered {
            self.redelivered += 1;
            self.returns = self.returns.max(returns(&delivery.properties));
        }
        self.bytes += delivery.data.len();
        let (message, acker) = unpack(delivery);
        self.messages.push(message);
        self.ackers.push(acker);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

/// Takes a delivery apart: the message, without a copy of its body, and what acknowledges it.
pub(super) fn unpack(delivery: lapin::message::Delivery) -> (Message, Acker) {
    let lapin::message::Delivery { exchange, routing_key, redelivered, properties, data, acker, .. } = delivery;
    let id = properties.message_id().as_ref().and_then(|id| MessageId::new(id.as_str()));
    let envelope = Envelope { properties, exchange, routing_key, redelivered };
    (Message::new(id, Bytes::from(data), Arc::new(envelope)), acker)
}

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, FieldTable};

    use super::*;

    fn envelope() -> Envelope {
        let mut headers = FieldTable::default();
        headers.insert("tenant".into(), AMQPValue::LongString("acme".into()));
        headers.insert("retries".into(), AMQPValue::LongInt(-3));
        headers.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::default()));
        Envelope {
            properties: BasicProperties::default()
                .with_message_id("m-1".into())
                .with_timestamp(1_700_000_000)
                .with_type("greeting".into())
                .with_headers(headers),
            exchange: "".into(),
            routing_key: "message_broadcast_queue".into(),
            redelivered: true,
        }
    }

    #[test]
    fn each_metadata_key_gives_its_value_as_text() {
        let envelope = envelope();
        let expected = [
            ("message-id", "m-1"),
            ("timestamp", "1700000000"),
            ("type", "greeting"),
            ("exchange", ""),
            ("routing-key", "message_broadcast_queue"),
            ("redelivered", "true"),
            ("header:tenant", "acme"),
            ("header:retries", "-3"),
        ];
        for (key, value) in expected {
            assert_eq!(envelope.get(key).as_deref(), Some(value), "{key}");
        }
    }

    #[test]
    fn a_person_sees_all_of_it_with_its_structure() {
        let all = Value::Object(envelope().all());
        assert_eq!(
            all,
            serde_json::json!({
                "message-id": "m-1", "timestamp": "1700000000", "type": "greeting", "exchange": "", "redelivered": "true",
                "routing-key": "message_broadcast_queue", "header:tenant": "acme", "header:retries": -3, "header:x-death": [],
            })
        );
    }

    #[test]
    fn what_is_not_there_or_has_no_text_is_none() {
        for key in ["correlation-id", "app-id", "header:missing", "header:x-death", "tenant", "header:", ""] {
            assert_eq!(envelope().get(key), None, "{key}");
        }
    }

    #[test]
    fn an_unusable_id_counts_as_none_and_the_rest_is_kept() {
        let mut delivery = lapin::message::Delivery::mock(1, "e".into(), "k".into(), false, b"\xEF\xBB\xBF{}".to_vec());
        delivery.properties = BasicProperties::default().with_message_id("".into());
        let (message, _) = unpack(delivery);
        assert_eq!(message.id, None);
        assert_eq!((&message.body[..], &message.original[..]), (&b"{}"[..], &b"\xEF\xBB\xBF{}"[..]));
        assert_eq!(message.properties.get("exchange").as_deref(), Some("e"));
    }
}
