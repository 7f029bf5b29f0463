//! RabbitMQ as a source, on a real broker: what is taken, what is acknowledged, and what comes back.

mod letters;
mod outages;
mod running;
mod windows;

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tidegate::delivery::settle;
use tidegate::ledger::Outcome;
use tidegate::source::Pace;

use self::running::{PACE, Running, settings};
use crate::broker::{Queue, eventually};
use crate::servers::amqp_url;

#[tokio::test]
async fn a_queue_that_exists_with_other_arguments_is_used_as_it_is() {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1000));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(3_600_000));
    let queue = Queue::declared(&amqp_url(), arguments).await;
    let mut running = Running::start(settings(&queue.name));
    queue.publish(["a", "b"]).await;
    assert_eq!(running.bodies(2).await, ["a", "b"]);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_queue_that_is_missing_is_declared_durable_and_without_arguments() {
    let queue = Queue::classic().await;
    queue.channel().queue_delete(queue.name.as_str().into(), Default::default()).await.unwrap();
    let running = Running::start(settings(&queue.name));
    running.is_up().await;
    // Declaring it again fails unless it is just so.
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    queue.channel().queue_declare(queue.name.as_str().into(), durable, FieldTable::default()).await.unwrap();
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_ever_out() {
    let queue = Queue::classic().await;
    queue.publish((0..25).map(|index| index.to_string())).await;
    let mut running = Running::start(tidegate::source::rabbitmq::Settings { prefetch: 10, ..settings(&queue.name) });
    let first = running.take(10).await;
    assert!(running.nothing_for(Duration::from_millis(300)).await, "the eleventh message came before the first was settled");
    assert_eq!(queue.depth(&queue.name).await, 15);
    settle(first, Outcome::Delivered);
    settle(running.take(10).await, Outcome::Delivered);
    settle(running.take(5).await, Outcome::Delivered);
    assert_eq!(running.stop().await, 0);
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn what_is_ready_comes_in_one_batch_and_never_more_than_a_batch_holds() {
    let queue = Queue::classic().await;
    queue.publish((0..600).map(|index| index.to_string())).await;
    let mut running = Running::start(settings(&queue.name));
    // While nobody takes batches, what is sent ahead gathers.
    eventually("the broker to have sent all", async || queue.depth(&queue.name).await == 0).await;
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 600 {
        let batch = running.batch().await;
        sizes.push(batch.len());
        settle(batch, Outcome::Delivered);
    }
    assert!(sizes.iter().all(|size| *size <= running::MAX_MESSAGES) && sizes.iter().any(|size| *size > 1), "{sizes:?}");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_batch_lingers_for_more_when_it_is_told_to() {
    let queue = Queue::classic().await;
    let mut running = Running::start_with(settings(&queue.name), Pace { linger: Duration::from_millis(500), ..PACE });
    running.is_up().await;
    queue.publish(["a"]).await;
    queue.publish(["b"]).await;
    let batch = running.batch().await;
    assert_eq!(batch.len(), 2);
    settle(batch, Outcome::Delivered);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn nothing_is_acknowledged_before_all_before_it_is_settled() {
    let queue = Queue::quorum().await;
    queue.publish(["a", "b", "c", "d", "e"]).await;
    let mut running = Running::start(settings(&queue.name));
    let mut deliveries = running.take(5).await;
    let first = deliveries.remove(0);
    settle(deliveries, Outcome::Delivered);
    assert_eq!(running.ledger.balance().acked, 0);
    settle([first], Outcome::Delivered);
    running.acked(5).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn properties_and_bytes_arrive_as_they_were_published() {
    let queue = Queue::classic().await;
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("acme".into()));
    let properties = lapin::BasicProperties::default().with_message_id("m-1".into()).with_headers(headers);
    queue
        .channel()
        .queue_bind(queue.name.as_str().into(), "amq.topic".into(), "a.b".into(), Default::default(), FieldTable::default())
        .await
        .unwrap();
    queue.publish_by("amq.topic", "a.b", [(b"\xEF\xBB\xBF{}", properties)]).await;
    let mut running = Running::start(settings(&queue.name));
    let delivery = running.take(1).await.remove(0);
    let message = &delivery.message;
    assert_eq!(message.id.as_ref().map(tidegate::message::MessageId::as_str), Some("m-1"));
    assert_eq!((&message.body[..], &message.original[..]), (&b"{}"[..], &b"\xEF\xBB\xBF{}"[..]));
    for (key, value) in [("exchange", "amq.topic"), ("routing-key", "a.b"), ("header:tenant", "acme"), ("redelivered", "false")] {
        assert_eq!(message.properties.get(key).as_deref(), Some(value), "{key}");
    }
    settle([delivery], Outcome::Delivered);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_stop_acknowledges_what_settles_in_time_and_says_what_it_leaves() {
    let queue = Queue::classic().await;
    queue.publish((0..20).map(|index| index.to_string())).await;
    let mut running = Running::start_with(settings(&queue.name), Pace { drain_timeout: Duration::from_millis(700), ..PACE });
    let mut deliveries = running.take(20).await;
    let unsettled = deliveries.split_off(12);
    running.ask_to_stop();
    eventually("the intake to be closed", async || running.is_closed()).await;
    settle(deliveries, Outcome::Delivered);
    let ledger = running.ledger.clone();
    assert_eq!(running.stop().await, 8);
    let balance = ledger.balance();
    assert_eq!((balance.received, balance.acked, balance.returned, balance.in_flight), (20, 12, 8, 0));
    eventually("the broker to have them back", async || queue.depth(&queue.name).await == 8).await;
    // What settles too late changes nothing.
    settle(unsettled, Outcome::Delivered);
    assert_eq!(ledger.balance().acked, 12);
}

#[tokio::test]
async fn a_stop_leaves_what_was_sent_ahead_and_never_taken() {
    let queue = Queue::classic().await;
    queue.publish((0..500).map(|index| index.to_string())).await;
    let mut running = Running::start(settings(&queue.name));
    let batch = running.batch().await;
    running.ask_to_stop();
    settle(batch, Outcome::Delivered);
    let (left, ledger) = running.stop_and_settle().await;
    let balance = ledger.balance();
    assert_eq!((left, balance.received, balance.in_flight), (0, balance.acked, 0));
    eventually("the broker to have the rest", async || queue.depth(&queue.name).await == 500 - balance.acked).await;
}

#[tokio::test]
async fn a_stop_hands_on_what_lingers() {
    let queue = Queue::classic().await;
    queue.publish(["a", "b", "c"]).await;
    let running = Running::start_with(settings(&queue.name), Pace { linger: Duration::from_secs(600), ..PACE });
    eventually("the source to have been sent all", async || queue.depth(&queue.name).await == 0).await;
    let (left, ledger) = running.stop_and_settle().await;
    assert_eq!((left, ledger.balance().acked), (0, 3));
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn a_delivery_that_is_let_go_comes_again_and_the_ledger_balances() {
    let queue = Queue::classic().await;
    queue.publish(["a", "b", "c"]).await;
    let mut running = Running::start(settings(&queue.name));
    let mut deliveries = running.take(3).await;
    let last = deliveries.pop().unwrap();
    drop(deliveries.pop());
    settle(deliveries, Outcome::Delivered);
    settle([last], Outcome::Delivered);
    assert_eq!(running.bodies(2).await, ["b", "c"]);
    let ledger = running.ledger.clone();
    assert_eq!(running.stop().await, 0);
    let balance = ledger.balance();
    assert_eq!((balance.received, balance.acked, balance.returned, balance.in_flight), (5, 3, 2, 0));
}

#[tokio::test]
async fn a_wrong_password_is_for_the_operator_and_is_not_shown() {
    let queue = Queue::classic().await;
    let (scheme, rest) = amqp_url().split_once("://").map(|(scheme, rest)| (scheme.to_owned(), rest.to_owned())).unwrap();
    let host = rest.rsplit_once('@').map_or(rest.as_str(), |(_, host)| host);
    let uri = format!("{scheme}://nobody:hunter2@{host}");
    let running = Running::start(tidegate::source::rabbitmq::Settings { uri: uri.as_str().into(), ..settings(&queue.name) });
    let reason = running.is_down().await;
    assert!(reason.contains("ACCESS_REFUSED") && !reason.contains("hunter2"), "{reason}");
    assert_eq!(running.stop().await, 0);
}
