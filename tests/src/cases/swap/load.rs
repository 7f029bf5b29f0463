//! Swaps in a row at the full rate of the box.

use std::fs;

use crate::broker::Queue;
use crate::host::Rig;
use crate::trial::{Publisher, Trial, marked, save};

/// Swaps of one test; `TIDEGATE_TRIALS=long` makes them 200.
fn swaps() -> u64 {
    if std::env::var("TIDEGATE_TRIALS").is_ok_and(|trials| trials == "long") { 200 } else { 20 }
}

/// Makes swaps under load, and counts at the destinations.
async fn swap_under_load(mut trial: Trial, mut deed: impl FnMut(&mut Trial, u64)) {
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    let mut finished_on_old = 0;
    for number in 1..=swaps() {
        let event = trial.swapped(|trial| deed(trial, number));
        assert_eq!((event["from"].as_u64(), event["to"].as_u64()), (Some(number), Some(number + 1)), "{event:#}");
        assert_eq!(event["swap"]["stages"].as_array().unwrap().len(), 0, "no stage is touched: {event:#}");
        finished_on_old += event["swap"]["finished_on_old"].as_u64().unwrap();
    }
    let sent = publisher.stop();
    assert!(sent > 0 && finished_on_old > 0, "{sent} messages, of which {finished_on_old} were on their way at a swap");
    let ledger = trial.rig.settled(sent as u64);
    assert_eq!((&ledger["redelivered"], &ledger["returned"]), (&0.into(), &0.into()), "{ledger:#}");
    trial.arrived(sent).await;
    for stage in ["source.rabbitmq", "sinks.broadcast", "sinks.history"] {
        assert_eq!(trial.connects(stage), 1, "{stage} was connected again");
    }
    trial.rig.stop().await;
}

#[tokio::test]
async fn a_validator_is_swapped_under_load_and_nothing_is_lost_doubled_or_reordered() {
    let trial = Trial::new().await;
    let file = trial.component("validate-message");
    let original = fs::read(&file).unwrap();
    let other = marked(&original, "other");
    swap_under_load(trial, |_, number| save(&file, if number % 2 == 1 { &other } else { &original })).await;
}

#[tokio::test]
async fn a_transformer_is_swapped_under_load_and_nothing_is_lost_doubled_or_reordered() {
    let trial = Trial::on(Queue::quorum().await).await;
    swap_under_load(trial, |trial, number| {
        trial.edit(|pipeline| {
            let (old, new) = (format!("MainServer{}\"", number - 1), format!("MainServer{number}\""));
            pipeline.steps = pipeline.steps.replace("MainServer\"", &old).replace(&old, &new);
        });
    })
    .await;
}

#[tokio::test]
async fn a_cipher_is_swapped_under_load_and_every_row_opens_afterwards() {
    let mut trial = Trial::new().await;
    let [gcm, cbc] = ["aes-256-gcm", "aes-256-cbc"].map(|name| trial.component(name).display().to_string());
    let of = |plugin: &str| format!("plugin = \"{plugin}\"\nfield = \"/message/content\"\nkey_ring = \"messages\"\n");
    // The one that does not seal stands there to open what it sealed before.
    trial.rig.pipeline.steps += &format!("[steps.other]\n{}", of(&cbc));
    swap_under_load(trial, |trial, _| {
        trial.edit(|pipeline| {
            pipeline.steps = pipeline.steps.replace(&gcm, "<>").replace(&cbc, &gcm).replace("<>", &cbc);
        });
    })
    .await;
}

#[tokio::test]
async fn a_step_that_asks_for_a_retry_for_ever_is_mended_by_a_swap() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.head = rig.pipeline.head.replace("[\"validate\"]", "[\"sabotage\", \"validate\"]");
    rig.pipeline.sinks += crate::trial::RELOAD;
    let saboteur = tidegate_harness::pipeline::step("sabotage", &crate::host::plugins(), "saboteur-transformer");
    rig.pipeline.steps += &saboteur;
    let held = r#"{"id":"held","sub_id":"s","message":{"content":"x"},"sabotage":"retry"}"#;
    rig.start();
    rig.queue.publish([held]).await;
    rig.host()
        .wait_until("the message to be held", crate::host::PATIENCE, |host| {
            Ok(host.log().contains("asked for a retry").then_some(()))
        })
        .unwrap();
    rig.pipeline.steps = rig.pipeline.steps.replace("saboteur-transformer", "reshape");
    rig.pipeline.write(rig.folder.path()).unwrap();
    rig.settled(1);
    assert_eq!(rig.broadcast().await, [held.as_bytes()]);
    rig.stop().await;
}
