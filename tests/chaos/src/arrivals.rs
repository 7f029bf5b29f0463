//! When the list of the broadcast grew: what is there twice is held against the faults of the time in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis::Commands;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::{Failure, Result};

use crate::world::KEY;

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(50);
/// Longest wait for a Redis that is down or does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The looking thread.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Arrivals>,
}

impl Watcher {
    /// Starts to look, directly and not by the wire.
    pub(crate) fn start(url: String, clock: Deadline) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || watch(&url, clock, &stopped)) }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Arrivals> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("looking at the list panicked"))
    }
}

fn watch(url: &str, clock: Deadline, stop: &AtomicBool) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let mut line: Option<redis::Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let asked = clock.elapsed();
        match line.as_mut().map(|line| line.llen::<_, usize>(KEY)) {
            Some(Ok(length)) => arrivals.looks.push(Look { asked, answered: clock.elapsed(), length }),
            // Down, or a new one: the next look tells.
            _ => line = connect(url).ok(),
        }
        thread::sleep(EVERY);
    }
    arrivals
}

fn connect(url: &str) -> redis::RedisResult<redis::Connection> {
    let line = redis::Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
    line.set_read_timeout(Some(PATIENCE))?;
    Ok(line)
}

#[derive(Clone, Copy, Debug)]
struct Look {
    asked: Duration,
    answered: Duration,
    length: usize,
}

/// How long the list was, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    looks: Vec<Look>,
}

impl Arrivals {
    /// The last moment at which an entry was not there yet.
    pub(crate) fn not_before(&self, index: usize) -> Duration {
        let looks = self.looks.iter().take_while(|look| look.length <= index);
        looks.last().map_or(Duration::ZERO, |look| look.asked)
    }

    /// The first moment at which an entry was there.
    pub(crate) fn not_after(&self, index: usize) -> Duration {
        self.looks.iter().find(|look| look.length > index).map_or(Duration::MAX, |look| look.answered)
    }

    /// For tests: at each of these seconds the list had this length.
    #[cfg(test)]
    pub(crate) fn of(looks: &[(u64, usize)]) -> Self {
        let at = Duration::from_secs;
        let looks = looks.iter().map(|(second, length)| Look { asked: at(*second), answered: at(*second), length: *length });
        Self { looks: looks.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_came_between_the_look_that_missed_it_and_the_look_that_saw_it() {
        let arrivals = Arrivals::of(&[(1, 0), (2, 3), (5, 4)]);
        let came = |index| (arrivals.not_before(index).as_secs(), arrivals.not_after(index).as_secs());
        assert_eq!((came(0), came(2), came(3)), ((1, 2), (1, 2), (2, 5)));
        assert_eq!(arrivals.not_after(4), Duration::MAX);
    }
}
