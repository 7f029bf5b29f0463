//! What new batches begin on: a generation, and the lanes that belong to it. A swap is another track, put in place as one pointer.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::carry::Share;
use super::generation::Generation;

/// Most messages that any source holds at a time, so that a lane's channel always has room for a whole window: one sink that is down must
/// not hold the others up.
pub(super) const WINDOW: usize = u16::MAX as usize;

/// A generation with its lanes.
pub(super) struct Track {
    /// The steps.
    pub(super) generation: Arc<Generation>,
    /// The lanes, in file order. A lane ends when the last track that has it is gone and its share is written.
    pub(super) lanes: Vec<Doorway>,
}

/// The way into a lane.
#[derive(Clone)]
pub(super) struct Doorway {
    /// Name of the sink.
    pub(super) name: Arc<str>,
    /// Its share of each batch.
    pub(super) shares: mpsc::Sender<Share>,
}
