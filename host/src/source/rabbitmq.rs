//! RabbitMQ as a source, by AMQP 0-9-1, with its side queues.

mod address;
mod allowance;
mod consume;
mod declare;
mod envelope;
mod fault;
mod inflow;
mod letter;
mod link;
mod mailbox;
mod receipts;
mod sifting;
mod taking;

pub use consume::{Source, prove};
pub use envelope::Envelope;
pub use mailbox::Mailbox;

use std::time::Duration;

use crate::backoff;
use crate::secret::Secret;

/// Settings of `[source.rabbitmq]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `amqp://` or `amqps://` address, with credentials (percent-encoded) and virtual host. `amqps` always verifies the broker's
    /// certificate. Required.
    pub uri: Secret,
    /// PEM file with the certificate authorities to trust for `amqps`, instead of the system's. Default: none.
    pub ca_file: Option<std::path::PathBuf>,
    /// The queue to consume. One that exists is used as it is; else it is declared durable. Default: `message_broadcast_queue`.
    pub queue: String,
    /// Most messages that are taken and not acknowledged yet, 1 to 65535. Default: 2048.
    pub prefetch: u16,
    /// Most bytes of bodies that are taken and not acknowledged yet: with large messages fewer are taken than `prefetch` allows, one at least.
    /// Default: 256 MiB.
    pub max_in_flight_bytes: usize,
    /// AMQP heartbeat, in whole seconds; a connection that is silent for twice as long is given up. Default: 10s.
    pub heartbeat: Duration,
    /// Longest wait for a connection, or for an answer of the broker. Default: 10s.
    pub timeout: Duration,
    /// Longest pause between two attempts to connect; they start at 100 ms and double. Default: 5s.
    pub max_backoff: Duration,
}

/// A setting that cannot work, whatever the broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// The key below `[source.rabbitmq]`.
    pub key: &'static str,
    /// What is wrong with its value and what to write instead; a lower-case fragment. Never holds credentials.
    pub message: String,
}

impl Settings {
    /// Longest queue name, in bytes: what an AMQP short string holds.
    const MAX_QUEUE_BYTES: usize = 255;

    /// Every setting that cannot work, without asking a broker or reading a file. Empty when all can.
    #[must_use]
    pub fn check(&self) -> Vec<BadSetting> {
        let mut bad = Vec::new();
        let mut refuse = |key, message: String| bad.push(BadSetting { key, message });
        match address::parse(self.uri.expose_str()) {
            Err(message) => refuse("uri", message),
            Ok(address) if self.ca_file.is_some() && address.scheme == lapin::uri::AMQPScheme::AMQP => {
                refuse("ca_file", "has no effect on an `amqp://` address: write `amqps://`, or remove it".to_owned());
            }
            Ok(_) => {}
        }
        if self.queue.is_empty() || self.queue.len() > Self::MAX_QUEUE_BYTES {
            refuse("queue", format!("must have 1 to {} bytes, and has {}", Self::MAX_QUEUE_BYTES, self.queue.len()));
        }
        if self.prefetch == 0 {
            refuse("prefetch", "must be 1 to 65535: with 0 the broker would send the whole queue at once".to_owned());
        }
        if self.heartbeat < Duration::from_secs(1) || self.heartbeat.as_secs() > u64::from(u16::MAX) {
            refuse("heartbeat", "must be 1s to 65535s".to_owned());
        }
        if self.timeout.is_zero() {
            refuse("timeout", "must be longer than 0s".to_owned());
        }
        if self.max_backoff < backoff::FIRST {
            refuse("max_backoff", format!("must be {:?} at least", backoff::FIRST));
        }
        bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(uri: &str) -> Settings {
        Settings {
            uri: uri.into(),
            ca_file: None,
            queue: "message_broadcast_queue".to_owned(),
            prefetch: 2048,
            max_in_flight_bytes: 256 << 20,
            heartbeat: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            max_backoff: Duration::from_secs(5),
        }
    }

    fn keys(settings: &Settings) -> Vec<&'static str> {
        settings.check().iter().map(|bad| bad.key).collect()
    }

    #[test]
    fn the_defaults_are_no_problem() {
        assert_eq!(settings("amqp://guest:guest@127.0.0.1:5672/%2f").check(), []);
    }

    #[test]
    fn every_bad_setting_is_reported_at_once() {
        let bad = Settings {
            queue: String::new(),
            prefetch: 0,
            heartbeat: Duration::from_millis(500),
            timeout: Duration::ZERO,
            max_backoff: Duration::from_millis(1),
            ..settings("localhost")
        };
        assert_eq!(keys(&bad), ["uri", "queue", "prefetch", "heartbeat", "timeout", "max_backoff"]);
    }

    #[test]
    fn a_ca_file_without_tls_is_a_problem() {
        let ca_file = Some("ca.pem".into());
        assert_eq!(keys(&Settings { ca_file: ca_file.clone(), ..settings("amqp://localhost") }), ["ca_file"]);
        assert_eq!(keys(&Settings { ca_file, ..settings("amqps://localhost") }), [""; 0]);
    }
}
