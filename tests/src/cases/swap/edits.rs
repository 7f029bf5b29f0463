//! Keys of pipeline.toml, edited one after the other under load: the class that `plan` announces is what happens, and what did not change
//! is not connected again.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::broker::eventually;
use crate::trial::{Publisher, Trial, save};

const STAGES: [&str; 3] = ["source.rabbitmq", "sinks.broadcast", "sinks.history"];

/// A key, where its line goes (behind this text), the line, and the class.
struct Edit {
    key: &'static str,
    behind: &'static str,
    line: &'static str,
    class: &'static str,
}

const fn edit(key: &'static str, behind: &'static str, line: &'static str, class: &'static str) -> Edit {
    Edit { key, behind, line, class }
}

const PIPELINE: &str = "[pipeline]\n";
const SOURCE: &str = "[source.rabbitmq]\n";
const VALIDATE: &str = "[steps.validate]\n";
const SEAL: &str = "[steps.seal]\n";
const REDIS: &str = "[sinks.broadcast.redis]\n";
const POSTGRES: &str = "[sinks.history.postgres]\n";

/// What can be added to the file as a line of its own.
const EDITS: [Edit; 32] = [
    edit("pipeline.workers", PIPELINE, "workers = 3", "step_swap"),
    edit("pipeline.drain_timeout", PIPELINE, "drain_timeout = \"15s\"", "live"),
    edit("pipeline.batch.max_messages", PIPELINE, "batch.max_messages = 64", "live"),
    edit("pipeline.batch.linger", PIPELINE, "batch.linger = \"1ms\"", "live"),
    edit("source.rabbitmq.prefetch", SOURCE, "prefetch = 1000", "reconnect"),
    edit("source.rabbitmq.heartbeat", SOURCE, "heartbeat = \"9s\"", "reconnect"),
    edit("source.rabbitmq.timeout", SOURCE, "timeout = \"9s\"", "reconnect"),
    edit("source.rabbitmq.max_backoff", SOURCE, "max_backoff = \"4s\"", "reconnect"),
    edit("steps.validate.settings.content_max_bytes", VALIDATE, "settings.content_max_bytes = 60000", "step_swap"),
    edit("steps.validate.settings.strict_publisher", VALIDATE, "settings.strict_publisher = false", "step_swap"),
    edit("steps.validate.on_error", VALIDATE, "on_error = \"pass\"", "step_swap"),
    edit("steps.validate.limits.memory", VALIDATE, "limits.memory = \"32MiB\"", "step_swap"),
    edit("steps.validate.limits.table_elements", VALIDATE, "limits.table_elements = 10000", "step_swap"),
    edit("steps.validate.limits.timeout", VALIDATE, "limits.timeout = \"2s\"", "step_swap"),
    edit("steps.validate.limits.max_calls", VALIDATE, "limits.max_calls = 1000", "step_swap"),
    edit("steps.validate.limits.recycle", VALIDATE, "limits.recycle = \"16MiB\"", "step_swap"),
    edit("steps.validate.grant", VALIDATE, "grant = [\"clock\"]", "step_swap"),
    edit("steps.seal.expose_key", SEAL, "expose_key = true", "step_swap"),
    edit("sinks.broadcast.redis.timeout", REDIS, "timeout = \"4s\"", "reconnect"),
    edit("sinks.broadcast.redis.max_length", REDIS, "max_length = 10000000", "reconnect"),
    edit("sinks.history.postgres.timeout", POSTGRES, "timeout = \"9s\"", "reconnect"),
    edit("sinks.broadcast.park_after", "[sinks.broadcast]\n", "park_after = \"3s\"", "live"),
    edit("sinks.history.park_after", "[sinks.history]\n", "park_after = \"3s\"", "live"),
    edit("reload.rollback_window", "[reload]\n", "rollback_window = \"1m\"", "live"),
    edit("reload.max_error_percent", "[reload]\n", "max_error_percent = 6", "live"),
    edit("reload.preflight.messages", "[reload]\n", "preflight.messages = 10", "live"),
    edit("reload.preflight.max_new_rejects", "[reload]\n", "preflight.max_new_rejects = 1", "live"),
    edit("steps.spare", "[steps.seal]\n", "[steps.spare]\nplugin = \"spare.wasm\"\n[steps.seal]", "step_swap"),
    edit(
        "test",
        "[reload]\n",
        "[[test]]\nname = \"nothing is refused\"\ninput = 'no'\nexpect.dead_letter = { step = \"validate\" }\n[reload]",
        "live",
    ),
    edit("pipeline.name", PIPELINE, "name = \"other\"", "restart"),
    edit("admin.listen", "[admin]\n", "listen = \"127.0.0.1:1\"", "restart"),
    edit("plugins.cache", "[plugins]\n", "cache = \"elsewhere\"", "restart"),
];

/// The text with the edit in it. A line that the key had before goes.
fn edited(text: &str, edit: &Edit) -> String {
    let Edit { key, behind, line, .. } = edit;
    let name = key.rsplit('.').next().unwrap();
    let (head, tail) = text.split_once(behind).unwrap_or_else(|| panic!("no {behind} in\n{text}"));
    let section = tail.find("\n[").unwrap_or(tail.len());
    let (own, rest) = tail.split_at(section);
    let own: String =
        own.lines().filter(|line| !line.starts_with(&format!("{name} ="))).map(|line| format!("{line}\n")).collect();
    let behind = if edit.line.ends_with(behind.trim_end()) { "" } else { behind };
    format!("{head}{behind}{line}\n{own}{rest}")
}

fn changes(event: &Value) -> BTreeMap<String, String> {
    let changes = event["changes"].as_array().unwrap().iter();
    changes.map(|change| (change["key"].as_str().unwrap().to_owned(), change["class"].as_str().unwrap().to_owned())).collect()
}

/// Makes one edit and takes it back, and looks at what happened each time.
fn make(trial: &mut Trial, original: &str, edit: &Edit) {
    let expected = BTreeMap::from([(edit.key.to_owned(), edit.class.to_owned())]);
    for text in [edited(original, edit), original.to_owned()] {
        let is_restart = edit.class == "restart";
        if is_restart && text == original {
            save(&trial.file(), text.as_bytes());
            assert_eq!(trial.reload()["outcome"], "unchanged");
            continue;
        }
        let before = STAGES.map(|stage| trial.connects(stage));
        save(&trial.file(), text.as_bytes());
        let (code, plan) = trial.ask(&["plan"]);
        let plan = &plan["events"][0];
        assert_eq!((code, changes(plan)), (if is_restart { 78 } else { 2 }, expected.clone()), "{}: {plan:#}", edit.key);
        let event = trial.reload();
        assert_eq!(changes(&event), expected, "{}: {event:#}", edit.key);
        let outcome = if is_restart { "refused" } else { "swapped" };
        assert_eq!(event["outcome"], outcome, "{}: {event:#}", edit.key);
        if !is_restart {
            assert_eq!((&event["swap"]["redelivered"], &event["swap"]["balanced"]), (&0.into(), &true.into()), "{event:#}");
        }
        for (stage, before) in STAGES.into_iter().zip(before) {
            let opens = u64::from(edit.class == "reconnect" && edit.key.starts_with(stage));
            assert_eq!(trial.connects(stage) - before, opens, "{}: connections of {stage}", edit.key);
        }
    }
}

#[tokio::test]
async fn the_class_that_plan_announces_is_what_happens_and_nothing_else_is_touched() {
    let mut trial = Trial::new().await;
    trial.rig.pipeline.sinks = trial.rig.pipeline.sinks.replace("[reload]\n", "[reload]\nwatch = false\n");
    let original = trial.rig.pipeline.text();
    std::fs::copy(trial.component("reshape"), trial.rig.folder.path().join("spare.wasm")).unwrap();
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    for edit in &EDITS {
        make(&mut trial, &original, edit);
    }
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    trial.rig.stop().await;
}
