//! The keys of a pipeline with servers.

use std::fs;
use std::path::Path;

use super::{Edit, Editor, edit, in_order, refused, wrong};
use crate::broker::{Queue, eventually};
use crate::host::plugins;
use crate::servers::{amqp_url, redis_url};
use crate::store::Key;
use crate::trial::{Publisher, Trial};

const STAGES: [&str; 5] = ["source.rabbitmq", "sinks.broadcast", "sinks.history", "sinks.archive", "sinks.slot"];

/// Where the edits lead to.
#[derive(Default)]
pub(super) struct Places {
    amqp: String,
    queue: String,
    redis: String,
    key: String,
    database: String,
    /// SHA-256 of the validator.
    digest: String,
}

/// Every edit, one after the other.
pub(super) fn edits(to: &Places) -> Vec<Edit> {
    [source_edits(to), step_edits(to), sink_edits(to), host_edits()].into_iter().flatten().collect()
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// An address with a further parameter.
fn uri(address: &str, more: &str) -> String {
    format!("\"{address}{}{more}\"", if address.contains('?') { '&' } else { '?' })
}

fn source_edits(to: &Places) -> Vec<Edit> {
    vec![
        edit("pipeline.name", "\"other\"", "restart"),
        edit("pipeline.through", "[\"validate\", \"spare\"]", "step_swap"),
        edit("pipeline.message_id", "\"/id\"", "step_swap"),
        edit("pipeline.workers", "3", "step_swap"),
        edit("pipeline.drain_timeout", "\"15s\"", "live"),
        edit("pipeline.batch.max_messages", "64", "live"),
        edit("pipeline.batch.linger", "\"1ms\"", "live"),
        edit("source.rabbitmq.uri", uri(&to.amqp, "frame_max=65536"), "reconnect"),
        edit("source.rabbitmq.queue", quoted(&to.queue), "reconnect"),
        edit("source.rabbitmq.prefetch", "1000", "reconnect"),
        edit("source.rabbitmq.max_in_flight_bytes", "\"64MiB\"", "reconnect"),
        edit("source.rabbitmq.heartbeat", "\"9s\"", "reconnect"),
        edit("source.rabbitmq.timeout", "\"9s\"", "reconnect"),
        edit("source.rabbitmq.max_backoff", "\"4s\"", "reconnect"),
        // Without TLS there is nothing that it could verify.
        wrong("source.rabbitmq.ca_file", "\"ca.pem\""),
    ]
}

fn step_edits(to: &Places) -> Vec<Edit> {
    vec![
        edit("steps.validate.plugin", "\"another.wasm\"", "step_swap"),
        edit("steps.validate.settings.content_max_bytes", "60000", "step_swap"),
        edit("steps.validate.settings.strict_publisher", "false", "step_swap"),
        edit("steps.validate.sha256", quoted(&to.digest), "step_swap"),
        edit("steps.validate.on_error", "\"pass\"", "step_swap"),
        edit("steps.validate.grant", "[\"clock\"]", "step_swap"),
        edit("steps.validate.limits.memory", "\"32MiB\"", "step_swap"),
        edit("steps.validate.limits.table_elements", "10000", "step_swap"),
        edit("steps.validate.limits.timeout", "\"2s\"", "step_swap"),
        edit("steps.validate.limits.max_calls", "1000", "step_swap"),
        edit("steps.validate.limits.recycle", "\"16MiB\"", "step_swap"),
        // Of a step that nothing goes through: a field that is not sealed any more would be refused.
        edit("steps.idle.field", "\"/id\"", "step_swap"),
        refused("steps.idle.format", "\"tg1\"", "step_swap", "settings"),
        edit("steps.cover.key_ring", "\"messages\"", "step_swap"),
        edit("steps.cover.expose_key", "true", "step_swap"),
        edit("steps.more", "{ plugin = \"another.wasm\" }", "step_swap"),
    ]
}

fn sink_edits(to: &Places) -> Vec<Edit> {
    vec![
        edit("sinks.broadcast.through", "[\"spare\"]", "step_swap"),
        edit("sinks.broadcast.on_failure", "\"block\"", "live"),
        edit("sinks.broadcast.park_after", "\"3s\"", "live"),
        edit("sinks.broadcast.redis.uri", format!("\"{}/0\"", to.redis.trim_end_matches('/')), "reconnect"),
        edit("sinks.broadcast.redis.max_length", "10000000", "reconnect"),
        edit("sinks.broadcast.redis.timeout", "\"4s\"", "reconnect"),
        wrong("sinks.broadcast.redis.ca_file", "\"ca.pem\""),
        edit("sinks.archive.redis.mode", "\"pubsub\"", "reconnect"),
        edit("sinks.archive.redis.key", quoted(&to.key), "reconnect"),
        edit("sinks.slot.redis.ttl", "\"1h\"", "reconnect"),
        edit("sinks.history.postgres.uri", uri(&to.database, "application_name=another"), "reconnect"),
        edit("sinks.history.postgres.table", "\"public.messages\"", "reconnect"),
        edit("sinks.history.postgres.idempotent_by", "", "reconnect"),
        edit("sinks.history.postgres.require_sealed", "[]", "reconnect"),
        edit("sinks.history.postgres.timeout", "\"9s\"", "reconnect"),
        edit("sinks.history.postgres.columns.sub_id", "\"/id\"", "reconnect"),
    ]
}

fn host_edits() -> Vec<Edit> {
    vec![
        edit("key_rings.messages.file", "\"copy.toml\"", "step_swap"),
        edit("key_rings.messages.create", "false", "step_swap"),
        edit("key_rings.other.active", "\"k2\"", "step_swap"),
        edit("key_rings.other.keys.k3.key", "\"${file:k4}\"", "step_swap"),
        edit("key_rings.other.keys.k3.iv", "\"${file:iv4}\"", "step_swap"),
        edit("plugins.cache", "\"elsewhere\"", "restart"),
        edit("admin.listen", "\"127.0.0.1:1\"", "restart"),
        edit("admin.token", "\"${file:token}\"", "restart"),
        edit("reload.settle", "\"60ms\"", "live"),
        edit("reload.poll", "\"1s\"", "live"),
        edit("reload.rollback_window", "\"1m\"", "live"),
        edit("reload.probation", "\"1s\"", "live"),
        edit("reload.max_error_percent", "6", "live"),
        edit("reload.preflight.messages", "10", "live"),
        edit("reload.preflight.max_new_rejects", "1", "live"),
        edit("test", "[{ name = \"refused\", input = \"no\", expect.dead_letter = { step = \"validate\" } }]", "live"),
    ]
}

/// What the file has beside the shipped shape, so that there is something to edit that nobody counts.
fn beside(archive: &Key, slot: &Key) -> String {
    let (spare, cover) = (plugins().join("saboteur-transformer.wasm"), plugins().join("aes-256-cbc.wasm"));
    let redis = redis_url();
    format!(
        "[steps.spare]\nplugin = {spare:?}\n[steps.cover]\nplugin = {cover:?}\nfield = \"/sub_id\"\nkey_ring = \"other\"\n\
         [steps.idle]\nplugin = {cover:?}\nfield = \"/sub_id\"\nkey_ring = \"other\"\n\
         format = \"original\"\nsettings.authenticate = false\n\
         [key_rings.other]\nactive = \"k1\"\n\
         [key_rings.other.keys]\nk1 = {{ key = \"${{file:k1}}\", iv = \"${{file:iv}}\" }}\nk2 = {{ key = \"${{file:k2}}\", iv = \"${{file:iv}}\" }}\n\
         k3 = {{ key = \"${{file:k3}}\", iv = \"${{file:iv}}\" }}\n\
         [sinks.archive]\nthrough = [\"cover\"]\non_failure = \"park\"\nredis = {{ uri = {redis:?}, key = {:?} }}\n\
         [sinks.slot]\non_failure = \"park\"\nredis = {{ uri = {redis:?}, key = {:?}, mode = \"set\" }}\n",
        archive.name, slot.name
    )
}

/// Files that the edits name.
fn lay_out(folder: &Path, trial: &Trial) {
    for (name, content) in [
        ("k1", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("k2", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="),
        ("k3", "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="),
        ("k4", "YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8="),
        ("iv", "AAECAwQFBgcICQoLDA0ODw=="),
        ("iv4", "EBESExQVFhcYGRobHB0eHw=="),
        ("token", "0123456789abcdef"),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    fs::copy(trial.component("validate-message"), folder.join("another.wasm")).unwrap();
}

#[tokio::test]
async fn the_class_that_plan_announces_is_what_happens_and_nothing_else_is_touched() {
    let mut trial = Trial::new().await;
    let (archive, slot, other_key, other_queue) =
        (Key::fresh().await, Key::fresh().await, Key::fresh().await, Queue::classic().await);
    let folder = trial.rig.folder.path().to_owned();
    lay_out(&folder, &trial);
    trial.rig.pipeline.steps += &beside(&archive, &slot);
    trial.rig.pipeline.sinks = trial.rig.pipeline.sinks.replace("[reload]\n", "[reload]\nwatch = false\n");
    trial.rig.start();
    fs::copy(folder.join("keys.toml"), folder.join("copy.toml")).unwrap();
    let status = trial.rig.host().status().unwrap();
    let validator = status["plugins"].as_array().unwrap().iter().find(|plugin| plugin["step"] == "validate").unwrap();
    let places = Places {
        amqp: amqp_url(),
        queue: other_queue.name.clone(),
        redis: redis_url(),
        key: other_key.name.clone(),
        database: trial.rig.database.to_string(),
        digest: validator["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned(),
    };
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let original = in_order(&trial.rig.pipeline.text());
    let editor = Editor { host: trial.rig.host(), folder, profile: &[], stages: &STAGES };
    editor.save(&original);
    assert_eq!(editor.ask("reload").1["events"][0]["outcome"], "unchanged");
    editor.make_all(&original, &edits(&places));
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    trial.rig.stop().await;
}

#[tokio::test]
async fn watching_is_switched_on_and_off_by_hand_and_by_itself() {
    let mut trial = Trial::new().await;
    trial.rig.pipeline.sinks = trial.rig.pipeline.sinks.replace("[reload]\n", "[reload]\nwatch = false\n");
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let watch = |from: &'static str, to: &'static str| {
        move |pipeline: &mut tidegate_harness::pipeline::Pipeline| pipeline.sinks = pipeline.sinks.replace(from, to)
    };
    let switched_on = trial.after(|trial| {
        trial.edit(watch("watch = false", "watch = true"));
        trial.reload();
    });
    let switched_off = trial.after(|trial| trial.edit(watch("watch = true", "watch = false")));
    for (event, trigger) in [(switched_on, "reload"), (switched_off, "file")] {
        assert_eq!(super::changes(&event), [("reload.watch".to_owned(), "live".to_owned())].into(), "{event:#}");
        assert_eq!((&event["outcome"], &event["trigger"]), (&"swapped".into(), &trigger.into()), "{event:#}");
    }
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    trial.rig.stop().await;
}
