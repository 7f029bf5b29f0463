//! What is stored.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use sqlx::Connection;
use tidegate_harness::host::Host;
use tidegate_harness::pipeline::step;
use tidegate_harness::postgres::{Durability, Postgres};

use super::{heard, publish, stored};
use crate::broker::eventually;
use crate::host::{Rig, lane, plugins};
use crate::store::row_count;

/// A rig with a database that may fail.
async fn with_postgres() -> (Rig, Postgres) {
    let server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = Rig::shipped().await;
    rig.store_into(&server).await;
    rig.adjust("history", "park_after = \"200ms\"");
    (rig, server)
}

#[tokio::test]
async fn l2_rows_that_come_faster_than_the_database_takes_them_are_all_stored_and_o1_in_order() {
    const COUNT: usize = 12_000;
    let mut rig = Rig::shipped().await;
    rig.adjust("history", "park_after = \"300ms\"");
    rig.pipeline.head += "workers = 4\n";
    rig.start();
    let mut lock = sqlx::PgConnection::connect(&rig.database).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").execute(&mut lock).await.unwrap();
    publish(&rig, 0..COUNT).await;
    eventually("the broadcast", async || rig.key.length().await == COUNT).await;
    assert!(rig.queue.depth(&rig.queue.parked("history")).await > 4096, "more than the original can queue");
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= COUNT).await;
    rig.settled(COUNT as u64);
    stored(&rig, COUNT).await;
    heard(&rig, COUNT).await;
    rig.stop().await;
}

#[tokio::test]
async fn l3_rows_are_parked_before_their_time_where_they_would_hold_up_the_broadcast() {
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = Rig::shipped().await;
    rig.store_into(&server).await;
    rig.adjust("history", "park_after = \"1h\"");
    rig.pipeline.source += "prefetch = 128\n";
    rig.start();
    publish(&rig, 0..150).await;
    rig.settled(150);
    server.service.stop().unwrap();
    publish(&rig, 150..190).await;
    eventually("the broadcast of what leaves room", async || rig.key.length().await == 190).await;
    assert_eq!(lane(&rig.host().status().unwrap()["ledger"], "history", "parked"), 0, "there is no need yet");
    publish(&rig, 190..500).await;
    let ledger = rig.settled(500);
    assert_eq!(lane(&ledger, "history", "parked"), 350, "{ledger:#}");
    heard(&rig, 500).await;
    server.service.start().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 500).await;
    stored(&rig, 500).await;
    rig.stop().await;
}

#[tokio::test]
async fn l3_and_f22_an_outage_of_the_database_loses_no_row_stores_none_twice_and_costs_the_broadcast_nothing() {
    let (mut rig, mut server) = with_postgres().await;
    rig.start();
    publish(&rig, 0..300).await;
    rig.settled(300);
    server.service.kill().unwrap();
    publish(&rig, 300..1300).await;
    eventually("the broadcast without the database", async || rig.key.length().await == 1300).await;
    rig.settled(1300);
    server.service.start().unwrap();
    publish(&rig, 1300..1500).await;
    eventually("all rows", async || row_count(&rig.pool).await >= 1500).await;
    let ledger = rig.settled(1500);
    assert!(lane(&ledger, "history", "parked") >= 1000, "{ledger:#}");
    stored(&rig, 1500).await;
    heard(&rig, 1500).await;
    rig.stop().await;
}

#[tokio::test]
async fn a7_rows_that_the_broker_refuses_to_park_are_kept_and_parked_when_there_is_room_again() {
    let (mut rig, mut server) = with_postgres().await;
    let full = rig.queue.parked("history");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(300));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    rig.queue.channel().queue_declare(full.as_str().into(), options, arguments).await.unwrap();
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.stop().unwrap();
    publish(&rig, 10..900).await;
    eventually("the broadcast without the database", async || rig.key.length().await == 900).await;
    let refused = |host: &Host| Ok(host.log().contains("the broker could not store it").then_some(()));
    rig.host().wait_until("the broker to refuse", crate::host::PATIENCE, refused).unwrap();
    let ledger = rig.host().status().unwrap()["ledger"].take();
    let (parked, in_flight) = (lane(&ledger, "history", "parked"), ledger["in_flight"].as_u64().unwrap());
    assert!(parked <= 300 && in_flight >= 590, "nothing counts as parked that the broker has refused: {ledger:#}");
    server.service.start().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 900).await;
    rig.settled(900);
    eventually("nothing to be parked", async || rig.queue.depth(&full).await == 0).await;
    stored(&rig, 900).await;
    heard(&rig, 900).await;
    rig.stop().await;
}

#[tokio::test]
async fn l4_a_database_that_hangs_holds_up_neither_the_broadcast_nor_the_acknowledgements() {
    let (mut rig, server) = with_postgres().await;
    rig.pipeline.sinks = rig.pipeline.sinks.replace("table = \"messages\"", "table = \"messages\"\ntimeout = \"1s\"");
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.pause().unwrap();
    publish(&rig, 10..510).await;
    eventually("the broadcast beside the hung database", async || rig.key.length().await == 510).await;
    rig.settled(510);
    server.service.resume().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 510).await;
    eventually("nothing to be parked", async || rig.queue.depth(&rig.queue.parked("history")).await == 0).await;
    stored(&rig, 510).await;
    heard(&rig, 510).await;
    rig.stop().await;
}

#[tokio::test]
async fn l5_a_row_that_cannot_be_encrypted_is_a_dead_letter_with_its_bytes_and_the_others_are_stored() {
    let mut rig = Rig::shipped().await;
    let own = plugins().join("aes-256-gcm.wasm").display().to_string();
    let other = plugins().join("saboteur-cipher.wasm").display().to_string();
    rig.pipeline.steps = rig.pipeline.steps.replace(&own, &other);
    rig.start();
    let bad = r#"{"id":"bad","sub_id":"s","message":{"content":"sabotage:error"}}"#;
    rig.queue.publish([crate::trial::body(0), bad.to_owned(), crate::trial::body(1)]).await;
    rig.settled(3);
    let ids: Vec<String> = rig.rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["user_0", "user_1"]);
    let letter = rig.dead(1).await.remove(0);
    assert_eq!((letter.body, letter.properties.headers().is_some()), (bad.as_bytes().to_vec(), true));
    assert_eq!(rig.key.length().await, 3, "the broadcast is another lane");
    rig.stop().await;
}

#[tokio::test]
async fn l6_a_row_that_the_database_refuses_is_a_dead_letter_with_its_reason_and_the_others_are_stored() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.head = rig.pipeline.head.replace("\"validate\"", "");
    rig.start();
    let long = format!(r#"{{"id":"{}","sub_id":"s","message":{{"content":"c"}}}}"#, "i".repeat(300));
    rig.queue.publish([crate::trial::body(0), long.clone(), crate::trial::body(1)]).await;
    rig.settled(3);
    stored(&rig, 2).await;
    let letter = rig.dead(1).await.remove(0);
    assert_eq!(letter.body, long.into_bytes());
    assert_eq!(letter.header("tidegate-stage").as_deref(), Some("sinks.history"));
    rig.stop().await;
}

#[tokio::test]
async fn l7_a_nul_in_the_content_cuts_nothing_short() {
    let mut rig = Rig::shipped().await;
    rig.start();
    rig.queue.publish([r#"{"id":"u","sub_id":"s","message":{"content":"before\u0000after"}}"#]).await;
    rig.settled(1);
    assert_eq!(rig.opened_rows().await[0].message_content, "before\0after");
    rig.stop().await;
    // Where it cannot be stored whole, it is refused, and not cut.
    let mut rig = Rig::shipped().await;
    rig.pipeline.sinks = rig.pipeline.sinks.replace(", \"seal\"]", "]").replace("require_sealed = [\"message_content\"]\n", "");
    rig.start();
    rig.queue.publish([r#"{"id":"u","sub_id":"s","message":{"content":"before\u0000after"}}"#]).await;
    rig.settled(1);
    assert_eq!((rig.rows().await.len(), rig.dead(1).await.len()), (0, 1));
    rig.stop().await;
}

#[tokio::test]
async fn l15_a_database_that_is_down_at_the_start_stops_nothing_but_its_own_lane() {
    let (mut rig, mut server) = with_postgres().await;
    server.service.stop().unwrap();
    rig.launch();
    publish(&rig, 0..200).await;
    eventually("the broadcast without the database", async || rig.key.length().await == 200).await;
    rig.settled(200);
    server.service.start().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 200).await;
    rig.host().wait_ready().unwrap();
    stored(&rig, 200).await;
    rig.stop().await;
}

#[tokio::test]
async fn p1_a_message_that_can_never_succeed_is_tried_once_and_out_of_the_way() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps += &step("unused", &plugins(), "saboteur-validator");
    rig.start();
    rig.queue.publish(["{}", "not json", "{\"id\":1}"]).await;
    publish(&rig, 0..50).await;
    let ledger = rig.settled(53);
    assert_eq!(
        (&ledger["received"], &ledger["redelivered"], &ledger["returned"]),
        (&53.into(), &0.into(), &0.into()),
        "{ledger:#}"
    );
    assert_eq!(rig.dead(3).await.len(), 3);
    stored(&rig, 50).await;
    rig.stop().await;
}
