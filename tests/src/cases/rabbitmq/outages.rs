//! The broker, or the way to it, fails: what was not acknowledged comes again, and the ledger balances.

use std::time::Duration;

use tidegate::delivery::settle;
use tidegate::ledger::Outcome;
use tidegate::source::rabbitmq::Settings;
use tidegate_harness::rabbitmq::RabbitMq;
use tidegate_harness::wire::Wire;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::running::{Running, settings};
use crate::broker::{Queue, eventually};
use crate::servers::{amqp_url, shared};

#[tokio::test]
async fn a_connection_that_is_lost_is_made_again_and_what_was_not_acknowledged_comes_again() {
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    queue.publish((0..10).map(|index| index.to_string())).await;
    let mut running = Running::start(Settings { uri: wire.url().into(), ..settings(&queue.name) });
    let mut deliveries = running.take(10).await;
    let unsettled = deliveries.split_off(4);
    settle(deliveries, Outcome::Delivered);
    running.acked(4).await;
    wire.cut();
    let again = running.take(6).await;
    assert!(again.iter().all(|delivery| delivery.message.properties.get("redelivered").as_deref() == Some("true")));
    // What belongs to the lost connection settles into nothing.
    settle(unsettled, Outcome::Delivered);
    assert_eq!(running.ledger.balance().acked, 4);
    settle(again, Outcome::Delivered);
    running.acked(10).await;
    let ledger = running.ledger.clone();
    assert_eq!(running.stop().await, 0);
    let balance = ledger.balance();
    assert_eq!((balance.received, balance.acked, balance.returned, balance.in_flight), (16, 10, 6, 0));
    assert!(balance.balanced, "{balance:?}");
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn a1_after_a_reconnect_no_more_than_the_prefetch_is_out_again() {
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    queue.publish((0..25).map(|index| index.to_string())).await;
    let mut running = Running::start(Settings { uri: wire.url().into(), prefetch: 10, ..settings(&queue.name) });
    let lost = running.take(10).await;
    wire.cut();
    let again = running.take(10).await;
    assert!(running.nothing_for(Duration::from_millis(300)).await, "the eleventh message came before the first was settled");
    assert_eq!(queue.depth(&queue.name).await, 15);
    // A2: what belongs to the lost channel acknowledges nothing on the new one.
    settle(lost, Outcome::Delivered);
    assert_eq!(running.ledger.balance().acked, 0);
    settle(again, Outcome::Delivered);
    running.acked(10).await;
    settle(running.take(10).await, Outcome::Delivered);
    settle(running.take(5).await, Outcome::Delivered);
    assert_eq!(running.stop().await, 0);
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn a5_a_channel_that_the_broker_closes_over_a_late_acknowledgement_is_opened_again_and_nothing_is_lost() {
    let server = RabbitMq::start().unwrap();
    for setting in ["consumer_timeout", "channel_tick_interval"] {
        server.ctl(&["eval", &format!("application:set_env(rabbit, {setting}, 1000).")]).unwrap();
    }
    let queue = Queue::declared(&server.url(), Default::default()).await;
    queue.publish(["a", "b"]).await;
    let mut running = Running::start(Settings { uri: server.url().as_str().into(), ..settings(&queue.name) });
    let late = running.take(2).await;
    // Held until the broker has lost its patience: they come again.
    let again = running.take(2).await;
    settle(late, Outcome::Delivered);
    settle(again, Outcome::Delivered);
    running.acked(2).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn a_broker_that_knows_no_limit_of_frames_is_consumed() {
    let server = RabbitMq::start().unwrap();
    // The client library makes room for 32 of the largest frames: the test, too, has to say how large they are.
    server.ctl(&["eval", "application:set_env(rabbit, frame_max, 0)."]).unwrap();
    let queue = Queue::declared(&format!("{}?frame_max=131072", server.url()), Default::default()).await;
    queue.publish(["a"]).await;
    let mut running = Running::start(Settings { uri: server.url().as_str().into(), ..settings(&queue.name) });
    settle(running.take(1).await, Outcome::Delivered);
    running.acked(1).await;
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_connection_that_the_operator_closes_is_made_again() {
    let Some(broker) = shared().rabbitmq.own() else { return };
    let host = "tidegate-test-closing";
    broker.ctl(&["add_vhost", host]).unwrap();
    broker.ctl(&["set_permissions", "-p", host, "guest", ".*", ".*", ".*"]).unwrap();
    let url = broker.url().replace("%2f", host);
    let queue = Queue::declared(&url, Default::default()).await;
    queue.publish(["a", "b"]).await;
    let mut running = Running::start(Settings { uri: url.as_str().into(), ..settings(&queue.name) });
    let deliveries = running.take(2).await;
    broker.ctl(&["close_all_connections", "--vhost", host, "closed by a test"]).unwrap();
    assert_eq!(running.bodies(2).await, ["a", "b"]);
    settle(deliveries, Outcome::Delivered);
    running.acked(2).await;
    let ledger = running.ledger.clone();
    assert_eq!(running.stop().await, 0);
    assert_eq!((ledger.balance().received, ledger.balance().returned), (4, 2));
    broker.ctl(&["delete_vhost", host]).unwrap();
}

#[tokio::test]
async fn a_consumer_that_the_broker_cancels_comes_back_to_a_queue_declared_anew() {
    let queue = Queue::classic().await;
    queue.publish(["a"]).await;
    let mut running = Running::start(settings(&queue.name));
    let lost = running.take(1).await;
    queue.channel().queue_delete(queue.name.as_str().into(), Default::default()).await.unwrap();
    running.is_down().await;
    running.is_up().await;
    queue.publish(["b"]).await;
    assert_eq!(running.bodies(1).await, ["b"]);
    settle(lost, Outcome::Delivered);
    running.acked(1).await;
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_noticed_by_its_heartbeat_and_left_to_itself() {
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    queue.publish(["a"]).await;
    let uri = wire.url().into();
    let limits = Settings { uri, heartbeat: Duration::from_secs(1), timeout: Duration::from_secs(1), ..settings(&queue.name) };
    let mut running = Running::start(limits);
    let unsettled = running.take(1).await;
    wire.fall_silent();
    let since = Instant::now();
    running.is_down().await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(running.ledger.balance().in_flight, 0);
    wire.speak();
    assert_eq!(running.bodies(1).await, ["a"]);
    drop(unsettled);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_stop_ends_in_time_although_the_broker_is_silent() {
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    queue.publish(["a"]).await;
    let uri = wire.url().into();
    let mut running = Running::start(Settings { uri, timeout: Duration::from_secs(1), ..settings(&queue.name) });
    let deliveries = running.take(1).await;
    wire.fall_silent();
    let since = Instant::now();
    settle(deliveries, Outcome::Delivered);
    running.stop().await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[tokio::test]
async fn attempts_at_a_broker_that_accepts_and_never_answers_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("amqp://{}/%2f", listener.local_addr().unwrap());
    leaves_nothing_behind(&uri, async {
        let mut held = Vec::new();
        while held.len() < 20 {
            held.push(listener.accept().await.unwrap());
        }
        held
    })
    .await;
}

#[tokio::test]
async fn attempts_at_a_port_that_refuses_leave_nothing_behind() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    leaves_nothing_behind(&format!("amqp://{port}/%2f"), tokio::time::sleep(Duration::from_secs(2))).await;
}

/// Each test has a runtime of its own, so that its tasks can be counted.
async fn leaves_nothing_behind<T>(uri: &str, attempts: impl Future<Output = T>) {
    let before = Handle::current().metrics().num_alive_tasks();
    let (uri, short) = (uri.into(), Duration::from_millis(100));
    let running = Running::start(Settings { uri, timeout: short, max_backoff: short, ..settings("unreachable") });
    let held = attempts.await;
    running.is_down().await;
    assert_eq!(running.stop().await, 0);
    eventually("the attempts' tasks to end", async || Handle::current().metrics().num_alive_tasks() <= before).await;
    drop(held);
}
