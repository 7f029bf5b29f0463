//! The shipped file under its profile `embedded`: HTTP in, SQLite and a live view out, nothing installed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row, SqliteConnection};
use tempfile::TempDir;
use tidegate_harness::host::{Arguments, Host};
use tidegate_harness::http;
use tidegate_harness::pipeline::{Ports, embedded};
use tidegate_harness::service::free_port;

use crate::broker::eventually;
use crate::host::{PATIENCE, cache, command, lane, plugins, program};

/// A host of this profile in a folder of its own.
pub(super) struct Embedded {
    pub(super) host: Host,
    pub(super) ports: Ports,
    pub(super) folder: TempDir,
}

impl Embedded {
    fn start() -> Self {
        Self::start_with(|shipped| shipped)
    }

    /// Starts it with a file that differs from the shipped one.
    pub(super) fn start_with(change: impl FnOnce(String) -> String) -> Self {
        let ports = Ports { admin: free_port().unwrap(), http: free_port().unwrap(), live: free_port().unwrap() };
        let folder = TempDir::new().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline.toml");
        let text = embedded(&fs::read_to_string(shipped).unwrap(), &plugins(), ports).unwrap();
        let text = change(format!("{text}\n[plugins]\ncache = \"{}\"\n", cache().display()));
        fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        let arguments = Arguments {
            program: program(),
            arguments: ["run", "--profile", "embedded"].map(str::to_owned).into(),
            folder: folder.path().to_owned(),
            variables: Vec::new(),
            admin_port: ports.admin,
        };
        Self { host: Host::start(arguments).unwrap(), ports, folder }
    }

    pub(super) fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u64 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.http));
        let answer = http::post(address, path, headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json().unwrap()["accepted"].as_u64().unwrap()
    }

    /// The bodies that the live view shows to somebody who comes late.
    pub(super) fn recent(&self) -> Vec<String> {
        let recent = http::get(SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.live)), "/recent").unwrap().json().unwrap();
        recent.as_array().unwrap().iter().map(|line| line["body"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn settled(&mut self, messages: u64) -> Value {
        let ledger = self.host.wait_until("messages to be settled", PATIENCE, |host| {
            let ledger = host.status()?["ledger"].take();
            Ok((ledger["acked"] == messages && ledger["in_flight"] == 0).then_some(ledger))
        });
        let ledger = ledger.unwrap();
        assert_eq!(ledger["balanced"], true, "{ledger:#}");
        ledger
    }

    /// Id, message id and opened content of every row, in the order in which they were stored.
    pub(super) async fn rows(&self) -> Vec<(String, Option<String>, String)> {
        let file = self.folder.path().join("data/messages.db");
        let mut database =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file).read_only(true)).await.unwrap();
        let sql = "SELECT id, source_message_id, message_content, is_encrypted FROM messages ORDER BY message_id";
        let rows = sqlx::query(sql).fetch_all(&mut database).await.unwrap();
        assert!(rows.iter().all(|row| row.get::<bool, _>("is_encrypted")));
        let sealed: Vec<&str> = rows.iter().map(|row| row.get("message_content")).collect();
        let arguments = ["open", "--json", "--profile", "embedded"];
        let opened = command(self.folder.path(), &arguments, sealed.join("\n").as_bytes()).stdout;
        let opened = String::from_utf8(opened).unwrap();
        let contents = opened.lines().map(|line| serde_json::from_str::<String>(line).unwrap());
        rows.iter().zip(contents).map(|(row, content)| (row.get("id"), row.get("source_message_id"), content)).collect()
    }

    pub(super) async fn row_count(&self) -> i64 {
        let file = self.folder.path().join("data/messages.db");
        let mut database =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file).read_only(true)).await.unwrap();
        sqlx::query_scalar("SELECT COUNT(*) FROM messages").fetch_one(&mut database).await.unwrap()
    }
}

fn body(number: usize) -> String {
    format!(r#"{{"id":"user_{number}","sub_id":"s","message":{{"content":"message {number}"}}}}"#)
}

/// A line of a batch; the id stands in the body, where the shipped pipeline looks for it.
pub(super) fn line(number: usize) -> String {
    let information = format!(r#"{{"message_id":"id-{number}"}}"#);
    format!(
        r#"{{"id":"user_{number}","sub_id":"s","publisher_information":{information},"message":{{"content":"message {number}"}}}}"#
    )
}

#[tokio::test]
async fn what_is_posted_is_seen_live_and_stored_sealed_once_and_what_is_bad_is_dead_lettered() {
    let mut embedded = Embedded::start();
    for number in [0, 1, 1] {
        embedded.post("/messages", &[("message-id", &format!("id-{number}"))], &body(number));
    }
    embedded.post("/messages", &[], r#"{"sub_id":"s","message":{"content":"nobody's"}}"#);
    assert_eq!(embedded.post("/messages/batch", &[], &format!("{}\n{}\n", body(2), body(3))), 2);
    let ledger = embedded.settled(6);
    assert_eq!(embedded.recent(), [body(0), body(1), body(1), body(2), body(3)]);
    let row = |number: usize, id: Option<&str>| (format!("user_{number}"), id.map(str::to_owned), format!("message {number}"));
    assert_eq!(embedded.rows().await, [row(0, Some("id-0")), row(1, Some("id-1")), row(2, None), row(3, None)]);
    for name in ["broadcast", "history"] {
        assert_eq!((lane(&ledger, name, "delivered"), lane(&ledger, name, "dead_lettered")), (5, 1));
    }
    assert!(embedded.host.terminate().unwrap().success());
    assert!(!embedded.host.log().contains("nobody's"), "content is in the log");
}

#[tokio::test]
async fn what_was_answered_with_202_survives_the_death_of_the_host() {
    const COUNT: usize = 5000;
    let mut embedded = Embedded::start();
    let lines: Vec<String> = (0..COUNT).map(line).collect();
    for chunk in lines.chunks(1000) {
        assert_eq!(embedded.post("/messages/batch", &[], &chunk.join("\n")), 1000);
    }
    eventually("rows", async || embedded.row_count().await > 0).await;
    embedded.host.kill().unwrap();
    assert!(embedded.row_count().await < i64::try_from(COUNT).unwrap(), "it was not killed mid-flow");
    embedded.host.start_again().unwrap();
    eventually("all rows", async || embedded.row_count().await >= i64::try_from(COUNT).unwrap()).await;
    assert!(embedded.host.terminate().unwrap().success());
    let expected: Vec<(String, Option<String>, String)> =
        (0..COUNT).map(|number| (format!("user_{number}"), Some(format!("id-{number}")), format!("message {number}"))).collect();
    assert_eq!(embedded.rows().await, expected);
}
