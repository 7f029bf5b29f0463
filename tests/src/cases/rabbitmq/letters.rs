//! Side queues on a real broker: what is put there is durable, comes back as it was and in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tidegate::delivery::settle;
use tidegate::ledger::Outcome;
use tidegate::message::{Message, MessageId, NoProperties};
use tidegate::source::rabbitmq::{Mailbox, Settings};
use tidegate::source::{Letter, Mailbox as _, SideQueue, header};
use tidegate_harness::rabbitmq::RabbitMq;
use tidegate_harness::wire::Wire;
use tokio::time::Instant;

use super::running::{Running, settings};
use crate::broker::{Queue, eventually};
use crate::servers::amqp_url;

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };

fn letter(body: impl Into<Bytes>) -> Letter {
    Letter { message: Message::new(None, body.into(), Arc::new(NoProperties)), headers: Vec::new() }
}

fn letters(range: std::ops::Range<usize>) -> Vec<Letter> {
    range.map(|index| letter(index.to_string())).collect()
}

fn parked() -> SideQueue {
    SideQueue::Parked("history".into())
}

fn numbers(messages: &[Message]) -> Vec<usize> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_dead_letter_keeps_its_bytes_and_properties_and_says_why() {
    let queue = Queue::classic().await;
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("acme".into()));
    let properties = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_content_type("application/json".into())
        .with_expiration("3600000".into())
        .with_user_id("guest".into())
        .with_headers(headers);
    queue.publish_with([(b"\xEF\xBB\xBFnot JSON", properties)]).await;
    let mut running = Running::start(settings(&queue.name));
    let delivery = running.take(1).await.remove(0);
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    let headers = vec![(header::CODE, "not_json".to_owned()), (header::STAGE, "steps.validate".to_owned())];
    mailbox.put(&SideQueue::Dead, &[Letter { message: delivery.message.clone(), headers }]).await.unwrap();
    settle([delivery], Outcome::DeadLettered);
    assert_eq!(running.stop().await, 0);

    let dead = queue.take(&queue.dead(), 1).await.remove(0);
    assert_eq!(dead.body, b"\xEF\xBB\xBFnot JSON");
    assert_eq!(dead.properties.message_id().as_ref().map(ToString::to_string).as_deref(), Some("m-1"));
    assert_eq!(dead.properties.content_type().as_ref().map(ToString::to_string).as_deref(), Some("application/json"));
    assert_eq!((dead.properties.expiration(), *dead.properties.delivery_mode()), (&None, Some(2)));
    for (name, value) in [
        ("tenant", "acme"),
        (header::CODE, "not_json"),
        (header::STAGE, "steps.validate"),
        ("tidegate-original-exchange", ""),
        ("tidegate-original-routing-key", &queue.name),
        ("tidegate-original-expiration", "3600000"),
        ("tidegate-original-user-id", "guest"),
    ] {
        assert_eq!(dead.header(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn ten_thousand_parked_letters_come_back_in_order_and_are_gone_when_removed() {
    const COUNT: usize = 10_000;
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    mailbox.put(&parked(), &letters(0..COUNT)).await.unwrap();
    let mut taking = mailbox.open(&parked()).await.unwrap();
    let mut taken = Vec::new();
    loop {
        let batch = taking.next(128).await.unwrap();
        if batch.is_empty() {
            break;
        }
        taken.extend(numbers(&batch));
        taking.remove().await.unwrap();
    }
    assert!(taken.into_iter().eq(0..COUNT));
    drop(taking);
    assert_eq!(queue.depth(&queue.parked("history")).await, 0);
}

#[tokio::test]
async fn letters_that_were_not_removed_come_again_first_even_when_asked_for_at_once() {
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    mailbox.put(&parked(), &letters(0..3000)).await.unwrap();
    for _ in 0..3 {
        let mut taking = mailbox.open(&parked()).await.unwrap();
        let batch = taking.next(100).await.unwrap();
        assert_eq!(numbers(&batch).first(), Some(&0));
    }
    let mut taking = mailbox.open(&parked()).await.unwrap();
    let removed = taking.next(100).await.unwrap().len();
    taking.remove().await.unwrap();
    let next = taking.next(100).await.unwrap();
    assert_eq!(numbers(&next).first(), Some(&removed));
}

#[tokio::test]
async fn a_parking_queue_whose_letters_somebody_else_holds_is_not_taken_for_empty() {
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    mailbox.put(&parked(), &letters(0..10)).await.unwrap();
    let mut first = mailbox.open(&parked()).await.unwrap();
    assert!(numbers(&first.next(10).await.unwrap()).into_iter().eq(0..10));
    let mut second = mailbox.open(&parked()).await.unwrap();
    assert_eq!(second.next(10).await.map(|batch| batch.len()).unwrap_err().code, "busy");
    drop((first, second));
    eventually("the letters to be given back, in order", async || {
        let mut third = mailbox.open(&parked()).await.unwrap();
        match third.next(10).await {
            Ok(batch) => {
                assert!(numbers(&batch).into_iter().eq(0..10), "{} letters, or not in order", batch.len());
                true
            }
            Err(failure) => {
                assert_eq!(failure.code, "busy");
                false
            }
        }
    })
    .await;
}

/// Two hosts whose sink is back at the same moment.
#[tokio::test]
async fn of_two_that_empty_a_parking_queue_at_once_one_gets_all_and_the_other_is_told() {
    let queue = Queue::classic().await;
    let mailboxes = [0, 1].map(|_| Mailbox::new(settings(&queue.name), "source.rabbitmq"));
    let [one, other] = &mailboxes;
    one.put(&parked(), &letters(0..10)).await.unwrap();
    for _ in 0..20 {
        let mut takings = (one.open(&parked()).await.unwrap(), other.open(&parked()).await.unwrap());
        let batches = tokio::join!(takings.0.next(10), takings.1.next(10));
        let mut found = [batches.0, batches.1].map(|batch| batch.map(|batch| numbers(&batch)).map_err(|failure| failure.code));
        found.sort();
        assert_eq!(found, [Ok((0..10).collect()), Err("busy".to_owned())]);
        drop(takings);
        // The broker gives back what they held, and lets go of the lock, once it sees that they have gone.
        let is_free = async || {
            let mut next = one.open(&parked()).await.unwrap();
            next.next(10).await.is_ok_and(|batch| batch.len() == 10)
        };
        eventually("the letters to be there again", is_free).await;
    }
}

#[tokio::test]
async fn a_queue_can_be_read_to_its_end_without_removing_anything() {
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    mailbox.put(&SideQueue::Dead, &letters(0..5000)).await.unwrap();
    let mut taking = mailbox.open(&SideQueue::Dead).await.unwrap();
    let mut read = Vec::new();
    loop {
        let batch = taking.next(700).await.unwrap();
        if batch.is_empty() {
            break;
        }
        read.extend(numbers(&batch));
    }
    assert!(read.into_iter().eq(0..5000));
    // However often they are given back, none is dropped.
    for _ in 0..3 {
        drop(taking);
        eventually("the letters to be back", async || queue.depth(&queue.dead()).await == 5000).await;
        taking = mailbox.open(&SideQueue::Dead).await.unwrap();
        assert!(!taking.next(10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_side_queue_that_does_not_exist_is_empty_until_something_is_put_there() {
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    let mut taking = mailbox.open(&parked()).await.unwrap();
    assert!(taking.next(10).await.unwrap().is_empty());
    taking.remove().await.unwrap();
    mailbox.put(&parked(), &letters(0..3)).await.unwrap();
    assert_eq!(numbers(&taking.next(10).await.unwrap()), [0, 1, 2]);
    taking.remove().await.unwrap();
    assert!(taking.next(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_parked_letter_keeps_the_id_that_the_body_gave_it() {
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    let mut letter = letter("{}");
    letter.message.id = MessageId::new("from-the-body");
    mailbox.put(&parked(), &[letter]).await.unwrap();
    let mut taking = mailbox.open(&parked()).await.unwrap();
    assert_eq!(taking.next(10).await.unwrap()[0].id, MessageId::new("from-the-body"));
}

#[tokio::test]
async fn puts_to_several_queues_at_once_all_arrive_and_survive_a_lost_connection() {
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    let mailbox = Mailbox::new(Settings { uri: wire.url().into(), ..settings(&queue.name) }, "source.rabbitmq");
    let (dead, other) = (SideQueue::Dead, SideQueue::Parked("broadcast".into()));
    let (first, second) = (letters(0..1500), letters(1500..1600));
    let put = tokio::join!(mailbox.put(&dead, &first), mailbox.put(&other, &first), mailbox.put(&dead, &second));
    assert!(put.0.is_ok() && put.1.is_ok() && put.2.is_ok(), "{put:?}");
    wire.cut();
    // The loss may be noticed by the first letter only, which then fails and is put again.
    eventually("a letter to be put", async || mailbox.put(&dead, &letters(0..1)).await.is_ok()).await;
    assert!(queue.depth(&queue.dead()).await > 1600);
    assert_eq!(queue.depth(&queue.parked("broadcast")).await, 1500);
}

#[tokio::test]
async fn a_side_queue_that_is_deleted_meanwhile_is_declared_again_and_no_letter_counts_as_put_before() {
    let queue = Queue::classic().await;
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    mailbox.put(&SideQueue::Dead, &letters(0..1)).await.unwrap();
    queue.channel().queue_delete(queue.dead().into(), Default::default()).await.unwrap();
    let returned = mailbox.put(&SideQueue::Dead, &letters(1..3)).await.unwrap_err();
    assert_eq!(returned.code, "returned");
    mailbox.put(&SideQueue::Dead, &letters(1..3)).await.unwrap();
    assert_eq!(queue.depth(&queue.dead()).await, 2);
}

#[tokio::test]
async fn a7_letters_that_the_broker_does_not_confirm_are_not_put_and_are_put_whole_once_there_is_room() {
    const ROOM: i32 = 5;
    let queue = Queue::classic().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(ROOM));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let mailbox = Mailbox::new(settings(&queue.name), "source.rabbitmq");
    for side in [SideQueue::Dead, parked()] {
        let name = mailbox.name(&side).unwrap();
        queue.channel().queue_declare(name.as_str().into(), DURABLE, arguments.clone()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(mailbox.put(&side, &letters(0..10)).await.unwrap_err().code, "nacked");
            // The queue is used as somebody has declared it.
            assert_eq!(queue.depth(&name).await, ROOM as u64);
        }
        assert_eq!(mailbox.put(&side, &letters(0..1)).await.unwrap_err().code, "nacked");
        queue.take(&name, ROOM as usize).await;
        mailbox.put(&side, &letters(0..5)).await.unwrap();
        let bodies: Vec<_> = queue.take(&name, 5).await.into_iter().map(|letter| letter.body).collect();
        assert_eq!(bodies, ["0", "1", "2", "3", "4"].map(|body| body.as_bytes().to_vec()));
    }
}

#[tokio::test]
async fn a_put_at_a_silent_broker_fails_in_time() {
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    let limits = Settings { uri: wire.url().into(), timeout: Duration::from_secs(1), ..settings(&queue.name) };
    let mailbox = Mailbox::new(limits, "source.rabbitmq");
    mailbox.put(&SideQueue::Dead, &letters(0..1)).await.unwrap();
    wire.fall_silent();
    let since = Instant::now();
    assert_eq!(mailbox.put(&SideQueue::Dead, &letters(1..2)).await.unwrap_err().code, "timeout");
    assert!(since.elapsed() < Duration::from_secs(3));
    wire.speak();
    mailbox.put(&SideQueue::Dead, &letters(1..2)).await.unwrap();
}

#[tokio::test]
async fn a_broker_without_memory_makes_a_put_fail_in_time_and_letters_can_still_be_removed() {
    let broker = RabbitMq::start().unwrap();
    let queue = Queue::declared(&broker.url(), FieldTable::default()).await;
    let limits = Settings { uri: broker.url().as_str().into(), timeout: Duration::from_secs(2), ..settings(&queue.name) };
    let mailbox = Mailbox::new(limits, "source.rabbitmq");
    mailbox.put(&parked(), &letters(0..10)).await.unwrap();
    let mut taking = mailbox.open(&parked()).await.unwrap();
    assert_eq!(taking.next(10).await.unwrap().len(), 10);

    broker.ctl(&["set_vm_memory_high_watermark", "0.00001"]).unwrap();
    let since = Instant::now();
    let failed = mailbox.put(&parked(), &letters(10..40)).await.unwrap_err();
    assert_eq!(failed.code, "blocked", "{failed}");
    assert!(since.elapsed() < Duration::from_secs(5));
    let since = Instant::now();
    assert_eq!(mailbox.put(&parked(), &letters(10..40)).await.unwrap_err().code, "blocked");
    assert!(since.elapsed() < Duration::from_secs(1), "a broker that is known to take nothing is not asked again");
    taking.remove().await.unwrap();

    broker.ctl(&["set_vm_memory_high_watermark", "0.8"]).unwrap();
    eventually("letters to be put again", async || mailbox.put(&parked(), &letters(10..40)).await.is_ok()).await;
    assert!(queue.depth(&queue.parked("history")).await + taking.next(2000).await.unwrap().len() as u64 >= 30);
}
