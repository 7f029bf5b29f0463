//! A replay that dies half-way loses nothing, and what it doubled can be told by the letter's id.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use tidegate::source::journal::Journal;
use tidegate::source::{Letter, Mailbox as _, SideQueue, header};

use super::{Kind, letter, said, with_letters};
use crate::broker::{Taken, eventually};
use crate::cases::embedded::Embedded;
use crate::host::{Rig, program};

/// Letters that are under way together.
const TOGETHER: usize = 16;

/// How often each letter's id is there.
fn letters(taken: &[Taken]) -> BTreeMap<String, usize> {
    let mut letters = BTreeMap::new();
    taken.iter().for_each(|taken| *letters.entry(taken.header(header::LETTER).expect("it names its letter")).or_default() += 1);
    letters
}

async fn nothing_is_lost(kind: Kind) {
    const COUNT: usize = 3000;
    let rig = Rig::on(with_letters(kind, COUNT).await).await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    let (main, dead) = (rig.queue.name.clone(), rig.queue.dead());
    let mut command = Command::new(program());
    command.args(["dlq", "replay", "--all-lanes", "--yes"]).current_dir(rig.folder.path());
    let mut replay = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("some letters to be replayed", async || rig.queue.depth(&main).await >= 100).await;
    replay.kill().unwrap();
    replay.wait().unwrap();
    eventually("the broker to take back the rest", async || {
        rig.queue.depth(&main).await + rig.queue.depth(&dead).await >= COUNT as u64
    })
    .await;

    let moved = rig.queue.depth(&main).await;
    assert!(moved < COUNT as u64, "it was not killed half-way");
    assert!(moved + rig.queue.depth(&dead).await <= (COUNT + TOGETHER) as u64, "more than {TOGETHER} are on both queues");
    let lying = rig.queue.take_all(&dead).await;
    let order: Vec<&str> = lying.iter().map(|taken| taken.properties.message_id().as_ref().unwrap().as_str()).collect();
    // A quorum queue puts what a dead consumer held behind what was given back to it before.
    let in_order = order.is_sorted_by_key(|id| id.trim_start_matches("m-").parse::<usize>().unwrap());
    assert!(in_order || matches!(kind, Kind::Quorum));
    rig.queue.publish_by("", &dead, lying.into_iter().map(|taken| (taken.body, taken.properties))).await;
    // Once more, to its end.
    said(rig.folder.path(), &["replay", "--all-lanes", "--yes"]);
    assert_eq!(rig.queue.depth(&dead).await, 0);
    let arrived = rig.queue.take_all(&main).await;
    let letters = letters(&arrived);
    assert_eq!(letters.len(), COUNT, "every letter arrived");
    let doubled: BTreeSet<&String> = letters.iter().filter(|(_, times)| **times > 1).map(|(letter, _)| letter).collect();
    assert!(doubled.len() <= TOGETHER && arrived.len() == COUNT + doubled.len(), "{doubled:?}");
    assert!(arrived.iter().all(|taken| taken.header(header::REPLAYED_FROM).as_ref() == Some(&dead)));
}

#[tokio::test]
async fn a_replay_that_is_killed_loses_no_letter_of_a_quorum_queue() {
    nothing_is_lost(Kind::Quorum).await;
}

#[tokio::test]
async fn a_replay_that_is_killed_loses_no_letter_of_a_classic_queue() {
    nothing_is_lost(Kind::Classic).await;
}

#[tokio::test]
async fn a_replay_of_the_journal_that_is_killed_has_moved_each_letter_once_or_not_at_all() {
    const COUNT: u64 = 40_000;
    let mut embedded = Embedded::start_with(|shipped| shipped);
    embedded.host.terminate().unwrap();
    let folder = embedded.folder.path();
    let journal = Journal::visit(&folder.join("data"), "message_broadcast_queue").await.unwrap();
    let letters: Vec<Letter> = (0..usize::try_from(COUNT).unwrap()).map(letter).collect();
    journal.mailbox().put(&SideQueue::Dead, &letters).await.unwrap();

    let (main, dead) = ("message_broadcast_queue", "message_broadcast_queue.dead");
    let mut command = Command::new(program());
    command.args(["dlq", "replay", "--profile", "embedded", "--all-lanes", "--yes"]).current_dir(folder);
    let mut replay = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("some letters to be replayed", async || journal.count(main).await.unwrap() > 0).await;
    replay.kill().unwrap();
    replay.wait().unwrap();
    let moved = journal.count(main).await.unwrap();
    assert!(moved < COUNT, "it was not killed half-way");
    assert_eq!(moved + journal.count(dead).await.unwrap(), COUNT);

    said(folder, &["replay", "--profile", "embedded", "--all-lanes", "--yes"]);
    assert_eq!((journal.count(main).await.unwrap(), journal.count(dead).await.unwrap()), (COUNT, 0));
    let stored = journal.read(main, 0, usize::MAX, usize::MAX).await.unwrap();
    let ids: Vec<String> = stored.iter().map(|stored| stored.message.label()).collect();
    assert!(ids.into_iter().eq((0..COUNT).map(|number| format!("m-{number}"))), "each once, in order");
}
