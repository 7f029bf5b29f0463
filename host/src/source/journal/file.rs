//! The journal's file: where it lies, who may open it, and what is in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Row, SqliteConnection, raw_sql};

use crate::source::StageError;
use crate::sqlite_file::{Failure, Opening, make_private, sync_folder};

/// Longest wait for another connection to the file, e.g. a person's who looks into it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `TGJL`: marks the file as a journal.
const APPLICATION_ID: i64 = 0x5447_4a4c;

/// Version of the layout.
const VERSION: i64 = 1;

const LAYOUT: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS messages (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        message_id TEXT,
        properties TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS messages_by_queue ON messages (queue, sequence);
    PRAGMA application_id = 0x54474a4c;
    PRAGMA user_version = 1;
    COMMIT;
";

/// The file of a queue: its name, with what a file name cannot hold as `%XX`.
pub(super) fn path(folder: &Path, queue: &str) -> PathBuf {
    let mut name = String::with_capacity(queue.len() + 11);
    for byte in queue.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    folder.join(format!("{name}.journal.db"))
}

/// Keeps every other process out, for as long as the lock is held.
pub(super) fn lock(file: &Path) -> Result<File, StageError> {
    let path = file.with_extension("lock");
    make_private(&path).map_err(|error| Failure::of_io(&error, &path))?;
    let lock = OpenOptions::new().write(true).open(&path).map_err(|error| Failure::of_io(&error, &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let message = format!("the journal {} is in use by another process: one at a time", file.display());
            Err(StageError { code: "journal_in_use".into(), message, needs_operator: true })
        }
        Err(TryLockError::Error(error)) => Err(Failure::of_io(&error, &path).into()),
    }
}

/// How every connection to the file is opened.
pub(super) fn opening(file: &Path) -> Opening {
    Opening::own(file, BUSY_TIMEOUT)
}

/// Opens the file, made when missing, and sees to its layout.
pub(super) async fn open(file: &Path) -> Result<SqliteConnection, StageError> {
    let made = make_private(file).map_err(|error| Failure::of_io(&error, file))?;
    let mut connection = opening(file).connect().await?;
    lay_out(&mut connection, file).await?;
    if made {
        sync_folder(file).map_err(|error| Failure::of_io(&error, file))?;
    }
    Ok(connection)
}

async fn lay_out(connection: &mut SqliteConnection, file: &Path) -> Result<(), StageError> {
    let failed = |error: sqlx::Error| Failure::of(&error, file);
    let marks = "SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema)
        FROM pragma_application_id() AS a, pragma_user_version() AS v";
    let row = sqlx::query(marks).fetch_one(&mut *connection).await.map_err(failed)?;
    let mark = |index: usize| row.try_get::<i64, _>(index).map_err(failed);
    let (application, version, tables) = (mark(0)?, mark(1)?, mark(2)?);
    let wrong = |what: String| StageError {
        code: "journal_version".into(),
        message: format!("{} {what}", file.display()),
        needs_operator: true,
    };
    match (application, version) {
        (APPLICATION_ID, VERSION) => Ok(()),
        (APPLICATION_ID, newer) => Err(wrong(format!("is a journal of version {newer}; this program knows version {VERSION}"))),
        (0, 0) if tables == 0 => {
            raw_sql(LAYOUT).execute(connection).await.map_err(failed)?;
            Ok(())
        }
        _ => Err(wrong("is a database, but no journal".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_name_gives_one_file_inside_the_folder() {
        let name = |queue| path(Path::new("data"), queue).display().to_string();
        assert_eq!(name("message_broadcast_queue"), "data/message_broadcast_queue.journal.db");
        assert_eq!(name("../a/b ü"), "data/..%2Fa%2Fb%20%C3%BC.journal.db");
    }
}
