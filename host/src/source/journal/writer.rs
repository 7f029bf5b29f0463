//! Writing the journal: what is asked for at one moment goes into one transaction, and is on the disk before it is answered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Connection, SqliteConnection, raw_sql};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{AppendError, Entry, Gauges, file, reader};
use crate::source::StageError;
use crate::sqlite_file::{Failure, Identity};

/// Most requests that share a transaction.
const GROUP_REQUESTS: usize = 256;
/// A transaction takes no further request once it has this many bytes.
const GROUP_BYTES: usize = 64 << 20;
/// Most rows of one statement.
const STATEMENT_ROWS: usize = 64;
/// Free pages of 4 KiB that an empty journal keeps for the next wave; what it has beyond goes back to the file system.
const KEPT_PAGES: i64 = 4096;

const REMOVE: &str = "DELETE FROM messages WHERE queue = ?1 AND sequence > ?2 AND sequence <= ?3";

const TAKE_OUT: &str = "DELETE FROM messages WHERE queue = ?1 AND sequence = ?2";

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Work {
    Append {
        queue: Arc<str>,
        entries: Vec<Entry>,
        most_waiting: Option<u64>,
    },
    Remove {
        queue: Arc<str>,
        after: i64,
        through: i64,
    },
    /// Single messages out of a queue, and others into another one.
    TakeOut {
        queue: Arc<str>,
        taken: Vec<i64>,
        put: Option<(Arc<str>, Vec<Entry>)>,
    },
}

/// Work, and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<(), AppendError>>,
}

/// The one writer of a journal in this process.
#[derive(Debug)]
pub(super) struct Writer {
    file: PathBuf,
    identity: Identity,
    queue: Arc<str>,
    /// None after a failure: whatever transaction it left goes with it.
    connection: Option<SqliteConnection>,
    gauges: Arc<Gauges>,
    /// How many messages wait in the source's own queue.
    waiting: u64,
    /// Changes when another process has written.
    version: i64,
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } | Self::TakeOut { put: Some((_, entries)), .. } => {
                entries.iter().map(|entry| entry.body.len()).sum()
            }
            Self::Remove { .. } | Self::TakeOut { put: None, .. } => 0,
        }
    }

    /// What it appends, and where.
    fn appended(&self) -> Option<(&str, &[Entry])> {
        match self {
            Self::Append { queue, entries, .. } | Self::TakeOut { put: Some((queue, entries)), .. } => Some((queue, entries)),
            Self::Remove { .. } | Self::TakeOut { put: None, .. } => None,
        }
    }
}

impl Writer {
    pub(super) async fn new(
        file: &Path,
        identity: Identity,
        queue: Arc<str>,
        mut connection: SqliteConnection,
        gauges: Arc<Gauges>,
    ) -> Result<Self, StageError> {
        let waiting = reader::count(&mut connection, &queue).await.map_err(|error| Failure::of(&error, file))?;
        let version = version(&mut connection).await.map_err(|error| Failure::of(&error, file))?;
        gauges.waiting.store(waiting, Ordering::Relaxed);
        Ok(Self { file: file.to_owned(), identity, queue, connection: Some(connection), gauges, waiting, version })
    }

    /// Serves until nobody is left who could ask.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.recv().await {
            let group = gather(first, &mut requests);
            self.serve(group).await;
            if self.waiting == 0 && requests.is_empty() {
                self.give_back_space().await;
            }
        }
    }

    async fn serve(&mut self, group: Vec<Request>) {
        let (works, replies) = self.admit(group);
        if works.is_empty() {
            return;
        }
        let outcome = self.commit(&works).await;
        // Whoever was waiting may have gone; what was done for him stays.
        replies.into_iter().for_each(|reply| drop(reply.send(outcome.clone().map_err(AppendError::Stage))));
    }

    /// Turns away what would make too many wait.
    fn admit(&self, group: Vec<Request>) -> (Vec<Work>, Vec<oneshot::Sender<Result<(), AppendError>>>) {
        let mut waiting = self.waiting;
        let (mut works, mut replies) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for Request { work, reply } in group {
            if let Work::Append { queue, entries, most_waiting } = &work
                && **queue == *self.queue
            {
                let after = waiting + entries.len() as u64;
                if most_waiting.is_some_and(|most| after > most) {
                    drop(reply.send(Err(AppendError::Full { waiting })));
                    continue;
                }
                waiting = after;
            }
            works.push(work);
            replies.push(reply);
        }
        (works, replies)
    }

    async fn commit(&mut self, works: &[Work]) -> Result<(), StageError> {
        let mut connection = self.take_connection().await?;
        match transact(&mut connection, works, &self.queue).await {
            Ok(removed) => {
                self.note(works, removed);
                // What is committed is answered for, whatever becomes of the count.
                match self.recount(&mut connection).await {
                    Ok(()) => self.connection = Some(connection),
                    Err(error) => warn!(file = %self.file.display(), %error, "the waiting messages could not be counted"),
                }
                Ok(())
            }
            Err(error) => {
                let failure = match &error {
                    sqlx::Error::RowNotFound => taken_by_another(&self.file),
                    error => Failure::of(error, &self.file).into(),
                };
                close(connection).await;
                Err(failure)
            }
        }
    }

    async fn take_connection(&mut self) -> Result<SqliteConnection, StageError> {
        if !self.identity.is_still(&self.file) {
            self.connection = None;
            return Err(Failure::gone(&self.file).into());
        }
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let mut connection = file::opening(&self.file).connect().await?;
        // A failed commit may have gone through all the same.
        self.version = -1;
        self.recount(&mut connection).await.map_err(|error| Failure::of(&error, &self.file))?;
        Ok(connection)
    }

    /// Counts what waits anew where another process, or a transaction in doubt, may have changed it.
    async fn recount(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let now = version(connection).await?;
        if now != self.version {
            self.waiting = reader::count(connection, &self.queue).await?;
            self.version = now;
            self.gauges.waiting.store(self.waiting, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Notes what a transaction has done to the source's own queue.
    fn note(&mut self, works: &[Work], removed: u64) {
        let own = |(queue, entries): (&str, &[Entry])| if *queue == *self.queue { entries.len() } else { 0 };
        let appended: usize = works.iter().filter_map(Work::appended).map(own).sum();
        self.waiting = (self.waiting + appended as u64).saturating_sub(removed);
        self.gauges.waiting.store(self.waiting, Ordering::Relaxed);
        if appended > 0 {
            self.gauges.arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
        }
    }

    /// Shrinks the file of an empty journal, a piece at a time.
    async fn give_back_space(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match shrink(&mut connection).await {
            Ok(()) => self.connection = Some(connection),
            Err(error) => {
                warn!(file = %self.file.display(), %error, "the journal keeps its free space for now");
                close(connection).await;
            }
        }
    }
}

fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.work.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_REQUESTS && bytes < GROUP_BYTES {
        let Ok(next) = requests.try_recv() else { break };
        bytes = bytes.saturating_add(next.work.bytes());
        group.push(next);
    }
    group
}

/// Does the work of a group in one transaction; says how many messages left the source's own queue.
async fn transact(connection: &mut SqliteConnection, works: &[Work], own: &str) -> Result<u64, sqlx::Error> {
    raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let rows: Vec<(&str, &Entry)> = works
        .iter()
        .filter_map(Work::appended)
        .flat_map(|(queue, entries)| entries.iter().map(move |entry| (queue, entry)))
        .collect();
    for rows in rows.chunks(STATEMENT_ROWS) {
        insert(connection, rows).await?;
    }
    let mut removed = 0;
    for work in works {
        let (queue, done) = match work {
            Work::Append { .. } => continue,
            Work::Remove { queue, after, through } => {
                let deletion = sqlx::query(REMOVE).bind(&**queue).bind(after).bind(through);
                (queue, deletion.execute(&mut *connection).await?.rows_affected())
            }
            Work::TakeOut { queue, taken, .. } => (queue, take_out(connection, queue, taken).await?),
        };
        removed += if **queue == *own { done } else { 0 };
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(removed)
}

/// Deletes single messages; fails when one of them is not there any more, because somebody else may have done with it what is to be done here.
async fn take_out(connection: &mut SqliteConnection, queue: &str, taken: &[i64]) -> Result<u64, sqlx::Error> {
    for place in taken {
        let deletion = sqlx::query(TAKE_OUT).bind(queue).bind(place);
        if deletion.execute(&mut *connection).await?.rows_affected() == 0 {
            return Err(sqlx::Error::RowNotFound);
        }
    }
    Ok(taken.len() as u64)
}

fn taken_by_another(file: &Path) -> StageError {
    let message =
        format!("{}: another program has taken some of these letters meanwhile; nothing was done with them", file.display());
    StageError { code: "letters_taken".into(), message, needs_operator: false }
}

/// A number that stays the same for this connection's own writes, and changes with those of others.
async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT data_version FROM pragma_data_version()").fetch_one(connection).await
}

async fn insert(connection: &mut SqliteConnection, rows: &[(&str, &Entry)]) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for (queue, entry) in rows {
        let (properties, received) = entry.properties.to_row();
        let id = entry.id.as_ref().map(crate::message::MessageId::as_str);
        let added = arguments
            .add(*queue)
            .and_then(|()| arguments.add(id))
            .and_then(|()| arguments.add(properties))
            .and_then(|()| arguments.add(received))
            .and_then(|()| arguments.add(&*entry.body));
        added.map_err(sqlx::Error::Encode)?;
    }
    let values = vec!["(?, ?, ?, ?, ?)"; rows.len()].join(", ");
    let statement = format!("INSERT INTO messages (queue, message_id, properties, received_at, body) VALUES {values}");
    sqlx::query_with(AssertSqlSafe(statement), arguments).execute(connection).await?;
    Ok(())
}

async fn shrink(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let free: i64 = sqlx::query_scalar("SELECT freelist_count FROM pragma_freelist_count()").fetch_one(&mut *connection).await?;
    let surplus = (free - KEPT_PAGES).min(KEPT_PAGES);
    if surplus > 0 {
        raw_sql(AssertSqlSafe(format!("PRAGMA incremental_vacuum({surplus})"))).execute(connection).await?;
    }
    Ok(())
}

/// Closes a connection after a failure, and with it the transaction.
async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        warn!(%error, "a connection to the journal ended badly");
    }
}
