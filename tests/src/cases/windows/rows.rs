//! What is stored.

use std::collections::BTreeSet;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use sqlx::Connection;
use tidegate_harness::pipeline::step;
use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::rabbitmq::RabbitMq;

use super::{heard, heard_at_least, publish, stored};
use crate::broker::eventually;
use crate::host::{PATIENCE, Rig, lane, plugins};
use crate::servers::shared;
use crate::store::row_count;

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };

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

/// A parking queue that has no more room than this: what does not fit is kept, and is stored when the database is back, although nobody makes room.
async fn has_room_for(room: u32) {
    let (mut rig, mut server) = with_postgres().await;
    let full = rig.queue.parked("history");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongUInt(room));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    rig.queue.channel().queue_declare(full.as_str().into(), DURABLE, arguments).await.unwrap();
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.stop().unwrap();
    publish(&rig, 10..900).await;
    eventually("the broadcast without the database", async || rig.key.length().await == 900).await;
    is_refused(&mut rig, "parking is not confirmed");
    let ledger = rig.host().status().unwrap()["ledger"].take();
    let (parked, in_flight) = (lane(&ledger, "history", "parked"), ledger["in_flight"].as_u64().unwrap());
    assert!(parked <= room.into() && in_flight >= 890 - u64::from(room), "what is refused counts as parked: {ledger:#}");
    server.service.start().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 900).await;
    rig.settled(900);
    eventually("nothing to be parked", async || rig.queue.depth(&full).await == 0).await;
    stored(&rig, 900).await;
    heard(&rig, 900).await;
    rig.stop().await;
}

#[tokio::test]
async fn a7_rows_that_the_broker_refuses_to_park_are_kept_and_parked_when_there_is_room_again() {
    has_room_for(300).await;
}

#[tokio::test]
async fn a7_rows_of_a_batch_that_the_parking_queue_could_never_hold_are_stored_when_the_database_is_back() {
    has_room_for(5).await;
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

/// An operator's limit: the broker refuses (nacks) what is published to this queue beyond so many messages. Named as the queue.
fn limit(broker: &RabbitMq, queue: &str, most: usize) {
    let limit = format!(r#"{{"max-length":{most},"overflow":"reject-publish"}}"#);
    broker.ctl(&["set_policy", "--apply-to", "queues", queue, &format!("^{queue}$"), &limit]).unwrap();
}

/// Waits until the broker has refused a letter.
fn is_refused(rig: &mut Rig, said: &str) {
    let refused = |host: &tidegate_harness::host::Host| {
        let log = host.log();
        Ok(log.lines().any(|line| line.contains(said) && line.contains("nacked")).then_some(()))
    };
    rig.host().wait_until("the broker to refuse a letter", PATIENCE, refused).unwrap();
}

#[tokio::test]
async fn a7_rows_that_the_parking_queue_has_no_room_for_stay_with_the_broker_and_are_stored_once_when_there_is_room() {
    const ROOM: usize = 5;
    let Some(broker) = shared().rabbitmq.own() else { return };
    let (mut rig, mut server) = with_postgres().await;
    let (name, parked) = (rig.queue.name.clone(), rig.queue.parked("history"));
    limit(broker, &parked, ROOM);
    rig.queue.channel().queue_declare(parked.as_str().into(), DURABLE, Default::default()).await.unwrap();
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.stop().unwrap();
    publish(&rig, 10..110).await;
    eventually("the broadcast without the database", async || rig.key.length().await == 110).await;
    is_refused(&mut rig, "parking is not confirmed");
    rig.host().kill().unwrap();
    eventually("each message on one queue or the other", async || {
        rig.queue.depth(&name).await + rig.queue.depth(&parked).await >= 100
    })
    .await;
    let left = rig.queue.depth(&name).await;
    assert!(left >= 100 - ROOM as u64, "{left} left: more were acknowledged than are parked");

    rig.launch();
    is_refused(&mut rig, "parking is not confirmed");
    broker.ctl(&["clear_policy", &parked]).unwrap();
    rig.settled(left);
    server.service.start().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 110).await;
    eventually("nothing to be parked", async || rig.queue.depth(&parked).await == 0).await;
    stored(&rig, 110).await;
    heard_at_least(&rig, 110).await;
    rig.stop().await;
}

#[tokio::test]
async fn a7_dead_letters_that_their_queue_has_no_room_for_stay_with_the_broker_until_there_is_room() {
    let Some(broker) = shared().rabbitmq.own() else { return };
    let mut rig = Rig::shipped().await;
    let (name, dead) = (rig.queue.name.clone(), rig.queue.dead());
    limit(broker, &dead, 3);
    rig.queue.channel().queue_declare(dead.as_str().into(), DURABLE, Default::default()).await.unwrap();
    rig.start();
    let bad: BTreeSet<String> = (0..10).map(|number| format!(r#"{{"bad":{number}}}"#)).collect();
    rig.queue.publish(&bad).await;
    publish(&rig, 0..20).await;
    is_refused(&mut rig, "dead letters are not confirmed");
    eventually("the rows behind them", async || row_count(&rig.pool).await == 20).await;
    rig.host().kill().unwrap();
    eventually("each message on one queue or the other", async || {
        rig.queue.depth(&name).await + rig.queue.depth(&dead).await >= 10
    })
    .await;
    let left = rig.queue.depth(&name).await;

    rig.start();
    is_refused(&mut rig, "dead letters are not confirmed");
    broker.ctl(&["clear_policy", &dead]).unwrap();
    rig.settled(left);
    let letters = rig.queue.take_all(&dead).await.into_iter();
    let letters: BTreeSet<String> = letters.map(|letter| String::from_utf8(letter.body).unwrap()).collect();
    assert_eq!(letters, bad);
    stored(&rig, 20).await;
    heard_at_least(&rig, 20).await;
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
