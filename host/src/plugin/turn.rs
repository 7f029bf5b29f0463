//! How long a call may hold the thread that it runs on.

use std::time::Duration;

/// How long a call may hold the thread that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// For an async thread: one call, of an instance that is ready. Whatever goes wrong, every message is answered with
    /// [`FaultKind::Unavailable`](super::FaultKind), and the batch wants a whole turn.
    Short,
    /// As long as `limits.timeout` says, and as many attempts as it takes to find the messages that make the step fail.
    Whole,
}

/// How long a call of a short turn may take. Long for what it is meant for, because the machine may have taken the thread's core away
/// meanwhile; it is what a guest that hangs can hold up.
pub(super) const SHORT: Duration = Duration::from_millis(50);
