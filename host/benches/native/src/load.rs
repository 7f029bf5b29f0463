//! Filling a queue: persistent messages of one size, confirmed by the broker.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 290;
/// Messages of a batch, as the host has it where nothing else is said.
pub(crate) const BATCH: usize = 128;
/// Confirms that are awaited together.
const WINDOW: usize = 1000;

/// A queue type of RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Makes a queue and fills it.
pub(crate) async fn fill(channel: &Channel, queue: &str, queue_type: QueueType, messages: usize) -> Result<()> {
    fill_with(channel, queue, queue_type, messages, body).await
}

/// Makes a queue and fills it with these bodies.
pub(crate) async fn fill_with(
    channel: &Channel,
    queue: &str,
    queue_type: QueueType,
    messages: usize,
    body: impl Fn(usize) -> Vec<u8>,
) -> Result<()> {
    declare(channel, queue, queue_type).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
    for start in (0..messages).step_by(WINDOW) {
        let mut confirms = Vec::with_capacity(WINDOW);
        for index in start..messages.min(start + WINDOW) {
            let id = id(index);
            let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(id.as_str().into());
            let (body, options) = (body(index), BasicPublishOptions::default());
            let publish = channel.basic_publish("".into(), queue.into(), options, &body, properties);
            confirms.push(publish.await.doing("publishing")?);
        }
        for confirm in confirms {
            if !matches!(confirm.await.doing("publishing")?, Confirmation::Ack(None)) {
                return Err(Failure::new("the broker refused a message"));
            }
        }
    }
    Ok(())
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
pub(crate) fn refused_body(index: usize) -> Vec<u8> {
    let (id, long) = (format!("user_{index:08}"), "x".repeat(256));
    String::from_utf8_lossy(&body(index)).replacen(&id, &format!("{id}{long}"), 1).into_bytes()
}

/// A valid message of exactly [`BODY_BYTES`].
pub(crate) fn body(index: usize) -> Vec<u8> {
    let head = format!(
        "{{\"id\":\"user_{index:08}\",\"sub_id\":\"session_{index:08}\",\"publisher_information\":{{\"client_ip\":\"192.168.1.100\",\
         \"timestamp\":\"2025-09-29T10:30:00Z\"}},\"message\":{{\"server_name\":\"MainServer\",\"content\":\""
    );
    let tail = "\"}}";
    let filler = "Hello, world! ".chars().cycle().take(BODY_BYTES.saturating_sub(head.len() + tail.len()));
    [head, filler.collect(), tail.to_owned()].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_json_of_the_same_size() {
        for index in [0, 99_999_999] {
            assert_eq!(body(index).len(), BODY_BYTES);
            assert_eq!(number(&body(index)), Some(index));
            assert!(serde_json::from_slice::<serde_json::Value>(&refused_body(index)).is_ok());
            assert!(serde_json::from_slice::<serde_json::Value>(&body(index)).is_ok());
        }
    }
}
