//! The pipeline as one would write it by hand: RabbitMQ → parse, check, seal → Redis beside PostgreSQL → acknowledge up to the last.
//!
//! It promises what the host promises while nothing fails: in order, acknowledged once both ends have it, one row an id. It has no
//! sandbox, no reload, no dead letters, no parking and no reconnect: what fails ends it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Connection, ConnectionProperties, Consumer};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{Connection as _, PgConnection};
use tidegate_harness::failure::While;
use tidegate_harness::pipeline::ID_COLUMN;
use tidegate_harness::{Failure, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// As the host's default.
const BATCH: usize = 128;
/// Batches that wait for an end.
const LANE: usize = 4;
const LONGEST_ID: usize = 255;
const LONGEST_SERVER_NAME: usize = 100;
/// Longest wait for Redis: a disk that stands still is no failure.
const PATIENCE: Duration = Duration::from_secs(60);
const GONE: &str = "an end of the pipeline is gone";
/// It guards nothing: the bench's rows are thrown away.
pub(crate) const KEY: [u8; 32] = [7; 32];

/// Where it takes from and gives to.
#[derive(Args, Clone)]
pub(crate) struct Settings {
    #[arg(long)]
    pub(crate) amqp_url: String,
    #[arg(long)]
    pub(crate) queue: String,
    #[arg(long)]
    pub(crate) redis_url: String,
    /// A list of Redis; every message goes to each of them.
    #[arg(long = "key")]
    pub(crate) keys: Vec<String>,
    #[arg(long)]
    pub(crate) database_url: String,
    /// Most messages that are taken and not acknowledged.
    #[arg(long, default_value_t = 2048)]
    pub(crate) prefetch: u16,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    sub_id: Cow<'a, str>,
    #[serde(borrow)]
    publisher_information: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Content<'a>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    server_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// The columns of a batch of rows.
#[derive(Default)]
pub(crate) struct Rows {
    id: Vec<String>,
    sub_id: Vec<String>,
    publisher_info: Vec<String>,
    server_name: Vec<String>,
    message_content: Vec<String>,
    message_id: Vec<Option<String>>,
}

/// The bodies of a batch, for every list the same.
type Bodies = Arc<Vec<Vec<u8>>>;

/// Work for one end, and where to say that it is done.
struct Job<T> {
    work: T,
    done: oneshot::Sender<()>,
}

/// A batch that is on its way, and its last message's acknowledgement.
struct Receipt {
    ends: Vec<oneshot::Receiver<()>>,
    last: Acker,
}

/// Runs until it is ended.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    let consumer = consume(&settings).await?;
    let database = PgConnection::connect(&settings.database_url).await.doing("connecting to PostgreSQL")?;
    let (store, stores) = mpsc::channel(LANE);
    let (receipt, receipts) = mpsc::channel(2 * LANE);
    let (mut broadcasts, mut tasks) = (Vec::new(), JoinSet::new());
    for key in &settings.keys {
        let (broadcast, jobs) = mpsc::channel(LANE);
        broadcasts.push(broadcast);
        tasks.spawn(push(connect_redis(&settings.redis_url).await?, key.clone(), jobs));
    }
    tasks.spawn(take(consumer, broadcasts, store, receipt));
    tasks.spawn(insert(database, stores));
    tasks.spawn(acknowledge(receipts));
    while let Some(ended) = tasks.join_next().await {
        ended.doing("running a part of the pipeline")??;
    }
    Ok(())
}

/// A consumer with the window that the settings say.
pub(crate) async fn consume(settings: &Settings) -> Result<Consumer> {
    let connection =
        Connection::connect(&settings.amqp_url, ConnectionProperties::default()).await.doing("connecting to RabbitMQ")?;
    let channel = connection.create_channel().await.doing("opening a channel")?;
    channel.basic_qos(settings.prefetch, BasicQosOptions::default()).await.doing("setting the window")?;
    let options = BasicConsumeOptions::default();
    channel.basic_consume(settings.queue.as_str().into(), "".into(), options, FieldTable::default()).await.doing("consuming")
}

/// A connection that sends at once, and is patient.
pub(crate) async fn connect_redis(url: &str) -> Result<MultiplexedConnection> {
    let info = url.into_connection_info().doing("reading the address of Redis")?;
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = redis::Client::open(info).doing("reading the address of Redis")?;
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&patient).await.doing("connecting to Redis")
}

async fn take(
    consumer: Consumer,
    broadcasts: Vec<mpsc::Sender<Job<Bodies>>>,
    store: mpsc::Sender<Job<Rows>>,
    receipt: mpsc::Sender<Receipt>,
) -> Result<()> {
    let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from(KEY));
    let mut batches = consumer.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let batch: Vec<Delivery> = batch.into_iter().collect::<std::result::Result<_, _>>().doing("taking a batch")?;
        let Some(last) = batch.last().map(|delivery| delivery.acker.clone()) else { continue };
        let rows = rows(&cipher, &batch)?;
        let bodies = Arc::new(batch.into_iter().map(|delivery| delivery.data).collect::<Vec<_>>());
        let mut ends = Vec::with_capacity(broadcasts.len() + 1);
        for broadcast in &broadcasts {
            ends.push(give(broadcast, Arc::clone(&bodies)).await?);
        }
        ends.push(give(&store, rows).await?);
        receipt.send(Receipt { ends, last }).await.doing(GONE)?;
    }
    Err(Failure::new("the broker has ended the consumer"))
}

/// Hands work to an end, which says when it is done.
async fn give<T>(end: &mpsc::Sender<Job<T>>, work: T) -> Result<oneshot::Receiver<()>> {
    let (done, is_done) = oneshot::channel();
    end.send(Job { work, done }).await.doing(GONE)?;
    Ok(is_done)
}

/// Parses, checks and seals.
pub(crate) fn rows(cipher: &Aes256Gcm, batch: &[Delivery]) -> Result<Rows> {
    let mut rows = Rows::default();
    let mut nonces = vec![0; 12 * batch.len()];
    getrandom::fill(&mut nonces).doing("drawing nonces")?;
    let (nonces, _) = nonces.as_chunks::<12>();
    for (delivery, nonce) in batch.iter().zip(nonces) {
        let body: Body<'_> = serde_json::from_slice(&delivery.data).doing("parsing a message")?;
        check(&body)?;
        let message_id = delivery.properties.message_id().as_ref().map(ToString::to_string);
        let context = format!("{}\0message_content", message_id.as_deref().unwrap_or_default());
        rows.message_content.push(sealed(cipher, *nonce, &context, &body.message.content)?);
        rows.id.push(body.id.into_owned());
        rows.sub_id.push(body.sub_id.into_owned());
        rows.publisher_info.push(body.publisher_information.map_or("{}", RawValue::get).to_owned());
        rows.server_name.push(body.message.server_name.map_or_else(|| "MainServer".to_owned(), Cow::into_owned));
        rows.message_id.push(message_id);
    }
    Ok(rows)
}

fn check(body: &Body<'_>) -> Result<()> {
    let fits = |text: &str, longest: usize| text.len() <= longest || text.chars().count() <= longest;
    let is_object = body.publisher_information.is_none_or(|raw| raw.get().starts_with('{'));
    let name = body.message.server_name.as_deref().unwrap_or_default();
    let well = fits(&body.id, LONGEST_ID) && fits(&body.sub_id, LONGEST_ID) && fits(name, LONGEST_SERVER_NAME) && is_object;
    if well { Ok(()) } else { Err(Failure::new("the bench's messages are all valid, and this one is not")) }
}

fn sealed(cipher: &Aes256Gcm, nonce: [u8; 12], context: &str, content: &str) -> Result<String> {
    let payload = Payload { msg: content.as_bytes(), aad: context.as_bytes() };
    let ciphertext = cipher.encrypt(&Nonce::from(nonce), payload).doing("sealing")?;
    let mut sealed = String::from("tg1.aes-256-gcm.k1.");
    URL_SAFE_NO_PAD.encode_string([nonce.as_slice(), &ciphertext].concat(), &mut sealed);
    Ok(sealed)
}

async fn push(mut redis: MultiplexedConnection, key: String, mut jobs: mpsc::Receiver<Job<Bodies>>) -> Result<()> {
    while let Some(Job { work, done }) = jobs.recv().await {
        redis::cmd("RPUSH").arg(&key).arg(work.as_slice()).exec_async(&mut redis).await.doing("pushing to Redis")?;
        done.send(()).map_err(|()| Failure::new("nobody waits for Redis"))?;
    }
    Ok(())
}

async fn insert(mut database: PgConnection, mut jobs: mpsc::Receiver<Job<Rows>>) -> Result<()> {
    let statement = statement();
    while let Some(Job { work, done }) = jobs.recv().await {
        work.store(&statement, &mut database).await?;
        done.send(()).map_err(|()| Failure::new("nobody waits for PostgreSQL"))?;
    }
    Ok(())
}

/// One statement for any number of rows.
pub(crate) fn statement() -> String {
    format!(
        "INSERT INTO messages (id, sub_id, publisher_info, server_name, message_content, is_encrypted, encryption_key_id, {ID_COLUMN}) \
         SELECT u.a, u.b, u.c, u.d, u.e, TRUE, 'k1', u.f \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS u(a, b, c, d, e, f, row) \
         ORDER BY u.row ON CONFLICT ({ID_COLUMN}) DO NOTHING"
    )
}

impl Rows {
    /// Stores them, in a transaction of their own.
    pub(crate) async fn store(self, statement: &str, database: &mut PgConnection) -> Result<()> {
        let query = sqlx::query(sqlx::AssertSqlSafe(statement));
        let query = query.bind(self.id).bind(self.sub_id).bind(self.publisher_info).bind(self.server_name);
        query.bind(self.message_content).bind(self.message_id).execute(database).await.doing("storing rows").map(drop)
    }
}

/// Acknowledges batch by batch, in order, once both ends have it.
async fn acknowledge(mut receipts: mpsc::Receiver<Receipt>) -> Result<()> {
    while let Some(Receipt { ends, last }) = receipts.recv().await {
        for end in ends {
            end.await.doing("waiting for an end")?;
        }
        last.ack(BasicAckOptions { multiple: true }).await.doing("acknowledging")?;
    }
    Ok(())
}
