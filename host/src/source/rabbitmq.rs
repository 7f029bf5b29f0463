//! RabbitMQ as a source, by AMQP 0-9-1.

use std::time::Duration;

use crate::secret::Secret;

/// Settings of `[source.rabbitmq]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `amqp://` or `amqps://` address, with credentials and virtual host. Required.
    pub uri: Secret,
    /// PEM file with the certificate authorities to trust for `amqps`, instead of the system's. Default: none.
    pub ca_file: Option<std::path::PathBuf>,
    /// The queue to consume. One that exists is used as it is; else it is declared durable. Default: `message_broadcast_queue`.
    pub queue: String,
    /// Most messages that are taken and not acknowledged yet, 1 to 65535. Default: 2048.
    pub prefetch: u16,
    /// AMQP heartbeat. Default: 10s.
    pub heartbeat: Duration,
    /// Longest wait for a connection, or for an answer of the broker. Default: 10s.
    pub timeout: Duration,
    /// Longest pause between two attempts to connect; they start at 100 ms and double. Default: 5s.
    pub max_backoff: Duration,
}
