//! Going back: by hand, by itself, and not at all.

use crate::trial::{Trial, body};

/// A validator that rejects everything, in the place of the shipped one.
fn reject_all(trial: &mut Trial) {
    let own = trial.component("validate-message").display().to_string();
    let other = crate::host::plugins().join("saboteur-validator.wasm").display().to_string();
    trial.edit(|pipeline| {
        let new = format!("{other}\"\nsettings = {{ reject_all = true }}\n");
        pipeline.steps = pipeline.steps.replacen(&format!("{own}\"\n"), &new, 1);
    });
}

/// A rig whose preflight looks at nothing, with these further lines.
async fn careless(lines: &str) -> Trial {
    let mut trial = Trial::new().await;
    trial.rig.pipeline.sinks = trial.rig.pipeline.sinks.replace("probation = \"0s\"\n", lines) + "preflight.messages = 0\n";
    trial.rig.start();
    trial.rig.queue.publish((0..50).map(body)).await;
    trial.rig.settled(50);
    trial
}

#[tokio::test]
async fn a_generation_that_refuses_too_much_is_rolled_back_by_itself() {
    let mut trial = careless("probation = \"60s\"\n").await;
    let event = trial.after(reject_all);
    assert_eq!(event["outcome"], "swapped", "{event:#}");
    let status = trial.rig.host().status().unwrap();
    assert_eq!((&status["standing"]["on_probation"], &status["standing"]["rollback_to"]), (&true.into(), &1.into()));

    trial.rig.queue.publish((50..150).map(body)).await;
    let rolled_back = |status: &serde_json::Value| {
        status["reloads"].as_array().unwrap().last().is_some_and(|event| event["outcome"] == "rolled_back")
    };
    let status = trial.status_when("the old generation to run again", rolled_back);
    assert_eq!(status["generation"], 1, "{status:#}");
    let event = status["reloads"].as_array().unwrap().last().unwrap();
    assert_eq!((&event["trigger"], &event["outcome"]), (&"probation".into(), &"rolled_back".into()), "{event:#}");
    assert!(event["reason"].as_str().unwrap().contains("on probation generation 2 refused"), "{event:#}");
    trial.rig.settled(150);
    // What it refused before lies on the dead-letter queue, and nothing is missing.
    let dead = trial.rig.queue.depth(&trial.rig.queue.dead()).await;
    assert!((20..=100).contains(&dead), "{dead} dead letters");
    trial.rig.queue.publish((150..160).map(body)).await;
    trial.rig.settled(160);
    assert_eq!(trial.rig.key.length().await as u64 + dead, 160);
    trial.rig.stop().await;
}

#[tokio::test]
async fn a_rollback_by_hand_goes_back_once_within_its_window() {
    let mut trial = careless("probation = \"0s\"\nrollback_window = \"60s\"\n").await;
    assert_eq!(trial.ask(&["rollback"]).0, 78, "nothing was changed yet");
    trial.after(reject_all);
    trial.rig.queue.publish([body(50)]).await;
    trial.rig.settled(51);
    assert_eq!(trial.rig.dead(1).await.len(), 1);

    let (code, answer) = trial.ask(&["rollback"]);
    let event = &answer["events"][0];
    assert_eq!((code, &event["outcome"], &event["from"], &event["to"]), (0, &"rolled_back".into(), &2.into(), &1.into()));
    assert_eq!(trial.generation(), 1);
    trial.rig.queue.publish([body(50)]).await;
    trial.rig.settled(52);
    trial.arrived(51).await;
    // The files still say otherwise, and are not taken up before somebody asks or saves.
    let (code, answer) = trial.ask(&["plan"]);
    assert_eq!((code, &answer["events"][0]["outcome"]), (2, &"planned".into()), "{answer:#}");
    assert_eq!(trial.ask(&["rollback"]).0, 78, "once");
    trial.rig.stop().await;
}

#[tokio::test]
async fn after_its_window_nothing_is_kept_to_go_back_to() {
    let mut trial = careless("probation = \"0s\"\nrollback_window = \"100ms\"\n").await;
    trial.after(reject_all);
    trial.status_when("the window to be over", |status| status["standing"]["rollback_to"].is_null());
    let (code, answer) = trial.ask(&["rollback"]);
    assert_eq!((code, &answer["events"][0]["outcome"]), (78, &"refused".into()), "{answer:#}");
    trial.rig.stop().await;
}

#[tokio::test]
async fn what_the_preflight_refuses_is_forced_by_hand() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    trial.rig.queue.publish((0..50).map(body)).await;
    trial.rig.settled(50);
    let event = trial.after(reject_all);
    assert_eq!(event["outcome"], "refused", "{event:#}");
    let preflight = event["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "preflight").unwrap();
    let details = preflight["details"].to_string();
    assert!(details.contains("50 of 50 messages: newly refused by steps.validate"), "{details}");
    assert!(!event.to_string().contains("message 4"), "content is in the event: {event}");
    let (code, answer) = trial.ask(&["reload", "--force"]);
    assert_eq!((code, &answer["events"][0]["outcome"]), (0, &"swapped".into()), "{answer:#}");
    assert!(answer.to_string().contains("\"forced\""));
    trial.rig.stop().await;
}
