//! Redis as a sink.

use std::time::Duration;

use crate::secret::Secret;

/// Settings of `[sinks.NAME.redis]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `redis://` or `rediss://` address, with credentials and database. Default: `redis://127.0.0.1:6379`.
    pub uri: Secret,
    /// PEM file with the certificate authorities to trust for `rediss`, instead of the system's. Default: none.
    pub ca_file: Option<std::path::PathBuf>,
    /// How a message is handed over. Default: `list`.
    pub mode: Mode,
    /// The key, or the channel of `pubsub`. Default: `send_global_message`.
    pub key: String,
    /// Longest wait for a connection, and for an answer. Default: 5s.
    pub timeout: Duration,
}

/// How a message is handed over to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `RPUSH`. With a cap, the list is kept at its newest `max_length` entries. Default: no cap.
    List {
        /// Most entries to keep.
        max_length: Option<u64>,
    },
    /// `SET`: one slot, overwritten. Default: no time to live.
    Set {
        /// Time to live.
        ttl: Option<Duration>,
    },
    /// `PUBLISH`.
    PubSub,
    /// `XADD` with fields `body` and, where there is one, `id`; capped approximately (`MAXLEN ~`). Default: 1000000.
    Stream {
        /// Most entries to keep.
        max_length: u64,
    },
}
