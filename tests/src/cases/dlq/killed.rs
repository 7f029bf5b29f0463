//! A replay that dies half-way loses nothing, and what it doubled can be told by the letter's id.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use tidegate::source::header;

use super::{Kind, said, with_letters};
use crate::broker::{Taken, eventually};
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
