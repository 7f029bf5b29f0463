//! Lanes fail apart, and a step's failure means what the file says it means.

use tidegate_harness::pipeline::{history, step};
use tidegate_harness::postgres::{Durability, Postgres};

use crate::broker::eventually;
use crate::host::{PATIENCE, Rig, command, lane, plugins};
use crate::servers::fresh_database_on;
use crate::store::{row_count, rows};

fn bodies(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!(r#"{{"id":"user_{number}","sub_id":"s","message":{{"content":"content {number}"}}}}"#)).collect()
}

fn sabotaged(command: &str) -> String {
    format!(r#"{{"id":"bad","sub_id":"s","message":{{"content":"x"}},"sabotage":"{command}"}}"#)
}

/// A validator that misbehaves on command stands before the shipped one, with this `on_error`.
async fn with_saboteur(on_error: &str) -> Rig {
    let mut rig = Rig::shipped().await;
    rig.pipeline.head = rig.pipeline.head.replace("[\"validate\"]", "[\"sabotage\", \"validate\"]");
    rig.pipeline.steps += &format!("{}on_error = \"{on_error}\"\n", step("sabotage", &plugins(), "saboteur-validator"));
    rig
}

#[tokio::test]
async fn rows_wait_for_a_database_that_is_down_and_are_stored_in_order_while_the_broadcast_goes_on() {
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let database = fresh_database_on(&server.url()).await;
    database.migrate();
    let mut rig = Rig::shipped().await;
    let shared = rig.pipeline.sinks.find("[sinks.history]").unwrap();
    rig.pipeline.sinks.truncate(shared);
    rig.pipeline.sinks += &history(&database).replace("on_failure = \"park\"", "on_failure = \"park\"\npark_after = \"100ms\"");

    server.service.stop().unwrap();
    rig.launch();
    rig.queue.publish(bodies(0..500)).await;
    eventually("the broadcast to go on without the database", async || rig.key.length().await == 500).await;
    let ledger = rig.settled(500);
    assert_eq!((lane(&ledger, "history", "parked"), lane(&ledger, "broadcast", "delivered")), (500, 500));

    server.service.start().unwrap();
    // Published while older rows may still be parked: they must not overtake.
    rig.queue.publish(bodies(500..1000)).await;
    let pool = database.pool().await;
    eventually("all rows", async || row_count(&pool).await >= 1000).await;
    rig.settled(1000);
    let ids: Vec<String> = rows(&pool).await.into_iter().map(|row| row.id).collect();
    let expected: Vec<String> = (0..1000).map(|number| format!("user_{number}")).collect();
    assert_eq!(ids, expected);
    rig.host().wait_ready().unwrap();
    let sent: Vec<Vec<u8>> = bodies(0..1000).into_iter().map(String::into_bytes).collect();
    assert_eq!(rig.broadcast().await, sent);
    assert_eq!(rig.queue.depth(&rig.queue.parked("history")).await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_parked_message_that_later_steps_refuse_is_one_dead_letter_however_often_it_was_tried() {
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let database = fresh_database_on(&server.url()).await;
    database.migrate();
    let mut rig = Rig::shipped().await;
    let shared = rig.pipeline.sinks.find("[sinks.history]").unwrap();
    rig.pipeline.sinks.truncate(shared);
    rig.pipeline.sinks += &history(&database).replace("on_failure = \"park\"", "on_failure = \"park\"\npark_after = \"100ms\"");
    let long = format!(r#"{{"id":"long","sub_id":"s","message":{{"content":"{}"}}}}"#, "x".repeat(100));
    server.service.stop().unwrap();
    rig.launch();
    rig.queue.publish([bodies(0..1), vec![long.clone()], bodies(1..2)].concat()).await;
    eventually("the broadcast to go on without the database", async || rig.key.length().await == 3).await;
    let ledger = rig.settled(3);
    assert_eq!(lane(&ledger, "history", "parked"), 3);
    rig.stop().await;

    let stricter = "validate-message.wasm\"\nsettings = { content_max_bytes = 50 }\n";
    rig.pipeline.steps = rig.pipeline.steps.replacen("validate-message.wasm\"\n", stricter, 1);
    rig.launch();
    let failures = |metrics: &str| {
        let lines =
            metrics.lines().filter(|line| line.starts_with("tidegate_stage_failures_total") && line.contains("sinks.history"));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
    };
    let tried = |host: &tidegate_harness::host::Host| {
        Ok(host.get("/metrics").is_ok_and(|metrics| failures(&metrics.text()) >= 4).then_some(()))
    };
    rig.host().wait_until("several attempts at the database", PATIENCE, tried).unwrap();
    server.service.start().unwrap();
    let pool = database.pool().await;
    eventually("what still passes to be stored", async || row_count(&pool).await == 2).await;
    let letters = rig.dead(1).await;
    assert_eq!(letters[0].body, long.into_bytes());
    eventually("nothing to be parked", async || rig.queue.depth(&rig.queue.parked("history")).await == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_step_that_must_stop_the_line_stops_it_and_nothing_is_lost() {
    let mut rig = with_saboteur("halt").await;
    rig.start();
    rig.queue.publish(bodies(0..10)).await;
    rig.settled(10);
    rig.queue.publish([sabotaged("trap")]).await;
    rig.host()
        .wait_until("the pipeline to be halted", PATIENCE, |host| {
            let answer = host.get("/readyz")?;
            Ok((answer.status == 503 && answer.text().contains("halted by steps.sabotage")).then_some(()))
        })
        .unwrap();
    rig.queue.publish(bodies(10..20)).await;
    let status = rig.host().terminate().unwrap();
    assert_eq!(status.code(), Some(1), "{}", rig.host().log());
    assert_eq!(rig.queue.depth(&rig.queue.name).await, 11, "what came from the halt on is with the broker");
    assert_eq!(rig.key.length().await, 10);
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
}

#[tokio::test]
async fn a_step_whose_failure_may_be_passed_over_lets_the_message_go_on_unchanged_and_counts_it() {
    let mut rig = with_saboteur("pass").await;
    rig.start();
    let sent = [bodies(0..5), vec![sabotaged("trap")], bodies(5..10)].concat();
    rig.queue.publish(&sent).await;
    rig.settled(11);
    assert_eq!(rig.broadcast().await, sent.iter().map(|body| body.clone().into_bytes()).collect::<Vec<_>>());
    let metrics = rig.host().get("/metrics").unwrap().text();
    let passed = "tidegate_passed_messages_total{pipeline=\"broadcast\",step=\"steps.sabotage\"} 1";
    assert!(metrics.contains(passed), "{metrics}");
    rig.stop().await;
}

#[tokio::test]
async fn two_pipelines_run_in_one_process() {
    let (mut rig, other) = (Rig::shipped().await, Rig::shipped().await);
    let second = rig.folder.path().join("other.toml");
    std::fs::write(&second, other.pipeline.text()).unwrap();
    rig.pipeline.write(rig.folder.path()).unwrap();
    let same_name = command(rig.folder.path(), &["run", "pipeline.toml", "other.toml"], b"");
    assert_eq!(same_name.status.code(), Some(78), "two pipelines of one name");

    std::fs::write(&second, other.pipeline.text().replace("name = \"broadcast\"", "name = \"other\"")).unwrap();
    rig.launch_with(&["run", "pipeline.toml", "other.toml"]);
    rig.host().wait_ready().unwrap();
    for queue in [&rig.queue, &other.queue] {
        queue.publish(bodies(0..50)).await;
    }
    eventually("both broadcasts", async || rig.key.length().await == 50 && other.key.length().await == 50).await;
    eventually("both tables", async || row_count(&rig.pool).await == 50 && row_count(&other.pool).await == 50).await;
    let status = rig.host().status().unwrap();
    assert_eq!(status["pipelines"].as_array().map(Vec::len), Some(2), "{status:#}");
    rig.stop().await;
}
