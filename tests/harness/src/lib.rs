//! What tests, the demo and the benchmarks stand on: real servers that this process starts and ends, and the real host.
//!
//! Nothing here touches a server, a folder or a process that it did not start.

/// Waiting for a condition, with an end.
pub mod deadline;

/// What went wrong, in words for a person.
pub mod failure;

/// Just enough HTTP/1.1 to ask the host.
pub mod http;

/// A folder and the processes that live in it; both are gone when their owner is.
pub mod scratch;

/// A process that can be stopped, killed and paused.
pub mod service;

/// A wire to a server that can be cut, fall silent, or become slow.
pub mod wire;

/// Finding the servers' programs, and installing them where that is possible.
pub mod programs;

/// A Redis of one's own.
pub mod redis;

/// A PostgreSQL of one's own.
pub mod postgres;

/// A RabbitMQ of one's own.
pub mod rabbitmq;

/// All three: named by the environment, or one's own.
pub mod servers;

/// The host program.
pub mod host;

/// What the host is given to run.
pub mod pipeline;

pub use failure::{Failure, Result};
