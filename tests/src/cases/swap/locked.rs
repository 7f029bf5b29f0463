//! `pipeline.lock`: with `--locked`, nothing runs that nobody has looked at.

use std::fs;

use crate::broker::eventually;
use crate::host::command;
use crate::trial::{Publisher, Trial, marked, save};

fn lock(trial: &Trial, arguments: &[&str]) -> Option<i32> {
    command(trial.rig.folder.path(), &[&["lock"], arguments].concat(), b"").status.code()
}

#[tokio::test]
async fn a_locked_host_swaps_only_to_what_the_lock_says() {
    let mut trial = Trial::new().await;
    trial.rig.pipeline.write(trial.rig.folder.path()).unwrap();
    assert_eq!(lock(&trial, &[]), Some(0));
    trial.rig.launch_with(&["run", "--locked"]);
    trial.rig.host().wait_ready().unwrap();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let component = trial.component("validate-message");
    let other = marked(&fs::read(&component).unwrap(), "other");

    let refused = trial.after(|_| save(&component, &other));
    assert_eq!((refused["outcome"].as_str(), trial.generation()), (Some("refused"), 1), "{refused:#}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("gate link") && reason.contains("the lock has"), "{reason}");

    assert_eq!(lock(&trial, &["--check"]), Some(78), "the file differs from the lock");
    let swapped = trial.swapped(|trial| {
        assert_eq!(lock(trial, &[]), Some(0));
        trial.reload();
    });
    assert_eq!(swapped["changes"][0]["key"], "steps.validate.plugin", "{swapped:#}");
    assert_eq!(lock(&trial, &["--check"]), Some(0));
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    trial.rig.stop().await;
}

#[tokio::test]
async fn nothing_starts_locked_without_its_lock_or_beside_it() {
    let trial = Trial::new().await;
    let folder = trial.rig.folder.path();
    trial.rig.pipeline.write(folder).unwrap();
    let refused = |words: &str| {
        for what in ["run", "check"] {
            let output = command(folder, &[what, "--locked"], b"");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{told}");
            assert!(told.contains(words) && told.contains("tidegate lock"), "{told}");
        }
    };
    refused("pipeline.lock");
    assert_eq!(lock(&trial, &[]), Some(0));
    assert_eq!(command(folder, &["check", "--locked"], b"").status.code(), Some(0));
    let component = trial.component("aes-256-gcm");
    save(&component, &marked(&fs::read(&component).unwrap(), "other"));
    refused("aes-256-gcm.wasm");
}
