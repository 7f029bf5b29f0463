//! A stage becomes one of another kind under load.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tidegate_harness::http;
use tidegate_harness::pipeline::columns;
use tidegate_harness::service::free_port;

use crate::broker::eventually;
use crate::store::row_count;
use crate::trial::{Publisher, Trial, body};

fn stages(event: &Value) -> Vec<(&str, &str)> {
    let mut stages: Vec<(&str, &str)> = event["swap"]["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| (stage["stage"].as_str().unwrap(), stage["action"].as_str().unwrap()))
        .collect();
    stages.sort_unstable();
    stages
}

/// Posts numbered messages, some together.
fn post(port: u16, numbers: std::ops::Range<usize>) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for first in numbers.clone().step_by(50) {
        let lines: Vec<String> = (first..numbers.end.min(first + 50)).map(body).collect();
        let answer = http::post(address, "/messages/batch", &[], lines.join("\n").as_bytes()).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

#[tokio::test]
async fn the_source_turns_from_the_broker_to_http_and_back_with_nothing_lost_or_out_of_order() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let sent = publisher.stop();
    let (port, broker) = (free_port().unwrap(), trial.rig.pipeline.source.clone());
    // The rest of the queue waits there until the broker is the source again, so it is let through first.
    trial.rig.settled(sent as u64);
    let http = format!("[source.http]\nlisten = \"127.0.0.1:{port}\"\njournal = \"data\"\n");
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.source = http));
    assert_eq!(stages(&event), [("source.http", "reopened")], "{event:#}");
    post(port, sent..sent + 500);
    trial.rig.queue.publish((sent + 500..sent + 600).map(body)).await;
    // What the journal has been given is handed on before the broker is turned to.
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.source = broker));
    assert_eq!(stages(&event), [("source.rabbitmq", "reopened")], "{event:#}");
    assert_eq!(event["swap"]["stages"][0]["left"], 0, "{event:#}");
    trial.rig.settled(sent as u64 + 600);
    trial.arrived(sent + 600).await;
    assert_eq!((trial.connects("sinks.broadcast"), trial.connects("sinks.history")), (1, 1));
    trial.rig.stop().await;
}

#[tokio::test]
async fn a_sink_turns_from_postgresql_to_sqlite_and_back_with_each_row_in_one_of_them() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("rows", async || row_count(&trial.rig.pool).await > 200).await;
    let original = trial.rig.pipeline.sinks.clone();
    let head = original.split_once("[sinks.history.postgres]").unwrap().0;
    let file = trial.rig.folder.path().join("rows.db");
    let kind = format!(
        "{head}[sinks.history.sqlite]\nfile = {:?}\nrequire_sealed = [\"message_content\"]\n{}{}",
        file.display().to_string(),
        columns("sinks.history.sqlite"),
        crate::trial::RELOAD
    );
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.sinks = kind));
    assert_eq!(stages(&event), [("sinks.history", "reopened")], "{event:#}");
    let options = SqliteConnectOptions::new().filename(&file).read_only(true);
    eventually("rows in SQLite", async || {
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM messages").fetch_one(&mut database).await.unwrap();
        count > 200
    })
    .await;
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.sinks = original));
    assert_eq!(stages(&event), [("sinks.history", "reopened")], "{event:#}");
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    let ids = "SELECT id FROM messages ORDER BY message_id";
    let first: Vec<String> = sqlx::query_scalar(ids).fetch_all(&trial.rig.pool).await.unwrap();
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let second: Vec<String> = sqlx::query_scalar(ids).fetch_all(&mut database).await.unwrap();
    // One stream, of which SQLite has a piece.
    let start = (0..first.len()).find(|at| first[*at] != format!("user_{at}")).unwrap();
    let all = [&first[..start], &second, &first[start..]].concat();
    assert!(all == (0..sent).map(|number| format!("user_{number}")).collect::<Vec<_>>(), "one stream over two databases");
    assert_eq!((trial.connects("source.rabbitmq"), trial.connects("sinks.broadcast")), (1, 1));
    trial.rig.stop().await;
}
