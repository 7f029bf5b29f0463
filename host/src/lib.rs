//! Tidegate: a pipeline host whose steps are sandboxed WebAssembly components.
//!
//! The modules stand in the order in which a message meets them, and a module uses only those above it (a test keeps it).

/// Bytes that must not be printed.
pub mod secret;

/// A PostgreSQL address as a person writes it.
pub mod postgres_options;

/// What travels: bytes, metadata, identity, and the fields that a JSON pointer finds.
pub mod message;

/// What became of every message, in numbers that must balance.
pub mod ledger;

/// What is counted, and which stage is up.
pub mod telemetry;

/// The duty to answer for a message, exactly once.
pub mod delivery;

/// Named tasks, and how each ends.
pub mod lifecycle;

/// SQLite files: made for their owner alone, opened durably, and what their errors mean.
pub mod sqlite_file;

/// Listening for HTTP, and whom a listener answers.
pub mod listener;

/// Pauses between attempts.
pub mod backoff;

/// Files that change while the host runs.
pub mod watch;

/// Where deliveries come from, and the side queues that the source keeps.
pub mod source;

/// Where messages go.
pub mod sink;

/// Sandboxed components: loading, limits, calls.
pub mod plugin;

/// Key rings and the stored form of sealed content.
pub mod keys;

/// Text to plan, with every problem at once.
pub mod config;

/// Carrying: steps, lanes, receipts.
pub mod pipeline;

/// What the operator sees over HTTP.
pub mod admin;

/// What a person types.
pub mod cli;
