//! Filling a queue: persistent messages of one size, confirmed by the broker.

use std::ops::Range;

use clap::ValueEnum;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};

use crate::case::Case;

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 290;
/// Messages of a batch, as the host has it where nothing else is said.
pub(crate) const BATCH: usize = 128;
/// Confirms that are awaited together, and the bytes that they may be for.
const WINDOW: usize = 1000;
const WINDOW_BYTES: usize = 32 << 20;

/// Which messages of a leg are no good: one in so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// None.
    None,
    /// A field is missing: the validator refuses the message, and it reaches nothing.
    Missing { every: usize },
    /// The database refuses the row, once the message is broadcast.
    Row { every: usize },
}

impl Trouble {
    /// Whether a message is one of them.
    pub(crate) fn strikes(self, index: usize) -> bool {
        match self {
            Self::None => false,
            Self::Missing { every } | Self::Row { every } => index % every == every / 2,
        }
    }

    /// The body of a message.
    fn body(self, index: usize, bytes: usize) -> Vec<u8> {
        match self {
            Self::Missing { .. } if self.strikes(index) => invalid_body(index, bytes),
            Self::Row { .. } if self.strikes(index) => refused_body(index),
            _ => body(index, bytes),
        }
    }
}

/// A queue type of RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueueType {
    /// In memory and on disk of one node.
    Classic,
    /// A Raft log.
    Quorum,
}

impl QueueType {
    /// Its name for RabbitMQ and for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

/// A channel of a connection of its own.
pub(crate) async fn channel(url: &str) -> Result<Channel> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.doing("connecting to RabbitMQ")?;
    connection.create_channel().await.doing("opening a channel")
}

/// Makes a queue.
pub(crate) async fn declare(channel: &Channel, queue: &str, queue_type: QueueType) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.name().into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await.doing("declaring a queue").map(drop)
}

/// Fills a queue with these messages of a leg, persistent and confirmed.
pub(crate) async fn fill(channel: &Channel, queue: &str, case: &Case, indices: Range<usize>) -> Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
    let window = (WINDOW_BYTES / case.body_bytes).clamp(1, WINDOW);
    for start in indices.clone().step_by(window) {
        let mut confirms = Vec::with_capacity(window);
        for index in start..indices.end.min(start + window) {
            confirms.push(publish(channel, queue, index, &case.trouble.body(index, case.body_bytes)).await?);
        }
        for confirm in confirms {
            confirmed(confirm).await?;
        }
    }
    Ok(())
}

/// Publishes a message; the broker's answer comes later.
pub(crate) async fn publish(channel: &Channel, queue: &str, index: usize, body: &[u8]) -> Result<PublisherConfirm> {
    let id = id(index);
    let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(id.as_str().into());
    channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties).await.doing("publishing")
}

/// Waits for the broker's answer, which has to be a yes.
pub(crate) async fn confirmed(confirm: PublisherConfirm) -> Result<()> {
    match confirm.await.doing("publishing")? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(Failure::new("the broker refused a message")),
    }
}

/// Id of a message.
pub(crate) fn id(index: usize) -> String {
    format!("{index:08x}-0000-4000-8000-000000000000")
}

/// The index of a body.
pub(crate) fn number(body: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(body).ok()?;
    text.split_once("\"user_")?.1.split_once('"')?.0.parse().ok()
}

/// A message whose row the database refuses: its id is longer than the column.
fn refused_body(index: usize) -> Vec<u8> {
    let (id, long) = (format!("user_{index:08}"), "x".repeat(256));
    String::from_utf8_lossy(&body(index, BODY_BYTES)).replacen(&id, &format!("{id}{long}"), 1).into_bytes()
}

/// A message without its `sub_id`, as long as the others.
fn invalid_body(index: usize, bytes: usize) -> Vec<u8> {
    String::from_utf8_lossy(&body(index, bytes)).replacen("\"sub_id\"", "\"sub-id\"", 1).into_bytes()
}

/// A valid message of exactly so many bytes, 64 at least. Those that have the room are in the original's whole format, and the rest of them is
/// content; smaller ones have nothing but what must be there.
pub(crate) fn body(index: usize, bytes: usize) -> Vec<u8> {
    let whole = format!(
        "{{\"id\":\"user_{index:08}\",\"sub_id\":\"session_{index:08}\",\"publisher_information\":{{\"client_ip\":\"192.168.1.100\",\
         \"timestamp\":\"2025-09-29T10:30:00Z\"}},\"message\":{{\"server_name\":\"MainServer\",\"content\":\""
    );
    let tail = "\"}}";
    let head = if whole.len() + tail.len() <= bytes {
        whole
    } else {
        format!("{{\"id\":\"user_{index:08}\",\"sub_id\":\"s\",\"message\":{{\"content\":\"")
    };
    let filler = "Hello, world! ".bytes().cycle().take(bytes.saturating_sub(head.len() + tail.len()));
    head.bytes().chain(filler).chain(tail.bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_body_is_valid_json_of_the_size_that_was_asked_for() {
        for bytes in [64, 199, 200, 201, 290, 1 << 10, 1 << 20] {
            for index in [0, 99_999_999] {
                let body = body(index, bytes);
                assert_eq!((body.len(), number(&body)), (bytes, Some(index)));
                let json: Value = serde_json::from_slice(&body).unwrap();
                for pointer in ["/id", "/sub_id", "/message/content"] {
                    assert!(json.pointer(pointer).is_some_and(Value::is_string), "{pointer}");
                }
            }
        }
    }

    #[test]
    fn a_bad_body_is_json_and_lacks_one_thing() {
        let refused: Value = serde_json::from_slice(&refused_body(7)).unwrap();
        assert!(refused.pointer("/id").unwrap().as_str().unwrap().len() > 255);
        let invalid = invalid_body(7, BODY_BYTES);
        assert_eq!(invalid.len(), BODY_BYTES);
        let invalid: Value = serde_json::from_slice(&invalid).unwrap();
        assert_eq!(invalid.pointer("/sub_id"), None);
    }
}
