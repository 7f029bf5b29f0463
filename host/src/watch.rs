//! Files that change while the host runs.
//!
//! What counts is the content, compared by digest: names, times and events only say when to look. The system's events come from the
//! folders and not from the files, because a rename takes the watch of a file with it; a slow poll finds what no event told. A poll
//! reads what has another stamp than when it was read last, and everything now and then.

mod contents;
mod hints;
mod memory;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::contents::Contents;
use self::hints::Hints;
use self::memory::Memory;
use crate::lifecycle::{Tasks, blocking};

/// Files that never come to rest are told after this long all the same, or nobody would ever hear of them.
const UNREST: Duration = Duration::from_secs(5);

/// When files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long contents must have stayed the same before they are told.
    pub settle: Duration,
    /// How often they are compared without a hint.
    pub poll: Duration,
}

/// Watches files, in a task of its own that ends with it.
#[derive(Debug)]
pub struct Watch {
    follow: watch::Sender<Following>,
    told: watch::Receiver<u64>,
    _tasks: Tasks,
}

#[derive(Clone, Debug)]
struct Following {
    files: BTreeSet<PathBuf>,
    timing: Timing,
    /// What is known is forgotten where this differs.
    round: u64,
}

impl Watch {
    /// Watches these files. What they hold at first is told as a change too, since nobody knows what was read before.
    #[must_use]
    pub fn new(files: BTreeSet<PathBuf>, timing: Timing) -> Self {
        let watching = Watching::new(files.clone(), timing, Some(Hints::new(&files)));
        let (follow, following) = watch::channel(Following { files, timing, round: 0 });
        let (tell, told) = watch::channel(0);
        let mut tasks = Tasks::default();
        tasks.spawn("watch", watching.run(following, tell));
        Self { follow, told, _tasks: tasks }
    }

    /// Waits until the contents have changed and come to rest.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what was not waited for is told the next time.
    pub async fn changed(&mut self) {
        // The task ends with this value, and not before.
        drop(self.told.changed().await);
    }

    /// Watches these files from now on. What was not told yet is told still, and so is what a new one holds.
    pub fn follow(&self, files: BTreeSet<PathBuf>, timing: Timing) {
        self.follow.send_modify(|following| {
            *following = Following { files, timing, round: following.round };
        });
    }

    /// Tells what the files hold once more: somebody has read them on their own, and nobody knows which content that was.
    pub fn look_again(&self) {
        self.follow.send_modify(|following| following.round += 1);
    }
}

/// The work of the task.
#[derive(Debug)]
struct Watching {
    files: BTreeSet<PathBuf>,
    timing: Timing,
    /// What was told last; nothing is known of a file that is not in it.
    known: Contents,
    memory: Memory,
    round: u64,
    /// None where the system's events are left out.
    hints: Option<Hints>,
}

impl Watching {
    fn new(files: BTreeSet<PathBuf>, timing: Timing, hints: Option<Hints>) -> Self {
        Self { files, timing, known: Contents::default(), memory: Memory::default(), round: 0, hints }
    }

    async fn run(mut self, mut following: watch::Receiver<Following>, tell: watch::Sender<u64>) {
        loop {
            tokio::select! {
                biased;
                followed = following.changed() => {
                    if followed.is_err() {
                        return;
                    }
                    let next = following.borrow_and_update().clone();
                    self.follow(next);
                }
                () = self.changed() => tell.send_modify(|count| *count += 1),
            }
        }
    }

    /// Waits until the contents differ from those that are known and have come to rest. They are the known ones then.
    async fn changed(&mut self) {
        loop {
            let seen = self.read().await;
            if seen == self.known {
                self.hint().await;
            } else if let Some(settled) = self.settled(seen).await {
                self.known = settled;
                return;
            }
        }
    }

    /// The contents once they have come to rest; none when they are what they were.
    async fn settled(&mut self, mut seen: Contents) -> Option<Contents> {
        let deadline = Instant::now() + UNREST.max(self.timing.settle);
        loop {
            sleep(self.timing.settle).await;
            let now = self.read().await;
            if now == self.known {
                return None;
            }
            if now == seen || Instant::now() >= deadline {
                return Some(now);
            }
            seen = now;
        }
    }

    fn follow(&mut self, next: Following) {
        self.timing = next.timing;
        if mem::replace(&mut self.round, next.round) != next.round {
            self.known = Contents::default();
        }
        if next.files == self.files {
            return;
        }
        self.known = self.known.restricted(&next.files);
        if let Some(hints) = &mut self.hints {
            hints.follow(&next.files);
        }
        self.files = next.files;
    }

    async fn hint(&mut self) {
        let poll = sleep(self.timing.poll);
        match &mut self.hints {
            None => {
                poll.await;
                self.memory.poll();
            }
            Some(hints) => {
                // The folders may be others since the links were followed last.
                hints.follow(&self.files);
                tokio::select! {
                    () = hints.next() => self.memory.forget(),
                    () = poll => self.memory.poll(),
                }
            }
        }
    }

    async fn read(&mut self) -> Contents {
        let (files, mut memory) = (self.files.clone(), mem::take(&mut self.memory));
        let read = blocking(move || (Contents::read(&files, &mut memory), memory)).await;
        // A panic while reading would be a bug; the contents that are known say that nothing has changed.
        let Ok((contents, memory)) = read else { return self.known.clone() };
        self.memory = memory;
        contents
    }
}
