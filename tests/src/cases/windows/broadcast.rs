//! What is broadcast.

use redis::AsyncCommands;
use tidegate_harness::redis::Redis;
use tidegate_harness::wire::Wire;

use super::{heard, heard_at_least, publish, stored};
use crate::broker::eventually;
use crate::host::{Rig, lane};
use crate::store::row_count;

/// A rig with a Redis that may fail.
async fn with_redis() -> (Rig, Redis) {
    let server = Redis::start().unwrap();
    let mut rig = Rig::shipped().await;
    rig.broadcast_through(&server).await;
    rig.adjust("broadcast", "park_after = \"200ms\"");
    (rig, server)
}

#[tokio::test]
async fn f21_an_outage_of_redis_loses_no_broadcast_keeps_the_order_and_rows_are_stored_meanwhile() {
    let (mut rig, mut server) = with_redis().await;
    rig.start();
    publish(&rig, 0..300).await;
    rig.settled(300);
    server.service.stop().unwrap();
    publish(&rig, 300..1300).await;
    eventually("rows without Redis", async || row_count(&rig.pool).await == 1300).await;
    rig.settled(1300);
    server.service.start().unwrap();
    // The one before must not be dropped: that deletes the key.
    let reconnected = rig.key.reconnected().await;
    let _before = std::mem::replace(&mut rig.key, reconnected);
    publish(&rig, 1300..1500).await;
    eventually("the whole broadcast", async || rig.key.length().await >= 1500).await;
    let ledger = rig.settled(1500);
    assert!(lane(&ledger, "broadcast", "parked") >= 1000, "{ledger:#}");
    heard(&rig, 1500).await;
    stored(&rig, 1500).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_sink_that_may_be_left_out_is_tried_now_and_then_and_not_for_every_batch() {
    const COUNT: usize = 20_000;
    let (mut rig, mut server) = with_redis().await;
    rig.pipeline.sinks = rig
        .pipeline
        .sinks
        .replacen("on_failure = \"park\"", "on_failure = \"discard\"", 1)
        .replace("park_after = \"200ms\"\n", "");
    rig.start();
    server.service.stop().unwrap();
    publish(&rig, 0..COUNT).await;
    let ledger = rig.settled(COUNT as u64);
    assert_eq!(lane(&ledger, "broadcast", "dropped"), COUNT as u64, "{ledger:#}");
    let metrics = rig.host().get("/metrics").unwrap().text();
    let failures =
        metrics.lines().filter(|line| line.starts_with("tidegate_stage_failures_total") && line.contains("sinks.broadcast"));
    let failures: u64 = failures.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert!((1..80).contains(&failures), "{failures} attempts for {} batches at least", COUNT / 128);
    stored(&rig, COUNT).await;
    server.service.start().unwrap();
    rig.host().wait_ready().unwrap();
    publish(&rig, COUNT..COUNT + 10).await;
    rig.settled(COUNT as u64 + 10);
    assert_eq!(rig.key.reconnected().await.length().await, 10);
    rig.stop().await;
}

#[tokio::test]
async fn l8_what_is_malformed_does_not_vanish() {
    let mut rig = Rig::shipped().await;
    rig.start();
    let malformed = ["", "[]", "{\"id\":\"u\",}", "\u{fffd}"];
    rig.queue.publish(malformed).await;
    rig.settled(4);
    let mut letters: Vec<Vec<u8>> = rig.dead(4).await.into_iter().map(|letter| letter.body).collect();
    letters.sort();
    let mut sent: Vec<Vec<u8>> = malformed.iter().map(|body| body.as_bytes().to_vec()).collect();
    sent.sort();
    assert_eq!(letters, sent);
    assert_eq!(rig.key.length().await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn l9_the_list_can_be_given_a_cap() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.sinks = rig.pipeline.sinks.replace("mode = \"list\"", "mode = \"list\"\nmax_length = 100");
    rig.start();
    publish(&rig, 0..500).await;
    rig.settled(500);
    assert!(rig.broadcast().await == super::bodies(500)[400..], "the newest hundred");
    stored(&rig, 500).await;
    rig.stop().await;
}

#[tokio::test]
async fn l10_a_key_of_another_type_is_never_deleted_and_what_it_holds_up_comes_when_it_is_free() {
    let (mut rig, _server) = with_redis().await;
    let name = rig.key.name.clone();
    rig.key.connection().set::<_, _, ()>(&name, "somebody else's").await.unwrap();
    rig.launch();
    publish(&rig, 0..50).await;
    eventually("rows beside the blocked broadcast", async || row_count(&rig.pool).await == 50).await;
    rig.settled(50);
    let (status, log) = (rig.host().status().unwrap(), rig.host().log());
    assert!(status["stages"]["sinks.broadcast"].to_string().contains(&name), "{status:#}");
    assert!(log.contains(&name) && log.contains("string"), "{log}");
    assert_eq!(rig.key.connection().get::<_, String>(&name).await.unwrap(), "somebody else's");
    rig.key.connection().del::<_, ()>(&name).await.unwrap();
    eventually("the whole broadcast", async || rig.key.length().await >= 50).await;
    heard(&rig, 50).await;
    rig.stop().await;
}

#[tokio::test]
async fn d2_a_reply_of_redis_that_is_lost_loses_no_broadcast_and_doubles_no_row() {
    let server = Redis::start().unwrap();
    let wire = Wire::to(&server.url()).unwrap();
    let mut rig = Rig::shipped().await;
    rig.broadcast_through(&server).await;
    rig.adjust("broadcast", "park_after = \"200ms\"");
    rig.pipeline.sinks = rig.pipeline.sinks.replace(&server.url(), wire.url());
    rig.start();
    for round in 0..5 {
        publish(&rig, round * 200..round * 200 + 100).await;
        rig.settled(round as u64 * 200 + 100);
        eventually("nothing to be parked", async || rig.queue.depth(&rig.queue.parked("broadcast")).await == 0).await;
        let before = rig.key.length().await;
        wire.swallow_replies();
        publish(&rig, round * 200 + 100..round * 200 + 200).await;
        eventually("a push whose reply is lost", async || rig.key.length().await > before).await;
        wire.cut();
        rig.settled(round as u64 * 200 + 200);
    }
    eventually("all rows", async || row_count(&rig.pool).await >= 1000).await;
    rig.settled(1000);
    eventually("the whole broadcast", async || rig.key.length().await >= 1000).await;
    eventually("nothing to be parked", async || rig.queue.depth(&rig.queue.parked("broadcast")).await == 0).await;
    // Whether a push was done whose reply is lost nobody can know: it is done again. A batch a cut at most, and one message at least.
    let again = heard_at_least(&rig, 1000).await;
    assert!((5..=5 * 128).contains(&again), "{again} broadcast again");
    stored(&rig, 1000).await;
    rig.stop().await;
}

#[tokio::test]
async fn d3_a_redis_that_hangs_starves_no_heartbeat_of_the_broker() {
    let (mut rig, server) = with_redis().await;
    rig.pipeline.source += "heartbeat = \"1s\"\n";
    rig.pipeline.sinks = rig.pipeline.sinks.replace("mode = \"list\"", "mode = \"list\"\ntimeout = \"5s\"");
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.pause().unwrap();
    publish(&rig, 10..110).await;
    // Longer than the broker bears a silent client: twice the heartbeat.
    let down = |host: &tidegate_harness::host::Host| {
        let text = host.get("/metrics")?.text();
        let failures =
            text.lines().find(|line| line.starts_with("tidegate_stage_failures_total") && line.contains("sinks.broadcast"));
        Ok(failures.map(drop))
    };
    rig.host().wait_until("the hung Redis to be noticed", crate::host::PATIENCE, down).unwrap();
    eventually("rows beside the hung Redis", async || row_count(&rig.pool).await == 110).await;
    server.service.resume().unwrap();
    rig.settled(110);
    eventually("the whole broadcast", async || rig.key.length().await >= 110).await;
    heard_at_least(&rig, 110).await;
    let metrics = rig.host().get("/metrics").unwrap().text();
    let connects =
        metrics.lines().find(|line| line.starts_with("tidegate_stage_connects_total") && line.contains("source.rabbitmq"));
    assert!(connects.is_some_and(|line| line.ends_with(" 1")), "{connects:?}");
    rig.stop().await;
}
