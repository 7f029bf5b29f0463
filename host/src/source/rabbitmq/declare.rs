//! Queues: what exists is used as it is, what does not is declared durable.

use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Queue};

use super::fault;
use super::link::Link;
use crate::source::{SideQueue, StageError};

const PASSIVE: QueueDeclareOptions =
    QueueDeclareOptions { passive: true, durable: false, exclusive: false, auto_delete: false, nowait: false };
const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };

const EXCLUSIVE: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: false, exclusive: true, auto_delete: false, nowait: false };

/// The broker's answer to who wants a queue that belongs to another connection.
const RESOURCE_LOCKED: &str = "amqp_405";
/// The broker's answer to who declares a queue that is there in another form.
const PRECONDITION_FAILED: &str = "amqp_406";

/// Sees to it that the source's queue exists.
pub(super) async fn source_queue(link: &Link, name: &str) -> Result<(), StageError> {
    if exists(link, name).await? {
        return Ok(());
    }
    let channel = link.channel().await?;
    let declared = channel.queue_declare(name.into(), DURABLE, FieldTable::default());
    link.answer(&format!("declaring the queue `{name}`"), declared).await?;
    tracing::info!(queue = name, "the queue was not there and has been declared");
    Ok(())
}

/// Whether a queue exists.
pub(super) async fn exists(link: &Link, name: &str) -> Result<bool, StageError> {
    Ok(find(link, name).await?.is_some())
}

/// How a queue stands at this moment; none where there is no such queue. On a channel of its own, because the broker closes the channel
/// when there is none.
pub(super) async fn find(link: &Link, name: &str) -> Result<Option<Queue>, StageError> {
    let channel = link.channel().await?;
    let mut missing = false;
    let declared = async {
        channel
            .queue_declare(name.into(), PASSIVE, FieldTable::default())
            .await
            .inspect_err(|error| missing = fault::is_not_found(error))
    };
    match link.answer(&format!("looking for the queue `{name}`"), declared).await {
        Ok(queue) => Ok(Some(queue)),
        Err(_) if missing => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Takes a queue's lock for this connection, which holds it to its end; false where another one has it. It is an empty queue beside it that
/// belongs to one connection alone: the only thing of AMQP that two cannot get at the same time.
pub(super) async fn lock(link: &Link, name: &str) -> Result<bool, StageError> {
    let lock = format!("{name}.reader");
    let channel = link.channel().await?;
    let declared = channel.queue_declare(lock.as_str().into(), EXCLUSIVE, FieldTable::default());
    match link.answer(&format!("locking the queue `{name}`"), declared).await {
        Ok(_) => Ok(true),
        Err(fault) if fault.code == RESOURCE_LOCKED => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// How a queue stands at this moment. A queue that has gone takes the channel with it.
pub(super) async fn look(link: &Link, channel: &Channel, name: &str) -> Result<Queue, StageError> {
    let declared = channel.queue_declare(name.into(), PASSIVE, FieldTable::default());
    link.answer(&format!("looking at the queue `{name}`"), declared).await
}

/// The forms in which a side queue is declared, the best that the broker takes.
#[derive(Debug, Default)]
pub(super) struct Forms {
    /// Index of the first form that the broker has not refused.
    first: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Form {
    /// Replicated.
    Quorum,
    /// On one node.
    Classic,
}

impl Form {
    const ALL: [Self; 2] = [Self::Quorum, Self::Classic];
    /// How often a letter may be given back. Since version 4, RabbitMQ drops letters after 20 times when nothing is said; and -1, which
    /// there means "for ever", makes version 3 drop them at the first.
    const DELIVERY_LIMIT: i32 = i32::MAX;

    fn arguments(self, queue: &SideQueue) -> FieldTable {
        let mut arguments = FieldTable::default();
        if matches!(self, Self::Quorum) {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(Self::DELIVERY_LIMIT));
        }
        if matches!(queue, SideQueue::Parked(_)) {
            // Who empties the queue gets nothing before the one before him has given back what he held: order is kept.
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        arguments
    }
}

impl Forms {
    /// Whether the broker would drop letters of a queue that are given back too often: it is a quorum queue (only those tell how often a
    /// letter was given back) that somebody else has declared, with a limit that is not known here.
    pub(super) async fn may_drop(&self, link: &Link, queue: &SideQueue, name: &str) -> Result<bool, StageError> {
        let channel = link.channel().await?;
        let declared = channel.queue_declare(name.into(), DURABLE, Form::Quorum.arguments(queue));
        match link.answer(&format!("comparing the queue `{name}`"), declared).await {
            Ok(_) => Ok(false),
            Err(fault) if fault.code == PRECONDITION_FAILED => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    /// Sees to it that a side queue exists.
    pub(super) async fn side_queue(&self, link: &Link, queue: &SideQueue, name: &str) -> Result<(), StageError> {
        if exists(link, name).await? {
            return Ok(());
        }
        let mut refused = None;
        for (index, form) in Form::ALL.into_iter().enumerate().skip(self.first.load(Ordering::Relaxed)) {
            let channel = link.channel().await?;
            let declared = channel.queue_declare(name.into(), DURABLE, form.arguments(queue));
            match link.answer(&format!("declaring the queue `{name}`"), declared).await {
                Ok(_) => return Ok(()),
                // The broker does not know this form. It may have closed the connection over it: then the next attempt goes on here.
                Err(fault) if fault.code.starts_with("amqp_") && fault.code != "amqp_403" && index + 1 < Form::ALL.len() => {
                    tracing::debug!(queue = name, code = fault.code, "the broker refuses this form of queue");
                    self.first.store(index + 1, Ordering::Relaxed);
                    refused = Some(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        refused.map_or(Ok(()), Err)
    }
}
