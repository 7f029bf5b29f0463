//! A durable queue in one SQLite file: what a broker does elsewhere, for a machine that has none.
//!
//! One file holds a source's own queue and its side queues. Appends and removals of one moment share one transaction, and thus one
//! write to the disk. Nothing is gone before it is removed: after a crash all that was not is read again, in order.

mod file;
mod mailbox;
mod reader;
mod recorded;
mod sifting;
mod writer;

#[cfg(test)]
mod tests;

pub use mailbox::Mailbox;
pub use recorded::Recorded;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use self::reader::Reader;
use self::writer::{Request, Work, Writer};
use super::{SideQueue, StageError};
use crate::lifecycle::Tasks;
use crate::message::{Message, MessageId};
use crate::sqlite_file::{Failure, Identity, MAX_VALUE_BYTES};

/// Most requests that wait for the writer; further ones wait outside.
const WAITING_REQUESTS: usize = 1024;

/// A message for the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id, where it has one.
    pub id: Option<MessageId>,
    /// Its bytes.
    pub body: Bytes,
    /// What came with the bytes.
    pub properties: Arc<Recorded>,
}

/// A message of the journal.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place: ascending over all queues of the file, never used twice.
    pub sequence: i64,
    /// The message.
    pub message: Message,
}

/// Why messages were not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// As many messages as may wait do wait already. Nothing was appended.
    #[error("{waiting} messages wait already")]
    Full {
        /// How many.
        waiting: u64,
    },
    /// The file cannot be written. Unless the failure fell on the very commit, nothing was appended.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl From<AppendError> for StageError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Stage(error) => error,
            full @ AppendError::Full { .. } => {
                Self { code: "journal_full".into(), message: full.to_string(), needs_operator: false }
            }
        }
    }
}

impl From<Failure> for StageError {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, needs_operator: failure.needs_operator }
    }
}

/// An open journal. Cloning shares it; the last clone's end closes the file, and lets another process open it.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    queue: Arc<str>,
    requests: mpsc::Sender<Request>,
    gauges: Arc<Gauges>,
    reader: Reader,
    _writer: Tasks,
    /// Held to keep other processes out; none for a visitor.
    _lock: Option<File>,
}

/// What the writer tells of the source's own queue.
#[derive(Debug, Default)]
struct Gauges {
    waiting: AtomicU64,
    arrivals: watch::Sender<u64>,
}

impl Journal {
    /// Opens the journal of `queue` in `folder`, made when missing, for this process alone.
    ///
    /// # Errors
    /// Fails when another process has it open, or the file cannot be made or read, is damaged, or is of a newer version.
    pub async fn open(folder: &Path, queue: &str) -> Result<Self, StageError> {
        let file = file::path(folder, queue);
        let lock = file::lock(&file)?;
        Self::start(file, queue, Some(lock)).await
    }

    /// Opens a journal that exists and that another process may have open: to look at its side queues, or to empty them. The process
    /// that has it open finds what is appended here within a second.
    ///
    /// # Errors
    /// Fails when there is none, or the file cannot be read.
    pub async fn visit(folder: &Path, queue: &str) -> Result<Self, StageError> {
        let file = file::path(folder, queue);
        if !file.exists() {
            let message = format!("there is no journal {}", file.display());
            return Err(StageError { code: "sqlite_cantopen".into(), message, needs_operator: true });
        }
        Self::start(file, queue, None).await
    }

    async fn start(file: PathBuf, queue: &str, lock: Option<File>) -> Result<Self, StageError> {
        let connection = file::open(&file).await?;
        let queue: Arc<str> = queue.into();
        let gauges = Arc::new(Gauges::default());
        let identity = Identity::of(&file);
        let writer = Writer::new(&file, identity, Arc::clone(&queue), connection, Arc::clone(&gauges)).await?;
        let (requests, arriving) = mpsc::channel(WAITING_REQUESTS);
        let mut tasks = Tasks::default();
        tasks.spawn("journal", writer.run(arriving));
        let reader = Reader::new(&file);
        Ok(Self { inner: Arc::new(Inner { file, queue, requests, gauges, reader, _writer: tasks, _lock: lock }) })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.inner.file
    }

    /// Whether it is the journal of `queue` in `folder`.
    #[must_use]
    pub fn is_of(&self, folder: &Path, queue: &str) -> bool {
        self.inner.file == file::path(folder, queue) && *self.inner.queue == *queue
    }

    /// Name of the source's own queue.
    #[must_use]
    pub fn queue(&self) -> &Arc<str> {
        &self.inner.queue
    }

    /// Name of a side queue: `<queue>.dead`, `<queue>.parked.<sink>`.
    #[must_use]
    pub fn side_queue(&self, side: &SideQueue) -> Arc<str> {
        match side {
            SideQueue::Dead => format!("{}.dead", self.inner.queue).into(),
            SideQueue::Parked(sink) => format!("{}.parked.{sink}", self.inner.queue).into(),
        }
    }

    /// The side queues, as a pipeline uses them.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox {
        Mailbox::new(self.clone())
    }

    /// Appends messages to a queue, in order, all or none. They are durable when this returns.
    ///
    /// With `most_waiting` nothing is appended that would make more messages than that wait in the source's own queue.
    ///
    /// # Errors
    /// Says why nothing was appended.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the messages appended.
    pub async fn append(&self, queue: &Arc<str>, entries: Vec<Entry>, most_waiting: Option<u64>) -> Result<(), AppendError> {
        if entries.is_empty() {
            return Ok(());
        }
        if entries.iter().any(|entry| entry.body.len() > MAX_VALUE_BYTES) {
            let message = format!("a message of more than {MAX_VALUE_BYTES} bytes does not fit into the journal");
            return Err(StageError { code: "sqlite_toobig".into(), message, needs_operator: true }.into());
        }
        self.ask(Work::Append { queue: Arc::clone(queue), entries, most_waiting }).await
    }

    /// Reads messages of a queue behind a place, oldest first: `max_messages` at most, and no further one once there are `max_bytes`.
    /// They stay in the queue.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub async fn read(&self, queue: &str, after: i64, max_messages: usize, max_bytes: usize) -> Result<Vec<Stored>, StageError> {
        self.inner.reader.read(queue, after, max_messages, max_bytes).await
    }

    /// Removes a queue's messages behind `after` up to and with `through`, durably.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the messages removed.
    pub async fn remove(&self, queue: &Arc<str>, after: i64, through: i64) -> Result<(), StageError> {
        Ok(self.ask(Work::Remove { queue: Arc::clone(queue), after, through }).await?)
    }

    /// Takes single messages out of a queue, and puts others in another one, in order: all of it or nothing.
    ///
    /// # Errors
    /// Fails when the file cannot be written, or one of the messages is not there any more: nothing was done.
    ///
    /// # Cancel safety
    /// Dropping the future may leave it done.
    pub(super) async fn take_out(
        &self,
        queue: &Arc<str>,
        taken: Vec<i64>,
        put: Option<(Arc<str>, Vec<Entry>)>,
    ) -> Result<(), StageError> {
        Ok(self.ask(Work::TakeOut { queue: Arc::clone(queue), taken, put }).await?)
    }

    /// Place of a queue's last message; none where it is empty.
    pub(super) async fn last(&self, queue: &str) -> Result<Option<i64>, StageError> {
        self.inner.reader.last(queue).await
    }

    /// How many messages lie in a queue.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub async fn count(&self, queue: &str) -> Result<u64, StageError> {
        self.inner.reader.count(queue).await
    }

    /// How many messages lie in each queue that has any, by its full name.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub async fn queues(&self) -> Result<BTreeMap<String, u64>, StageError> {
        self.inner.reader.queues().await
    }

    /// Whether both are the very same open journal.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How many messages wait in the source's own queue, removed ones not counted.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.inner.gauges.waiting.load(Ordering::Relaxed)
    }

    /// Changes with each append to the source's own queue.
    #[must_use]
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.inner.gauges.arrivals.subscribe()
    }

    async fn ask(&self, work: Work) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        let gone = || StageError {
            code: "journal_ended".into(),
            message: format!("the writer of {} has ended", self.inner.file.display()),
            needs_operator: true,
        };
        self.inner.requests.send(Request { work, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
