//! A message on a side queue: what is put beside it, so that it comes back as it was.
//!
//! Some properties have a meaning to the broker that must not work on a side queue (a letter must not expire, overtake others, or be
//! routed elsewhere): they travel as headers and are restored when the letter is taken.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties};

use super::envelope::Envelope;
use crate::message::{Message, MessageId};
use crate::source::{Destination, Letter, SideQueue, header};

const PERSISTENT: u8 = 2;

/// Those of our headers that say how the message was.
const ORIGINAL: &str = "tidegate-original-";

const EXCHANGE: &str = "tidegate-original-exchange";
const ROUTING_KEY: &str = "tidegate-original-routing-key";
const EXPIRATION: &str = "tidegate-original-expiration";
const USER_ID: &str = "tidegate-original-user-id";
const PRIORITY: &str = "tidegate-original-priority";
/// The message's id, where it did not come as the property `message_id`.
const MESSAGE_ID: &str = "tidegate-original-id";

/// Headers by which a publisher asks the broker for further routes, and what they are called meanwhile.
const ROUTES: [(&str, &str); 2] = [("CC", "tidegate-original-CC"), ("BCC", "tidegate-original-BCC")];

/// Headers by which a quorum queue counts how often it has delivered a message: they are the queue's, not the message's.
const COUNTS: [&str; 2] = [DELIVERY_COUNT, "x-acquired-count"];
const DELIVERY_COUNT: &str = "x-delivery-count";

type Headers = BTreeMap<ShortString, AMQPValue>;

/// The properties that a letter is published with, on its way to a queue.
pub(super) fn properties_for(to: &Destination, letter: &Letter) -> BasicProperties {
    match to {
        Destination::Source => as_it_was(letter),
        Destination::Side(_) => properties(letter),
    }
}

/// The properties of a message that goes back to the source's own queue: as they were, but for those with which the broker would refuse
/// it (a user that is not this connection's) or send it to other queues as well (`CC`, `BCC`).
fn as_it_was(letter: &Letter) -> BasicProperties {
    let Letter { message, headers: further } = letter;
    let Some(envelope) = (&*message.properties as &dyn Any).downcast_ref::<Envelope>() else { return properties(letter) };
    let from = &envelope.properties;
    let mut headers = from.headers().as_ref().map(|table| table.inner().clone()).unwrap_or_default();
    headers.retain(|name, _| header::travels(name.as_str()) && !ROUTES.iter().any(|(route, _)| name.as_str() == *route));
    for (name, value) in further {
        set(&mut headers, name, value.as_str());
    }
    let mut properties = harmless(from).with_delivery_mode(PERSISTENT);
    if let Some(expiration) = from.expiration() {
        properties = properties.with_expiration(expiration.clone());
    }
    if let Some(priority) = from.priority() {
        properties = properties.with_priority(*priority);
    }
    if headers.is_empty() { properties } else { properties.with_headers(FieldTable::from(headers)) }
}

/// The properties that a letter is published with.
fn properties(letter: &Letter) -> BasicProperties {
    let Letter { message, headers: further } = letter;
    let envelope = (&*message.properties as &dyn Any).downcast_ref::<Envelope>();
    let (mut properties, mut headers) = envelope.map_or_else(Default::default, seal);
    for (name, value) in further {
        set(&mut headers, name, value.as_str());
    }
    if let Some(id) = &message.id {
        let property = envelope.and_then(|envelope| envelope.properties.message_id().as_ref());
        match property {
            Some(property) if property.as_str() == id.as_str() => {}
            // Without an envelope there is no property to falsify. An id is never longer than a short string holds.
            None if envelope.is_none() => properties = properties.with_message_id(id.as_str().into()),
            _ => set(&mut headers, MESSAGE_ID, id.as_str()),
        }
    }
    properties.with_delivery_mode(PERSISTENT).with_headers(FieldTable::from(headers))
}

/// What is kept as it is, and the headers with what had to move there.
fn seal(envelope: &Envelope) -> (BasicProperties, Headers) {
    let from = &envelope.properties;
    let mut headers = from.headers().as_ref().map(|table| table.inner().clone()).unwrap_or_default();
    headers.retain(|name, _| header::travels(name.as_str()));
    for (name, meanwhile) in ROUTES {
        if let Some(routes) = headers.remove(name) {
            headers.insert(meanwhile.into(), routes);
        }
    }
    set(&mut headers, EXCHANGE, envelope.exchange.as_str());
    set(&mut headers, ROUTING_KEY, envelope.routing_key.as_str());
    if let Some(expiration) = from.expiration() {
        set(&mut headers, EXPIRATION, expiration.as_str());
    }
    if let Some(user) = from.user_id() {
        set(&mut headers, USER_ID, user.as_str());
    }
    if let Some(priority) = from.priority() {
        headers.insert(PRIORITY.into(), AMQPValue::ShortShortUInt(*priority));
    }
    (harmless(from), headers)
}

/// The properties that mean nothing to the broker.
fn harmless(from: &BasicProperties) -> BasicProperties {
    type With = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, With); 8] = [
        (from.content_type(), BasicProperties::with_content_type),
        (from.content_encoding(), BasicProperties::with_content_encoding),
        (from.correlation_id(), BasicProperties::with_correlation_id),
        (from.reply_to(), BasicProperties::with_reply_to),
        (from.message_id(), BasicProperties::with_message_id),
        (from.kind(), BasicProperties::with_type),
        (from.app_id(), BasicProperties::with_app_id),
        (from.cluster_id(), BasicProperties::with_cluster_id),
    ];
    let kept = texts.into_iter().fold(BasicProperties::default(), |kept, (text, with)| match text {
        Some(text) => with(kept, text.clone()),
        None => kept,
    });
    match from.timestamp() {
        Some(seconds) => kept.with_timestamp(*seconds),
        None => kept,
    }
}

fn set(headers: &mut Headers, name: &str, value: &str) {
    headers.insert(name.into(), AMQPValue::LongString(value.into()));
}

/// The message that a letter was made of. A parked one is as it was; a dead one keeps the headers that say why it is dead.
pub(super) fn open(queue: &SideQueue, delivery: lapin::message::Delivery) -> (Message, Acker) {
    let (message, acker) = super::envelope::unpack(delivery);
    let Some(envelope) = (&*message.properties as &dyn Any).downcast_ref::<Envelope>() else { return (message, acker) };
    let mut headers = envelope.properties.headers().as_ref().map(|table| table.inner().clone()).unwrap_or_default();
    let id = short(&mut headers, MESSAGE_ID).and_then(|id| MessageId::new(id.as_str())).or_else(|| message.id.clone());
    let envelope = unseal(envelope, headers, matches!(queue, SideQueue::Dead));
    (Message { id, properties: Arc::new(envelope), ..message }, acker)
}

fn unseal(letter: &Envelope, mut headers: Headers, keep_reasons: bool) -> Envelope {
    let mut properties = harmless(&letter.properties);
    if let Some(expiration) = short(&mut headers, EXPIRATION) {
        properties = properties.with_expiration(expiration);
    }
    if let Some(user) = short(&mut headers, USER_ID) {
        properties = properties.with_user_id(user);
    }
    if let Some(AMQPValue::ShortShortUInt(priority)) = headers.remove(PRIORITY) {
        properties = properties.with_priority(priority);
    }
    let exchange = short(&mut headers, EXCHANGE).unwrap_or_else(|| letter.exchange.clone());
    let routing_key = short(&mut headers, ROUTING_KEY).unwrap_or_else(|| letter.routing_key.clone());
    for (name, meanwhile) in ROUTES {
        if let Some(routes) = headers.remove(meanwhile) {
            headers.insert(name.into(), routes);
        }
    }
    let stays =
        |name: &str| if keep_reasons { !name.starts_with(ORIGINAL) } else { header::travels(name) || name == header::ATTEMPT };
    headers.retain(|name, _| stays(name.as_str()) && !COUNTS.contains(&name.as_str()));
    if !headers.is_empty() {
        properties = properties.with_headers(FieldTable::from(headers));
    }
    Envelope { properties: properties.with_delivery_mode(PERSISTENT), exchange, routing_key, redelivered: letter.redelivered }
}

/// How often a letter was given back to a quorum queue; 0 on other queues, which do not count.
pub(super) fn returns(properties: &BasicProperties) -> i64 {
    let headers = properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(DELIVERY_COUNT)) {
        Some(AMQPValue::LongLongInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => (*count).into(),
        Some(AMQPValue::ShortInt(count)) => (*count).into(),
        Some(AMQPValue::ShortShortInt(count)) => (*count).into(),
        Some(AMQPValue::LongUInt(count)) => (*count).into(),
        Some(AMQPValue::ShortUInt(count)) => (*count).into(),
        Some(AMQPValue::ShortShortUInt(count)) => (*count).into(),
        _ => 0,
    }
}

/// Takes a header out whose value fits a short string.
fn short(headers: &mut Headers, name: &str) -> Option<ShortString> {
    let AMQPValue::LongString(text) = headers.remove(name)? else { return None };
    ShortString::try_new(std::str::from_utf8(text.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::types::FieldArray;

    use super::*;
    use crate::message::NoProperties;
    use crate::source::header;

    fn original() -> Envelope {
        let mut headers = FieldTable::default();
        headers.insert("tenant".into(), AMQPValue::LongString("acme".into()));
        headers.insert("CC".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongString("elsewhere".into())])));
        Envelope {
            properties: BasicProperties::default()
                .with_message_id("m-1".into())
                .with_content_type("application/json".into())
                .with_timestamp(7)
                .with_expiration("60000".into())
                .with_user_id("guest".into())
                .with_priority(9)
                .with_delivery_mode(PERSISTENT)
                .with_headers(headers),
            exchange: "amq.topic".into(),
            routing_key: "a.b".into(),
            redelivered: false,
        }
    }

    fn letter(envelope: Envelope) -> Letter {
        let id = MessageId::new("m-1");
        let message = Message::new(id, Bytes::from_static(b"\xEF\xBB\xBF{}"), Arc::new(envelope));
        Letter { message, headers: vec![(header::CODE, "too_long".to_owned())] }
    }

    fn delivered(letter: &Letter) -> lapin::message::Delivery {
        let mut delivery =
            lapin::message::Delivery::mock(1, "".into(), "queue.dead".into(), false, letter.message.original.to_vec());
        delivery.properties = properties(letter);
        delivery
    }

    fn envelope(message: &Message) -> &Envelope {
        (&*message.properties as &dyn Any).downcast_ref().unwrap()
    }

    #[test]
    fn a_letter_neither_expires_nor_overtakes_nor_is_routed_elsewhere() {
        let properties = properties(&letter(original()));
        assert_eq!((properties.expiration(), properties.user_id(), properties.priority()), (&None, &None, &None));
        assert_eq!(*properties.delivery_mode(), Some(PERSISTENT));
        let headers = properties.headers().as_ref().unwrap();
        assert!(!headers.contains_key("CC"));
        for name in ["tenant", "tidegate-code", EXCHANGE, ROUTING_KEY, EXPIRATION, USER_ID] {
            assert!(headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_parked_letter_comes_back_as_it_was() {
        let (message, _) = open(&SideQueue::Parked("history".into()), delivered(&letter(original())));
        assert_eq!(message.id, MessageId::new("m-1"));
        assert_eq!(&message.original[..], b"\xEF\xBB\xBF{}");
        assert_eq!(envelope(&message).properties, original().properties);
        assert_eq!(message.properties.get("exchange").as_deref(), Some("amq.topic"));
        assert_eq!(message.properties.get("routing-key").as_deref(), Some("a.b"));
    }

    #[test]
    fn a_dead_letter_keeps_the_reason_and_only_that() {
        let (message, _) = open(&SideQueue::Dead, delivered(&letter(original())));
        assert_eq!(message.properties.get("header:tidegate-code").as_deref(), Some("too_long"));
        assert_eq!(message.properties.get("header:tidegate-original-exchange"), None);
        assert_eq!(message.properties.get("exchange").as_deref(), Some("amq.topic"));
    }

    #[test]
    fn a_replayed_message_is_as_it_was_but_for_what_would_send_it_elsewhere_and_says_that_it_was_replayed() {
        let (message, _) = open(&SideQueue::Dead, delivered(&letter(original())));
        let replayed = Letter { message, headers: vec![(header::ATTEMPTS, "1".to_owned())] };
        let properties = properties_for(&Destination::Source, &replayed);
        assert_eq!(properties.expiration().as_ref().map(ShortString::as_str), Some("60000"));
        assert_eq!((properties.user_id(), *properties.priority(), *properties.timestamp()), (&None, Some(9), Some(7)));
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("m-1"));
        let names: Vec<_> = properties.headers().as_ref().unwrap().inner().keys().map(ToString::to_string).collect();
        assert_eq!(names, ["tenant", "tidegate-attempts"]);
    }

    #[test]
    fn what_a_replay_says_of_a_message_survives_its_parking() {
        let (message, _) = open(&SideQueue::Dead, delivered(&letter(original())));
        let parked = Letter { message, headers: vec![(header::ATTEMPTS, "1".to_owned()), (header::STAGE, "s".to_owned())] };
        let (message, _) = open(&SideQueue::Parked("history".into()), delivered(&parked));
        assert_eq!(message.properties.get("header:tidegate-attempts").as_deref(), Some("1"));
        assert_eq!(message.properties.get("header:tidegate-stage"), None);
        assert_eq!(message.properties.get("header:tidegate-code"), None);
        assert_eq!(message.properties.get("user-id").as_deref(), Some("guest"));
    }

    #[test]
    fn what_a_quorum_queue_counts_is_known_and_is_no_header_of_the_message() {
        let mut delivery = delivered(&letter(original()));
        assert_eq!(returns(&delivery.properties), 0);
        let mut headers = delivery.properties.headers().clone().unwrap();
        headers.insert(DELIVERY_COUNT.into(), AMQPValue::LongLongInt(3));
        delivery.properties = delivery.properties.with_headers(headers);
        assert_eq!(returns(&delivery.properties), 3);
        let (message, _) = open(&SideQueue::Dead, delivery);
        assert_eq!(message.properties.get("header:x-delivery-count"), None);
    }

    #[test]
    fn an_id_that_came_from_the_body_survives_the_side_queue() {
        let mut anonymous = original();
        anonymous.properties = BasicProperties::default();
        let (message, _) = open(&SideQueue::Parked("history".into()), delivered(&letter(anonymous)));
        assert_eq!(message.id, MessageId::new("m-1"));
        assert_eq!(message.properties.get("message-id"), None);
    }

    #[test]
    fn a_message_cannot_forge_what_it_was() {
        let mut forged = original();
        let mut headers = FieldTable::default();
        headers.insert(USER_ID.into(), AMQPValue::LongString("admin".into()));
        headers.insert(MESSAGE_ID.into(), AMQPValue::LongString("other".into()));
        forged.properties = BasicProperties::default().with_message_id("m-1".into()).with_headers(headers);
        let (message, _) = open(&SideQueue::Parked("history".into()), delivered(&letter(forged)));
        assert_eq!(message.properties.get("user-id"), None);
        assert_eq!(message.id, MessageId::new("m-1"));
    }

    #[test]
    fn a_message_from_elsewhere_has_its_id_and_the_headers() {
        let mut letter = letter(original());
        letter.message.properties = Arc::new(NoProperties);
        let properties = properties(&letter);
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("m-1"));
        let names: Vec<_> = properties.headers().as_ref().unwrap().inner().keys().map(ToString::to_string).collect();
        assert_eq!(names, ["tidegate-code"]);
    }
}
