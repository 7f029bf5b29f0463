//! One message at a time, as the original does it: take one, parse, RPUSH, INSERT one row, acknowledge, take the next.
//!
//! Same clients, same check and same sealing as [`crate::native`]; what differs is that nothing waits together.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::KeyInit;
use futures_util::StreamExt;
use lapin::options::BasicAckOptions;
use redis::AsyncCommands;
use sqlx::{Connection, PgConnection};
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};

use crate::native::{self, Settings};

/// Runs until it is ended.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    let mut consumer = native::consume(&Settings { prefetch: 1, ..settings.clone() }).await?;
    let mut redis = native::connect_redis(&settings.redis_url).await?;
    let mut database = PgConnection::connect(&settings.database_url).await.doing("connecting to PostgreSQL")?;
    let cipher = Aes256Gcm::new(&native::KEY.into());
    let statement = native::statement();
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery.doing("taking a message")?;
        let row = native::rows(&cipher, std::slice::from_ref(&delivery))?;
        for key in &settings.keys {
            redis.rpush::<_, _, ()>(key, &delivery.data).await.doing("pushing to Redis")?;
        }
        row.store(&statement, &mut database).await?;
        delivery.acker.ack(BasicAckOptions::default()).await.doing("acknowledging")?;
    }
    Err(Failure::new("the broker has ended the consumer"))
}
