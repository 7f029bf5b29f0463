//! Several hosts on one queue: they share the work, and where the queue has a single active consumer its order is kept when one dies.

use std::collections::BTreeSet;

use lapin::types::{AMQPValue, FieldTable};
use tempfile::TempDir;
use tidegate_harness::host::{Arguments, Host};
use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::service::free_port;

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

#[tokio::test]
async fn with_a_single_active_consumer_the_next_host_takes_over_in_order() {
    const COUNT: usize = 30_000;
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    let mut rig = Rig::on(Queue::declared(&amqp_url(), arguments).await).await;

    rig.start();
    let second = Replica::start(&rig);
    rig.queue.publish_with(numbered(0..COUNT)).await;
    eventually("rows", async || row_count(&rig.pool).await > 100).await;
    rig.host().kill().unwrap();
    eventually("all rows", async || row_count(&rig.pool).await >= COUNT).await;
    assert!(second.received() > 0);
    assert!(ids(&rig).await == users(COUNT), "not in order");
    eventually("the whole broadcast", async || heard(&rig).await.len() >= COUNT).await;
    heard_at_least(&rig, COUNT).await;
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
