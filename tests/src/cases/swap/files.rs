//! The ways in which files are saved.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use tempfile::TempDir;

use crate::trial::{Publisher, Trial, body, marked, save};

/// Sees that so many numbered messages arrive, and ends.
async fn conclude(mut trial: Trial, publisher: Publisher) {
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    trial.rig.stop().await;
}

fn plugin_key(event: &serde_json::Value) -> Vec<&str> {
    event["changes"].as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_component_is_taken_up_however_it_is_saved() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    let file = trial.component("validate-message");
    let original = fs::read(&file).unwrap();

    let event = trial.swapped(|_| save(&file, &marked(&original, "renamed over")));
    assert_eq!(plugin_key(&event), ["steps.validate.plugin"]);
    trial.swapped(|_| fs::write(&file, marked(&original, "written in place")).unwrap());

    // Half of it lies there for longer than it takes to settle: refused, and taken up once it is whole.
    let whole = marked(&original, "in halves");
    let event = trial.after(|_| fs::write(&file, &whole[..whole.len() / 2]).unwrap());
    assert_eq!(event["outcome"], "refused", "{event:#}");
    trial.swapped(|_| fs::write(&file, &whole).unwrap());

    // Gone, and back as it was: two looks, and no swap.
    let generation = trial.generation();
    let event = trial.after(|_| fs::remove_file(&file).unwrap());
    assert_eq!(event["outcome"], "refused", "{event:#}");
    save(&file, &whole);
    assert_eq!(trial.reload()["outcome"], "unchanged");
    assert_eq!(trial.generation(), generation);
    conclude(trial, publisher).await;
}

#[tokio::test]
async fn a_burst_of_saves_ends_with_the_last_and_the_same_content_again_is_nothing() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    let file = trial.component("validate-message");
    let original = fs::read(&file).unwrap();
    for save in 0..100 {
        fs::write(&file, marked(&original, &format!("save {save}"))).unwrap();
    }
    let last = sha256(&fs::read(&file).unwrap());
    let runs =
        |status: &serde_json::Value| status["plugins"].as_array().unwrap().iter().any(|plugin| plugin["digest"] == last.as_str());
    trial.status_when("the last save to run", runs);
    let generation = trial.generation();
    assert!(generation < 50, "a hundred saves are not a hundred swaps: generation {generation}");
    // The same content, by every way.
    let whole = fs::read(&file).unwrap();
    save(&file, &whole);
    fs::write(&file, &whole).unwrap();
    assert_eq!(trial.reload()["outcome"], "unchanged");
    assert_eq!(trial.generation(), generation);
    conclude(trial, publisher).await;
}

/// As `sha256sum` prints it, with the name of the algorithm.
fn sha256(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().unwrap();
    format!("sha256:{}", String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap())
}

#[tokio::test]
async fn a_config_map_is_swapped_as_kubernetes_does_it() {
    let mut trial = Trial::new().await;
    // The mounted folder: everything in it is a link over `..data` into a folder of one version.
    let mount = TempDir::new().unwrap();
    let component = fs::read(trial.component("validate-message")).unwrap();
    let publish = |version: u32, component: &[u8]| {
        let folder = format!("..2026_{version}");
        fs::create_dir(mount.path().join(&folder)).unwrap();
        fs::write(mount.path().join(&folder).join("v.wasm"), component).unwrap();
        symlink(&folder, mount.path().join("..data_tmp")).unwrap();
        fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
    };
    publish(1, &component);
    symlink("..data/v.wasm", mount.path().join("v.wasm")).unwrap();
    let (own, mounted) = (trial.component("validate-message"), mount.path().join("v.wasm"));
    trial.rig.pipeline.steps = trial.rig.pipeline.steps.replace(&*own.to_string_lossy(), &mounted.to_string_lossy());
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    for version in 2..5 {
        trial.swapped(|_| publish(version, &marked(&component, &version.to_string())));
        fs::remove_dir_all(mount.path().join(format!("..2026_{}", version - 1))).unwrap();
    }
    conclude(trial, publisher).await;
}

#[tokio::test]
async fn without_watching_a_signal_or_a_command_takes_the_files_up() {
    let mut trial = Trial::new().await;
    trial.rig.pipeline.sinks = trial.rig.pipeline.sinks.replace("[reload]\n", "[reload]\nwatch = false\n");
    trial.rig.start();
    trial.rig.queue.publish((0..5).map(body)).await;
    trial.rig.settled(5);
    let file = trial.component("validate-message");
    let original = fs::read(&file).unwrap();
    save(&file, &marked(&original, "by command"));
    let (code, answer) = trial.ask(&["plan"]);
    assert_eq!((code, &answer["events"][0]["outcome"]), (2, &"planned".into()), "{answer:#}");
    assert_eq!(trial.generation(), 1, "nobody watches, and a plan changes nothing");
    assert_eq!(trial.reload()["outcome"], "swapped");
    assert_eq!(trial.ask(&["plan"]).0, 0);

    save(&file, &marked(&original, "by signal"));
    let pid = trial.rig.host().pid().unwrap().to_string();
    let event = trial.swapped(|_| assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success()));
    assert_eq!(event["trigger"], "signal");
    assert_eq!(event["swap"]["pause"], serde_json::Value::Null, "an idle pipeline swaps at once: {event:#}");
    trial.rig.stop().await;
}
