//! What the sink promises.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::message::{MessageId, NoProperties, Pointer, SealedField};
use crate::sink::columns::Value;
use crate::sqlite_file::Opening;
use crate::telemetry::Health;

fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

fn at(name: &str, text: &str, default: Option<&str>) -> Column {
    let value = Value::Pointer { pointer: pointer(text), default: default.map(str::to_owned) };
    Column { name: name.to_owned(), value }
}

fn settings(file: &Path) -> Settings {
    let content = || pointer("/message/content");
    Settings {
        file: file.to_owned(),
        table: "messages".into(),
        columns: vec![
            at("id", "/id", None),
            at("sub_id", "/sub_id", Some("s")),
            at("publisher_info", "/publisher_information", Some("{}")),
            at("message_content", "/message/content", None),
            Column { name: "is_encrypted".into(), value: Value::IsSealed { pointer: content() } },
            Column { name: "encryption_key_id".into(), value: Value::KeyId { pointer: content() } },
            Column { name: "source_message_id".into(), value: Value::Metadata { key: "message-id".into() } },
        ],
        idempotent_by: Some("source_message_id".into()),
        require_sealed: Vec::new(),
        timeout: Duration::from_secs(5),
    }
}

struct Room {
    folder: TempDir,
    telemetry: Telemetry,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), telemetry: Telemetry::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("data/messages.db")
    }

    fn sink(&self, change: impl FnOnce(&mut Settings)) -> SqliteSink {
        let mut settings = settings(&self.file());
        change(&mut settings);
        SqliteSink::new(settings, "sinks.history", self.telemetry.clone())
    }

    /// A file of the user's own.
    async fn make(&self, sql: &'static str) {
        crate::sqlite_file::make_private(&self.file()).unwrap();
        sqlx::raw_sql(sql).execute(&mut self.look().await).await.unwrap();
    }

    async fn look(&self) -> SqliteConnection {
        Opening::of(&self.file(), Duration::from_secs(5)).connect().await.unwrap()
    }

    async fn column(&self, what: &str) -> Vec<String> {
        let query = format!("SELECT coalesce(CAST({what} AS TEXT), 'NULL') FROM messages ORDER BY rowid");
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut self.look().await).await.unwrap()
    }
}

fn message(message_id: &str, body: &str) -> Message {
    Message::new(MessageId::new(message_id), Bytes::copy_from_slice(body.as_bytes()), Arc::new(NoProperties))
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Message> {
    let body = |number| format!(r#"{{"id":"{number}","message":{{"content":"c{number}"}}}}"#);
    range.map(|number| message(&format!("m-{number}"), &body(number))).collect()
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn file_and_table_are_made_and_rows_stored_in_order_with_their_defaults() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    let mut batch = numbered(0..150);
    let seal = SealedField { pointer: pointer("/message/content"), key_id: "k1".into() };
    batch[1].sealed.push(seal);
    let written = sink.write(&batch).await.unwrap();
    assert_eq!((written.refused.len(), written.duplicates), (0, 0));
    assert_eq!(room.column("id").await, texts(0..150));
    assert_eq!(room.column("is_encrypted").await[..3], ["0", "1", "0"]);
    assert_eq!(room.column("typeof(is_encrypted)").await[1], "integer");
    assert_eq!(room.column("encryption_key_id").await[..2], ["NULL", "k1"]);
    assert_eq!((&*room.column("server_name").await[0], &*room.column("publisher_info").await[0]), ("MainServer", "{}"));
    assert!(room.column("created_at").await[0].ends_with('Z'));
    let previews: Vec<String> =
        sqlx::query_scalar("SELECT content_preview FROM recent_messages WHERE id IN ('1', '2') ORDER BY message_id")
            .fetch_all(&mut room.look().await)
            .await
            .unwrap();
    assert_eq!(previews, ["[ENCRYPTED]", "c2"]);
    assert_eq!(room.telemetry.stages()["sinks.history"], Health::Up);
}

#[tokio::test]
async fn a_row_with_an_id_is_stored_once_and_without_one_each_time() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    let mut batch = numbered(0..3);
    batch.push(batch[0].clone());
    batch.push(Message { id: None, ..batch[1].clone() });
    assert_eq!(sink.write(&batch).await.unwrap().duplicates, 1);
    let mut again = room.sink(|_| ());
    assert_eq!(again.write(&batch).await.unwrap().duplicates, 4);
    assert_eq!(room.column("id").await, ["0", "1", "2", "1", "1"]);
}

#[tokio::test]
async fn a_row_that_the_table_refuses_is_refused_alone_and_by_name() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    let mut batch = numbered(0..70);
    batch[3] = message("long", &format!(r#"{{"id":"{}","message":{{"content":"secret"}}}}"#, "é".repeat(256)));
    batch[5] = message("no-json", "secret");
    batch[69] = message("no-content", r#"{"id":"x","message":{}}"#);
    let written = sink.write(&batch).await.unwrap();
    let refused: Vec<(usize, &str, Option<&str>)> =
        written.refused.iter().map(|(index, reason)| (*index, &*reason.code, reason.pointer.as_deref())).collect();
    let expected = [
        (3, "sqlite_constraint_check", Some("/id")),
        (5, "not_json", None),
        (69, "sqlite_constraint_notnull", Some("/message/content")),
    ];
    assert_eq!(refused, expected);
    assert!(!format!("{:?}", written.refused).contains("secret"));
    assert_eq!((room.column("id").await.len(), written.duplicates), (67, 0));
}

#[tokio::test]
async fn an_id_of_255_characters_is_stored_and_quotes_to_the_letter() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    let (id, content) = ("한".repeat(255), r"'); DROP TABLE messages; --");
    let body = serde_json::json!({ "id": id, "message": { "content": content } }).to_string();
    assert_eq!(sink.write(&[message("m", &body)]).await.unwrap().refused.len(), 0);
    assert_eq!((room.column("id").await, room.column("message_content").await), (vec![id], vec![content.to_owned()]));
}

#[tokio::test]
async fn a_trigger_refuses_a_row_without_its_words_being_told() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    sink.write(&numbered(0..1)).await.unwrap();
    room.make("CREATE TRIGGER no BEFORE INSERT ON messages WHEN NEW.id = '2' BEGIN SELECT RAISE(ABORT, 'secret'); END").await;
    let written = sink.write(&numbered(1..4)).await.unwrap();
    let (index, reason) = &written.refused[0];
    assert_eq!((*index, &*reason.code, reason.message.contains("secret")), (1, "sqlite_constraint_trigger", false));
    assert_eq!(room.column("id").await, ["0", "1", "3"]);
}

#[tokio::test]
async fn a_deferred_constraint_finds_its_row_too() {
    let room = Room::new();
    let make = "CREATE TABLE users (id TEXT PRIMARY KEY); INSERT INTO users VALUES ('0'), ('2');
        CREATE TABLE messages (id TEXT REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)";
    room.make(make).await;
    let mut sink = room.sink(|settings| {
        settings.columns.truncate(1);
        settings.idempotent_by = None;
    });
    let written = sink.write(&numbered(0..3)).await.unwrap();
    assert_eq!(written.refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    assert_eq!((room.column("id").await, written.duplicates), (vec!["0".to_owned(), "2".to_owned()], 0));
}

#[tokio::test]
async fn a_users_own_table_is_used_as_it_is() {
    let room = Room::new();
    room.make("CREATE TABLE \"my \"\"log\" (n INTEGER PRIMARY KEY, Text)").await;
    let mut sink = room.sink(|settings| {
        settings.table = "my \"log".into();
        settings.columns = vec![at("n", "/id", None), at("text", "/message/content", None)];
        settings.idempotent_by = Some("n".into());
    });
    let mut batch = numbered(7..9);
    batch.push(message("m", r#"{"id":"no number","message":{}}"#));
    let written = sink.write(&batch).await.unwrap();
    assert_eq!(&*written.refused[0].1.code, "sqlite_mismatch");
    assert_eq!(sink.write(&batch).await.unwrap().duplicates, 2);
    let mut look = room.look().await;
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT * FROM \"my \"\"log\"").fetch_all(&mut look).await.unwrap();
    assert_eq!(rows, [(7, "c7".to_owned()), (8, "c8".to_owned())]);
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut look).await.unwrap();
    assert_eq!(mode, "delete");
}

#[tokio::test]
async fn what_does_not_fit_the_table_is_said_in_words() {
    let room = Room::new();
    room.make("CREATE TABLE messages (id TEXT, source_message_id TEXT); CREATE TABLE other (id TEXT)").await;
    type Case = (fn(&mut Settings), &'static str, &'static str);
    let cases: [Case; 5] = [
        (|_| (), "no_such_column", "sub_id"),
        (|settings| settings.table = "none".into(), "no_such_table", "none"),
        (|settings| settings.columns.clear(), "settings", "columns"),
        (|settings| settings.columns.truncate(1), "settings", "idempotent_by"),
        (|settings| drop(settings.columns.drain(1..6)), "no_unique_index", "source_message_id"),
    ];
    for (change, code, words) in cases {
        let error = room.sink(change).write(&numbered(0..1)).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.needs_operator), (code, true), "{error}");
        assert!(error.message.contains(words) && error.message.contains("messages.db"), "{error}");
    }
    assert!(matches!(&room.telemetry.stages()["sinks.history"], Health::Down(_)));
}

#[tokio::test]
async fn a_locked_database_fails_in_time_and_is_written_when_it_is_free() {
    let room = Room::new();
    let mut sink = room.sink(|settings| settings.timeout = Duration::from_millis(100));
    sink.write(&numbered(0..1)).await.unwrap();
    let mut other = room.look().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = sink.write(&numbered(1..2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.needs_operator), ("sqlite_busy", false), "{error}");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    sink.write(&numbered(1..2)).await.unwrap();
    assert_eq!(room.column("id").await, ["0", "1"]);
}

#[tokio::test]
async fn a_file_that_was_removed_is_made_again() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    sink.write(&numbered(0..1)).await.unwrap();
    std::fs::remove_dir_all(room.file().parent().unwrap()).unwrap();
    sink.write(&numbered(1..2)).await.unwrap();
    assert_eq!(room.column("id").await, ["1"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_the_operators() {
    let room = Room::new();
    std::fs::write(room.folder.path().join("data"), "a file where the folder should be").unwrap();
    let error = room.sink(|_| ()).write(&numbered(0..1)).await.unwrap_err();
    assert!(error.needs_operator && error.message.contains("messages.db"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_the_stage_and_no_row_of_the_batch_is_stored() {
    let room = Room::new();
    let mut sink = room.sink(|_| ());
    sink.write(&numbered(0..1)).await.unwrap();
    sink.store.limit_pages().await;
    let large = "x".repeat(1 << 20);
    let batch: Vec<Message> = (0..3)
        .map(|number| message(&format!("l-{number}"), &format!(r#"{{"id":"{number}","message":{{"content":"{large}"}}}}"#)))
        .collect();
    let error = sink.write(&batch).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.needs_operator), ("sqlite_full", true), "{error}");
    // The limit was that connection's; the next one has room.
    assert_eq!(sink.write(&batch).await.unwrap().duplicates, 0);
    assert_eq!(room.column("id").await, ["0", "0", "1", "2"]);
}

impl Store {
    /// Lets the open connection grow the file by no more than a little.
    async fn limit_pages(&mut self) {
        let link = self.link.as_mut().unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 64").execute(&mut link.connection).await.unwrap();
    }
}
