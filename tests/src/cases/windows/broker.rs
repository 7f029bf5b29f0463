//! The broker's outages.

use tidegate_harness::rabbitmq::RabbitMq;

use super::{heard_at_least, publish, stored};
use crate::broker::{Queue, eventually};
use crate::host::Rig;
use crate::store::row_count;

#[tokio::test]
async fn l12_after_an_outage_of_the_broker_the_host_consumes_again_and_nothing_is_lost() {
    let mut server = RabbitMq::start().unwrap();
    let queue = Queue::declared(&server.url(), Default::default()).await;
    let mut rig = Rig::on(queue).await;
    rig.pipeline.source = tidegate_harness::pipeline::source(&server.url(), &rig.queue.name);
    rig.start();
    publish(&rig, 0..200).await;
    rig.settled(200);
    publish(&rig, 200..1200).await;
    server.service.kill().unwrap();
    rig.host()
        .wait_until("the outage to be noticed", crate::host::PATIENCE, |host| {
            Ok((host.get("/readyz")?.status == 503).then_some(()))
        })
        .unwrap();
    server.service.start().unwrap();
    rig.host().wait_ready().unwrap();
    let (url, name) = rig.queue.place();
    // The one before must not be dropped: that deletes the queue.
    let reconnected = Queue::named(&url, &name).await;
    let _before = std::mem::replace(&mut rig.queue, reconnected);
    publish(&rig, 1200..1500).await;
    eventually("all rows", async || row_count(&rig.pool).await >= 1500).await;
    eventually("an empty queue", async || rig.queue.depth(&name).await == 0).await;
    stored(&rig, 1500).await;
    heard_at_least(&rig, 1500).await;
    let ledger = rig.host().status().unwrap()["ledger"].take();
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    rig.stop().await;
}
