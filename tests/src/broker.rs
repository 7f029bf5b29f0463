//! A queue of one's own, what is put into it and what lies there.

use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tidegate_harness::deadline::Deadline;

use crate::names::unique;
use crate::servers::{afterwards, amqp_url};

/// Longest wait for messages to arrive somewhere.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A message as the broker gave it.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) body: Vec<u8>,
    pub(crate) properties: BasicProperties,
}

impl Taken {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            other => Some(format!("{other:?}")),
        }
    }
}

/// A queue that is deleted with its side queues when this is dropped.
pub(crate) struct Queue {
    pub(crate) name: String,
    url: String,
    channel: Channel,
    /// Whether it is deleted when this is dropped.
    is_own: bool,
    _connection: Connection,
}

impl Queue {
    /// A durable classic queue without arguments, as the original has it.
    pub(crate) async fn classic() -> Self {
        Self::declared(&amqp_url(), FieldTable::default()).await
    }

    /// A quorum queue.
    pub(crate) async fn quorum() -> Self {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        Self::declared(&amqp_url(), arguments).await
    }

    /// A durable queue with these arguments on this broker.
    pub(crate) async fn declared(url: &str, arguments: FieldTable) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let name = unique("queue");
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(ShortString::from(name.as_str()), options, arguments).await.unwrap();
        Self { name, url: url.to_owned(), channel, is_own: true, _connection: connection }
    }

    /// Where it is found, for a thread of its own.
    pub(crate) fn place(&self) -> (String, String) {
        (self.url.clone(), self.name.clone())
    }

    /// A queue that somebody else has declared, and deletes.
    pub(crate) async fn named(url: &str, name: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { name: name.to_owned(), url: url.to_owned(), channel, is_own: false, _connection: connection }
    }

    /// The channel, for what a single test needs.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Name of its dead-letter queue.
    pub(crate) fn dead(&self) -> String {
        format!("{}.dead", self.name)
    }

    /// Name of a sink's parking queue.
    pub(crate) fn parked(&self, sink: &str) -> String {
        format!("{}.parked.{sink}", self.name)
    }

    /// Publishes bodies in order, persistent, and waits until the broker has them all.
    pub(crate) async fn publish<B: AsRef<[u8]>>(&self, bodies: impl IntoIterator<Item = B>) {
        let properties = BasicProperties::default().with_delivery_mode(2);
        self.publish_with(bodies.into_iter().map(|body| (body, properties.clone()))).await;
    }

    /// Publishes bodies with their properties, in order, and waits until the broker has them all.
    pub(crate) async fn publish_with<B: AsRef<[u8]>>(&self, messages: impl IntoIterator<Item = (B, BasicProperties)>) {
        self.publish_by("", &self.name, messages).await;
    }

    /// The same by an exchange and a routing key.
    pub(crate) async fn publish_by<B: AsRef<[u8]>>(
        &self,
        exchange: &str,
        key: &str,
        messages: impl IntoIterator<Item = (B, BasicProperties)>,
    ) {
        let mut confirms = Vec::new();
        for (body, properties) in messages {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            confirms
                .push(self.channel.basic_publish(exchange.into(), key.into(), options, body.as_ref(), properties).await.unwrap());
        }
        for confirm in confirms {
            let confirmed = confirm.await.unwrap();
            assert!(matches!(confirmed, Confirmation::Ack(None)), "the broker took a message into no queue: {confirmed:?}");
        }
    }

    /// How many messages of a queue are ready; none where there is no such queue.
    pub(crate) async fn depth(&self, queue: &str) -> u64 {
        let channel = self.fresh_channel().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // A queue that is missing closes the channel: hence one of its own.
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.map_or(0, |queue| u64::from(queue.message_count()))
    }

    /// Takes all that lies on a queue.
    pub(crate) async fn take_all(&self, queue: &str) -> Vec<Taken> {
        let channel = self.fresh_channel().await;
        let mut taken = Vec::new();
        while let Ok(Some(message)) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await {
            taken.push(Taken { body: message.delivery.data, properties: message.delivery.properties });
        }
        taken
    }

    /// Takes `count` messages from a queue once as many lie there, and sees that they are all.
    pub(crate) async fn take(&self, queue: &str, count: usize) -> Vec<Taken> {
        let deadline = Deadline::after(PATIENCE);
        while self.depth(queue).await < count as u64 && !deadline.is_over() {
            pause().await;
        }
        let taken = self.take_all(queue).await;
        let seen = || taken.iter().map(|taken| String::from_utf8_lossy(&taken.body)).collect::<Vec<_>>().join("\n");
        assert_eq!(taken.len(), count, "messages on {queue}:\n{}", seen());
        taken
    }

    async fn fresh_channel(&self) -> Channel {
        self._connection.create_channel().await.unwrap()
    }
}

/// A moment between two looks.
pub(crate) async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
}

/// Looks again and again until the condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Deadline::after(PATIENCE);
    while !condition().await {
        assert!(!deadline.is_over(), "waited {PATIENCE:?} for {what}");
        pause().await;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if !self.is_own {
            return;
        }
        let url = self.url.clone();
        let queues = [self.name.clone(), self.dead(), self.parked("broadcast"), self.parked("history")];
        afterwards(async move {
            // A broker that a test has ended took the queues with it.
            let Ok(connection) = Connection::connect(&url, ConnectionProperties::default()).await else { return };
            let Ok(channel) = connection.create_channel().await else { return };
            for queue in queues {
                // Deleting a queue that is not there is no error in AMQP 0-9-1 as RabbitMQ has it.
                channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.map(drop).unwrap_or_default();
            }
        });
    }
}
