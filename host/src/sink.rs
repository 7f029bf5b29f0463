//! Where messages go.

pub mod columns;
pub mod live;
pub mod postgres;
pub mod redis;
mod report;
pub mod sqlite;

use async_trait::async_trait;

use crate::message::{Message, Reason};
pub use crate::source::StageError;

/// What a sink says of a batch that it has dealt with.
#[derive(Debug, Default)]
pub struct Written {
    /// The messages, by ascending index, that this sink can never take: they are dead-lettered. All others are delivered, durably.
    pub refused: Vec<(usize, Reason)>,
    /// How many of the delivered it already had, by message id.
    pub duplicates: u64,
    /// How many of the delivered nobody heard.
    pub unheard: u64,
}

/// A destination. Connects lazily and reconnects by itself at the next write.
#[async_trait]
pub trait Sink: Send {
    /// Writes a batch, in order; an empty one only proves that the sink is reachable and fit for use. It answers within a bounded time, whatever the server does (its `timeout` setting).
    ///
    /// # Errors
    /// Fails when the server cannot be reached or refuses to work at all; the caller tries the same batch again, or parks it.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part of the batch written.
    async fn write(&mut self, batch: &[Message]) -> Result<Written, StageError>;

    /// Lets go of what only one can hold, such as an address, before another sink is opened in its place. Dropping a sink does so too, but
    /// does not wait until it is done.
    async fn close(self: Box<Self>) {}
}
