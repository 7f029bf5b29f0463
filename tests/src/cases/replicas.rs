//! Several hosts on one queue: they share the work, and where the queue has a single active consumer its order is kept when one dies.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use tempfile::TempDir;
use tidegate_harness::host::{Arguments, Host};
use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::service::free_port;
use tidegate_harness::wire::Wire;

use super::windows::heard_at_least;
use crate::broker::{Queue, eventually};
use crate::host::{PATIENCE, Rig, program};
use crate::servers::amqp_url;
use crate::store::row_count;
use crate::trial::{body, numbered};

/// Another host of the same pipeline, with the same keys.
struct Replica {
    host: Host,
    _folder: TempDir,
}

impl Replica {
    fn start(rig: &Rig) -> Self {
        let folder = TempDir::new().unwrap();
        let mut pipeline = rig.pipeline.clone();
        pipeline.admin_port = free_port().unwrap();
        pipeline.write(folder.path()).unwrap();
        std::fs::copy(rig.folder.path().join("keys.toml"), folder.path().join("keys.toml")).unwrap();
        let arguments = Arguments {
            program: program(),
            arguments: vec!["run".to_owned()],
            folder: folder.path().to_owned(),
            variables: Vec::new(),
            admin_port: pipeline.admin_port,
        };
        Self { host: Host::start(arguments).unwrap(), _folder: folder }
    }

    fn received(&self) -> u64 {
        received(&self.host)
    }
}

fn received(host: &Host) -> u64 {
    host.status().unwrap()["ledger"]["received"].as_u64().unwrap()
}

/// Ids of the rows in the order in which they were stored.
async fn ids(rig: &Rig) -> Vec<String> {
    rig.rows().await.into_iter().map(|row| row.id).collect()
}

/// What was broadcast, once or more often.
async fn heard(rig: &Rig) -> BTreeSet<Vec<u8>> {
    rig.broadcast().await.into_iter().collect()
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user_{number}")).collect()
}

#[tokio::test]
async fn three_hosts_share_a_queue_and_one_that_dies_costs_nothing() {
    const COUNT: usize = 30_000;
    let mut rig = Rig::shipped().await;
    rig.pipeline.source += "prefetch = 256\n";
    rig.start();
    let (mut second, third) = (Replica::start(&rig), Replica::start(&rig));
    rig.queue.publish_with(numbered(0..COUNT)).await;
    eventually("a third of the rows", async || row_count(&rig.pool).await > COUNT / 3).await;
    let shares = [received(rig.host()), second.received(), third.received()];
    second.host.kill().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= COUNT).await;
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    let (mut found, mut sent) = (ids(&rig).await, users(COUNT));
    found.sort();
    sent.sort();
    assert!(found == sent, "{} rows", found.len());
    eventually("the whole broadcast", async || heard(&rig).await.len() >= COUNT).await;
    assert!(heard(&rig).await == (0..COUNT).map(|number| body(number).into_bytes()).collect(), "another broadcast than was sent");
    eventually("an empty queue", async || rig.queue.depth(&rig.queue.name).await == 0).await;
    rig.stop().await;
}

/// A rig on a queue that delivers to one host at a time.
async fn single_active(queue_type: &str) -> Rig {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.into()));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    Rig::on(Queue::declared(&amqp_url(), arguments).await).await
}

/// The first host, on a window that stays as it is, reaches its database by this address; the second one has waited for its turn since the first
/// message was settled.
async fn with_another_waiting(queue_type: &str, first_database: impl FnOnce(&str) -> String) -> (Rig, Replica) {
    let mut rig = single_active(queue_type).await;
    rig.pipeline.source += "prefetch = 128\nmax_in_flight_bytes = \"2GiB\"\n";
    rig.adjust("history", "park_after = \"200ms\"");
    let database = rig.database.to_string();
    let first = first_database(&database);
    rig.pipeline.sinks = rig.pipeline.sinks.replace(&database, &first);
    rig.launch();
    rig.queue.publish_with(numbered(0..1)).await;
    eventually("the first broadcast", async || rig.key.length().await == 1).await;
    rig.settled(1);
    rig.pipeline.sinks = rig.pipeline.sinks.replace(&first, &database);
    let second = Replica::start(&rig);
    (rig, second)
}

/// Sees that so many messages were stored and broadcast in order, each once but for what a host that was killed had not acknowledged.
async fn all_in_order(rig: &Rig, count: usize) {
    eventually("all rows", async || row_count(&rig.pool).await >= count).await;
    assert!(ids(rig).await == users(count), "not in order");
    eventually("the whole broadcast", async || heard(rig).await.len() >= count).await;
    heard_at_least(rig, count).await;
}

async fn takes_over_in_order(queue_type: &str) {
    const BEFORE: usize = 3_000;
    const COUNT: usize = 30_000;
    let mut rig = single_active(queue_type).await;
    rig.start();
    // Alone it opens its window.
    rig.queue.publish_with(numbered(0..BEFORE)).await;
    rig.settled(BEFORE as u64);
    let second = Replica::start(&rig);
    rig.host().pause().unwrap();
    rig.queue.publish_with(numbered(BEFORE..COUNT)).await;
    rig.host().resume().unwrap();
    eventually("more rows", async || row_count(&rig.pool).await > BEFORE + 100).await;
    assert_eq!(second.received(), 0);
    rig.host().kill().unwrap();
    all_in_order(&rig, COUNT).await;
    assert!(second.received() > 0);
}

#[tokio::test]
async fn with_a_single_active_consumer_the_next_host_takes_over_in_order() {
    takes_over_in_order("classic").await;
}

#[tokio::test]
async fn with_a_single_active_consumer_the_next_host_takes_over_a_quorum_queue_in_order() {
    takes_over_in_order("quorum").await;
}

/// Whether it is the first host that goes on or the second depends on the kind of queue: another window takes another consumer, and only a classic
/// queue tells that somebody waits.
async fn opens_its_window_in_order(queue_type: &str) {
    const COUNT: usize = 5_000;
    let mut rig = single_active(queue_type).await;
    let (database, far) = (rig.database.to_string(), Wire::to(&rig.database.to_string()).unwrap());
    rig.pipeline.sinks = rig.pipeline.sinks.replace(&database, far.url());
    rig.start();
    rig.pipeline.sinks = rig.pipeline.sinks.replace(far.url(), &database);
    let _second = Replica::start(&rig);
    far.slow_down(Duration::from_millis(200));
    rig.queue.publish_with(numbered(0..100)).await;
    eventually("rows", async || row_count(&rig.pool).await > 16).await;
    far.speak();
    rig.queue.publish_with(numbered(100..COUNT)).await;
    all_in_order(&rig, COUNT).await;
}

#[tokio::test]
async fn a_host_that_opens_its_window_is_not_overtaken_by_one_that_waits() {
    opens_its_window_in_order("classic").await;
}

#[tokio::test]
async fn a_host_that_opens_its_window_on_a_quorum_queue_is_not_overtaken_by_one_that_waits() {
    opens_its_window_in_order("quorum").await;
}

/// What the first host holds at its stop takes long to be stored.
async fn stops_in_order(queue_type: &str) {
    const COUNT: usize = 300;
    let mut far = None;
    let (mut rig, second) =
        with_another_waiting(queue_type, |database| far.insert(Wire::to(database).unwrap()).url().to_owned()).await;
    rig.host().wait_ready().unwrap();
    far.as_ref().unwrap().slow_down(Duration::from_millis(150));
    rig.queue.publish_with(numbered(1..COUNT)).await;
    let is_full = |host: &Host| Ok((host.status()?["ledger"]["in_flight"] == 128).then_some(()));
    rig.host().wait_until("a full window", PATIENCE, is_full).unwrap();
    let status = rig.host().terminate().unwrap();
    let log = rig.host().log();
    assert!(status.success() && log.contains("stopped; the ledger balances"), "{status}\n{log}");
    all_in_order(&rig, COUNT).await;
    assert!(second.received() > 0);
    assert_eq!(rig.broadcast().await.len(), COUNT, "a clean stop leaves nothing to be broadcast again");
}

#[tokio::test]
async fn a_host_that_stops_is_not_overtaken_by_the_one_that_waits() {
    stops_in_order("classic").await;
}

#[tokio::test]
async fn a_host_that_stops_on_a_quorum_queue_is_not_overtaken_by_the_one_that_waits() {
    stops_in_order("quorum").await;
}

/// The first host finds no database and parks; the second one finds it, and stores what is parked before all that comes next.
async fn stores_first_what_the_other_has_parked(queue_type: &str) {
    let port = free_port().unwrap();
    let (mut rig, second) = with_another_waiting(queue_type, |_| format!("postgres://nobody@127.0.0.1:{port}/none")).await;
    rig.queue.publish_with(numbered(1..40)).await;
    rig.settled(40);
    rig.host().kill().unwrap();
    rig.queue.publish_with(numbered(40..300)).await;
    all_in_order(&rig, 300).await;
    assert_eq!(second.received(), 260);
}

#[tokio::test]
async fn what_a_host_has_parked_before_it_died_the_next_one_stores_first() {
    stores_first_what_the_other_has_parked("classic").await;
}

#[tokio::test]
async fn what_a_host_has_parked_before_it_died_the_next_one_on_a_quorum_queue_stores_first() {
    stores_first_what_the_other_has_parked("quorum").await;
}

#[tokio::test]
async fn what_one_host_has_parked_another_stores() {
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = Rig::shipped().await;
    rig.store_into(&server).await;
    rig.adjust("history", "park_after = \"200ms\"");
    rig.start();
    server.service.stop().unwrap();
    rig.queue.publish_with(numbered(0..300)).await;
    rig.settled(300);
    rig.host().kill().unwrap();
    rig.pipeline.admin_port = free_port().unwrap();
    let mut second = {
        server.service.start().unwrap();
        Replica::start(&rig)
    };
    eventually("all rows", async || row_count(&rig.pool).await >= 300).await;
    assert!(ids(&rig).await == users(300), "not in order");
    let parked = rig.queue.parked("history");
    eventually("an empty parking queue", async || rig.queue.depth(&parked).await == 0).await;
    let ledger = second.host.wait_until("its own books", PATIENCE, |host| Ok(Some(host.status()?["ledger"].take()))).unwrap();
    assert_eq!((&ledger["balanced"], &ledger["received"]), (&true.into(), &0.into()), "{ledger:#}");
}

/// RabbitMQ 4 drops what has come back too often, and what a sink holds up comes back with each host that ends.
#[tokio::test]
async fn a_host_warns_of_messages_that_hosts_before_it_have_let_go_often() {
    let mut rig = Rig::on(Queue::quorum().await).await;
    let nobody = format!("postgres://nobody@127.0.0.1:{}/none", free_port().unwrap());
    rig.pipeline.sinks = rig.pipeline.sinks.replace(&rig.database.to_string(), &nobody).replace("\"park\"", "\"block\"");
    rig.queue.publish_with(numbered(0..1)).await;
    rig.launch();
    let warns = |host: &Host| host.log().contains("messages have gone back to the broker");
    for _ in 0..10 {
        let is_held = |host: &Host| Ok(host.status().is_ok_and(|status| status["ledger"]["in_flight"] == 1).then_some(()));
        rig.host().wait_until("the message", PATIENCE, is_held).unwrap();
        assert!(!warns(rig.host()), "{}", rig.host().log());
        rig.host().kill().unwrap();
        rig.host().launch_again().unwrap();
    }
    rig.host().wait_until("the warning", PATIENCE, |host| Ok(warns(host).then_some(()))).unwrap();
}
