//! Dead letters in the journal, beside a host that runs.

use super::{dlq, listed, said};
use crate::broker::eventually;
use crate::cases::embedded::Embedded;

const EMBEDDED: [&str; 2] = ["--profile", "embedded"];

fn with<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &EMBEDDED].concat()
}

fn long(number: usize) -> String {
    format!(r#"{{"id":"user_{number}","sub_id":"s","message":{{"content":"{}"}}}}"#, "x".repeat(100))
}

/// A file whose validator refuses contents of more than 50 bytes.
fn strict(shipped: String) -> String {
    shipped.replace("content_max_bytes = 65536", "content_max_bytes = 50")
}

fn mend(embedded: &mut Embedded) {
    assert!(embedded.host.terminate().unwrap().success());
    let file = embedded.folder.path().join("pipeline.toml");
    let mended = std::fs::read_to_string(&file).unwrap().replace("content_max_bytes = 50", "content_max_bytes = 65536");
    std::fs::write(&file, mended).unwrap();
    embedded.host.start_again().unwrap();
}

#[tokio::test]
async fn letters_are_shown_discarded_and_sent_again_while_the_host_runs() {
    let mut embedded = Embedded::start_with(strict);
    for number in 0..4 {
        embedded.post("/messages", &[("message-id", &format!("m-{number}")), ("x-tenant", "acme")], &long(number));
    }
    embedded.settled(4);
    let folder = embedded.folder.path().to_owned();
    let ids = |letters: Vec<serde_json::Value>| {
        letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(listed(&folder, &with(&["--code", "too_large"]))), ["m-0", "m-1", "m-2", "m-3"]);
    let list = said(&folder, &with(&["list"]));
    assert!(list.contains("steps.validate") && !list.contains("xxxx"), "{list}");
    assert!(!said(&folder, &with(&["show", "1"])).contains("xxxx"));
    assert!(said(&folder, &with(&["show", "1", "--body"])).contains("xxxx"));
    assert_eq!(said(&folder, &with(&["export"])).lines().count(), 4);
    assert_eq!(said(&folder, &with(&["discard", "--id", "m-1", "--yes"])), "discarded 1 letter(s)\n");

    said(&folder, &with(&["replay", "--id", "m-2", "--yes"]));
    embedded.settled(5);
    let again = listed(&folder, &with(&[]));
    assert_eq!(again.last().unwrap()["attempts"], 2, "{again:?}");
    assert_eq!(ids(again), ["m-0", "m-3", "m-2"]);

    mend(&mut embedded);
    let dry = said(&folder, &with(&["replay", "--dry-run"]));
    assert!(dry.contains("  3 would reach broadcast, history\n"), "{dry}");
    assert_eq!(listed(&folder, &with(&[])).len(), 3, "a dry run sends nothing");
    said(&folder, &with(&["replay", "--yes"]));
    embedded.settled(3);
    let rows: Vec<Option<String>> = embedded.rows().await.into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(rows, ["m-0", "m-3", "m-2"].map(|id| Some(id.to_owned())));
    assert_eq!(listed(&folder, &with(&[])).len(), 0);
    assert_eq!(said(&folder, &with(&["replay", "--yes"])), "no letter matches\n");
    assert!(embedded.host.terminate().unwrap().success());
    assert!(!embedded.host.log().contains("xxxx"), "content is in the log");
}

#[tokio::test]
async fn a_letter_of_a_lane_reaches_that_sink_alone_while_the_host_runs() {
    // The limit stands in the lane of the history, and the broadcast goes on.
    let lane = |shipped: String| {
        let shipped = shipped.replacen("through = [\"validate\"]", "through = []", 1);
        strict(shipped).replacen("through = [\"reshape\", \"seal\"]", "through = [\"validate\", \"reshape\", \"seal\"]", 1)
    };
    let mut embedded = Embedded::start_with(without_tests(lane));
    embedded.post("/messages", &[("message-id", "m-0")], &long(0));
    embedded.settled(1);
    assert_eq!(embedded.recent().len(), 1);
    let folder = embedded.folder.path().to_owned();
    assert_eq!(listed(&folder, &with(&[]))[0]["lane"], "history");
    mend(&mut embedded);
    let told = said(&folder, &with(&["replay", "--yes"]));
    assert!(told.contains("message_broadcast_queue.parked.history"), "{told}");
    let stored = folder.join("data/messages.db");
    eventually("the row", async || stored.exists() && embedded.rows().await.len() == 1).await;
    assert_eq!(embedded.recent().len(), 0, "nobody hears it twice");
    assert!(embedded.host.terminate().unwrap().success());
}

/// The shipped cases are about the shipped order of steps.
fn without_tests(change: impl FnOnce(String) -> String) -> impl FnOnce(String) -> String {
    move |text| {
        let mut kept = String::new();
        let mut in_case = false;
        for line in text.lines() {
            in_case = if line.starts_with('[') {
                line.starts_with("[[test]]") || (in_case && line.starts_with("[test"))
            } else {
                in_case
            };
            if !in_case {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        change(kept)
    }
}

#[tokio::test]
async fn without_a_journal_it_is_said_where_one_was_expected() {
    let mut embedded = Embedded::start_with(|shipped| shipped);
    assert!(embedded.host.terminate().unwrap().success());
    std::fs::remove_dir_all(embedded.folder.path().join("data")).unwrap();
    let failed = dlq(embedded.folder.path(), &with(&["list"]));
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("message_broadcast_queue.journal.db"), "{failed:?}");
}
