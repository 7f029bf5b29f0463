//! Back-pressure: what the host holds is bounded in messages and in bytes, whatever the size of messages and however long a sink takes nothing.

use redis::AsyncCommands;
use tidegate::delivery::settle;
use tidegate::ledger::Outcome;
use tidegate::source::rabbitmq::Settings;
use tidegate_harness::pipeline::broadcast;
use tidegate_harness::redis::Redis;
use tidegate_harness::wire::Wire;

use super::running::{Running, settings};
use crate::broker::Queue;
use crate::host::{PATIENCE, Rig};
use crate::servers::amqp_url;
use crate::store::Key;

const MIB: usize = 1 << 20;

/// Settles so many messages as they come.
async fn settle_next(running: &mut Running, count: usize) {
    let mut settled = 0;
    while settled < count {
        let batch = running.batch().await;
        settled += batch.len();
        settle(batch, Outcome::Delivered);
    }
}

#[tokio::test]
async fn the_window_opens_for_small_messages_and_closes_for_large_ones() {
    let queue = Queue::classic().await;
    let mut running = Running::start(Settings { prefetch: 100, max_in_flight_bytes: 4 * MIB, ..settings(&queue.name) });
    queue.publish((0..300).map(|index| index.to_string())).await;
    // Whatever the messages will be like: of the largest that there are, one fits.
    let first = running.take(1).await;
    settle(first, Outcome::Delivered);
    let mut taken = Vec::new();
    while taken.len() < 100 {
        taken.extend(running.batch().await);
    }
    // What the first window had is beside the second one.
    assert!((100..=101).contains(&taken.len()), "the window is {}", taken.len());
    let depth = queue.depth(&queue.name).await;
    assert!((299 - 101..=299 - taken.len() as u64).contains(&depth), "{depth} left beside {}", taken.len());
    let rest = 299 - taken.len();
    settle(taken, Outcome::Delivered);
    settle_next(&mut running, rest).await;

    queue.publish((0..8).map(|_| vec![b'x'; MIB])).await;
    settle_next(&mut running, 8).await;
    queue.publish((0..50).map(|_| vec![b'x'; MIB])).await;
    let held = running.take(4).await;
    assert!(running.nothing_for(std::time::Duration::from_millis(300)).await, "more than four are out");
    settle(held, Outcome::Delivered);
    settle_next(&mut running, 46).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(queue.depth(&queue.name).await, 0);
}

#[tokio::test]
async fn a_window_that_is_never_full_costs_an_acknowledgement_a_message_and_no_questions() {
    const ACKNOWLEDGEMENT: usize = 21;
    let (queue, wire) = (Queue::classic().await, Wire::to(&amqp_url()).unwrap());
    let uri = wire.url().into();
    let mut running = Running::start(Settings { uri, max_in_flight_bytes: 256 * MIB, ..settings(&queue.name) });
    let mut requested = 0;
    // The first 50 are more than the first window, of which nothing was known.
    for acked in 1..=100 {
        queue.publish(["a"]).await;
        settle(running.take(1).await, Outcome::Delivered);
        running.acked(acked).await;
        if acked == 50 {
            requested = wire.requested();
        }
    }
    let requested = wire.requested() - requested;
    // Heartbeats come on top, and a look at the consumer now and then; an acknowledgement may still be on its way.
    assert!((48 * ACKNOWLEDGEMENT..100 * ACKNOWLEDGEMENT).contains(&requested), "{requested} bytes for 50 messages");
    assert_eq!(running.stop().await, 0);
}

/// The most memory that the process has had, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_sink_that_takes_nothing_for_long_fills_no_memory_with_messages_of_one_byte_or_of_sixteen_megabytes() {
    for (size, count, most) in [(1, 5000, 2100), (16 * MIB, 20, 4)] {
        let mut redis = Redis::start().unwrap();
        let mut rig = Rig::shipped().await;
        let key = Key::on(&redis.url()).await;
        rig.pipeline.head.clear();
        rig.pipeline.steps.clear();
        rig.pipeline.source += "max_in_flight_bytes = \"32MiB\"\n";
        rig.pipeline.sinks = broadcast(&redis.url(), &key.name).replace("park", "block");
        rig.start();
        redis.service.stop().unwrap();
        let bodies = || (0..count).map(|index| vec![b'a' + u8::try_from(index % 20).unwrap(); size]);
        rig.queue.publish(bodies()).await;
        let held = |host: &tidegate_harness::host::Host| {
            let ledger = host.status()?["ledger"].take();
            Ok((ledger["in_flight"].as_u64() > Some(0)).then(|| ledger["in_flight"].as_u64().unwrap_or_default()))
        };
        rig.host().wait_until("the window to fill", PATIENCE, held).unwrap();
        rig.host()
            .wait_until("the outage to be noticed", PATIENCE, |host| Ok((host.get("/readyz")?.status == 503).then_some(())))
            .unwrap();
        let in_flight = held(rig.host()).unwrap().unwrap();
        assert!(in_flight <= most, "{in_flight} messages of {size} bytes are held");
        redis.service.start().unwrap();
        let key = key.reconnected().await;
        rig.settled(count as u64);
        for (index, body) in bodies().enumerate().step_by(count / 20) {
            // One by one: the client would not wait long enough for all of them.
            let found: Vec<u8> = key.connection().lindex(&key.name, isize::try_from(index).unwrap()).await.unwrap();
            assert!(found == body, "message {index} is not what was sent");
        }
        assert_eq!(key.length().await, count);
        let peak = peak_memory(rig.host().pid().unwrap());
        assert!(peak < 400 * MIB, "{} MiB for messages of {size} bytes", peak / MIB);
        rig.stop().await;
    }
}
