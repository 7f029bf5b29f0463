//! The host's own ends.

use std::collections::BTreeSet;

use lapin::types::{AMQPValue, FieldTable};
use tidegate_harness::postgres::{Durability, Postgres};

use super::{bodies, heard, heard_at_least, publish, stored};
use crate::broker::{Queue, eventually};
use crate::host::{PATIENCE, Rig};
use crate::servers::amqp_url;
use crate::store::row_count;
use crate::trial::Publisher;

/// A rig that waits for its database for ever, and for so long when it is stopped.
async fn blocking(drain_timeout: &str) -> (Rig, Postgres) {
    blocking_on(Queue::classic().await, drain_timeout).await
}

/// The same on this queue.
async fn blocking_on(queue: Queue, drain_timeout: &str) -> (Rig, Postgres) {
    let server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = Rig::on(queue).await;
    rig.store_into(&server).await;
    let (broadcast, history) = rig.pipeline.sinks.split_once("[sinks.history]").unwrap();
    rig.pipeline.sinks = format!("{broadcast}[sinks.history]{}", history.replacen("\"park\"", "\"block\"", 1));
    rig.pipeline.head += &format!("drain_timeout = \"{drain_timeout}\"\n");
    (rig, server)
}

#[tokio::test]
async fn l1_a_crash_after_an_acknowledgement_loses_no_row() {
    const COUNT: usize = 20_000;
    let mut rig = Rig::shipped().await;
    publish(&rig, 0..COUNT).await;
    rig.start();
    eventually("rows", async || row_count(&rig.pool).await > COUNT / 4).await;
    rig.host().kill().unwrap();
    let name = rig.queue.name.clone();
    let mut left = 0;
    eventually("the broker to have taken back what was not acknowledged", async || {
        // It takes a moment to see that the connection is dead; from then on the number stays.
        rig.queue.depth(&name).await + row_count(&rig.pool).await as u64 >= COUNT as u64
    })
    .await;
    left += rig.queue.depth(&name).await;
    assert!(left > 0, "it was not killed mid-flow");
    rig.start();
    rig.host()
        .wait_until("an empty queue", crate::host::PATIENCE, |host| {
            let ledger = host.status()?["ledger"].take();
            Ok((ledger["acked"].as_u64() >= Some(left)).then_some(()))
        })
        .unwrap();
    stored(&rig, COUNT).await;
    heard_at_least(&rig, COUNT).await;
    rig.stop().await;
}

#[tokio::test]
async fn l13_a_stop_past_its_drain_timeout_leaves_the_rest_to_the_broker_and_says_how_many() {
    let (mut rig, server) = blocking("1s").await;
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.pause().unwrap();
    publish(&rig, 10..110).await;
    eventually("the broadcast", async || rig.key.length().await == 110).await;
    let status = rig.host().terminate().unwrap();
    assert!(status.success(), "{status}");
    let log = rig.host().log();
    assert!(log.contains("left=100"), "{log}");
    server.service.resume().unwrap();
    eventually("the rest on the queue", async || rig.queue.depth(&rig.queue.name).await == 100).await;
    rig.start();
    rig.settled(100);
    stored(&rig, 110).await;
    assert!(heard_at_least(&rig, 110).await <= 100);
    rig.stop().await;
}

#[tokio::test]
async fn l13_a_second_signal_ends_at_once_and_the_broker_has_what_was_not_acknowledged() {
    let (mut rig, server) = blocking("10m").await;
    rig.start();
    server.service.pause().unwrap();
    publish(&rig, 0..50).await;
    eventually("the broadcast", async || rig.key.length().await == 50).await;
    rig.host().ask_to_stop().unwrap();
    rig.host()
        .wait_until("the stop to be noticed", crate::host::PATIENCE, |host| Ok(host.log().contains("stopping").then_some(())))
        .unwrap();
    let status = rig.host().terminate().unwrap();
    assert_eq!(status.code(), Some(1));
    server.service.resume().unwrap();
    eventually("all on the queue", async || rig.queue.depth(&rig.queue.name).await == 50).await;
    rig.start();
    rig.settled(50);
    stored(&rig, 50).await;
    rig.stop().await;
}

#[tokio::test]
async fn d1_a_crash_between_the_broadcast_and_the_acknowledgement_doubles_no_row() {
    const ROUNDS: usize = 30;
    let mut rig = Rig::shipped().await;
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    let (mut count, mut again) = (10, 0);
    // Five crashes, and more until one has come in between.
    for round in 0..ROUNDS {
        if round >= 5 && again > 0 {
            break;
        }
        let before = rig.key.length().await;
        publish(&rig, count..count + 400).await;
        count += 400;
        eventually("some of it to be broadcast", async || rig.key.length().await > before).await;
        rig.host().kill().unwrap();
        rig.start();
        eventually("all rows", async || row_count(&rig.pool).await >= count).await;
        at_rest(&mut rig).await;
        again = heard_at_least(&rig, count).await;
    }
    assert!(again > 0, "in {ROUNDS} rounds nothing was broadcast and not acknowledged");
    stored(&rig, count).await;
    rig.stop().await;
}

/// Waits until the queue is empty, and the host has acknowledged all that it has received.
async fn at_rest(rig: &mut Rig) {
    let name = rig.queue.name.clone();
    eventually("an empty queue", async || rig.queue.depth(&name).await == 0).await;
    let ledger = rig.host().status().unwrap()["ledger"].take();
    rig.settled(ledger["received"].as_u64().unwrap());
}

#[tokio::test]
async fn o1_stops_under_load_keep_the_order_of_a_quorum_queue_and_double_nothing() {
    let mut rig = Rig::on(Queue::quorum().await).await;
    let publisher = Publisher::start(&rig.queue);
    for _ in 0..8 {
        rig.start();
        let before = rig.key.length().await;
        eventually("messages under way", async || rig.key.length().await > before + 500).await;
        let status = rig.host().terminate().unwrap();
        assert!(status.success(), "{status}\n{}", rig.host().log());
    }
    rig.start();
    let sent = publisher.stop();
    eventually("all rows", async || row_count(&rig.pool).await >= sent).await;
    eventually("the whole broadcast", async || rig.key.length().await >= sent).await;
    stored(&rig, sent).await;
    heard(&rig, sent).await;
    rig.stop().await;
}

/// How often a message may be given back to [`limited`].
const DELIVERY_LIMIT: i32 = 3;

/// A quorum queue, and the one to which the broker takes what was given back to it too often.
async fn limited() -> (Queue, Queue) {
    let given_up = Queue::classic().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(given_up.name.as_str().into()));
    (Queue::declared(&amqp_url(), arguments).await, given_up)
}

#[tokio::test]
async fn a4_what_is_parked_is_never_given_back_however_often_the_host_dies_before_its_sink_is_back() {
    let (queue, given_up) = limited().await;
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = Rig::on(queue).await;
    rig.store_into(&server).await;
    rig.adjust("history", "park_after = \"200ms\"");
    rig.start();
    server.service.stop().unwrap();
    publish(&rig, 0..50).await;
    rig.settled(50);
    for _ in 0..DELIVERY_LIMIT + 2 {
        rig.host().kill().unwrap();
        rig.launch();
        let found = |host: &tidegate_harness::host::Host| Ok(host.log().contains("parked from before").then_some(()));
        rig.host().wait_until("the parked messages to be found", PATIENCE, found).unwrap();
    }
    server.service.start().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= 50).await;
    stored(&rig, 50).await;
    heard(&rig, 50).await;
    assert_eq!(given_up.depth(&given_up.name).await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn a4_what_a_blocked_sink_holds_over_more_ends_of_the_host_than_its_queue_allows_goes_where_the_queue_says() {
    for clean in [false, true] {
        let (queue, given_up) = limited().await;
        let (mut rig, server) = blocking_on(queue, "100ms").await;
        rig.start();
        server.service.pause().unwrap();
        publish(&rig, 0..50).await;
        for round in 1..=DELIVERY_LIMIT as usize + 1 {
            assert_eq!(given_up.depth(&given_up.name).await, 0, "before round {round}");
            eventually("the broadcast", async || rig.key.length().await >= 50 * round).await;
            if clean { rig.host().terminate() } else { rig.host().kill() }.unwrap();
            rig.launch();
        }
        let letters = given_up.take(&given_up.name, 50).await.into_iter();
        let letters: BTreeSet<Vec<u8>> = letters.map(|letter| letter.body).collect();
        assert!(letters == bodies(50).into_iter().collect(), "not what was sent, but {} letters", letters.len());
        server.service.resume().unwrap();
        rig.host().wait_ready().unwrap();
        rig.stop().await;
    }
}
