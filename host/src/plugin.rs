//! Sandboxed components: loading, limits, calls. No other room knows wasmtime.
//!
//! An [`Engine`] loads a [`Component`]; a component becomes a [`Step`] with its [`Setup`]; a step answers for batches of messages. All of it
//! blocks: call it off the async threads, or with a [`Turn::Short`], and with a stack of 1 MiB at least. A guest that fails costs its instance and
//! exactly the messages at which it fails, never the host.

mod answers;
mod batch;
mod cache;
mod component;
mod crypto;
mod deadline;
mod engine;
mod fault;
mod guest_log;
mod inspect;
mod instance;
mod key_handles;
mod limits;
mod load_error;
mod manifest;
/// What a step costs, for benches.
pub mod measure;
mod packed;
mod pool;
mod reason;
mod state;
mod step;
mod turn;
mod v0_1;

#[cfg(test)]
mod tests;

pub use answers::{Fate, MAX_SPLIT};
pub use component::Component;
pub use engine::{Engine, EngineSettings};
pub use fault::{Failure, Fault, FaultKind};
pub use load_error::LoadError;
pub use manifest::{Manifest, SettingsProblem};
pub use packed::{Malformed, Packed, TooLong};
pub use step::{Cipher, Parameters, Step, Transformer, Validator};
pub use turn::Turn;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a component is, read from what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Says yes or no.
    Validator,
    /// Replaces, splits or drops.
    Transformer,
    /// Seals and opens bytes.
    Cipher,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validator => "validator",
            Self::Transformer => "transformer",
            Self::Cipher => "cipher",
        })
    }
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

/// Bytes as lower case hexadecimal digits.
fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}
