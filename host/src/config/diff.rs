//! What a change of the file means: each key that differs, and how it comes into force.

use serde::{Deserialize, Serialize};

/// How a changed key comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// At once; nothing is built or reopened.
    Live,
    /// The next generation of steps; no connection is touched.
    StepSwap,
    /// The stage that the key belongs to is drained and reopened, and no other.
    Reconnect,
    /// Not while the process runs.
    Restart,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Path of the key, e.g. `steps.validate.plugin`; of a whole table where it came or went, e.g. `sinks.history`.
    pub key: String,
    /// How it comes into force.
    pub class: Class,
    /// What held, as far as it may be shown; none where the key is new.
    pub from: Option<String>,
    /// What holds from now on; none where the key is gone.
    pub to: Option<String>,
}

pub fn diff(_: &super::Loaded, _: &super::Loaded) -> Result<Vec<Change>, Vec<String>> {
    Ok(Vec::new())
}
pub fn reopens_source(_: &[Change]) -> bool {
    false
}
pub fn reopened_sinks(_: &[Change]) -> Vec<String> {
    Vec::new()
}
