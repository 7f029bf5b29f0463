//! Sinks, sources and steps that come, go and change under load: what did not change is not touched.

use serde_json::Value;
use tidegate_harness::pipeline::{broadcast, source};

use crate::broker::{Queue, eventually};
use crate::servers::{amqp_url, redis_url};
use crate::store::Key;
use crate::trial::{Publisher, Trial, body};

fn stages(event: &Value) -> Vec<(String, String)> {
    let stages = event["swap"]["stages"].as_array().unwrap().iter();
    let mut stages: Vec<(String, String)> =
        stages.map(|stage| (stage["stage"].as_str().unwrap().to_owned(), stage["action"].as_str().unwrap().to_owned())).collect();
    stages.sort();
    stages
}

fn is(stage: &str, action: &str) -> Vec<(String, String)> {
    vec![(stage.to_owned(), action.to_owned())]
}

#[tokio::test]
async fn a_sink_comes_and_goes_under_load() {
    let mut trial = Trial::new().await;
    let archive = Key::fresh().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let table = broadcast(&redis_url(), &archive.name).replace("sinks.broadcast", "sinks.archive");
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.sinks += &table));
    assert_eq!(stages(&event), is("sinks.archive", "opened"));
    eventually("the new sink to get messages", async || archive.length().await > 200).await;
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.sinks = pipeline.sinks.replace(&table, "")));
    assert_eq!(stages(&event), is("sinks.archive", "closed"));
    let archived = archive.length().await;
    let sent = publisher.stop();
    let ledger = trial.rig.settled(sent as u64);
    // What it got is one piece of the stream, whole and in order, and nothing came after it was closed.
    let (all, piece) = (trial.rig.broadcast().await, archive.list().await);
    let start = all.iter().position(|body| *body == piece[0]).unwrap();
    assert!(all[start..start + piece.len()] == piece[..], "the archive is not a piece of the stream");
    assert_eq!(piece.len(), archived);
    assert_eq!(ledger["lanes"]["archive"]["delivered"], archived, "{ledger:#}");
    assert_eq!(ledger["lanes"]["archive"]["absent"], sent - archived, "{ledger:#}");
    trial.arrived(sent).await;
    for stage in ["source.rabbitmq", "sinks.broadcast", "sinks.history"] {
        assert_eq!(trial.connects(stage), 1, "{stage} was connected again");
    }
    trial.rig.stop().await;
}

#[tokio::test]
async fn a_sink_moves_to_another_key_under_load() {
    let mut trial = Trial::new().await;
    let other = Key::fresh().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let (from, to) = (trial.rig.key.name.clone(), other.name.clone());
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.sinks = pipeline.sinks.replace(&from, &to)));
    assert_eq!(stages(&event), is("sinks.broadcast", "reopened"));
    eventually("messages at the other key", async || other.length().await > 200).await;
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    let both = [trial.rig.broadcast().await, other.list().await].concat();
    assert!(both == (0..sent).map(|number| body(number).into_bytes()).collect::<Vec<_>>(), "one stream over two keys");
    assert_eq!((trial.connects("source.rabbitmq"), trial.connects("sinks.history")), (1, 1));
    trial.rig.stop().await;
}

#[tokio::test]
async fn the_source_is_opened_anew_and_nothing_is_delivered_again() {
    let mut trial = Trial::new().await;
    let other = Queue::classic().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    for prefetch in [1000, 500] {
        let event = trial.swapped(|trial| {
            trial.edit(|pipeline| {
                let line = pipeline.source.find("prefetch").unwrap_or(pipeline.source.len());
                pipeline.source.truncate(line);
                pipeline.source += &format!("prefetch = {prefetch}\n");
            });
        });
        assert_eq!(stages(&event), is("source.rabbitmq", "reopened"));
        assert_eq!(event["swap"]["stages"][0]["left"], 0, "{event:#}");
    }
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    // Another queue altogether: the rest of the numbers come by it.
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.source = source(&amqp_url(), &other.name)));
    assert_eq!(stages(&event), is("source.rabbitmq", "reopened"));
    other.publish((sent..sent + 100).map(body)).await;
    let ledger = trial.rig.settled(sent as u64 + 100);
    assert_eq!((&ledger["redelivered"], &ledger["returned"]), (&0.into(), &0.into()), "{ledger:#}");
    trial.arrived(sent + 100).await;
    assert_eq!((trial.connects("sinks.broadcast"), trial.connects("sinks.history")), (1, 1));
    // A refusal goes to the side queue of the source that there is now.
    other.publish(["not json"]).await;
    trial.rig.settled(sent as u64 + 101);
    assert_eq!((other.depth(&other.dead()).await, trial.rig.queue.depth(&trial.rig.queue.dead()).await), (1, 0));
    trial.rig.stop().await;
}

#[tokio::test]
async fn what_lingers_when_the_source_is_opened_anew_is_not_delivered_again() {
    let mut trial = Trial::new().await;
    trial.rig.pipeline.head += "batch.linger = \"10s\"\n";
    trial.rig.start();
    trial.rig.queue.publish((0..5).map(body)).await;
    eventually("the source to have been sent all", async || trial.rig.queue.depth(&trial.rig.queue.name).await == 0).await;
    let event = trial.swapped(|trial| trial.edit(|pipeline| pipeline.source += "prefetch = 500\n"));
    assert_eq!(stages(&event), is("source.rabbitmq", "reopened"));
    assert_eq!(event["swap"]["stages"][0]["left"], 0, "{event:#}");
    let ledger = trial.rig.settled(5);
    assert_eq!((&ledger["redelivered"], &ledger["returned"]), (&0.into(), &0.into()), "{ledger:#}");
    trial.arrived(5).await;
    trial.rig.stop().await;
}

#[tokio::test]
async fn steps_are_added_reordered_and_removed_under_load() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let template = tidegate_harness::pipeline::step("more", &crate::host::plugins(), "saboteur-transformer");
    let through = |from: &'static str, to: &'static str| {
        move |pipeline: &mut tidegate_harness::pipeline::Pipeline| {
            assert!(pipeline.head.contains(from), "{}", pipeline.head);
            pipeline.head = pipeline.head.replace(from, to);
        }
    };
    trial.swapped(|trial| {
        trial.edit(|pipeline| {
            pipeline.steps += &template;
            through("[\"validate\"]", "[\"validate\", \"more\"]")(pipeline);
        });
    });
    trial.swapped(|trial| trial.edit(through("[\"validate\", \"more\"]", "[\"more\", \"validate\"]")));
    trial.swapped(|trial| {
        trial.edit(|pipeline| {
            pipeline.steps = pipeline.steps.replace(&template, "");
            through("[\"more\", \"validate\"]", "[\"validate\"]")(pipeline);
        });
    });
    let sent = publisher.stop();
    let ledger = trial.rig.settled(sent as u64);
    for name in ["broadcast", "history"] {
        let of = |generation: &Value| generation[name]["delivered"].as_u64().unwrap();
        let by_generation: Vec<u64> = ledger["generations"].as_object().unwrap().values().map(of).collect();
        assert_eq!(by_generation.len(), 4, "{ledger:#}");
        assert!(by_generation[0] > 0 && by_generation.iter().sum::<u64>() == sent as u64, "{ledger:#}");
    }
    trial.arrived(sent).await;
    trial.rig.stop().await;
}
