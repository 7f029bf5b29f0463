//! Sandboxed components: loading, limits, calls. No other room knows wasmtime.

use std::sync::Arc;
use std::time::Duration;

/// What a component is, read from what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Says yes or no.
    Validator,
    /// Replaces, splits or drops.
    Transformer,
    /// Seals and opens bytes.
    Cipher,
}

/// Limits of one step's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most linear memory of one instance, in bytes. Default: 64 MiB.
    pub memory_bytes: u64,
    /// Most table elements of one instance. Default: 20000.
    pub table_elements: u32,
    /// Longest one call may take. Default: 1s.
    pub timeout: Duration,
    /// An instance is replaced after this many calls. Default: 1000000.
    pub max_calls: u64,
    /// An instance is replaced once its memory has grown to this, in bytes, because memory never shrinks. Default: 32 MiB.
    pub recycle_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            timeout: Duration::from_secs(1),
            max_calls: 1_000_000,
            recycle_bytes: 32 << 20,
        }
    }
}

/// What a step may ask of the host beyond its kind's own imports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The import `clock`.
    pub clock: bool,
    /// The import `random`.
    pub random: bool,
    /// `key.expose`, for a cipher that brings its own algorithm.
    pub expose_key: bool,
}

/// What a component is made ready with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Name of the step, for logs and errors.
    pub step: Arc<str>,
    /// What `configure` gets, a JSON object.
    pub settings: serde_json::Value,
    /// Limits of each instance.
    pub limits: Limits,
    /// What it may ask for.
    pub grants: Grants,
    /// How many instances are made before the first message: one a worker.
    pub instances: usize,
}
