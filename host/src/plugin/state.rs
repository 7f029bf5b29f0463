//! What the host keeps for one instance while it lives.

use std::sync::Arc;

use super::guest_log::GuestLog;
use super::key_handles::KeyHandles;
use super::limits::Limiter;
use super::measure::Traffic;
use super::{Grants, Limits};

/// What an instance may reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// It is asked to describe itself and never sees a message. What pipeline.toml grants is not known yet, so the clock stands at 0
    /// and random bytes are zeros: a component that asks for them as it starts can still be loaded.
    Trial,
    /// It works, with these grants.
    Granted(Grants),
}

/// The host's side of one instance.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limiter: Limiter,
    pub(super) access: Access,
    pub(super) log: Arc<GuestLog>,
    pub(super) keys: KeyHandles,
    /// What has crossed the boundary since the instance was made.
    pub(super) traffic: Traffic,
}

impl State {
    pub(super) fn new(limits: &Limits, access: Access, log: Arc<GuestLog>) -> Self {
        Self { limiter: Limiter::new(limits), access, log, keys: KeyHandles::default(), traffic: Traffic::default() }
    }
}
