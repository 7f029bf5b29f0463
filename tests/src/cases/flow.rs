//! Many messages from end to end, in peace and over the death of the host.

use std::collections::BTreeSet;

use lapin::BasicProperties;

use crate::broker::{Queue, eventually};
use crate::host::{Rig, lane};
use crate::store::{Row, row_count};

fn body(number: usize) -> String {
    format!(r#"{{"id":"user_{number}","sub_id":"session","message":{{"content":"message {number}"}}}}"#)
}

fn with_ids(count: usize) -> impl Iterator<Item = (String, BasicProperties)> {
    (0..count).map(|number| {
        (body(number), BasicProperties::default().with_delivery_mode(2).with_message_id(format!("id-{number}").into()))
    })
}

#[tokio::test]
async fn messages_arrive_in_order_byte_for_byte_sealed_and_acknowledged() {
    const COUNT: usize = 3000;
    for queue in [Queue::classic().await, Queue::quorum().await] {
        let mut rig = Rig::on(queue).await;
        rig.queue.publish_with(with_ids(COUNT)).await;
        rig.start();
        let ledger = rig.settled(COUNT as u64);
        for name in ["broadcast", "history"] {
            assert_eq!(lane(&ledger, name, "delivered"), COUNT as u64);
        }
        let sent: Vec<Vec<u8>> = (0..COUNT).map(|number| body(number).into_bytes()).collect();
        assert_eq!(rig.broadcast().await, sent);
        let rows = rig.opened_rows().await;
        assert_eq!(rows.len(), COUNT);
        for (number, Row { id, message_content, .. }) in rows.iter().enumerate() {
            assert_eq!(
                (id.as_str(), message_content.as_str()),
                (format!("user_{number}").as_str(), format!("message {number}").as_str())
            );
        }
        rig.stop().await;
        if let Some(broker) = crate::servers::shared().rabbitmq.own() {
            // What the broker tells of a quorum queue may be some seconds old.
            eventually("a queue without ready and unacknowledged messages", async || {
                broker.depth(&rig.queue.name).unwrap() == (0, 0)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_host_that_is_killed_mid_flow_loses_nothing_and_stores_nothing_twice() {
    const COUNT: usize = 20_000;
    let mut rig = Rig::shipped().await;
    rig.queue.publish_with(with_ids(COUNT)).await;
    for until in [1, COUNT / 3] {
        rig.start();
        eventually("messages to flow", async || rig.key.length().await >= until).await;
        rig.host().kill().unwrap();
    }
    assert!(row_count(&rig.pool).await < COUNT, "it was not killed mid-flow");
    rig.start();
    eventually("all rows", async || row_count(&rig.pool).await >= COUNT).await;
    eventually("an empty queue", async || rig.queue.depth(&rig.queue.name).await == 0).await;
    rig.stop().await;

    let rows = rig.rows().await;
    let distinct: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!((rows.len(), distinct.len()), (COUNT, COUNT));
    // A broadcast has no memory: what was not acknowledged is broadcast again, in order, and nothing is missing.
    let broadcast = rig.broadcast().await;
    let mut seen = BTreeSet::new();
    let first_seen: Vec<&Vec<u8>> = broadcast.iter().filter(|body| seen.insert(*body)).collect();
    let sent: Vec<Vec<u8>> = (0..COUNT).map(|number| body(number).into_bytes()).collect();
    assert_eq!(first_seen, sent.iter().collect::<Vec<_>>());
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
}
