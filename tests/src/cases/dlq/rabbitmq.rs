//! Dead letters on the broker: shown, mended, sent again.

use lapin::BasicProperties;
use lapin::types::FieldTable;
use tidegate_harness::pipeline::step;

use super::{Kind, dlq, listed, numbers, said, text, with_letters};
use crate::broker::{Queue, eventually};
use crate::host::{Rig, lane, plugins};

const STRICT: &str = "settings = { content_max_bytes = 50 }\n";

fn body(id: &str, content: &str) -> String {
    format!(r#"{{"id":"{id}","sub_id":"s","message":{{"content":"{content}"}}}}"#)
}

fn without_id(content: &str) -> String {
    format!(r#"{{"sub_id":"s","message":{{"content":"{content}"}}}}"#)
}

fn long(id: &str) -> String {
    body(id, &"x".repeat(100))
}

fn properties(id: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), text("acme"));
    BasicProperties::default().with_delivery_mode(2).with_message_id(id.into()).with_type("greeting".into()).with_headers(headers)
}

/// A rig whose validator refuses contents of more than 50 bytes.
async fn strict(queue: Queue) -> Rig {
    let mut rig = Rig::on(queue).await;
    rig.pipeline.steps =
        rig.pipeline.steps.replacen("validate-message.wasm\"\n", &format!("validate-message.wasm\"\n{STRICT}"), 1);
    rig
}

#[tokio::test]
async fn a_letter_is_listed_shown_and_exported_and_what_it_holds_only_where_it_is_asked_for() {
    let mut rig = strict(Queue::classic().await).await;
    rig.start();
    rig.queue.publish_with([(long("user_1"), properties("m-1")), (without_id("secret"), properties("m-2"))]).await;
    rig.settled(2);
    eventually("both letters", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;
    let folder = rig.folder.path();
    let list = said(folder, &["list"]);
    for expected in ["position", "steps.validate", "/message/content", "m-1", "m-2", "2 letter(s) of 2 on"] {
        assert!(list.contains(expected), "no {expected} in\n{list}");
    }
    assert!(!list.contains("xxxx") && !list.contains("secret"), "{list}");
    let letters = listed(folder, &["--id", "m-2"]);
    assert_eq!((letters.len(), letters[0]["position"].as_u64(), letters[0]["attempts"].as_u64()), (1, Some(2), Some(1)));

    let shown = said(folder, &["show", "2"]);
    for expected in ["tenant: acme", "type: greeting", "reason", "generation   1", "plugin       sha256:"] {
        assert!(shown.contains(expected), "no {expected} in\n{shown}");
    }
    assert!(!shown.contains("secret") && said(folder, &["show", "--id", "m-2", "--body"]).contains("secret"));
    assert_eq!(dlq(folder, &["show", "3"]).status.code(), Some(1));

    let exported = said(folder, &["export", "--stage", "validate"]);
    let lines: Vec<serde_json::Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["properties"]["header:tenant"]), (2, &serde_json::json!("acme")));
    assert_eq!(lines[1]["properties"]["message-id"], "m-2");
    eventually("all to be still there", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;
    rig.stop().await;
}

async fn mended(kind: Kind) {
    let mut rig = strict(with_letters(kind, 0).await).await;
    rig.start();
    rig.queue.publish_with([(long("user_1"), properties("m-1")), (long("user_2"), properties("m-2"))]).await;
    rig.settled(2);
    eventually("the letters", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;

    // Nothing was mended: each is refused once more, and not again and again.
    said(rig.folder.path(), &["replay", "--yes"]);
    rig.settled(4);
    eventually("the letters to be back", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;
    let again = listed(rig.folder.path(), &[]);
    assert!(again.iter().all(|letter| letter["attempts"] == 2 && letter["previous_letter"] != letter["letter"]), "{again:?}");
    assert!(again.iter().all(|letter| letter["previous_letter"].is_string()), "{again:?}");

    rig.stop().await;
    rig.pipeline.steps = rig.pipeline.steps.replacen(STRICT, "", 1);
    rig.start();
    let told = said(rig.folder.path(), &["replay", "--id", "m-2", "--yes"]);
    assert!(told.contains("a broadcast is repeated") && told.contains("replayed 1 letter(s)"), "{told}");
    rig.settled(1);
    let rows = rig.opened_rows().await;
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["user_2"]);
    assert_eq!(rig.broadcast().await, [long("user_2").into_bytes()]);
    let left = rig.dead(1).await.remove(0);
    assert_eq!(left.properties.message_id().as_ref().map(ToString::to_string).as_deref(), Some("m-1"));
    assert_eq!((left.header("tenant").as_deref(), left.header("tidegate-attempts").as_deref()), (Some("acme"), Some("2")));
    rig.stop().await;
}

#[tokio::test]
async fn a_replay_with_a_mended_file_stores_the_row_and_without_one_counts_the_attempt_on_a_quorum_queue() {
    mended(Kind::Quorum).await;
}

#[tokio::test]
async fn a_replay_with_a_mended_file_stores_the_row_and_without_one_counts_the_attempt_on_a_classic_queue() {
    mended(Kind::Classic).await;
}

#[tokio::test]
async fn a_letter_of_a_lane_goes_back_to_that_lane_alone_and_is_stored_before_what_is_newer() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps += &format!("{}{STRICT}\n", step("limit", &plugins(), "validate-message"));
    let through = "through = [\"reshape\", \"seal\"]";
    rig.pipeline.sinks = rig.pipeline.sinks.replacen(through, "through = [\"limit\", \"reshape\", \"seal\"]", 1);
    rig.start();
    rig.queue.publish_with([(long("user_1"), properties("m-1")), (body("user_2", "c"), properties("m-2"))]).await;
    let ledger = rig.settled(2);
    assert_eq!((lane(&ledger, "history", "dead_lettered"), lane(&ledger, "broadcast", "delivered")), (1, 2));
    eventually("the letter", async || rig.queue.depth(&rig.queue.dead()).await == 1).await;
    assert_eq!(listed(rig.folder.path(), &["--step", "limit"])[0]["lane"], "history");
    rig.stop().await;

    rig.pipeline.sinks = rig.pipeline.sinks.replacen("\"limit\", ", "", 1);
    rig.start();
    // While the host runs, and finds nothing parked.
    let told = said(rig.folder.path(), &["replay", "--yes"]);
    assert!(told.contains(".parked.history") && told.contains("no other sink"), "{told}");
    eventually("the row", async || rig.rows().await.len() == 2).await;
    eventually("nothing to be parked", async || rig.queue.depth(&rig.queue.parked("history")).await == 0).await;
    assert_eq!(rig.broadcast().await.len(), 2, "nobody hears it twice");
    let ids: Vec<String> = rig.rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["user_2", "user_1"]);
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn letters_are_chosen_by_lane_generation_plugin_and_attempts_and_sent_to_the_lane_that_is_named_alone() {
    let mut rig = strict(Queue::classic().await).await;
    rig.pipeline.steps += &format!("{}settings = {{ content_max_bytes = 20 }}\n", step("limit", &plugins(), "validate-message"));
    let through = "through = [\"reshape\", \"seal\"]";
    rig.pipeline.sinks = rig.pipeline.sinks.replacen(through, "through = [\"limit\", \"reshape\", \"seal\"]", 1);
    rig.start();
    let medium = body("user_2", &"x".repeat(30));
    rig.queue.publish_with([(long("user_1"), properties("m-1")), (medium, properties("m-2"))]).await;
    rig.settled(2);
    eventually("both letters", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;
    let folder = rig.folder.path();
    said(folder, &["replay", "--id", "m-1", "--yes"]);
    let tried_again = async || listed(folder, &["--attempts", "2"]).len() == 1;
    eventually("the letter to be back", tried_again).await;

    let ids = |arguments: &[&str]| {
        let letters = listed(folder, arguments);
        letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--of-lane", "history"]), ["m-2"]);
    assert_eq!(ids(&["--of-lane", "broadcast"]), [] as [String; 0]);
    assert_eq!((ids(&["--generation", "1"]).len(), ids(&["--generation", "2"]).len()), (2, 0));
    assert_eq!((ids(&["--attempts", "1"]).len(), ids(&["--attempts", "2"])), (2, vec!["m-1".to_owned()]));
    let digest = listed(folder, &[])[0]["plugin"].as_str().unwrap().to_owned();
    assert_eq!((ids(&["--plugin", &digest]).len(), ids(&["--plugin", &digest[..12], "--of-lane", "history"]).len()), (2, 1));
    assert_eq!(ids(&["--plugin", &digest[8..]]), [] as [String; 0], "a digest begins with its first digit");
    assert_eq!(dlq(folder, &["list", "--plugin", "validate"]).status.code(), Some(2));
    rig.stop().await;

    // What was refused before the fan-out would be broadcast too, if nobody said otherwise.
    rig.pipeline.steps = rig.pipeline.steps.replacen(STRICT, "", 1);
    rig.pipeline.sinks = rig.pipeline.sinks.replacen("\"limit\", ", "", 1);
    rig.start();
    let told = said(rig.folder.path(), &["replay", "--lane", "history", "--attempts", "2", "--yes"]);
    assert!(told.contains(".parked.history") && told.contains("replayed 1 letter(s)"), "{told}");
    eventually("the row", async || rig.rows().await.len() == 1).await;
    said(rig.folder.path(), &["replay", "--lane", "history", "--of-lane", "history", "--yes"]);
    eventually("both rows", async || rig.rows().await.len() == 2).await;
    let rows: Vec<String> = rig.opened_rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!(rows, ["user_1", "user_2"]);
    assert_eq!(rig.broadcast().await, [body("user_2", &"x".repeat(30)).into_bytes()], "that of the first time alone");
    eventually("nothing to be parked", async || rig.queue.depth(&rig.queue.parked("history")).await == 0).await;
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_letter_that_is_refused_again_on_its_way_to_one_lane_counts_the_attempt_and_keeps_its_lane() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps += &format!("{}{STRICT}\n", step("limit", &plugins(), "validate-message"));
    let through = "through = [\"reshape\", \"seal\"]";
    rig.pipeline.sinks = rig.pipeline.sinks.replacen(through, "through = [\"limit\", \"reshape\", \"seal\"]", 1);
    rig.start();
    rig.queue.publish_with([(long("user_1"), properties("m-1"))]).await;
    rig.settled(1);
    eventually("the letter", async || rig.queue.depth(&rig.queue.dead()).await == 1).await;
    let first = listed(rig.folder.path(), &[]).remove(0);
    said(rig.folder.path(), &["replay", "--yes"]);
    eventually("the letter to be back", async || rig.queue.depth(&rig.queue.dead()).await == 1).await;
    let second = listed(rig.folder.path(), &[]).remove(0);
    assert_eq!((&second["attempts"], &second["lane"]), (&serde_json::json!(2), &serde_json::json!("history")));
    assert_eq!(second["previous_letter"], first["letter"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_dry_run_sends_nothing_and_shows_the_old_outcome_beside_the_new_one() {
    let mut rig = strict(Queue::classic().await).await;
    rig.start();
    rig.queue.publish_with([(long("user_1"), properties("m-1")), (without_id("c"), properties("m-2"))]).await;
    rig.settled(2);
    eventually("both letters", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;
    let folder = rig.folder.path();
    let same = said(folder, &["replay", "--dry-run"]);
    assert!(same.contains("2 letter(s) tried, none sent") && !same.contains("would reach"), "{same}");

    let mended = rig.pipeline.text().replacen(STRICT, "", 1);
    std::fs::write(folder.join("mended.toml"), mended).unwrap();
    let mended = said(folder, &["replay", "mended.toml", "--dry-run"]);
    assert!(
        mended.contains("1 (id m-1): was refused by steps.validate with too_large at /message/content; would reach"),
        "{mended}"
    );
    assert!(mended.contains("  1 would reach broadcast, history\n"), "{mended}");

    let other = format!("validate={}", plugins().join("saboteur-validator.wasm").display());
    std::fs::write(folder.join("loose.toml"), rig.pipeline.text().replacen(STRICT, "", 1)).unwrap();
    let other_plugin = said(folder, &["replay", "loose.toml", "--dry-run", "--with", &other]);
    assert!(other_plugin.contains("  2 would reach broadcast, history\n"), "{other_plugin}");

    assert_eq!(dlq(folder, &["replay", "--dry-run", "--with", "none=x.wasm"]).status.code(), Some(2));
    eventually("all to be still there", async || rig.queue.depth(&rig.queue.dead()).await == 2).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_is_discarded_is_gone_and_the_rest_stays_in_order_and_nothing_goes_without_a_yes() {
    let rig = Rig::on(with_letters(Kind::Quorum, 10).await).await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    let folder = rig.folder.path();
    for command in [&["discard"][..], &["replay", "--all-lanes"]] {
        let refused = dlq(folder, command);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    }
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 10);
    let discarded = said(folder, &["discard", "--step", "validate", "--limit", "3", "--yes"]);
    assert_eq!(discarded, "discarded 3 letter(s)\n");
    assert_eq!(said(folder, &["discard", "--id", "m-9", "--yes"]), "discarded 1 letter(s)\n");
    assert_eq!(said(folder, &["discard", "--id", "m-9", "--yes"]), "no letter matches\n");
    assert_eq!(numbers(&rig.queue, &rig.queue.dead()).await, [1, 3, 5, 6, 7, 8]);
}

#[tokio::test]
async fn letters_that_have_no_way_back_stop_a_replay_before_anything_is_moved() {
    let rig = Rig::on(with_letters(Kind::Quorum, 4).await).await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    let folder = rig.folder.path();
    let refused = dlq(folder, &["replay", "--lane", "archive", "--yes"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("broadcast, history"), "{refused:?}");
    assert_eq!(dlq(folder, &["replay", "--from", "none", "--yes"]).status.code(), Some(2));
    eventually("all to be still there", async || rig.queue.depth(&rig.queue.dead()).await == 4).await;
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_named_and_the_exit_code_is_1() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.source = tidegate_harness::pipeline::source("amqp://guest:s3cret@127.0.0.1:1/%2f", "q");
    rig.pipeline.write(rig.folder.path()).unwrap();
    for arguments in [&["list"][..], &["show", "1"], &["replay", "--yes"], &["discard", "--yes"], &["export"]] {
        let failed = dlq(rig.folder.path(), arguments);
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{said}");
        assert!(said.contains("127.0.0.1:1") && !said.contains("s3cret"), "{said}");
    }
}
