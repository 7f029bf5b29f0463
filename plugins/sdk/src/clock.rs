//! The time, for a step that pipeline.toml grants it: `grant = ["clock"]`. A component that calls this imports `tidegate:plugin/clock`, and is
//! refused where that is not granted.

use std::time::{Duration, SystemTime};

/// The host's time.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(backend::now())
}

#[cfg(target_arch = "wasm32")]
mod backend {
    pub(super) use crate::bindings::imports::tidegate::plugin::clock::now;
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod backend {
    use std::cell::Cell;
    use std::time::SystemTime;

    thread_local! { static STOPPED_AT: Cell<Option<u64>> = const { Cell::new(None) }; }

    pub(super) fn now() -> u64 {
        STOPPED_AT.get().unwrap_or_else(|| {
            let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
        })
    }

    pub(crate) fn stop_at(milliseconds: u64) {
        STOPPED_AT.set(Some(milliseconds));
    }
}
