//! How long a call may hold the thread that it runs on.

use std::time::Duration;

/// How long a call may hold the thread that it runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// For an async thread: one attempt, by an instance that is ready. Whatever goes wrong, every message is answered with
    /// [`FaultKind::Unavailable`](super::FaultKind), and the batch wants a whole turn.
    Short,
    /// As long as `limits.timeout` says, and as many attempts as it takes to find the messages that make the step fail.
    #[default]
    Whole,
}

impl Turn {
    /// How long an instance has that may take `timeout` otherwise. A short turn is long for what it is meant for, because the machine may
    /// have taken the thread's core away meanwhile; it is what a guest that hangs can hold up.
    pub(super) fn cut(self, timeout: Duration) -> Duration {
        const SHORT: Duration = Duration::from_millis(50);
        match self {
            Self::Short => timeout.min(SHORT),
            Self::Whole => timeout,
        }
    }
}
