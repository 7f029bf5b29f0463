//! Who is on a generation: how many messages began on it and have not left it, and how long its first batches waited.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::generation::Generation;
use super::reload::Pause;

/// A batch's place on the generation that it began on. It is shared by the lanes that the batch goes to; when the last of them has taken
/// it through its steps, the messages have left the generation.
pub(super) struct Aboard {
    generation: Arc<Generation>,
    messages: u64,
}

impl Aboard {
    /// Boards.
    #[must_use]
    pub(super) fn new(generation: Arc<Generation>, messages: usize) -> Self {
        let messages = messages as u64;
        generation.meter.began.fetch_add(messages, Ordering::SeqCst);
        Self { generation, messages }
    }

    /// What it is on.
    #[must_use]
    pub(super) fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        let meter = &self.generation.meter;
        meter.left.fetch_add(self.messages, Ordering::SeqCst);
        meter.moved.notify_waiters();
    }
}

/// What a generation counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    began: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
    moved: Notify,
    /// How many first batches are measured.
    asked: AtomicUsize,
    /// How many more of them.
    wanted: AtomicUsize,
    firsts: Mutex<Vec<Duration>>,
}

/// How many messages a generation took, and how many of them it refused or failed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Messages that began on it.
    pub(super) began: u64,
    /// Messages that a step rejected, or failed on.
    pub(super) refused: u64,
}

impl Tally {
    /// The refused share in percent; zero for a generation that took nothing.
    #[must_use]
    pub(super) fn percent(self) -> f64 {
        if self.began == 0 { 0.0 } else { 100.0 * self.refused as f64 / self.began as f64 }
    }
}

impl Meter {
    /// Counts messages that a step refused or failed on.
    pub(super) fn refuse(&self, messages: usize) {
        self.refused.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub(super) fn tally(&self) -> Tally {
        Tally { began: self.began.load(Ordering::SeqCst), refused: self.refused.load(Ordering::Relaxed) }
    }

    /// How many messages are on the generation.
    #[must_use]
    pub(super) fn aboard(&self) -> u64 {
        // In this order: a batch that boards in between must not make it look empty.
        let left = self.left.load(Ordering::SeqCst);
        self.began.load(Ordering::SeqCst).saturating_sub(left)
    }

    /// Waits until nobody is on the generation; false when the time was up first.
    pub(super) async fn empty(&self, deadline: Instant) -> bool {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Before looking, or a notice in between would be missed.
            moved.as_mut().enable();
            if self.aboard() == 0 {
                return true;
            }
            if timeout_at(deadline, moved).await.is_err() {
                return self.aboard() == 0;
            }
        }
    }

    /// Asks to measure the next so many batches.
    pub(super) fn watch(&self, batches: usize) {
        self.asked.store(batches, Ordering::Relaxed);
        self.wanted.store(batches, Ordering::Relaxed);
    }

    /// The moment at which a batch was ready, where it is one that is measured.
    #[must_use]
    pub(super) fn ready(&self) -> Option<Instant> {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let less = |wanted: usize| wanted.checked_sub(1);
        self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Instant::now())
    }

    /// Notes that a measured batch is in its first step now.
    pub(super) fn begun(&self, ready: Option<Instant>) {
        if let Some(ready) = ready {
            self.firsts.lock().unwrap_or_else(PoisonError::into_inner).push(ready.elapsed());
            self.moved.notify_waiters();
        }
    }

    /// How long the measured batches waited; none when there were none.
    #[must_use]
    pub(super) fn pause(&self) -> Option<Pause> {
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        firsts.sort_unstable();
        let at = |percent: usize| {
            let index = (firsts.len() * percent).div_ceil(100).max(1) - 1;
            firsts.get(index).map_or(0, |pause| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX))
        };
        let pause = Pause { workers: firsts.len(), p50_micros: at(50), p99_micros: at(99), max_micros: at(100) };
        (!firsts.is_empty()).then_some(pause)
    }

    /// Waits until as many batches as asked for have been measured.
    pub(super) async fn measured(&self) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.firsts.lock().unwrap_or_else(PoisonError::into_inner).len() >= self.asked.load(Ordering::Relaxed) {
                return;
            }
            moved.await;
        }
    }
}
