//! The keys of the profile `embedded`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tidegate::lifecycle::Stop;
use tidegate_harness::http;
use tidegate_harness::service::free_port;

use super::super::super::embedded::{Embedded, line};
use super::{Edit, Editor, edit, in_order};
use crate::broker::eventually;

const STAGES: [&str; 4] = ["source.http", "sinks.broadcast", "sinks.history", "sinks.archive"];

/// Where the edits lead to.
#[derive(Default)]
pub(super) struct Places {
    http: u16,
    live: u16,
}

/// Every edit, one after the other.
pub(super) fn edits(to: &Places) -> Vec<Edit> {
    let address = |port: u16| format!("\"127.0.0.1:{port}\"");
    vec![
        edit("profile.embedded.source.http.listen", address(to.http), "reconnect"),
        edit("profile.embedded.source.http.journal", "\"other\"", "reconnect"),
        edit("profile.embedded.source.http.queue", "\"other\"", "reconnect"),
        edit("profile.embedded.source.http.prefetch", "1000", "reconnect"),
        edit("profile.embedded.source.http.max_in_flight_bytes", "\"64MiB\"", "reconnect"),
        edit("profile.embedded.source.http.max_body_bytes", "\"1MiB\"", "reconnect"),
        edit("profile.embedded.source.http.max_waiting", "900000", "reconnect"),
        edit("profile.embedded.sinks.broadcast.live.listen", address(to.live), "reconnect"),
        edit("profile.embedded.sinks.broadcast.live.replay", "99", "reconnect"),
        edit("profile.embedded.sinks.archive.sqlite.file", "\"data/other.db\"", "reconnect"),
        edit("profile.embedded.sinks.archive.sqlite.table", "\"others\"", "reconnect"),
        edit("profile.embedded.sinks.history.sqlite.idempotent_by", "", "reconnect"),
        edit("profile.embedded.sinks.history.sqlite.require_sealed", "[]", "reconnect"),
        edit("profile.embedded.sinks.history.sqlite.timeout", "\"9s\"", "reconnect"),
        edit("profile.embedded.sinks.history.sqlite.columns.sub_id", "\"/id\"", "reconnect"),
    ]
}

/// A further table of the archive, where nobody counts.
async fn make_table(embedded: &Embedded) {
    let file = embedded.folder.path().join("data/archive.db");
    let mut database = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    sqlx::raw_sql("CREATE TABLE others (id TEXT)").execute(&mut database).await.unwrap();
}

/// Posts numbered messages one after the other, each until it is taken, to whichever of the ports is open.
struct Poster {
    stop: Stop,
    thread: thread::JoinHandle<usize>,
}

impl Poster {
    fn start(ports: [u16; 2]) -> Self {
        let stop = Stop::new();
        let stopped = stop.clone();
        let taken = move |body: &str| {
            ports.iter().any(|port| {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                http::post(address, "/messages", &[], body.as_bytes()).is_ok_and(|answer| answer.status == 202)
            })
        };
        let run = move || {
            let mut sent = 0;
            while !stopped.is_cancelled() {
                let body = line(sent);
                while !taken(&body) {
                    thread::yield_now();
                }
                sent += 1;
            }
            sent
        };
        Self { stop, thread: thread::spawn(run) }
    }

    fn stop(self) -> usize {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

#[tokio::test]
async fn the_class_that_plan_announces_is_what_happens_without_servers_too() {
    let mut original = String::new();
    let embedded = Embedded::start_with(|text| {
        let archive = "[profile.embedded.sinks.archive.sqlite]\nfile = \"data/archive.db\"\ncolumns = { id = \"/id\" }\n";
        let reload = "[reload]\nwatch = false\nprobation = \"0s\"\n";
        original = in_order(&format!("{text}\n{archive}{reload}"));
        original.clone()
    });
    make_table(&embedded).await;
    let to = Places { http: free_port().unwrap(), live: free_port().unwrap() };
    let poster = Poster::start([embedded.ports.http, to.http]);
    eventually("messages to flow", async || embedded.row_count().await > 50).await;
    let folder = embedded.folder.path().to_owned();
    let editor = Editor { host: &embedded.host, folder, profile: &["--profile", "embedded"], stages: &STAGES };
    editor.make_all(&original, &edits(&to));
    let sent = poster.stop();
    // What waited in a journal that was left for a while comes later: each is there once, and nothing else.
    eventually("all rows", async || embedded.row_count().await >= i64::try_from(sent).unwrap()).await;
    let rows = embedded.rows().await;
    let ids: BTreeSet<String> = rows.iter().map(|row| row.0.clone()).collect();
    assert_eq!((rows.len(), ids), (sent, (0..sent).map(|number| format!("user_{number}")).collect()));
}
