//! The far ends: the queue, the key, the table, looked at directly and not by the wires.

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use redis::AsyncCommands;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row};
use tidegate_harness::Result;
use tidegate_harness::failure::While;

use crate::publisher::{body, message_id, number};
use crate::world::{KEY, QUEUE};

/// Stands for what was never published, or arrived changed: it is no number of a message.
const FOREIGN: u64 = u64::MAX;

/// What kind of queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Classic,
    Quorum,
}

/// Declares the queue: durable, one consumer at a time, so that its order is kept over lost connections.
pub(crate) async fn declare(url: &str, kind: Kind) -> Result<()> {
    let (_connection, channel) = open(url).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    if kind == Kind::Quorum {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, arguments).await.doing("declaring the queue").map(drop)
}

async fn open(url: &str) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.doing("connecting to the broker")?;
    let channel = connection.create_channel().await.doing("opening a channel")?;
    Ok((connection, channel))
}

/// How many messages lie on the queue and on the sinks' parking queues.
pub(crate) async fn waiting(url: &str) -> Result<u32> {
    let (connection, _) = open(url).await?;
    let mut waiting = 0;
    for queue in [QUEUE.to_owned(), format!("{QUEUE}.parked.broadcast"), format!("{QUEUE}.parked.history")] {
        // A queue that is missing closes the channel: hence one for each.
        let channel = connection.create_channel().await.doing("opening a channel")?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        waiting += declared.map_or(0, |queue| queue.message_count());
    }
    Ok(waiting)
}

/// Numbers of the dead letters, oldest first. They are taken.
pub(crate) async fn dead(url: &str) -> Result<Vec<u64>> {
    let (_connection, channel) = open(url).await?;
    let mut numbers = Vec::new();
    let queue = format!("{QUEUE}.dead");
    while let Ok(Some(letter)) = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await {
        numbers.push(unchanged(&letter.delivery.data));
    }
    Ok(numbers)
}

/// Numbers of what was broadcast, in order.
pub(crate) async fn broadcast(url: &str) -> Result<Vec<u64>> {
    let client = redis::Client::open(url).doing("reading the address of Redis")?;
    let mut connection = client.get_multiplexed_async_connection().await.doing("connecting to Redis")?;
    let bodies: Vec<Vec<u8>> = connection.lrange(KEY, 0, -1).await.doing("reading the list")?;
    Ok(bodies.iter().map(|body| unchanged(body)).collect())
}

/// Numbers of the rows and their sealed contents, in the order in which they were stored.
pub(crate) async fn rows(url: &str) -> Result<(Vec<u64>, Vec<String>)> {
    let mut connection = PgConnection::connect(url).await.doing("connecting to PostgreSQL")?;
    let sql = "SELECT id, source_message_id, message_content FROM messages ORDER BY message_id";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.doing("reading the rows")?;
    let number = |row: &PgRow| -> Option<u64> {
        let number = row.get::<String, _>("id").strip_prefix("user_")?.parse().ok()?;
        (row.get::<Option<String>, _>("source_message_id")? == message_id(number)).then_some(number)
    };
    let numbers = rows.iter().map(|row| number(row).unwrap_or(FOREIGN)).collect();
    Ok((numbers, rows.iter().map(|row| row.get("message_content")).collect()))
}

/// The number of a body that is byte for byte what was published.
fn unchanged(arrived: &[u8]) -> u64 {
    number(arrived).filter(|number| body(*number).as_bytes() == arrived).unwrap_or(FOREIGN)
}
