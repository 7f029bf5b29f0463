//! The bodies and situations that tell a drop-in from a newcomer: each has its broadcast, its row, its dead letter.

use lapin::BasicProperties;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use redis::AsyncCommands;
use tidegate::source::header;

use crate::broker::{Taken, eventually};
use crate::host::{Rig, lane, plugins};
use crate::names::unique;
use crate::store::Row;

/// A body and what must become of it.
struct Fixture {
    name: &'static str,
    body: Vec<u8>,
    effect: Effect,
}

enum Effect {
    /// Broadcast (as it is, but for a byte order mark) and stored.
    Stored(Row),
    /// Broadcast and not stored once more: its id is there already.
    Again,
    /// Neither: dead-lettered, with this pointer.
    Dead(Option<&'static str>),
}

const EXAMPLE: &str = r#"{
  "id": "user_123",
  "sub_id": "session_456",
  "publisher_information": {
    "client_ip": "192.168.1.100",
    "timestamp": "2025-09-29T10:30:00Z"
  },
  "message": {
    "server_name": "MainServer",
    "content": "Hello, world!"
  }
}"#;
const MINIMAL: &str = r#"{"id":"user_123","sub_id":"session_456","message":{"content":"Hello, world!"}}"#;
const WITH_ID: &str = r#"{"id":"u","sub_id":"s","publisher_information":{"message_id":"0d9b9f5e-8f6e-4a53-9f0e-6f1f6f0b6f11"},"message":{"content":"once"}}"#;

fn row(id: &str, sub_id: &str, publisher_info: &str, server_name: &str, content: &str) -> Row {
    Row {
        id: id.to_owned(),
        sub_id: sub_id.to_owned(),
        publisher_info: Some(publisher_info.to_owned()),
        server_name: server_name.to_owned(),
        message_content: content.to_owned(),
        is_encrypted: true,
    }
}

fn stored(name: &'static str, body: impl Into<Vec<u8>>, row: Row) -> Fixture {
    Fixture { name, body: body.into(), effect: Effect::Stored(row) }
}

fn dead(name: &'static str, body: impl Into<Vec<u8>>, pointer: impl Into<Option<&'static str>>) -> Fixture {
    Fixture { name, body: body.into(), effect: Effect::Dead(pointer.into()) }
}

/// Objects around a value, so many levels deep.
fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"x":"#.repeat(levels), "}".repeat(levels))
}

fn with_id(id: &str) -> String {
    format!(r#"{{"id":"{id}","sub_id":"s","message":{{"content":"c"}}}}"#)
}

fn fixtures() -> Vec<Fixture> {
    [accepted(), wrong_fields(), no_json(), publishers()].into_iter().flatten().collect()
}

fn accepted() -> Vec<Fixture> {
    let information = "{\n    \"client_ip\": \"192.168.1.100\",\n    \"timestamp\": \"2025-09-29T10:30:00Z\"\n  }";
    let minimal = || row("user_123", "session_456", "{}", "MainServer", "Hello, world!");
    let long = "가".repeat(255);
    let nasty = r#"quotes \" and ' and `, backslashes \\ \\\\, '); DROP TABLE messages; --"#;
    let nasty_opened = r#"quotes " and ' and `, backslashes \ \\, '); DROP TABLE messages; --"#;
    let duplicate = r#"{"id":"first","sub_id":"s","message":{"content":"first","content":"last"},"id":"last"}"#;
    let deep = format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"c"}},"deep":{}}}"#, nested(31));
    let id = r#"{"message_id":"0d9b9f5e-8f6e-4a53-9f0e-6f1f6f0b6f11"}"#;
    vec![
        stored("F1 the document's example", EXAMPLE, row("user_123", "session_456", information, "MainServer", "Hello, world!")),
        stored("F2 only what is required", MINIMAL, minimal()),
        stored("F5 with a message id of its producer", WITH_ID, row("u", "s", id, "MainServer", "once")),
        Fixture { name: "F6 the same once more", body: WITH_ID.into(), effect: Effect::Again },
        stored("F8 empty id", with_id(""), row("", "s", "{}", "MainServer", "c")),
        stored("F8 all empty", r#"{"id":"","sub_id":"","message":{"content":""}}"#, row("", "", "{}", "MainServer", "")),
        stored("F10 depth 32", deep, row("u", "s", "{}", "MainServer", "c")),
        stored("F11 byte order mark", [b"\xef\xbb\xbf", MINIMAL.as_bytes()].concat(), minimal()),
        stored("F13 id of 255 Hangul characters", with_id(&long), row(&long, "s", "{}", "MainServer", "c")),
        stored(
            "F14 U+0000 in the content",
            r#"{"id":"u","sub_id":"s","message":{"content":"before\u0000after"}}"#,
            row("u", "s", "{}", "MainServer", "before\0after"),
        ),
        stored(
            "F15 quotes, backslashes and SQL",
            format!(r#"{{"id":"{nasty}","sub_id":"{nasty}","message":{{"server_name":"s'\"","content":"{nasty}"}}}}"#),
            row(nasty_opened, nasty_opened, "{}", "s'\"", nasty_opened),
        ),
        stored("F17 duplicate keys", duplicate, row("last", "s", "{}", "MainServer", "last")),
    ]
}

fn wrong_fields() -> Vec<Fixture> {
    vec![
        dead("F9 no id", r#"{"sub_id":"s","message":{"content":"c"}}"#, "/id"),
        dead("F9 id is a number", r#"{"id":5,"sub_id":"s","message":{"content":"c"}}"#, "/id"),
        dead("F9 no sub_id", r#"{"id":"u","message":{"content":"c"}}"#, "/sub_id"),
        dead("F9 sub_id is null", r#"{"id":"u","sub_id":null,"message":{"content":"c"}}"#, "/sub_id"),
        dead("F9 no message", r#"{"id":"u","sub_id":"s"}"#, "/message"),
        dead("F9 message is an array", r#"{"id":"u","sub_id":"s","message":["c"]}"#, "/message"),
        dead("F9 no content", r#"{"id":"u","sub_id":"s","message":{}}"#, "/message/content"),
        dead("F9 content is an object", r#"{"id":"u","sub_id":"s","message":{"content":{}}}"#, "/message/content"),
        dead(
            "F12 server_name is 5",
            r#"{"id":"u","sub_id":"s","message":{"server_name":5,"content":"c"}}"#,
            "/message/server_name",
        ),
        dead("F13 id of 256 Hangul characters", with_id(&"가".repeat(256)), "/id"),
        dead(
            "F13 server_name of 101",
            format!(r#"{{"id":"u","sub_id":"s","message":{{"server_name":"{}","content":"c"}}}}"#, "n".repeat(101)),
            "/message/server_name",
        ),
    ]
}

fn no_json() -> Vec<Fixture> {
    vec![
        dead("F10 empty", "", None),
        dead("F10 an array", "[]", None),
        dead("F10 a trailing comma", r#"{"id":"u","sub_id":"s","message":{"content":"c"},}"#, None),
        dead("F10 bad UTF-8", b"{\"id\":\"\xff\",\"sub_id\":\"s\",\"message\":{\"content\":\"c\"}}", None),
        dead("F10 a lone surrogate", r#"{"id":"u","sub_id":"s","message":{"content":"\ud800"}}"#, None),
        dead("F10 depth 33", format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"c"}},"deep":{}}}"#, nested(32)), None),
        dead("F10 garbage behind", format!("{MINIMAL}x"), None),
        dead("F10 a comment", format!("/* */ {MINIMAL}"), None),
    ]
}

fn publishers() -> Vec<Fixture> {
    let body = |information: &str| {
        format!(r#"{{"id":"u","sub_id":"s","publisher_information":{information},"message":{{"content":"c"}}}}"#)
    };
    vec![
        dead("F16 publisher_information null", body("null"), "/publisher_information"),
        dead("F16 publisher_information a string", body("\"p\""), "/publisher_information"),
        dead("F16 publisher_information an array", body("[]"), "/publisher_information"),
    ]
}

/// What a fixture's body is broadcast as.
fn without_mark(body: &[u8]) -> Vec<u8> {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).to_vec()
}

#[tokio::test]
async fn every_fixture_has_its_broadcast_its_row_and_its_dead_letter() {
    let mut rig = Rig::shipped().await;
    rig.start();
    let fixtures = fixtures();
    rig.queue.publish(fixtures.iter().map(|fixture| &fixture.body)).await;
    let ledger = rig.settled(fixtures.len() as u64);

    let broadcast = fixtures.iter().filter(|fixture| !matches!(fixture.effect, Effect::Dead(_)));
    let broadcast: Vec<Vec<u8>> = broadcast.map(|fixture| without_mark(&fixture.body)).collect();
    assert_eq!(rig.broadcast().await, broadcast);

    let expected: Vec<Row> = fixtures
        .iter()
        .filter_map(|fixture| if let Effect::Stored(row) = &fixture.effect { Some(row.clone()) } else { None })
        .collect();
    for (found, expected) in rig.opened_rows().await.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(rig.rows().await.len(), expected.len());

    let expected: Vec<&Fixture> = fixtures.iter().filter(|fixture| matches!(fixture.effect, Effect::Dead(_))).collect();
    let letters = rig.dead(expected.len()).await;
    for fixture in &expected {
        let letter = letters.iter().find(|letter| letter.body == fixture.body);
        judge_letter(fixture, letter.unwrap_or_else(|| panic!("{} is not on the dead-letter queue", fixture.name)));
    }
    for name in ["broadcast", "history"] {
        assert_eq!(lane(&ledger, name, "delivered"), broadcast.len() as u64);
        assert_eq!(lane(&ledger, name, "dead_lettered"), expected.len() as u64);
    }
    rig.stop().await;
}

fn judge_letter(fixture: &Fixture, letter: &Taken) {
    let Effect::Dead(pointer) = fixture.effect else { return };
    let name = fixture.name;
    assert_eq!(letter.header(header::STAGE).as_deref(), Some("steps.validate"), "{name}");
    assert_eq!(letter.header(header::PIPELINE).as_deref(), Some("broadcast"), "{name}");
    assert_eq!(letter.header(header::GENERATION).as_deref(), Some("1"), "{name}");
    assert_eq!(letter.header(header::POINTER).as_deref(), pointer, "{name}: {:?}", letter.header(header::REASON));
    for filled in [header::CODE, header::REASON, header::TIME] {
        assert!(letter.header(filled).is_some_and(|text| !text.is_empty()), "{name}: {filled}");
    }
    let digest = letter.header(header::PLUGIN).unwrap_or_default();
    assert!(digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64), "{name}: {digest}");
}

#[tokio::test]
async fn a_dead_letter_keeps_the_properties_of_its_message() {
    let mut rig = Rig::shipped().await;
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("blue".into()));
    headers.insert("attempt".into(), AMQPValue::LongInt(3));
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id("m-1".into())
        .with_correlation_id("c-1".into())
        .with_content_type("application/json".into())
        .with_app_id("publisher".into())
        .with_headers(headers);
    rig.queue.publish_with([("no json", properties.clone())]).await;
    rig.start();
    rig.settled(1);
    let letter = rig.dead(1).await.remove(0);
    let kept = &letter.properties;
    assert_eq!(kept.message_id(), properties.message_id());
    assert_eq!(kept.correlation_id(), properties.correlation_id());
    assert_eq!(kept.content_type(), properties.content_type());
    assert_eq!(kept.app_id(), properties.app_id());
    assert_eq!(*kept.delivery_mode(), Some(2));
    let headers = kept.headers().as_ref().unwrap().inner();
    assert_eq!(headers.get("tenant"), Some(&AMQPValue::LongString("blue".into())));
    assert_eq!(headers.get("attempt"), Some(&AMQPValue::LongInt(3)));
}

#[tokio::test]
async fn f14_a_nul_that_a_plain_column_cannot_hold_is_refused_with_a_reason_and_never_cut_short() {
    let mut rig = Rig::shipped().await;
    let sinks = rig
        .pipeline
        .sinks
        .replace("through = [\"reshape\", \"seal\"]", "through = [\"reshape\"]")
        .replace("require_sealed = [\"message_content\"]\n", "");
    rig.pipeline.sinks = sinks;
    let nul = r#"{"id":"u","sub_id":"s","message":{"content":"before\u0000after"}}"#;
    rig.queue.publish([nul, MINIMAL]).await;
    rig.start();
    let ledger = rig.settled(2);
    assert_eq!(rig.broadcast().await, [nul.as_bytes(), MINIMAL.as_bytes()]);
    let rows = rig.rows().await;
    assert_eq!(rows.iter().map(|row| row.message_content.as_str()).collect::<Vec<_>>(), ["Hello, world!"]);
    assert!(!rows[0].is_encrypted);
    let letter = rig.dead(1).await.remove(0);
    assert_eq!(letter.body, nul.as_bytes());
    assert_eq!(letter.header(header::STAGE).as_deref(), Some("sinks.history"));
    assert_eq!(letter.header(header::POINTER).as_deref(), Some("/message/content"));
    assert_eq!(lane(&ledger, "history", "dead_lettered"), 1);
    assert_eq!(lane(&ledger, "broadcast", "delivered"), 2);
}

#[tokio::test]
async fn f16_publisher_information_of_any_type_passes_where_the_step_is_not_strict() {
    let mut rig = Rig::shipped().await;
    let file = plugins().join("validate-message.wasm").display().to_string();
    let line = format!("plugin = \"{file}\"\n");
    rig.pipeline.steps = rig.pipeline.steps.replace(&line, &format!("{line}settings = {{ strict_publisher = false }}\n"));
    let bodies: Vec<Vec<u8>> = publishers().into_iter().map(|fixture| fixture.body).collect();
    rig.queue.publish(&bodies).await;
    rig.start();
    rig.settled(bodies.len() as u64);
    assert_eq!(rig.broadcast().await, bodies);
    let stored: Vec<Option<String>> = rig.opened_rows().await.into_iter().map(|row| row.publisher_info).collect();
    assert_eq!(stored, [Some("{}".to_owned()), Some("p".to_owned()), Some("[]".to_owned())]);
}

#[tokio::test]
async fn f19_a_key_of_another_type_is_left_alone_and_its_messages_are_parked_until_it_is_gone() {
    let mut rig = Rig::shipped().await;
    let mut redis = rig.key.connection();
    redis.hset::<_, _, _, ()>(&rig.key.name, "field", "precious").await.unwrap();
    rig.queue.publish([MINIMAL, EXAMPLE]).await;
    rig.launch();
    eventually("rows to be stored", async || crate::store::row_count(&rig.pool).await == 2).await;
    let parked = rig.queue.parked("broadcast");
    eventually("messages to be parked", async || rig.queue.depth(&parked).await == 2).await;
    let precious: String = redis.hget(&rig.key.name, "field").await.unwrap();
    assert_eq!(precious, "precious");
    let log = rig.host().log();
    let names = |line: &str| line.contains(&rig.key.name) && line.contains("hash");
    assert!(log.lines().any(names), "the log does not name key and type:\n{log}");

    redis.del::<_, ()>(&rig.key.name).await.unwrap();
    eventually("parked messages to be broadcast", async || rig.key.length().await == 2).await;
    assert_eq!(rig.broadcast().await, [MINIMAL.as_bytes(), EXAMPLE.as_bytes()]);
    rig.stop().await;
}

#[tokio::test]
async fn f20_another_exchange_and_routing_key_make_no_difference() {
    let mut rig = Rig::shipped().await;
    let exchange = unique("exchange");
    let (channel, queue) = (rig.queue.channel(), rig.queue.name.as_str());
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
    let bind = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.as_str().into(), "chat.#".into(), bind, FieldTable::default()).await.unwrap();
    rig.queue.publish_by(&exchange, "chat.room.7", [(MINIMAL, BasicProperties::default())]).await;
    rig.start();
    rig.settled(1);
    assert_eq!(rig.broadcast().await, [MINIMAL.as_bytes()]);
    assert_eq!(rig.opened_rows().await.len(), 1);
    rig.queue.channel().exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
}
