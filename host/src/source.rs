//! Where deliveries come from, and the side queues that the source keeps.

pub mod http;
pub mod journal;
pub mod rabbitmq;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::delivery::Delivery;
use crate::ledger::Ledger;
use crate::lifecycle::Stop;
use crate::message::{Message, Reason};
use crate::telemetry::Telemetry;

/// Why a stage (a source, a side queue or a sink) could not do its work: nothing is wrong with the messages.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    /// A short stable name for metrics, e.g. `connection_refused`, `sqlstate_57P01`.
    pub code: String,
    /// What happened, for the operator. Never holds content or credentials.
    pub message: String,
    /// Whether a person must mend something (a missing table, a key of the wrong type) before trying again can help.
    pub needs_operator: bool,
}

/// A batch takes no more messages once it has as many bytes.
pub(crate) const BATCH_BYTES: usize = 32 << 20;

/// Code of a side queue that somebody else is emptying: what lies there is not to be had now.
pub const BUSY: &str = "busy";

/// What a source hands its batches to.
#[derive(Debug)]
pub struct Intake {
    /// The bounded way into the pipeline. Dropping it tells the pipeline that nothing more comes.
    pub batches: mpsc::Sender<Vec<Delivery>>,
    /// For the windows that the source opens; the source counts `acknowledge` and `give_back`, a window counts the rest.
    pub ledger: Arc<Ledger>,
    /// For the health of the stage and its counters.
    pub telemetry: Telemetry,
    /// How it takes, which may change while it does.
    pub pace: watch::Receiver<Pace>,
    /// Told when the source is left for another one, which starts once this one has ended. A source that keeps messages itself takes no new
    /// ones from then on, hands on what it has within `drain_timeout`, and ends.
    pub leaving: Stop,
    /// Told when the pipeline as a whole ends: no other source follows in it.
    pub ending: Stop,
    /// Noted by a source whose queue another host may have emptied before.
    pub takeovers: Takeovers,
}

/// How often this host has begun to get messages of a queue that another host may have had before, and may have parked the ones before them.
#[derive(Clone, Debug, Default)]
pub struct Takeovers(Arc<AtomicU64>);

impl Takeovers {
    /// Notes one, before its first message is handed on.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// How a source takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Most messages in one batch.
    pub max_messages: usize,
    /// How long a batch that is not full waits for more. Zero: not at all.
    pub linger: Duration,
    /// Longest wait for what is in flight after the stop.
    pub drain_timeout: Duration,
}

impl Intake {
    /// How to take now.
    #[must_use]
    pub fn pace(&self) -> Pace {
        *self.pace.borrow()
    }
}

/// A source of deliveries.
#[async_trait]
pub trait Source: Send {
    /// Takes messages until the stop, and acknowledges what is settled, in order. Connects and reconnects by itself, for ever.
    ///
    /// After the stop it takes no more, drops `intake.batches`, acknowledges what settles within `drain_timeout`, leaves the rest to
    /// the broker, and returns how many messages it left.
    async fn run(self: Box<Self>, intake: Intake, stop: Stop) -> u64;
}

/// A queue beside the source's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SideQueue {
    /// `<queue>.dead`: messages that can never succeed.
    Dead,
    /// `<queue>.parked.<sink>`: messages that one sink could not take yet.
    Parked(Arc<str>),
}

/// A queue that a message can be put on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The source's own queue.
    Source,
    /// A queue beside it.
    Side(SideQueue),
}

/// A message for a side queue: its original bytes and properties travel, with further headers.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The message. What is put is its `original`, with its properties and id.
    pub message: Message,
    /// Headers beside its own, e.g. `tidegate-code`.
    pub headers: Vec<(&'static str, String)>,
}

/// Names of the headers that a dead letter carries. The same names on every source.
pub mod header {
    /// Name of the pipeline.
    pub const PIPELINE: &str = "tidegate-pipeline";
    /// The step or sink that refused it, e.g. `steps.validate`, `sinks.history`.
    pub const STAGE: &str = "tidegate-stage";
    /// Code of the reason.
    pub const CODE: &str = "tidegate-code";
    /// The reason, one sentence.
    pub const REASON: &str = "tidegate-reason";
    /// Where in the body, as a JSON pointer.
    pub const POINTER: &str = "tidegate-pointer";
    /// Digest of the plugin that refused it, `sha256:…`.
    pub const PLUGIN: &str = "tidegate-plugin";
    /// Generation of the pipeline.
    pub const GENERATION: &str = "tidegate-generation";
    /// When, RFC 3339.
    pub const TIME: &str = "tidegate-time";
    /// The sink in whose lane it was refused; missing where it was refused before the fan-out.
    pub const LANE: &str = "tidegate-lane";
    /// How often the message was tried: 1 for the first refusal, one more for each replay that was refused again.
    pub const ATTEMPTS: &str = "tidegate-attempts";
    /// The letter's own id, 32 hexadecimal digits, drawn when it was written. A replayed message has that of its letter.
    pub const LETTER: &str = "tidegate-letter";
    /// Of a replayed message, and of the letter that it became when it was refused again: the queue that it was replayed from.
    pub const REPLAYED_FROM: &str = "tidegate-replayed-from";
    /// Of the letter of a replayed message that was refused again: the id of the letter before.
    pub const PREVIOUS_LETTER: &str = "tidegate-previous-letter";

    /// Of a letter that was parked while its sink was still being tried with it: the attempt, 32 hexadecimal digits, and the message's
    /// place in it, `…-0`. Where the attempt ends well, the host that made it leaves the letter out.
    pub const ATTEMPT: &str = "tidegate-attempt";

    /// All of Tidegate's headers begin so. What a message brings itself under such a name is not trusted, and dropped when a letter is
    /// made of it.
    pub const PREFIX: &str = "tidegate-";
    /// What a replayed message carries on its way, and keeps when it is parked. A producer who forges them falsifies a count, no more.
    pub const REPLAYED: [&str; 3] = [ATTEMPTS, LETTER, REPLAYED_FROM];

    /// Whether a message may keep a header when a letter is made of it.
    #[must_use]
    pub fn travels(name: &str) -> bool {
        !name.starts_with(PREFIX) || REPLAYED.contains(&name)
    }
}

/// The source's side queues.
#[async_trait]
pub trait Mailbox: Send + Sync {
    /// Puts letters on a queue, in order; they are durable when this returns.
    ///
    /// # Errors
    /// Fails when not every letter is confirmed; some may be on the queue all the same. Try the whole again.
    ///
    /// # Cancel safety
    /// Dropping the future may leave letters on the queue that were not confirmed.
    async fn put(&self, queue: &SideQueue, letters: &[Letter]) -> Result<(), StageError>;

    /// Opens a side queue to take letters from, oldest first.
    ///
    /// # Errors
    /// Fails when the source cannot be reached.
    async fn open(&self, queue: &SideQueue) -> Result<Box<dyn Taking>, StageError>;

    /// Whether letters lie on a side queue that nobody is taking.
    ///
    /// # Errors
    /// Fails when the source cannot be reached.
    async fn has_waiting(&self, queue: &SideQueue) -> Result<bool, StageError>;

    /// Opens a side queue to go through its letters, oldest first: those that lie there now and no later ones.
    ///
    /// # Errors
    /// Fails when the source cannot be reached, or somebody else is taking letters from the queue.
    async fn sift(&self, queue: &SideQueue) -> Result<Box<dyn Sifting + '_>, StageError>;
}

/// A letter on a side queue, and the place by which its queue knows it while it is sifted.
#[derive(Clone, Debug)]
pub struct Lying {
    /// Grows from letter to letter. Means nothing once the sifting has ended.
    pub place: i64,
    /// The message, with the headers that say why it lies there.
    pub message: Message,
}

/// A side queue that is being gone through: some letters are taken out, and the others stay where they are, in order.
///
/// Dropping it leaves what was not taken out on the queue.
#[async_trait]
pub trait Sifting: Send {
    /// How many letters lay on the queue when it was opened.
    fn total(&self) -> u64;

    /// The next letters, oldest first, `max` at most; empty behind the last that lay there at the opening.
    ///
    /// # Errors
    /// Fails when the source cannot be reached.
    async fn next(&mut self, max: usize) -> Result<Vec<Lying>, StageError>;

    /// Puts letters on another queue as the messages that they were, with further headers, and takes them out of this one.
    ///
    /// # Errors
    /// Says why it ended early, with how many were moved before; the others still lie here, and those that were under way may be on
    /// both queues where the source cannot do both at once.
    async fn move_to(&mut self, to: &Destination, letters: Vec<(i64, Letter)>) -> Result<(), MoveError>;

    /// Takes letters out for good.
    ///
    /// # Errors
    /// Fails when the source cannot be reached: they may still lie there.
    async fn discard(&mut self, places: &[i64]) -> Result<(), StageError>;

    /// Gives back what was not taken out, in order.
    ///
    /// # Errors
    /// Fails when the source cannot be reached; it then takes back by itself what was not taken out.
    async fn leave(self: Box<Self>) -> Result<(), StageError>;
}

/// Why letters were not all moved.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
pub struct MoveError {
    /// How many were, from the first one on.
    pub moved: usize,
    /// What happened.
    pub cause: StageError,
}

/// A side queue that is being emptied. Dropping it leaves what was not removed on the queue.
#[async_trait]
pub trait Taking: Send {
    /// The next messages, oldest first, `max` at most; empty when the queue has no more. They stay on the queue until
    /// [`Self::remove`].
    ///
    /// # Errors
    /// Fails when the source cannot be reached; open the queue again.
    async fn next(&mut self, max: usize) -> Result<Vec<Message>, StageError>;

    /// Removes all that [`Self::next`] gave since the last removal.
    ///
    /// # Errors
    /// Fails when the source cannot be reached: the messages may come again.
    async fn remove(&mut self) -> Result<(), StageError>;
}

/// Why a message is refused, with who refused it: what a dead letter says.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// `steps.NAME` or `sinks.NAME`.
    pub stage: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// Digest of the plugin, where a step refused it.
    pub plugin: Option<Arc<str>>,
}
