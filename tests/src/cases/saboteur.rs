//! Components that misbehave on command, at each place of a pipeline: exactly the messages that they touched fall out, and the host
//! serves on.

use std::collections::BTreeSet;

use tidegate::source::header;
use tidegate_harness::pipeline::step;

use crate::broker::Taken;
use crate::host::{Rig, lane, plugins};
use crate::store::row_count;

/// Short enough to wait for, long enough for a busy machine.
const LIMITS: &str = "limits = { timeout = \"500ms\" }\n";
/// What must never be seen in a log.
const CANARY: &str = "c4n4ry-of-content";

/// What every saboteur can be told that costs the message.
const DEADLY: [&str; 6] = ["trap", "panic", "panic-with-content", "spin", "hoard", "overflow"];

fn message(number: usize, content: &str, command: Option<&str>) -> String {
    let sabotage = command.map(|command| format!(r#","sabotage":"{command}""#)).unwrap_or_default();
    format!(r#"{{"id":"u-{number}","sub_id":"{CANARY}","message":{{"content":"{content}"}}{sabotage}}}"#)
}

/// Good messages with one bad in the midst of each dozen, so that they share batches.
fn mixed(bad: impl IntoIterator<Item = String>) -> Vec<String> {
    let good = |group: usize| (0..11).map(move |number| message(group * 100 + number, "good", None));
    bad.into_iter()
        .enumerate()
        .flat_map(|(group, bad)| {
            let mut messages: Vec<String> = good(group).collect();
            messages.insert(group % 11, bad);
            messages
        })
        .collect()
}

fn bodies(letters: &[Taken]) -> BTreeSet<String> {
    letters.iter().map(|letter| String::from_utf8(letter.body.clone()).unwrap()).collect()
}

/// Publishes everything, and what would make up for another in the same call only after the rest: an item too many beside an item too
/// few is an answer of the right length, which no host can tell from a right one.
async fn publish_apart(rig: &mut Rig, sent: &[String]) {
    let (many, rest): (Vec<&String>, Vec<&String>) = sent.iter().partition(|body| body.contains("packed-many"));
    rig.queue.publish(&rest).await;
    rig.start();
    rig.settled(rest.len() as u64);
    rig.queue.publish(&many).await;
}

/// Every letter says who refused it, in headers of a bounded length without control characters.
fn judge(letters: &[Taken], stage: &str) {
    for letter in letters {
        assert_eq!(letter.header(header::STAGE).as_deref(), Some(stage));
        for name in [header::CODE, header::REASON, header::POINTER] {
            let Some(value) = letter.header(name) else { continue };
            assert!(value.len() <= 2048 && !value.chars().any(char::is_control), "{name}: {value:?}");
        }
    }
}

async fn serves_on(rig: &mut Rig, settled: u64, before: usize) {
    let good: Vec<String> = (0..100).map(|number| message(10_000 + number, "afterwards", None)).collect();
    rig.queue.publish(&good).await;
    rig.settled(settled + 100);
    assert_eq!(rig.key.length().await, before + 100);
    let log = rig.host().log();
    assert!(!log.contains(CANARY), "content is in the log");
    rig.stop().await;
}

#[tokio::test]
async fn a_validator_that_misbehaves_costs_the_messages_that_it_touched() {
    let nonsense = ["reject", "long-reason", "control-reason", "index-past-end", "index-twice", "index-descending"];
    let deadly: Vec<String> =
        DEADLY.into_iter().chain(nonsense).enumerate().map(|(number, command)| message(number, "bad", Some(command))).collect();
    let harmless = ["flood", "bloat", "unheard-of"].map(|command| message(9000, "harmless", Some(command)));
    let sent = mixed(deadly.iter().cloned().chain(harmless));

    let mut rig = Rig::shipped().await;
    rig.pipeline.head = rig.pipeline.head.replace("[\"validate\"]", "[\"validate\", \"sabotage\"]");
    rig.pipeline.steps += &(step("sabotage", &plugins(), "saboteur-validator") + LIMITS);
    rig.queue.publish(&sent).await;
    rig.start();
    let ledger = rig.settled(sent.len() as u64);

    let letters = rig.dead(deadly.len()).await;
    assert_eq!(bodies(&letters), deadly.iter().cloned().collect());
    judge(&letters, "steps.sabotage");
    let good: Vec<Vec<u8>> = sent.iter().filter(|body| !deadly.contains(body)).map(|body| body.clone().into_bytes()).collect();
    assert_eq!(rig.broadcast().await, good);
    assert_eq!(row_count(&rig.pool).await, good.len());
    assert_eq!(lane(&ledger, "history", "dead_lettered"), deadly.len() as u64);
    serves_on(&mut rig, sent.len() as u64, good.len()).await;
}

#[tokio::test]
async fn a_transformer_that_misbehaves_costs_the_messages_that_it_touched() {
    let nonsense = [
        "reject",
        "long-reason",
        "control-reason",
        "split-flood",
        "retry-late",
        "index-past-end",
        "index-descending",
        "verdict-past-end",
        "verdict-twice",
        "verdict-and-replaced",
        "packed-few",
        "packed-short",
        "packed-past-end",
        "packed-descending",
        "packed-many",
    ];
    let deadly: Vec<String> =
        DEADLY.into_iter().chain(nonsense).enumerate().map(|(number, command)| message(number, "bad", Some(command))).collect();
    let known = ["drop", "split-none", "replace", "split", "retry-once", "flood", "not-json", "empty"];
    let known: Vec<String> = known.into_iter().map(|command| message(9000, "known", Some(command))).collect();
    let sent = mixed(deadly.iter().chain(&known).cloned());

    let mut rig = Rig::shipped().await;
    rig.pipeline.head = "through = [\"sabotage\"]\n".to_owned();
    rig.pipeline.steps = step("sabotage", &plugins(), "saboteur-transformer") + LIMITS;
    let history = rig.pipeline.sinks.find("[sinks.history]").unwrap();
    rig.pipeline.sinks.truncate(history);
    publish_apart(&mut rig, &sent).await;
    let ledger = rig.settled(sent.len() as u64);

    let letters = rig.dead(deadly.len()).await;
    assert_eq!(bodies(&letters), deadly.iter().cloned().collect());
    judge(&letters, "steps.sabotage");
    let becomes = |body: &String| -> Vec<Vec<u8>> {
        let part = |name: &str| format!(r#"{{"sabotaged":"{name}"}}"#).into_bytes();
        match known.iter().position(|known| known == body) {
            Some(0 | 1) => Vec::new(),
            Some(2) => vec![part("replaced")],
            Some(3) => vec![part("one"), part("two"), part("three")],
            Some(6) => vec![b"\xff not json".to_vec()],
            Some(7) => vec![Vec::new()],
            _ if deadly.contains(body) => Vec::new(),
            _ => vec![body.clone().into_bytes()],
        }
    };
    let expected: Vec<Vec<u8>> = sent.iter().flat_map(becomes).collect();
    assert_eq!(rig.broadcast().await, expected);
    assert_eq!(lane(&ledger, "broadcast", "dropped"), 2);
    assert_eq!(lane(&ledger, "broadcast", "split"), 2);
    serves_on(&mut rig, sent.len() as u64, expected.len()).await;
}

#[tokio::test]
async fn a_cipher_that_misbehaves_costs_the_rows_that_it_touched_and_no_broadcast() {
    let nonsense = [
        "error",
        "long-reason",
        "expose",
        "nothing",
        "clear",
        "packed-few",
        "packed-short",
        "packed-past-end",
        "packed-descending",
        "packed-many",
    ];
    let told = |command: &str| format!("sabotage:{command}");
    let deadly: Vec<String> =
        DEADLY.into_iter().chain(nonsense).enumerate().map(|(number, command)| message(number, &told(command), None)).collect();
    let sent = mixed(deadly.iter().cloned());

    let mut rig = Rig::shipped().await;
    rig.pipeline.steps = rig.pipeline.steps.replace("aes-256-gcm.wasm\"\n", &format!("saboteur-cipher.wasm\"\n{LIMITS}"));
    publish_apart(&mut rig, &sent).await;
    let ledger = rig.settled(sent.len() as u64);

    let letters = rig.dead(deadly.len()).await;
    assert_eq!(bodies(&letters), deadly.iter().cloned().collect());
    judge(&letters, "steps.seal");
    let (last, first): (Vec<&String>, Vec<&String>) = sent.iter().partition(|body| body.contains("packed-many"));
    let published: Vec<Vec<u8>> = first.into_iter().chain(last).map(|body| body.clone().into_bytes()).collect();
    assert_eq!(rig.broadcast().await, published);
    let rows = rig.rows().await;
    assert_eq!(rows.len(), sent.len() - deadly.len());
    assert!(rows.iter().all(|row| row.is_encrypted && row.message_content.starts_with("tg1.saboteur.")));
    assert_eq!(lane(&ledger, "history", "dead_lettered"), deadly.len() as u64);
    assert_eq!(lane(&ledger, "broadcast", "delivered"), sent.len() as u64);
    serves_on(&mut rig, sent.len() as u64, sent.len()).await;
}
