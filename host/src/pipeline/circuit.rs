//! A sink that has just failed is left alone for a while: each attempt at a server that hangs costs its whole timeout.

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Whether a sink may be tried. Open after a failure, for longer with each; closed again by the first success.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    backoff: Backoff,
    open_until: Option<Instant>,
}

impl Circuit {
    /// Whether an attempt would come too early.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some_and(|until| until > Instant::now())
    }

    /// When the sink may be tried again.
    pub(super) fn next(&self) -> Instant {
        self.open_until.unwrap_or_else(Instant::now)
    }

    /// Notes an attempt that failed.
    pub(super) fn fail(&mut self) {
        self.open_until = Some(Instant::now() + self.backoff.pause());
    }

    /// Notes an attempt that went well, or a sink that is another one now.
    pub(super) fn close(&mut self) {
        self.backoff.reset();
        self.open_until = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_opens_with_a_failure_lets_a_probe_through_and_closes_with_a_success() {
        let mut circuit = Circuit::default();
        assert!(!circuit.is_open());
        for _ in 0..3 {
            circuit.fail();
            assert!(circuit.is_open() && circuit.next() - Instant::now() <= Duration::from_secs(5));
            tokio::time::sleep_until(circuit.next()).await;
            assert!(!circuit.is_open(), "a probe may go");
        }
        circuit.fail();
        circuit.close();
        assert!(!circuit.is_open());
        circuit.fail();
        assert!(circuit.next() - Instant::now() <= Duration::from_millis(100), "it starts from the shortest pause again");
    }
}
