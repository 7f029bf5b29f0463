//! HTTP as a source: what is posted is answered once it lies durably in the journal.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of `[source.http]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address to listen on. Default: `127.0.0.1:9610`.
    pub listen: SocketAddr,
    /// Folder of the SQLite journal, made when missing. Default: `data`, beside pipeline.toml.
    pub journal: PathBuf,
    /// Name of the journal's queue, which names its side queues too. Default: `message_broadcast_queue`.
    pub queue: String,
    /// Most messages that are taken and not acknowledged yet. Default: 2048.
    pub prefetch: u16,
    /// Longest body of one message, in bytes. Default: 16 MiB.
    pub max_body_bytes: usize,
    /// Most messages that wait in the journal; above it a POST is answered 503. Default: 1000000.
    pub max_waiting: u64,
}
