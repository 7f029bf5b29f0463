//! A step that seals and opens bytes.

use crate::key::Key;
use crate::manifest::Manifest;
use crate::packed::Packed;
use crate::reason::{Reason, Rejection};
use crate::settings::{self, Settings};

/// What the host has to know to call a cipher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The name in the stored form: lower case, digits and `-`. Rows outlive modules: another algorithm is another name.
    pub cipher: String,
    /// How many random bytes to draw for each item. 0 to 64.
    pub nonce_bytes: u32,
    /// How long a key must be. 1 to 128 bytes.
    pub key_bytes: u32,
}

/// What [`Cipher::open`] gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// As many items as were given; empty where an item is rejected.
    pub plain: Packed,
    /// The items that do not open, by ascending index.
    pub rejected: Vec<Rejection>,
}

/// A step that seals and opens bytes. It does arithmetic and nothing else: the host picks the key, draws the nonces and writes the
/// stored form. It imports keys alone, and so cannot log: a panic in it traps without a word.
///
/// Export it with [`cipher!`](crate::cipher!).
pub trait Cipher: Sized + 'static {
    /// Its name: lower case, digits and `-`, e.g. `aes-256-gcm`.
    const NAME: &'static str;
    /// Its version, by Semantic Versioning: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const DESCRIPTION: &'static str;

    /// Its settings; [`NoSettings`](crate::NoSettings) where it has none.
    type Settings: Settings;

    /// Makes it ready. Called once on each instance, before the first item.
    ///
    /// # Errors
    /// Settings that do not go together. The pipeline's start, or the swap, is refused with this reason.
    fn configure(settings: Self::Settings) -> Result<Self, Reason>;

    /// Says how to call it. Always gives the same.
    fn parameters(&self) -> Parameters;

    /// Seals each item under its nonce, with its context as associated data. The lists belong together by index. The answer has as
    /// many items, each with ciphertext and authentication tag, without the nonce.
    ///
    /// # Errors
    /// Fails the items of the call together.
    fn seal(&self, key: &Key<'_>, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Reason>;

    /// The inverse of `seal`. Must open what any earlier version of the same cipher name sealed.
    ///
    /// # Errors
    /// Fails the items of the call together. An item that does not open is rejected instead.
    fn open(&self, key: &Key<'_>, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opening, Reason>;

    /// What the host is told. Not to be overridden.
    fn manifest() -> Manifest {
        Manifest::of::<Self::Settings>(Self::NAME, Self::VERSION, Self::DESCRIPTION, &[])
    }

    /// Makes it ready from the JSON text that the host gives. Not to be overridden.
    ///
    /// # Errors
    /// The setting that is wrong, by its pointer, or what [`Cipher::configure`] says.
    fn from_settings(json: &str) -> Result<Self, Reason> {
        Self::configure(settings::read(json)?)
    }
}
