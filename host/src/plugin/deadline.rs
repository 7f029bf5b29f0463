//! Time limits of sandboxed calls: a ticker that counts, and deadlines in ticks.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How often the engine's clock advances: the precision of a deadline.
const TICK: Duration = Duration::from_millis(5);

/// Starts the clock. The thread ends within a tick of the engine's end; components and instances keep their engine alive.
pub(super) fn start_ticker(engine: &Engine) -> io::Result<JoinHandle<()>> {
    let engine = engine.weak();
    thread::Builder::new().name("plugin-clock".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    })
}

/// Ticks after which at least `timeout` has passed. One more than it takes, because the next tick may come at once.
pub(super) fn ticks(timeout: Duration) -> u64 {
    let ticks = timeout.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).map_or(u64::MAX / 2, |ticks| ticks.min(u64::MAX / 2) + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(5)), 2);
        assert_eq!(ticks(Duration::from_millis(6)), 3);
        assert!(ticks(Duration::MAX) > 1 << 62);
    }

    #[test]
    fn the_clock_ends_with_its_engine() {
        let engine = Engine::default();
        let ticker = start_ticker(&engine).unwrap();
        drop(engine);
        ticker.join().unwrap();
    }
}
