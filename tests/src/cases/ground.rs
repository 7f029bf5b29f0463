//! What the other cases stand on.

use tidegate_harness::redis::Redis;

use crate::broker::Queue;
use crate::servers::{fresh_database, shared};
use crate::store::Key;

#[tokio::test]
async fn a_classic_and_a_quorum_queue_give_what_was_put_into_them() {
    for queue in [Queue::classic().await, Queue::quorum().await] {
        queue.publish(["a", "b"]).await;
        let bodies: Vec<Vec<u8>> = queue.take(&queue.name, 2).await.into_iter().map(|taken| taken.body).collect();
        assert_eq!(bodies, [b"a", b"b"]);
        assert_eq!(queue.depth(&queue.dead()).await, 0);
    }
}

#[tokio::test]
async fn a_database_is_empty_and_gone_afterwards() {
    let database = fresh_database().await;
    let name = database.rsplit('/').next().unwrap().to_owned();
    let pool = database.pool().await;
    let tables: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'").fetch_one(&pool).await.unwrap();
    assert_eq!(tables, 0);
    drop(database);
    let other = fresh_database().await;
    let count = "SELECT COUNT(*) FROM pg_database WHERE datname = $1";
    let left: i64 = sqlx::query_scalar(count).bind(name).fetch_one(&other.pool().await).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_redis_of_ones_own_can_be_killed_paused_and_started_again_and_keeps_its_data() {
    let mut server = Redis::start().unwrap();
    let key = Key::on(&server.url()).await;
    redis::cmd("RPUSH").arg(&key.name).arg("x").exec_async(&mut key.connection()).await.unwrap();
    server.service.kill().unwrap();
    server.service.start().unwrap();
    let again = key.reconnected().await;
    assert_eq!(again.length().await, 1);
    server.service.pause().unwrap();
    let mut connection = again.connection();
    let answer =
        tokio::time::timeout(std::time::Duration::from_millis(200), redis::cmd("PING").exec_async(&mut connection)).await;
    assert!(!matches!(answer, Ok(Ok(()))), "a paused server does not answer");
    server.service.resume().unwrap();
    assert_eq!(again.length().await, 1);
}

#[test]
fn a_broker_of_ones_own_tells_its_queues() {
    let Some(broker) = shared().rabbitmq.own() else { return };
    assert!(broker.ctl(&["list_queues"]).is_ok());
}
