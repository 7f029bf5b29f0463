//! kill -9 in the middle of swaps.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tidegate_harness::host::Host;

use crate::broker::eventually;
use crate::store::row_count;
use crate::trial::{Publisher, Trial, body, marked, save};

/// How often the host is killed.
const KILLS: u64 = 20;

/// A pause of up to so many milliseconds, drawn from a seed that is printed, so that a failure can be had again.
struct Moments(u64);

impl Moments {
    fn next(&mut self, most: u64) -> Duration {
        // Numerical Recipes' linear congruential generator: good enough to scatter moments.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % most)
    }
}

#[tokio::test]
async fn a_host_that_is_killed_in_the_middle_of_swaps_loses_nothing_and_starts_whole() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let mut moments = Moments(seed);
    println!("TIDEGATE_SEED={seed}");
    let mut trial = Trial::new().await;
    let file = trial.component("validate-message");
    let original = fs::read(&file).unwrap();
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    for kill in 0..KILLS {
        let other = marked(&original, &format!("kill {kill}"));
        save(&file, &other);
        // The save settles for 50 ms, then the swap is under way.
        tokio::time::sleep(moments.next(250)).await;
        trial.rig.host().kill().unwrap();
        trial.rig.host().start_again().unwrap();
        let status = trial.rig.host().status().unwrap();
        assert_eq!(status["plugins"].as_array().unwrap().len(), 3, "a whole generation: {status:#}");
        assert!(status["generation"].as_u64().unwrap() <= 2, "{status:#}");
    }
    let sent = publisher.stop();
    eventually("all rows", async || row_count(&trial.rig.pool).await >= sent).await;
    eventually("an empty queue", async || trial.rig.queue.depth(&trial.rig.queue.name).await == 0).await;
    let idle = |host: &Host| Ok((host.status()?["ledger"]["in_flight"] == 0).then_some(()));
    trial.rig.host().wait_until("nothing in flight", crate::host::PATIENCE, idle).unwrap();
    let rows = trial.rig.rows().await;
    let distinct: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!((rows.len(), distinct.len()), (sent, sent), "each id is stored once");
    // A broadcast has no memory: what was not acknowledged is broadcast again, and nothing is missing.
    let broadcast: BTreeSet<Vec<u8>> = trial.rig.broadcast().await.into_iter().collect();
    assert!(broadcast == (0..sent).map(|number| body(number).into_bytes()).collect::<BTreeSet<_>>(), "broadcasts are missing");
    assert_eq!(trial.rig.queue.depth(&trial.rig.queue.dead()).await, 0);
    trial.rig.stop().await;
}
