//! Random bytes, for a step that pipeline.toml grants them: `grant = ["random"]`. A component that calls this imports `tidegate:plugin/random`, and
//! is refused where that is not granted.

/// Draws so many bytes from the operating system, 65,536 at most; more traps. In native builds, and so in unit tests, they are the same on every run.
#[must_use]
pub fn bytes(count: u32) -> Vec<u8> {
    backend::bytes(count)
}

#[cfg(target_arch = "wasm32")]
mod backend {
    pub(super) use crate::bindings::imports::tidegate::plugin::random::bytes;
}

#[cfg(not(target_arch = "wasm32"))]
mod backend {
    use std::cell::Cell;

    thread_local! { static STATE: Cell<u64> = const { Cell::new(1) }; }

    pub(super) fn bytes(count: u32) -> Vec<u8> {
        assert!(count <= 65_536, "the host draws 65,536 bytes at most");
        (0..count).map(|_| next()).collect()
    }

    /// A linear congruential generator: enough for a test, and for nothing else.
    fn next() -> u8 {
        STATE.set(STATE.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let [.., high] = STATE.get().to_le_bytes();
        high
    }
}
