//! SQLite files: made for their owner alone, opened durably, and what their errors mean.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

/// Names of SQLite's primary result codes.
const CODES: [(i32, &str); 19] = [
    (1, "error"),
    (3, "perm"),
    (5, "busy"),
    (6, "locked"),
    (7, "nomem"),
    (8, "readonly"),
    (9, "interrupt"),
    (10, "ioerr"),
    (11, "corrupt"),
    (13, "full"),
    (14, "cantopen"),
    (15, "protocol"),
    (17, "schema"),
    (18, "toobig"),
    (19, "constraint"),
    (20, "mismatch"),
    (22, "nolfs"),
    (23, "auth"),
    (26, "notadb"),
];

/// Names of the extended codes that a row can be refused with.
const CONSTRAINTS: [(i32, &str); 10] = [
    (275, "constraint_check"),
    (531, "constraint_commithook"),
    (787, "constraint_foreignkey"),
    (1043, "constraint_function"),
    (1299, "constraint_notnull"),
    (1555, "constraint_primarykey"),
    (1811, "constraint_trigger"),
    (2067, "constraint_unique"),
    (2579, "constraint_rowid"),
    (3091, "constraint_datatype"),
];

/// SQLite will not keep a value longer than this many bytes, by its default limits; a margin for the other columns is left.
pub const MAX_VALUE_BYTES: usize = 990_000_000;

/// Why a file could not be used, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `sqlite_` and the name of SQLite's code, e.g. `sqlite_full`.
    pub code: String,
    /// What happened, naming the file. Never holds content.
    pub message: String,
    /// Whether a person must mend something before trying again can help.
    pub needs_operator: bool,
}

impl Failure {
    /// What an error about `file` means.
    #[must_use]
    pub fn of(error: &sqlx::Error, file: &Path) -> Self {
        let at = file.display();
        let Some(code) = result_code(error) else {
            return Self { code: "sqlite".into(), message: format!("{at} cannot be used: {error}"), needs_operator: false };
        };
        let (message, needs_operator) = match code & 0xff {
            5 | 6 | 15 => (format!("{at} is locked by another program"), false),
            3 | 8 | 23 => (format!("{at} cannot be written: the file, its folder or its disk is read-only"), true),
            11 | 26 => (format!("{at} is damaged, or no SQLite database"), true),
            13 => (format!("{at} cannot grow: the disk is full"), true),
            14 => (format!("{at} cannot be opened: its folder is missing, not allowed, or out of file handles"), true),
            10 => (format!("{at} cannot be read or written: {}", words(error)), false),
            7 | 9 => (format!("{at} cannot be used now: {}", words(error)), false),
            _ => (format!("{at}: {}", words(error)), true),
        };
        Self { code: code_name(code), message, needs_operator }
    }

    /// What an error of the operating system about `file` means.
    #[must_use]
    pub fn of_io(error: &io::Error, file: &Path) -> Self {
        let code = match error.kind() {
            io::ErrorKind::StorageFull => "sqlite_full",
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => "sqlite_readonly",
            _ => "sqlite_cantopen",
        };
        Self { code: code.into(), message: format!("{} cannot be made: {error}", file.display()), needs_operator: true }
    }

    /// The file is not the one that was opened any more.
    #[must_use]
    pub fn gone(file: &Path) -> Self {
        let message = format!("{} was removed or replaced while it was in use", file.display());
        Self { code: "sqlite_gone".into(), message, needs_operator: true }
    }
}

/// SQLite's own words: the text of the statement's problem, which never holds a bound value.
fn words(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// SQLite's extended result code; none where the error is not SQLite's.
#[must_use]
pub fn result_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether the code blames the values of a statement: the same row will never pass.
#[must_use]
pub fn blames_the_row(code: i32) -> bool {
    matches!(code & 0xff, 18..=20)
}

/// The stable name of a code, e.g. `sqlite_constraint_unique`.
#[must_use]
pub fn code_name(code: i32) -> String {
    let extended = CONSTRAINTS.iter().find(|(known, _)| *known == code);
    let known = extended.or_else(|| CODES.iter().find(|(known, _)| *known == code & 0xff));
    known.map_or_else(|| format!("sqlite_{code}"), |(_, name)| format!("sqlite_{name}"))
}

/// Makes the file, and the folders to it, for its owner alone; one that exists is left as it is. Says whether it was made.
///
/// # Errors
/// Fails when folder or file cannot be made.
pub fn make_private(file: &Path) -> io::Result<bool> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes what was put into the file's folder durable: a new file survives a power cut only with its name.
///
/// # Errors
/// Fails when the folder cannot be synchronised.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Opens a database file that exists. What a statement has committed is on the disk when the statement returns.
#[derive(Clone, Debug)]
pub struct Opening {
    file: PathBuf,
    options: SqliteConnectOptions,
}

impl Opening {
    /// For a file whose making is somebody else's: its journal mode is left as it is.
    #[must_use]
    pub fn of(file: &Path, busy_timeout: Duration) -> Self {
        let longest = Duration::from_millis(u64::from(u16::MAX) * 1000);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(busy_timeout.min(longest))
            // FULL for a write-ahead log; and with a rollback journal its removal is on the disk too.
            .synchronous(SqliteSynchronous::Extra)
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();
        Self { file: file.to_owned(), options }
    }

    /// For a file of our own: write-ahead log, and space that can be given back.
    #[must_use]
    pub fn own(file: &Path, busy_timeout: Duration) -> Self {
        let Self { file, options } = Self::of(file, busy_timeout);
        let options = options
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("secure_delete", "FAST");
        Self { file, options }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Fails when the file cannot be opened, is no database, or stays locked.
    pub async fn connect(&self) -> Result<SqliteConnection, Failure> {
        self.options.connect().await.map_err(|error| Failure::of(&error, &self.file))
    }
}

/// Which file lies at a path: tells when it was removed or replaced under an open connection, whose commits would go nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Option<(u64, u64)>);

impl Identity {
    /// The file that lies there now.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        Self(std::fs::metadata(file).ok().as_ref().and_then(inode))
    }

    /// Whether it still lies there.
    #[must_use]
    pub fn is_still(&self, file: &Path) -> bool {
        *self == Self::of(file)
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems tell no inode")]
fn inode(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> Option<(u64, u64)> {
    None
}

/// A name inside SQL.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_the_name_of_its_constraint_or_of_its_class() {
        for (code, name) in [(2067, "sqlite_constraint_unique"), (13, "sqlite_full"), (266, "sqlite_ioerr"), (999, "sqlite_999")]
        {
            assert_eq!(code_name(code), name);
        }
    }

    #[cfg(unix)]
    #[test]
    fn file_and_folder_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("data/deep/x.db");
        assert!(make_private(&file).unwrap());
        assert!(!make_private(&file).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }

    #[tokio::test]
    async fn what_is_no_database_is_said_with_the_files_name() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.db");
        std::fs::write(&file, "this is a text of some length, and surely no database at all".repeat(20)).unwrap();
        let failure = Opening::own(&file, Duration::from_secs(1)).connect().await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.needs_operator), ("sqlite_notadb", true));
        assert!(failure.message.contains("x.db"), "{failure:?}");
    }

    #[test]
    fn a_file_that_was_replaced_is_another_one() {
        let root = tempfile::tempdir().unwrap();
        let (file, other) = (root.path().join("x.db"), root.path().join("y.db"));
        make_private(&file).unwrap();
        let identity = Identity::of(&file);
        assert!(identity.is_still(&file));
        make_private(&other).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(!identity.is_still(&file));
    }
}
