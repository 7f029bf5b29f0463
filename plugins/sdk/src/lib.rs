#![doc = include_str!("../README.md")]

// The generated code names the SDK by its name, from here and from plugins alike.
extern crate self as tidegate_plugin;

/// Many byte strings in one buffer.
mod packed;

/// Why something is refused.
mod reason;

/// A message, and the batch it comes in.
mod message;

/// A step's settings and their schema.
mod settings;

/// What a step says of itself.
mod manifest;

/// The three kinds.
mod validator;

/// Replaces, splits or drops.
mod transformer;

/// A key that the step never sees.
mod key;

/// Seals and opens bytes.
mod cipher;

/// Log lines under the step's name.
pub mod log;

/// The time, where it is granted.
pub mod clock;

/// Random bytes, where they are granted.
pub mod random;

/// Strict JSON without a tree.
pub mod json;

/// Unit-testing a step natively.
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

/// The exports of a component, one macro a kind.
mod macros;

/// What the macros expand to.
#[doc(hidden)]
pub mod glue;

/// What `wit-bindgen` generates.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;

#[cfg(target_arch = "wasm32")]
mod convert;

/// The interface `types` of the WIT, by the names that the generated code looks for.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod types {
    pub use crate::{Batch, Column, Manifest, Packed, Reason, Rejection};
}

pub use cipher::{Cipher, Opening, Parameters};
pub use key::{Failure, Key, Opened};
pub use manifest::Manifest;
pub use message::{Batch, Column, Message};
pub use packed::Packed;
pub use reason::{Reason, Rejection};
pub use settings::{NoSettings, Settings};
pub use transformer::{Answer, Fate, Outcome, Transformer, Verdict};
pub use validator::Validator;
