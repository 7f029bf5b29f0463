//! What is measured: a step, one of its calls, its settings.

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Value, json};
use tidegate::plugin::measure::Call;

use crate::samples;

/// One call of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// validate-message, every message accepted.
    Validate,
    /// reshape as the shipped pipeline has it: every message is looked at, and goes on unchanged.
    Keep,
    /// reshape with a field to redact: every message is replaced.
    Replace,
    /// aes-256-gcm on the way in.
    GcmSeal,
    /// aes-256-gcm on the way out.
    GcmOpen,
    /// aes-256-cbc on the way in.
    CbcSeal,
    /// aes-256-cbc on the way out.
    CbcOpen,
}

impl Case {
    /// What a person reads.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Validate => "validate-message",
            Self::Keep => "reshape, nothing to do",
            Self::Replace => "reshape, redacts a field",
            Self::GcmSeal => "aes-256-gcm, seal",
            Self::GcmOpen => "aes-256-gcm, open",
            Self::CbcSeal => "aes-256-cbc, seal",
            Self::CbcOpen => "aes-256-cbc, open",
        }
    }

    /// The step's component, without `.wasm`.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::Validate => "validate-message",
            Self::Keep | Self::Replace => "reshape",
            Self::GcmSeal | Self::GcmOpen => "aes-256-gcm",
            Self::CbcSeal | Self::CbcOpen => "aes-256-cbc",
        }
    }

    /// What the step is asked.
    pub(crate) fn call(self) -> Call {
        match self {
            Self::Validate => Call::Validate,
            Self::Keep | Self::Replace => Call::Transform,
            Self::GcmSeal | Self::CbcSeal => Call::Seal,
            Self::GcmOpen | Self::CbcOpen => Call::Open,
        }
    }

    /// The step's settings.
    pub(crate) fn settings(self) -> Value {
        match self {
            Self::Keep => json!({ "defaults": { "/message/server_name": "MainServer", "/publisher_information": {} } }),
            Self::Replace => json!({ "redact": ["/publisher_information/client_ip"] }),
            _ => json!({}),
        }
    }

    /// What the step is given.
    pub(crate) fn bodies(self) -> Vec<Bytes> {
        match self.call() {
            Call::Validate | Call::Transform => samples::bodies(),
            Call::Seal | Call::Open => samples::contents(),
        }
    }

    /// Most times native that it may take at [`Self::GOAL_BATCH`], where a goal is set.
    pub(crate) fn goal(self) -> Option<f64> {
        match self {
            Self::Validate => Some(1.5),
            Self::GcmSeal => Some(2.0),
            _ => None,
        }
    }

    /// The batch size of goals: the shipped pipeline's.
    pub(crate) const GOAL_BATCH: usize = 128;
}
