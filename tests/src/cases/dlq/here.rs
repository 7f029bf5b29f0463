//! Letters that the command carries itself: with another component, from a step on, to sinks that it opens. Where no host is needed, none runs.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use tidegate::message::{Message, MessageId, NoProperties};
use tidegate::source::{Letter, Mailbox as _, SideQueue, header};
use tidegate_harness::pipeline::step;
use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::redis::Redis;

use super::{dlq, listed, mailbox, numbers, said};
use crate::broker::{Queue, eventually};
use crate::cases::embedded::Embedded;
use crate::host::{Rig, plugins, program};
use crate::store::row_count;

/// What no output may show.
const SECRET: &str = "nobody's";

/// A body that only the shipped validator refuses, and sinks take.
fn strange(number: usize) -> String {
    format!(r#"{{"id":"user_{number}","sub_id":"s","publisher_information":"p","message":{{"content":"{SECRET} {number}"}}}}"#)
}

/// A body with a command for the saboteurs.
fn commanding(command: &str) -> String {
    format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"{SECRET}"}},"sabotage":"{command}"}}"#)
}

/// Numbered letters with these bodies, by `steps.validate`; with a lane, or from before the fan-out.
async fn put(queue: &Queue, bodies: &[String], lane: Option<&str>) {
    let letters: Vec<Letter> = bodies.iter().enumerate().map(|(number, body)| letter(number, body, lane)).collect();
    mailbox(queue).put(&SideQueue::Dead, &letters).await.unwrap();
}

fn letter(number: usize, body: &str, lane: Option<&str>) -> Letter {
    let mut headers = vec![
        (header::STAGE, "steps.validate".to_owned()),
        (header::CODE, "wrong_type".to_owned()),
        (header::LETTER, format!("{number:032x}")),
        (header::ATTEMPTS, "1".to_owned()),
    ];
    headers.extend(lane.map(|lane| (header::LANE, lane.to_owned())));
    let id = MessageId::new(&format!("m-{number}"));
    Letter { message: Message::new(id, Bytes::from(body.to_owned()), Arc::new(NoProperties)), headers }
}

/// A component in the place of a step.
fn with(step: &str, component: &str) -> String {
    format!("{step}={}", plugins().join(component).with_extension("wasm").display())
}

/// A rig that has a further step, made by the saboteur's transformer, behind the validator.
async fn sabotaged(lines: &str) -> Rig {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps += &format!("{}{lines}\n", step("sabotage", &plugins(), "saboteur-transformer"));
    rig.pipeline.head = rig.pipeline.head.replacen("[\"validate\"]", "[\"validate\", \"sabotage\"]", 1);
    rig.pipeline.write(rig.folder.path()).unwrap();
    rig
}

/// The exit code, and what it printed where.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!out.contains(SECRET) && !err.contains(SECRET), "content is shown:\n{out}{err}");
    (output.status.code(), out, err)
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

async fn ids(rig: &Rig) -> Vec<String> {
    rig.opened_rows().await.into_iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn letters_of_a_validator_are_replayed_with_another_one_each_once_beside_a_host_that_keeps_its_own() {
    const COUNT: usize = 300;
    let mut rig = Rig::shipped().await;
    rig.start();
    let bodies: Vec<String> = (0..COUNT).map(strange).collect();
    let properties = |number: usize| lapin::BasicProperties::default().with_message_id(format!("m-{number}").into());
    rig.queue.publish_with(bodies.iter().enumerate().map(|(number, body)| (body, properties(number)))).await;
    rig.settled(COUNT as u64);
    eventually("the letters", async || rig.queue.depth(&rig.queue.dead()).await == COUNT as u64).await;

    let mended = with("validate", "saboteur-validator");
    let output = dlq(rig.folder.path(), &["replay", "--with", &mended, "--yes"]);
    let (code, out, err) = told(&output);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("300 letter(s) go through the steps here, in this process, and to broadcast, history."), "{out}");
    assert!(out.contains("(id m-7): was refused by steps.validate with "), "{out}");
    assert!(out.contains("; is with history, broadcast\n") && out.contains("replayed 300 letter(s)\n"), "{out}");
    // Letters are of no order.
    assert_eq!(sorted(ids(&rig).await), sorted((0..COUNT).map(|number| format!("user_{number}")).collect()));
    assert_eq!(sorted(rig.broadcast().await), sorted(bodies.iter().map(|body| body.clone().into_bytes()).collect()));
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
    assert_eq!(said(rig.folder.path(), &["replay", "--with", &mended, "--yes"]), "no letter matches\n");
    // The host still has its own validator.
    rig.queue.publish([strange(0)]).await;
    rig.settled(COUNT as u64 + 1);
    eventually("one more letter", async || rig.queue.depth(&rig.queue.dead()).await == 1).await;
    rig.stop().await;
    assert!(!rig.host().log().contains(SECRET), "content is in the log");
}

#[tokio::test]
async fn a_replay_begins_at_a_step_and_skips_those_before_it_and_a_dry_run_says_so() {
    let rig = sabotaged("").await;
    let folder = rig.folder.path();
    put(&rig.queue, &[strange(0), commanding("reject")], None).await;
    let dry = said(folder, &["replay", "--dry-run"]);
    assert!(dry.contains("  1 would be refused by steps.validate with wrong_type at /publisher_information\n"), "{dry}");
    let dry = said(folder, &["replay", "--dry-run", "--from", "sabotage"]);
    assert!(dry.starts_with("SKIPPED: steps.validate. What lies here is the original"), "{dry}");
    assert!(dry.contains("  1 would reach broadcast, history\n"), "{dry}");
    assert!(dry.contains("  1 would be refused by steps.sabotage with sabotage at /sabotage\n"), "{dry}");
    assert_eq!((rig.rows().await.len(), rig.queue.depth(&rig.queue.dead()).await), (0, 2), "a dry run sends nothing");

    let refused = dlq(folder, &["replay", "--from", "sabotage"]);
    assert_eq!(told(&refused).0, Some(2), "nothing goes without a yes");
    let out = said(folder, &["replay", "--from", "sabotage", "--id", "m-0", "--yes"]);
    assert!(out.starts_with("SKIPPED: steps.validate."), "{out}");
    assert_eq!((ids(&rig).await, rig.broadcast().await), (vec!["user_0".to_owned()], vec![strange(0).into_bytes()]));
    assert_eq!(numbers(&rig.queue, &rig.queue.dead()).await, [1]);
}

#[tokio::test]
async fn what_is_refused_again_or_held_stays_where_it_lay_and_what_a_step_drops_is_gone() {
    let rig = sabotaged("").await;
    let without_id = format!(r#"{{"sub_id":"s","message":{{"content":"{SECRET}"}}}}"#);
    let commands = [commanding("none"), commanding("reject"), commanding("drop"), without_id, commanding("retry"), strange(5)];
    put(&rig.queue, &commands, None).await;
    let before = listed(rig.folder.path(), &[]);
    let (code, out, err) = told(&dlq(rig.folder.path(), &["replay", "--from", "sabotage", "--yes"]));
    assert_eq!(code, Some(1), "{out}{err}");
    for line in [
        "1 (id m-0): was refused by steps.validate with wrong_type; is with history, broadcast\n",
        "2 (id m-1): was refused by steps.validate with wrong_type; STAYS, refused by steps.sabotage with sabotage at /sabotage\n",
        "3 (id m-2): was refused by steps.validate with wrong_type; was dropped by a step\n",
        "4 (id m-3): was refused by steps.validate with wrong_type; STAYS, refused by sinks.history with ",
        "5 (id m-4): was refused by steps.validate with wrong_type; STAYS, held back: a step asks to see it again later\n",
        "6 (id m-5): was refused by steps.validate with wrong_type; is with history, broadcast\n",
        "replayed 3 letter(s)\n1 of them were dropped by a step, and reached no sink\n",
    ] {
        assert!(out.contains(line), "no {line} in\n{out}");
    }
    assert!(err.contains(&format!("3 letter(s) stay on {}", rig.queue.dead())), "{err}");
    // What the table refused, nobody has heard.
    assert_eq!(rig.broadcast().await, [commanding("none").into_bytes(), strange(5).into_bytes()]);
    assert_eq!(ids(&rig).await, ["u", "user_5"]);
    let after = listed(rig.folder.path(), &[]);
    assert_eq!(after.iter().map(|letter| letter["id"].as_str().unwrap()).collect::<Vec<_>>(), ["m-1", "m-3", "m-4"]);
    assert_eq!((&after[0]["letter"], &after[0]["attempts"]), (&before[1]["letter"], &before[1]["attempts"]));
}

#[tokio::test]
async fn a_step_whose_failure_stops_the_line_stops_the_replay_and_what_comes_behind_is_not_touched() {
    let rig = sabotaged("on_error = \"halt\"\n").await;
    put(&rig.queue, &[strange(0), commanding("trap"), strange(2)], None).await;
    let (code, out, err) = told(&dlq(rig.folder.path(), &["replay", "--from", "sabotage", "--yes"]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("STAYS, refused by steps.sabotage with trap; which stops the replay\n"), "{out}");
    assert!(err.contains("on_error = \"halt\"") && err.contains("1 letter(s) were replayed before"), "{err}");
    assert_eq!((ids(&rig).await, rig.broadcast().await.len()), (vec!["user_0".to_owned()], 1));
    assert_eq!(numbers(&rig.queue, &rig.queue.dead()).await, [1, 2]);
}

#[tokio::test]
async fn a_row_whose_cipher_is_skipped_is_refused_and_stays() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps += &step("last", &plugins(), "saboteur-validator");
    rig.pipeline.sinks = rig.pipeline.sinks.replacen("[\"reshape\", \"seal\"]", "[\"reshape\", \"seal\", \"last\"]", 1);
    rig.pipeline.write(rig.folder.path()).unwrap();
    put(&rig.queue, &[strange(0)], None).await;
    let (code, out, err) = told(&dlq(rig.folder.path(), &["replay", "--from", "last", "--yes"]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.starts_with("SKIPPED: steps.validate, steps.reshape, steps.seal."), "{out}");
    assert!(out.contains("STAYS, refused by sinks.history with ") && out.contains("and to history alone"), "{out}");
    assert_eq!((rig.rows().await.len(), rig.broadcast().await.len(), rig.queue.depth(&rig.queue.dead()).await), (0, 0, 1));
}

#[tokio::test]
async fn a_cipher_whose_rows_the_file_could_not_open_is_refused_before_anything_is_sent() {
    let rig = Rig::shipped().await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    put(&rig.queue, &[strange(0)], None).await;
    let replay =
        |component| dlq(rig.folder.path(), &["replay", "--from", "reshape", "--with", &with("seal", component), "--yes"]);
    let (code, out, err) = told(&replay("saboteur-cipher"));
    assert_eq!(code, Some(78), "{out}{err}");
    assert!(err.contains("would not open what the component of --with seals") && err.contains("steps.seal"), "{err}");
    assert_eq!((rig.rows().await.len(), rig.queue.depth(&rig.queue.dead()).await), (0, 1));
    assert_eq!(told(&replay("aes-256-gcm")).0, Some(0), "the file's own opens what it sealed");
    assert_eq!(ids(&rig).await, ["user_0"]);
}

#[tokio::test]
async fn a_sink_that_is_down_is_named_before_anything_is_sent_and_a_second_replay_stores_each_row_once() {
    const COUNT: usize = 5;
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let mut rig = Rig::shipped().await;
    rig.store_into(&server).await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    put(&rig.queue, &(0..COUNT).map(strange).collect::<Vec<_>>(), None).await;
    server.service.stop().unwrap();
    let mended = with("validate", "saboteur-validator");
    let (code, out, err) = told(&dlq(rig.folder.path(), &["replay", "--with", &mended, "--yes"]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("nothing was replayed: sinks.history: "), "{err}");
    assert_eq!((rig.broadcast().await.len(), rig.queue.depth(&rig.queue.dead()).await), (0, COUNT as u64));

    server.service.start().unwrap();
    said(rig.folder.path(), &["replay", "--with", &mended, "--yes"]);
    assert_eq!((ids(&rig).await.len(), rig.broadcast().await.len()), (COUNT, COUNT));
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
}

#[tokio::test]
async fn a_sink_that_fails_half_way_leaves_its_letters_and_a_second_replay_stores_no_row_twice() {
    const COUNT: usize = 5;
    let server = Redis::start().unwrap();
    let mut rig = Rig::shipped().await;
    rig.broadcast_through(&server).await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    put(&rig.queue, &(0..COUNT).map(strange).collect::<Vec<_>>(), None).await;
    let mut redis = rig.key.connection();
    let mut set_memory = async |bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query_async::<()>(&mut redis).await.unwrap();
    };
    // It answers, and takes nothing more.
    set_memory("1").await;
    let mended = with("validate", "saboteur-validator");
    let (code, out, err) = told(&dlq(rig.folder.path(), &["replay", "--with", &mended, "--yes"]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("sinks.broadcast: ") && err.contains("0 letter(s) were replayed before"), "{err}");
    assert!(out.contains("STAYS, not every sink has taken it; history has it\n"), "{out}");
    assert_eq!((rig.rows().await.len(), rig.queue.depth(&rig.queue.dead()).await), (COUNT, COUNT as u64));

    set_memory("0").await;
    let out = said(rig.folder.path(), &["replay", "--with", &mended, "--yes"]);
    assert!(out.contains("5 row(s) were there already, and were not stored twice\n"), "{out}");
    assert_eq!((ids(&rig).await.len(), rig.broadcast().await.len()), (COUNT, COUNT));
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
}

#[tokio::test]
async fn a_letter_of_a_lane_goes_to_that_sink_alone_and_a_step_of_several_lanes_wants_one_named() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps += &step("both", &plugins(), "saboteur-validator");
    let lanes = [
        ("[\"reshape\", \"seal\"]", "[\"both\", \"reshape\", \"seal\"]"),
        ("[sinks.broadcast]\n", "[sinks.broadcast]\nthrough = [\"both\"]\n"),
    ];
    for (there, instead) in lanes {
        rig.pipeline.sinks = rig.pipeline.sinks.replacen(there, instead, 1);
    }
    rig.pipeline.write(rig.folder.path()).unwrap();
    let (folder, mended) = (rig.folder.path(), with("validate", "saboteur-validator"));
    put(&rig.queue, &[strange(0)], Some("history")).await;
    let out = said(folder, &["replay", "--with", &mended, "--yes"]);
    assert!(out.contains("and to history alone") && out.contains("; is with history\n"), "{out}");
    assert_eq!((ids(&rig).await, rig.broadcast().await.len()), (vec!["user_0".to_owned()], 0), "nobody hears it twice");

    put(&rig.queue, &[strange(0), strange(1)], None).await;
    let (code, _, err) = told(&dlq(folder, &["replay", "--from", "both", "--yes"]));
    assert!(code == Some(2) && err.contains("stands in the lanes of broadcast, history: choose one with --lane"), "{err}");
    let (code, _, err) = told(&dlq(folder, &["replay", "--from", "both", "--lane", "broadcast", "--all-lanes", "--yes"]));
    assert_eq!(code, Some(2), "{err}");
    said(folder, &["replay", "--from", "both", "--lane", "broadcast", "--id", "m-1", "--yes"]);
    assert_eq!((ids(&rig).await.len(), rig.broadcast().await), (1, vec![strange(1).into_bytes()]));
    said(folder, &["replay", "--lane", "broadcast", "--with", &mended, "--yes"]);
    assert_eq!((ids(&rig).await.len(), rig.broadcast().await.len()), (1, 2));
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
}

#[tokio::test]
async fn an_id_in_the_body_counts_although_every_step_before_the_fan_out_is_skipped() {
    let rig = Rig::shipped().await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    let body = strange(0).replace("\"p\"", r#"{"message_id":"in-the-body"}"#);
    let letters = [0, 1].map(|number| {
        let letter = letter(number, &body, None);
        Letter { message: Message { id: None, ..letter.message }, ..letter }
    });
    mailbox(&rig.queue).put(&SideQueue::Dead, &letters).await.unwrap();
    let out = said(rig.folder.path(), &["replay", "--from", "reshape", "--yes"]);
    assert!(out.contains("2 of them were refused before the fan-out, so that no sink has them"), "{out}");
    assert!(out.contains("replayed 2 letter(s)\n1 row(s) were there already"), "{out}");
    assert_eq!((ids(&rig).await.len(), rig.broadcast().await.len(), rig.queue.depth(&rig.queue.dead()).await), (1, 0, 0));
}

#[tokio::test]
async fn in_the_embedded_profile_the_row_is_stored_beside_the_host_and_the_live_view_is_out_of_reach() {
    const EMBEDDED: [&str; 2] = ["--profile", "embedded"];
    // A saboteur takes no settings of the shipped validator.
    let bare = |shipped: String| shipped.replace("settings = { content_max_bytes = 65536, strict_publisher = true }\n", "");
    let mut embedded = Embedded::start_with(bare);
    for number in 0..2 {
        embedded.post("/messages", &[("message-id", &format!("m-{number}"))], &strange(number));
    }
    embedded.settled(2);
    let folder = embedded.folder.path().to_owned();
    let mended = with("validate", "saboteur-validator");
    let replay = |arguments: &[&str]| dlq(&folder, &[&["replay", "--yes", "--with", &mended], arguments, &EMBEDDED].concat());
    let (code, _, err) = told(&replay(&[]));
    assert_eq!(code, Some(2), "{err}");
    for expected in
        ["nothing was replayed: sinks.broadcast lives inside the host", "--lane SINK", "pipeline.toml", "without --with"]
    {
        assert!(err.contains(expected), "no {expected} in\n{err}");
    }
    assert_eq!(listed(&folder, &EMBEDDED).len(), 2);

    let (code, out, err) = told(&replay(&["--lane", "history"]));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("replayed 2 letter(s)\n"), "{out}");
    let rows: Vec<Option<String>> = embedded.rows().await.into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(rows, ["m-0", "m-1"].map(|id| Some(id.to_owned())));
    assert_eq!((embedded.recent().len(), listed(&folder, &EMBEDDED).len()), (0, 0));
    assert!(embedded.host.terminate().unwrap().success());
    assert!(!embedded.host.log().contains(SECRET), "content is in the log");
}

#[tokio::test]
async fn a_replay_that_is_killed_loses_nothing_and_a_second_one_stores_each_row_once() {
    const COUNT: usize = 3000;
    /// The shipped `batch.max_messages`.
    const BATCH: usize = 128;
    let rig = Rig::shipped().await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    put(&rig.queue, &(0..COUNT).map(strange).collect::<Vec<_>>(), None).await;
    let mended = with("validate", "saboteur-validator");
    let arguments = ["dlq", "replay", "--with", &mended, "--yes"];
    let mut command = Command::new(program());
    command.args(arguments).current_dir(rig.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut replay = command.spawn().unwrap();
    eventually("some rows", async || row_count(&rig.pool).await > 0).await;
    replay.kill().unwrap();
    replay.wait().unwrap();
    let stored = row_count(&rig.pool).await;
    assert!(stored < COUNT, "it was not killed half-way");
    // The broker takes back what the dead process held.
    eventually("the rest to lie there", async || {
        rig.queue.depth(&rig.queue.dead()).await + row_count(&rig.pool).await as u64 >= COUNT as u64
    })
    .await;

    said(rig.folder.path(), &["replay", "--with", &mended, "--yes"]);
    let stored: BTreeSet<String> = rig.rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!((stored.len(), row_count(&rig.pool).await), (COUNT, COUNT), "each row once");
    let heard = rig.broadcast().await;
    assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), COUNT);
    assert!(heard.len() <= COUNT + BATCH, "{} were repeated", heard.len() - COUNT);
    assert_eq!(rig.queue.depth(&rig.queue.dead()).await, 0);
}
