//! How a sandboxed call goes wrong, named by what to do about it.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap};

use super::limits::Refused;
use super::state::{Access, State};
use crate::message::Reason;

/// What kind of failure it was, for metrics and for the one who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The step broke off: a panic, an impossible instruction, a host function that refused.
    Trap,
    /// One call took longer than `limits.timeout`.
    Deadline,
    /// It wanted more memory than `limits.memory`.
    Memory,
    /// It wanted more table elements than `limits.table_elements`.
    Table,
    /// It called itself too deeply.
    Stack,
    /// It answered, and the answer breaks the rules of the interface.
    Nonsense,
    /// No instance could be made. The messages are not to blame: they may pass later.
    Unavailable,
}

impl FaultKind {
    /// Every kind, for what walks them.
    pub const ALL: [Self; 7] =
        [Self::Trap, Self::Deadline, Self::Memory, Self::Table, Self::Stack, Self::Nonsense, Self::Unavailable];

    /// The name in metrics and dead letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Stack => "stack",
            Self::Nonsense => "nonsense",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A failure of the step itself, which is not a verdict on the message. Never holds content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind it was.
    pub kind: FaultKind,
    /// What happened and, where a setting decides it, which one.
    pub message: String,
}

/// Why one message got no answer, or a bad one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The step refuses the message for good.
    Rejected(Reason),
    /// The step failed at the message.
    Fault(Fault),
}

/// A host function says no: the guest broke a rule that its interface states.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct HostRefusal(pub(super) String);

impl Fault {
    pub(super) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn nonsense(during: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(FaultKind::Nonsense, format!("the answer of `{during}` breaks the interface: {problem}"))
    }

    pub(super) fn unavailable(problem: impl std::fmt::Display) -> Self {
        Self::new(FaultKind::Unavailable, format!("no instance of the step could be made: {problem}"))
    }

    /// Reads what wasmtime reports of a call that failed.
    pub(super) fn of(error: &wasmtime::Error, during: &str, state: &State, timeout: Duration) -> Self {
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::unavailable(format_args!("every slot of the instance pool is in use ({})", root(error)));
        }
        match (error.downcast_ref::<Trap>(), state.limiter.refused()) {
            (Some(Trap::Interrupt), _) => {
                let (setting, timeout) = (name(state.access, "limits.timeout"), humantime::format_duration(timeout));
                Self::new(FaultKind::Deadline, format!("`{during}` took longer than {setting} ({timeout})"))
            }
            (Some(Trap::StackOverflow), _) => {
                Self::new(FaultKind::Stack, format!("`{during}` used up its call stack, as endless recursion does"))
            }
            (_, Some(refused)) => Self::refused(during, refused, state.access),
            (Some(trap), None) => Self::trap(*trap, during),
            (None, None) => Self::no_trap(error, during),
        }
    }

    fn refused(during: &str, refused: Refused, access: Access) -> Self {
        match refused {
            Refused::Memory { asked, limit } => Self::new(
                FaultKind::Memory,
                format!("`{during}` wanted {asked} bytes of memory, and {} is {limit} bytes", name(access, "limits.memory")),
            ),
            Refused::Table { asked, limit } => Self::new(
                FaultKind::Table,
                format!(
                    "`{during}` wanted a table of {asked} elements, and {} is {limit}",
                    name(access, "limits.table_elements")
                ),
            ),
        }
    }

    fn trap(trap: Trap, during: &str) -> Self {
        match trap {
            Trap::StringOutOfBounds | Trap::ListOutOfBounds | Trap::InvalidDiscriminant | Trap::InvalidChar => {
                Self::nonsense(during, trap)
            }
            Trap::MemoryOutOfBounds => {
                Self::new(FaultKind::Trap, format!("`{during}` trapped: {trap} (endless recursion looks so too)"))
            }
            trap => Self::new(FaultKind::Trap, format!("`{during}` trapped: {trap}")),
        }
    }

    /// Either a host function refused, or what the guest gave could not be read: wasmtime has no trap code for that.
    fn no_trap(error: &wasmtime::Error, during: &str) -> Self {
        match error.downcast_ref::<HostRefusal>() {
            Some(refusal) => Self::new(FaultKind::Trap, format!("`{during}` was ended by the host: {refusal}")),
            None => Self::nonsense(during, root(error)),
        }
    }
}

/// The setting that decides a limit. Before a component is a step there is none: the host's own limits hold.
fn name(access: Access, setting: &str) -> String {
    match access {
        Access::Trial => format!("the host's own limit for loading (`{setting}` does not count yet)"),
        Access::Granted(_) => format!("`{setting}`"),
    }
}

/// The innermost cause as one line: the outer ones are wasmtime's own call sites.
pub(super) fn root(error: &wasmtime::Error) -> String {
    super::reason::printable(&error.root_cause().to_string(), 512)
}

/// Every cause as one line, outermost first.
pub(super) fn chain(error: &wasmtime::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    super::reason::printable(&causes.join(": "), 2048)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::guest_log::GuestLog;
    use crate::plugin::{Grants, Limits};

    fn fault(error: impl Into<wasmtime::Error>) -> Fault {
        let log = GuestLog::new("step".into());
        let state = State::new(&Limits::default(), Access::Granted(Grants::default()), log.into());
        Fault::of(&error.into(), "validate", &state, Duration::from_secs(1))
    }

    #[test]
    fn each_end_of_a_call_has_its_kind() {
        assert_eq!(fault(Trap::Interrupt).kind, FaultKind::Deadline);
        assert_eq!(fault(Trap::StackOverflow).kind, FaultKind::Stack);
        assert_eq!(fault(Trap::UnreachableCodeReached).kind, FaultKind::Trap);
        assert_eq!(fault(Trap::ListOutOfBounds).kind, FaultKind::Nonsense);
        assert_eq!(fault(wasmtime::Error::msg("invalid utf-8")).kind, FaultKind::Nonsense);
        let refused = fault(wasmtime::Error::new(HostRefusal("too much".to_owned())));
        assert_eq!((refused.kind, refused.message.as_str()), (FaultKind::Trap, "`validate` was ended by the host: too much"));
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let mut names = FaultKind::ALL.map(FaultKind::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FaultKind::ALL.len());
    }
}
