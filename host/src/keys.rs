//! Key rings and the stored form of sealed content.
//!
//! Keys live with the host. A ring has an order, and exactly one active key, which seals; all of them open.

mod error;
mod file;
mod generate;
mod id;
mod key;
mod random;
mod ring;
mod text;
mod uses;

/// The original's stored form, which has no authentication.
pub mod original;
/// The stored form of sealed content.
pub mod sealed;

use std::path::PathBuf;

pub use error::{KeyError, KeyProblem};
pub use generate::{Generated, generate};
pub use id::{KeyId, KeyIdError};
pub use key::Key;
pub use random::{RandomError, draw_nonces};
pub use ring::KeyRing;
pub use sealed::{Binder, Sealed, SealedError, binding};
pub use uses::Uses;

use crate::secret::Secret;

/// `[key_rings.NAME]`: where a ring's keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyRingPlan {
    /// `file = "…"`: a TOML file that only its owner may read (mode 0600), in the form that `tidegate keys generate` prints.
    File {
        /// The file, relative to pipeline.toml.
        path: PathBuf,
        /// `create = true`: made with a fresh key where it is missing. Default: false.
        create: bool,
    },
    /// `active = "k2"` and `[key_rings.NAME.keys.k2] key = "${VAR}"`: from the environment or files by interpolation; a literal key
    /// is refused.
    Inline {
        /// Id of the key that seals.
        active: String,
        /// Every key of the ring.
        keys: Vec<InlineKey>,
    },
}

/// One key of an inline ring.
#[derive(Clone, Debug, PartialEq)]
pub struct InlineKey {
    /// Its id: 1 to 32 characters of `a-z`, `A-Z`, `0-9`, `-` and `_`.
    pub id: String,
    /// `key`: base64.
    pub key: Secret,
    /// `iv`: base64 of 16 bytes, only for rows of the original and `format = "original"`.
    pub iv: Option<Secret>,
}
