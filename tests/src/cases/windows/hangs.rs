//! Servers that hang: nothing fails for as long as a sink may take, here ten minutes, and the window is far too small to wait for it.

use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::redis::Redis;
use tidegate_harness::wire::Wire;

use super::{heard, publish, stored};
use crate::broker::eventually;
use crate::host::{Rig, lane};
use crate::store::row_count;

/// More than a window holds.
const COUNT: usize = 1000;

/// A rig that waits long for a sink and holds little.
async fn patient(sink: &str) -> Rig {
    let mut rig = Rig::shipped().await;
    rig.pipeline.source += "prefetch = 128\n";
    let kind = if sink == "history" { "[sinks.history.postgres]\n" } else { "[sinks.broadcast.redis]\n" };
    assert!(rig.pipeline.sinks.contains(kind), "{}", rig.pipeline.sinks);
    rig.pipeline.sinks = rig.pipeline.sinks.replace(kind, &format!("{kind}timeout = \"10m\"\n"));
    rig
}

/// Whether nothing is left to be stored by a sink.
async fn is_emptied(rig: &Rig, sink: &str) -> bool {
    rig.queue.depth(&rig.queue.parked(sink)).await == 0
}

/// Sees that all rows are stored once the database answers again, and that nothing was doubled.
async fn recovers(mut rig: Rig) {
    eventually("all rows", async || row_count(&rig.pool).await >= COUNT).await;
    eventually("nothing to be parked", async || is_emptied(&rig, "history").await).await;
    stored(&rig, COUNT).await;
    heard(&rig, COUNT).await;
    rig.stop().await;
}

#[tokio::test]
async fn l4_rows_wait_on_their_own_queue_while_the_database_hangs_and_are_stored_when_it_goes_on() {
    let server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = patient("history").await;
    rig.store_into(&server).await;
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.pause().unwrap();
    publish(&rig, 10..COUNT).await;
    eventually("the broadcast beside the hung database", async || rig.key.length().await == COUNT).await;
    let ledger = rig.settled(COUNT as u64);
    assert_eq!(lane(&ledger, "history", "parked"), COUNT as u64 - 10, "{ledger:#}");
    server.service.resume().unwrap();
    recovers(rig).await;
}

#[tokio::test]
async fn d2_what_a_redis_that_hung_has_taken_in_the_end_is_not_broadcast_again() {
    let server = Redis::start().unwrap();
    let mut rig = patient("broadcast").await;
    rig.broadcast_through(&server).await;
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.pause().unwrap();
    publish(&rig, 10..COUNT).await;
    eventually("rows beside the hung Redis", async || row_count(&rig.pool).await == COUNT).await;
    rig.settled(COUNT as u64);
    server.service.resume().unwrap();
    eventually("the whole broadcast", async || rig.key.length().await >= COUNT).await;
    eventually("nothing to be parked", async || is_emptied(&rig, "broadcast").await).await;
    heard(&rig, COUNT).await;
    stored(&rig, COUNT).await;
    rig.stop().await;
}

/// A rig that stores through a wire.
async fn wired(server: &Postgres) -> (Rig, Wire) {
    let mut rig = patient("history").await;
    rig.store_into(server).await;
    let wire = Wire::to(&server.url()).unwrap();
    let port = |url: &str| url.rsplit(':').next().unwrap().split(['/', '?']).next().unwrap().to_owned();
    let (from, to) = (format!(":{}/", port(&server.url())), format!(":{}/", port(wire.url())));
    assert!(rig.pipeline.sinks.contains(&from), "{}", rig.pipeline.sinks);
    rig.pipeline.sinks = rig.pipeline.sinks.replace(&from, &to);
    (rig, wire)
}

#[tokio::test]
async fn l4_a_database_that_takes_connections_and_never_answers_after_an_outage_holds_nothing_up() {
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let (mut rig, wire) = wired(&server).await;
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.stop().unwrap();
    publish(&rig, 10..50).await;
    rig.settled(50);
    wire.fall_silent();
    server.service.start().unwrap();
    eventually("the lane to try the silent wire", async || wire.is_waited_for()).await;
    publish(&rig, 50..COUNT).await;
    eventually("the broadcast beside the silent database", async || rig.key.length().await == COUNT).await;
    rig.settled(COUNT as u64);
    wire.speak();
    recovers(rig).await;
}

#[tokio::test]
async fn l4_a_database_that_never_answers_at_the_start_holds_nothing_up() {
    let server = Postgres::start(Durability::NoFsync).unwrap();
    let (mut rig, wire) = wired(&server).await;
    wire.fall_silent();
    rig.launch();
    publish(&rig, 0..COUNT).await;
    eventually("the broadcast beside the silent database", async || rig.key.length().await == COUNT).await;
    rig.settled(COUNT as u64);
    wire.speak();
    recovers(rig).await;
}

#[tokio::test]
async fn l4_rows_that_may_be_lost_are_let_go_while_the_database_hangs() {
    let server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = patient("history").await;
    rig.store_into(&server).await;
    rig.pipeline.sinks = rig.pipeline.sinks.replace("on_failure = \"park\"", "on_failure = \"discard\"");
    rig.start();
    publish(&rig, 0..10).await;
    rig.settled(10);
    server.service.pause().unwrap();
    publish(&rig, 10..COUNT).await;
    eventually("the broadcast beside the hung database", async || rig.key.length().await == COUNT).await;
    let ledger = rig.settled(COUNT as u64);
    assert_eq!(lane(&ledger, "history", "dropped"), COUNT as u64 - 10, "{ledger:#}");
    server.service.resume().unwrap();
    heard(&rig, COUNT).await;
    publish(&rig, COUNT..COUNT + 1).await;
    eventually("a row again", async || !rig.rows().await.is_empty()).await;
    rig.stop().await;
}
