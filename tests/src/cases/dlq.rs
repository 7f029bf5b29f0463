//! `tidegate dlq`, as an operator uses it: what it shows, where it sends what, and what stays where it was.

/// With the journal.
mod embedded;
/// Letters that the command carries itself.
mod here;
/// A replay that dies half-way.
mod killed;
/// With the broker.
mod rabbitmq;
/// Taking some letters out of a queue while the others stay.
mod sifting;

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tidegate::message::{Message, MessageId, NoProperties};
use tidegate::source::rabbitmq::{Mailbox, Settings};
use tidegate::source::{Letter, Mailbox as _, SideQueue, header};

use crate::broker::Queue;
use crate::host::command;
use crate::servers::amqp_url;

/// `tidegate dlq …`, to its end.
fn dlq(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, &[&["dlq"], arguments].concat(), b"")
}

/// What it prints when it goes well.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = dlq(folder, arguments);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(0), "dlq {}:\n{out}{err}", arguments.join(" "));
    out
}

/// The letters that match, as `list --json` has them.
fn listed(folder: &Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let lines = said(folder, &[&["list", "--json"], arguments].concat());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The side queues of a queue, without a host.
fn mailbox(queue: &Queue) -> Mailbox {
    let settings = Settings {
        uri: amqp_url().as_str().into(),
        ca_file: None,
        queue: queue.name.clone(),
        prefetch: 100,
        max_in_flight_bytes: 256 << 20,
        heartbeat: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        max_backoff: Duration::from_secs(1),
    };
    Mailbox::new(settings, "source.rabbitmq")
}

/// Kinds of queue that dead letters may lie on: what the host declares, and what an operator may have declared before.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Quorum,
    Classic,
}

/// A queue of this kind whose dead-letter queue is of this kind too, with so many numbered letters on it, and their ids. Even ones are by `steps.validate`.
async fn with_letters(kind: Kind, count: usize) -> Queue {
    let queue = match kind {
        Kind::Quorum => Queue::quorum().await,
        Kind::Classic => Queue::classic().await,
    };
    if matches!(kind, Kind::Classic) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        queue.channel().queue_declare(queue.dead().into(), options, FieldTable::default()).await.unwrap();
    }
    let letters: Vec<Letter> = (0..count).map(letter).collect();
    mailbox(&queue).put(&SideQueue::Dead, &letters).await.unwrap();
    queue
}

/// Letter number so much.
fn letter(number: usize) -> Letter {
    let body = format!(r#"{{"id":"user_{number}","sub_id":"s","message":{{"content":"{number}"}}}}"#);
    let id = MessageId::new(&format!("m-{number}"));
    let stage = if number.is_multiple_of(2) { "steps.validate" } else { "steps.other" };
    let headers = vec![
        (header::STAGE, stage.to_owned()),
        (header::CODE, "too_long".to_owned()),
        (header::LETTER, format!("{number:032x}")),
        (header::ATTEMPTS, "1".to_owned()),
    ];
    Letter { message: Message::new(id, Bytes::from(body), Arc::new(NoProperties)), headers }
}

/// The numbers of the messages that lie on a queue, in order. Takes them.
async fn numbers(queue: &Queue, name: &str) -> Vec<usize> {
    let number = |taken: &crate::broker::Taken| {
        let id = taken.properties.message_id().as_ref().expect("every message has its id").to_string();
        id.trim_start_matches("m-").parse().unwrap()
    };
    queue.take_all(name).await.iter().map(number).collect()
}

/// A text header.
fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
